"""The search space: what may vary, and how one value of it is written on the command line."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medai.core.error import MedaiError
from medai.sweep.settings import SweepSettings
from medai.training.settings import TrainSettings

if TYPE_CHECKING:
    from optuna.trial import Trial

SIGNIFICANT = 6  # digits of a drawn number: what is printed is what is trained with


@dataclass(frozen=True)
class Dimension:
    """One setting that varies: over `options`, or over the numbers from `low` to `high`, both included.

    Args:
        key: The setting, e.g. ``training.optimizer.lr``.
        options: Values as they are written on the command line.
        low: Smallest number.
        high: Largest number.
        log: Draw evenly in the logarithm.
        whole: Whole numbers only.
        step: Distance between neighbouring numbers; None for all between.
        prefix: ``+`` or ``++`` before the key on the command line.

    Raises:
        MedaiError: there is nothing to search.

    Example:
        >>> Dimension("training.optimizer.lr", low=1e-4, high=1e-2, log=True).text(0.00123456789)
        '0.00123457'
    """

    key: str
    options: tuple[str, ...] = ()
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    whole: bool = False
    step: float | None = None
    prefix: str = ""

    def __post_init__(self) -> None:
        if self.options:
            return
        if not self.low < self.high:
            raise MedaiError(f"{self.key} is searched from {self.low:g} to {self.high:g}; the first must be smaller")
        if self.log and self.low <= 0:
            raise MedaiError(f"{self.key} is searched evenly in the logarithm from {self.low:g}; it must begin above 0")

    def suggest(self, trial: "Trial") -> str:
        """The trial's value."""
        if self.options:
            return str(trial.suggest_categorical(self.key, self.options))
        if self.whole:
            return self.text(trial.suggest_int(self.key, int(self.low), int(self.high), step=int(self.step or 1), log=self.log))
        return self.text(trial.suggest_float(self.key, self.low, self.high, step=self.step, log=self.log))

    def text(self, value: Any) -> str:
        """A value as it is written on the command line."""
        return str(value) if self.options or self.whole else f"{value:.{SIGNIFICANT}g}"

    def override(self, text: str) -> str:
        """The setting with one value, as an argument."""
        return f"{self.prefix}{self.key}={text}"

    def corners(self) -> tuple[str, ...]:
        """Values whose settings must be valid before anything runs: every option, or both ends and something between."""
        if self.options:
            return self.options
        middle = (self.low + self.high) / 2 if self.step is None else self.low + self.step
        return tuple(self.text(int(value) if self.whole else value) for value in (self.low, middle, self.high))


@dataclass(frozen=True)
class SweepPlan:
    """A sweep that was asked for.

    Args:
        settings: How the space is searched.
        space: What varies.
        fixed: The other settings of the command line.
        folder: Of the sweep; the trials get folders with their numbers in it.
        monitor: The figure of validation that is searched by.
        compose: Gives a training's settings for the values of the space, e.g. ``{"seed": "3"}``.
    """

    settings: SweepSettings
    space: tuple[Dimension, ...]
    fixed: tuple[str, ...]
    folder: Path
    monitor: str
    compose: Callable[[Mapping[str, str]], TrainSettings]

    def __post_init__(self) -> None:
        if not self.space:
            example = "'training.optimizer.lr=tag(log, interval(1e-4,1e-2))' or 'model=choice(resnet18,densenet121)'"
            raise MedaiError(f"nothing varies; name what to search, e.g. {example}")
        if self.monitor == "last" or any(dimension.key == "training.monitor" for dimension in self.space):
            raise MedaiError("a sweep needs one figure to search by; set training.monitor=auroc, accuracy or loss")

    @property
    def direction(self) -> str:
        """``minimize`` for a loss, else ``maximize``."""
        return "minimize" if self.monitor == "loss" else "maximize"

    def identity(self) -> dict[str, Any]:
        """What must be the same for a sweep to go on."""
        return {"space": [asdict(dimension) for dimension in self.space], "fixed": sorted(self.fixed), "monitor": self.monitor}
