"""A small data set that is learned in seconds, and the settings of a training on it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from medai.preprocessing.plan import IntensityPlan
from medai.tracking.settings import TrackingSettings
from medai.training.settings import AugmentationSettings, PreprocessingSettings, TrainingSettings, TrainSettings
from tests.training.runs import write_bright

TRANSFORMS = [
    {"_target_": "monai.transforms.RandFlip", "prob": 0.5, "spatial_axis": 1},
    {"_target_": "monai.transforms.RandGaussianNoise", "prob": 0.5, "std": 0.1},
]


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An npz in MedMNIST's layout whose positives are brighter in the middle."""
    return write_bright(tmp_path_factory.mktemp("npz") / "bright.npz")


@pytest.fixture
def settings(pictures: Path, tmp_path: Path) -> Iterator[TrainSettings]:
    """18 steps in 3 epochs, with everything that has a state: averaged weights, dropout, augmentation."""
    yield TrainSettings(
        dataset={
            "_target_": "medai.source.npz.NpzSource",
            "name": "bright",
            "path": str(pictures),
            "public": True,
            "targets": [{"name": "bright", "kind": "binary", "classes": ["no", "yes"]}],
        },
        model={"_target_": "medai.model.network.residual_small", "channels": 8, "blocks": 1, "dropout": 0.2},
        preprocessing=PreprocessingSettings(28, 28, None, IntensityPlan("window", 0, 255)),
        augmentation=AugmentationSettings(TRANSFORMS),
        training=TrainingSettings(epochs=3, batch_size=16, ema_decay=0.8, label_smoothing=0.05, flip_average=True),
        tracking=TrackingSettings(enabled=False),
        runs=str(tmp_path / "runs"),
        cohorts=str(tmp_path / "cohorts"),
        workers=0,
    )
    torch.use_deterministic_algorithms(False)
