"""Decision curves: whether acting on the model helps more than treating everybody or nobody (Vickers and Elkin 2006)."""

from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float64

from medai.evaluation.bootstrap import LEAST_DEFINED, Key, Statistic, Weights, summer
from medai.evaluation.interval import Intervals
from medai.evaluation.table import LabelData

THRESHOLDS = np.arange(1, 100) / 100
LINES = ("threshold", "net_benefit", "low", "high", "treat_all", "standardised", "advantage", "advantage_low", "advantage_high")


def net_benefit(
    probability: Float[np.ndarray, " n"], target: Bool[np.ndarray, " n"], thresholds: Float64[np.ndarray, " t"] = THRESHOLDS
) -> Float64[np.ndarray, " t"]:
    """Net benefit of acting at or above each threshold: true positives less false positives at the threshold's odds, per case.

    Args:
        probability: Of the positive class.
        target: Truth; at least one case.
        thresholds: Above 0 and below 1, ascending.

    Example:
        >>> net_benefit(np.array([0.9, 0.6, 0.2]), np.array([True, False, False]), np.array([0.5]))
        array([0.])
    """
    passed = _passed(probability, thresholds)
    true = _at_or_above(np.bincount(passed[target], minlength=len(thresholds) + 1)[None])[0]
    false = _at_or_above(np.bincount(passed[~target], minlength=len(thresholds) + 1)[None])[0]
    return np.asarray((true - false * odds(thresholds)) / len(target))


def treat_all(
    prevalence: float | Float64[np.ndarray, "b 1"], thresholds: Float64[np.ndarray, " t"] = THRESHOLDS
) -> Float64[np.ndarray, "*b t"]:
    """Net benefit of treating everybody."""
    return np.asarray(prevalence - (1 - prevalence) * odds(thresholds))


def odds(thresholds: Float64[np.ndarray, " t"]) -> Float64[np.ndarray, " t"]:
    """What a false positive costs, in true positives."""
    return np.asarray(thresholds / (1 - thresholds))


def decision_statistic(data: LabelData, thresholds: Float64[np.ndarray, " t"] = THRESHOLDS) -> Statistic:
    """Net benefit at each threshold and, in the last column, the prevalence, under weights (k = t + 1)."""
    levels, truth = len(thresholds) + 1, data.target == 1
    sums = summer(_passed(data.probability, thresholds) + levels * truth, data.rows)

    def statistic(weights: Weights) -> Float64[np.ndarray, "b k"]:
        table, found = np.zeros((weights.shape[1], 2 * levels)), sums(weights)
        table[:, : found.shape[1]] = found
        false, true = _at_or_above(table[:, :levels]), _at_or_above(table[:, levels:])
        positives, total = table[:, levels:].sum(axis=1), table.sum(axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(np.column_stack([true - false * odds(thresholds), positives]) / total[:, None])

    return statistic


def decision_curve(data: LabelData, intervals: Intervals, key: Key) -> dict[str, Any]:
    """The decision curve of a label with its pointwise band.

    Args:
        data: The label's known cases.
        intervals: Where intervals come from.
        key: Of the draws of `decision_statistic`.

    Returns:
        Lists over ``threshold`` (0.01 to 0.99): ``net_benefit`` with ``low`` and ``high``; ``treat_all`` (to treat nobody is 0);
        ``standardised``, the net benefit as a share of the prevalence, the most there is; ``advantage``, what is gained over the
        better of treating all and none, with ``advantage_low`` and ``advantage_high``. Bands are empty where there is none, and
        all lists are where there are no cases; then ``reason`` says why.
    """
    n, truth = len(data.rows), data.target == 1
    record: dict[str, Any] = {name: [] for name in LINES} | {"n": n}
    method = f"percentile bootstrap of {'patients' if intervals.patients.repeat else 'cases'}"
    if not truth.any():
        return record | {"method": method, "reason": "no positive cases" if n else "no cases"}
    prevalence = float(truth.mean())
    benefit, everybody = net_benefit(data.probability, truth), treat_all(prevalence)
    record |= {
        "threshold": THRESHOLDS.tolist(), "net_benefit": benefit.tolist(), "treat_all": everybody.tolist(),
        "standardised": (benefit / prevalence).tolist(), "advantage": _advantage(benefit, everybody).tolist(),
    }  # fmt: skip
    drawn = intervals.draws.get(key)
    if drawn is None:
        return record | {"method": method, "reason": "no replicates"}
    method += f", {len(drawn):,} replicates"
    defined = drawn[np.isfinite(drawn).all(axis=1)]
    if intervals.patients.distinct(data.rows) < 2 or len(defined) < LEAST_DEFINED * len(drawn):
        return record | {"method": method, "reason": "too few replicates are defined"}
    ends = [0.5 - intervals.confidence / 2, 0.5 + intervals.confidence / 2]
    benefits = defined[:, :-1]
    gained = _advantage(benefits, treat_all(defined[:, [-1]]))
    (record["low"], record["high"]), (record["advantage_low"], record["advantage_high"]) = (
        np.quantile(values, ends, axis=0).tolist() for values in (benefits, gained)
    )
    return record | {"method": method}


def _advantage(benefit: Float64[np.ndarray, "*b t"], everybody: Float64[np.ndarray, "*b t"]) -> Float64[np.ndarray, "*b t"]:
    return np.asarray(benefit - np.maximum(everybody, 0.0))


def _passed(probability: Float[np.ndarray, " n"], thresholds: Float64[np.ndarray, " t"]) -> np.ndarray:
    """How many of the thresholds a probability reaches."""
    return np.searchsorted(thresholds, probability, side="right")


def _at_or_above(table: Float64[np.ndarray, "b t+1"]) -> Float64[np.ndarray, "b t"]:
    """From the weight that passes exactly so many thresholds to that which passes each of them."""
    return np.asarray(np.cumsum(table[:, :0:-1], axis=1)[:, ::-1])
