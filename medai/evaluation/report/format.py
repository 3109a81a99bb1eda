"""Numbers as a reader wants them."""

from collections.abc import Mapping
from typing import Any

from medai.evaluation.report.text import ENGLISH as T

SHARES = frozenset({"sensitivity", "specificity", "ppv", "npv", "accuracy", "prevalence"})


def number(value: float | None, key: str = "") -> str:
    """A value with three decimals, or as a percentage where `key` is a share of cases."""
    if value is None:
        return T["not_known"]
    return percent(value) if key in SHARES else f"{value:.3f}"


def percent(value: float) -> str:
    """0.974 as 97.4%."""
    return f"{value * 100:.1f}%"


def interval(figure: Mapping[str, Any], key: str, confidence: float) -> str:
    """The interval in words, e.g. ``95% CI 0.978-0.993``."""
    if figure["low"] is None:
        return T["no_interval"]
    return T["interval"].format(
        confidence=confidence * 100, low=number(figure["low"], key).removesuffix("%"), high=number(figure["high"], key)
    )
