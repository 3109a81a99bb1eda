"""The input of a training alone: what each stage costs, and how many images a second reach the network."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from medai.bench.stage import WARM_BATCHES, Stage, Stopwatch, enough, settle
from medai.preprocessing.intensity import intensity
from medai.training.data import Batch, BatchKey, Images, loader
from medai.training.material import Material
from medai.training.prepare import Prepare

GATHER, TARGETS, SINGLE = "gather from the view", "targets and draws", "augmentation, image by image"
PREPARE, BATCHED, MIX, LAYOUT = "decode and intensity", "augmentation, batched", "mix", "memory layout"
TRANSFER = "transfer to the device"


@dataclass(frozen=True)
class InputFound:
    """What was measured.

    Attributes:
        stages: In the order of a batch's way.
        batch_images: Images of a batch.
        rates: Images a second that are ready for the network, by the number of worker processes.
    """

    stages: tuple[Stage, ...]
    batch_images: int
    rates: dict[int, float]

    @property
    def seconds(self) -> float:
        """Of one batch through all stages, one after the other."""
        return sum(stage.seconds for stage in self.stages)

    @property
    def best_workers(self) -> int:
        """The fewest workers within 5 % of the highest rate."""
        highest = max(self.rates.values())
        return min(workers for workers, rate in self.rates.items() if rate >= 0.95 * highest)


def measure_input(material: Material, device: torch.device, workers: tuple[int, ...], seconds: float) -> InputFound:
    """Measure the stages one after the other in this process, then the loader with each number of workers.

    Args:
        material: What the training is made of.
        device: Where batches are prepared.
        workers: Numbers of worker processes to try.
        seconds: For the stages, and for each of `workers`.
    """
    stages = _stages(material, device, seconds)
    rates = {number: _rate(material, device, number, seconds) for number in sorted(set(workers))}
    return InputFound(tuple(stages), material.batches.batch_size, rates)


def endless(material: Material, workers: int, pin_memory: bool = False) -> Iterator[Batch]:
    """Batches of the training, over as many epochs as are wanted."""
    batches = loader(material.train, material.batches, workers, pin_memory)
    while True:
        yield from batches
        material.batches.epoch += 1


def _stages(material: Material, device: torch.device, seconds: float) -> list[Stage]:
    fetching, watch = Stopwatch(torch.device("cpu")), Stopwatch(device)
    started = time.perf_counter()
    for number, key in enumerate(_keys(material)):
        batch = _fetch(material.train, key, fetching)
        if device.type != "cpu":
            batch = watch.time(TRANSFER, lambda batch=batch: batch.to(device))  # type: ignore[misc]
        _prepare(material.prepare, batch, watch)
        if enough(started, number + 1, seconds):
            break
    return _without_overlap(fetching) + watch.stages("device")


def _keys(material: Material) -> Iterator[BatchKey]:
    while True:
        yield from material.batches
        material.batches.epoch += 1


def _fetch(images: Images, key: BatchKey, watch: Stopwatch) -> Batch:
    """A batch as the loader makes it. The parts of the work are timed beside it, since it is one call."""
    part = slice(key.part.start, key.part.stop)
    rows = key.rows[part] if key.partners is None else np.concatenate([key.rows[part], key.partners[part]])
    batch = watch.time(TARGETS, lambda: images[key])
    stored = watch.time(GATHER, lambda: images.view.gather(images.ordinals[rows]))
    if images.augmentation is not None:
        values = watch.time(PREPARE, lambda: intensity(images.plan)(torch.from_numpy(images.view.encoding.decode(stored))))
        watch.time(SINGLE, lambda: images.augmentation(values, batch.seeds))  # type: ignore[misc]
    return batch


def _without_overlap(fetching: Stopwatch) -> list[Stage]:
    """The parts, and what remains of the whole call for targets and draws."""
    stages = {stage.name: stage for stage in fetching.stages("worker")}
    whole = stages.pop(TARGETS)
    rest = max(whole.seconds - sum(stage.seconds for stage in stages.values()), 0.0)
    return [*stages.values(), Stage(TARGETS, rest, "worker")]


def _prepare(prepare: Prepare, batch: Batch, watch: Stopwatch) -> None:
    """The steps of `Prepare`, each on its own."""
    images, count = batch.images, len(batch)
    if not images.is_floating_point():
        images = watch.time(PREPARE, lambda images=images: prepare.values(images))  # type: ignore[misc]
    if (augmentation := prepare.augmentation) is not None:
        images = watch.time(BATCHED, lambda images=images: augmentation.in_place(images, batch.seeds))  # type: ignore[misc]
    if (mix := prepare.mix) is not None and len(images) > count:
        images = watch.time(MIX, lambda images=images: mix(images[:count], images[count:], batch.seeds[:count])[0])  # type: ignore[misc]
    watch.time(LAYOUT, lambda images=images: images.contiguous(memory_format=prepare.format))  # type: ignore[misc]


def _rate(material: Material, device: torch.device, workers: int, seconds: float) -> float:
    """Images a second that are ready for the network."""
    batches = endless(material, workers, device.type == "cuda")
    for _ in range(WARM_BATCHES + 4 * workers):  # a worker holds some batches ready: those were made before
        material.prepare(next(batches).to(device))
    settle(device)
    started, images, number = time.perf_counter(), 0, 0
    while not enough(started, number, seconds):
        images += len(material.prepare(next(batches).to(device)))
        number += 1
    settle(device)
    return images / (time.perf_counter() - started)
