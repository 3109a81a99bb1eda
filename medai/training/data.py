"""Batches of training images: gathered whole from a view, with draws that no number of workers or ranks can change."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int64, Shaped, UInt64
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from medai.augmentation.mix import Mix
from medai.augmentation.pipeline import Augmentation
from medai.core.draw import draw_seeds, epoch_order, generator
from medai.core.error import MedaiError
from medai.preprocessing.intensity import intensity
from medai.preprocessing.plan import IntensityPlan
from medai.store.view import Damaged, View
from medai.task.target import Target, mixed
from medai.task.task import Loss
from medai.task.uncertain import mixture
from medai.training.distributed import ALONE, Group


@dataclass(frozen=True)
class BatchKey:
    """Names one batch, and the part of it that is wanted.

    Attributes:
        epoch: Counted from 0.
        position: Place of the batch's first case in the epoch's order.
        rows: The cases of the whole batch, as rows of the split's table.
        part: The wanted places of the batch.
        partners: Cases that are mixed into those of `rows`, in their order; None where none are.
    """

    epoch: int
    position: int
    rows: Int64[np.ndarray, " n"]
    part: range
    partners: Int64[np.ndarray, " n"] | None = None


@dataclass(frozen=True)
class Batch:
    """One batch on its way to the device.

    Attributes:
        images: (m, C, H, W) as stored, or floats where workers have prepared them; m = 2n where images are mixed, partners last.
        mixture: Targets (n, L) and their shares.
        denominators: Of the loss over the whole batch (L,).
        seeds: Of the cases' draws (m,).
    """

    images: Shaped[Tensor, "m C H W"]
    mixture: tuple[Target, ...]
    denominators: Float[Tensor, " L"]
    seeds: UInt64[np.ndarray, " m"]

    def __len__(self) -> int:
        return len(self.mixture[0].classes)

    def to(self, device: torch.device) -> "Batch":
        """The batch on a device."""
        if device.type == "cpu":
            return self
        targets = tuple(target.to(device, non_blocking=True) for target in self.mixture)
        images = self.images.to(device, non_blocking=True)
        return Batch(images, targets, self.denominators.to(device, non_blocking=True), self.seeds)

    def pin_memory(self) -> "Batch":
        """Page-locked memory, from which a GPU copies while it computes; the loader calls it."""
        shares = [None if target.share is None else target.share.pin_memory() for target in self.mixture]
        targets = tuple(Target(one.classes.pin_memory(), share, one.complete) for one, share in zip(self.mixture, shares, strict=True))
        return Batch(self.images.pin_memory(), targets, self.denominators.pin_memory(), self.seeds)


@dataclass
class Images(Dataset[Batch]):
    """A split of a cohort: looked up by `BatchKey`, a batch at a time.

    Attributes:
        view: Resized modality values.
        ordinals: Row of the view for each case of the split.
        target: Class indices (n, L), -1 unknown.
        plan: The intensity step.
        seed: The run's seed.
        case_ids: Names of the cases, for messages.
        uncertain: Which targets are uncertain (n, L); None: none is.
        uncertain_policy: What is done with these: see `medai.task.uncertain`.
        augmentation: Random transforms that are applied here, image by image; None leaves them to the device.
        mix: Draws how images are mixed; None mixes none.
        loss: Gives the denominators; None where no loss is taken.
    """

    view: View
    ordinals: Int64[np.ndarray, " n"]
    target: Int64[np.ndarray, "n L"]
    plan: IntensityPlan
    seed: int
    case_ids: Sequence[str] = ()
    uncertain: Bool[np.ndarray, "n L"] | None = None
    uncertain_policy: tuple[str, float] = ("ignore", 0.5)
    augmentation: Augmentation | None = None
    mix: Mix | None = None
    loss: Loss | None = None
    _intensity: torch.nn.Module = field(init=False, repr=False)
    _complete: bool = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._intensity = intensity(self.plan)
        self._complete = bool((self.target >= 0).all()) and self.uncertain is None

    def __len__(self) -> int:
        return len(self.ordinals)

    def __getitem__(self, key: BatchKey) -> Batch:
        part = slice(key.part.start, key.part.stop)
        rows, seeds = key.rows, self._seeds(key, "augmentation")
        whole = self._mixture(key, seeds)
        rows, seeds = rows[part], seeds[part]
        if key.partners is not None:
            rows = np.concatenate([rows, key.partners[part]])
            seeds = np.concatenate([seeds, self._seeds(key, "partner augmentation")[part]])
        denominators = self.loss.denominators(whole) if self.loss else torch.ones(self.target.shape[1])
        if len(key.part) < len(key.rows):
            own = torch.arange(key.part.start, key.part.stop)
            whole = tuple(target.take(own) for target in whole)
        return Batch(self._images(rows, seeds), whole, denominators, seeds)

    def names(self, rows: Int64[np.ndarray, " n"]) -> list[str]:
        """Names of the cases of some rows."""
        return [str(self.case_ids[int(row)]) for row in rows] if len(self.case_ids) else [f"row {row}" for row in rows]

    def _seeds(self, key: BatchKey, stream: str) -> UInt64[np.ndarray, " n"]:
        return draw_seeds(self.seed, key.epoch, np.arange(key.position, key.position + len(key.rows)), stream)

    def _mixture(self, key: BatchKey, seeds: UInt64[np.ndarray, " n"]) -> tuple[Target, ...]:
        own = self.targets(key.rows)
        if key.partners is None or self.mix is None:
            return own
        share = torch.from_numpy(self.mix.draw(seeds, self.view.shape[2:]).share)
        return mixed(own, self.targets(key.partners), share)

    def targets(self, rows: Int64[np.ndarray, " n"]) -> tuple[Target, ...]:
        """What is known of the cases of some rows: their mixture."""
        classes = torch.from_numpy(self.target[rows])
        if self.uncertain is None:
            return (Target(classes, None, self._complete),)
        return tuple(mixture(classes, torch.from_numpy(self.uncertain[rows]), *self.uncertain_policy))

    def _images(self, rows: Int64[np.ndarray, " m"], seeds: UInt64[np.ndarray, " m"]) -> Shaped[Tensor, "m C H W"]:
        try:
            stored = self.view.gather(self.ordinals[rows])
        except Damaged as damaged:
            (row,) = np.flatnonzero(self.ordinals == damaged.row)[:1]
            raise MedaiError(
                f"the image of case {self.names(np.array([row]))[0]} in {self.view.path} was changed on the disk (its checksum differs); "
                "remove that folder, it is made again from the cohort, and resume"
            ) from None
        if self.augmentation is None:
            return torch.from_numpy(stored)
        return self.augmentation(self._intensity(torch.from_numpy(self.view.encoding.decode(stored))), seeds)


@dataclass
class EpochBatches(Sampler[BatchKey]):
    """The batches of one epoch, in an order that only (seed, epoch) decides. The last, smaller batch is left out.

    Attributes:
        count: Cases.
        batch_size: Of all ranks together.
        seed: The run's seed.
        group: Each rank gets its part of every batch.
        micro_batch: Largest part that is taken at once; a batch then comes as several keys.
        weights: Cases are drawn with these probabilities, with replacement; None visits each once.
        mixed: Whether each case gets a partner, drawn from the whole epoch.
        limit: At most so many batches.
        epoch: Which epoch comes next.
        start: Batches of it that are left out, since they were taken before.
    """

    count: int
    batch_size: int
    seed: int
    group: Group = ALONE
    micro_batch: int | None = None
    weights: Float64[np.ndarray, " n"] | None = None
    mixed: bool = False
    limit: int | None = None
    epoch: int = 0
    start: int = 0

    def __post_init__(self) -> None:
        self.batch_size = min(self.batch_size, self.count)
        if self.batch_size < self.group.size:
            raise MedaiError(f"training.batch_size={self.batch_size} gives {self.group.size} ranks less than an image each; enlarge it")

    @property
    def steps(self) -> int:
        """Batches in an epoch."""
        return min(self.count // self.batch_size, self.limit or self.count)

    @property
    def parts(self) -> int:
        """Keys that make up this rank's part of a batch: the same number on every rank."""
        largest = -(-self.batch_size // self.group.size)
        return -(-largest // (self.micro_batch or largest))

    def __len__(self) -> int:
        return (self.steps - self.start) * self.parts

    def order(self, epoch: int) -> Int64[np.ndarray, " n"]:
        """The rows that an epoch visits."""
        if self.weights is None:
            return epoch_order(self.count, self.seed, epoch)
        return generator(self.seed, epoch, 0, "order").choice(self.count, size=self.count, p=self.weights / self.weights.sum())

    def __iter__(self) -> Iterator[BatchKey]:
        order = self.order(self.epoch)
        share = self.group.part(self.batch_size)
        cuts = [share.start + len(share) * number // self.parts for number in range(self.parts + 1)]
        for batch in range(self.start, self.steps):
            position = batch * self.batch_size
            partners = self._partners(order, position) if self.mixed else None
            for start, stop in pairwise(cuts):
                yield BatchKey(self.epoch, position, order[position : position + self.batch_size], range(start, stop), partners)

    def rows(self, epoch: int, batch: int) -> Int64[np.ndarray, " n"]:
        """The cases of a batch."""
        return self.order(epoch)[batch * self.batch_size :][: self.batch_size]

    def _partners(self, order: Int64[np.ndarray, " n"], position: int) -> Int64[np.ndarray, " n"]:
        """A case of the same epoch for each of a batch, so that it does not depend on what else is in the batch."""
        drawn = draw_seeds(self.seed, self.epoch, np.arange(position, position + self.batch_size), "partner")
        return order[(drawn % np.uint64(len(order))).astype(np.int64)]


@dataclass
class OrderedBatches(Sampler[BatchKey]):
    """All cases once, in the stored order: for validation. With several ranks, batch b goes to rank b modulo their number."""

    count: int
    batch_size: int
    group: Group = ALONE
    limit: int | None = None

    def __post_init__(self) -> None:
        self.count = min(self.count, (self.limit or self.count) * self.batch_size)

    def __len__(self) -> int:
        return len(range(self.group.rank * self.batch_size, self.count, self.group.size * self.batch_size))

    def __iter__(self) -> Iterator[BatchKey]:
        for start in range(self.group.rank * self.batch_size, self.count, self.group.size * self.batch_size):
            rows = np.arange(start, min(start + self.batch_size, self.count))
            yield BatchKey(0, start, rows, range(len(rows)))


def loader(images: Images, batches: EpochBatches | OrderedBatches, workers: int, pin_memory: bool) -> Iterable[Batch]:
    """A loader whose items are whole batches; its workers live as long as it does. Without workers it is a plain loop."""
    if not workers and not pin_memory:
        return _Direct(images, batches)
    return DataLoader(
        images, batch_size=None, sampler=batches, num_workers=workers, persistent_workers=workers > 0, pin_memory=pin_memory,
        prefetch_factor=4 if workers else None, worker_init_fn=_single_thread,
        collate_fn=_same,  # type: ignore[arg-type]
    )  # fmt: skip


@dataclass(frozen=True)
class _Direct:
    images: Images
    batches: EpochBatches | OrderedBatches

    def __iter__(self) -> Iterator[Batch]:
        return (self.images[key] for key in self.batches)

    def __len__(self) -> int:
        return len(self.batches)


def _single_thread(_: int) -> None:
    torch.set_num_threads(1)


def _same(batch: Batch) -> Batch:
    return batch
