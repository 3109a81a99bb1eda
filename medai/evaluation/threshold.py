"""The choice of a decision threshold. It belongs to validation; evaluation only applies what was frozen."""

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64

from medai.core.error import MedaiError
from medai.evaluation.curve import counts_by_threshold
from medai.evaluation.rule import Rule, parse_rule

TIE = 1e-12  # costs that differ by less, relative to their scale, are equal


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
            (the highest threshold that reaches it), ``"specificity=0.9"`` (the lowest that reaches it),
            ``"cost=1:20@0.01"`` (least expected cost where a false positive costs 1, a false negative 20, and one person in
            a hundred has the disease; Zweig and Campbell 1993), ``"ppv=0.3@0.01"`` (the lowest threshold, hence the largest
            sensitivity, whose positive predictive value at that prevalence reaches 0.3), or a number.

    Raises:
        MedaiError: unknown rule, a class that the rule needs is absent, or no threshold reaches what is wanted.

    Example:
        >>> choose(np.array([0.1, 0.2, 0.8, 0.9]), np.array([0, 0, 1, 1]))
        0.5
    """
    parsed = parse_rule(rule)
    if parsed.name == "number":
        return parsed.wanted
    if len(probability) == 0 or not np.isfinite(probability).all():
        raise MedaiError(f"threshold rule {rule!r} needs cases with finite probabilities, got {len(probability)} cases")
    truth = np.asarray(target, dtype=bool)
    positives, negatives = int(truth.sum()), int((~truth).sum())
    needed = {"sensitivity": positives, "specificity": negatives, "accuracy": 1}.get(parsed.name, min(positives, negatives))
    if needed == 0:
        raise MedaiError(
            f"threshold rule {rule!r} needs both classes on validation, got {positives} positives and {negatives} negatives; name a number"
        )
    threshold, gap, true, false = _cuts(probability, truth)
    if parsed.name in ("sensitivity", "specificity", "ppv"):
        reached = _reached(parsed, true / max(positives, 1), false / max(negatives, 1))
        return float(threshold[reached].max() if parsed.name == "sensitivity" else threshold[reached].min())
    worth = _worth(parsed, true, false, positives, negatives)
    slack = TIE * np.abs(worth).max() if worth.dtype.kind == "f" else 0
    best = np.flatnonzero(worth >= worth.max() - slack)
    return float(threshold[best[np.lexsort((threshold[best], -gap[best]))[0]]])


def _reached(rule: Rule, sensitivity: Float64[np.ndarray, " k"], fall_out: Float64[np.ndarray, " k"]) -> Bool[np.ndarray, " k"]:
    """Where a threshold reaches what the rule wants."""
    if rule.name == "sensitivity":
        return np.asarray(sensitivity >= rule.wanted - 1e-12)
    if rule.name == "specificity":
        return np.asarray(1 - fall_out >= rule.wanted - 1e-12)
    called = rule.prevalence * sensitivity + (1 - rule.prevalence) * fall_out
    with np.errstate(invalid="ignore"):
        ppv = np.where(called > 0, rule.prevalence * sensitivity / called, 0.0)
    reached = np.asarray(ppv >= rule.wanted - 1e-12)
    if not reached.any():
        raise MedaiError(
            f"no threshold has a positive predictive value of {rule.wanted:g} at a prevalence of {rule.prevalence:g}: "
            f"the largest is {ppv.max():.3g}; ask for less"
        )
    return reached


def _worth(rule: Rule, true: Int64[np.ndarray, " k"], false: Int64[np.ndarray, " k"], positives: int, negatives: int) -> np.ndarray:
    """What each cut is worth: the larger the better."""
    if rule.name == "youden":
        return np.asarray(true * negatives - false * positives)  # whole numbers, so that ties are exact
    if rule.name == "accuracy":
        return np.asarray(true - false)
    saved = rule.prevalence * true / positives - rule.wanted * (1 - rule.prevalence) * false / negatives
    return np.asarray(saved)  # against treating nobody, in costs of a false negative


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
