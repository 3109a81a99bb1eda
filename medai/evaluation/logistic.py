"""Logistic regression by maximum likelihood: what calibration needs of it, with an offset and patients who repeat."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64
from scipy.special import expit

MOST_STEPS = 50
CONVERGED = 1e-10
LARGEST = 1e4  # of a linear predictor: beyond it the classes are separated and the likelihood has no maximum


@dataclass(frozen=True)
class Logistic:
    """A fitted logistic regression.

    Attributes:
        coefficients: One a column of the design.
        covariance: Of the coefficients: the inverse information, or the sandwich over patients.
    """

    coefficients: Float64[np.ndarray, " k"]
    covariance: Float64[np.ndarray, "k k"]


def fit_logistic(
    design: Float64[np.ndarray, "n k"],
    target: Bool[np.ndarray, " n"] | Float64[np.ndarray, " n"],
    offset: Float64[np.ndarray, " n"] | None = None,
    cluster: Int64[np.ndarray, " n"] | None = None,
) -> Logistic | None:
    """Fit by Newton's method (iteratively re-weighted least squares) with step halving.

    Args:
        design: A row a case, the constant column included.
        target: Truth, or shares from 0 to 1.
        offset: Added to the linear predictor with a coefficient of 1.
        cluster: Patient of each case: the covariance is then the sandwich over patients (Liang and Zeger 1986), times
            M / (M - 1) for M patients.

    Returns:
        None where there is no finite maximum (the classes are separated, or the columns depend on each other).
    """
    truth = np.asarray(target, dtype=np.float64)
    fixed = np.zeros(len(truth)) if offset is None else np.asarray(offset, dtype=np.float64)
    coefficients = np.zeros(design.shape[1])
    loss = _loss(fixed, truth)
    for _ in range(MOST_STEPS):
        mean = expit(design @ coefficients + fixed)
        step = _solve(_information(design, mean), design.T @ (truth - mean))
        if step is None:
            return None
        share = 1.0
        while (tried := _loss(design @ (coefficients + share * step) + fixed, truth)) > loss + 1e-12 * abs(loss) and share > 1e-6:
            share /= 2
        coefficients, loss = coefficients + share * step, tried
        if np.abs(design @ coefficients).max(initial=0.0) > LARGEST:
            return None
        if np.abs(share * step).max() <= CONVERGED * (1 + np.abs(coefficients).max()):
            return _with_covariance(design, truth, fixed, coefficients, cluster)
    return None


def _with_covariance(
    design: Float64[np.ndarray, "n k"],
    truth: Float64[np.ndarray, " n"],
    fixed: Float64[np.ndarray, " n"],
    coefficients: Float64[np.ndarray, " k"],
    cluster: Int64[np.ndarray, " n"] | None,
) -> Logistic | None:
    mean = expit(design @ coefficients + fixed)
    inverse = _solve(_information(design, mean), np.eye(design.shape[1]))
    if inverse is None:
        return None
    if cluster is None:
        return Logistic(coefficients, inverse)
    _, index = np.unique(cluster, return_inverse=True)
    scores = np.stack([np.bincount(index, weights=column * (truth - mean)) for column in design.T], axis=1)
    patients = len(scores)
    return Logistic(coefficients, inverse @ (scores.T @ scores) @ inverse * patients / max(patients - 1, 1))


def _information(design: Float64[np.ndarray, "n k"], mean: Float64[np.ndarray, " n"]) -> Float64[np.ndarray, "k k"]:
    return np.asarray((design.T * (mean * (1 - mean))) @ design)


def _solve(information: Float64[np.ndarray, "k k"], right: Float64[np.ndarray, "k *m"]) -> Float64[np.ndarray, "k *m"] | None:
    """None where the information is singular, as far as float64 can tell."""
    scale = np.sqrt(np.diag(information))
    if not (scale > 0).all() or np.linalg.cond(information / np.outer(scale, scale)) > 1e13:
        return None
    return np.asarray(np.linalg.solve(information, right), dtype=np.float64)


def _loss(predictor: Float64[np.ndarray, " n"], truth: Float64[np.ndarray, " n"]) -> float:
    return float((np.logaddexp(0.0, predictor) - truth * predictor).sum())
