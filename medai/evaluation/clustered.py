"""AUROC where patients have several cases: variance of one, and of the difference of two (Obuchowski 1997, Biometrics 53:567).

Cases of a patient are alike, so DeLong's variance, which takes them as independent, is too small. Obuchowski sums the
placements within a patient first. Where every patient has one case, both agree.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64
from scipy.special import expit, logit, stdtrit

from medai.core.error import MedaiError
from medai.evaluation.auroc import (
    NO_VARIANCE,
    Area,
    Auroc,
    PairedAuroc,
    absent_class,
    freedom_of,
    has_variance,
    newcombe,
    paired_difference,
    placements,
    score_interval,
)
from medai.evaluation.figure import CONFIDENCE, Figure, missing

OBUCHOWSKI = "Obuchowski (DeLong clustered by patient)"
OBUCHOWSKI_SCORE = "Obuchowski (DeLong clustered by patient), score interval"
OBUCHOWSKI_LOGIT = "Obuchowski (DeLong clustered by patient), logit scale"
NEWCOMBE_PATIENTS = "Newcombe score interval on patients (Obuchowski's variance is zero)"


@dataclass(frozen=True)
class _Influence:
    """What each patient adds to the error of an AUROC.

    Attributes:
        value: The AUROC.
        of_positive: Sum of the patient's placements less the AUROC, over the positives, divided by all positives.
        of_negative: Likewise of the negatives.
        has_positive: Whether the patient has positives.
        has_negative: Whether the patient has negatives.
        independent: DeLong's variance, as if no patient repeated.
    """

    value: float
    of_positive: Float64[np.ndarray, " i"]
    of_negative: Float64[np.ndarray, " i"]
    has_positive: Bool[np.ndarray, " i"]
    has_negative: Bool[np.ndarray, " i"]
    independent: float


def clustered_auroc(score: Float[np.ndarray, " n"], target: Bool[np.ndarray, " n"], cluster: Int64[np.ndarray, " n"]) -> Auroc:
    """AUROC with Obuchowski's variance.

    Args:
        score: Higher means more likely positive.
        target: True for the positives.
        cluster: Patient of each case, any integers; a patient may have cases of both classes.

    Returns:
        The AUROC; its variance is NaN where the positives or the negatives belong to a single patient.

    Raises:
        MedaiError: a class is absent.

    Example:
        >>> clustered_auroc(np.array([0.1, 0.4, 0.4, 0.9]), np.array([False, True, False, True]), np.array([1, 2, 3, 3])).value
        0.875
    """
    part = _influence(score, target, np.unique(cluster, return_inverse=True)[1])
    members = int(part.has_positive.sum()), int(part.has_negative.sum())
    cases = int(target.sum()), int((~target).sum())
    variance = _covariance(part, part)
    if min(members) < 2:
        return Auroc(part.value, variance, *cases)
    own = float(part.of_positive @ part.of_positive), float(part.of_negative @ part.of_negative)
    freedom = freedom_of((own[0] * members[0] / (members[0] - 1), own[1] * members[1] / (members[1] - 1)), members)
    return Auroc(part.value, variance, *cases, freedom, variance / part.independent if part.independent > NO_VARIANCE else 1.0)


def clustered_auroc_figure(
    score: Float[np.ndarray, " n"],
    target: Bool[np.ndarray, " n"],
    cluster: Int64[np.ndarray, " n"],
    confidence: float = CONFIDENCE,
    kind: Area = "score",
) -> Figure:
    """AUROC with an interval by Obuchowski's variance; without a value where a class is absent.

    Where the variance is zero or unknown (perfect separation, one patient in a class), it is Newcombe's score interval with the
    numbers of patients in place of those of cases.

    Args:
        score: Higher means more likely positive.
        target: True for the positives.
        cluster: Patient of each case.
        confidence: Coverage.
        kind: ``"score"``, see `medai.evaluation.auroc.score_interval`; ``"wald"``: normal on the logit scale, by Student's t with
            one degree of freedom less than the patients of the rarer class. With few patients the latter covers too seldom.
    """
    reason = absent_class(target)
    if reason:
        return missing(len(target), OBUCHOWSKI_SCORE if kind == "score" else OBUCHOWSKI_LOGIT, reason)
    result = clustered_auroc(score, target, cluster)
    patients = len(np.unique(cluster[target])), len(np.unique(cluster[~target]))
    low, high, method = clustered_interval(result, patients, confidence, kind)
    return Figure(result.value, low, high, len(target), method)


def clustered_interval(
    result: Auroc, patients: tuple[int, int], confidence: float = CONFIDENCE, kind: Area = "score"
) -> tuple[float, float, str]:
    """The interval of `clustered_auroc_figure`, and its method.

    Args:
        result: From `clustered_auroc`.
        patients: With positives, and with negatives.
        confidence: Coverage.
        kind: As in `clustered_auroc_figure`.
    """
    value = result.value
    if not has_variance(result):
        return *newcombe(value, *patients, confidence), NEWCOMBE_PATIENTS
    if kind == "score":
        return *score_interval(result, confidence), OBUCHOWSKI_SCORE
    half = float(stdtrit(min(patients) - 1, 0.5 + confidence / 2)) * math.sqrt(result.variance) / (value * (1 - value))
    return float(expit(logit(value) - half)), float(expit(logit(value) + half)), OBUCHOWSKI_LOGIT


def clustered_paired_auroc(
    first: Float[np.ndarray, " n"],
    second: Float[np.ndarray, " n"],
    target: Bool[np.ndarray, " n"],
    cluster: Int64[np.ndarray, " n"],
    confidence: float = CONFIDENCE,
) -> PairedAuroc:
    """The difference of two scores on the same cases, first minus second, where patients repeat.

    Args:
        first: Higher means more likely positive.
        second: Another score of the same cases.
        target: True for the positives.
        cluster: Patient of each case.
        confidence: Coverage of the interval.

    Raises:
        MedaiError: the positives, or the negatives, belong to fewer than two patients.
    """
    codes = np.unique(cluster, return_inverse=True)[1]
    one, other = _influence(first, target, codes), _influence(second, target, codes)
    return _difference(one, other, confidence)


def _influence(score: Float[np.ndarray, " n"], target: Bool[np.ndarray, " n"], codes: Int64[np.ndarray, " n"]) -> _Influence:
    positives, negatives = int(target.sum()), int((~target).sum())
    if positives == 0 or negatives == 0:
        raise MedaiError(f"AUROC needs both classes, got {positives} positives and {negatives} negatives")
    patients = int(codes.max()) + 1
    of_positive, of_negative = placements(score, target)
    value = float(of_positive.mean())
    return _Influence(
        value,
        np.bincount(codes[target], of_positive - value, patients) / positives,
        np.bincount(codes[~target], of_negative - value, patients) / negatives,
        np.bincount(codes[target], minlength=patients) > 0,
        np.bincount(codes[~target], minlength=patients) > 0,
        float(of_positive.var()) / max(positives - 1, 1) + float(of_negative.var()) / max(negatives - 1, 1),
    )


def _covariance(one: _Influence, other: _Influence) -> float:
    """Obuchowski's covariance of two AUROCs (equations 4 to 6); with one and the same, the variance."""
    positive, negative = one.has_positive | other.has_positive, one.has_negative | other.has_negative
    diseased = _corrected(positive) * float(one.of_positive @ other.of_positive)
    healthy = _corrected(negative) * float(one.of_negative @ other.of_negative)
    crossed = float(one.of_positive @ other.of_negative + one.of_negative @ other.of_positive)
    return diseased + healthy + (_corrected(positive | negative) * crossed if crossed else 0.0)


def _corrected(member: Bool[np.ndarray, " i"]) -> float:
    count = int(member.sum())
    return count / (count - 1) if count > 1 else math.nan


def _difference(one: _Influence, other: _Influence, confidence: float) -> PairedAuroc:
    fewest = min(int(member.sum()) for part in (one, other) for member in (part.has_positive, part.has_negative))
    if fewest < 2:
        raise MedaiError(f"the comparison of two AUROCs needs two patients with cases of each class, got {fewest}")
    own = _covariance(one, one) + _covariance(other, other)
    covariance = _covariance(one, other)
    same = np.array_equal(one.of_positive, other.of_positive) and np.array_equal(one.of_negative, other.of_negative)
    return paired_difference(one.value - other.value, 0.0 if same else own - 2 * covariance, covariance, confidence)
