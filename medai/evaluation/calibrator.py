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
STEEPEST = 0.25 / TEMPERATURES[0]  # probability a logit: what the lowest temperature reaches
BEND = 1e-7  # share of STEEPEST: slopes that differ by less are one straight stretch


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
            two last are for binary labels. Isotonic wants many cases: with fewer than about a thousand it overfits. Its curve
            rises by at most `STEEPEST` a logit.
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
    """Pooled adjacent violators, no steeper than a temperature may be; a level of one class alone is not taken for certain."""
    places, case, size = np.unique(logit.astype(np.float32), return_inverse=True, return_counts=True)
    if len(places) < FEWEST:
        raise MedaiError("an isotonic calibration needs different logits, all are equal; use temperature")
    share = np.bincount(case, weights=truth) / size
    least = 0.5 / (len(truth) + 1)
    bounded = np.clip(isotonic_regression(share, weights=size).x, least, 1 - least)
    level = bounded_slope(places.astype(np.float64), bounded)
    bends = np.abs(np.diff(np.diff(level) / np.diff(places.astype(np.float64)))) > BEND * STEEPEST
    kept = np.concatenate([[True], bends, [True]])  # what lies on a straight stretch says nothing more
    values = np.maximum.accumulate(level[kept].astype(np.float32))
    return Calibrator("isotonic", logits=tuple(places[kept].tolist()), probabilities=tuple(values.tolist()))


def bounded_slope(place: Float64[np.ndarray, " n"], value: Float64[np.ndarray, " n"], most: float = STEEPEST) -> Float64[np.ndarray, " n"]:
    """The nearest rising values whose slope is bounded, so that a rounding of the logits stays one of the probabilities.

    Two cases that lie 1e-3 apart may differ by a whole level: there the last bit of a logit, which differs from runtime to runtime,
    would move the probability a hundredfold. Midway between the largest bounded curve below and the smallest above, no curve of that
    slope is nearer in the largest difference (McShane 1934, Bull Am Math Soc 40:837). Where nothing is steeper, nothing changes.

    Args:
        place: (n,) ascending, all different.
        value: (n,) never falling.
        most: Largest slope.

    Example:
        >>> bounded_slope(np.array([0.0, 1.0, 1.1, 2.0]), np.array([0.1, 0.1, 0.9, 0.9]), most=1.0).round(2)
        array([0.1 , 0.45, 0.55, 0.9 ])
    """
    line = most * place
    below = line + np.minimum.accumulate(value - line)
    above = line + np.maximum.accumulate((value - line)[::-1])[::-1]
    steep = np.diff(value) > most * np.diff(place)
    return np.maximum.accumulate((below + above) / 2) if steep.any() else value
