"""Agreement of predicted and true classes: confusion counts, quadratic kappa, mean absolute error; and of orders: the C-index."""

import numpy as np
from jaxtyping import Float, Float64, Int64

from medai.core.error import MedaiError
from medai.evaluation.bootstrap import Statistic, derived, summer


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

    def finish(summed: Float64[np.ndarray, "b c"]) -> Float64[np.ndarray, "b k"]:
        cells = np.zeros((len(summed), classes * classes))
        cells[:, used] = summed
        table = cells.reshape(-1, classes, classes)
        return np.stack([quadratic_kappa(table), mean_absolute_error(table)], axis=1)

    return derived([sum_cells], finish)


def expected_class(probability: Float[np.ndarray, "n k"]) -> Float64[np.ndarray, " n"]:
    """The mean class index under the probabilities: one number that orders the cases by grade."""
    return np.asarray(probability @ np.arange(probability.shape[1], dtype=np.float64))


def c_index(score: Float[np.ndarray, " n"], target: Int64[np.ndarray, " n"]) -> float:
    """Share of the pairs of cases of different true grades that the score puts in the right order, ties counted half (Harrell 1996).

    With two grades it is the AUROC.

    Args:
        score: Higher means a higher grade, e.g. `expected_class`.
        target: True grade, from 0.

    Raises:
        MedaiError: all cases are of one grade.

    Example:
        >>> c_index(np.array([0.1, 0.5, 0.5, 2.0]), np.array([0, 1, 2, 2]))
        0.9
    """
    value = c_index_statistic(score, target, np.arange(len(score)))(np.ones((len(score), 1)))[0, 0]
    if np.isnan(value):
        raise MedaiError(f"a C-index needs cases of two grades, got {len(score)} cases of {len(np.unique(target))}")
    return float(value)


def c_index_statistic(score: Float[np.ndarray, " m"], target: Int64[np.ndarray, " m"], rows: Int64[np.ndarray, " m"]) -> Statistic:
    """The C-index (k = 1) under weights: the AUROC of each two grades, weighted by their pairs. Arguments as in `rank_statistic`."""
    scores, tie = np.unique(score, return_inverse=True)
    of_grade = [summer(tie[target == grade], rows[target == grade]) for grade in np.unique(target)]

    def finish(*grades: Float64[np.ndarray, "b t"]) -> Float64[np.ndarray, "b k"]:
        shape = (len(grades[0]), len(scores))
        right, pairs, lower = np.zeros(shape[0]), np.zeros(shape[0]), np.zeros(shape)  # lower: weight of the lower grades by score
        for summed in grades:
            here = np.zeros(shape)
            here[:, : summed.shape[1]] = summed
            right += np.einsum("bg,bg->b", here, np.cumsum(lower, axis=1) - lower / 2)
            pairs += here.sum(axis=1) * lower.sum(axis=1)
            lower += here
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(right / pairs)[:, None]

    return derived(of_grade, finish)
