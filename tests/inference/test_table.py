"""A table of somebody's scores: alone, against a cohort, and of segmentation measures."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from medai.cli import main
from medai.cohort.cohort import Cohort
from medai.core.error import MedaiError
from medai.evaluation.frozen_point import choose_points, write_points
from medai.evaluation.table import infer_labels
from medai.inference.evaluate import evaluate_candidate
from medai.inference.settings import EvaluateSettings
from tests.inference.hospital import QUICK, SICK, arrays, auroc_of, cohort_in, command, line_of, metrics_in, scores_of

Frame = pl.DataFrame
Change = Callable[[Frame], Frame]


@pytest.fixture
def hospital(tmp_path: Path) -> Cohort:
    return cohort_in(tmp_path)


@pytest.fixture
def scores(hospital: Cohort) -> Frame:
    """Of the cohort's test cases, with the truth and three sites."""
    table = scores_of(hospital)
    return table.with_columns(pl.Series("site", [f"clinic {number % 3}" for number in range(len(table))]))


def saved(table: Frame, folder: Path, name: str = "vendor.csv") -> str:
    table.write_csv(folder / name) if name.endswith("csv") else table.write_parquet(folder / name)
    return f"predictions={folder / name}"


def _with_first(table: Frame, value: float | None) -> Frame:
    return table.with_columns(pl.Series("probability.sick", [value, *table["probability.sick"][1:]]))


def fault_of(**settings: Any) -> str:
    """The one line that an evaluation ends with."""
    with pytest.raises(MedaiError) as caught:
        evaluate_candidate(EvaluateSettings(**settings))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def page_of(folder: Path) -> str:
    return (folder / "report.html").read_text(encoding="utf-8").replace("&#39;", "'").replace("&#34;", '"')


