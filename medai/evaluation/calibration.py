"""Whether probabilities mean what they say: reliability, ECE, MCE, Brier score, and the fit of a temperature."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp

from medai.core.error import MedaiError
from medai.evaluation.proportion import wilson

BINS = 10
TEMPERATURES = (0.05, 20.0)


@dataclass(frozen=True)
class Bin:
    """One bin of a reliability diagram that holds at least one case.

    Attributes:
        low: Lower edge, in the bin.
        high: Upper edge, not in the bin except for the last.
        n: Number of cases.
        predicted: Mean predicted probability.
        observed: Share of positives.
        observed_low: Lower end of Wilson's interval of `observed`.
        observed_high: Upper end.
    """

    low: float
    high: float
    n: int
    predicted: float
    observed: float
    observed_low: float
    observed_high: float


@dataclass(frozen=True)
class BrierParts:
    """The Brier score taken apart (Murphy 1973; Stephenson, Coelho and Jolliffe 2008 for what lies within the bins).

    `brier = reliability - resolution + uncertainty + within`, exactly.

    Attributes:
        reliability: Mean squared distance of the bins' mean probability from their share of positives; 0 is best.
        resolution: Mean squared distance of the bins' share of positives from that of all; the larger the better.
        uncertainty: Prevalence times its complement: the score of who always predicts the prevalence.
        within: What the bins hide: the variance of the probabilities in a bin less twice their covariance with the truth.
    """

    reliability: float
    resolution: float
    uncertainty: float
    within: float


def reliability(probability: Float[np.ndarray, " n"], target: Bool[np.ndarray, " n"], bins: int = BINS) -> tuple[Bin, ...]:
    """Cases grouped by probability into `bins` equal widths; 0 and 1 belong to the outer bins, empty bins are left out."""
    edges = np.arange(bins + 1) / bins
    index = equal_width(probability, bins)
    size = np.bincount(index, minlength=bins)
    predicted = np.bincount(index, weights=probability, minlength=bins)
    observed = np.bincount(index, weights=target, minlength=bins)
    return tuple(
        Bin(
            float(edges[i]),
            float(edges[i + 1]),
            int(size[i]),
            float(predicted[i] / size[i]),
            float(observed[i] / size[i]),
            *wilson(float(observed[i]), float(size[i])),
        )
        for i in np.flatnonzero(size)
    )


def equal_width(probability: Float[np.ndarray, " n"], bins: int = BINS) -> Int64[np.ndarray, " n"]:
    """Which of `bins` equally wide bins of [0, 1] a probability lies in; a lower edge belongs to its bin, and 1 to the last."""
    return np.clip(np.searchsorted(np.arange(bins + 1) / bins, probability, side="right") - 1, 0, bins - 1)


def equal_mass(probability: Float[np.ndarray, " n"], bins: int = BINS) -> Int64[np.ndarray, " n"]:
    """Which of `bins` bins of equally many cases a probability lies in; equal probabilities share the bin of their middle rank."""
    _, tie, size = np.unique(probability, return_inverse=True, return_counts=True)
    twice_middle = 2 * np.cumsum(size) - size  # whole numbers: no rounding at the bins' edges
    return np.asarray(bins * twice_middle // (2 * len(probability)), dtype=np.int64)[tie]


def expected_calibration_error(
    probability: Float[np.ndarray, " n"], target: Bool[np.ndarray, " n"], bins: int = BINS, *, mass: bool = False
) -> float:
    """ECE: the mean over cases of |share of positives - mean probability| in the case's bin (Naeini et al. 2015).

    Args:
        probability: Of the positive class.
        target: Truth.
        bins: Their number.
        mass: Bins of equally many cases instead of equal width (Nixon et al. 2019).
    """
    size, gap = _gaps(probability, target, bins, mass=mass)
    return float(size @ gap) / len(target)


def maximum_calibration_error(
    probability: Float[np.ndarray, " n"], target: Bool[np.ndarray, " n"], bins: int = BINS, *, mass: bool = False
) -> float:
    """MCE: the largest |share of positives - mean probability| of any bin with cases."""
    return float(_gaps(probability, target, bins, mass=mass)[1].max())


def _gaps(
    probability: Float[np.ndarray, " n"], target: Bool[np.ndarray, " n"], bins: int, *, mass: bool
) -> tuple[Int64[np.ndarray, " k"], Float64[np.ndarray, " k"]]:
    """Of the bins that hold cases: how many, and how far their mean probability is off."""
    index = equal_mass(probability, bins) if mass else equal_width(probability, bins)
    size = np.bincount(index)
    held = size > 0
    gap = np.bincount(index, weights=target)[held] / size[held] - np.bincount(index, weights=probability)[held] / size[held]
    return size[held], np.abs(gap)


def brier_parts(probability: Float[np.ndarray, " n"], target: Bool[np.ndarray, " n"], bins: int = BINS) -> BrierParts:
    """Murphy's parts of the Brier score over equally wide bins, with the remainder within them, so that they add up exactly.

    Args:
        probability: Of the positive class; at least one case.
        target: Truth.
        bins: Number of equally wide bins.
    """
    _, index = np.unique(equal_width(probability, bins), return_inverse=True)
    truth, n, prevalence = np.asarray(target, dtype=np.float64), len(target), float(np.mean(target))
    size = np.bincount(index)
    observed, predicted = np.bincount(index, weights=truth) / size, np.bincount(index, weights=probability) / size
    spread = np.asarray(probability, dtype=np.float64) - predicted[index]
    return BrierParts(
        reliability=float(size @ (predicted - observed) ** 2) / n,
        resolution=float(size @ (observed - prevalence) ** 2) / n,
        uncertainty=prevalence * (1 - prevalence),
        within=float(spread @ spread - 2 * (spread @ (truth - observed[index]))) / n,
    )


def squared_error(
    probability: Float[np.ndarray, " n *k"], target: Int64[np.ndarray, " n"] | Bool[np.ndarray, " n"]
) -> Float64[np.ndarray, " n"]:
    """Each case's part of the Brier score.

    Args:
        probability: (n,) of the positive class, or (n, K) of every class; then squares are summed over the classes
            (Brier 1950), so that two classes give twice the binary score.
        target: (n,) truth, or class index.
    """
    if probability.ndim == 1:
        return np.asarray((probability - target) ** 2, dtype=np.float64)
    truth = np.arange(probability.shape[1]) == np.asarray(target)[:, None]
    return np.asarray(((probability - truth) ** 2).sum(axis=1), dtype=np.float64)


def brier(probability: Float[np.ndarray, " n *k"], target: Int64[np.ndarray, " n"] | Bool[np.ndarray, " n"]) -> float:
    """The Brier score: mean squared error of the probability."""
    return float(squared_error(probability, target).mean())


def fit_temperature(logit: Float[np.ndarray, " n *k"], target: Int64[np.ndarray, " n"] | Bool[np.ndarray, " n"]) -> float:
    """The temperature T that makes `logit / T` fit best by likelihood (Guo et al. 2017), between 0.05 and 20.

    Above 1 it makes an over-confident model humbler. It changes no ranking.

    Args:
        logit: (n,) of a binary label, or (n, K) of K classes.
        target: (n,) truth, or class index.

    Raises:
        MedaiError: no cases, lengths that differ, or values that are not finite.
    """
    if len(logit) == 0 or len(logit) != len(target):
        raise MedaiError(f"a temperature needs one target a logit and at least one case, got {len(logit)} logits and {len(target)} targets")
    if not np.isfinite(logit).all():
        raise MedaiError("a temperature cannot be fitted: some logits are not finite")
    logits = np.asarray(logit, dtype=np.float64)
    bounds = tuple(math.log(value) for value in TEMPERATURES)
    result = minimize_scalar(
        lambda power: _loss(logits / math.exp(power), target), bounds=bounds, method="bounded", options={"xatol": 1e-8}
    )
    return float(min(max(math.exp(result.x), TEMPERATURES[0]), TEMPERATURES[1]))


def _loss(logit: Float64[np.ndarray, " n *k"], target: Int64[np.ndarray, " n"] | Bool[np.ndarray, " n"]) -> float:
    if logit.ndim == 1:
        return float(np.logaddexp(0.0, np.where(target, -logit, logit)).mean())
    chosen = np.take_along_axis(logit, np.asarray(target, dtype=np.int64)[:, None], axis=1)[:, 0]
    return float((logsumexp(logit, axis=1) - chosen).mean())
