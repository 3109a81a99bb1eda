"""What the figures mean for a thousand patients: the natural frequencies that people read right (Gigerenzer et al. 2007)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from medai.evaluation.report.format import cell, count, figure_of, percent, share
from medai.evaluation.report.svg import stacked_bar
from medai.evaluation.report.text import Words

THOUSAND = 1000
KINDS = ("found", "missed", "alarm", "cleared")


@dataclass(frozen=True)
class Thousand:
    """A thousand patients at one prevalence.

    Attributes:
        prevalence: In words.
        ill: How many have it.
        counts: Found, missed, false alarms, cleared; they add up to a thousand.
        ppv: With its interval.
        npv: With its interval.
        bar: The four as parts of a bar.
    """

    prevalence: str
    ill: str
    counts: tuple[str, str, str, str]
    ppv: str
    npv: str
    bar: Markup


def thousands(record: Mapping[str, Any], words: Words) -> tuple[Thousand, ...]:
    """The prevalence of these cases, then those that the user asked for.

    Args:
        record: Of a binary label.
        words: The language.
    """
    sensitivity, specificity, here = (figure_of(record, key)["value"] for key in ("sensitivity", "specificity", "prevalence"))
    if sensitivity is None or specificity is None or here is None or not 0 < here < 1:
        return ()
    rows = [_thousand(here, words["prevalence_here"].format(value=percent(here)), record, sensitivity, specificity, words)]
    for each in record.get("at_prevalence", ()):
        rows.append(_thousand(each["prevalence"], share(each["prevalence"]), each, sensitivity, specificity, words))
    return tuple(rows)


def frequencies(prevalence: float, sensitivity: float, specificity: float) -> tuple[int, int, int, int]:
    """Of a thousand patients those found, missed, falsely alarmed and cleared, in whole people.

    Example:
        >>> frequencies(0.01, 0.9, 0.95)
        (9, 1, 50, 940)
    """
    ill = round(THOUSAND * prevalence)
    found, cleared = round(ill * sensitivity), round((THOUSAND - ill) * specificity)
    return found, ill - found, THOUSAND - ill - cleared, cleared


def _thousand(prevalence: float, said: str, values: Mapping[str, Any], sensitivity: float, specificity: float, words: Words) -> Thousand:
    numbers = frequencies(prevalence, sensitivity, specificity)
    found, missed, alarms, cleared = numbers
    parts = [(number / THOUSAND, kind) for number, kind in zip(numbers, KINDS, strict=True)]
    described = words.join(
        [f"{words[key]} {count(n)}" for key, n in zip(("found_ill", "missed_ill", "alarmed", "cleared"), numbers, strict=True)]
    )
    texts = (count(found), count(missed), count(alarms), count(cleared))
    ppv, npv = (cell(figure_of(values, key), key, words) for key in ("ppv", "npv"))
    return Thousand(said, count(found + missed), texts, ppv, npv, Markup(stacked_bar(parts, described)))
