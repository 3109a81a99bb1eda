"""The settings of a training: typed, with their defaults and their meaning. No torch here, so that `--help` is quick."""

from dataclasses import dataclass, field
from typing import Any

from medai.core.error import MedaiError
from medai.evaluation.rule import RULES, parse_rule
from medai.preprocessing.plan import IntensityPlan
from medai.tracking.settings import TrackingSettings

SCHEDULES = ("constant", "cosine", "one_cycle", "polynomial", "step")
PRECISIONS = ("auto", "32-true", "bf16-mixed", "16-mixed")
MONITORS = ("auroc", "accuracy", "loss", "last")
ENGINES = ("auto", "batched", "monai")
MIXES = ("none", "mixup", "cutmix", "both")
TEST_TIME = "mirror, flip_vertical, rotate90, zoom=<0.5..2>"


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
        engine: ``batched`` applies them to whole batches on the device, ``monai`` to single images in the worker processes;
            ``auto`` takes ``batched`` where it knows every transform of the list.
        mix: ``mixup`` (Zhang et al. 2018), ``cutmix`` (Yun et al. 2019), ``both`` (one of them at random) or ``none``.
        mix_alpha: Of the Beta(alpha, alpha) distribution that the share of the second image is drawn from.
        mix_probability: Share of the images that are mixed.
    """

    transforms: list[Any] = field(default_factory=list)
    engine: str = "auto"
    mix: str = "none"
    mix_alpha: float = 0.2
    mix_probability: float = 1.0

    def __post_init__(self) -> None:
        _check("augmentation.engine", self.engine, ENGINES)
        _check("augmentation.mix", self.mix, MIXES)
        _within("augmentation.mix_alpha", self.mix_alpha, 1e-3, 100)
        _within("augmentation.mix_probability", self.mix_probability, 0, 1)


@dataclass
class PretrainedSettings:
    """Weights to start from.

    Attributes:
        path: A run, a checkpoint, a safetensors file or a file of tensors that ``torch.load(weights_only=True)`` reads;
            or ``package:efficientnet-lite0``. null starts from random weights.
        prefix: Text that the names in the file start with and the network's do not, e.g. ``module.encoder.``; null finds it.
        leave_out: Patterns of names that are not taken over, e.g. ``["classifier.*"]``; what does not fit is left out anyway.
        smallest_share: Refuse to start when less than this share of the network's weights is found in the file.
    """

    path: str | None = None
    prefix: str | None = None
    leave_out: list[str] = field(default_factory=list)
    smallest_share: float = 0.5

    def __post_init__(self) -> None:
        _within("pretrained.smallest_share", self.smallest_share, 0, 1)


@dataclass
class TrainingSettings:
    """How the network is fitted.

    Attributes:
        epochs: Passes over the training split.
        batch_size: Global batch size, whatever the number of devices.
        micro_batch: Images that one device takes at once; more of its share are taken one after the other and their gradients
            added. null: the whole share.
        max_steps: End after so many steps, whatever the epochs; null for all.
        limit_batches: Batches of an epoch and of the validation that are used, to try things out; null for all.
        optimizer: Dotted target and its arguments, e.g. ``{_target_: torch.optim.AdamW, lr: 1e-3, weight_decay: 1e-2}``.
        layer_decay: Factor of the learning rate from each layer to the one before it; 1 gives all layers the same.
        frozen: Patterns of names of weights that stay as they are, e.g. ``["stem.*", "stages.0.*"]``.
        frozen_epochs: Epochs for which they stay; null for ever.
        schedule: Learning rate over the steps: ``one_cycle``, ``cosine``, ``polynomial``, ``step`` (a tenth after 1/2 and
            3/4) or ``constant``.
        warmup: Fraction of the steps over which the learning rate rises.
        final_learning_rate: Where the schedule ends, as a fraction of the peak.
        gradient_clip: Largest norm of the gradient; null to leave it.
        ema_decay: Decay per step of the averaged weights that are validated and saved; 0 to do without.
        swa_start: Share of the training from which the weights of the epochs' ends are averaged equally (Izmailov et al. 2018),
            and that average is validated and saved; null to do without.
        label_smoothing: 0 to 0.5.
        class_weights: ``balanced`` weights the classes by inverse frequency; ``none``.
        uncertain: Labels marked as uncertain: ``ignore``, ``ones``, ``zeros`` or ``soft`` (as positive by `uncertain_share`).
        uncertain_share: For ``soft``: the probability that an uncertain label is taken for.
        sampling: ``none`` visits every case once an epoch; ``balanced`` draws every class of the label combination equally often,
            ``weight`` in proportion to the cases' `weight`, both with replacement.
        flip_average: Average the logits over the image and its left-right mirror, in validation and in the exported model.
        test_time: Further variants of the image to average over: mirror, flip_vertical, rotate90, zoom=<0.5..2>.
        monitor: What chooses the best epoch on validation: ``auroc``, ``accuracy``, ``loss``; or ``last`` to keep the last.
        patience: Stop after this many epochs without improvement; null to run to the end.
        threshold: How the operating point is chosen on validation: ``youden``, ``accuracy``, ``sensitivity=0.95``,
            ``specificity=0.90``, ``cost=1:20@0.01`` (cost of a false positive, of a false negative, prevalence), ``ppv=0.3@0.01``
            or a number.
        calibration: Fitted on validation: ``temperature``, ``platt`` or ``isotonic`` (the last from about 1,000 cases on; labels of
            several classes get a temperature), or ``none``.
        precision: ``auto`` takes bf16-mixed where the hardware computes it natively, else 32-true.
        accelerator: ``auto``, ``cpu`` or ``cuda``.
        channels_last: Memory layout that is faster for most convolutional networks.
        compile: ``torch.compile`` the network: a fifth faster after a minute or two of compiling.
        gradient_checkpointing: Compute activations twice instead of keeping them: less memory, a third slower.
        strategy: Several devices: ``ddp`` copies the network to each, ``fsdp`` spreads its weights over them.
        log_steps: The loss and the learning rate are recorded every so many steps.
        checkpoint_minutes: The training's state is saved at least this often, and at every epoch's end.
        checkpoint_steps: And every so many steps; null for not.
        keep_states: So many of the last states are kept.
        on_nonfinite: A loss that is not finite: ``stop``, or ``skip`` the step, at most ten times running.
        timeout_seconds: A rank that waits this long for another one ends the job.
        deterministic: Same seed, same weights on the same machine; false lets a GPU choose faster algorithms.
    """

    epochs: int = 10
    batch_size: int = 64
    micro_batch: int | None = None
    max_steps: int | None = None
    limit_batches: int | None = None
    optimizer: dict[str, Any] = field(default_factory=lambda: {"_target_": "torch.optim.AdamW", "lr": 1e-3, "weight_decay": 1e-2})
    layer_decay: float = 1.0
    frozen: list[str] = field(default_factory=list)
    frozen_epochs: int | None = None
    schedule: str = "one_cycle"
    warmup: float = 0.1
    final_learning_rate: float = 1e-3
    gradient_clip: float | None = 1.0
    ema_decay: float = 0.0
    swa_start: float | None = None
    label_smoothing: float = 0.0
    class_weights: str = "none"
    uncertain: str = "ignore"
    uncertain_share: float = 0.7
    sampling: str = "none"
    flip_average: bool = False
    test_time: list[str] = field(default_factory=list)
    monitor: str = "auroc"
    patience: int | None = None
    threshold: str = "youden"
    calibration: str = "temperature"
    precision: str = "auto"
    accelerator: str = "auto"
    channels_last: bool = True
    compile: bool = False
    gradient_checkpointing: bool = False
    strategy: str = "ddp"
    log_steps: int = 50
    checkpoint_minutes: float = 10.0
    checkpoint_steps: int | None = None
    keep_states: int = 2
    on_nonfinite: str = "stop"
    timeout_seconds: float = 600.0
    deterministic: bool = True

    def __post_init__(self) -> None:
        _check("training.schedule", self.schedule, SCHEDULES)
        _check("training.precision", self.precision, PRECISIONS)
        _check("training.monitor", self.monitor, MONITORS)
        _check("training.class_weights", self.class_weights, ("none", "balanced"))
        _check("training.calibration", self.calibration, ("temperature", "platt", "isotonic", "none"))
        _check("training.accelerator", self.accelerator, ("auto", "cpu", "cuda"))
        _within("training.epochs", self.epochs, 1, 100_000)
        _within("training.batch_size", self.batch_size, 1, 1_000_000)
        _within("training.warmup", self.warmup, 0, 1)
        _within("training.ema_decay", self.ema_decay, 0, 0.99999)
        _within("training.label_smoothing", self.label_smoothing, 0, 0.5)
        _within("training.final_learning_rate", self.final_learning_rate, 0, 1)
        _check("training.strategy", self.strategy, ("ddp", "fsdp"))
        _check("training.uncertain", self.uncertain, ("ignore", "ones", "zeros", "soft"))
        _check("training.sampling", self.sampling, ("none", "balanced", "weight"))
        _check("training.on_nonfinite", self.on_nonfinite, ("stop", "skip"))
        _within("training.uncertain_share", self.uncertain_share, 0, 1)
        _within("training.layer_decay", self.layer_decay, 0.01, 1)
        _within("training.log_steps", self.log_steps, 1, 1_000_000)
        _within("training.checkpoint_minutes", self.checkpoint_minutes, 0, 100_000)
        _within("training.keep_states", self.keep_states, 1, 1000)
        _within("training.timeout_seconds", self.timeout_seconds, 1, 1_000_000)
        for name in ("micro_batch", "max_steps", "limit_batches", "frozen_epochs", "checkpoint_steps"):
            if getattr(self, name) is not None:
                _within(f"training.{name}", getattr(self, name), 1, 10**9)
        if self.swa_start is not None:
            _within("training.swa_start", self.swa_start, 0, 1)
            if self.ema_decay:
                raise MedaiError("training.swa_start and training.ema_decay both average the weights; give one of them")
        for variant in self.test_time:
            if not _is_variant(variant):
                raise MedaiError(f"training.test_time has {variant!r}; allowed: {TEST_TIME}")
        if self.patience is not None:
            _within("training.patience", self.patience, 1, 100_000)
        if self.gradient_clip is not None:
            _within("training.gradient_clip", self.gradient_clip, 1e-9, 1e9)
        try:
            parse_rule(self.threshold)
        except MedaiError:
            raise MedaiError(f"training.threshold is {self.threshold!r}; allowed: {RULES}") from None


@dataclass
class TrainSettings:
    """Everything `train.py` takes: the root of the configuration tree.

    Attributes:
        dataset: The data set's definition (a source by dotted target and its arguments).
        model: The network by dotted target and its arguments; ``in_channels``, ``out_channels``, ``height`` and ``width`` are added.
        pretrained: Weights to start from.
        preprocessing: Size and intensity of the network's input.
        augmentation: Random transforms.
        loss: The loss of a case by dotted target and its arguments.
        training: How the network is fitted.
        tracking: Where the run is recorded.
        seed: Same seed, same weights.
        workers: Processes that ingest files, and that augment image by image; whole batches need none.
        runs: Folder of the runs.
        cohorts: Folder of the cohorts.
        name: Name of the run; null names it after the data set and the network.
        folder: Directory of the run; null makes one in `runs`.
        sweep: The sweep that the run is part of: its runs have one parent in MLflow.
        fold: Validate on this one of `folds` parts of the development cases, and train on the others; null takes the cohort's split.
        folds: Parts, by patient, of a cross-validation.
        resume: A run to go on with; ``auto`` goes on with the newest unfinished run of the same configuration, or starts one.
        repeat: A run to do again, with its configuration; says whether the weights are the same.
        allow: Hard stops to override, by name; recorded with the run.
        export: Write the package at the end, too.
    """

    dataset: dict[str, Any] = field(default_factory=dict)
    model: dict[str, Any] = field(default_factory=dict)
    pretrained: PretrainedSettings = field(default_factory=PretrainedSettings)
    preprocessing: PreprocessingSettings = field(default_factory=PreprocessingSettings)
    augmentation: AugmentationSettings = field(default_factory=AugmentationSettings)
    loss: dict[str, Any] = field(default_factory=lambda: {"_target_": "medai.task.loss.CrossEntropy"})
    training: TrainingSettings = field(default_factory=TrainingSettings)
    tracking: TrackingSettings = field(default_factory=TrackingSettings)
    seed: int = 0
    workers: int = 2
    runs: str = "runs"
    cohorts: str = "cohorts"
    name: str | None = None
    folder: str | None = None
    sweep: str | None = None
    fold: int | None = None
    folds: int = 5
    resume: str | None = None
    repeat: str | None = None
    allow: list[str] = field(default_factory=list)
    export: bool = False

    def __post_init__(self) -> None:
        _within("workers", self.workers, 0, 1024)
        _within("seed", self.seed, -(2**63), 2**63 - 1)
        _within("folds", self.folds, 2, 1000)
        if self.fold is not None:
            _within("fold", self.fold, 0, self.folds - 1)
        if self.resume and self.repeat:
            raise MedaiError("resume goes on with a run, repeat does one again; give one of them")


def _is_variant(text: str) -> bool:
    name, _, number = text.partition("=")
    if name != "zoom":
        return text in ("mirror", "flip_vertical", "rotate90")
    try:
        return 0.5 <= float(number) <= 2
    except ValueError:
        return False


def _check(key: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise MedaiError(f"{key} is {value!r}; allowed: {', '.join(allowed)}")


def _within(key: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise MedaiError(f"{key} is {value}; it must lie in [{low}, {high}]")
