"""A run whose calibration is a line or a curve keeps it in its checkpoint and in its exported package."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from medai.export.run import export_candidate
from medai.export.settings import ExportSettings
from medai.training.checkpoint import Checkpoint
from medai.training.settings import TrainSettings
from medai.training.train import train


@pytest.mark.parametrize("kind", ["platt", "isotonic"])
def test_a_run_and_its_package_carry_the_calibration(settings: TrainSettings, kind: str, tmp_path: Path) -> None:
    run = train(replace(settings, name=kind, training=replace(settings.training, calibration=kind, threshold="cost=1:5@0.1")))
    checkpoint = Checkpoint.load(run)
    assert checkpoint.calibrators["bright"].kind == kind
    assert checkpoint.record["calibration"]["method"] == kind
    package = export_candidate(ExportSettings(candidate=str(run), cohorts=settings.cohorts, output=str(tmp_path / "package"), zip=False))
    record = json.loads((package / "package.json").read_text())
    assert record["calibration"]["calibrators"]["bright"] == checkpoint.calibrators["bright"].to_dict()
