"""Partial AUROC: the area under a part of the ROC curve, plain and with McClish's correction.

A group of tied scores adds a ramp to the ROC curve: it rises by the group's share of the positives while the false-positive
rate goes from that above the group to that with it. The area under a ramp between two false-positive rates is closed, so the
partial area is a sum over the tie groups that hold a positive, for one data set as for many weighted ones.
"""

from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64

from medai.core.error import MedaiError
from medai.evaluation.auroc import absent_class
from medai.evaluation.bootstrap import Key, Statistic, derived, summer
from medai.evaluation.figure import Figure, missing
from medai.evaluation.interval import Intervals
from medai.evaluation.table import LabelData

FOCUSES = ("specificity", "sensitivity")
BETWEEN = (1.0, 0.9)
METHOD = "percentile bootstrap"
BELOW = "the curve runs below the diagonal, where McClish's correction is not defined"

Range = tuple[float, float]


def partial_auroc(
    score: Float[np.ndarray, " n"],
    target: Bool[np.ndarray, " n"],
    focus: str = "specificity",
    between: Range = BETWEEN,
    *,
    corrected: bool = False,
) -> float:
    """The area under the ROC curve between two specificities, or two sensitivities, ties by straight lines.

    Args:
        score: Higher means more likely positive.
        target: True for the positives.
        focus: ``"specificity"``: the mean sensitivity there times the width of the range; ``"sensitivity"``: the mean
            specificity times the width.
        between: The two ends, in any order.
        corrected: McClish's correction (McClish 1989, Med Decis Making 9:190): 0.5 for a curve on the diagonal and 1 for a
            perfect one, whatever the range; NaN where the curve runs below the diagonal.

    Raises:
        MedaiError: a class is absent, or the range is none.

    Example:
        >>> partial_auroc(np.array([0.1, 0.2, 0.8, 0.9]), np.array([False, False, True, True]))
        0.1
    """
    if absent_class(target):
        raise MedaiError(f"a partial AUROC needs both classes, got {int(target.sum())} positives and {int((~target).sum())} negatives")
    area, standard = partial_statistic(score, target, np.arange(len(score)), focus, between)(np.ones((len(score), 1)))[0]
    if corrected:
        return float(standard) if standard >= 0.5 - 1e-12 else float("nan")
    return float(area)


def partial_statistic(
    score: Float[np.ndarray, " m"],
    target: Bool[np.ndarray, " m"],
    rows: Int64[np.ndarray, " m"],
    focus: str = "specificity",
    between: Range = BETWEEN,
) -> Statistic:
    """The partial area and its McClish correction (k = 2) under weights. The correction goes on below the diagonal here.

    Args:
        score: Of the known cases.
        target: Truth of the known cases.
        rows: Where the known cases lie among all n.
        focus: As in `partial_auroc`.
        between: As in `partial_auroc`.

    Raises:
        MedaiError: the focus is unknown, or the range is none.
    """
    start, stop = _false_positive_rates(focus, between)
    if focus == "sensitivity":  # the same area, seen from the other axis: the classes change places
        score, target = -score, ~target
    order = np.argsort(-score, kind="stable")
    ranked, truth = score[order], target[order]
    tie = np.cumsum(np.append(False, ranked[1:] != ranked[:-1])) if len(ranked) else np.zeros(0, dtype=np.int64)
    held, group = np.unique(tie[truth], return_inverse=True)
    segment = np.searchsorted(held, tie, side="left") * 2 + np.isin(tie, held)  # even: between two groups that hold a positive
    sum_negatives, sum_positives = summer(segment[~truth], rows[order][~truth]), summer(group, rows[order][truth])
    least, most = (stop**2 - start**2) / 2, stop - start

    def finish(positive: Float64[np.ndarray, "b g"], negative: Float64[np.ndarray, "b s"]) -> Float64[np.ndarray, "b k"]:
        if len(held) == 0 or truth.all():
            return np.full((len(positive), 2), np.nan)
        negative = np.cumsum(negative, axis=1, dtype=np.float64)
        last = negative.shape[1] - 1
        before, through = (np.take(negative, np.minimum(2 * np.arange(len(held)) + shift, last), axis=1) for shift in (0, 1))
        with np.errstate(divide="ignore", invalid="ignore"):
            before, through = before / negative[:, -1:], through / negative[:, -1:]
            under = _ramp(before, through, stop) - (_ramp(before, through, start) if start > 0 else 0.0)
            area = np.einsum("bg,bg->b", positive, under) / positive.sum(axis=1)
        return np.stack([area, (1 + (area - least) / (most - least)) / 2], axis=1)

    return derived([sum_positives, sum_negatives], finish)


def _ramp(before: Float64[np.ndarray, "b g"], through: Float64[np.ndarray, "b g"], end: float) -> Float64[np.ndarray, "b g"]:
    """Area up to `end` under a line that is 0 until `before`, 1 from `through`, and straight between."""
    width = through - before
    inside = np.clip(end - before, 0.0, width)
    return np.asarray(np.maximum(end - through, 0.0) + np.divide(inside**2, 2 * width, out=np.zeros_like(width), where=width > 0))


def _false_positive_rates(focus: str, between: Range) -> Range:
    if focus not in FOCUSES:
        raise MedaiError(f"the focus of a partial AUROC is {focus!r}; allowed: {', '.join(FOCUSES)}")
    low, high = sorted(float(end) for end in between)
    if not 0 <= low < high <= 1:
        raise MedaiError(
            f"a partial AUROC lies between two different {focus.replace('ty', 'ties')} from 0 to 1, got {between[0]} and {between[1]}"
        )
    return 1 - high, 1 - low


def partial_key(name: str) -> Key:
    """The key of a label's draws."""
    return (name, "partial")


def partial_statistics(data: LabelData, focus: str = "specificity", between: Range = BETWEEN) -> dict[Key, Statistic]:
    """What the bootstrap has to draw for the partial AUROC of a binary label."""
    return {partial_key(data.label.name): partial_statistic(data.probability, data.target == 1, data.rows, focus, between)}


def partial_metrics(data: LabelData, intervals: Intervals, focus: str = "specificity", between: Range = BETWEEN) -> dict[str, Any]:
    """The record of a binary label's partial AUROC: a figure, its range under the name of the focus, and ``mcclish``, a figure too.

    Args:
        data: The label's known cases.
        intervals: With draws of `partial_statistics` of the same range.
        focus: As in `partial_auroc`.
        between: As in `partial_auroc`.
    """
    key, truth, n = partial_key(data.label.name), data.target == 1, len(data.rows)
    reason = absent_class(truth)
    if reason:
        plain = standard = missing(n, METHOD, reason)
    else:
        plain = intervals.resampled(partial_auroc(data.probability, truth, focus, between), data.rows, key)
        value = partial_auroc(data.probability, truth, focus, between, corrected=True)
        standard = missing(n, METHOD, BELOW) if np.isnan(value) else _mcclish(intervals.resampled(value, data.rows, key, 1))
    return {"focus": focus, focus: list(between)} | plain.to_dict() | {"mcclish": standard.to_dict()}


def _mcclish(figure: Figure) -> Figure:
    return Figure(figure.value, figure.low, figure.high, figure.n, f"McClish's correction, {figure.method}", figure.reason)
