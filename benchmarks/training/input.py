"""(a) Input: images a second that reach the training loop as normalised float32, against other loaders."""

import gc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from training.data import DataSet, data_set
from training.harness import Part, rate

LIMIT_SECONDS = 300
WORKERS = (0, 2, 4)
NODES: list[dict[str, Any]] = [
    {"_target_": "monai.transforms.RandFlip", "prob": 0.5, "spatial_axis": 1},
    {
        "_target_": "monai.transforms.RandAffine", "prob": 0.9, "rotate_range": 0.17, "translate_range": [8, 8], "scale_range": [0.1, 0.1],
        "padding_mode": "border",
    },
    {"_target_": "monai.transforms.RandScaleIntensity", "prob": 0.5, "factors": 0.15},
    {"_target_": "monai.transforms.RandGaussianNoise", "prob": 0.5, "mean": 0.0, "std": 0.03},
]  # fmt: skip


class Peer(Protocol):
    """A way to deliver batches; see `Medai` for ours."""

    name: str

    def batches(self, workers: int) -> Iterator[Tensor]: ...


def run(part: Part) -> None:
    """Measure everything; the figures go into `part.found`."""
    count, side = (256, 32) if part.quick else (10_000, 224)
    part.say(f"a data set of {count:,} images of {side} x {side} pixels")
    data = data_set(part.work, count, side)
    folder = part.work / f"peers-{count}-{side}"
    folder.mkdir(exist_ok=True)
    plain(part, data, folder)
    augmented(part, data, folder)


def plain(part: Part, data: DataSet, folder: Path) -> None:
    """Without random transforms."""
    from training.peers.lit_data import LitDataPeer
    from training.peers.monai_datasets import cached, lmdb, persistent
    from training.peers.ours import Medai
    from training.peers.web_dataset import WebDatasetPeer

    peers = _prepared(part, data, [persistent(folder), cached(), lmdb(folder), WebDatasetPeer(folder), LitDataPeer(folder)])
    medians = _measure(part, [Medai(data.view), *peers], "", repetitions=5, share=0.6)
    ours = medians.pop("medai")
    best = max(medians, key=lambda name: medians[name])
    part.found["best_peer"] = best
    part.verdict("input, medai / MONAI PersistentDataset", ours / medians["MONAI PersistentDataset"], 20)
    part.verdict(f"input, medai / best peer ({best})", ours / medians[best], 5)
    from_disk = max((name for name in medians if name != "MONAI CacheDataset"), key=lambda name: medians[name])
    part.found["ratios"][f"input, medai / best peer that reads from disk ({from_disk})"] = ours / medians[from_disk]
    gigabytes = 4 * data.pixels_file.stat().st_size / 2**30
    part.note(f"MONAI CacheDataset holds all images in memory as float32 ({gigabytes:.1f} GiB); the others read files in the page cache")


def augmented(part: Part, data: DataSet, folder: Path) -> None:
    """With the same random flip, affine, intensity and noise."""
    from training.peers.monai_datasets import cached, persistent
    from training.peers.ours import Medai

    peers = _prepared(part, data, [persistent(folder, NODES), cached(NODES)])
    medians = _measure(part, [Medai(data.view, NODES), *peers], ", augmented", repetitions=3, share=1.0)
    ours = medians.pop("medai, augmented")
    best = max(medians, key=lambda name: medians[name])
    part.verdict(f"input with augmentation, medai / best of MONAI's per case ({best})", ours / medians[best], 5)


def _prepared(part: Part, data: DataSet, peers: list[Any]) -> list[Any]:
    """The peers whose stores could be made; one that cannot is told, and left out."""
    ready = []
    for peer in peers:
        part.say(f"{peer.name}: preparing")
        try:
            peer.prepare(data.pixels_file, data.view.shape)
        except Exception as error:  # another library's fault must not hide the others' figures
            part.note(f"{peer.name} is left out: {type(error).__name__}: {error}")
            continue
        ready.append(peer)
    return ready


def _measure(part: Part, peers: list[Peer], suffix: str, repetitions: int, share: float) -> dict[str, float]:
    """Find the best number of workers of each, then measure all in turns."""
    subjects: dict[str, Callable[[], float]] = {}
    trials = part.found.setdefault("workers_tried", {})
    seconds, trial = (0.3, 0.2) if part.quick else (3.0, 1.5)
    for peer in peers:
        found = {workers: _rate(peer, workers, trial) for workers in WORKERS}
        best = max(found, key=lambda workers: found[workers])
        trials[peer.name + suffix] = {str(workers): value for workers, value in found.items()}
        part.say(f"{peer.name + suffix}: " + ", ".join(f"{value:,.0f} images/s with {workers}" for workers, value in found.items()))
        subjects[peer.name + suffix] = _subject(peer, best, seconds)
    return part.repeat(subjects, repetitions, "images/s", share)


def _subject(peer: Peer, workers: int, seconds: float) -> Callable[[], float]:
    return lambda: _rate(peer, workers, seconds)


def _rate(peer: Peer, workers: int, seconds: float) -> float:
    batches = checked(peer.batches(workers))
    try:
        return rate(batches, seconds, warm=8)
    finally:
        batches.close()  # type: ignore[attr-defined]
        gc.collect()  # workers end now, and not during another's turn


def checked(batches: Iterator[Tensor]) -> Iterator[Tensor]:
    """The batches; the first is looked at: float32, 64 images, about [0, 1]."""
    first = next(batches)
    if first.dtype != torch.float32 or len(first) != 64 or first.ndim != 4:
        raise ValueError(f"a batch of 64 float32 images is expected, got {first.dtype} {tuple(first.shape)}")
    low, mean, high = float(first.min()), float(first.mean()), float(first.max())
    if low < -0.5 or not 0.3 < mean < 0.7 or high > 1.6:
        raise ValueError(f"values of about [0, 1] are expected, got {low} to {high} with mean {mean}")
    yield first
    yield from batches
