"""Agreement of predicted and true classes: confusion counts, quadratic kappa, mean absolute error."""

import numpy as np
from jaxtyping import Float, Float64, Int64

from medai.evaluation.bootstrap import Statistic, Weights, summer


def confusion(target: Int64[np.ndarray, " n"], decision: Int64[np.ndarray, " n"], classes: int) -> Int64[np.ndarray, "k k"]:
    """Counts, true class down and predicted class across."""
    return np.bincount(target * classes + decision, minlength=classes * classes).reshape(classes, classes).astype(np.int64)


def quadratic_kappa(table: Float[np.ndarray, "*b k k"] | Int64[np.ndarray, "*b k k"]) -> Float64[np.ndarray, "*b"]:
    """Cohen's kappa with quadratic weights (Cohen 1968) of confusion tables; NaN where chance leaves no disagreement."""
    counts = np.asarray(table, dtype=np.float64)
    place = np.arange(counts.shape[-1])
    weight = (place[:, None] - place) ** 2
    total = counts.sum(axis=(-2, -1))
    chance = counts.sum(axis=-1)[..., :, None] * counts.sum(axis=-2)[..., None, :]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(1 - total * (counts * weight).sum(axis=(-2, -1)) / (chance * weight).sum(axis=(-2, -1)))


def mean_absolute_error(table: Float[np.ndarray, "*b k k"] | Int64[np.ndarray, "*b k k"]) -> Float64[np.ndarray, "*b"]:
    """The mean distance in classes between truth and prediction."""
    place = np.arange(table.shape[-1])
    distance = np.abs(place[:, None] - place)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray((table * distance).sum(axis=(-2, -1)) / table.sum(axis=(-2, -1)))


def agreement_statistic(
    target: Int64[np.ndarray, " m"], decision: Int64[np.ndarray, " m"], rows: Int64[np.ndarray, " m"], classes: int
) -> Statistic:
    """Quadratic kappa and mean absolute error (k = 2) under weights; arguments as in `rank_statistic`."""
    used, cell = np.unique(target * classes + decision, return_inverse=True)
    sum_cells = summer(cell, rows)

    def statistic(weights: Weights) -> Float64[np.ndarray, "b k"]:
        cells = np.zeros((weights.shape[1], classes * classes))
        cells[:, used] = sum_cells(weights)
        table = cells.reshape(-1, classes, classes)
        return np.stack([quadratic_kappa(table), mean_absolute_error(table)], axis=1)

    return statistic
