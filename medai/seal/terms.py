"""What is declared when a test set is sealed, and cannot be changed afterwards."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from medai.core.error import MedaiError
from medai.core.label import Label

BINARY = ("auroc", "average_precision", "brier", "sensitivity", "specificity", "accuracy")
MULTICLASS = ("macro_auroc", "accuracy", "brier")
ORDINAL = (*MULTICLASS, "quadratic_kappa", "mean_absolute_error")
LOWER_IS_BETTER = ("brier", "mean_absolute_error")


@dataclass(frozen=True)
class Terms:
    """The terms of a seal.

    Attributes:
        metric: The primary metric, e.g. ``"auroc"``.
        label: The label that it is of.
        attempts: How many evaluations may be released.
        margin: Of non-inferiority in the primary metric, where models are compared; None: none is declared.
        thresholds: Operating points of binary labels; a label that is not named keeps the one that each candidate froze.
        ladder: Eta of the Ladder: a figure is released only where it beats the best one by more. None releases all figures.
        refusals: How many cases a candidate may refuse to score.

    Example:
        >>> Terms("auroc", "pneumonia", attempts=20, margin=0.02, thresholds={"pneumonia": 0.4}).primary
        'auroc:pneumonia'
    """

    metric: str
    label: str
    attempts: int
    margin: float | None = None
    thresholds: Mapping[str, float] = field(default_factory=dict)
    ladder: float | None = None
    refusals: int = 0

    def __post_init__(self) -> None:
        if self.attempts < 1:
            raise MedaiError(f"attempts is {self.attempts}; a test set that nobody may evaluate needs no seal: give 1 or more")
        if self.refusals < 0:
            raise MedaiError(f"refusals is {self.refusals}; give 0 or more")
        for name, value, most in (("margin", self.margin, 1.0), ("ladder", self.ladder, 0.5)):
            if value is not None and not 0 < value <= most:
                raise MedaiError(f"{name} is {value}; expected a number above 0 and at most {most:g}")
        for label, value in self.thresholds.items():
            if not 0 <= value <= 1 or math.isnan(value):
                raise MedaiError(f"the threshold of {label!r} is {value}; a probability lies in [0, 1]")

    @property
    def primary(self) -> str:
        """The primary metric as it is written on the command line."""
        return f"{self.metric}:{self.label}"

    @property
    def higher_is_better(self) -> bool:
        return self.metric not in LOWER_IS_BETTER

    def check(self, labels: Sequence[Label]) -> None:
        """Hold the terms against a cohort's labels.

        Raises:
            MedaiError: a label is not there, or has no such metric or no threshold.
        """
        kinds = {label.name: label.kind for label in labels}
        for name in (self.label, *self.thresholds):
            if name not in kinds:
                raise MedaiError(f"the cohort has no label {name!r}; it has {', '.join(kinds) or 'none'}")
        allowed = {"binary": BINARY, "multiclass": MULTICLASS, "ordinal": ORDINAL}[kinds[self.label]]
        if self.metric not in allowed:
            raise MedaiError(f"{self.metric!r} is no primary metric of the {kinds[self.label]} label {self.label!r}: {', '.join(allowed)}")
        for name in self.thresholds:
            if kinds[name] != "binary":
                raise MedaiError(f"label {name!r} is {kinds[name]}; only binary labels have a threshold")

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"thresholds": dict(self.thresholds)}

    @staticmethod
    def from_dict(value: Mapping[str, Any]) -> "Terms":
        return Terms(**value)


def primary_of(text: str) -> tuple[str, str]:
    """`auroc:LABEL` as metric and label.

    Raises:
        MedaiError: it is not of that form.
    """
    metric, colon, label = text.partition(":")
    if not (metric and colon and label):
        raise MedaiError(f"the primary metric is {text!r}; expected metric:label, such as auroc:pneumonia")
    return metric, label


def primary_value(metrics: Mapping[str, Any], terms: Terms) -> float | None:
    """The primary metric among the figures of `evaluate`; None where the data do not define it."""
    figure = metrics["labels"].get(terms.label, {}).get(terms.metric, {})
    value = figure.get("value")
    return None if value is None else float(value)
