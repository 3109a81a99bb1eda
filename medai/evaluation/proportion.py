"""Intervals of a proportion: Wilson, Clopper-Pearson, and Wilson for cases that come in clusters (patients)."""

import math

import numpy as np
from jaxtyping import Bool, Int64
from scipy.special import betaincinv, ndtri

from medai.evaluation.figure import CONFIDENCE, Figure, missing

WILSON = "Wilson"
WILSON_CLUSTERED = "Wilson, effective sample size by patient"
EXACT = "Clopper-Pearson"
EXACT_CLUSTERED = "Clopper-Pearson, effective sample size by patient"


def normal_quantile(confidence: float) -> float:
    """The two-sided standard normal quantile, 1.96 for 0.95."""
    return float(ndtri(0.5 + confidence / 2))


def wilson(successes: float | int, n: float | int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Wilson's score interval (Wilson 1927).

    Args:
        successes: From 0 to `n`; fractions are allowed (effective sample sizes).
        n: Number of trials, above 0.
        confidence: Coverage.

    Example:
        >>> wilson(81, 263)
        (0.2552885..., 0.3662096...)
    """
    z2 = normal_quantile(confidence) ** 2
    share = successes / n
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = math.sqrt(z2 * (share * (1 - share) / n + z2 / (4 * n * n))) / (1 + z2 / n)
    low = 0.0 if share == 0 else max(0.0, centre - half)
    return low, 1.0 if share == 1 else min(1.0, centre + half)


def clopper_pearson(successes: float | int, n: float | int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """The exact interval (Clopper and Pearson 1934): never below its nominal coverage, hence wide.

    Args:
        successes: From 0 to `n`; fractions are allowed (effective sample sizes, Korn and Graubard 1998).
        n: Number of trials, above 0.
        confidence: Coverage.

    Example:
        >>> clopper_pearson(81, 263)
        (0.2527367..., 0.3676219...)
    """
    tail = (1 - confidence) / 2
    low = 0.0 if successes == 0 else float(betaincinv(successes, n - successes + 1, tail))
    high = 1.0 if successes == n else float(betaincinv(successes + 1, n - successes, 1 - tail))
    return low, high


def mean_of_two(
    first: float, first_interval: tuple[float, float], second: float, second_interval: tuple[float, float]
) -> tuple[float, float]:
    """The interval of the plain mean of two independent estimates, from their own intervals (MOVER; Zou and Donner 2008).

    Example:
        >>> mean_of_two(0.9, (0.8, 0.95), 0.9, (0.8, 0.95))
        (0.8292..., 0.9353...)
    """
    below = math.hypot(first - first_interval[0], second - second_interval[0]) / 2
    above = math.hypot(first_interval[1] - first, second_interval[1] - second) / 2
    middle = (first + second) / 2
    return max(0.0, middle - below), min(1.0, middle + above)


def effective_size(success: Bool[np.ndarray, " n"], cluster: Int64[np.ndarray, " n"]) -> float:
    """How many independent cases `n` clustered ones are worth, at most n (Rao and Scott 1992, Biometrics 48:577).

    The variance of the proportion is estimated between clusters, as that of a ratio, and set against the binomial one.
    """
    _, index = np.unique(cluster, return_inverse=True)
    size = np.bincount(index).astype(np.float64)
    hits = np.bincount(index, weights=success)
    n, clusters, share = float(size.sum()), len(size), float(success.mean())
    if clusters < 2:
        return 1.0
    between = clusters / (clusters - 1) * float(((hits - share * size) ** 2).sum()) / n**2
    binomial = share * (1 - share) / n
    if binomial == 0:  # all alike: nothing tells how alike images of a patient are, so count patients
        return float(clusters)
    return n / max(1.0, between / binomial)


def proportion(
    success: Bool[np.ndarray, " n"],
    cluster: Int64[np.ndarray, " n"] | None = None,
    confidence: float = CONFIDENCE,
    *,
    empty: str = "no cases",
    exact: bool = False,
) -> Figure:
    """The share of `success` with Wilson's interval, or the exact one.

    Args:
        success: One truth value a case.
        cluster: The patient of each case where patients repeat; the interval then uses the effective sample size.
        confidence: Coverage.
        empty: The reason to give when there are no cases.
        exact: Clopper and Pearson's interval instead of Wilson's: wider, for those who may not fall below the coverage.
    """
    n = len(success)
    method = (EXACT if exact else WILSON) if cluster is None else (EXACT_CLUSTERED if exact else WILSON_CLUSTERED)
    if n == 0:
        return missing(0, method, empty)
    share = float(success.mean())
    size = float(n) if cluster is None else effective_size(success, cluster)
    low, high = (clopper_pearson if exact else wilson)(share * size, size, confidence)
    return Figure(share, low, high, n, method)
