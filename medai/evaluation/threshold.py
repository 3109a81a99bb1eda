"""The choice of a decision threshold. It belongs to validation; evaluation only applies what was frozen."""

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64

from medai.core.error import MedaiError
from medai.evaluation.curve import counts_by_threshold

RULES = "youden, accuracy, sensitivity=<0..1>, specificity=<0..1>, or a number from 0 to 1"


def decide(probability: Float[np.ndarray, " n"], threshold: float) -> Bool[np.ndarray, " n"]:
    """The decision: positive at or above the threshold."""
    return np.asarray(probability >= threshold)


def choose(probability: Float[np.ndarray, " n"], target: Bool[np.ndarray, " n"] | Int64[np.ndarray, " n"], rule: str = "youden") -> float:
    """A threshold by a rule, on the validation split.

    It lies midway between two neighbouring probabilities (or between the outermost one and 0 or 1), so that rounding
    cannot flip a case. Of several equally good places the one in the widest gap is taken, then the lower one.

    Args:
        probability: In [0, 1].
        target: Truth, without unknowns.
        rule: ``"youden"`` (largest sensitivity + specificity), ``"accuracy"`` (most cases right), ``"sensitivity=0.95"``
            (the highest threshold that reaches it), ``"specificity=0.9"`` (the lowest that reaches it), or a number.

    Raises:
        MedaiError: unknown rule, or a class that the rule needs is absent.

    Example:
        >>> choose(np.array([0.1, 0.2, 0.8, 0.9]), np.array([0, 0, 1, 1]))
        0.5
    """
    name, wanted = _parse(rule)
    if name == "number":
        return wanted
    if len(probability) == 0 or not np.isfinite(probability).all():
        raise MedaiError(f"threshold rule {rule!r} needs cases with finite probabilities, got {len(probability)} cases")
    truth = np.asarray(target, dtype=bool)
    positives, negatives = int(truth.sum()), int((~truth).sum())
    if (positives == 0 and name in ("youden", "sensitivity")) or (negatives == 0 and name in ("youden", "specificity")):
        raise MedaiError(
            f"threshold rule {rule!r} needs both classes on validation, got {positives} positives and {negatives} negatives; name a number"
        )
    threshold, gap, true, false = _cuts(probability, truth)
    if name == "youden":
        worth = true * negatives - false * positives  # whole numbers, so that ties are exact
    elif name == "accuracy":
        worth = true - false
    else:
        reached = true >= wanted * positives - 1e-9 if name == "sensitivity" else negatives - false >= wanted * negatives - 1e-9
        return float(threshold[reached].max() if name == "sensitivity" else threshold[reached].min())
    best = np.flatnonzero(worth == worth.max())
    return float(threshold[best[np.lexsort((threshold[best], -gap[best]))[0]]])


def _parse(rule: str) -> tuple[str, float]:
    name, _, number = str(rule).partition("=")
    if name in ("youden", "accuracy") and not number:
        return name, 0.0
    if not number:
        name, number = "number", name
    try:
        value = float(number)
    except ValueError:
        value = -1.0
    if name not in ("number", "sensitivity", "specificity") or not 0 <= value <= 1:
        raise MedaiError(f"unknown threshold rule {rule!r}; allowed: {RULES}")
    return name, value


def _cuts(
    probability: Float[np.ndarray, " n"], target: Bool[np.ndarray, " n"]
) -> tuple[Float64[np.ndarray, " k"], Float64[np.ndarray, " k"], Int64[np.ndarray, " k"], Int64[np.ndarray, " k"]]:
    """Places for a threshold: their value, the gap they lie in, and the true and false positives above them."""
    true, false, score = counts_by_threshold(probability, target)
    above, below = np.append(1.0, score), np.append(score, 0.0)
    middle = (above + below) / 2
    middle = np.where(middle <= below, above, middle)  # neighbours so close that the middle rounds down
    usable = np.arange(len(middle)) >= (score[0] == 1)  # no threshold up to 1 excludes a probability of 1
    return middle[usable], np.round(above - below, 12)[usable], np.append(0, true)[usable], np.append(0, false)[usable]
