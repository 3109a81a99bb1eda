"""medai's own input: whole batches gathered from the view as integers, then prepared in one pass."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from medai.augmentation.batched import BatchedAugmentation
from medai.store.view import View
from medai.training.data import EpochBatches, Images, loader
from medai.training.prepare import Prepare
from training.data import INTENSITY, SEED

BATCH = 64


class Medai:
    """The loader and the preparation that a training uses."""

    name = "medai"

    def __init__(self, view: View, random: Sequence[Mapping[str, Any]] = ()) -> None:
        count = view.shape[0]
        self._images = Images(view, np.arange(count), np.zeros((count, 1), dtype=np.int64), INTENSITY, SEED)
        self._prepare = Prepare(view.encoding, INTENSITY, BatchedAugmentation(random) if random else None)

    def batches(self, workers: int) -> Iterator[Tensor]:
        """Endless shuffled batches (64, 1, H, W)."""
        order = EpochBatches(len(self._images), BATCH, SEED)
        batches = loader(self._images, order, workers, pin_memory=False)
        while True:
            for batch in batches:
                yield self._prepare(batch.to(torch.device("cpu")))
            order.epoch += 1
