"""A model and a cohort become a folder of results: by the command, and by a stand-in for a run."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from medai.cli import main
from medai.cohort.cohort import Cohort
from medai.core.error import MedaiError
from medai.core.label import Label
from medai.evaluation.frozen_point import choose_points, write_points
from medai.evaluation.table import infer_labels
from medai.inference import evaluate as module
from medai.inference.candidate import Outputs
from medai.inference.evaluate import evaluate_candidate
from medai.inference.settings import EvaluateSettings
from medai.store.shard import NativePixels
from medai.tracking.settings import TrackingSettings
from tests.inference.conftest import WriteContract, WriteModel
from tests.inference.hospital import COUNTS, QUICK, SCALE, SICK, arrays, auroc_of, cohort_in, command, line_of, metrics_in, scores_of

ELSEWHERE = "The model was made elsewhere: whether it has seen some of these images is not known to this program."


@dataclass
class Stand:
    """A stand-in for a run: its probability grows with the mean of the image."""

    path: Path
    cohort: tuple[str, str, str | None] = ("", "", None)
    labels: tuple[Label, ...] = (Label.from_dict(SICK),)
    thresholds: dict[str, float] = field(default_factory=lambda: {"sick": 0.4})
    kind: str = "checkpoint"
    hash: str = "a" * 64
    threshold_source: str = "validation (40 cases), rule youden"
    intended_use: str = ""
    facts: dict[str, str] = field(default_factory=dict)
    seen: str = "train"

    def prepare(self, pixels: np.ndarray) -> np.ndarray:
        return pixels.astype(np.float32)

    def predict(self, pixels: np.ndarray) -> Outputs:
        logit = (pixels.mean(axis=(1, 2, 3)) - 115)[:, None] / 30
        probability = 1 / (1 + np.exp(-logit))
        return Outputs(probability, logit, (probability >= self.thresholds["sick"]).astype(np.int64))

    def view(self, pixels: np.ndarray) -> np.ndarray:
        return pixels

    def doubts(self) -> list[str]:
        return []


@pytest.fixture
def hospital(tmp_path: Path) -> Cohort:
    return cohort_in(tmp_path)


@pytest.fixture
def vendor(write_model: WriteModel, write_contract: WriteContract, hospital: Cohort) -> list[str]:
    """The vendor's model on the hospital's cohort, as a command line."""
    return ["evaluate", f"candidate={write_model()}", f"contract={write_contract(**SCALE)}", f"cohorts={hospital.path}", *QUICK]


@pytest.fixture
def stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Stand, Callable[..., Path]]]:
    """A run that is opened in place of whatever is named, and what evaluates it."""

    def made(cohort: Cohort, **changes: Any) -> tuple[Stand, Callable[..., Path]]:
        run = Stand(tmp_path / "runs" / "first", (cohort.hash, cohort.name, str(cohort.path)), **changes)
        run.path.mkdir(parents=True, exist_ok=True)
        monkeypatch.setattr(module, "open_candidate", lambda *_, **__: run)

        def evaluated(**settings: Any) -> Path:
            given: dict[str, Any] = {
                "candidate": str(run.path), "cohorts": str(tmp_path / "cohorts"), "replicates": 40, "language": "en", "saliency": "none",
                "tracking": TrackingSettings(enabled=False),
            }  # fmt: skip
            return evaluate_candidate(EvaluateSettings(**given | settings))

        return run, evaluated

    return made


def test_a_vendors_model_is_evaluated_on_the_test_part(
    vendor: list[str], tmp_path: Path, hospital: Cohort, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main([*vendor, f"output={out}", "language=both", "prevalences=[0.01,0.1]"]) == 0
    assert {path.name for path in out.iterdir()} == {"metrics.json", "predictions.parquet", "report.html", "report.zh.html"}
    told, table, metrics = capsys.readouterr(), pl.read_parquet(out / "predictions.parquet"), metrics_in(out)
    for name in ("report.html", "report.zh.html", "metrics.json", "predictions.parquet"):
        assert str(out / name) in told.out
    assert "sick" in told.err
    sick = metrics["labels"]["sick"]
    assert sick["auroc"]["value"] == pytest.approx(auroc_of(table), abs=1e-12)
    truth = dict(hospital.select("test").select("case_id", "sick").iter_rows())
    assert dict(table.select("case_id", "target.sick").iter_rows()) == truth
    assert [each["prevalence"] for each in sick["at_prevalence"]] == [0.01, 0.1]
    called = table["probability.sick"] >= 0.4
    assert sick["threshold"] == 0.4 and sick["confusion"]["true_positive"] == int((called & (table["target.sick"] == 1)).sum())
    english, chinese = ((out / name).read_text(encoding="utf-8") for name in ("report.html", "report.zh.html"))
    assert 'lang="en"' in english and 'lang="zh' in chinese and "ChestNet 2.1" in english and "ChestNet 2.1" in chinese
    assert ELSEWHERE in english and ELSEWHERE not in chinese and "the vendor's manual, 2024, section 4" in english.replace("&#39;", "'")


def test_the_record_says_what_was_scored_on_what_and_how(vendor: list[str], tmp_path: Path, hospital: Cohort) -> None:
    assert command([*vendor, f"output={tmp_path / 'out'}", "seed=7"]) == 0
    metrics = metrics_in(tmp_path / "out")
    assert set(metrics) == {
        "schema", "cases", "patients", "confidence", "seed", "replicates", "interval", "auroc_interval", "strata", "labels", "macro",
        "groups", "groups_left_out", "subgroups", "precision", "flow", "candidate", "cohort", "split", "refused", "looks_at_test",
    }  # fmt: skip
    assert (metrics["schema"], metrics["cases"], metrics["seed"], metrics["replicates"]) == ("medai.metrics/2", COUNTS["test"], 7, 40)
    assert metrics["candidate"]["kind"] == "onnx" and len(metrics["candidate"]["hash"]) == 64
    assert metrics["cohort"] == {"name": "set", "hash": hospital.hash} and metrics["split"] == "test" and metrics["refused"] == {}
    assert (metrics["flow"]["found"], metrics["flow"]["elsewhere"], metrics["flow"]["analysed"]) == (240, 80, 160)
    assert all({"value", "low", "high", "n", "method"} <= set(metrics["labels"]["sick"][key]) for key in ("auroc", "brier", "sensitivity"))


def test_the_same_seed_gives_the_same_record(vendor: list[str], tmp_path: Path) -> None:
    for name in ("one", "two"):
        assert command([*vendor, f"output={tmp_path / name}", "interval=bca", "stratify=true"]) == 0
    one, two = (metrics_in(tmp_path / name) for name in ("one", "two"))
    assert one.pop("looks_at_test") + 1 == two.pop("looks_at_test") and one == two
    assert one["interval"] == "bca" and one["strata"] and one["labels"]["sick"]["average_precision"]["method"].startswith("BCa")


def test_looks_at_the_test_labels_are_counted_and_those_at_validation_are_not(vendor: list[str], tmp_path: Path) -> None:
    for number in (1, 2):
        assert command([*vendor, f"output={tmp_path / 'test'}"]) == 0
        assert metrics_in(tmp_path / "test")["looks_at_test"] == number
    assert command([*vendor, "split=validation", f"output={tmp_path / 'validation'}"]) == 0
    assert metrics_in(tmp_path / "validation")["looks_at_test"] is None and metrics_in(tmp_path / "validation")["cases"] == 40
    assert command([*vendor, "dry_run=true", "language=both", f"output={tmp_path / 'dry'}"]) == 0
    assert {path.name for path in (tmp_path / "dry").glob("*.html")} == {"dry_run.html", "dry_run.zh.html"}
    assert len(next((tmp_path / "cohorts/looks").iterdir()).read_text().splitlines()) == 2
    assert "2" in (tmp_path / "test/report.html").read_text(encoding="utf-8")


def test_a_dry_run_tells_of_its_page_in_each_language(vendor: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*vendor, "dry_run=true", "language=both", f"output={tmp_path / 'dry'}"]) == 0
    told = capsys.readouterr().out
    assert str(tmp_path / "dry/dry_run.html") in told and str(tmp_path / "dry/dry_run.zh.html") in told


def test_what_was_planned_stands_beside_what_was_reached_on_the_test_part_alone(vendor: list[str], tmp_path: Path) -> None:
    assert command([*vendor, f"output={tmp_path / 'test'}"]) == 0
    metrics = metrics_in(tmp_path / "test")
    planned, reached = metrics["precision"]["labels"]["sick"], metrics["labels"]["sick"]
    assert metrics["precision"]["cases"] == 160 and planned["planned_events"] == round(160 * 29 / 80)  # the share of development
    assert planned["events"] == reached["events"] and planned["n"] == 160
    for key in ("auroc", "sensitivity", "specificity"):
        figure, (low, high) = planned["figures"][key], (reached[key]["low"], reached[key]["high"])
        assert figure["reached_half_width"] == pytest.approx((high - low) / 2) and 0 < figure["planned_half_width"] < 0.15
    assert command([*vendor, "split=validation", f"output={tmp_path / 'validation'}"]) == 0
    assert "precision" not in metrics_in(tmp_path / "validation")


def test_images_that_the_model_refuses_are_named_and_not_in_the_figures(
    write_model: WriteModel, write_contract: WriteContract, hospital: Cohort, tmp_path: Path
) -> None:
    accepts = {"input": {"accepts": {"low": 0, "high": 254}}}  # whoever holds a pixel of 255 is refused
    contract = write_contract(**SCALE, **accepts)
    given = [f"candidate={write_model()}", f"contract={contract}", f"cohorts={hospital.path}", f"output={tmp_path / 'out'}"]
    store = NativePixels(hospital.path)
    cases = hospital.select("test").select("case_id", "shard", "offset", "length")
    bright = {case for case, *place in cases.iter_rows() if store.read(*place).max() > 254}
    assert 0 < len(bright) < 160
    assert command(["evaluate", *given, *QUICK]) == 0
    metrics, page = metrics_in(tmp_path / "out"), (tmp_path / "out/report.html").read_text(encoding="utf-8")
    assert set(metrics["refused"]) == bright and metrics["cases"] == 160 - len(bright)
    assert f"The model refused {len(bright)} images, which are not in the figures; the first is {min(bright)}" in page
    assert metrics["flow"]["refused"] == len(bright)


@pytest.mark.parametrize(
    ("extra", "threshold", "origin"),
    [
        ([], 0.4, "the vendor's manual, 2024, section 4"),
        (["thresholds.sick=0.6"], 0.6, "given on the command line"),
        (["operating_point={points}"], None, "chosen on validation (40 cases), rule sensitivity=0.9, frozen in operating_point.json "),
        (["operating_point={points}", "thresholds.sick=0.6"], 0.6, "given on the command line"),
    ],
)
def test_the_report_says_where_the_threshold_comes_from(
    vendor: list[str], tmp_path: Path, hospital: Cohort, extra: list[str], threshold: float | None, origin: str
) -> None:
    table = scores_of(hospital, "validation")
    points = choose_points(table, infer_labels(table), "sensitivity=0.9", split="validation")
    write_points(tmp_path / "operating_point.json", points)
    words = [word.format(points=tmp_path / "operating_point.json") for word in extra]
    assert command([*vendor, f"output={tmp_path / 'out'}", *words]) == 0
    sick = metrics_in(tmp_path / "out")["labels"]["sick"]
    assert sick["threshold"] == pytest.approx(points.points[0].threshold if threshold is None else threshold)
    assert origin in (tmp_path / "out/report.html").read_text(encoding="utf-8").replace("&#39;", "'")
    assert ("operating_point" in sick) == (threshold is None)
    if threshold is None:
        assert sick["operating_point"]["sha256"] == points.sha256 and sick["operating_point"]["rule"] == "sensitivity=0.9"


def test_a_runs_own_threshold_is_said_to_be_chosen_on_its_validation(
    stand: Callable[..., tuple[Stand, Callable[..., Path]]], hospital: Cohort
) -> None:
    run, evaluated = stand(hospital)
    folder = evaluated()
    assert folder == run.path / "evaluation" / f"set-test-{hospital.hash[:8]}"
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "chosen on validation (40 cases), rule youden" in page and ELSEWHERE not in page


def test_points_that_were_frozen_for_another_model_or_touched_are_refused(
    vendor: list[str], tmp_path: Path, hospital: Cohort, capsys: pytest.CaptureFixture[str]
) -> None:
    table, path = scores_of(hospital, "validation"), tmp_path / "points.json"
    write_points(path, choose_points(table, infer_labels(table), "youden", split="validation", model="b" * 64))
    assert "were frozen for the model bbbb" in line_of(capsys, [*vendor, f"operating_point={path}"])
    path.write_text(path.read_text().replace('"youden"', '"accuracy"'))
    assert "was changed after it was written" in line_of(capsys, [*vendor, f"operating_point={path}"])
    other = table.rename({"target.sick": "target.ill", "probability.sick": "probability.ill"})
    write_points(tmp_path / "other.json", choose_points(other, infer_labels(other), "youden", split="validation"))
    assert "has no operating point; the file has ill" in line_of(capsys, [*vendor, f"operating_point={tmp_path / 'other.json'}"])
    assert not (tmp_path / "cohorts/looks").exists()


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["thresholds.ill=0.5"], "thresholds.ill: there is no such binary label; there are: sick"),
        (["seal_key=key"], "and the test labels of {cohort} are not sealed; leave it out"),
        (["output={other}"], "holds other things; remove it or choose another output="),
        (["cohorts=nowhere"], "brings no cohort of its own; name the data with dataset=…, or one cohort with cohorts=<its folder>"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_looked_at(
    vendor: list[str], tmp_path: Path, hospital: Cohort, capsys: pytest.CaptureFixture[str], extra: list[str], message: str
) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other/thesis.txt").write_text("years of work")
    words = [word.format(other=tmp_path / "other") for word in extra]
    assert message.format(cohort=hospital.path) in line_of(capsys, [*vendor, *words])
    assert not (tmp_path / "cohorts/looks").exists() and (tmp_path / "other/thesis.txt").read_text() == "years of work"


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ({"name": "ill", "kind": "binary", "classes": ["no", "yes"]}, "predicts 'ill'; the cohort set has the labels sick"),
        ({"name": "sick", "kind": "binary", "classes": ["healthy", "ill"]}, "['healthy', 'ill'] in the model, ['no', 'yes'] in the cohort"),
    ],
)
def test_labels_of_another_cohort_are_refused(
    write_model: WriteModel, write_contract: WriteContract, hospital: Cohort, capsys: pytest.CaptureFixture[str],
    label: dict[str, Any], message: str,
) -> None:  # fmt: skip
    contract = write_contract(labels=[label], thresholds=None, threshold_origin=None, **SCALE)
    given = [f"candidate={write_model()}", f"contract={contract}", f"cohorts={hospital.path}"]
    assert message in line_of(capsys, ["evaluate", *given, *QUICK])


def test_results_lie_beside_the_model_where_no_folder_is_named_and_replace_older_ones(vendor: list[str], hospital: Cohort) -> None:
    model = Path(vendor[1].removeprefix("candidate="))
    for seed in (1, 2):
        assert command([*vendor, f"seed={seed}"]) == 0
    folder = model.parent / "evaluation" / f"set-test-{hospital.hash[:8]}-vendor"
    assert metrics_in(folder)["seed"] == 2 and metrics_in(folder)["looks_at_test"] == 2


def test_a_changed_pixel_or_label_after_the_ingest_is_found(
    vendor: list[str], hospital: Cohort, capsys: pytest.CaptureFixture[str]
) -> None:
    path = hospital.path / "labels/test.parquet"
    table = pl.read_parquet(path)
    table.with_columns(sick=1 - pl.col("sick")).write_parquet(path)
    assert "was changed after the ingest" in line_of(capsys, vendor)


def of_other_images(tmp_path: Path, shared: int) -> dict[str, Any]:
    """The definition of a second data set, of whose test images the first `shared` were trained on in the first."""
    known, made = arrays(0), arrays(1)
    made["test_images"][:shared] = known["train_images"][:shared]
    np.savez(tmp_path / "second.npz", **made)
    return {"_target_": "medai.source.npz.NpzSource", "name": "second", "path": str(tmp_path / "second.npz"), "public": True}


def test_a_run_is_not_scored_on_images_of_its_development(
    stand: Callable[..., tuple[Stand, Callable[..., Path]]], hospital: Cohort, tmp_path: Path
) -> None:
    _, evaluated = stand(hospital)
    dataset = of_other_images(tmp_path, shared=3)
    with pytest.raises(MedaiError, match=r"3 of the 160 images are in the development set of .*override with allow=\[seen-images\]"):
        evaluated(dataset=dataset, workers=0)
    folder = evaluated(dataset=dataset, workers=0, allow=["seen-images"])
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "3 of these images were in the development set of the model: the figures are too good." in page


def test_other_images_are_scored_without_a_word_and_an_absent_cohort_is_told(
    stand: Callable[..., tuple[Stand, Callable[..., Path]]], hospital: Cohort, tmp_path: Path
) -> None:
    run, evaluated = stand(hospital)
    dataset, unknown = of_other_images(tmp_path, shared=0), "whether it has seen some of these images was not checked"
    assert unknown not in (evaluated(dataset=dataset, workers=0) / "report.html").read_text(encoding="utf-8")
    shutil.rmtree(run.cohort[2] or "")
    assert unknown in (evaluated(dataset=dataset, workers=0) / "report.html").read_text(encoding="utf-8")


def test_a_cross_validation_is_not_scored_on_the_validation_cases_that_it_trained_on(
    stand: Callable[..., tuple[Stand, Callable[..., Path]]], hospital: Cohort
) -> None:
    _, evaluated = stand(hospital, seen="development")
    with pytest.raises(MedaiError, match=r"comes from a cross-validation, which trained on validation cases too"):
        evaluated(split="validation")
    page = (evaluated(split="validation", allow=["seen-images"]) / "report.html").read_text(encoding="utf-8")
    assert "trained on validation cases too, in a cross-validation" in page
    assert "cross-validation" not in (evaluated() / "report.html").read_text(encoding="utf-8")


def test_a_report_is_printed_only_where_there_is_a_browser_and_that_is_known_before_the_work(
    vendor: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    line = line_of(capsys, [*vendor, "pdf=true"])
    assert "chromium" in line and not (tmp_path / "cohorts/looks").exists()
