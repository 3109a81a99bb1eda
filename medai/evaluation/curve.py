"""Points of the ROC and precision-recall curves, and the average precision."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64

from medai.core.error import MedaiError
from medai.evaluation.bootstrap import Statistic, derived, summer


@dataclass(frozen=True)
class Curve:
    """A curve over thresholds, from the strictest (nothing called positive) to the laxest (everything).

    Attributes:
        x: False-positive rate (ROC) or recall (precision-recall).
        y: True-positive rate (ROC) or precision (precision-recall).
        threshold: Cases with a score at or above it are called positive; infinity at the first point.
    """

    x: Float64[np.ndarray, " k"]
    y: Float64[np.ndarray, " k"]
    threshold: Float64[np.ndarray, " k"]


def counts_by_threshold(
    score: Float[np.ndarray, " n"], target: Bool[np.ndarray, " n"]
) -> tuple[Int64[np.ndarray, " k"], Int64[np.ndarray, " k"], Float64[np.ndarray, " k"]]:
    """True and false positives at each distinct score taken as the threshold, in descending order of score."""
    order = np.argsort(-score, kind="stable")
    ranked = score[order]
    ends = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))
    true = np.cumsum(target[order], dtype=np.int64)[ends]
    return true, ends + 1 - true, ranked[ends].astype(np.float64)


def roc(score: Float[np.ndarray, " n"], target: Bool[np.ndarray, " n"]) -> Curve:
    """The ROC curve, from (0, 0) to (1, 1).

    Raises:
        MedaiError: a class is absent.
    """
    true, false, threshold = counts_by_threshold(score, target)
    if true[-1] == 0 or false[-1] == 0:
        raise MedaiError(f"a ROC curve needs both classes, got {true[-1]} positives and {false[-1]} negatives")
    start = np.zeros(1)
    return Curve(np.concatenate([start, false / false[-1]]), np.concatenate([start, true / true[-1]]), np.append(np.inf, threshold))


def precision_recall(score: Float[np.ndarray, " n"], target: Bool[np.ndarray, " n"]) -> Curve:
    """The precision-recall curve; its first point repeats the first precision at recall 0.

    Raises:
        MedaiError: there are no positives.
    """
    true, false, threshold = counts_by_threshold(score, target)
    if true[-1] == 0:
        raise MedaiError(f"a precision-recall curve needs positives, got none among {len(target)} cases")
    recall, precision = true / true[-1], true / (true + false)
    return Curve(np.append(0.0, recall), np.append(precision[0], precision), np.append(np.inf, threshold))


def average_precision(score: Float[np.ndarray, " n"], target: Bool[np.ndarray, " n"]) -> float:
    """The mean precision over the positives, without interpolation: sum of (R_k - R_(k-1)) P_k over distinct scores.

    Raises:
        MedaiError: there are no positives.
    """
    curve = precision_recall(score, target)
    return float(np.diff(curve.x) @ curve.y[1:])


def sensitivity_at(curve: Curve, rate: Float[np.ndarray, " g"]) -> Float64[np.ndarray, " g"]:
    """The ROC curve's height at some false-positive rates, by straight lines; at a step, its top."""
    return _height(curve.x, curve.y, np.asarray(rate, dtype=np.float64))


def roc_statistic(
    score: Float[np.ndarray, " m"], target: Bool[np.ndarray, " m"], rows: Int64[np.ndarray, " m"], rate: Float[np.ndarray, " g"]
) -> Statistic:
    """The ROC curve's height at some false-positive rates (k = g) under weights: the pointwise band of the curve.

    Args:
        score: Of the known cases.
        target: Truth of the known cases.
        rows: Where the known cases lie among all n.
        rate: False-positive rates from 0 to 1.
    """
    tie = np.unique(-score, return_inverse=True)[1]
    ties, wanted = int(tie.max(initial=-1)) + 1, np.asarray(rate, dtype=np.float64)
    sum_positives, sum_negatives = summer(tie[target], rows[target]), summer(tie[~target], rows[~target])

    def shares(part: Float64[np.ndarray, "b g"]) -> Float64[np.ndarray, "b k"]:
        full = np.zeros((len(part), ties + 1))
        full[:, 1 : part.shape[1] + 1] = part
        total = np.cumsum(full, axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(total / total[:, -1:])

    def finish(positive: Float64[np.ndarray, "b g"], negative: Float64[np.ndarray, "b g"]) -> Float64[np.ndarray, "b k"]:
        true, false = shares(positive), shares(negative)
        heights = np.full((len(true), len(wanted)), np.nan)
        for index in np.flatnonzero(np.isfinite(true[:, -1]) & np.isfinite(false[:, -1])):
            heights[index] = _height(false[index], true[index], wanted)
        return heights

    return derived([sum_positives, sum_negatives], finish)


def _height(x: Float64[np.ndarray, " k"], y: Float64[np.ndarray, " k"], at: Float64[np.ndarray, " g"]) -> Float64[np.ndarray, " g"]:
    right = np.minimum(np.searchsorted(x, at, side="right"), len(x) - 1)
    left = np.maximum(np.searchsorted(x, at, side="right") - 1, 0)
    width = x[right] - x[left]
    share = np.divide(at - x[left], width, out=np.zeros_like(at), where=width > 0)
    return np.asarray(y[left] + share * (y[right] - y[left]))
