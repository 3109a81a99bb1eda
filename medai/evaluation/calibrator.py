"""Maps from a model's logits to calibrated ones, fitted on validation: a temperature, Platt's line, or isotonic steps."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64
from scipy.optimize import isotonic_regression

from medai.core.error import MedaiError
from medai.evaluation.calibration import TEMPERATURES, fit_temperature
from medai.evaluation.logistic import fit_logistic

KINDS = ("none", "temperature", "platt", "isotonic")
FEWEST = 2  # knots of an isotonic map


@dataclass(frozen=True)
class Calibrator:
    """A map from logits to calibrated logits that never reverses the order of two cases.

    ``temperature`` and ``platt``: `logit / temperature + intercept`. ``isotonic``: the probability runs straight from knot to knot
    and stays level beyond them; its logarithmic odds are the calibrated logit. All numbers are float32 values, so that an
    exported graph holds exactly these.

    Attributes:
        kind: ``none``, ``temperature``, ``platt`` or ``isotonic``.
        temperature: What the logits are divided by, above 0.
        intercept: 0 but for ``platt``.
        logits: Knots of ``isotonic``, ascending.
        probabilities: At the knots, never falling, above 0 and below 1.
    """

    kind: str = "none"
    temperature: float = 1.0
    intercept: float = 0.0
    logits: tuple[float, ...] = ()
    probabilities: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise MedaiError(f"calibration is {self.kind!r}; allowed: {', '.join(KINDS)}")
        values = np.array([self.temperature, self.intercept, *self.logits, *self.probabilities], dtype=np.float64)
        if not np.isfinite(values).all() or self.temperature <= 0 or len(self.logits) != len(self.probabilities):
            raise MedaiError(f"a {self.kind} calibration needs finite numbers and a temperature above 0, got {self}")
        if self.kind == "isotonic":
            rising = len(self.logits) >= FEWEST and (np.diff(self.logits) > 0).all() and (np.diff(self.probabilities) >= 0).all()
            if not (rising and self.probabilities[0] > 0 and self.probabilities[-1] < 1):
                raise MedaiError(
                    "an isotonic calibration needs two rising logits or more with probabilities between 0 and 1 that do not fall"
                )

    def apply(self, logit: Float[np.ndarray, " n *k"]) -> Float64[np.ndarray, " n *k"]:
        """Calibrated logits."""
        values = np.asarray(logit, dtype=np.float64)
        if self.kind != "isotonic":
            return np.asarray(values / self.temperature + self.intercept)
        probability = np.interp(values, self.logits, self.probabilities)
        return np.asarray(np.log(probability) - np.log1p(-probability))

    def to_dict(self) -> dict[str, Any]:
        """JSON-able; only what the kind needs."""
        if self.kind == "isotonic":
            return {"kind": self.kind, "logits": list(self.logits), "probabilities": list(self.probabilities)}
        return {"kind": self.kind} | ({} if self.kind == "none" else {"temperature": self.temperature, "intercept": self.intercept})

    @staticmethod
    def from_dict(value: Mapping[str, Any]) -> "Calibrator":
        """Read what `to_dict` gave.

        Raises:
            MedaiError: it is incomplete or makes no sense.
        """
        try:
            return Calibrator(
                str(value["kind"]), float(value.get("temperature", 1.0)), float(value.get("intercept", 0.0)),
                tuple(float(each) for each in value.get("logits", ())), tuple(float(each) for each in value.get("probabilities", ())),
            )  # fmt: skip
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise MedaiError(f"a calibration is not readable ({error!r}); fit it again on validation") from None


def fit_calibrator(kind: str, logit: Float[np.ndarray, " n *k"], target: Int64[np.ndarray, " n"] | Bool[np.ndarray, " n"]) -> Calibrator:
    """Fit a calibration on validation.

    Args:
        kind: ``none``, ``temperature`` (Guo et al. 2017), ``platt`` (Platt 1999) or ``isotonic`` (Zadrozny and Elkan 2002). The
            two last are for binary labels. Isotonic wants many cases: with fewer than about a thousand it overfits.
        logit: (n,) of a binary label, or (n, K) of K classes.
        target: Truth, or class index.

    Raises:
        MedaiError: unknown kind, a kind for binary labels only, one class only, or logits that are not finite.

    Example:
        >>> fit_calibrator("platt", np.array([-2.0, -1.0, 0.0, 1.0, 2.0, 3.0]), np.array([0, 0, 1, 0, 1, 1])).kind
        'platt'
    """
    if kind == "none":
        return Calibrator()
    if kind == "temperature":
        return Calibrator(kind, float(np.float32(fit_temperature(logit, target))))
    if kind not in KINDS:
        raise MedaiError(f"calibration is {kind!r}; allowed: {', '.join(KINDS)}")
    if np.ndim(logit) != 1:
        raise MedaiError(f"a {kind} calibration is for binary labels, got {np.shape(logit)[1]} classes; use temperature")
    values, truth = np.asarray(logit, dtype=np.float64), np.asarray(target, dtype=bool)
    if len(values) != len(truth) or not np.isfinite(values).all():
        raise MedaiError(f"a {kind} calibration needs one finite logit a target, got {len(values)} logits and {len(truth)} targets")
    if truth.all() or not truth.any():
        raise MedaiError(f"a {kind} calibration needs both classes on validation, got {int(truth.sum())} positives of {len(truth)}")
    return _platt(values, truth) if kind == "platt" else _isotonic(values, truth)


def _platt(logit: Float64[np.ndarray, " n"], truth: Bool[np.ndarray, " n"]) -> Calibrator:
    """Platt's line with his targets, which keep it finite where the classes are separated; its slope is bounded as a temperature is."""
    positives, negatives = int(truth.sum()), int((~truth).sum())
    wanted = np.where(truth, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    line = fit_logistic(np.column_stack([np.ones(len(logit)), logit]), wanted) if np.ptp(logit) > 0 else None
    slope = float(line.coefficients[1]) if line is not None else 1.0
    temperature = min(max(1 / slope, TEMPERATURES[0]), TEMPERATURES[1]) if slope > 0 else TEMPERATURES[1]
    held = float(np.float32(temperature))
    shift = fit_logistic(np.ones((len(logit), 1)), wanted, logit / held)  # the best one beside this float32 temperature
    if shift is None:
        raise MedaiError("a platt calibration has no finite fit; use temperature")
    return Calibrator("platt", held, float(np.float32(shift.coefficients[0])))


def _isotonic(logit: Float64[np.ndarray, " n"], truth: Bool[np.ndarray, " n"]) -> Calibrator:
    """The ends of each level of the pooled adjacent violators; a level of one class alone is not taken for certain."""
    places, case, size = np.unique(logit.astype(np.float32), return_inverse=True, return_counts=True)
    if len(places) < FEWEST:
        raise MedaiError("an isotonic calibration needs different logits, all are equal; use temperature")
    share = np.bincount(case, weights=truth) / size
    level = isotonic_regression(share, weights=size).x
    least = 0.5 / (len(truth) + 1)
    bounded = np.clip(level, least, 1 - least).astype(np.float32)
    same = np.diff(bounded) == 0
    kept = ~(np.append(False, same) & np.append(same, False))  # what lies within a level says nothing more
    knots, values = places[kept], np.maximum.accumulate(bounded[kept])
    return Calibrator("isotonic", logits=tuple(knots.tolist()), probabilities=tuple(values.tolist()))
