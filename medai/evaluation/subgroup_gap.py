"""The gap between the best and the worst group, with an interval that allows for the choice of the two."""

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from jaxtyping import Float64
from scipy.special import ndtr
from scipy.stats import studentized_range

from medai.evaluation.figure import Figure, missing
from medai.evaluation.patient import Patients
from medai.evaluation.subgroup_estimate import Estimate, Lacking, covariances

GRID = 4001
TOO_FEW = "fewer than two groups have enough events"


def gap_record(estimates: Mapping[str, Estimate | Lacking], patients: Patients, confidence: float, *, of: str = "") -> dict[str, Any]:
    """Largest minus smallest value of a metric among groups.

    The interval is simultaneous over all pairs of groups (Tukey-Kramer; conservative for unequal sizes, Hayter 1984, Ann Stat 12:61),
    so that to pick the two extremes does not spoil it. The estimate itself is too large on average: chance alone spreads groups;
    `expected_if_equal` says by how much.

    Args:
        estimates: By group, each group a set of cases of its own.
        patients: Of the whole table.
        confidence: Coverage.
        of: ``"complement"`` to tell of 1 minus the metric (a false positive rate from a specificity).

    Returns:
        A figure with `highest`, `lowest` (names of groups), `groups`, `left_out` (too few events) and `expected_if_equal`.
    """
    known = {name: estimate for name, estimate in estimates.items() if isinstance(estimate, Estimate)}
    left_out = [name for name in estimates if name not in known]
    record: dict[str, Any] = {"highest": None, "lowest": None, "groups": len(known), "left_out": left_out, "expected_if_equal": None}
    method = f"simultaneous interval over all pairs of {len(known)} groups (Tukey-Kramer)"
    if len(known) < 2:
        return missing(sum(each.n for each in known.values()), method, TOO_FEW).to_dict() | record
    names, parts = list(known), list(known.values())
    values = np.array([part.value for part in parts])
    low, high = simultaneous_gap(parts, covariances(parts, patients), confidence)
    figure = Figure(float(np.ptp(values)), low, high, sum(part.n for part in parts), method)
    most, least = names[int(values.argmax())], names[int(values.argmin())]
    return figure.to_dict() | record | {
        "highest": least if of == "complement" else most,
        "lowest": most if of == "complement" else least,
        "expected_if_equal": 2 * expected_maximum(spreads_of(parts)),
    }  # fmt: skip


def simultaneous_gap(parts: Sequence[Estimate], covariance: Float64[np.ndarray, "k k"], confidence: float) -> tuple[float, float]:
    """Interval of the largest difference among groups: from the largest lower to the largest upper end of all pairs' intervals.

    Each pair's interval is made from those of its groups (as `mover`), at the confidence that makes all of them hold together.
    With two groups this is their Newcombe interval, folded at zero.
    """
    value = np.array([part.value for part in parts])
    limits = np.array([part.limits(pair_confidence(len(parts), confidence)) for part in parts])
    below, above = value - limits[:, 0], limits[:, 1] - value
    error = np.sqrt(np.diag(covariance))
    product = np.outer(error, error)
    alike = np.clip(np.divide(covariance, product, out=np.zeros_like(product), where=product > 0), -1, 1)
    np.fill_diagonal(alike, 0)
    difference = value[:, None] - value[None, :]
    low = difference - _combined(below[:, None], above[None, :], alike)
    high = difference + _combined(above[:, None], below[None, :], alike)
    apart = ~np.eye(len(parts), dtype=bool)
    return max(0.0, float(low[apart].max())), float(high[apart].max())


@lru_cache(maxsize=256)
def pair_confidence(groups: int, confidence: float) -> float:
    """Confidence that each pair's interval needs for all pairs to hold together, by the studentised range: 0.95 for two groups."""
    return float(2 * ndtr(studentized_range.ppf(confidence, groups, math.inf) / math.sqrt(2)) - 1) if groups > 2 else confidence


def spreads_of(parts: Sequence[Estimate]) -> Float64[np.ndarray, " k"]:
    """Standard errors; where the data show no variance, what the width of the interval stands for."""
    spreads = []
    for part in parts:
        low, high = part.limits(0.6826894921370859)  # one standard error to each side
        spreads.append(math.sqrt(part.variance) if part.variance > 0 else (high - low) / 2)
    return np.array(spreads)


def expected_maximum(error: Float64[np.ndarray, " k"]) -> float:
    """Mean of the largest of independent normals around 0 with these standard errors; the smallest has the same with a minus.

    Example:
        >>> round(expected_maximum(np.array([1.0, 1.0])), 6)  # 1 / sqrt(pi)
        0.56419
    """
    scale = float(error.max())
    if scale == 0:
        return 0.0
    at = np.linspace(-9 * scale, 9 * scale, GRID)
    below = np.ones(GRID)
    for each in error:
        below *= ndtr(at / each) if each > 0 else (at >= 0)
    return float(9 * scale - np.trapezoid(below, at))


def _combined(
    one: Float64[np.ndarray, "k 1"], other: Float64[np.ndarray, "1 k"], alike: Float64[np.ndarray, "k k"]
) -> Float64[np.ndarray, "k k"]:
    return np.asarray(np.sqrt(np.maximum(0.0, one**2 + other**2 - 2 * alike * one * other)))
