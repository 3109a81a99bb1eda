"""Formulas of precision and power: variances of an AUROC from the sizes of the classes, tests, widths, design effects."""

import math

import numpy as np
from jaxtyping import Int64
from scipy.optimize import brentq
from scipy.special import ndtr, ndtri

from medai.core.error import MedaiError
from medai.evaluation.figure import CONFIDENCE
from medai.evaluation.proportion import normal_quantile, wilson


def hanley_mcneil_variance(auc: float, positives: float, negatives: float) -> float:
    """The variance of an AUROC from its value and the sizes of the classes (Hanley and McNeil 1982, Radiology 143:29, eq. 1 and 2).

    Args:
        auc: The true area, from 0 to 1.
        positives: Number of positives, above 0; fractions are allowed (effective numbers).
        negatives: Likewise of negatives.

    Example:
        >>> 1.96 * hanley_mcneil_variance(0.9, 350, 34_650) ** 0.5
        0.0217...
    """
    between(auc, "the AUROC")
    _numbers(positives, negatives)
    both_positive, both_negative = auc / (2 - auc) - auc**2, 2 * auc**2 / (1 + auc) - auc**2
    return (auc * (1 - auc) + (positives - 1) * both_positive + (negatives - 1) * both_negative) / (positives * negatives)


def obuchowski_variance(auc: float, ratio: float) -> float:
    """The variance of an AUROC times the number of positives, for binormal scores (Obuchowski, Lieber and Wians 2004, Clin Chem 50:1118).

    Args:
        auc: The true area, between 0 and 1.
        ratio: Negatives a positive.
    """
    deviate = float(ndtri(auc)) * 1.414  # as printed in the paper
    return 0.0099 * math.exp(-(deviate**2) / 2) * ((5 * deviate**2 + 8) + (deviate**2 + 8) / ratio)


def _chance_variance(ratio: float) -> float:
    return 0.0792 * (1 + 1 / ratio)


def auroc_power(auc: float, positives: float, negatives: float, *, alpha: float = 0.05, two_sided: bool = True) -> float:
    """The power to tell an AUROC from 0.5 (Obuchowski et al. 2004), as `power.roc.test` of pROC.

    Args:
        auc: The true area, above 0.5 and below 1.
        positives: Number of positives.
        negatives: Number of negatives.
        alpha: Size of the test.
        two_sided: Whether both directions are tested.

    Example:
        >>> auroc_power(0.73, 41, 72)
        0.98974...
    """
    between(auc, "the AUROC", 0.5, 1)
    _numbers(positives, negatives)
    ratio, critical = negatives / positives, _critical(alpha, two_sided)
    reach = math.sqrt(positives) * (auc - 0.5) - critical * math.sqrt(_chance_variance(ratio))
    return float(ndtr(reach / math.sqrt(obuchowski_variance(auc, ratio))))


def detectable_auroc(power: float, positives: float, negatives: float, *, alpha: float = 0.05, two_sided: bool = True) -> float:
    """The AUROC that is told from 0.5 with this power; arguments as in `auroc_power`.

    Raises:
        MedaiError: no area below 1 reaches the power.
    """
    between(power, "the power")

    def excess(auc: float) -> float:
        return auroc_power(auc, positives, negatives, alpha=alpha, two_sided=two_sided) - power

    lowest, highest = 0.5 + 1e-9, 1 - 1e-9
    if excess(highest) < 0:
        raise MedaiError(f"{positives:g} positives and {negatives:g} negatives reach no power of {power:g}; plan for more cases")
    return lowest if excess(lowest) >= 0 else float(brentq(excess, lowest, highest, xtol=1e-12))


def positives_needed(auc: float, power: float, ratio: float, *, alpha: float = 0.05, two_sided: bool = True) -> float:
    """How many positives tell an AUROC from 0.5 with this power, not rounded (Obuchowski et al. 2004, eq. 1).

    Args:
        auc: The true area, above 0.5 and below 1.
        power: Between 0 and 1.
        ratio: Negatives a positive.
        alpha: Size of the test.
        two_sided: Whether both directions are tested.
    """
    between(auc, "the AUROC", 0.5, 1)
    between(power, "the power")
    null, other = _critical(alpha, two_sided) * math.sqrt(_chance_variance(ratio)), float(ndtri(power))
    return ((null + other * math.sqrt(obuchowski_variance(auc, ratio))) / (auc - 0.5)) ** 2


