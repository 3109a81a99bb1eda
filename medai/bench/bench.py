"""Measure the input, the network and the training of a configuration, and say what limits it."""

import os
from typing import Any

import torch

from medai.bench.advice import advise
from medai.bench.loading import measure_input
from medai.bench.network import Step, measure_model, measure_training
from medai.bench.report import Report
from medai.core.environment import commit, hardware, versions
from medai.core.error import MedaiError
from medai.core.progress import say
from medai.training.distributed import Group, connected
from medai.training.material import Material, gather, make_deterministic
from medai.training.precision import check_accelerator, choose_precision
from medai.training.settings import TrainSettings

PARTS = ("input", "model", "train")
SECONDS = 36.0  # of all measurements together
MANY_WORKERS = 4


def bench(part: str, settings: TrainSettings, seconds: float = SECONDS) -> Report:
    """Measure a configuration. Nothing is written but the cohort and its view, where they are not there yet.

    Args:
        part: ``input``: the loader, stage by stage; ``model``: the network on synthetic tensors; ``train``: both, and the training.
        settings: As of a training.
        seconds: How long all measurements take together; slow steps take longer.

    Raises:
        MedaiError: the part is unknown, the settings do not fit, or torchrun started several processes.

    Example:
        >>> bench("train", settings).stall
        0.013
    """
    if part not in PARTS:
        raise MedaiError(f"medai bench measures {', '.join(PARTS)}; got {part!r}")
    if not 0.1 <= seconds <= 36_000:
        raise MedaiError(f"--seconds is {seconds:g}; it must lie in [0.1, 36000]")
    check_accelerator(settings.training.accelerator)
    with connected(settings.training.accelerator, settings.training.timeout_seconds) as group:
        if group.size > 1:
            raise MedaiError("medai bench measures one process; start it without torchrun")
        return _measure(part, settings, seconds, group)


def _measure(part: str, settings: TrainSettings, seconds: float, group: Group) -> Report:
    make_deterministic(settings)
    material = gather(settings, group)
    report = Report(_facts(settings, material, group))
    share = seconds / (1 if part != "train" else 3)
    if part in ("input", "train"):
        workers = (0, settings.workers, min(MANY_WORKERS, os.cpu_count() or 1))
        say(f"Input: about {share:.0f} s")
        report = _with(report, input=measure_input(material, group.device, workers, share / (1 + len(set(workers)))))
    if part in ("model", "train"):
        say(f"Network on synthetic tensors: about {share:.0f} s")
        report = _with(report, model=measure_model(Step(material, settings, group), share))
    if part == "train" and report.model:
        say(f"Training: about {share:.0f} s")
        steps = int(share * report.model.rate / material.batches.batch_size)
        report = _with(report, train=measure_training(material, settings, group, share, steps))
    return _with(report, advice=advise(report, settings, group.device))


def _with(report: Report, **found: Any) -> Report:
    return Report(**(vars(report) | found))


def _facts(settings: TrainSettings, material: Material, group: Group) -> dict[str, Any]:
    view, training, batches = material.train.view, settings.training, material.batches
    network = material.checkpoint.classifier.network
    parameters = sum(parameter.numel() for parameter in network.parameters())
    device = torch.cuda.get_device_name(group.device) if group.device.type == "cuda" else hardware()["processor"]
    engine = "none" if not settings.augmentation.transforms else "batched" if material.prepare.augmentation else "monai"
    parts = f" in {batches.parts} parts" if batches.parts > 1 else ""
    precision = choose_precision(training.precision, training.accelerator)
    size = " x ".join(map(str, view.shape[1:]))
    return {
        "data": f"{material.cohort.name}: {len(material.train):,} training images {size}, {view.dtype}",
        "network": f"{settings.model.get('_target_')}, {parameters / 1e6:.2f} M parameters",
        "batch": f"{batches.batch_size}{parts}, augmentation {engine}, {precision}",
        "machine": f"{device}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, workers={settings.workers}",
    }


def record(report: Report, settings: TrainSettings) -> dict[str, Any]:
    """The report with what is needed to compare it with another one."""
    machine = hardware() | {"threads": torch.get_num_threads()}
    return report.to_dict() | {"seed": settings.seed, "commit": commit(), "versions": versions(), "hardware": machine}
