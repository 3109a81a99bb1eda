"""Several trained models as one: what they must have in common, and on which cases the whole is judged and frozen."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from torch import nn

from medai.cli import main
from medai.cohort.cohort import Cohort
from medai.cohort.fold import cross_validation, fold_record
from medai.core.error import MedaiError
from medai.evaluation.auroc import auroc
from medai.export.run import export_candidate
from medai.export.settings import ExportSettings
from medai.inference.evaluate import evaluate_candidate
from medai.inference.settings import EvaluateSettings
from medai.info import describe
from medai.ingest.ingest import ingest
from medai.ingest.view import ensure_view
from medai.preprocessing.plan import IntensityPlan, PreprocessingPlan, ResizePlan
from medai.source.npz import NpzSource
from medai.training.checkpoint import Checkpoint
from medai.training.ensemble import ensemble
from medai.training.settings import TrainSettings
from medai.training.train import train

PLAN = PreprocessingPlan(ResizePlan(28, 28, 1), IntensityPlan("window", 0, 255))
NODE = {"_target_": "medai.model.residual.ResidualSmall", "width": 4, "stages": 1, "blocks": 1, "stem_stride": 1, "dropout": 0.0}


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    """Two findings; positives of the first are brighter in the middle."""
    random = np.random.default_rng(0)
    arrays = {}
    for split, count in (("train", 60), ("val", 30), ("test", 24)):
        labels = np.stack([np.arange(count) % 2, random.integers(0, 2, count)], axis=1).astype(np.uint8)
        images = random.integers(0, 120, (count, 28, 28)).astype(np.uint8)
        images[:, 8:20, 8:20] += (labels[:, :1] * 60)[:, :, None]
        arrays |= {f"{split}_images": images, f"{split}_labels": labels}
    folder = tmp_path_factory.mktemp("npz")
    np.savez(folder / "bright.npz", **arrays)
    targets = [{"name": name, "kind": "binary", "classes": ["no", "yes"]} for name in ("bright", "other")]
    return ingest(NpzSource("bright", str(folder / "bright.npz"), targets, public=True), folder / "cohorts", workers=0)


Make = Callable[..., Path]


@pytest.fixture
def member(cohort: Cohort, tmp_path: Path) -> Make:
    """Writes a run as training leaves it: weights that tell images apart, and its record."""

    def make(name: str, seed: int = 0, fold: int | None = None, folds: int = 3, **changes: Any) -> Path:
        torch.manual_seed(seed)
        plan, labels = changes.pop("plan", PLAN), changes.pop("labels", cohort.labels)
        checkpoint = Checkpoint.fresh(labels, plan, NODE, ["mirror"])
        view = ensure_view(cohort, PLAN.resize, workers=0)
        images = checkpoint.predictor().preprocessing[1](torch.from_numpy(view.encoding.decode(view.gather(np.arange(90)))))
        network = checkpoint.classifier.network
        with torch.no_grad():
            for module in network.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.momentum = 1.0
            network.train()(images)
            raw = network.eval()(images)
            last = [module for module in network.modules() if isinstance(module, nn.Linear)][-1]
            last.weight.mul_((2 / raw.std(dim=0))[:, None])
            last.bias.zero_().sub_(network(images).mean(dim=0))
        checkpoint.temperatures = {label.name: 1.0 + 0.5 * seed for label in labels}
        checkpoint.thresholds = {label.name: 0.5 for label in labels}
        chosen_on = {"split": "validation", "cases": 30, "assumed": []}
        checkpoint.record = {
            "cohort": {"name": cohort.name, "hash": cohort.hash, "path": str(cohort.path), "counts": cohort.counts},
            "input": {"modality": [], "body_part": [], "pixel_min": 0.0, "pixel_max": 255.0, "channels": [1]},
            "seed": seed,
            "epoch": 3,
            "commit": "abc",
            "fold": None if fold is None else fold_record(cohort, fold, folds, 0),
            "thresholds": {"rule": "youden"} | chosen_on,
            "calibration": {"method": "temperature"} | chosen_on,
            "validation": {"labels": {label.name: {"kind": "binary", "auroc": {"value": 0.75}} for label in labels}},
        } | changes
        checkpoint.save(tmp_path / name / "checkpoint")
        return tmp_path / name

    return make


def probabilities(run: Path, cohort: Cohort, cases: pl.DataFrame) -> np.ndarray:
    predictor = Checkpoint.load(run).predictor()
    view = ensure_view(cohort, PLAN.resize, workers=0)
    pixels = torch.from_numpy(view.encoding.decode(view.gather(cases["ordinal"].to_numpy())))
    return predictor.from_resized(pixels)[0].numpy()


def logits(run: Path, cohort: Cohort, cases: pl.DataFrame) -> np.ndarray:
    given = probabilities(run, cohort, cases).astype(np.float64)
    odds: np.ndarray = np.log(given) - np.log1p(-given)
    return odds


# Members of one split


def test_members_of_one_split_are_frozen_on_their_validation_split(member: Make, cohort: Cohort, tmp_path: Path) -> None:
    runs = [member(f"seed{seed}", seed) for seed in (1, 2, 3)]
    checkpoint = Checkpoint.load(ensemble(runs, tmp_path / "whole"))
    cases = cohort.select("validation")
    frozen = checkpoint.record["thresholds"]
    assert (frozen["split"], frozen["cases"], frozen["rule"], frozen["part"]) == ("validation", 30, "youden", "validation split")
    mean = np.mean([logits(run, cohort, cases) for run in runs], axis=0)
    expected = 1 / (1 + np.exp(-mean / [checkpoint.temperatures[label.name] for label in cohort.labels]))
    table = pl.read_parquet(tmp_path / "whole" / "validation" / "predictions.parquet").sort("case_id")
    order = np.argsort(cases["case_id"].to_numpy())
    for place, label in enumerate(cohort.labels):
        np.testing.assert_allclose(table[f"probability.{label.name}"], expected[order, place], atol=1e-5)
    np.testing.assert_allclose(probabilities(tmp_path / "whole", cohort, cases), expected, atol=1e-5)
    assert len({round(value, 4) for value in expected[:, 0]}) > 20, "degenerate outputs prove nothing"


def test_the_record_names_the_members(member: Make, cohort: Cohort, tmp_path: Path) -> None:
    runs = [member("one", 1), member("two", 2)]
    record = Checkpoint.load(ensemble(runs, tmp_path / "whole")).record
    assert [part["hash"] for part in record["members"]] == [Checkpoint.load(run).hash for run in runs]
    assert [(part["name"], part["seed"], part["fold"], part["epoch"]) for part in record["members"]] == [
        ("one", 1, None, 3),
        ("two", 2, None, 3),
    ]
    assert record["cohort"]["hash"] == cohort.hash
    assert record["parameters"] == sum(value.numel() for run in runs for value in Checkpoint.load(run).classifier.parameters())
    run = json.loads((tmp_path / "whole" / "run.json").read_text())
    assert run["status"] == "finished" and run["checkpoint_hash"] == Checkpoint.load(tmp_path / "whole").hash
    validated = json.loads((tmp_path / "whole" / "validation" / "metrics.json").read_text())
    assert validated["candidate"]["hash"] == Checkpoint.load(tmp_path / "whole").hash
    assert {path.name for path in (tmp_path / "whole" / "validation").iterdir()} == {"metrics.json", "predictions.parquet", "report.html"}


def test_an_ensemble_is_evaluated_described_and_exported_like_a_run(member: Make, cohort: Cohort, tmp_path: Path) -> None:
    whole = ensemble([member("one", 1), member("two", 2)], tmp_path / "whole")
    folder = evaluate_candidate(EvaluateSettings(candidate=str(whole), cohorts=str(cohort.path.parent), replicates=20))
    assert json.loads((folder / "metrics.json").read_text())["cases"] == 24
    assert describe(whole)["network"] == "ensemble of 2: medai.model.residual.ResidualSmall"
    package = export_candidate(ExportSettings(candidate=str(whole), cohorts=str(cohort.path.parent), workers=0))
    record = json.loads((package / "package.json").read_text())
    assert record["parity"]["decision_flips"] == 0 and record["parity"]["max_probability_difference"] <= 1e-5
    assert record["hashes"]["checkpoint"] == Checkpoint.load(whole).hash
    assert record["threshold_source"].startswith("validation split of bright (30 cases)")


# The folds of a cross-validation


def test_each_case_of_a_cross_validation_is_predicted_by_the_member_that_held_it_out(member: Make, cohort: Cohort, tmp_path: Path) -> None:
    runs = [member(f"fold{fold}", seed=fold + 1, fold=fold) for fold in (2, 0, 1)]
    checkpoint = Checkpoint.load(ensemble(runs, tmp_path / "whole"))
    table = pl.read_parquet(tmp_path / "whole" / "validation" / "predictions.parquet")
    assert len(table) == 90 and set(table["case_id"]) == set(cohort.select("development")["case_id"])
    seen = 0
    for run, fold in zip(runs, (2, 0, 1), strict=True):
        cases = cross_validation(cohort, fold, 3, 0).filter(pl.col("split") == "validation")
        expected = logits(run, cohort, cases)[:, 0] / checkpoint.temperatures["bright"]
        found = cases.join(table, on="case_id", how="left", maintain_order="left")["logit.bright"].to_numpy()
        np.testing.assert_allclose(found, expected, atol=1e-3)
        seen += len(cases)
    assert seen == 90


def test_what_a_member_says_of_its_training_images_freezes_nothing(
    member: Make, cohort: Cohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[int, set[int]] = {}
    from medai.training import ensemble as module

    predict = module._predict

    def watched(checkpoint: Checkpoint, view: Any, ordinals: np.ndarray) -> np.ndarray:
        asked[checkpoint.record["fold"]["fold"]] = set(ordinals.tolist())
        return predict(checkpoint, view, ordinals)

    monkeypatch.setattr(module, "_predict", watched)
    ensemble([member(f"fold{fold}", seed=fold, fold=fold) for fold in range(3)], tmp_path / "whole")
    for fold in range(3):
        train = cross_validation(cohort, fold, 3, 0).filter(pl.col("split") == "train")
        assert not asked[fold] & set(train["ordinal"])


def test_the_pooled_out_of_fold_figures_are_kept_and_printed(
    member: Make, cohort: Cohort, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = Checkpoint.load(ensemble([member(f"fold{fold}", seed=fold, fold=fold) for fold in range(3)], tmp_path / "whole"))
    table = pl.read_parquet(tmp_path / "whole" / "validation" / "predictions.parquet")
    area = checkpoint.record["validation"]["labels"]["bright"]["auroc"]
    assert area["value"] == pytest.approx(auroc(table["probability.bright"].to_numpy(), table["target.bright"].to_numpy() == 1).value)
    assert area["low"] < area["value"] < area["high"] and area["n"] == 90
    frozen = checkpoint.record["thresholds"]
    assert (frozen["split"], frozen["cases"], frozen["part"]) == ("development", 90, "out-of-fold predictions")
    assert "predicted by the members that had not trained on it" in checkpoint.record["note"]
    printed = capsys.readouterr().err
    assert "fold0: seed 0, fold 0 of 3; bright.auroc 0.750" in printed
    assert "out-of-fold predictions:" in printed and f"AUROC {area['value']:.3f} ({area['low']:.3f} to {area['high']:.3f})" in printed


def test_a_repeated_cross_validation_averages_what_held_a_case_out(member: Make, cohort: Cohort, tmp_path: Path) -> None:
    runs = [member(f"{repeat}-{fold}", seed=3 * repeat + fold, fold=fold) for repeat in (0, 1) for fold in range(3)]
    checkpoint = Checkpoint.load(ensemble(runs, tmp_path / "whole"))
    cases = cross_validation(cohort, 0, 3, 0).filter(pl.col("split") == "validation")
    expected = (logits(runs[0], cohort, cases) + logits(runs[3], cohort, cases))[:, 1] / 2 / checkpoint.temperatures["other"]
    table = pl.read_parquet(tmp_path / "whole" / "validation" / "predictions.parquet")
    found = cases.join(table, on="case_id", how="left", maintain_order="left")["logit.other"].to_numpy()
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_a_cross_validation_is_trained_joined_exported_and_evaluated(settings: TrainSettings, tmp_path: Path) -> None:
    training = replace(settings.training, epochs=2)
    runs = [train(replace(settings, training=training, name=f"fold{fold}", fold=fold, folds=2)) for fold in (0, 1)]
    whole = ensemble(runs, tmp_path / "whole", Path(settings.cohorts), workers=0)
    checkpoint = Checkpoint.load(whole)
    assert checkpoint.record["thresholds"]["cases"] == 144 and checkpoint.record["validation"]["cases"] == 144
    assert [member["fold"]["fold"] for member in checkpoint.record["members"]] == [0, 1]
    for candidate in (whole, runs[0]):
        chosen = EvaluateSettings(candidate=str(candidate), cohorts=settings.cohorts, split="validation", replicates=20)
        with pytest.raises(MedaiError, match="comes from a cross-validation, which trained on validation cases too"):
            evaluate_candidate(chosen)
        notes = (evaluate_candidate(replace(chosen, allow=["seen-images"])) / "report.html").read_text()
        assert "was trained on validation cases too" in notes
    evaluate_candidate(EvaluateSettings(candidate=str(whole), cohorts=settings.cohorts, replicates=20))
    package = export_candidate(ExportSettings(candidate=str(whole), cohorts=settings.cohorts, workers=0))
    record = json.loads((package / "package.json").read_text())
    assert record["parity"]["cases"] == 144 and record["data"]["seen"] == "development"
    assert record["threshold_source"].startswith("out-of-fold predictions of bright (144 cases)")
    with pytest.raises(MedaiError, match="comes from a cross-validation"):
        evaluate_candidate(EvaluateSettings(candidate=str(package), cohorts=settings.cohorts, split="validation"))


# What is refused


@pytest.mark.parametrize(
    ("folds", "message"),
    [
        ([0, 2], "fold 1 of the 3 folds with seed 0 is missing"),
        ([0, 1, 2, 2], "fold 0, 1 of the 3 folds with seed 0 is missing; every fold is needed, and each equally often"),
        ([0, 1, 2, None], "some members are folds of a cross-validation and some are not"),
    ],
)
def test_an_incomplete_cross_validation_is_refused(member: Make, tmp_path: Path, folds: list[int | None], message: str) -> None:
    runs = [member(f"run{place}", seed=place, fold=fold) for place, fold in enumerate(folds)]
    with pytest.raises(MedaiError, match=message):
        ensemble(runs, tmp_path / "whole")
    assert not (tmp_path / "whole").exists()


def test_a_fold_of_other_cases_than_those_of_its_training_is_refused(member: Make, tmp_path: Path) -> None:
    runs = [member(f"fold{fold}", seed=fold, fold=fold) for fold in range(3)]
    checkpoint = Checkpoint.load(runs[1])
    checkpoint.record["fold"]["held_out"] = "0" * 16
    checkpoint.save(runs[1] / "checkpoint")
    with pytest.raises(MedaiError, match="fold 1 of 3 of bright holds other cases than when the run was trained"):
        ensemble(runs, tmp_path / "whole")


@pytest.mark.parametrize(
    ("what", "changes"),
    [
        ("preprocessing", {"plan": PreprocessingPlan(ResizePlan(28, 28, 1), IntensityPlan("minmax"))}),
        ("cohort", {"cohort": {"name": "bright", "hash": "f" * 64, "path": None}}),
        ("rule of the thresholds", {"thresholds": {"rule": "accuracy", "split": "validation", "cases": 30}}),
        ("calibration", {"calibration": {"method": "none"}}),
    ],
)
def test_members_that_differ_are_refused_with_what_differs(member: Make, tmp_path: Path, what: str, changes: dict[str, Any]) -> None:
    with pytest.raises(MedaiError, match=rf"two and .*one differ in {what}: .* and "):
        ensemble([member("one", 1), member("two", 2, **changes)], tmp_path / "whole")


def test_members_of_other_labels_are_refused(member: Make, cohort: Cohort, tmp_path: Path) -> None:
    with pytest.raises(MedaiError, match="two and .*one differ in labels"):
        ensemble([member("one", 1), member("two", 2, labels=cohort.labels[:1])], tmp_path / "whole")


def test_one_model_twice_is_no_ensemble(member: Make, tmp_path: Path) -> None:
    one = member("one", 1)
    with pytest.raises(MedaiError, match="an ensemble needs at least two members"):
        ensemble([one], tmp_path / "whole")
    with pytest.raises(MedaiError, match="one has the weights of another member; name each run once"):
        ensemble([one, one], tmp_path / "whole")
    whole = ensemble([one, member("two", 2)], tmp_path / "whole")
    with pytest.raises(MedaiError, match="whole is an ensemble itself; name its members"):
        ensemble([whole, one], tmp_path / "more")


def test_what_is_there_is_not_overwritten(member: Make, tmp_path: Path) -> None:
    runs = [member("one", 1), member("two", 2)]
    with pytest.raises(MedaiError, match="one exists already and holds other things"):
        ensemble(runs, tmp_path / "one")


def test_the_command_makes_an_ensemble_and_says_what_is_next(
    member: Make, cohort: Cohort, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [str(member("one", 1)), str(member("two", 2))]
    assert main(["ensemble", *runs, "--output", str(tmp_path / "whole"), "--cohorts", str(cohort.path.parent)]) == 0
    out = capsys.readouterr().out
    assert f"medai evaluate candidate={tmp_path / 'whole'}" in out and "report.html" in out
    assert main(["ensemble", *runs]) == 2
    assert "ensemble: the following arguments are required: --output" in capsys.readouterr().err
