"""The bias-corrected and accelerated bootstrap interval (Efron 1987), accelerated by a jackknife over patients."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64
from scipy.special import ndtr, ndtri

from medai.evaluation.figure import CONFIDENCE


@dataclass(frozen=True)
class Bca:
    """A BCa interval.

    Attributes:
        low: Lower end.
        high: Upper end.
        bias: z0, the normal quantile of the share of replicates below the estimate (ties counted half).
        acceleration: a, a sixth of the skewness of the jackknife's influence.
    """

    low: float
    high: float
    bias: float
    acceleration: float


def acceleration(left_out: Float64[np.ndarray, " g"], stratum: Int64[np.ndarray, " g"] | None = None) -> float:
    """The acceleration of one statistic (Efron and Tibshirani 1993, eq. 14.15; strata as Davison and Hinkley 1997, eq. 5.26).

    Args:
        left_out: (g,) the statistic without each patient, or without each group of patients.
        stratum: (g,) stratum of each patient or group; None for one.

    Returns:
        NaN where a leave-out does not define the statistic; 0 where all are equal.
    """
    if len(left_out) < 2 or not np.isfinite(left_out).all():
        return float("nan")
    codes = np.zeros(len(left_out), dtype=np.int64) if stratum is None else np.unique(stratum, return_inverse=True)[1]
    size = np.bincount(codes).astype(np.float64)
    mean = np.bincount(codes, weights=left_out) / size
    influence = (mean[codes] - left_out) * ((size - 1) / size)[codes]
    spread = float((influence**2).sum())
    return float((influence**3).sum()) / (6 * spread**1.5) if spread > 0 else 0.0


def bca_interval(
    value: float,
    replicates: Float64[np.ndarray, " r"],
    left_out: Float64[np.ndarray, " g"],
    stratum: Int64[np.ndarray, " g"] | None = None,
    confidence: float = CONFIDENCE,
) -> Bca | None:
    """The BCa interval of an estimate, or None where it is undefined.

    Args:
        value: The estimate on the cases themselves.
        replicates: (r,) bootstrap replicates; those that are not finite are left out.
        left_out: (g,) jackknife values.
        stratum: (g,) their strata.
        confidence: Coverage.

    Returns:
        None where every replicate lies on one side of the estimate, or a leave-out does not define the statistic.

    Example:
        >>> value = np.random.default_rng(0).exponential(size=50)
        >>> means = np.random.default_rng(1).choice(value, (2000, 50)).mean(axis=1)
        >>> bca_interval(float(value.mean()), means, (value.sum() - value) / 49).acceleration > 0
        True
    """
    defined = replicates[np.isfinite(replicates)]
    if len(defined) == 0:
        return None
    close = np.abs(defined - value) <= 1e-12 * max(1.0, abs(value))  # rounding must not decide on which side a tie falls
    below = float(((defined < value) & ~close).mean() + close.mean() / 2)
    bend = acceleration(left_out, stratum)
    if not 0 < below < 1 or np.isnan(bend):
        return None
    bias = float(ndtri(below))
    normal = ndtri(np.array([0.5 - confidence / 2, 0.5 + confidence / 2]))
    if (1 - bend * (bias + normal) <= 0).any():
        return None
    low, high = np.quantile(defined, ndtr(bias + (bias + normal) / (1 - bend * (bias + normal))))
    return Bca(float(low), float(high), bias, bend)
