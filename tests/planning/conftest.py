"""Small cohorts of several kinds, and a machine whose speeds are calculated."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medai.cohort.cohort import Cohort
from medai.ingest.ingest import ingest
from medai.planning.machine import Machine, Speed
from medai.source.npz import NpzSource

COSTS = {"residual_small": 4e4, "efficientnet_lite0": 1e4, "densenet121": 6e4, "resnet18": 8e4, "resnet50": 9e4}  # operations a pixel
CPU, GPU = Machine("cpu", "a processor", 2), Machine("cuda", "a GPU", 8, 80.0)
BINARY = [{"name": "bright", "kind": "binary", "classes": ["no", "yes"], "meaning": "A bright square."}]
ORDINAL = [{"name": "grade", "kind": "ordinal", "classes": ["none", "mild", "severe"]}]
MANY = [{"name": f"finding_{number}", "kind": "binary", "classes": ["absent", "present"]} for number in range(3)]


def _grey(rng: np.random.Generator, count: int, size: int = 28) -> tuple[np.ndarray, np.ndarray]:
    label = (rng.random((count, 1)) < 0.3).astype(np.int64)
    images = rng.integers(0, 200, (count, size, size)).astype(np.uint8)
    images[:, size // 3 : -size // 3, size // 3 : -size // 3] += (label * 55).astype(np.uint8)[:, :, None]
    return images, label


def _ct(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """A disc of soft tissue in air, 512 x 512, in HU."""
    y, x = np.mgrid[:512, :512] - 256
    body = np.where(y**2 + x**2 < 200**2, 40, -1000)
    images = (body[None] + rng.integers(-60, 60, (count, 512, 512))).astype(np.int16)
    return images, (np.arange(count) % 2)[:, None]


def _colour(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    images = rng.integers(0, 255, (count, 96, 128, 3)).astype(np.uint8)
    return images, rng.integers(0, 3, (count, 1))


def _findings(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    labels = (rng.random((count, 3)) < [0.4, 0.2, 0.04]).astype(np.int64)
    labels[0] = 1
    return rng.integers(0, 4000, (count, 80, 100)).astype(np.uint16), labels


def _no_window(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """8-bit images of very different exposure."""
    images, label = _grey(rng, count)
    return (images * rng.uniform(0.05, 1, (count, 1, 1))).astype(np.uint8), label


KINDS: dict[str, tuple[Callable[..., tuple[np.ndarray, np.ndarray]], list[Any], tuple[int, int]]] = {
    "grey": (_grey, BINARY, (160, 48)),
    "ct": (_ct, BINARY, (12, 6)),
    "colour": (_colour, ORDINAL, (60, 24)),
    "findings": (_findings, MANY, (200, 60)),
    "exposure": (_no_window, BINARY, (80, 24)),
}


@pytest.fixture(scope="session")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Cohort]:
    """Gives the cohort of a kind; each is made once."""
    made: dict[str, Cohort] = {}

    def find(kind: str) -> Cohort:
        if kind not in made:
            made[kind] = ingest(NpzSource(kind, **npz(tmp_path_factory.mktemp(kind), kind)), tmp_path_factory.mktemp("cohorts"), workers=0)
        return made[kind]

    return find


def npz(folder: Path, kind: str) -> dict[str, Any]:
    """Write the images of a kind; give path and targets for a source."""
    make, targets, counts = KINDS[kind]
    rng, arrays = np.random.default_rng(0), {}
    for split, count in zip(("train", "val", "test"), (*counts, counts[1]), strict=True):
        arrays[f"{split}_images"], arrays[f"{split}_labels"] = make(rng, count)
    np.savez(folder / f"{kind}.npz", **arrays)
    return {"path": str(folder / f"{kind}.npz"), "targets": targets}


def calculated(
    node: Mapping[str, Any], channels: int, height: int, width: int, outputs: int, batch_size: int, power: float = 1e10
) -> Speed:  # fmt: skip
    """A stopwatch for a processor that does `power` operations a second."""
    cost = COSTS[str(node["_target_"]).rsplit(".", 1)[-1]] * (int(node.get("channels", 16)) / 16) ** 2
    return Speed(power / (cost * height * width), None if power < 1e12 else height * width / 200)


def on_gpu(*arguments: Any) -> Speed:
    """A stopwatch for a machine that is ten thousand times as fast."""
    return calculated(*arguments, power=1e14)
