"""A comparison beside an evaluation: with a table, with another model, and what is refused."""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from medai.cli import main
from medai.cohort.cohort import Cohort
from medai.core.error import MedaiError
from medai.inference.settings import EvaluateSettings
from medai.inference.unseen import _patients, check_unseen
from medai.ingest.ingest import ingest
from medai.seal.audit import audit_ledger
from medai.seal.seal import seal_cohort
from medai.seal.terms import Terms
from medai.source.npz import NpzSource
from tests.inference.conftest import WriteContract, WriteModel
from tests.inference.hospital import QUICK, SCALE, SICK, arrays, auroc_of, cohort_in, command, line_of, metrics_in, scores_of


@pytest.fixture
def hospital(tmp_path: Path) -> Cohort:
    return cohort_in(tmp_path)


@pytest.fixture
def vendor(write_model: WriteModel, write_contract: WriteContract, hospital: Cohort, tmp_path: Path) -> list[str]:
    """The vendor's model as a command line; beside it an old one, which sees the middle of the image alone."""
    write_model(name="old.onnx")
    write_contract("old.yaml", input={"fit": "crop", "short_side": 32}, thresholds={"sick": 0.5}, **SCALE)
    given = [f"candidate={write_model()}", f"contract={write_contract(**SCALE)}", f"cohorts={hospital.path}", f"output={tmp_path / 'out'}"]
    return ["evaluate", *given, *QUICK]


def test_another_model_is_compared_on_the_same_cases_with_a_margin(vendor: list[str], tmp_path: Path) -> None:
    assert command([*vendor, f"reference={tmp_path / 'old.onnx'}", "margin=0.1"]) == 0
    metrics = metrics_in(tmp_path / "out")
    compared = metrics["comparison"]
    assert compared["reference"] == "old" and compared["margin"] == 0.1 and compared["cases"] == 160
    assert compared["labels"]["sick"]["thresholds"] == {"vendor": 0.4, "old": 0.5}
    old = [name.replace("vendor", "old") for name in vendor]
    assert command([*old, f"output={tmp_path / 'alone'}"]) == 0
    difference = metrics["labels"]["sick"]["auroc"]["value"] - metrics_in(tmp_path / "alone")["labels"]["sick"]["auroc"]["value"]
    told = next(row for row in compared["labels"]["sick"]["differences"] if row["metric"] == "auroc")
    assert told["value"] == pytest.approx(difference) and told["low"] < difference < told["high"]
    assert difference > 0 and told["verdict"] == "non-inferior" and told["non_inferiority"]["margin"] == 0.1
    assert "non-inferior" in (tmp_path / "out/report.html").read_text(encoding="utf-8")


def test_a_table_is_compared_and_one_of_the_same_name_is_told_by_its_folder(vendor: list[str], hospital: Cohort, tmp_path: Path) -> None:
    (tmp_path / "reader").mkdir()
    table = scores_of(hospital)
    table.write_csv(tmp_path / "reader/vendor.csv")
    assert command([*vendor, f"reference={tmp_path / 'reader/vendor.csv'}"]) == 0
    compared, predicted = metrics_in(tmp_path / "out")["comparison"], pl.read_parquet(tmp_path / "out/predictions.parquet")
    assert compared["reference"] == "reader/vendor" and compared["margin"] is None
    told = next(row for row in compared["labels"]["sick"]["differences"] if row["metric"] == "auroc")
    assert told["value"] == pytest.approx(auroc_of(predicted) - auroc_of(table))


def test_two_tables_are_compared(hospital: Cohort, tmp_path: Path) -> None:
    for name, seed in (("new", 0), ("old", 1)):
        scores_of(hospital, seed=seed).write_csv(tmp_path / f"{name}.csv")
    assert main(["evaluate", f"predictions={tmp_path / 'new.csv'}", f"reference={tmp_path / 'old.csv'}", "margin=0.05", *QUICK]) == 0
    assert metrics_in(tmp_path / "new-evaluation")["comparison"]["reference"] == "old"


