"""A cohort that is named is the one that is evaluated; a sealed one does not take a model that was developed on its images."""

import json
from pathlib import Path

import pytest

from medai.cli import main
from medai.cohort.cohort import Cohort

from .conftest import Way


def ingested(images: str, folder: Path, seed: int = 0) -> Cohort:
    given = ["dataset.count=80", f"dataset.path={images}", f"dataset.seed={seed}", "dataset.split.test=1.0", f"cohorts={folder}"]
    assert main(["ingest", *given]) == 0
    return Cohort.open(next(folder.glob("*/cohort.json")).parent)


def test_a_named_cohort_goes_before_the_one_that_the_run_remembers(here: Way, tmp_path: Path) -> None:
    cohort = ingested("elsewhere", tmp_path / "there", seed=1)
    output = tmp_path / "evaluation"
    given = [
        f"candidate={here.run}",
        f"cohorts={cohort.path}",
        f"output={output}",
        "replicates=20",
        "saliency=none",
        "tracking.enabled=false",
    ]
    assert main(["evaluate", *given]) == 0
    assert json.loads((output / "metrics.json").read_text())["cohort"]["hash"] == cohort.hash


def test_a_sealed_test_set_refuses_a_model_that_was_developed_on_its_images(
    here: Way, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cohort, key = ingested("phantom", tmp_path / "there"), tmp_path / "office" / "key"
    label = cohort.labels[0].name
    assert main(["seal", str(cohort.path), "--key", str(key), "--metric", f"auroc:{label}", "--attempts", "2"]) == 0
    output = tmp_path / "evaluation"
    given = [f"candidate={here.run}", f"cohorts={cohort.path}", f"seal_key={key}", f"output={output}", "replicates=20", "language=en"]
    capsys.readouterr()
    assert main(["evaluate", *given]) == 2
    assert "are in the development set of" in capsys.readouterr().err
    assert main(["audit-ledger", str(cohort.path), "--key", str(key)]) == 0
    assert "0 of 2 attempts spent" in capsys.readouterr().out
    assert main(["evaluate", *given, "allow=[seen-images]"]) == 0
    assert "of these images were in the development set of the model" in (output / "report.html").read_text()
