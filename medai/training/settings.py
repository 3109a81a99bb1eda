"""The settings of a training: typed, with their defaults and their meaning. No torch here, so that `--help` is quick."""

from dataclasses import dataclass, field
from typing import Any

from medai.core.error import MedaiError
from medai.preprocessing.plan import IntensityPlan
from medai.tracking.settings import TrackingSettings

SCHEDULES = ("constant", "cosine", "one_cycle")
RULES = "youden, accuracy, sensitivity=<0..1>, specificity=<0..1>, or a number from 0 to 1"
PRECISIONS = ("auto", "32-true", "bf16-mixed", "16-mixed")
MONITORS = ("auroc", "accuracy", "loss", "last")


@dataclass
class PreprocessingSettings:
    """Size and intensity of the network's input.

    Attributes:
        height: Rows, in pixels.
        width: Columns, in pixels.
        channels: 1 or 3; null takes what the cohort's images have.
        intensity: See `IntensityPlan`.
    """

    height: int = 224
    width: int = 224
    channels: int | None = None
    intensity: IntensityPlan = field(default_factory=IntensityPlan)


@dataclass
class AugmentationSettings:
    """Random transforms of the training images.

    Attributes:
        transforms: MONAI transforms (or your own, by dotted path) on a float tensor (C, H, W) after the intensity step, in order.
    """

    transforms: list[Any] = field(default_factory=list)


@dataclass
class TrainingSettings:
    """How the network is fitted.

    Attributes:
        epochs: Passes over the training split.
        batch_size: Global batch size, whatever the number of devices.
        optimizer: Dotted target and its arguments, e.g. ``{_target_: torch.optim.AdamW, lr: 1e-3, weight_decay: 1e-2}``.
        schedule: Learning rate over the steps: ``one_cycle``, ``cosine`` or ``constant``.
        warmup: Fraction of the steps over which the learning rate rises.
        final_learning_rate: Where the schedule ends, as a fraction of the peak.
        gradient_clip: Largest norm of the gradient; null to leave it.
        ema_decay: Decay per step of the averaged weights that are validated and saved; 0 to do without.
        label_smoothing: 0 to 0.5.
        class_weights: ``balanced`` weights the classes by inverse frequency; ``none``.
        flip_average: Average the logits over the image and its left-right mirror, in validation and in the exported model.
        monitor: What chooses the best epoch on validation: ``auroc``, ``accuracy``, ``loss``; or ``last`` to keep the last.
        patience: Stop after this many epochs without improvement; null to run to the end.
        threshold: How the operating point is chosen on validation: ``youden``, ``accuracy``, ``sensitivity=0.95``,
            ``specificity=0.90`` or a number.
        calibration: ``temperature`` (fitted on validation) or ``none``.
        precision: ``auto`` takes bf16-mixed where the hardware computes it natively, else 32-true.
        accelerator: ``auto``, ``cpu`` or ``cuda``.
        channels_last: Memory layout that is faster for most convolutional networks.
    """

    epochs: int = 10
    batch_size: int = 64
    optimizer: dict[str, Any] = field(default_factory=lambda: {"_target_": "torch.optim.AdamW", "lr": 1e-3, "weight_decay": 1e-2})
    schedule: str = "one_cycle"
    warmup: float = 0.1
    final_learning_rate: float = 1e-3
    gradient_clip: float | None = 1.0
    ema_decay: float = 0.0
    label_smoothing: float = 0.0
    class_weights: str = "none"
    flip_average: bool = False
    monitor: str = "auroc"
    patience: int | None = None
    threshold: str = "youden"
    calibration: str = "temperature"
    precision: str = "auto"
    accelerator: str = "auto"
    channels_last: bool = True

    def __post_init__(self) -> None:
        _check("training.schedule", self.schedule, SCHEDULES)
        _check("training.precision", self.precision, PRECISIONS)
        _check("training.monitor", self.monitor, MONITORS)
        _check("training.class_weights", self.class_weights, ("none", "balanced"))
        _check("training.calibration", self.calibration, ("temperature", "none"))
        _check("training.accelerator", self.accelerator, ("auto", "cpu", "cuda"))
        _within("training.epochs", self.epochs, 1, 100_000)
        _within("training.batch_size", self.batch_size, 1, 1_000_000)
        _within("training.warmup", self.warmup, 0, 1)
        _within("training.ema_decay", self.ema_decay, 0, 0.99999)
        _within("training.label_smoothing", self.label_smoothing, 0, 0.5)
        _within("training.final_learning_rate", self.final_learning_rate, 0, 1)
        if self.patience is not None:
            _within("training.patience", self.patience, 1, 100_000)
        if self.gradient_clip is not None:
            _within("training.gradient_clip", self.gradient_clip, 1e-9, 1e9)
        if not _is_rule(self.threshold):
            raise MedaiError(f"training.threshold is {self.threshold!r}; allowed: {RULES}")


@dataclass
class TrainSettings:
    """Everything `train.py` takes: the root of the configuration tree.

    Attributes:
        dataset: The data set's definition (a source by dotted target and its arguments).
        model: The network by dotted target and its arguments; ``in_channels``, ``out_channels``, ``height`` and ``width`` are added.
        preprocessing: Size and intensity of the network's input.
        augmentation: Random transforms.
        training: How the network is fitted.
        tracking: Where the run is recorded.
        seed: Same seed, same weights.
        workers: Processes that prepare training batches and ingest files.
        runs: Folder of the runs.
        cohorts: Folder of the cohorts.
        name: Name of the run; null names it after the data set and the network.
        folder: Directory of the run; null makes one in `runs`.
        sweep: The sweep that the run is part of: its runs have one parent in MLflow.
        allow: Hard stops to override, by name; recorded with the run.
        export: Write the package at the end, too.
    """

    dataset: dict[str, Any] = field(default_factory=dict)
    model: dict[str, Any] = field(default_factory=dict)
    preprocessing: PreprocessingSettings = field(default_factory=PreprocessingSettings)
    augmentation: AugmentationSettings = field(default_factory=AugmentationSettings)
    training: TrainingSettings = field(default_factory=TrainingSettings)
    tracking: TrackingSettings = field(default_factory=TrackingSettings)
    seed: int = 0
    workers: int = 2
    runs: str = "runs"
    cohorts: str = "cohorts"
    name: str | None = None
    folder: str | None = None
    sweep: str | None = None
    allow: list[str] = field(default_factory=list)
    export: bool = False

    def __post_init__(self) -> None:
        _within("workers", self.workers, 0, 1024)
        _within("seed", self.seed, -(2**63), 2**63 - 1)


def _is_rule(text: str) -> bool:
    """Whether `text` is a rule of `medai.evaluation.threshold`, whose import would make `--help` slow."""
    name, _, number = text.partition("=")
    if text in ("youden", "accuracy"):
        return True
    try:
        value = float(number if name in ("sensitivity", "specificity") else text)
    except ValueError:
        return False
    return 0 <= value <= 1


def _check(key: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise MedaiError(f"{key} is {value!r}; allowed: {', '.join(allowed)}")


def _within(key: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise MedaiError(f"{key} is {value}; it must lie in [{low}, {high}]")
