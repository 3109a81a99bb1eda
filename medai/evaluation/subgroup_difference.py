"""The difference of a metric between a group and the rest: interval, p, and p adjusted for the number of tests."""

import math
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from scipy.special import ndtr
from scipy.stats import t as student

from medai.evaluation.figure import Figure, missing
from medai.evaluation.interval import Intervals
from medai.evaluation.multiplicity import benjamini_hochberg, holm
from medai.evaluation.proportion import normal_quantile
from medai.evaluation.subgroup_estimate import Estimate, Lacking, covariances

ALONE = "no other cases"
PROPORTIONS = "Newcombe's interval (1998, method 10), chi-squared p"
PROPORTIONS_CLUSTERED = "Newcombe's interval on effective sample sizes by patient, chi-squared p likewise"
SAME_DATA = 1e-9  # of the variance that two independent sides had
SAME = "the data show no variance of the difference"
DEGENERATE = "Newcombe's interval from those of the two parts (a variance is zero)"


def difference_record(
    inside: Estimate | Lacking, outside: Estimate | Lacking, intervals: Intervals, *, alone: bool = False
) -> dict[str, Any]:
    """A difference to the rest as it stands in the metrics: a figure with `p`, and places for the adjusted ones.

    Args:
        inside: The metric in the group.
        outside: The metric in all other cases.
        intervals: Patients and confidence.
        alone: Whether there are no other cases at all.
    """
    p: float | None = None
    if isinstance(inside, Estimate) and isinstance(outside, Estimate):
        covariance = float(covariances([inside, outside], intervals.patients)[0, 1])
        figure, p = difference(inside, outside, covariance, intervals.confidence)
    else:
        reason = ALONE if alone else inside.reason if isinstance(inside, Lacking) else f"{_reason(outside)} in the rest"
        figure = missing(inside.n + outside.n, "difference to the rest", reason)
    return figure.to_dict() | {"p": p, "p_holm": None, "p_bh": None}


def difference(first: Estimate, second: Estimate, covariance: float, confidence: float) -> tuple[Figure, float | None]:
    """First minus second with interval and two-sided p.

    Means and AUROCs: normal with the degrees of freedom of Welch and Satterthwaite, for AUROCs the unpaired test of DeLong et al. (1988)
    as pROC has it. Proportions: Newcombe's interval (1998, Stat Med 17:873, method 10) and Pearson's chi-squared test, both
    on effective sample sizes and with the covariance where patients repeat (Zou and Donner 2008, Stat Med 27:1693).

    Args:
        first: Of the group.
        second: Of other cases.
        covariance: Of the two, where patients have cases in both.
        confidence: Coverage.

    Returns:
        The figure, and p; neither interval nor p where both sides are the same data (copies of the same cases).
    """
    n, value = first.n + second.n, first.value - second.value
    if first.size is not None and second.size is not None:
        method = PROPORTIONS if (first.size, second.size) == (first.n, second.n) else PROPORTIONS_CLUSTERED
        return Figure(value, *mover(first, second, covariance, confidence), n, method), _chi_squared(first, second, covariance)
    if min(first.variance, second.variance) == 0:
        low, high = mover(first, second, covariance, confidence)
        return Figure(value, low, high, n, DEGENERATE), _from_interval(value, low, high, confidence)
    alike = correlation(first, second, covariance)
    variance = first.variance + second.variance - 2 * alike * math.sqrt(first.variance * second.variance)
    apart = first.variance + second.variance
    if variance <= SAME_DATA * apart:
        return Figure(value, None, None, n, first.source or first.method, SAME), None
    freedom = apart**2 / (first.variance**2 / (first.units - 1) + second.variance**2 / (second.units - 1))
    error = math.sqrt(variance)
    half = float(student.ppf(0.5 + confidence / 2, freedom)) * error
    figure = Figure(
        value, value - half, value + half, n, f"{first.source or first.method}, unpaired, t with {freedom:.0f} degrees of freedom"
    )
    return figure, float(2 * student.sf(abs(value) / error, freedom))


def mover(first: Estimate, second: Estimate, covariance: float, confidence: float) -> tuple[float, float]:
    """The interval of a difference from those of its parts (Zou and Donner 2008); with Wilson's it is Newcombe's method 10.

    Example:
        56 of 70 against 48 of 80 gives 0.0524 to 0.3339 (Newcombe 1998, table II a).
    """
    (low_first, high_first), (low_second, high_second) = first.limits(confidence), second.limits(confidence)
    alike = correlation(first, second, covariance)
    value = first.value - second.value
    down = _combined(first.value - low_first, high_second - second.value, alike)
    return value - down, value + _combined(high_first - first.value, second.value - low_second, alike)


def correlation(first: Estimate, second: Estimate, covariance: float) -> float:
    """Of two estimates; zero where one of them has no variance."""
    product = first.variance * second.variance
    return min(1.0, max(-1.0, covariance / math.sqrt(product))) if product > 0 else 0.0


def adjust(tests: Sequence[tuple[Hashable, dict[str, Any]]]) -> int:
    """Fill in `p_holm` and `p_bh` of many differences, in place.

    Args:
        tests: What is tested, and its record; records of one and the same test share their place in the family.

    Returns:
        The number of tests in the family.
    """
    family: dict[Hashable, float] = {}
    for key, record in tests:
        if record["p"] is not None:
            family.setdefault(key, record["p"])
    if not family:
        return 0
    p = np.array(list(family.values()))
    by_holm, by_rate = (dict(zip(family, adjusted.tolist(), strict=True)) for adjusted in (holm(p), benjamini_hochberg(p)))
    for key, record in tests:
        if record["p"] is not None:
            record["p_holm"], record["p_bh"] = by_holm[key], by_rate[key]
    return len(family)


def _reason(estimate: Estimate | Lacking) -> str:
    return estimate.reason if isinstance(estimate, Lacking) else ""


def _combined(one: float, other: float, alike: float) -> float:
    return math.sqrt(max(0.0, one**2 + other**2 - 2 * alike * one * other))


def _chi_squared(first: Estimate, second: Estimate, covariance: float) -> float:
    """Pearson's test as a score test: the variance is that under equal proportions."""
    sizes = float(first.size or first.n), float(second.size or second.n)
    pooled = (first.value * sizes[0] + second.value * sizes[1]) / sum(sizes)
    alike = correlation(first, second, covariance)
    variance = pooled * (1 - pooled) * (1 / sizes[0] + 1 / sizes[1] - 2 * alike / math.sqrt(sizes[0] * sizes[1]))
    value = first.value - second.value
    return float(2 * ndtr(-abs(value) / math.sqrt(variance))) if variance > 0 else float(value == 0)


def _from_interval(value: float, low: float, high: float, confidence: float) -> float:
    """The p that belongs to the half of the interval that points at zero."""
    half = value - low if value > 0 else high - value
    return float(2 * ndtr(-abs(value) / half * normal_quantile(confidence))) if half > 0 else float(value == 0)
