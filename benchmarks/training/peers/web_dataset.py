"""WebDataset: tar shards of raw bytes, shuffled by shard and in a buffer, batched inside the pipeline."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import webdataset
from torch import Tensor

BATCH = 64
SHARDS = 20
BUFFER = 1000


class WebDatasetPeer:
    """Images as stored bytes; a batch becomes float32 at once."""

    name = "WebDataset"

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "webdataset"

    def prepare(self, pixels: Path, shape: tuple[int, int, int, int]) -> None:
        """Write the shards."""
        self._shape, self._shards = shape[1:], min(SHARDS, shape[0] // BATCH)
        if self._folder.exists():
            return
        self._folder.mkdir()
        images = np.memmap(pixels, dtype=np.uint8, mode="r", shape=shape)
        for shard in range(self._shards):
            with webdataset.TarWriter(str(self._folder / f"{shard:06d}.tar")) as writer:
                for number in range(shard, shape[0], self._shards):
                    writer.write({"__key__": f"{number:08d}", "bin": images[number].tobytes()})

    def batches(self, workers: int) -> Iterator[Tensor]:
        """Endless shuffled batches (64, 1, H, W)."""
        urls = sorted(str(path) for path in self._folder.glob("*.tar"))
        dataset = (
            webdataset.WebDataset(urls, shardshuffle=self._shards, empty_check=False)
            .shuffle(BUFFER)
            .to_tuple("bin")
            .batched(BATCH, collation_fn=self._collate, partial=False)
        )
        loader = webdataset.WebLoader(dataset, batch_size=None, num_workers=workers, persistent_workers=workers > 0)
        while True:
            yield from loader

    def _collate(self, samples: list[tuple[bytes]]) -> Tensor:
        stored = np.frombuffer(b"".join(sample[0] for sample in samples), dtype=np.uint8).reshape(-1, *self._shape)
        return torch.from_numpy(stored.astype(np.float32)).div_(255)
