"""Synthetic data sets: made once through medai's own ingest, and used by every part and peer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medai.cohort.cohort import Cohort
from medai.core.file import write_json
from medai.ingest.ingest import ingest
from medai.ingest.view import ensure_view
from medai.preprocessing.plan import IntensityPlan, ResizePlan
from medai.source.npz import NpzSource
from medai.store.view import View
from medai.tracking.settings import TrackingSettings
from medai.training.settings import AugmentationSettings, PreprocessingSettings, TrainingSettings, TrainSettings

INTENSITY = IntensityPlan("window", 0, 255)  # all peers deliver value / 255
SEED = 0
SPLIT = {"test": 0.0}  # the file says which cases are test cases


@dataclass(frozen=True)
class DataSet:
    """A data set on disk.

    Attributes:
        path: The npz file, in MedMNIST's layout.
        cohorts: Folder of the cohorts.
        cohort: Made from it.
        view: At its own size.
    """

    path: Path
    cohorts: Path
    cohort: Cohort
    view: View

    @property
    def pixels_file(self) -> Path:
        """All images (N, 1, H, W) as raw uint8, in the order of the cohort."""
        return self.view.path / "pixels.raw"

    def arguments(self, network: str) -> list[str]:
        """The command line of `medai train` that names it and a network of `training.network`, by a folder of configs."""
        configs, name = self.path.parent / "configs", self.cohort.name
        write_json(configs / "dataset" / f"{name}.yaml", self._source())  # JSON is YAML
        write_json(configs / "model" / f"{network}.yaml", {"_target_": f"training.network.{network}"})
        side = self.view.shape[2]
        size = [f"preprocessing.height={side}", f"preprocessing.width={side}", "preprocessing.channels=1"]
        method = [f"preprocessing.intensity.{key}={getattr(INTENSITY, key)}" for key in ("method", "lower", "upper")]
        return ["--config-dir", str(configs), f"dataset={name}", f"model={network}", f"cohorts={self.cohorts}", *size, *method]

    def _source(self) -> dict[str, Any]:
        kind = {"_target_": "medai.source.npz.NpzSource", "name": self.cohort.name, "path": str(self.path)}
        return kind | {"targets": ["finding"], "split": SPLIT}

    def settings(self, model: Mapping[str, Any], training: TrainingSettings, transforms: Sequence[Any], runs: Path) -> TrainSettings:
        """The settings of a training on it."""
        side = self.view.shape[2]
        return TrainSettings(
            dataset=self._source(), model=dict(model), preprocessing=PreprocessingSettings(side, side, 1, INTENSITY),
            augmentation=AugmentationSettings(list(transforms)), training=training, tracking=TrackingSettings(enabled=False),
            cohorts=str(self.cohorts), runs=str(runs), workers=0, seed=SEED,
        )  # fmt: skip


def data_set(work: Path, count: int, side: int, test: float = 0.0) -> DataSet:
    """The data set of `count` images of `side` x `side` pixels of 8 bits, two classes; made when it is not there yet."""
    name = f"synthetic-{count}-{side}"
    path = work / f"{name}.npz"
    if not path.exists():
        work.mkdir(parents=True, exist_ok=True)
        generator = np.random.default_rng(SEED)
        images = generator.integers(0, 256, (count, side, side), dtype=np.uint8)
        classes = generator.integers(0, 2, (count, 1))
        held_out = int(test * count)
        arrays = {"train_images": images[held_out:], "train_labels": classes[held_out:]}
        tests = {"test_images": images[:held_out], "test_labels": classes[:held_out]} if held_out else {}
        np.savez(path, **arrays, **tests)  # type: ignore[arg-type]
    source = NpzSource(name=name, path=str(path), targets=["finding"], split=SPLIT)
    cohort = ingest(source, work / "cohorts", workers=2)
    return DataSet(path, work / "cohorts", cohort, ensure_view(cohort, ResizePlan(side, side, 1), 2))
