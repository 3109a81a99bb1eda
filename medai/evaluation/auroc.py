"""AUROC with DeLong's variance, in one sort, ties counted half."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Float64
from scipy.optimize import brentq
from scipy.special import ndtr, stdtr, stdtrit

from medai.core.error import MedaiError
from medai.evaluation.figure import CONFIDENCE, Figure, missing
from medai.evaluation.power import hanley_mcneil_variance
from medai.evaluation.proportion import normal_quantile

DELONG = "DeLong"
DELONG_SCORE = "DeLong, score interval"
NEWCOMBE = "Newcombe score interval (DeLong's variance is zero)"
NO_VARIANCE = 1e-15  # what rounding leaves of a variance of zero
PRIOR = 10.0  # degrees of freedom that Hanley and McNeil's variance counts for beside DeLong's; chosen by benchmarks/coverage.py
Area = Literal["score", "wald"]
AREAS: tuple[Area, ...] = ("score", "wald")


@dataclass(frozen=True)
class Auroc:
    """Area under the ROC curve.

    Attributes:
        value: Probability that a positive scores above a negative, ties counted half.
        variance: DeLong's variance; NaN with a single positive or a single negative.
        positives: Number of positives, above 0.
        negatives: Number of negatives, above 0.
        freedom: Degrees of freedom of the variance, by Welch and Satterthwaite; NaN where it is zero or unknown.
        effect: Of patients that repeat, Obuchowski's variance over DeLong's; None where cases are independent.
    """

    value: float
    variance: float
    positives: int
    negatives: int
    freedom: float = math.nan
    effect: float | None = None


@dataclass(frozen=True)
class PairedAuroc:
    """The difference of two AUROCs on the same cases, first minus second.

    Attributes:
        difference: First AUROC minus second.
        low: Lower end of the normal interval of the difference.
        high: Its upper end.
        z: The difference over its standard error.
        p: Two-sided.
        covariance: Of the two AUROCs.
        error: Standard error of the difference; 0 where both scores order the cases alike.
    """

    difference: float
    low: float
    high: float
    z: float
    p: float
    covariance: float
    error: float = 0.0

    @property
    def p_greater(self) -> float:
        """One-sided p-value of "the first is greater"."""
        return self.p_above(0.0)

    def p_above(self, bound: float) -> float:
        """One-sided p-value of "the difference lies above `bound`": with minus a margin the test of non-inferiority."""
        return float(ndtr(-standardised(self.difference - bound, self.error)))


@dataclass(frozen=True)
class UnpairedAuroc:
    """The difference of two AUROCs on different cases, first minus second.

    Attributes:
        difference: First AUROC minus second.
        low: Lower end of the interval by Student's t.
        high: Its upper end.
        statistic: The difference over its standard error.
        df: Degrees of freedom.
        p: Two-sided.
        error: Standard error of the difference.
    """

    difference: float
    low: float
    high: float
    statistic: float
    df: float
    p: float
    error: float


def auroc(score: Float[np.ndarray, " n"], target: Bool[np.ndarray, " n"]) -> Auroc:
    """AUROC and its DeLong variance (DeLong et al. 1988; Sun and Xu 2014) in O(n log n).

    Placements are equal within a group of tied scores, so everything is a sum over these groups.

    Args:
        score: Higher means more likely positive.
        target: True for the positives.

    Raises:
        MedaiError: a class is absent.

    Example:
        >>> auroc(np.array([0.1, 0.4, 0.4, 0.9]), np.array([False, True, False, True])).value
        0.875
    """
    order = np.argsort(score)
    ranked = score[order]
    ends = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))
    below = np.cumsum(target[order])[ends]  # positives up to and with each group
    positive = np.diff(below, prepend=0)
    negative = np.diff(ends, prepend=-1) - positive
    positives, negatives = int(below[-1]), len(score) - int(below[-1])
    if positives == 0 or negatives == 0:
        raise MedaiError(f"AUROC needs both classes, got {positives} positives and {negatives} negatives")
    of_positive = (ends + 1 - below - negative / 2) / negatives
    of_negative = (positives - below + positive / 2) / positives
    value = float(positive @ of_positive) / positives
    if positives == 1 or negatives == 1:
        return Auroc(value, math.nan, positives, negatives)
    spread_positive = float(positive @ (of_positive - value) ** 2) / (positives - 1)
    spread_negative = float(negative @ (of_negative - value) ** 2) / (negatives - 1)
    parts = spread_positive / positives, spread_negative / negatives
    return Auroc(value, sum(parts), positives, negatives, freedom_of(parts, (positives, negatives)))


def freedom_of(variance: tuple[float, float], members: tuple[int, int]) -> float:
    """Degrees of freedom of a sum of two variances (Welch and Satterthwaite); NaN where it is zero.

    Args:
        variance: The part of the positives, and of the negatives.
        members: How many cases, or patients, each is estimated from.
    """
    spread = sum(part**2 / (count - 1) for part, count in zip(variance, members, strict=True))
    return sum(variance) ** 2 / spread if spread > 0 else math.nan


def auroc_interval(result: Auroc, confidence: float = CONFIDENCE, kind: Area = "score") -> tuple[float, float, str]:
    """The interval of an AUROC within [0, 1], and its method.

    Where the variance is zero or undefined (perfect separation, all scores tied, one case in a class), it is Newcombe's score
    interval, which stays wide when there are few cases.

    Args:
        result: From `auroc`.
        confidence: Coverage.
        kind: ``"score"``, see `score_interval`; ``"wald"``, DeLong's normal interval as pROC gives it. With few events, or an
            AUROC near 1, the latter covers too seldom (docs/evaluation.md).
    """
    if not has_variance(result):
        return *newcombe(result.value, result.positives, result.negatives, confidence), NEWCOMBE
    if kind == "score":
        return *score_interval(result, confidence), DELONG_SCORE
    half = normal_quantile(confidence) * math.sqrt(result.variance)
    return max(0.0, result.value - half), min(1.0, result.value + half), DELONG


def has_variance(result: Auroc) -> bool:
    """Whether the data show how far the AUROC may be off."""
    return result.variance > NO_VARIANCE and 0 < result.value < 1


def score_interval(result: Auroc, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """The AUROCs that a score test does not reject: the variance at each is Hanley and McNeil's, scaled to the one estimated here.

    Near 1 the variance falls with the AUROC, so the interval reaches further down than up (Newcombe 2006, Stat Med 25:559). With
    few cases the estimated variance is itself uncertain, and too small where the AUROC came out too large; so the scale is a mean
    of estimated over Hanley and McNeil's (1982, Radiology 143:29), by its degrees of freedom, and 1, by `PRIOR`. With many cases it
    is DeLong's interval. Where patients repeat, the 1 is the design effect, and the quantile Student's.

    Args:
        result: From `auroc` or `clustered_auroc`, with a variance.
        confidence: Coverage.
    """
    cases, freedom = (result.positives, result.negatives), result.freedom
    ratio = result.variance / hanley_mcneil_variance(result.value, *cases)
    scale = (freedom * ratio + PRIOR * max(1.0, result.effect or 1.0)) / (freedom + PRIOR)
    quantile = normal_quantile(confidence) if result.effect is None else float(stdtrit(freedom + PRIOR, 0.5 + confidence / 2))
    return _not_rejected(result.value, lambda bound: quantile**2 * scale * hanley_mcneil_variance(bound, *cases))


def newcombe(value: float, positives: int, negatives: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Score interval of an AUROC by the Hanley-McNeil variance at the bound (Newcombe 2006, Stat Med 25:559, method 5)."""
    z2, middle = normal_quantile(confidence) ** 2, (positives + negatives) / 2 - 1

    def limit(bound: float) -> float:
        shape = 1 + middle * ((1 - bound) / (2 - bound) + bound / (1 + bound))
        return z2 * bound * (1 - bound) * shape / (positives * negatives)

    return _not_rejected(value, limit)


