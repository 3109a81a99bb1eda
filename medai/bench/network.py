"""The network of a training alone: its step on tensors that are there already, and the whole training beside it."""

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from medai.bench.stage import FEWEST_BATCHES, WARM_BATCHES, Stage, Stopwatch, enough, settle
from medai.core.label import Label
from medai.model.freeze import freeze
from medai.task.target import Target
from medai.training.data import Images
from medai.training.distributed import Group
from medai.training.ema import AveragedWeights
from medai.training.fit import EpochResult, Fit
from medai.training.material import Material
from medai.training.optimizer import build_optimizer
from medai.training.precision import Precision, choose_precision
from medai.training.predictor import Classifier
from medai.training.settings import TrainSettings

FORWARD, LOSS, BACKWARD, OPTIMISER = "forward", "loss", "backward", "optimiser"


@dataclass(frozen=True)
class ModelFound:
    """What was measured.

    Attributes:
        stages: Of a step.
        batch_images: Images of a batch.
        rate: Images a second.
        memory_bytes: Largest memory on the GPU; None on a processor.
    """

    stages: tuple[Stage, ...]
    batch_images: int
    rate: float
    memory_bytes: int | None


class Step:
    """One step of the training on given tensors, as `Fit` makes it, without loader, records and progress.

    Args:
        material: What the training is made of; its classifier is trained on noise here.
        settings: Of the training.
        group: Has the device.
    """

    def __init__(self, material: Material, settings: TrainSettings, group: Group) -> None:
        training, device = settings.training, group.device
        self.material, self.settings, self.device = material, training, device
        layout: Any = torch.channels_last if training.channels_last else torch.preserve_format
        self.classifier = material.checkpoint.classifier.to(device).to(memory_format=layout).train()  # type: ignore[call-overload]
        freeze(self.classifier.network, training.frozen, 0, training.frozen_epochs)
        self.precision = Precision(choose_precision(training.precision, training.accelerator), device)
        self.optimizer = build_optimizer(training.optimizer, self.classifier, training.layer_decay)
        self.average = AveragedWeights(self.classifier, training.ema_decay) if training.ema_decay else None
        if training.compile:
            self.classifier.network.compile()
        self.parts = self._synthetic()

    def __call__(self, watch: Stopwatch | None = None) -> None:
        """Train one step; with a stopwatch, wait after each of its stages and time them."""
        totals: dict[str, float] = {}
        for images, target, denominators in self.parts:
            logit = _timed(watch, totals, FORWARD, self._forward, images)
            value = _timed(watch, totals, LOSS, self.material.loss, logit, (target,), denominators)
            _timed(watch, totals, BACKWARD, self._backward, value)
        _timed(watch, totals, OPTIMISER, self._update)
        for name, seconds in totals.items():
            if watch is not None:
                watch.laps.setdefault(name, []).append(seconds)

    def _synthetic(self) -> list[tuple[Tensor, Target, Tensor]]:
        """Noise of the batch's shape and classes at random, in the parts that the training would take."""
        batches, labels = self.material.batches, self.material.checkpoint.labels
        draws = torch.Generator().manual_seed(0)
        images = torch.rand(batches.batch_size, *self.material.train.view.shape[1:], generator=draws)
        if self.settings.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        classes = torch.stack([_classes(label, batches.batch_size, draws) for label in labels], dim=1)
        target = Target(classes).to(self.device)
        denominators = self.material.loss.denominators(target)
        size = -(-batches.batch_size // batches.parts)
        cuts = zip(torch.split(images.to(self.device), size), torch.split(target.classes, size), strict=True)
        return [(some, Target(known), denominators) for some, known in cuts]

    def _forward(self, images: Tensor) -> Tensor:
        with self.precision.autocast():
            logit: Tensor = self.classifier(images)
        return logit

    def _backward(self, value: Tensor) -> None:
        scaled = self.precision.scaler.scale(value) if self.precision.scaler else value
        scaled.backward()  # type: ignore[no-untyped-call]

    def _update(self) -> None:
        scaler, clip = self.precision.scaler, self.settings.gradient_clip
        if scaler and clip is not None:
            scaler.unscale_(self.optimizer)
        if clip is not None:
            nn.utils.clip_grad_norm_(self.classifier.parameters(), clip)
        if scaler:
            scaler.step(self.optimizer)
            scaler.update()
        else:
            self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if self.average:
            self.average.update()


def _timed(watch: Stopwatch | None, totals: dict[str, float], name: str, work: Callable[..., Any], *arguments: Any) -> Any:
    """The work's result; its seconds are added to the step's own total of that name."""
    if watch is None:
        return work(*arguments)
    settle(watch.device)
    start = time.perf_counter()
    result = work(*arguments)
    settle(watch.device)
    totals[name] = totals.get(name, 0.0) + time.perf_counter() - start
    return result


def _classes(label: Label, count: int, draws: torch.Generator) -> Tensor:
    return torch.randint(0, len(label.classes), (count,), generator=draws)


def measure_model(step: Step, seconds: float) -> ModelFound:
    """Measure the step as a whole for most of the time, then its stages.

    Args:
        step: The step.
        seconds: For both together.
    """
    if step.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(step.device)
    for _ in range(WARM_BATCHES):
        step()
    settle(step.device)
    started, number = time.perf_counter(), WARM_BATCHES
    while not enough(started, number, 0.75 * seconds):
        step()
        number += 1
    settle(step.device)
    images = step.material.batches.batch_size
    rate = images * (number - WARM_BATCHES) / (time.perf_counter() - started)
    watch, started, number = Stopwatch(step.device), time.perf_counter(), 0
    while not enough(started, number, 0.25 * seconds):
        step(watch)
        number += 1
    memory = torch.cuda.max_memory_allocated(step.device) if step.device.type == "cuda" else None
    return ModelFound(tuple(watch.stages("device")), images, rate, memory)


class _Silent:
    """What `Fit` reports to, and nobody reads."""

    def logged(self, step: int, metrics: dict[str, float]) -> None:
        return None

    def validated(self, result: EpochResult, classifier: Classifier) -> bool:
        return False

    def save(self, state: dict[str, Any]) -> None:
        return None


class _Pace:
    """Notes when the classifier is called in training, and asks the training to end when the time is over."""

    def __init__(self, fit: Fit, parts: int, seconds: float) -> None:
        self.fit, self.parts, self.seconds = fit, parts, seconds
        self.calls, self.started, self.last, self.epoch = 0, time.perf_counter(), 0.0, -1
        self.intervals: list[float] = []

    def __call__(self, module: nn.Module, _: Any) -> None:
        if not module.training:
            return
        self.calls += 1
        if self.calls % self.parts:  # between two parts of a batch
            return
        now = time.perf_counter()
        if self.epoch == self.fit.epoch:
            self.intervals.append(now - self.last)
        self.last, self.epoch = now, self.fit.epoch
        if enough(self.started, len(self.intervals), self.seconds):
            self.fit.interruption.number = signal.SIGTERM


def measure_training(material: Material, settings: TrainSettings, group: Group, seconds: float, steps: int) -> float:
    """Images a second of the training itself: its own loop with its loader, augmentation, progress and records.

    The time between two epochs (validation, new iterators) is left out, and so are the first steps.

    Args:
        material: What the training is made of.
        settings: Of the training.
        group: Has the device.
        seconds: How long.
        steps: How many at most; fewer where the time is over.
    """
    steps = min(max(steps, 2 * WARM_BATCHES + FEWEST_BATCHES), 1000 * material.batches.steps)
    training = replace(
        settings.training, epochs=-(-steps // material.batches.steps), max_steps=steps, limit_batches=None, patience=None,
        checkpoint_minutes=100_000, checkpoint_steps=None, frozen_epochs=None, monitor="last",
        compile=False,  # the step has compiled the network already
    )  # fmt: skip
    fit = Fit(material.checkpoint.labels, training, settings.seed, settings.workers, group)
    pace = _Pace(fit, material.batches.parts, seconds)
    classifier = material.checkpoint.classifier
    hook = classifier.register_forward_pre_hook(pace)
    try:
        fit.run(
            classifier, material.train, _few(material.validation), material.prepare, material.loss, _Silent(), material.batches
        )  # fmt: skip
    finally:
        hook.remove()
    counted = pace.intervals[WARM_BATCHES:]
    return material.batches.batch_size * len(counted) / sum(counted)


def _few(images: Images) -> Images:
    """Some validation images, since nobody looks at the figures."""
    uncertain = None if images.uncertain is None else images.uncertain[:8]
    return replace(images, ordinals=images.ordinals[:8], target=images.target[:8], uncertain=uncertain)