@pytest.mark.parametrize("name", ["vendor.csv", "vendor.parquet"])
def test_a_table_alone_is_scored_by_its_own_truth(scores: Frame, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", saved(scores, tmp_path, name), *QUICK]) == 0
    folder = tmp_path / "vendor-evaluation"
    metrics, page = metrics_in(folder), page_of(folder)
    assert metrics["labels"]["sick"]["auroc"]["value"] == pytest.approx(auroc_of(scores), abs=1e-12)
    assert [row["value"] for row in metrics["groups"]["site"]] == ["clinic 0", "clinic 1", "clinic 2"]
    assert metrics["candidate"]["kind"] == "table" and "cohort" not in metrics and "looks_at_test" not in metrics
    assert "how they were made is not known to this program" in page and "0.5, since none was given for sick" in page
    assert str(folder / "report.html") in capsys.readouterr().out


def test_the_threshold_of_a_table_is_given_or_frozen_or_told_to_be_assumed(scores: Frame, hospital: Cohort, tmp_path: Path) -> None:
    validation = scores_of(hospital, "validation")
    points = choose_points(validation, infer_labels(validation), "youden", split="validation")
    write_points(tmp_path / "points.json", points)
    table, out = saved(scores, tmp_path), tmp_path / "vendor-evaluation"
    for extra, threshold, origin in (
        ([], 0.5, "0.5, since none was given for sick"),
        (["thresholds.sick=0.3"], 0.3, "given on the command line"),
        ([f"operating_point={tmp_path / 'points.json'}"], points.points[0].threshold, "chosen on validation (40 cases), rule youden"),
        ([f"operating_point={tmp_path / 'points.json'}", "thresholds.sick=0.3"], 0.3, "; sick given on the command line"),
    ):
        assert command(["evaluate", table, *QUICK, *extra]) == 0
        sick = metrics_in(out)["labels"]["sick"]
        assert sick["threshold"] == threshold and origin in page_of(out)
        assert ("operating_point" in sick) == (threshold == points.points[0].threshold)


def test_few_replicates_are_told_and_noted(scores: Frame, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for count, told in ((40, True), (200, False)):
        given = ["evaluate", saved(scores, tmp_path), f"replicates={count}", "language=both", "saliency=none"]
        assert main(given) == 0
        said, folder = f"The bootstrap has {count} replicates: below 200", tmp_path / "vendor-evaluation"
        assert (said in capsys.readouterr().err) == told and (said in page_of(folder)) == told
        chinese = (folder / "report.zh.html").read_text(encoding="utf-8")
        assert said not in chinese and (f"自助法仅抽样{count}次" in chinese) == told


def test_scores_that_rank_upside_down_are_told(scores: Frame, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    swapped = scores.with_columns((1 - pl.col("probability.sick")).alias("probability.sick"))
    assert main(["evaluate", saved(swapped, tmp_path), *QUICK]) == 0
    said = "label 'sick': the interval of the AUROC lies below 0.5, so the scores rank the cases upside down"
    assert said in capsys.readouterr().err and said in page_of(tmp_path / "vendor-evaluation")


def test_a_subgroup_that_was_asked_for_and_is_not_there_is_told(scores: Frame, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", saved(scores, tmp_path), *QUICK, "group_by=[site,sex,age_band,scaner]"]) == 0
    said = capsys.readouterr().err
    assert "no subgroups by 'scaner': not in the table" in said and "'sex'" not in said and "age_band" not in said
    assert "no subgroups by 'scaner': not in the table" in page_of(tmp_path / "vendor-evaluation")


def test_a_cohort_that_does_not_exist_is_not_passed_over(scores: Frame, tmp_path: Path) -> None:
    given = saved(scores, tmp_path).partition("=")[2]
    assert "nowhere does not exist; name the cohort" in fault_of(predictions=given, cohorts=str(tmp_path / "nowhere"))


def test_a_table_that_says_of_which_split_it_is_is_believed(scores: Frame, tmp_path: Path) -> None:
    for column, told in ((["external"] * 160, "external"), (["a", "b"] * 80, "as given")):
        assert command(["evaluate", saved(scores.with_columns(split=pl.Series(column)), tmp_path), *QUICK]) == 0
        assert metrics_in(tmp_path / "vendor-evaluation")["split"] == told


def test_with_a_cohort_the_truth_the_patients_and_the_looks_are_the_cohorts(scores: Frame, hospital: Cohort, tmp_path: Path) -> None:
    bare = scores.drop("target.sick").rename({"site": "ward"})
    for number in (1, 2):
        assert command(["evaluate", saved(bare.reverse(), tmp_path), f"cohorts={hospital.path}", "group_by=[ward]", *QUICK]) == 0
        metrics = metrics_in(tmp_path / "vendor-evaluation")
        assert metrics["looks_at_test"] == number and metrics["cohort"]["hash"] == hospital.hash and metrics["split"] == "test"
    assert metrics["labels"]["sick"]["auroc"]["value"] == pytest.approx(auroc_of(scores), abs=1e-12)
    assert metrics["flow"]["found"] == 240 and metrics["flow"]["analysed"] == 160
    assert len(metrics["groups"]["ward"]) == 3  # a column that the cohort does not have is the table's
    validation = scores_of(hospital, "validation").drop("target.sick")
    assert command(["evaluate", saved(validation, tmp_path, "v.csv"), f"cohorts={hospital.path}", "split=validation", *QUICK]) == 0
    assert metrics_in(tmp_path / "v-evaluation")["looks_at_test"] is None


def test_with_a_data_set_the_truth_is_ingested(scores: Frame, hospital: Cohort, tmp_path: Path) -> None:
    np.savez(tmp_path / "set.npz", **arrays())
    dataset = {"_target_": "medai.source.npz.NpzSource", "name": "set", "path": str(tmp_path / "set.npz"), "targets": [SICK]}
    saved(scores.drop("target.sick"), tmp_path)
    settings = EvaluateSettings(
        predictions=str(tmp_path / "vendor.csv"), dataset=dataset, cohorts=str(tmp_path / "others"), workers=0, replicates=40, language="en"
    )
    metrics = metrics_in(evaluate_candidate(settings))
    assert metrics["labels"]["sick"]["auroc"]["value"] == pytest.approx(auroc_of(scores), abs=1e-12)
    assert metrics["looks_at_test"] == 1 and metrics["cases"] == 160


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.with_columns(pl.lit("x1").alias("case_id")).head(1), "case 'x1' is not among the 160 of the test part of set"),
        (lambda t: t.with_columns(pl.col("case_id") + ".png"), "; did you mean 'test-000000'?"),
        (lambda t: t.head(150), "10 of the 160 cases of the test part of set have no row, the first is 'test-000150'"),
        (
            lambda t: t.with_columns((1 - pl.col("target.sick")).alias("target.sick")),
            "leave the column out, and the cohort's truth is used",
        ),
        (lambda t: pl.concat([t, t.head(1)]), "'test-000000' occurs more than once (1 such); expected one row a case"),
        (lambda t: t.rename({"probability.sick": "score"}), "no column of a label of the cohort; expected 'probability.sick'"),
        (lambda t: t.with_columns(pl.col("probability.sick") * 100), "is outside 0 to 1 for case"),
    ],
)
def test_a_table_that_does_not_fit_the_cohort_is_one_line_and_no_look(
    scores: Frame, hospital: Cohort, tmp_path: Path, change: Change, message: str
) -> None:
    saved(change(scores), tmp_path)
    assert message in fault_of(predictions=str(tmp_path / "vendor.csv"), cohorts=str(hospital.path))
    looks = tmp_path / "cohorts/looks"
    assert not looks.exists() or not any(path.read_text() for path in looks.iterdir())


def test_missing_cases_are_allowed_by_name_and_told(scores: Frame, hospital: Cohort, tmp_path: Path) -> None:
    given = ["evaluate", saved(scores.head(150), tmp_path), f"cohorts={hospital.path}", "allow=[missing-cases]", *QUICK]
    assert command(given) == 0
    metrics, page = metrics_in(tmp_path / "vendor-evaluation"), page_of(tmp_path / "vendor-evaluation")
    assert metrics["cases"] == 150
    assert "10 cases of the cohort are not in the table and not in the figures; the first is test-000150." in page


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: _with_first(t, float("nan")), "probability.sick is NaN or empty for case 'test-000000' (1 such rows)"),
        (lambda t: _with_first(t, None), "probability.sick is NaN or empty for case 'test-000000' (1 such rows)"),
        (lambda t: t.with_columns(pl.col("probability.sick") + 1), "probability.sick is outside 0 to 1"),
        (lambda t: pl.concat([t, t]), "occurs more than once (160 such)"),
        (
            lambda t: t.with_columns(pl.lit("perhaps").alias("target.sick")),
            "target.sick is 'perhaps' for case 'test-000000' (160 such rows)",
        ),
        (lambda t: t.drop("case_id"), "column 'case_id' is missing"),
        (lambda t: t.drop("target.sick"), "no column 'target.<label>'"),
        (lambda t: t.clear(), "the table has no rows"),
    ],
)
def test_a_bad_table_is_one_line(scores: Frame, tmp_path: Path, change: Change, message: str) -> None:
    saved(change(scores), tmp_path)
    line = fault_of(predictions=str(tmp_path / "vendor.csv"))
    assert message in line and str(tmp_path / "vendor.csv") in line
    assert not (tmp_path / "vendor-evaluation").exists()


