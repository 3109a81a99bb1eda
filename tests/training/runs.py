"""A data set that is learned in seconds, and what tests read from a run."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file


def write_bright(path: Path) -> Path:
    """An npz in MedMNIST's layout whose positives are brighter in the middle."""
    rng = np.random.default_rng(0)
    arrays = {}
    for split, count in (("train", 96), ("val", 48), ("test", 32)):
        label = rng.integers(0, 2, (count, 1)).astype(np.uint8)
        images = rng.integers(0, 120, (count, 28, 28)).astype(np.uint8)
        images[:, 8:20, 8:20] += (label * 60)[:, :, None]
        arrays |= {f"{split}_images": images, f"{split}_labels": label}
    np.savez(path, **arrays)
    return path


def weights(run: Path) -> dict[str, torch.Tensor]:
    """The weights of a run's checkpoint."""
    return load_file(run / "checkpoint" / "model.safetensors")


def same(one: Path, other: Path) -> bool:
    """Whether two runs have the same weights, bit for bit."""
    mine, theirs = weights(one), weights(other)
    return mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in mine)


def records(run: Path) -> list[dict[str, Any]]:
    """The lines of a run's `metrics.jsonl`."""
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