def test_what_cannot_be_compared_is_one_line_and_leaves_no_results(
    vendor: list[str], hospital: Cohort, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = scores_of(hospital)
    table.head(100).write_csv(tmp_path / "few.csv")
    table.with_columns((1 - pl.col("target.sick")).alias("target.sick")).write_csv(tmp_path / "false.csv")
    assert "few" in line_of(capsys, [*vendor, f"reference={tmp_path / 'few.csv'}"])
    assert "false" in line_of(capsys, [*vendor, f"reference={tmp_path / 'false.csv'}"])
    assert "does not exist" in line_of(capsys, [*vendor, "reference=nowhere.csv"])
    assert "does not exist" in line_of(capsys, [*vendor, "reference=nowhere"])
    assert not (tmp_path / "out").exists()


def test_a_reference_that_refuses_cases_is_refused(
    vendor: list[str], write_contract: WriteContract, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_contract("old.yaml", input={"accepts": {"low": 0, "high": 254}}, **SCALE)
    line = line_of(capsys, [*vendor, f"reference={tmp_path / 'old.onnx'}"])
    assert "the reference" in line and "of the cases, e.g. test-0" in line


def test_a_table_alone_has_no_images_for_a_model(hospital: Cohort, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scores_of(hospital).write_csv(tmp_path / "new.csv")
    line = line_of(capsys, ["evaluate", f"predictions={tmp_path / 'new.csv'}", "reference=old.onnx", *QUICK])
    assert "is no table of predictions, and a model needs images; name a CSV or Parquet table" in line


class Trained:
    """Stands in for a run of medai, developed on a cohort: what is asked of a reference before it predicts."""

    def __init__(self, path: Path, cohort: Cohort, seen: str = "train") -> None:
        self.path, self.hash, self.seen = path, "b" * 64, seen
        self.cohort = (cohort.hash, cohort.name, str(cohort.path))


def second(folder: Path, shared: int) -> Cohort:
    """A second cohort, whose first development images are test images of the first."""
    made, known = arrays(1), arrays(0)
    made["train_images"][:shared] = known["test_images"][:shared]
    np.savez(folder / "second.npz", **made)
    return ingest(NpzSource("second", str(folder / "second.npz"), [SICK], public=True), folder / "cohorts", workers=0)


def test_a_reference_that_was_developed_on_the_images_is_refused_as_a_candidate_is(
    vendor: list[str], hospital: Cohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "old").mkdir()
    trained = Trained(tmp_path / "old", second(tmp_path, shared=3))
    monkeypatch.setattr("medai.inference.reference.open_candidate", lambda *_, **__: trained)
    line = line_of(capsys, [*vendor, f"reference={tmp_path / 'old'}"])
    assert f"3 of the 160 images are in the development set of {tmp_path / 'old'}" in line and "allow=[seen-images]" in line
    assert not (tmp_path / "cohorts/looks").exists()


def test_a_sealed_comparison_checks_its_reference_before_anything_opens(
    vendor: list[str], hospital: Cohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    trained, key = Trained(tmp_path / "old", second(tmp_path, shared=3)), tmp_path / "office/key"
    seal_cohort(hospital, key, Terms("auroc", "sick", 2, margin=0.05))
    monkeypatch.setattr("medai.inference.reference.open_candidate", lambda *_, **__: trained)
    line = line_of(capsys, [*vendor, f"reference={tmp_path / 'old'}", f"seal_key={key}"])
    assert "3 of the 160 images are in the development set" in line
    assert audit_ledger(Cohort.open(hospital.path), key).unfinished == 0


@pytest.mark.parametrize("who", ["model", "reference"])
def test_a_strangers_file_with_a_record_of_medai_beside_it_is_checked_by_that(hospital: Cohort, tmp_path: Path, who: str) -> None:
    other, cases = second(tmp_path, shared=2), hospital.select("test")
    settings = EvaluateSettings(candidate="x", cohorts=str(tmp_path / "cohorts"))
    stranger = Trained(tmp_path / "package/model.onnx", hospital)
    stranger.path.parent.mkdir()
    stranger.cohort = ("", "", None)  # type: ignore[assignment]
    check = partial(check_unseen, candidate=stranger, cohort=hospital, cases=cases, who=who)
    assert check(settings) == [f"The {who} was made elsewhere: whether it has seen some of these images is not known to this program."]
    record = {"hashes": {"cohort": other.hash}, "data": {"name": "second"}}
    (stranger.path.parent / "package.json").write_text(json.dumps(record))
    with pytest.raises(MedaiError, match="2 of the 160 images are in the development set of .*model.onnx"):
        check(settings)
    told = check(replace(settings, allow=["seen-images"]))
    assert told == [f"2 of these images were in the development set of the {who}: the figures are too good."]
    (stranger.path.parent / "package.json").unlink()
    (stranger.path.parent / "checkpoint.json").write_text(json.dumps({"cohort": {"hash": "0" * 64, "name": "gone"}}))
    assert check(settings) == [
        f"The cohort of the {who}'s development is not here: whether it has seen some of these images was not checked."
    ]


def test_patients_of_the_development_are_told_where_the_sites_key_names_them(hospital: Cohort, tmp_path: Path) -> None:
    other, settings = second(tmp_path, shared=0), EvaluateSettings(candidate="x", cohorts=str(tmp_path / "cohorts"))
    trained = Trained(tmp_path / "old", other)
    known = other.cases().filter(pl.col("partition") == "development")["case_id"][:5]
    people = pl.Series("patient_id", [*known, *[None] * 155])
    cases = hospital.select("test").with_columns(people)
    development = other.cases().with_columns(patient_id="case_id")
    assert check_unseen(settings, trained, hospital, cases) == []  # type: ignore[arg-type]
    hospital.meta["public"] = other.meta["public"] = False
    assert _patients(hospital, cases, development, "reference") == [
        "5 of these images are of patients in the development set of the reference: the figures may be too good."
    ]


def test_the_report_says_what_is_not_known_of_a_reference(vendor: list[str], hospital: Cohort, tmp_path: Path) -> None:
    assert command([*vendor, f"reference={tmp_path / 'old.onnx'}"]) == 0
    assert "The reference was made elsewhere" in (tmp_path / "out/report.html").read_text(encoding="utf-8")
    scores_of(hospital).write_csv(tmp_path / "reader.csv")
    assert command([*vendor, f"reference={tmp_path / 'reader.csv'}"]) == 0
    assert "The reference came as a table" in (tmp_path / "out/report.html").read_text(encoding="utf-8")