def test_a_table_of_one_class_has_what_can_be_known_and_says_the_rest(scores: Frame, tmp_path: Path) -> None:
    sick = scores.filter(pl.col("target.sick") == 1)
    assert command(["evaluate", saved(sick, tmp_path), *QUICK]) == 0
    record, page = metrics_in(tmp_path / "vendor-evaluation")["labels"]["sick"], page_of(tmp_path / "vendor-evaluation")
    assert record["auroc"]["value"] is None and record["auroc"]["reason"] and record["sensitivity"]["value"] is not None
    assert f"has one class only, all {len(sick)} known cases are 'positive'" in page


def segmentation(folder: Path) -> Path:
    random = np.random.default_rng(0)
    dice = (0.9 + random.normal(0, 0.03, 60)).clip(0, 1)
    pl.DataFrame(
        {
            "case_id": [f"c{number}" for number in range(60)], "patient_id": [f"p{number // 2}" for number in range(60)],
            "site": ["A", "B"] * 30, "dice.liver": dice, "hd95.liver": 10 * (1 - dice),
        }
    ).write_csv(folder / "liver.csv")  # fmt: skip
    return folder / "liver.csv"


def test_a_table_of_segmentation_measures_gets_figures_and_a_report_in_both_languages(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = segmentation(tmp_path)
    assert main(["evaluate", f"predictions={path}", "replicates=50", "seed=3"]) == 0
    folder, told = tmp_path / "liver-evaluation", capsys.readouterr()
    assert sorted(file.name for file in folder.iterdir()) == ["metrics.json", "report.html", "report.zh.html"]
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "Evaluation of liver.csv" in page and 'href="report.zh.html"' in page and "how they were made is not known" in page
    metrics = metrics_in(folder)
    liver = metrics["structures"]["liver"]["dice"]
    assert liver["mean"]["value"] == pytest.approx(pl.read_csv(path)["dice.liver"].mean())
    assert "bootstrap of patients" in liver["mean"]["method"] and metrics["seed"] == 3 and len(metrics["table"]["hash"]) == 64
    assert [row["value"] for row in metrics["groups"]["site"]] == ["A", "B"]
    assert "liver" in told.err and str(folder / "metrics.json") in told.out and str(folder / "report.html") in told.out
    assert main(["evaluate", f"predictions={path}", "replicates=50", "seed=4"]) == 0  # replaces its own results
    assert metrics_in(folder)["seed"] == 4


def test_a_bad_table_of_segmentation_measures_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = segmentation(tmp_path)
    pl.read_csv(path).with_columns(pl.col("dice.liver") * 100).write_csv(path)
    line = line_of(capsys, ["evaluate", f"predictions={path}"])
    assert "dice.liver" in line and str(path) in line
