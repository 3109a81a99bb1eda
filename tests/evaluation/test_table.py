"""Tables of predictions are read from CSV and Parquet; each fault is one clear line."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from medai.core.error import MedaiError
from medai.core.label import Label
from medai.evaluation.patient import patients_of
from medai.evaluation.table import infer_labels, label_data, read_predictions, target_of

GOOD = "case_id,patient_id,target.x,probability.x\n007,p1,1,0.9\n008,p1,,0.2\n009,,0,0.1\n"
GRADES = "case_id,target.g,probability.g.low,probability.g.mid,probability.g.v1.5\na,low,0.7,0.2,0.1\nb,v1.5,0.1,0.2,0.7\nc,,0.3,0.3,0.4\n"


def write(folder: Path, text: str, name: str = "scores.csv") -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def test_a_csv_is_read_with_its_keys_as_text_and_empty_targets_unknown(tmp_path: Path) -> None:
    table = read_predictions(write(tmp_path, GOOD, "分数 (1)=a,b.csv"))
    (label,) = infer_labels(table)
    assert table["case_id"].to_list() == ["007", "008", "009"]
    assert (label.name, label.kind) == ("x", "binary")
    assert target_of(table, label).tolist() == [1, -1, 0]
    assert label_data(table, label).rows.tolist() == [0, 2]


def test_parquet_is_told_from_csv_by_its_content(tmp_path: Path) -> None:
    table = read_predictions(write(tmp_path, GOOD))
    table.write_parquet(tmp_path / "scores.dat")
    assert read_predictions(tmp_path / "scores.dat").equals(table)


def test_nan_as_a_target_is_unknown(tmp_path: Path) -> None:
    pl.DataFrame({"case_id": ["a", "b"], "target.x": [float("nan"), 1.0], "probability.x": [0.1, 0.2]}).write_parquet(tmp_path / "t")
    table = read_predictions(tmp_path / "t")
    assert target_of(table, infer_labels(table)[0]).tolist() == [-1, 1]


def test_class_names_may_hold_dots(tmp_path: Path) -> None:
    table = read_predictions(write(tmp_path, GRADES))
    (label,) = infer_labels(table)
    assert (label.kind, label.classes) == ("multiclass", ("low", "mid", "v1.5"))
    assert target_of(table, label).tolist() == [0, 2, -1]
    assert label_data(table, label).probability.shape == (2, 3)


@pytest.mark.parametrize("values", [["1", "0", "1"], ["true", "False", "TRUE"], ["ill", "well", "ill"], ["1.0", "0", "ill"]])
def test_a_binary_target_may_be_a_number_a_truth_or_a_class_name(values: list[str]) -> None:
    table = pl.DataFrame({"case_id": ["a", "b", "c"], "target.x": values, "probability.x": [0.1, 0.2, 0.3]})
    assert target_of(table, Label("x", "binary", ("well", "ill"))).tolist() == [1, 0, 1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("case_id,target.x,probability.x\n", "has no rows"),
        ("case,target.x,probability.x\na,1,0.5\n", "column 'case_id' is missing; got case, target.x"),
        ("case_id,target.x,probability.x\na,1,0.5\na,0,0.5\n", "case_id 'a' occurs more than once"),
        ("case_id,target.x,probability.x\n,1,0.5\n", "case_id is empty in 1 rows"),
        ("case_id,probability.x\na,0.5\n", "no column 'target.<label>'"),
        ("case_id,target.x\na,1\n", "column 'probability.x' is missing"),
        ("case_id,target.x,probability.x,probability.y\na,1,0.5,0.5\n", "column 'target.y' is missing"),
        ("case_id,target.x,probability.x\na,1,NaN\nb,0,0.1\n", "probability.x is NaN or empty for case 'a'"),
        ("case_id,target.x,probability.x\na,1,1.2\n", "probability.x is outside 0 to 1 for case 'a'.*not logits"),
        ("case_id,target.x,probability.x\na,1,-0.2\n", "outside 0 to 1"),
        ("case_id,target.x,probability.x\na,1,high\n", "probability.x is not numeric"),
        ("case_id,target.x,probability.x\na,2,0.5\n", "target.x is '2' for case 'a'.*allowed: 0, 1 or empty"),
        (GRADES.replace("b,v1.5", "b,high"), "target.g is 'high' for case 'b'.*allowed: low, mid, v1.5"),
        (GRADES.replace("0.3,0.3,0.4", "0.3,0.3,0.1"), "probabilities of 'g' do not add up to 1 for case 'c'"),
        ("case_id,target.x,probability.x.a,probability.x.b\na,a,0.5,0.5\n", "2 class columns; give a binary label one column"),
        ("case_id,target.x,probability.x\na,1\nb,0,0.1,7,8\n", "neither a CSV nor a Parquet"),
        ("PAR1 but not really", "neither a CSV nor a Parquet"),
    ],
)
def test_each_fault_is_one_line_that_names_the_file(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(MedaiError, match=message) as caught:
        read_predictions(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_a_binary_file_is_no_table(tmp_path: Path) -> None:
    (tmp_path / "image.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(256)))
    with pytest.raises(MedaiError) as caught:
        read_predictions(tmp_path / "image.png")
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(MedaiError, match=r"none\.csv does not exist"):
        read_predictions(tmp_path / "none.csv")


def test_labels_that_are_asked_for_have_to_be_there(tmp_path: Path) -> None:
    with pytest.raises(MedaiError, match=r"column 'probability\.y' is missing"):
        read_predictions(write(tmp_path, GOOD), [Label("y", "binary", ("no", "yes"))])


def test_cases_without_a_patient_are_patients_of_their_own(tmp_path: Path) -> None:
    patients = patients_of(read_predictions(write(tmp_path, GOOD)))
    assert patients.cluster.tolist() == [0, 0, 1]
    assert (patients.named, patients.cases_without, patients.repeat, patients.known) == (1, 1, True, True)
    assert patients.of(np.array([0, 2])) is not None


@pytest.mark.parametrize("column", [None, [None, None]])
def test_patients_may_be_unknown(column: list[None] | None) -> None:
    table = pl.DataFrame({"case_id": ["a", "b"]})
    patients = patients_of(table if column is None else table.with_columns(pl.Series("patient_id", column, dtype=pl.String)))
    assert (patients.known, patients.repeat, patients.cluster.tolist()) == (False, False, [0, 1])
    assert "patients are unknown" in patients.note