def paired_power(
    reference: float,
    auc: float,
    reference_variance: float,
    variance: float,
    covariance: float,
    *,
    alpha: float = 0.05,
    two_sided: bool = True,
) -> float:
    """The power to tell two AUROCs on the same cases apart (Obuchowski and McClish 1997, Stat Med 16:1529, eq. 2).

    The null is that both have the reference's variance.

    Args:
        reference: Area of the reference.
        auc: Area of the other.
        reference_variance: DeLong's variance of the reference, or a planned one.
        variance: Likewise of the other.
        covariance: Of both areas.
        alpha: Size of the test.
        two_sided: Whether both directions are tested.

    Raises:
        MedaiError: the covariance is as large as a variance.
    """
    null, other = 2 * (reference_variance - covariance), reference_variance + variance - 2 * covariance
    if null <= 0 or other <= 0:
        raise MedaiError(f"the covariance of two AUROCs must be below their variances, got {covariance:g}")
    return float(ndtr((abs(auc - reference) - _critical(alpha, two_sided) * math.sqrt(null)) / math.sqrt(other)))


def detectable_difference(variance: float, correlation: float, power: float, *, alpha: float = 0.05, two_sided: bool = True) -> float:
    """The difference of two AUROCs of equal variance and this correlation that is found with this power.

    Args:
        variance: Of either.
        correlation: Between the two estimates, below 1; 0.5 is usual for two readings of the same images.
        power: Between 0 and 1.
        alpha: Size of the test.
        two_sided: Whether both directions are tested.
    """
    between(power, "the power")
    if not -1 <= correlation < 1:
        raise MedaiError(f"the correlation of two AUROCs is {correlation:g}; expected -1 to below 1")
    return (_critical(alpha, two_sided) + float(ndtri(power))) * math.sqrt(2 * variance * (1 - correlation))


def proportion_half_width(share: float, n: float, confidence: float = CONFIDENCE) -> float:
    """Half the width of Wilson's interval where the observed share is the assumed one.

    Args:
        share: From 0 to 1.
        n: Number of cases, above 0; fractions are allowed.
        confidence: Coverage.
    """
    low, high = wilson(share * n, n, confidence)
    return (high - low) / 2


def design_effect(cases_of_patient: Int64[np.ndarray, " p"], icc: float) -> float:
    """How many times as many cases are needed because patients have several (Kish 1965, section 5.4, with unequal clusters).

    Args:
        cases_of_patient: (p,) number of cases of each patient, above 0.
        icc: How alike cases of a patient are, from 0 (not at all) to 1 (the same answer for all).

    Example:
        >>> design_effect(np.array([2, 2, 2]), 0.5)
        1.5
    """
    if not 0 <= icc <= 1:
        raise MedaiError(f"the ICC is {icc:g}; expected from 0 to 1")
    size = np.asarray(cases_of_patient, dtype=np.float64)
    return 1 + (float((size**2).sum() / size.sum()) - 1) * icc


def cases_needed(auc: float, prevalence: float, half_width: float, effect: float = 1.0, confidence: float = CONFIDENCE) -> int:
    """How many cases make the interval of an AUROC this narrow, by Hanley and McNeil.

    Args:
        auc: The assumed area, between 0 and 1.
        prevalence: Share of positives, between 0 and 1.
        half_width: To be reached.
        effect: The design effect.
        confidence: Coverage.
    """
    between(auc, "the AUROC")
    between(prevalence, "the prevalence")
    between(half_width, "the half-width", 0, 0.5)

    def excess(cases: float) -> float:
        return auroc_half_width(auc, cases * prevalence / effect, cases * (1 - prevalence) / effect, confidence) - half_width

    fewest = effect / min(prevalence, 1 - prevalence)
    most = fewest
    while excess(most) > 0:
        most *= 2
    return math.ceil(most if most == fewest else brentq(excess, most / 2, most))


def auroc_half_width(auc: float, positives: float, negatives: float, confidence: float = CONFIDENCE) -> float:
    """Half the width of an AUROC's normal interval, by Hanley and McNeil; arguments as in `hanley_mcneil_variance`."""
    return normal_quantile(confidence) * math.sqrt(hanley_mcneil_variance(auc, positives, negatives))


def _critical(alpha: float, two_sided: bool) -> float:
    between(alpha, "alpha")
    return float(ndtri(1 - (alpha / 2 if two_sided else alpha)))


def between(value: float, name: str, low: float = 0.0, high: float = 1.0) -> None:
    """Refuse an assumption outside its range.

    Raises:
        MedaiError: the value is not above `low` and below `high`.
    """
    if not low < value < high:
        raise MedaiError(f"{name} is {value:g}; expected between {low:g} and {high:g}")


def _numbers(positives: float, negatives: float) -> None:
    if positives <= 0 or negatives <= 0:
        raise MedaiError(f"both classes need cases, got {positives:g} positives and {negatives:g} negatives")
