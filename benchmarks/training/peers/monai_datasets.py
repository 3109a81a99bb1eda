"""MONAI's cached data sets with its DataLoader: the deterministic transforms are cached, the random ones run in the workers."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import CacheDataset, DataLoader, LMDBDataset, PersistentDataset
from monai.data.meta_obj import set_track_meta
from monai.transforms import Compose, ScaleIntensityRange, Transform
from torch import Tensor

from medai.core.target import locate

BATCH = 64


class Take(Transform):
    """Load one image (1, H, W) by its number, as float32: the stand-in of a file reader."""

    def __init__(self, pixels: Path, shape: tuple[int, int, int, int]) -> None:
        self.pixels, self.shape = pixels, shape

    def __call__(self, number: int) -> Tensor:
        images = np.memmap(self.pixels, dtype=np.uint8, mode="r", shape=self.shape)
        return torch.from_numpy(images[number].astype(np.float32))


class MonaiPeer:
    """One of MONAI's data sets.

    Args:
        name: Of the data set's class.
        make: Items and transforms to the data set.
        random: Nodes of random transforms that come after the cached ones.
    """

    def __init__(self, name: str, make: Callable[[Sequence[int], Compose], Any], random: Sequence[Mapping[str, Any]] = ()) -> None:
        self.name, self._make, self._random = name, make, random
        self._dataset: Any = None

    def prepare(self, pixels: Path, shape: tuple[int, int, int, int]) -> None:
        """Fill the cache."""
        set_track_meta(False)
        nodes = [dict(node) for node in self._random]
        random = [locate(node.pop("_target_"))(**node) for node in nodes]
        steps = [Take(pixels, shape), ScaleIntensityRange(0, 255, 0, 1, clip=True)]
        self._dataset = self._make(range(shape[0]), Compose([*steps, *random]))
        if type(self._dataset) is PersistentDataset and not random:  # with random transforms it reads the same cache
            for number in range(shape[0]):
                self._dataset[number]

    def batches(self, workers: int) -> Iterator[Tensor]:
        """Endless shuffled batches (64, 1, H, W)."""
        loader = DataLoader(
            self._dataset, batch_size=BATCH, shuffle=True, drop_last=True, num_workers=workers, persistent_workers=workers > 0
        )
        while True:
            yield from loader


def persistent(folder: Path, random: Sequence[Mapping[str, Any]] = ()) -> MonaiPeer:
    """A file of tensors a case."""
    return MonaiPeer(
        "MONAI PersistentDataset", lambda items, steps: PersistentDataset(items, steps, cache_dir=folder / "persistent"), random
    )


def cached(random: Sequence[Mapping[str, Any]] = ()) -> MonaiPeer:
    """Everything in memory."""
    return MonaiPeer("MONAI CacheDataset", lambda items, steps: CacheDataset(items, steps, num_workers=2, progress=False), random)


def lmdb(folder: Path) -> MonaiPeer:
    """One LMDB file."""
    options = {"map_size": 2**36}
    return MonaiPeer(
        "MONAI LMDBDataset",
        lambda items, steps: LMDBDataset(items, steps, cache_dir=folder / "lmdb", progress=False, lmdb_kwargs=options),
    )