def _not_rejected(value: float, limit: Callable[[float], float]) -> tuple[float, float]:
    """Where the squared distance from the value stays below its limit."""

    def excess(bound: float) -> float:
        return (bound - value) ** 2 - limit(bound)

    tiny = 1e-12
    low = 0.0 if value <= tiny or excess(tiny) <= 0 else float(brentq(excess, tiny, max(value - tiny, 2 * tiny)))
    high = 1.0 if value >= 1 - tiny or excess(1 - tiny) <= 0 else float(brentq(excess, min(value + tiny, 1 - 2 * tiny), 1 - tiny))
    return low, high


def auroc_figure(
    score: Float[np.ndarray, " n"], target: Bool[np.ndarray, " n"], confidence: float = CONFIDENCE, kind: Area = "score"
) -> Figure:
    """AUROC with its interval, see `auroc_interval`; without a value where a class is absent."""
    reason = absent_class(target)
    if reason:
        return missing(len(target), DELONG, reason)
    result = auroc(score, target)
    low, high, method = auroc_interval(result, confidence, kind)
    return Figure(result.value, low, high, len(target), method)


def absent_class(target: Bool[np.ndarray, " n"]) -> str:
    """Why there is no ROC curve, or an empty text."""
    if len(target) == 0:
        return "no cases"
    if not target.any():
        return "no positive cases"
    return "no negative cases" if target.all() else ""


