"""The band around a ROC curve."""

from typing import Any

import numpy as np
from jaxtyping import Float64

from medai.evaluation.auroc import absent_class
from medai.evaluation.bootstrap import Key, Statistic
from medai.evaluation.curve import roc_statistic
from medai.evaluation.interval import Intervals
from medai.evaluation.table import LabelData

RATES = np.linspace(0, 1, 51) ** 1.5  # false-positive rates, closer together where the curve is steep
LEVELS = 1_000  # of the score: the band is for the eye, and finer than its line


def band_key(name: str) -> Key:
    """The key of a label's draws."""
    return (name, "roc_band")


def band_statistics(data: LabelData) -> dict[Key, Statistic]:
    """What the bootstrap has to draw for the band of a binary label."""
    return {band_key(data.label.name): roc_statistic(_levels(data.probability), data.target == 1, data.rows, RATES)}


def roc_band(data: LabelData, intervals: Intervals) -> dict[str, Any]:
    """The pointwise percentile band of the ROC curve: `x` (1 - specificity), `low`, `high`, `n`, `method`; empty where there is none."""
    drawn = intervals.draws.get(band_key(data.label.name))
    if drawn is None or absent_class(data.target == 1):
        return {}
    whole = drawn[np.isfinite(drawn).all(axis=1)]
    if len(whole) < len(drawn) / 2:
        return {}
    low, high = np.quantile(whole, [0.5 - intervals.confidence / 2, 0.5 + intervals.confidence / 2], axis=0)
    who = "patients" if intervals.patients.repeat else "cases"
    method = f"pointwise percentile bootstrap of {who}, {len(drawn):,} replicates"
    return {"x": RATES.tolist(), "low": low.tolist(), "high": high.tolist(), "n": len(data.rows), "method": method}


def _levels(score: Float64[np.ndarray, " m"]) -> Float64[np.ndarray, " m"]:
    """Scores as their ranks in at most so many levels of equally many cases; equal scores stay equal."""
    distinct, place = np.unique(score, return_inverse=True)
    if len(distinct) <= LEVELS:
        return place.astype(np.float64)
    below = np.cumsum(np.bincount(place)) - 1
    return np.asarray(np.floor(below[place] * (LEVELS / len(score))))
