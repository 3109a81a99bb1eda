"""Points of the ROC and precision-recall curves, and the average precision."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64

from medai.core.error import MedaiError


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