def placements(
    score: Float[np.ndarray, " n"], target: Bool[np.ndarray, " n"]
) -> tuple[Float64[np.ndarray, " p"], Float64[np.ndarray, " q"]]:
    """DeLong's placement values: of each positive among the negatives, and of each negative among the positives."""
    positive, negative = score[target], score[~target]
    of_positive = _share_below(positive, np.sort(negative))
    return of_positive, 1 - _share_below(negative, np.sort(positive))


def _share_below(score: Float[np.ndarray, " n"], others: Float[np.ndarray, " m"]) -> Float64[np.ndarray, " n"]:
    return (np.searchsorted(others, score, "left") + np.searchsorted(others, score, "right")) / (2 * len(others))


def paired_auroc(
    first: Float[np.ndarray, " n"], second: Float[np.ndarray, " n"], target: Bool[np.ndarray, " n"], confidence: float = CONFIDENCE
) -> PairedAuroc:
    """DeLong's test of two scores on the same cases (DeLong et al. 1988, Biometrics 44:837).

    Args:
        first: Higher means more likely positive.
        second: Another score of the same cases.
        target: True for the positives.
        confidence: Coverage of the interval.

    Raises:
        MedaiError: fewer than two positives or negatives.
    """
    positives, negatives = int(target.sum()), int((~target).sum())
    if min(positives, negatives) < 2:
        raise MedaiError(f"the comparison of two AUROCs needs two cases of each class, got {positives} positives and {negatives} negatives")
    (first_positive, first_negative), (second_positive, second_negative) = placements(first, target), placements(second, target)
    difference = float(first_positive.mean() - second_positive.mean())
    # of the differences, not of the four moments, so that equal placements give exactly 0
    variance = _variance(first_positive - second_positive) + _variance(first_negative - second_negative)
    covariance = float(
        np.cov(first_positive, second_positive)[0, 1] / positives + np.cov(first_negative, second_negative)[0, 1] / negatives
    )
    return paired_difference(difference, variance, covariance, confidence)


def _variance(value: Float64[np.ndarray, " n"]) -> float:
    return float(value.var(ddof=1)) / len(value)


def paired_difference(difference: float, variance: float, covariance: float, confidence: float = CONFIDENCE) -> PairedAuroc:
    """The normal interval and test of a difference of known variance."""
    error = math.sqrt(max(0.0, variance))
    z, half = standardised(difference, error), normal_quantile(confidence) * error
    return PairedAuroc(difference, difference - half, difference + half, z, float(2 * ndtr(-abs(z))), covariance, error)


def standardised(difference: float, error: float) -> float:
    """The difference over its standard error; infinite, or 0 for no difference, where the error is 0."""
    if error > 0:
        return difference / error
    return math.copysign(math.inf, difference) if difference else 0.0


def unpaired_auroc(first: Auroc, second: Auroc, confidence: float = CONFIDENCE) -> UnpairedAuroc:
    """DeLong's test of two AUROCs on different cases, e.g. of two sites, with Welch's degrees of freedom as in pROC.

    Args:
        first: From `auroc`.
        second: From `auroc`, on cases of other patients.
        confidence: Coverage of the interval.

    Raises:
        MedaiError: one of them has a single positive or a single negative.
    """
    for result in (first, second):
        if math.isnan(result.variance):
            raise MedaiError(
                "the comparison of two AUROCs needs two cases of each class on both sides, "
                f"got {result.positives} positives and {result.negatives} negatives"
            )
    difference, variance = first.value - second.value, first.variance + second.variance
    sizes = [result.positives + result.negatives - 1 for result in (first, second)]
    spread = first.variance**2 / sizes[0] + second.variance**2 / sizes[1]
    df = variance**2 / spread if spread > 0 else float(sum(sizes))
    error = math.sqrt(variance)
    statistic, half = standardised(difference, error), float(stdtrit(df, 0.5 + confidence / 2)) * error
    p = float(2 * stdtr(df, -abs(statistic)))
    return UnpairedAuroc(difference, difference - half, difference + half, statistic, df, p, error)
