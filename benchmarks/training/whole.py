"""(c) End to end: the rate of a training with its loader, augmentation, records and progress over the rate on synthetic tensors."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from medai.bench.network import Step, measure_model, measure_training
from medai.training.distributed import Group
from medai.training.material import gather
from medai.training.settings import TrainingSettings, TrainSettings
from training.data import data_set
from training.harness import Part, paired_ratio, terminal
from training.input import NODES

LIMIT_SECONDS = 100


@dataclass(frozen=True)
class Case:
    """A network at a size."""

    name: str
    model: Mapping[str, Any]
    side: int
    batch: int
    images: int = 2000


CASES = (
    Case("residual_small, 28 px", {"_target_": "medai.model.network.residual_small"}, 28, 64, 10_000),
    Case("ResNet-18, 28 px", {"_target_": "medai.model.network.resnet18"}, 28, 16, 10_000),
    Case("DenseNet121, 224 px", {"_target_": "medai.model.network.densenet121"}, 224, 4, 1000),
)
QUICK = (Case("residual_small, 16 px", {"_target_": "medai.model.network.residual_small", "channels": 8, "blocks": 1}, 16, 8, 256),)


def run(part: Part) -> None:
    """Measure both rates of every network in turns."""
    torch.use_deterministic_algorithms(True, warn_only=True)  # as a training has it by default
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # likewise
    cases = QUICK if part.quick else CASES
    for number, case in enumerate(cases):
        settings = settings_of(case, part.work, TrainingSettings(batch_size=case.batch, log_steps=50))
        group = Group()
        seconds = 0.5 if part.quick else 5.0
        subjects = {f"synthetic tensors, {case.name}": synthetic(settings, group, seconds)}
        subjects[f"end to end, {case.name}"] = end_to_end(settings, group, seconds)
        part.repeat(subjects, 1 if part.quick else 5, "images/s", (number + 1) / len(cases))
        ratio = paired_ratio(part, f"end to end, {case.name}", f"synthetic tensors, {case.name}")
        part.verdict(f"end to end / synthetic tensors, {case.name}", ratio, 0.95)


def settings_of(case: Case, work: Path, training: TrainingSettings) -> TrainSettings:
    """The settings of a training, with flip, affine, intensity and noise."""
    return data_set(work, case.images, case.side).settings(case.model, training, NODES, work / "runs")


def synthetic(settings: TrainSettings, group: Group, seconds: float) -> Callable[[], float]:
    """Measures images a second of forward, backward and step."""
    return lambda: measure_model(Step(gather(settings, group), settings, group), seconds).rate


def end_to_end(settings: TrainSettings, group: Group, seconds: float) -> Callable[[], float]:
    """Measures images a second of the training."""

    def measure() -> float:
        material = gather(settings, group)
        with terminal():
            return measure_training(material, settings, group, seconds, steps=10**9)

    return measure
