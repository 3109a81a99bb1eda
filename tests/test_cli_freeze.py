"""`medai freeze`: from validation predictions to a file that an evaluation takes."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from medai.cli import main
from medai.evaluation.frozen_point import read_points
from tests.inference.hospital import cohort_in, scores_of

STATED = ["--split", "validation"]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Validation predictions of two binary labels and one of three classes."""
    random = np.random.default_rng(0)
    columns: dict[str, object] = {"case_id": [f"c{number}" for number in range(200)]}
    for label in ("nodule", "hernia"):
        target = (random.random(200) < 0.3).astype(int)
        columns |= {f"target.{label}": target, f"probability.{label}": (target + random.random(200) * 2) / 3}
    grades = random.dirichlet([1, 1, 1], 200)
    columns["target.grade"] = [("low", "mid", "high")[number] for number in random.integers(0, 3, 200)]
    columns |= {f"probability.grade.{name}": grades[:, place] for place, name in enumerate(("low", "mid", "high"))}
    path = tmp_path / "validation.csv"
    pl.DataFrame(columns).write_csv(path)
    return path


def line_of(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> str:
    capsys.readouterr()
    assert main(["freeze", *arguments]) == 2
    told = capsys.readouterr().err.strip()
    assert "\n" not in told and told.startswith("medai: ")
    return told


def test_one_rule_serves_all_binary_labels_and_the_next_command_is_told(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["freeze", str(table), "--rule", "sensitivity=0.95", *STATED]) == 0
    path, told = table.with_name("operating_point.json"), capsys.readouterr().out
    points = read_points(path)
    assert [(point.label, point.rule) for point in points.points] == [("nodule", "sensitivity=0.95"), ("hernia", "sensitivity=0.95")]
    assert points.split == "validation" and f"operating_point={path}" in told and "on 200 cases: sensitivity 0.9" in told
    frame = pl.read_csv(table)
    for point in points.points:
        sick = frame.filter(pl.col(f"target.{point.label}") == 1)[f"probability.{point.label}"].to_numpy()
        assert (sick >= point.threshold).mean() == point.sensitivity
        assert point.sensitivity is not None and point.sensitivity >= 0.95
        assert ((sick >= point.threshold).sum() - 1) / len(sick) < 0.95  # one missed case more would be too many


def test_each_label_may_have_a_rule_of_its_own_which_may_hold_an_equals_sign(table: Path, tmp_path: Path) -> None:
    rules = ["nodule=youden", "hernia=ppv=0.5@0.3"]
    assert main(["freeze", str(table), "--rule", *rules, "--output", str(tmp_path / "points.json"), "--split", "tuning"]) == 0
    points = read_points(tmp_path / "points.json")
    assert {point.label: point.rule for point in points.points} == {"nodule": "youden", "hernia": "ppv=0.5@0.3"}
    assert points.split == "tuning" and not table.with_name("operating_point.json").exists()


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        (["nodule=youden"], "label 'hernia' has no threshold rule"),
        (["youden", "accuracy"], "--rule takes one rule, or LABEL=RULE for each of nodule, hernia; got youden accuracy"),
        (["nodule=youden", "pneumonia=youden"], "--rule takes one rule, or LABEL=RULE for each of nodule, hernia"),
        (["best"], "best"),
        (["sensitivity=2"], "sensitivity"),
    ],
)
def test_a_wrong_rule_is_one_line_and_freezes_nothing(
    table: Path, rules: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert message in line_of(capsys, [str(table), "--rule", *rules, *STATED])
    assert not table.with_name("operating_point.json").exists()


def test_a_table_of_test_predictions_is_refused_however_it_says_so(table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    message = "a threshold that was chosen on the test set makes its figures too good; choose it on validation"
    assert message in line_of(capsys, [str(table), "--rule", "youden", "--split", "test"])
    mixed = tmp_path / "mixed.csv"
    pl.read_csv(table).with_columns(split=pl.Series(["validation"] * 199 + ["test"])).write_csv(mixed)
    assert message in line_of(capsys, [str(mixed), "--rule", "youden"])
    (tmp_path / "metrics.json").write_text(json.dumps({"split": "test"}))
    assert message in line_of(capsys, [str(table), "--rule", "youden"])
    assert not list(tmp_path.glob("operating_point*"))


def test_what_lies_beside_the_table_binds_the_file_to_its_model(table: Path) -> None:
    record = {"split": "validation", "cohort": {"hash": "c" * 64}, "candidate": {"hash": "a" * 64}}
    table.with_name("metrics.json").write_text(json.dumps(record))
    assert main(["freeze", str(table), "--rule", "youden"]) == 0
    points = read_points(table.with_name("operating_point.json"))
    assert (points.cohort, points.model) == ("c" * 64, "a" * 64)


def test_frozen_points_stay_and_the_same_ones_may_be_frozen_again(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = table.with_name("operating_point.json")
    assert main(["freeze", str(table), "--rule", "youden", *STATED]) == 0
    content = path.read_bytes()
    assert main(["freeze", str(table), "--rule", "youden", *STATED]) == 0 and path.read_bytes() == content
    assert "frozen ones are not changed; choose another name" in line_of(capsys, [str(table), "--rule", "accuracy", *STATED])
    assert path.read_bytes() == content


def test_tables_without_a_binary_label_or_a_truth_are_refused(table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frame = pl.read_csv(table)
    frame.select("case_id", "^.*grade.*$").write_csv(tmp_path / "grades.csv")
    assert "has no binary label" in line_of(capsys, [str(tmp_path / "grades.csv"), "--rule", "youden"])
    frame.select("case_id", "probability.nodule").write_csv(tmp_path / "bare.csv")
    assert "no column 'target.<label>'" in line_of(capsys, [str(tmp_path / "bare.csv"), "--rule", "youden"])
    assert "does not exist" in line_of(capsys, ["nowhere.csv", "--rule", "youden"])


def test_a_table_that_does_not_tell_its_split_has_to_be_answered_for(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    message = "it is not known whether"
    assert message in (told := line_of(capsys, [str(table), "--rule", "youden"])) and "--split validation" in told and "--cohort" in told
    table.with_name("metrics.json").write_text(json.dumps({"split": "as given"}))  # of an evaluation that did not know it either
    assert message in line_of(capsys, [str(table), "--rule", "youden"])
    table.with_name("metrics.json").unlink()
    frame = pl.read_csv(table)
    frame.with_columns(split=pl.Series(["validation"] * 199 + [None])).write_csv(table)
    assert message in line_of(capsys, [str(table), "--rule", "youden"])
    frame.with_columns(split=pl.lit("validation")).write_csv(table)
    assert main(["freeze", str(table), "--rule", "youden"]) == 0


def test_test_cases_of_a_cohort_are_recognised_whatever_is_said_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cohort = cohort_in(tmp_path)
    monkeypatch.chdir(tmp_path)
    test, validation = scores_of(cohort), scores_of(cohort, "validation")
    for name, frame in (("test", test), ("mixed", pl.concat([validation, test[:1]])), ("validation", validation)):
        frame.write_csv(tmp_path / f"{name}.csv")
    for name, count in (("test", 160), ("mixed", 1)):
        for extra in ([], STATED, ["--cohort", str(cohort.path)], ["--cohorts", str(cohort.path.parent)]):
            told = line_of(capsys, [f"{name}.csv", "--rule", "youden", *extra])
            assert f"{count} of the" in told and f"are of the test set of {Path('cohorts') / cohort.path.name}" in told.replace(
                f"{tmp_path}/", ""
            )
    assert not list(tmp_path.glob("operating_point*"))
    assert main(["freeze", "validation.csv", "--rule", "youden"]) == 0
    points = read_points(tmp_path / "operating_point.json")
    assert (points.split, points.cohort) == ("validation", cohort.hash)
    scores_of(cohort, "development").write_csv(tmp_path / "both.csv")
    assert main(["freeze", "both.csv", "--rule", "youden", "--output", "both.json"]) == 0
    assert read_points(tmp_path / "both.json").split == "train+validation"


def test_a_named_cohort_has_to_have_all_cases(table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cohort = cohort_in(tmp_path)
    told = line_of(capsys, [str(table), "--rule", "youden", "--cohort", str(cohort.path), *STATED])
    assert f"{cohort.path} does not have all cases of {table}; name the cohort that they are of" in told
    assert main(["freeze", str(table), "--rule", "youden", "--cohorts", str(cohort.path.parent), *STATED]) == 0
