"""Batches of training images: gathered whole from a view, augmented with draws that no worker count can change."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from medai.augmentation.pipeline import Augmentation
from medai.core.draw import draw_seed, epoch_order
from medai.preprocessing.intensity import intensity
from medai.preprocessing.plan import IntensityPlan
from medai.store.view import View


@dataclass(frozen=True)
class BatchKey:
    """Names one batch: the epoch, the place of its first sample in the epoch's order, and the rows of the table."""

    epoch: int
    position: int
    rows: Int64[np.ndarray, " n"]


@dataclass(frozen=True)
class Batch:
    """One batch: images (n, C, H, W) after intensity and augmentation, targets (n, L) with -1 for unknown, rows (n,)."""

    images: Float[Tensor, "n C H W"]
    target: Int64[Tensor, "n L"]
    rows: Int64[Tensor, " n"]

    def pin_memory(self) -> "Batch":
        """Page-locked memory, from which a GPU copies while it computes; the loader calls it."""
        return Batch(self.images.pin_memory(), self.target.pin_memory(), self.rows.pin_memory())


class Images(Dataset[Batch]):
    """A split of a cohort: looked up by `BatchKey`, a batch at a time.

    Args:
        view: Resized modality values.
        ordinals: Row of the view for each case of the split.
        target: Targets of the split (n, L).
        plan: The intensity step.
        augmentation: Random transforms; None leaves the images as they are.
        seed: The run's seed.
    """

    def __init__(
        self, view: View, ordinals: Int64[np.ndarray, " n"], target: Int64[np.ndarray, "n L"], plan: IntensityPlan,
        augmentation: Augmentation | None, seed: int,
    ) -> None:  # fmt: skip
        self.view, self.ordinals, self.target = view, ordinals, target
        self.intensity = intensity(plan)
        self.augmentation, self.seed = augmentation, seed

    def __len__(self) -> int:
        return len(self.ordinals)

    def __getitem__(self, key: BatchKey) -> Batch:
        stored = self.view.gather(self.ordinals[key.rows])
        images = self.intensity(torch.from_numpy(self.view.encoding.decode(stored)))
        if self.augmentation is not None:
            places = range(key.position, key.position + len(key.rows))
            seeds = np.array([draw_seed(self.seed, key.epoch, place, "augmentation") for place in places], dtype=np.uint64)
            images = self.augmentation(images, seeds)
        return Batch(images, torch.from_numpy(self.target[key.rows]), torch.from_numpy(key.rows))


class EpochBatches(Sampler[BatchKey]):
    """The batches of one epoch, in an order that only (seed, epoch) decides. The last, smaller batch is left out."""

    def __init__(self, count: int, batch_size: int, seed: int) -> None:
        self.count, self.batch_size, self.seed = count, min(batch_size, count), seed
        self.epoch = 0

    def __len__(self) -> int:
        return self.count // self.batch_size

    def __iter__(self) -> Iterator[BatchKey]:
        order = epoch_order(self.count, self.seed, self.epoch)
        for batch in range(self.count // self.batch_size):
            position = batch * self.batch_size
            yield BatchKey(self.epoch, position, order[position : position + self.batch_size])


class OrderedBatches(Sampler[BatchKey]):
    """All cases once, in the stored order: for validation."""

    def __init__(self, count: int, batch_size: int) -> None:
        self.count, self.batch_size = count, batch_size

    def __len__(self) -> int:
        return -(-self.count // self.batch_size)

    def __iter__(self) -> Iterator[BatchKey]:
        for start in range(0, self.count, self.batch_size):
            yield BatchKey(0, start, np.arange(start, min(start + self.batch_size, self.count)))


def loader(images: Images, batches: EpochBatches | OrderedBatches, workers: int, pin_memory: bool) -> DataLoader[Batch]:
    """A loader whose items are whole batches; its workers live as long as it does."""
    return DataLoader(
        images, batch_size=None, sampler=batches, num_workers=workers, persistent_workers=workers > 0, pin_memory=pin_memory,
        prefetch_factor=4 if workers else None, worker_init_fn=_single_thread,
        collate_fn=_same,  # type: ignore[arg-type]
    )  # fmt: skip


def _single_thread(_: int) -> None:
    torch.set_num_threads(1)


def _same(batch: Batch) -> Batch:
    return batch
