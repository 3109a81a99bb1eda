"""Figures on the validation split: those that choose the epoch, and what is frozen at the end."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float, Int64

from medai.core.error import MedaiError
from medai.core.label import Label, slices_of
from medai.evaluation.auroc import auroc
from medai.evaluation.calibrator import Calibrator, fit_calibrator
from medai.evaluation.threshold import choose
from medai.task.task import UNKNOWN, Loss


@dataclass(frozen=True)
class Frozen:
    """What validation decides about the shipped model: per label a temperature and, if binary, a threshold.

    Attributes:
        calibrators: Of the binary labels that have a line or a curve in the place of a temperature.
        assumed: Labels with one class only on validation: their temperature is 1 and their threshold 0.5.
    """

    temperatures: dict[str, float]
    thresholds: dict[str, float]
    assumed: tuple[str, ...]
    calibrators: dict[str, Calibrator] = field(default_factory=dict)


def figures(
    labels: Sequence[Label], logit: Float[np.ndarray, "N P"], target: Int64[np.ndarray, "N L"], label_smoothing: float = 0.0
) -> dict[str, float]:
    """Loss, macro AUROC (one against the rest for several classes) and accuracy at 0.5 or by the largest probability.

    A figure that the targets do not allow (one class only) is left out of its mean; without any it is 0.

    Raises:
        MedaiError: a logit is not finite.
    """
    if not np.isfinite(logit).all():
        raise MedaiError("the network's outputs on validation are not finite; lower training.optimizer.lr or set training.gradient_clip=1")
    areas, accuracies = [], []
    for index, label in enumerate(labels):
        known = target[:, index] != UNKNOWN
        part, truth = logit[known][:, slices_of(labels)[label.name]], target[known, index]
        if label.kind == "binary":
            areas.append(_area(part[:, 0], truth == 1))
            accuracies.append(float(np.mean((part[:, 0] >= 0) == truth)) if len(truth) else math.nan)
        else:
            areas.extend(_area(_log_odds(part, column), truth == column) for column in range(part.shape[1]))
            accuracies.append(float(np.mean(part.argmax(1) == truth)) if len(truth) else math.nan)
    loss = Loss(labels, label_smoothing=label_smoothing)
    targets = torch.from_numpy(target)
    value = float(loss(torch.from_numpy(logit), targets, loss.denominators(targets)))
    return {"loss": value, "auroc": _mean(areas), "accuracy": _mean(accuracies)}


def freeze(
    labels: Sequence[Label], logit: Float[np.ndarray, "N P"], target: Int64[np.ndarray, "N L"], calibration: str, rule: str
) -> Frozen:
    """Fit the calibration and choose the thresholds, on validation alone. Platt's line and isotonic are for binary labels."""
    temperatures, thresholds, assumed, calibrators = {}, {}, [], {}
    for index, label in enumerate(labels):
        known = target[:, index] != UNKNOWN
        part, truth = logit[known][:, slices_of(labels)[label.name]].astype(np.float64), target[known, index]
        part = part[:, 0] if label.kind == "binary" else part
        both = len(np.unique(truth)) > 1
        assumed += [] if both else [label.name]
        kind = "temperature" if calibration in ("platt", "isotonic") and label.kind != "binary" else calibration
        fitted = fit_calibrator(kind if both else "none", part, truth)
        temperatures[label.name] = fitted.temperature
        if fitted.kind in ("platt", "isotonic"):
            calibrators[label.name] = fitted
        if label.kind == "binary":
            probability = 1 / (1 + np.exp(-fitted.apply(part)))
            chosen = choose(probability, truth, rule) if both else 0.5
            thresholds[label.name] = float(np.float32(chosen))  # as the exported graph holds it
    return Frozen(temperatures, thresholds, tuple(assumed), calibrators)


def _area(score: Float[np.ndarray, " N"], positive: np.ndarray) -> float:
    if positive.all() or not positive.any():
        return math.nan
    return auroc(score.astype(np.float64), positive).value


def _log_odds(logit: Float[np.ndarray, "N K"], column: int) -> Float[np.ndarray, " N"]:
    """Monotone in the softmax probability of one class."""
    rest = np.delete(logit.astype(np.float64), column, axis=1)
    top = rest.max(axis=1)
    odds: Float[np.ndarray, " N"] = logit[:, column] - (top + np.log(np.exp(rest - top[:, None]).sum(axis=1)))
    return odds


def _mean(values: list[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return float(np.mean(known)) if known else 0.0
