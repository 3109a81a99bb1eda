"""A tiny data set, and the settings of a training on it."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from medai.preprocessing.plan import IntensityPlan
from medai.tracking.settings import TrackingSettings
from medai.training.material import Material, gather
from medai.training.settings import AugmentationSettings, PreprocessingSettings, TrainingSettings, TrainSettings


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(0)
    arrays = {}
    for split, count in (("train", 64), ("val", 24)):
        arrays[f"{split}_images"] = rng.integers(0, 256, (count, 16, 16)).astype(np.uint8)
        arrays[f"{split}_labels"] = (np.arange(count) % 2)[:, None].astype(np.uint8)
    path = tmp_path_factory.mktemp("npz") / "noise.npz"
    np.savez(path, **arrays)
    return path


@pytest.fixture
def settings(pictures: Path, tmp_path: Path) -> Iterator[TrainSettings]:
    yield TrainSettings(
        dataset={"_target_": "medai.source.npz.NpzSource", "name": "noise", "path": str(pictures), "targets": ["finding"]},
        model={"_target_": "medai.model.network.residual_small", "channels": 8, "blocks": 1},
        preprocessing=PreprocessingSettings(16, 16, None, IntensityPlan("window", 0, 255)),
        augmentation=AugmentationSettings([{"_target_": "monai.transforms.RandFlip", "prob": 0.5, "spatial_axis": 1}]),
        training=TrainingSettings(batch_size=8, ema_decay=0.9),
        tracking=TrackingSettings(enabled=False),
        runs=str(tmp_path / "runs"),
        cohorts=str(tmp_path / "cohorts"),
        workers=0,
    )
    torch.use_deterministic_algorithms(False)


@pytest.fixture
def material(settings: TrainSettings) -> Material:
    return gather(settings)
