"""LitData: chunks of about 64 MB, shuffled by chunk and inside it, read from memory maps."""

import multiprocessing
from collections.abc import Iterator
from pathlib import Path

import litdata
import numpy as np
import torch
from torch import Tensor

BATCH = 64


class LitDataPeer:
    """Images as stored integers; a batch becomes float32 at once."""

    name = "LitData"

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "litdata"

    def prepare(self, pixels: Path, shape: tuple[int, int, int, int]) -> None:
        """Write the chunks."""
        self._pixels, self._shape = pixels, shape
        if not (self._folder / "index.json").exists():
            litdata.optimize(
                fn=self._read,
                inputs=list(range(shape[0])),
                output_dir=str(self._folder),
                chunk_bytes="64MB",
                num_workers=1,
                start_method="fork",
                verbose=False,
            )
            multiprocessing.set_start_method("fork", force=True)  # which it changes for the whole process

    def batches(self, workers: int) -> Iterator[Tensor]:
        """Endless shuffled batches (64, 1, H, W)."""
        dataset = litdata.StreamingDataset(str(self._folder), shuffle=True, drop_last=True)
        loader = litdata.StreamingDataLoader(
            dataset, batch_size=BATCH, num_workers=workers, drop_last=True, collate_fn=collate, persistent_workers=workers > 0
        )
        try:
            while True:
                yield from loader
        finally:
            for worker in multiprocessing.active_children():  # they do not hear of the end: the loader would wait 5 s for each
                worker.terminate()

    def _read(self, number: int) -> Tensor:
        return torch.from_numpy(np.array(np.memmap(self._pixels, dtype=np.uint8, mode="r", shape=self._shape)[number]))


def collate(images: list[Tensor]) -> Tensor:
    return torch.stack(images).to(torch.float32).div_(255)
