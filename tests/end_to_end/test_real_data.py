"""Slow proofs on real data: `make proof`. Each needs the folder that MEDAI_TEST_DATA names."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from safetensors.torch import load_file

from medai.cli import main
from medai.cohort.cohort import Cohort
from medai.inference.candidate import open_candidate
from medai.inference.predict import predict_cases

pytestmark = [pytest.mark.proof, pytest.mark.timeout(1800)]


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def cohort_of(run: Path) -> Cohort:
    return Cohort.open(json.loads((run / "run.json").read_text())["cohort"])


def metrics_of(run: Path) -> dict[str, Any]:
    (path,) = (run / "evaluation").glob("*/metrics.json")
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def test_ct_slices_of_three_sites_go_from_a_dicom_folder_to_a_report(shared_data: Path) -> None:
    run = Path("runs/siim")
    assert main(["train", "experiment=siim_ct", f"dataset.path={shared_data / 'siim-ct-dicom'}", f"folder={run}", "training.epochs=4"]) == 0
    assert main(["evaluate", f"candidate={run}"]) == 0
    cohort = cohort_of(run)
    cases = cohort.cases()
    assert set(cases.filter(pl.col("partition") == "test")["site"]) == {"50"}
    assert set(cases.filter(pl.col("partition") == "development")["site"]) == {"17", "34"}
    patients = {name: set(cohort.select(name)["patient_id"]) for name in ("train", "validation", "test")}
    assert not patients["train"] & patients["validation"]
    assert not (patients["train"] | patients["validation"]) & patients["test"]
    assert cohort.counts["cases"] + cohort.counts["quarantined"] == cohort.counts["found"] == 74
    assert metrics_of(run)["labels"]["contrast"]["warning"] == "too few events"
    (report,) = (run / "evaluation").glob("*/report.html")
    assert "too small for a claim" in report.read_text()
    assert main(["export", f"candidate={run}"]) == 0
    assert main(["verify", str(run / "package")]) == 0


def test_radiographs_in_a_folder_a_class_go_to_a_report(shared_data: Path) -> None:
    run, path = Path("runs/kermany"), shared_data / "kermany-cxr-small" / "dataset" / "train"
    assert main(["train", "experiment=kermany", f"dataset.path={path}", f"folder={run}", "training.epochs=3"]) == 0
    assert main(["evaluate", f"candidate={run}"]) == 0
    assert cohort_of(run).counts["patients_unknown"] == 129
    (report,) = (run / "evaluation").glob("*/report.html")
    assert "Patients unknown for 129 of 500 cases" in report.read_text()


def test_real_images_give_the_same_weights_again_and_onnx_the_same_answers(shared_data: Path) -> None:
    path = shared_data / "medmnist" / "pneumoniamnist_rebuilt.npz"
    for name, workers in (("one", 0), ("again", 0), ("workers", 2)):
        arguments = ["experiment=pneumoniamnist", f"dataset.path={path}", f"folder=runs/{name}", f"workers={workers}", "training.epochs=2"]
        assert main(["train", *arguments]) == 0
    weights = [load_file(Path("runs") / name / "checkpoint" / "model.safetensors") for name in ("one", "again", "workers")]
    for other in weights[1:]:
        assert all(torch.equal(weights[0][key], other[key]) for key in weights[0])
    assert main(["export", "candidate=runs/one"]) == 0
    cohort = cohort_of(Path("runs/one"))
    cases = cohort.select("test")
    assert len(cases) == 624
    by_torch = predict_cases(open_candidate(Path("runs/one")), cohort, cases).outputs
    by_onnx = predict_cases(open_candidate(Path("runs/one/package")), cohort, cases).outputs
    assert np.abs(by_torch.probability - by_onnx.probability).max() <= 1e-5
    assert (by_torch.decision == by_onnx.decision).all()
