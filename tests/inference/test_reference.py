"""A comparison beside an evaluation: with a table, with another model, and what is refused."""

from pathlib import Path

import polars as pl
import pytest

from medai.cli import main
from medai.cohort.cohort import Cohort
from tests.inference.conftest import WriteContract, WriteModel
from tests.inference.hospital import QUICK, SCALE, auroc_of, cohort_in, command, line_of, metrics_in, scores_of


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
