"""Operating points are frozen on validation, come back as they were, and are refused where they were touched or do not belong."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from medai.core.error import MedaiError
from medai.core.file import canonical_json, hash_text
from medai.core.label import Label
from medai.evaluation.frozen_point import (
    OperatingPoints,
    Point,
    choose_points,
    known_of,
    read_points,
    thresholds_for,
    write_points,
)
from medai.evaluation.threshold import choose

LABELS = (Label("nodule", "binary", ("no", "yes")), Label("edema", "binary", ("no", "yes")))


def validation() -> pl.DataFrame:
    generator = np.random.default_rng(0)
    columns: dict[str, object] = {"case_id": [f"v{i}" for i in range(200)], "split": ["validation"] * 200}
    for name in ("nodule", "edema"):
        truth = generator.random(200) < 0.3
        columns[f"target.{name}"] = truth.astype(int)
        columns[f"probability.{name}"] = 1 / (1 + np.exp(-generator.normal(size=200) - truth))
    return pl.DataFrame(columns)


def frozen(**changes: str) -> OperatingPoints:
    return choose_points(validation(), LABELS, "youden", **{"split": "validation", "cohort": "c" * 64, "model": "m" * 64} | changes)


def test_points_are_what_the_rules_choose_and_come_back_from_the_file(tmp_path: Path) -> None:
    table = validation()
    points = choose_points(
        table, LABELS, {"nodule": "sensitivity=0.9", "edema": "cost=1:10@0.05"}, split="validation", cohort="c", model="m"
    )
    for point in points.points:
        truth, probability = table[f"target.{point.label}"].to_numpy() == 1, table[f"probability.{point.label}"].to_numpy()
        assert point.threshold == choose(probability, truth, point.rule)
        assert point.sensitivity == pytest.approx((probability[truth] >= point.threshold).mean())
        assert point.specificity == pytest.approx((probability[~truth] < point.threshold).mean())
        assert (point.cases, point.events) == (200, truth.sum())
    assert points.points[0].sensitivity >= 0.9
    write_points(tmp_path / "operating_point.json", points)
    again = read_points(tmp_path / "operating_point.json")
    assert again == points and again.sha256 == points.sha256
    assert thresholds_for(again, LABELS, model="m") == {point.label: point.threshold for point in points.points}
    record = again.record("edema")
    assert (record["rule"], record["split"], record["sha256"]) == ("cost=1:10@0.05", "validation", points.sha256)
    assert "validation (200 cases)" in again.origin and points.sha256[:16] in again.origin


def test_equal_tables_give_one_hash_and_any_change_another() -> None:
    assert frozen().sha256 == frozen().sha256
    changed = {frozen(split="tuning").sha256, frozen(cohort="d").sha256, frozen(model="n").sha256, frozen().sha256}
    assert len(changed) == 4


@pytest.mark.parametrize("split", ["test", "Test", " test "])
def test_a_threshold_is_never_chosen_on_test(split: str) -> None:
    with pytest.raises(MedaiError, match="choose it on validation"):
        frozen(split=split)
    table = validation().with_columns(split=pl.lit(split))
    with pytest.raises(MedaiError, match="choose it on validation"):
        choose_points(table, LABELS, "youden", split="validation")
    mixed = validation().with_columns(split=pl.when(pl.int_range(pl.len()) == 7).then(pl.lit("test")).otherwise(pl.lit("validation")))
    with pytest.raises(MedaiError, match="choose it on validation"):
        choose_points(mixed, LABELS, "youden", split="validation")


def test_a_file_that_says_test_is_refused_even_with_a_right_hash(tmp_path: Path) -> None:
    path = tmp_path / "operating_point.json"
    write_points(path, frozen())
    content = json.loads(path.read_text())
    content["split"] = "test"
    del content["sha256"]
    path.write_text(json.dumps(content | {"sha256": hash_text(canonical_json(content))}))
    with pytest.raises(MedaiError, match=r"operating_point.json: a threshold that was chosen on the test set"):
        read_points(path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"threshold": 0', '"threshold": 1', "changed after it was written"),
        ('"split": "validation"', '"split": "train"', "changed after it was written"),
        ('"events": ', '"events": NaN, "x": ', "changed after it was written"),
        ("medai.operating_point/1", "medai.operating_point/2", "this medai reads medai.operating_point/1"),
        ("medai.operating_point/1", "medai.metrics/1", "is no file of operating points"),
        ("{", "[", "not valid JSON"),
    ],
)
def test_a_touched_file_is_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = tmp_path / "operating_point.json"
    write_points(path, frozen())
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(MedaiError, match=message):
        read_points(path)


@pytest.mark.parametrize("change", [{"points": []}, {"points": None}, {"points": [{"label": "nodule"}]}, {"cohort": None}, {"split": 3}])
def test_an_incomplete_file_is_refused_in_one_line(tmp_path: Path, change: dict[str, object]) -> None:
    path = tmp_path / "operating_point.json"
    write_points(path, frozen())
    content = json.loads(path.read_text()) | change
    del content["sha256"]
    path.write_text(json.dumps(content | {"sha256": hash_text(canonical_json(content))}))
    with pytest.raises(MedaiError) as error:
        read_points(path)
    assert "\n" not in str(error.value) and "operating_point.json" in str(error.value)


def test_frozen_points_are_not_overwritten_by_others(tmp_path: Path) -> None:
    path = tmp_path / "operating_point.json"
    write_points(path, frozen())
    write_points(path, frozen())
    with pytest.raises(MedaiError, match="frozen ones are not changed"):
        write_points(path, choose_points(validation(), LABELS, "accuracy", split="validation"))
    assert read_points(path) == frozen()


def test_points_of_another_model_or_without_a_label_are_refused() -> None:
    points = frozen()
    assert set(thresholds_for(points, LABELS)) == {"nodule", "edema"}
    with pytest.raises(MedaiError, match="frozen for the model mmmmmmmmmmmmmmmm, this is nnn; choose them"):
        thresholds_for(points, LABELS, model="nnn")
    with pytest.raises(MedaiError, match="label 'hernia' has no operating point; the file has nodule, edema"):
        thresholds_for(points, [Label("hernia", "binary", ("no", "yes"))])
    assert thresholds_for(points, [Label("grade", "ordinal", ("a", "b", "c"))]) == {}


def test_nonsense_is_refused_in_one_line() -> None:
    with pytest.raises(MedaiError, match="label 'nodule': unknown threshold rule 'best'"):
        choose_points(validation(), LABELS, "best", split="validation")
    with pytest.raises(MedaiError, match="label 'edema' has no threshold rule"):
        choose_points(validation(), LABELS, {"nodule": "youden"}, split="validation")
    with pytest.raises(MedaiError, match="each label once, got none"):
        OperatingPoints((), "validation")
    with pytest.raises(MedaiError, match="expected a probability from 0 to 1"):
        Point("nodule", "youden", 1.5, 10, 5, None, None)


def test_what_lies_beside_a_table_tells_where_it_comes_from(tmp_path: Path) -> None:
    table = tmp_path / "predictions.parquet"
    assert known_of(table) == {}
    metrics = {"split": "validation", "candidate": {"kind": "onnx", "hash": "m" * 64}, "cohort": {"name": "chest", "hash": "c" * 64}}
    table.with_name("metrics.json").write_text(json.dumps(metrics))
    points = choose_points(validation(), LABELS, "youden", **({"split": "tuning"} | known_of(table)))
    assert (points.split, points.model, points.cohort) == ("validation", "m" * 64, "c" * 64)
    for other in ({"labels": {}}, {"split": None, "candidate": None, "cohort": "x"}, []):
        table.with_name("metrics.json").write_text(json.dumps(other))
        assert known_of(table) == {}


def test_predictions_beside_an_evaluation_on_test_are_refused(tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_text(json.dumps({"split": "test", "candidate": {"hash": "m"}}))
    with pytest.raises(MedaiError, match="choose it on validation"):
        known_of(tmp_path / "predictions.parquet")
