"""The flow of cases: from what the source held to what was analysed, and there to the decisions (STARD 2015, item 19)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from medai.evaluation.report.context import CohortSummary, ReportContext
from medai.evaluation.report.format import count
from medai.evaluation.report.spoken import spoken
from medai.evaluation.report.text import Words

ASIDE = ("quarantined", "excluded", "elsewhere", "refused")


@dataclass(frozen=True)
class Step:
    """A box of the flow: a number, what it is, and a second line; what leaves here stands beside the line to the next box."""

    number: str
    name: str
    second: str = ""
    leaving: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Branch:
    """A decision at the end of the flow, and how it stands against the truth: (number, what, right)."""

    number: str
    name: str
    leaves: tuple[tuple[str, str, bool], ...]


@dataclass(frozen=True)
class Flow:
    """The boxes from top to bottom, then side by side."""

    steps: tuple[Step, ...]
    branches: tuple[Branch, ...] = ()


def flow_record(cohort: CohortSummary, analysed: int, refused: int | None = None) -> dict[str, int]:
    """The numbers for `metrics.json`; those that are not known are left out."""
    known = {key: getattr(cohort, key) for key in ("found", "quarantined", "excluded", "elsewhere")}
    record = known | {"refused": refused, "analysed": analysed}
    return {key: value for key, value in record.items() if value is not None}


def flow_of(metrics: Mapping[str, Any], context: ReportContext, words: Words) -> Flow:
    """The flow of an evaluation, in words.

    Args:
        metrics: From `evaluate`; `metrics["flow"]` where it is there, else what the context knows.
        context: The words around it.
        words: The language.
    """
    record = metrics.get("flow") or flow_record(context.cohort, metrics["cases"])
    patients = metrics["patients"]
    who = words["flow_patients"].format(count=count(patients["count"], words)) if patients["known"] else words["flow_patients_unknown"]
    branches = _branches(metrics, words)
    unknown = [(name, each["unknown"]) for name, each in metrics["labels"].items() if each["unknown"]]
    gone = tuple((count(number, words), words["flow_unknown"].format(label=spoken(name))) for name, number in unknown if branches)
    end = Step(count(record.get("analysed", metrics["cases"]), words), words["analysed"], who, gone)
    steps: tuple[Step, ...] = (end,)
    if record.get("found") is not None:
        leaving = tuple((count(record[key], words), words[key]) for key in ASIDE if record.get(key))
        steps = (Step(count(record["found"], words), words["found"], leaving=leaving), end)
    return Flow(steps, branches)


def _branches(metrics: Mapping[str, Any], words: Words) -> tuple[Branch, ...]:
    """The decisions of the only label, where it is binary and nothing is suppressed."""
    labels = metrics["labels"]
    if len(labels) != 1:
        return ()
    name, record = next(iter(labels.items()))
    counts = record["confusion"]
    if record["kind"] != "binary" or any(value is None for value in counts.values()) or not record["n"]:
        return ()
    present, absent = (words[key].format(label=spoken(name)) for key in ("with_label", "without_label"))
    found, missed, alarms, cleared = (counts[key] for key in ("true_positive", "false_negative", "false_positive", "true_negative"))
    called = ((count(found), present, True), (count(alarms), absent, False))
    passed = ((count(cleared), absent, True), (count(missed), present, False))
    return (
        Branch(count(found + alarms), words["called_positive"], called),
        Branch(count(cleared + missed), words["called_negative"], passed),
    )
