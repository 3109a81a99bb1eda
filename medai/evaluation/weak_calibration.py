"""Calibration as a regression on the logit: slope, intercept, Spiegelhalter's test and a smooth reliability curve."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64
from scipy.special import expit, ndtr

from medai.evaluation.auroc import absent_class
from medai.evaluation.figure import CONFIDENCE, Figure, missing
from medai.evaluation.logistic import Logistic, fit_logistic
from medai.evaluation.proportion import normal_quantile

WALD = "Wald"
WALD_CLUSTERED = "Wald, sandwich variance by patient"
SPIEGELHALTER = "Spiegelhalter"
SPIEGELHALTER_CLUSTERED = "Spiegelhalter, variance by patient"
SPLINE = "logistic regression on a restricted cubic spline of the logit, pointwise Wald band"
SPLINE_CLUSTERED = f"{SPLINE} by patient"
SEPARATED = "the probabilities separate the classes"
EQUAL = "all probabilities are equal"
NEAREST = 1e-8  # to 0 and 1, for logits
POINTS = 50
KNOTS = {3: (0.1, 0.5, 0.9), 4: (0.05, 0.35, 0.65, 0.95), 5: (0.05, 0.275, 0.5, 0.725, 0.95)}  # Harrell 2015, table 2.3


@dataclass(frozen=True)
class Spiegelhalter:
    """Spiegelhalter's test that the probabilities are right (Stat Med 1986, 5:421); z above 0: a worse Brier score than they promise.

    Attributes:
        z: Standard normal if they are; None where they decide nothing (all 0, 0.5 or 1, or no cases).
        p: Two-sided.
        n: Number of cases.
        method: How the variance was made.
        reason: Why there is no z.
    """

    z: float | None
    p: float | None
    n: int
    method: str
    reason: str = ""

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        record = {"z": self.z, "p": self.p, "n": self.n, "method": self.method}
        return record | ({"reason": self.reason} if self.reason else {})


def logit_of(probability: Float[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
    """Log odds; probabilities nearer than 1e-8 to 0 or 1 count as that."""
    inside = np.clip(np.asarray(probability, dtype=np.float64), NEAREST, 1 - NEAREST)
    return np.asarray(np.log(inside) - np.log1p(-inside))


def calibration_line(
    probability: Float[np.ndarray, " n"],
    target: Bool[np.ndarray, " n"],
    cluster: Int64[np.ndarray, " n"] | None = None,
    confidence: float = CONFIDENCE,
) -> tuple[Figure, Figure]:
    """Slope and intercept of the calibration line `logit P(positive) = intercept + slope * logit(probability)` (Cox 1958).

    A slope below 1 means probabilities that are too extreme; 1 and 0 are ideal (Van Calster et al. 2016).

    Args:
        probability: Of the positive class.
        target: Truth.
        cluster: Patient of each case where patients repeat.
        confidence: Coverage of Wald's intervals.
    """
    method, n = WALD if cluster is None else WALD_CLUSTERED, len(target)
    logit = logit_of(probability)
    reason = absent_class(target) or (EQUAL if np.ptp(logit) == 0 else "")
    if not reason:
        fit = fit_logistic(np.column_stack([np.ones(n), logit]), target, cluster=cluster)
        if fit is not None:
            return _wald(fit, 1, n, method, confidence), _wald(fit, 0, n, method, confidence)
    return missing(n, method, reason or SEPARATED), missing(n, method, reason or SEPARATED)


def calibration_in_the_large(
    probability: Float[np.ndarray, " n"],
    target: Bool[np.ndarray, " n"],
    cluster: Int64[np.ndarray, " n"] | None = None,
    confidence: float = CONFIDENCE,
) -> Figure:
    """The intercept of the calibration line whose slope is fixed at 1: above 0 where risks are predicted too low.

    Args:
        probability: Of the positive class.
        target: Truth.
        cluster: Patient of each case where patients repeat.
        confidence: Coverage of Wald's interval.
    """
    method, n = WALD if cluster is None else WALD_CLUSTERED, len(target)
    reason = absent_class(target)
    fit = None if reason else fit_logistic(np.ones((n, 1)), target, logit_of(probability), cluster)
    if fit is None:
        return missing(n, method, reason or SEPARATED)
    return _wald(fit, 0, n, method, confidence)


def spiegelhalter(
    probability: Float[np.ndarray, " n"], target: Bool[np.ndarray, " n"], cluster: Int64[np.ndarray, " n"] | None = None
) -> Spiegelhalter:
    """Spiegelhalter's z; where patients repeat, its variance is the sum of squares of each patient's part.

    Args:
        probability: Of the positive class.
        target: Truth.
        cluster: Patient of each case where patients repeat.
    """
    method, n = SPIEGELHALTER if cluster is None else SPIEGELHALTER_CLUSTERED, len(target)
    if n == 0:
        return Spiegelhalter(None, None, 0, method, "no cases")
    part = (target - probability) * (1 - 2 * probability)
    if cluster is None:
        variance = float(((1 - 2 * probability) ** 2 * probability * (1 - probability)).sum())
    else:
        sums = np.bincount(np.unique(cluster, return_inverse=True)[1], weights=part)
        variance = float(sums @ sums)
    if variance <= 0:
        return Spiegelhalter(None, None, n, method, "every probability is 0, 0.5 or 1")
    z = float(part.sum()) / math.sqrt(variance)
    return Spiegelhalter(z, float(2 * ndtr(-abs(z))), n, method)


def reliability_curve(
    probability: Float[np.ndarray, " n"],
    target: Bool[np.ndarray, " n"],
    cluster: Int64[np.ndarray, " n"] | None = None,
    confidence: float = CONFIDENCE,
) -> dict[str, Any]:
    """The smooth share of positives at each probability, with its band (Harrell 2015, section 10.11; Austin and Steyerberg 2014).

    Args:
        probability: Of the positive class.
        target: Truth.
        cluster: Patient of each case where patients repeat.
        confidence: Pointwise coverage of the band.

    Returns:
        ``x``, ``y``, ``low``, ``high`` (50 points from the lowest to the highest probability; empty where there is no curve),
        ``n``, ``method`` and, without a curve, ``reason``.
    """
    method, n = SPLINE if cluster is None else SPLINE_CLUSTERED, len(target)
    empty: dict[str, Any] = {"x": [], "y": [], "low": [], "high": [], "n": n, "method": method}
    reason = absent_class(target)
    if reason:
        return empty | {"reason": reason}
    logit = logit_of(probability)
    places = _knots(logit, int(target.sum()))
    if places is None:
        return empty | {"reason": "too few events or different probabilities"}
    fit = fit_logistic(_spline(logit, places), target, cluster=cluster)
    if fit is None:
        return empty | {"reason": SEPARATED}
    x = np.linspace(float(np.min(probability)), float(np.max(probability)), POINTS)
    design = _spline(logit_of(x), places)
    middle = design @ fit.coefficients
    half = normal_quantile(confidence) * np.sqrt(np.maximum(np.einsum("pi,ij,pj->p", design, fit.covariance, design), 0.0))
    lines = {"x": x, "y": expit(middle), "low": expit(middle - half), "high": expit(middle + half)}
    return {name: line.tolist() for name, line in lines.items()} | {"n": n, "method": method}


def _wald(fit: Logistic, place: int, n: int, method: str, confidence: float) -> Figure:
    value = float(fit.coefficients[place])
    half = normal_quantile(confidence) * math.sqrt(max(0.0, float(fit.covariance[place, place])))
    return Figure(value, value - half, value + half, n, method)


def _knots(logit: Float64[np.ndarray, " n"], events: int) -> Float64[np.ndarray, " k"] | None:
    """Knots at Harrell's quantiles: five, fewer where the events or the distinct values are few, None below three."""
    for count in (5, 4, 3):
        places = np.unique(np.quantile(logit, KNOTS[count]))
        if len(places) == count and min(events, len(logit) - events) >= 10 * (count - 1):
            return np.asarray(places)
    return None


def _spline(x: Float64[np.ndarray, " n"], knots: Float64[np.ndarray, " k"]) -> Float64[np.ndarray, "n k"]:
    """A constant, x, and k - 2 truncated cubes that are linear beyond the outer knots."""
    cubes = np.maximum(x[:, None] - knots, 0.0) ** 3
    last, before = knots[-1], knots[-2]
    bent = cubes[:, :-2] - cubes[:, [-2]] * (last - knots[:-2]) / (last - before) + cubes[:, [-1]] * (before - knots[:-2]) / (last - before)
    return np.column_stack([np.ones(len(x)), x, bent / (last - knots[0]) ** 2])
