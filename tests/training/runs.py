"""What tests read from a run."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file


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
