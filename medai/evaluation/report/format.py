"""Numbers as a reader wants them."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from medai.evaluation.report.text import EN, Words

SHARES = frozenset({"sensitivity", "specificity", "ppv", "npv", "accuracy", "prevalence", "balanced_accuracy", "tpr", "fpr"})
DISTANCES = frozenset({"hd95"})  # in mm
RATIOS = frozenset({"likelihood_ratio_positive", "likelihood_ratio_negative"})
MINUS = "\u2212"
NOTHING: Mapping[str, Any] = MappingProxyType({"value": None, "low": None, "high": None, "n": None, "method": ""})


def figure_of(record: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """A figure of a record, or one without a value where it is not there (not computed, or not released)."""
    found: Mapping[str, Any] = record.get(key) or NOTHING
    return found


def number(value: float | None, key: str = "", words: Words = EN) -> str:
    """A value with three decimals; as a percentage where `key` is a share of cases, with fewer where it is a ratio or in mm."""
    if value is None:
        return words["not_known"]
    if key in SHARES:
        return percent(value)
    coarse = key in RATIOS | DISTANCES
    text = f"{value:.1f}" if coarse and value >= 10 else f"{value:.2f}" if coarse else f"{value:.3f}"
    return text.replace("-", MINUS)


def percent(value: float) -> str:
    """0.974 as 97.4%."""
    return f"{value * 100:.1f}%".replace("-", MINUS)


def share(value: float) -> str:
    """A share that a user chose: 0.001 as 0.1%, 0.1 as 10%, with no more digits than it has."""
    return f"{value * 100:.4g}%"


def count(value: Any, words: Words = EN) -> str:
    """A number of cases; one that was suppressed is a text or nothing."""
    if value is None:
        return words["not_known"]
    return f"{value:,}" if isinstance(value, int) else str(value)


def signed(value: float | None, key: str = "", words: Words = EN) -> str:
    """A difference with its sign; of shares in percentage points."""
    if value is None:
        return words["not_known"]
    text = f"{value * 100:+.1f}" if key in SHARES else f"{value:+.2f}" if key in DISTANCES else f"{value:+.3f}"
    return text.replace("-", MINUS)


def p_value(value: float | None, words: Words = EN) -> str:
    """A p-value in the manner of journals: 0.032, <0.001."""
    if value is None:
        return words["not_known"]
    return "<0.001" if value < 0.001 else f"{value:.3f}" if value < 0.1 else f"{value:.2f}"


def ends(figure: Mapping[str, Any], key: str, words: Words = EN) -> str:
    """The interval's ends, e.g. ``0.978-0.993``, with words between ends below zero; nothing without an interval."""
    if figure["low"] is None or figure["high"] is None:
        return ""
    low, high = number(figure["low"], key, words), number(figure["high"], key, words)
    between = "\u2013" if figure["low"] >= 0 else words["to"]
    return f"{low.removesuffix('%')}{between}{high}"


def interval(figure: Mapping[str, Any], key: str, confidence: float, words: Words = EN) -> str:
    """The interval in words, e.g. ``95% CI 0.978-0.993``."""
    between = ends(figure, key, words)
    if not between:
        return words["no_interval"]
    return words["interval"].format(confidence=confidence * 100, ends=between.replace("\u2013", "\u2060\u2013\u2060"))


def difference(figure: Mapping[str, Any], key: str, words: Words = EN) -> str:
    """A difference with its interval, or why there is none."""
    if figure["value"] is None:
        return words.phrase(figure.get("reason", "")) or words["not_known"]
    text = signed(figure["value"], key, words)
    if figure["low"] is None or figure["high"] is None:
        return text
    return f"{text} ({signed(figure['low'], key, words)}{words['to']}{signed(figure['high'], key, words)})"


def cell(figure: Mapping[str, Any], key: str, words: Words = EN) -> str:
    """A value with its interval in brackets, or why there is none."""
    between = ends(figure, key, words) if figure["value"] is not None else ""
    return f"{number(figure['value'], key, words)} ({between})" if between else short(figure, key, words)


def short(figure: Mapping[str, Any], key: str, words: Words = EN) -> str:
    """The value alone, or why there is none."""
    if figure["value"] is not None:
        return number(figure["value"], key, words)
    return words.phrase(figure.get("reason", "")) or words["not_known"]
