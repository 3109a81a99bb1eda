"""Models compared on the same cases: the record, what it proves, what it refuses, the page and the command."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from medai.cli_evaluation import compare
from medai.core.error import MedaiError
from medai.evaluation.auroc import auroc_figure, paired_auroc
from medai.evaluation.clustered import clustered_paired_auroc
from medai.evaluation.comparison.compare import compare_tables
from medai.evaluation.comparison.mcnemar import mcnemar
from medai.evaluation.comparison.page import render, write_comparison
from medai.evaluation.comparison.tango import PairedShare
from medai.evaluation.comparison.words import terminal
from medai.evaluation.curve import average_precision
from medai.evaluation.multiplicity import holm

Tables = dict[str, pl.DataFrame]
THRESHOLDS = {"pneumonia": 0.5, "effusion": 0.5}


def scored(noise: float, seed: int, *, n: int = 240, patients: bool = False, shift: float = 0.0) -> pl.DataFrame:
    """The same cases and truths whatever the noise."""
    generator, own = np.random.default_rng(0), np.random.default_rng(seed)
    columns: dict[str, Any] = {"case_id": [f"c{i:03}" for i in range(n)]}
    if patients:
        columns["patient_id"] = [f"p{i}" for i in generator.integers(0, n // 2, n)]
    for name in THRESHOLDS:
        truth = generator.random(n) < 0.35
        latent = generator.normal(size=n) + 2 * truth - 1 + noise * own.normal(size=n) + shift
        columns |= {f"target.{name}": truth.astype(int), f"probability.{name}": 1 / (1 + np.exp(-latent))}
    return pl.DataFrame(columns)


@pytest.fixture
def tables() -> Tables:
    return {"old": scored(0.1, 1), "new": scored(0.15, 2), "poor": scored(2.5, 3)}


def row_of(record: dict[str, Any], label: str, model: str, metric: str) -> dict[str, Any]:
    (found,) = [row for row in record["labels"][label]["differences"] if (row["model"], row["metric"]) == (model, metric)]
    return dict(found)


def columns(table: pl.DataFrame, label: str = "pneumonia") -> tuple[np.ndarray, np.ndarray]:
    return table[f"probability.{label}"].to_numpy(), table[f"target.{label}"].to_numpy() == 1


def test_each_difference_is_that_of_its_test(tables: Tables) -> None:
    record = compare_tables(tables, None, THRESHOLDS, reference="old", replicates=200)
    json.dumps(record, allow_nan=False)
    (new, truth), (old, _) = columns(tables["new"]), columns(tables["old"])
    expected, row = paired_auroc(new, old, truth), row_of(record, "pneumonia", "new", "auroc")
    assert (row["value"], row["low"], row["high"], row["p"], row["z"], row["p_one_sided"]) == (
        expected.difference, expected.low, expected.high, expected.p, expected.z, expected.p_greater,
    )  # fmt: skip
    assert record["labels"]["pneumonia"]["models"]["old"]["auroc"] == auroc_figure(old, truth).to_dict()
    right, other = (new >= 0.5)[truth], (old >= 0.5)[truth]
    counts = [int((one & two).sum()) for one in (right, ~right) for two in (other, ~other)]
    row = row_of(record, "pneumonia", "new", "sensitivity")
    assert (row["low"], row["high"]) == PairedShare(*counts).interval()
    assert row["mcnemar"] == mcnemar(counts[1], counts[2]).to_dict()
    assert (row["p"], row["n"]) == (row["mcnemar"]["exact"], truth.sum())
    row = row_of(record, "pneumonia", "new", "average_precision")
    assert row["value"] == pytest.approx(average_precision(new, truth) - average_precision(old, truth), abs=1e-12)
    assert row["low"] < row["value"] < row["high"] and "permutation" in row["test"]
    row = row_of(record, "pneumonia", "poor", "brier")
    assert row["value"] == pytest.approx(((columns(tables["poor"])[0] - truth) ** 2).mean() - ((old - truth) ** 2).mean(), abs=1e-12)
    assert (row["higher_is_better"], row["verdict"]) == (False, "worse")


def test_p_values_are_adjusted_over_labels_and_models_within_a_metric(tables: Tables) -> None:
    record = compare_tables(tables, None, THRESHOLDS, reference="old", replicates=50)
    rows = [row for each in record["labels"].values() for row in each["differences"] if row["metric"] == "auroc"]
    assert [row["p_holm"] for row in rows] == holm(np.array([row["p"] for row in rows])).tolist()
    assert record["correction"]["families"]["auroc"] == len(rows) == 4


def test_verdicts_follow_the_adjusted_p_and_the_margin(tables: Tables) -> None:
    record = compare_tables(tables, None, THRESHOLDS, reference="old", margin=0.06, replicates=100)
    good, bad = (row_of(record, "pneumonia", model, "auroc") for model in ("new", "poor"))
    (new, truth), (old, _) = columns(tables["new"]), columns(tables["old"])
    assert good["non_inferiority"]["p"] == paired_auroc(new, old, truth).p_above(-0.06)
    assert (good["verdict"], good["non_inferiority"]["shown"]) == ("non-inferior", True)
    assert good["low"] > -0.06
    assert (bad["verdict"], bad["non_inferiority"]["shown"]) == ("worse", False)
    assert "non_inferiority" not in row_of(record, "pneumonia", "new", "accuracy")
    turned = compare_tables(tables, None, THRESHOLDS, reference="poor", replicates=100)
    assert row_of(turned, "pneumonia", "old", "auroc")["verdict"] == "better"
    assert row_of(turned, "pneumonia", "old", "brier")["verdict"] == "better"


def test_a_margin_of_a_figure_that_is_better_when_lower_looks_the_other_way(tables: Tables) -> None:
    record = compare_tables(tables, None, reference="old", metric="brier", margin=0.02, replicates=300)
    assert row_of(record, "pneumonia", "new", "brier")["verdict"] == "non-inferior"
    bad = row_of(record, "pneumonia", "poor", "brier")
    assert bad["value"] > 0.02 and not bad["non_inferiority"]["shown"] and bad["verdict"] == "worse"


def test_of_one_comparison_non_inferiority_agrees_with_the_interval() -> None:
    first, second = scored(0.1, 1), scored(0.6, 2)
    bound = -row_of(compare_tables({"a": first, "b": second}, reference="a", replicates=0), "pneumonia", "b", "auroc")["low"]
    assert 0 < bound < 1
    only = [pl.DataFrame(table.select("case_id", "target.pneumonia", "probability.pneumonia")) for table in (first, second)]
    for margin, shown in ((bound + 1e-4, True), (bound - 1e-4, False)):
        record = compare_tables({"a": only[0], "b": only[1]}, reference="a", margin=margin, replicates=0)
        assert row_of(record, "pneumonia", "b", "auroc")["non_inferiority"]["shown"] is shown


def test_repeating_patients_are_allowed_for() -> None:
    tables = {"a": scored(0.1, 1, patients=True), "b": scored(0.8, 2, patients=True)}
    record = compare_tables(tables, None, THRESHOLDS, reference="a", replicates=100)
    (first, truth), (second, _) = columns(tables["b"]), columns(tables["a"])
    cluster = tables["a"]["patient_id"].rank("dense").to_numpy()
    row = row_of(record, "pneumonia", "b", "auroc")
    assert (row["low"], row["high"]) == pytest.approx(
        (lambda found: (found.low, found.high))(clustered_paired_auroc(first, second, truth, cluster)), abs=1e-12
    )
    assert "Obuchowski" in row["method"] and "clustered" in row_of(record, "pneumonia", "b", "accuracy")["test"]
    assert set(row_of(record, "pneumonia", "b", "accuracy")["mcnemar"]) == {"first_only", "second_only"}
    bare = {"a": tables["a"], "b": tables["b"].drop("patient_id")}
    assert compare_tables(bare, None, THRESHOLDS, reference="a", replicates=100) == record


def test_the_result_depends_on_the_seed_alone(tables: Tables) -> None:
    first = compare_tables(tables, None, THRESHOLDS, seed=3, replicates=60)
    shuffled = {name: table.sample(fraction=1, shuffle=True, seed=5) for name, table in tables.items()}
    assert compare_tables(shuffled, None, THRESHOLDS, seed=3, replicates=60) == first
    assert compare_tables(tables, None, THRESHOLDS, seed=4, replicates=60) != first


def test_without_a_reference_each_two_are_compared(tables: Tables) -> None:
    record = compare_tables(tables, replicates=20)
    pairs = {(row["model"], row["reference"]) for row in record["labels"]["effusion"]["differences"]}
    assert pairs == {("new", "old"), ("poor", "old"), ("poor", "new")}
    assert record["reference"] is None


def test_the_mean_over_labels_is_compared_too(tables: Tables) -> None:
    record = compare_tables(tables, reference="old", replicates=200)
    (row,) = [row for row in record["macro"]["differences"] if (row["model"], row["metric"]) == ("poor", "auroc")]
    assert row["value"] == pytest.approx(np.mean([row_of(record, name, "poor", "auroc")["value"] for name in THRESHOLDS]), abs=1e-12)
    assert row["low"] < row["value"] < row["high"] < 0
    assert (row["verdict"], row["primary"]) == ("worse", True)


def test_without_thresholds_of_all_models_no_decisions_are_compared(tables: Tables) -> None:
    record = compare_tables(tables, None, {"old": THRESHOLDS, "new": THRESHOLDS, "poor": {"effusion": 0.4}}, reference="old", replicates=20)
    assert record["labels"]["pneumonia"]["thresholds"] is None
    assert {row["metric"] for row in record["labels"]["pneumonia"]["differences"]} == {"auroc", "average_precision", "brier"}
    assert record["labels"]["effusion"]["thresholds"] == {"old": 0.5, "new": 0.5, "poor": 0.4}
    assert "not compared: pneumonia" in render(record)


def test_classes_and_grades_are_compared() -> None:
    classes, made = ("none", "mild", "severe"), {}
    for name, noise in (("a", 0.3), ("b", 1.2)):
        generator, own = np.random.default_rng(0), np.random.default_rng(7)
        grade = generator.integers(0, 3, 150)
        score = np.exp(-2 * np.abs(np.arange(3) - (grade + noise * own.normal(size=150))[:, None]))
        score /= score.sum(axis=1, keepdims=True)
        order = (0, 1, 2) if name == "a" else (2, 0, 1)
        made[name] = pl.DataFrame({"case_id": [str(i) for i in range(150)], "target.grade": [classes[i] for i in grade]}).with_columns(
            *(pl.Series(f"probability.grade.{classes[i]}", score[:, i]) for i in order)
        )
    from medai.core.label import Label

    record = compare_tables(made, [Label("grade", "ordinal", classes)], reference="a", replicates=100)
    for metric in ("macro_auroc", "quadratic_kappa", "c_index", "accuracy"):
        row = row_of(record, "grade", "b", metric)
        assert row["verdict"] == "worse" and row["low"] < row["value"] < row["high"] < 0
    assert row_of(record, "grade", "b", "macro_auroc")["primary"]
    plain = compare_tables(made, reference="a", replicates=30)
    assert {row["metric"] for row in plain["labels"]["grade"]["differences"]} == {
        "macro_auroc",
        "macro_average_precision",
        "brier",
        "accuracy",
    }
    assert "Macro AUROC" in render(record)


def test_a_model_compared_with_itself_differs_by_nothing(tables: Tables) -> None:
    record = compare_tables({"a": tables["old"], "b": tables["old"]}, None, THRESHOLDS, reference="a", replicates=40)
    for row in record["labels"]["pneumonia"]["differences"]:
        assert row["value"] == 0 and row["p"] == 1 and row["verdict"] == "not shown"
    assert row_of(record, "pneumonia", "b", "auroc")["reason"].startswith("the models order the cases alike")
    assert row_of(record, "pneumonia", "b", "accuracy")["low"] < 0 < row_of(record, "pneumonia", "b", "accuracy")["high"]


@pytest.mark.parametrize("targets", [[1, 1, 1, 1], [None] * 4, [1, 0, None, None]])
def test_labels_that_cannot_be_compared_say_why(targets: list[int | None]) -> None:
    made = {
        name: pl.DataFrame({"case_id": list("abcd"), "target.x": targets, "probability.x": values}, schema_overrides={"target.x": pl.Int64})
        for name, values in (("one", [0.1, 0.4, 0.3, 0.2]), ("two", [0.5, 0.1, 0.2, 0.9]))
    }
    record = compare_tables(made, None, {"x": 0.3}, reference="one", margin=0.1, replicates=20)
    json.dumps(record, allow_nan=False)
    row = row_of(record, "x", "two", "auroc")
    assert row["verdict"] == "not known" and row["reason"] and not row["non_inferiority"]["shown"]
    assert "could not be compared" in render(record) and terminal(record)


def test_unknown_truths_are_taken_from_the_table_that_knows_them(tables: Tables) -> None:
    blank = tables["new"].with_columns(pl.lit(None, dtype=pl.Int64).alias("target.pneumonia"))
    record = compare_tables({"old": tables["old"], "new": blank}, reference="old", replicates=10)
    assert row_of(record, "pneumonia", "new", "auroc") == row_of(
        compare_tables({"old": tables["old"], "new": tables["new"]}, reference="old", replicates=10), "pneumonia", "new", "auroc"
    )
    assert record["labels"]["pneumonia"]["n"] == 240


def test_cases_that_a_table_lacks_are_refused_or_counted(tables: Tables) -> None:
    fewer = {"old": tables["old"], "new": tables["new"].head(230)}
    with pytest.raises(MedaiError, match=r"'new' has no prediction for 10 of 240 cases, e\.g\. 'c230'.*--common"):
        compare_tables(fewer)
    record = compare_tables(fewer, common=True, replicates=10)
    assert (record["cases"], record["left_out"]) == (230, {"old": 10, "new": 0})
    assert "10 of old" in render(record)


def with_case(table: pl.DataFrame, column: str, wrong: Any) -> pl.DataFrame:
    return table.with_columns(pl.when(pl.col("case_id") == "c007").then(pl.lit(wrong)).otherwise(pl.col(column)).alias(column))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            lambda t: with_case(t, "target.pneumonia", 1 - int(t["target.pneumonia"][7])),
            "'new': target.pneumonia of case 'c007' contradicts",
        ),
        (lambda t: t.rename({"case_id": "case"}), "model 'new': column 'case_id' is missing"),
        (lambda t: with_case(t, "probability.pneumonia", 1.5), "model 'new': probability.pneumonia is outside 0 to 1"),
        (lambda t: t.with_columns((pl.lit("x") + pl.col("case_id")).alias("case_id")), "no case in common"),
        (lambda t: t.rename({f"{p}.{n}": f"{p}.{n}2" for p in ("target", "probability") for n in THRESHOLDS}), "no label in common"),
    ],
)
def test_tables_that_contradict_each_other_are_refused_in_one_line(tables: Tables, changed: Any, message: str) -> None:
    with pytest.raises(MedaiError, match=message) as caught:
        compare_tables({"old": tables["old"], "new": changed(tables["new"])})
    assert "\n" not in str(caught.value)


def test_a_case_belongs_to_one_patient() -> None:
    first = scored(0.1, 1, patients=True)
    with pytest.raises(MedaiError, match="another table names another patient for case 'c007'"):
        compare_tables({"a": first, "b": with_case(first, "patient_id", "q")})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"reference": "best"}, "the reference 'best' is none of the models: old, new, poor"),
        ({"margin": 0.05}, "a margin needs a reference"),
        ({"margin": -0.05, "reference": "old"}, "margin of non-inferiority is -0.05; expected a difference above 0"),
        ({"metric": "dice"}, "the metric 'dice' cannot be compared; there are: auroc, average_precision, brier"),
        ({"metric": "sensitivity"}, "need the threshold of each model"),
        ({"thresholds": {"tumour": 0.5}}, "a threshold of 'tumour', which is no binary label; there are: pneumonia, effusion"),
        ({"thresholds": {"best": {"pneumonia": 0.5}}}, "thresholds of a model 'best'; the models are old, new, poor"),
        ({"thresholds": {"pneumonia": 1.5}}, "threshold of 'pneumonia' of model 'old' is 1.5"),
        ({"confidence": 95}, "confidence is 95; expected a number between 0 and 1"),
        ({"replicates": -1}, "number of replicates is -1"),
        ({"permutations": -1}, "number of permutations is -1"),
    ],
)
def test_settings_that_make_no_sense_are_refused(tables: Tables, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(MedaiError, match=message):
        compare_tables(tables, **settings)


def test_one_table_is_no_comparison(tables: Tables) -> None:
    with pytest.raises(MedaiError, match="needs two tables of predictions or more, got 1"):
        compare_tables({"old": tables["old"]})


def test_the_page_needs_nothing_else_and_escapes_names(tables: Tables, tmp_path: Path) -> None:
    named = {"<b>旧</b>": tables["old"], "new & better": tables["new"]}
    record = compare_tables(named, None, THRESHOLDS, reference="<b>旧</b>", margin=0.05, replicates=30)
    page = write_comparison(record, tmp_path / "比较 (1)", "2026-01-01")
    text = page.read_text(encoding="utf-8")
    assert "<b>旧" not in text and "&lt;b&gt;旧&lt;/b&gt;" in text and "new &amp; better" in text
    assert not [mark for mark in ("http://", "https://", "<script", "<link") if mark in text]
    assert "not inferior" in text and "Holm" in text
    assert json.loads((page.parent / "comparison.json").read_text(encoding="utf-8")) == {**record, "created": "2026-01-01"}


def saved(tables: Tables, folder: Path) -> dict[str, str]:
    for name, table in tables.items():
        table.write_parquet(folder / f"{name}.parquet")
    return {name: str(folder / f"{name}.parquet") for name in tables}


def test_the_command_prints_a_table_and_writes_the_page(tables: Tables, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = saved(tables, tmp_path)
    options = [
        "--margin",
        "0.06",
        "--threshold",
        "pneumonia=0.5",
        "--threshold",
        "poor:pneumonia=0.4",
        "--replicates",
        "50",
        "--permutations",
        "30",
    ]
    assert compare([paths["old"], paths["new"], f"bad={paths['poor']}", *[o.replace("poor:", "bad:") for o in options],
                    "--output", str(tmp_path / "out")]) == 0  # fmt: skip
    shown = capsys.readouterr().out
    assert "new \u2212 old" in shown and "bad \u2212 old" in shown and "non-inferior" in shown and "comparison.html" in shown
    record = json.loads((tmp_path / "out" / "comparison.json").read_text(encoding="utf-8"))
    assert record["labels"]["pneumonia"]["thresholds"] == {"old": 0.5, "new": 0.5, "bad": 0.4}
    assert (record["reference"], record["margin"], record["permutations"]) == ("old", 0.06, 30)


def test_the_command_takes_the_thresholds_of_evaluations(tables: Tables, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("old", "new"):
        folder = tmp_path / name
        folder.mkdir()
        tables[name].write_parquet(folder / "predictions.parquet")
        labels = {label: {"threshold": 0.3 if name == "old" else 0.6} for label in THRESHOLDS}
        (folder / "metrics.json").write_text(json.dumps({"labels": labels}))
    assert compare([str(tmp_path / "old"), str(tmp_path / "new"), "--json", "--replicates", "20", "--all-pairs"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["labels"]["effusion"]["thresholds"] == {"old": 0.3, "new": 0.6}
    (tmp_path / "new" / "metrics.json").write_text("[]")
    with pytest.raises(MedaiError, match=r"metrics\.json is no record of an evaluation"):
        compare([str(tmp_path / "old"), str(tmp_path / "new")])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{old}"], "needs two tables"),
        (["{old}", "{old}"], "two tables are named 'old'; name them"),
        (["{old}", "{new}", "--threshold", "pneumonia"], "--threshold 'pneumonia' is not understood"),
        (["{old}", "{new}", "--threshold", "best:pneumonia=0.5"], "is not understood; expected label=0.5, or model:label=0.5 of old, new"),
        (["{old}", "{new}", "--all-pairs", "--margin", "0.1"], "--all-pairs has no reference"),
        (["{old}", "none.csv"], "none.csv does not exist"),
        (["{old}", "{new}", "--margin", "wide"], "compare: argument --margin: invalid float value"),
    ],
)
def test_a_wrong_command_is_one_line(tables: Tables, tmp_path: Path, arguments: list[str], message: str) -> None:
    paths = saved(tables, tmp_path)
    with pytest.raises(MedaiError, match=message) as caught:
        compare([argument.format(**paths) for argument in arguments])
    assert "\n" not in str(caught.value)


def test_a_model_beside_itself_is_told_to_have_the_same_scores(tables: Tables) -> None:
    record = compare_tables({"old": tables["old"], "again": tables["old"], "new": tables["new"]}, reference="old", replicates=200)
    line = "again and old have the same scores in every case: there is no difference to show."
    assert record["notes"] == [line]
    assert terminal(record).splitlines()[-1] == line and line in render(record)


def test_few_replicates_are_told_and_noted(tables: Tables) -> None:
    two = {name: tables[name] for name in ("old", "new")}
    (line,) = compare_tables(two, replicates=20)["notes"]
    assert line == "The bootstrap has 20 replicates: below 200 the ends of its intervals are mostly chance; 2,000 are usual."
    assert [compare_tables(two, replicates=count, permutations=0)["notes"] for count in (0, 200)] == [[], []]


def test_one_case_is_one_case() -> None:
    table = pl.DataFrame({"case_id": ["a"], "target.x": [1], "probability.x": [0.4]})
    record = compare_tables({"old": table, "new": table.with_columns(pl.lit(0.5).alias("probability.x"))}, replicates=200)
    assert "x  (1 case, 1 event)" in terminal(record) and "1 case \u00b7 1 event<" in render(record)
