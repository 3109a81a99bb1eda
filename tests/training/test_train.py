"""A training from a configuration to a run, on a few generated pictures."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from medai.core.error import MedaiError
from medai.tracking.settings import TrackingSettings
from medai.training.checkpoint import Checkpoint
from medai.training.settings import TrainingSettings, TrainSettings
from medai.training.train import train
from tests.training.runs import records, same


def test_a_run_learns_and_leaves_everything_that_is_needed(settings: TrainSettings) -> None:
    run = train(replace(settings, name="one"))
    record = json.loads((run / "run.json").read_text())
    assert record["status"] == "finished"
    assert record["validation"]["bright.auroc"] > 0.9
    lines = records(run)
    assert [line["epoch"] for line in lines if "epoch" in line] == [1, 2, 3]
    assert [line["step"] for line in lines if "loss" in line] == [6, 12, 18]
    assert {"learning_rate", "loss"} <= lines[0].keys()
    assert {"images_per_second", "train_loss", "validation_auroc"} <= lines[1].keys()
    checkpoint = Checkpoint.load(run)
    assert checkpoint.thresholds.keys() == checkpoint.temperatures.keys() == {"bright"}
    assert checkpoint.record["cohort"]["hash"] == record["cohort_hash"]
    assert checkpoint.hash == record["checkpoint_hash"]
    validated = json.loads((run / "validation" / "metrics.json").read_text())
    assert validated["candidate"] == {"kind": "checkpoint", "hash": checkpoint.hash}  # which points frozen there are bound to
    assert {path.name for path in (run / "validation").iterdir()} == {"metrics.json", "predictions.parquet", "report.html"}


def test_the_same_seed_gives_the_same_weights_with_any_number_of_workers(settings: TrainSettings) -> None:
    settings = replace(settings, augmentation=replace(settings.augmentation, engine="monai"))  # which the workers apply
    runs = [train(replace(settings, name=f"w{number}", workers=workers)) for number, workers in enumerate((0, 0, 2))]
    assert same(runs[0], runs[1])
    assert same(runs[0], runs[2])
    other = train(replace(settings, name="other", seed=1))
    assert not same(runs[0], other)


def test_training_never_opens_the_test_labels(settings: TrainSettings) -> None:
    run = train(replace(settings, name="first"))
    cohort = Path(json.loads((run / "run.json").read_text())["cohort"])
    (cohort / "labels" / "test.parquet").write_bytes(b"sealed")
    assert same(run, train(replace(settings, name="second")))


def test_a_checkpoint_predicts_what_validation_saw(settings: TrainSettings) -> None:
    run = train(replace(settings, name="one"))
    table = pl.read_parquet(run / "validation" / "predictions.parquet").sort("case_id")
    cohort = Path(json.loads((run / "run.json").read_text())["cohort"])
    from medai.cohort.cohort import Cohort
    from medai.inference.candidate import open_candidate
    from medai.inference.predict import predict_cases

    opened = Cohort.open(cohort)
    predicted = predict_cases(open_candidate(run), opened, opened.select("validation"))
    order = np.argsort(predicted.cases["case_id"].to_numpy())
    assert np.allclose(predicted.outputs.probability[order, 0], table["probability.bright"].to_numpy(), atol=1e-6)


def test_early_stopping_ends_a_training_that_does_not_improve(settings: TrainSettings) -> None:
    training = replace(settings.training, epochs=30, patience=2, monitor="accuracy", optimizer={"_target_": "torch.optim.SGD", "lr": 1e-9})
    run = train(replace(settings, name="stale", training=replace(training, ema_decay=0.0)))
    assert sum("epoch" in line for line in records(run)) == 3  # the first is the best; two more are not better


def test_mlflow_gets_configuration_figures_and_files(settings: TrainSettings, tmp_path: Path) -> None:
    run = train(replace(settings, name="tracked", tracking=TrackingSettings(), sweep=str(tmp_path / "runs" / "sweep")))
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path / 'runs' / 'mlflow.db'}")
    found = client.get_run(json.loads((run / "run.json").read_text())["mlflow_run_id"])
    assert found.info.status == "FINISHED"
    assert found.data.params["training.epochs"] == "3"
    assert found.data.tags["medai.cohort_hash"] == json.loads((run / "run.json").read_text())["cohort_hash"]
    assert len(client.get_metric_history(found.info.run_id, "validation_auroc")) == 3
    assert {"checkpoint", "validation", "config.json"} <= {item.path for item in client.list_artifacts(found.info.run_id)}
    parent = client.get_run(found.data.tags["mlflow.parentRunId"])
    assert parent.info.run_name == "sweep"


def test_an_interrupted_training_is_marked_as_failed(settings: TrainSettings, tmp_path: Path) -> None:
    broken = replace(settings.training, optimizer={"_target_": "torch.optim.SGD", "lr": 1e30}, gradient_clip=None, ema_decay=0.0)
    with pytest.raises(MedaiError, match=r"the loss became .* lower training\.optimizer\.lr"):
        train(replace(settings, name="broken", training=broken, tracking=TrackingSettings()))
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path / 'runs' / 'mlflow.db'}")
    (found,) = client.search_runs([client.get_experiment_by_name("medai").experiment_id])
    assert found.info.status == "FAILED"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"accelerator": "cuda"}, "torch sees no GPU here"),
        (
            {"optimizer": {"_target_": "torch.optim.AdamW", "lr": -1.0}},
            r"torch\.optim\.AdamW does not take these arguments: Invalid learning rate",
        ),
        ({"optimizer": {"_target_": "torch.load", "f": "x"}}, r"torch\.load is not an optimiser"),
    ],
)
def test_a_wrong_setting_is_one_clear_line(settings: TrainSettings, changes: dict[str, object], message: str) -> None:
    if "accelerator" in changes and torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(MedaiError, match=message):
        train(replace(settings, name="wrong", training=replace(settings.training, **changes)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"threshold": "sensitvity=0.9"}, "training.threshold is 'sensitvity=0.9'; allowed: youden"),
        ({"threshold": "1.5"}, "training.threshold"),
        ({"patience": 0}, "training.patience is 0"),
        ({"gradient_clip": -1.0}, "training.gradient_clip"),
    ],
)
def test_a_setting_that_would_fail_late_is_refused_early(changes: dict[str, object], message: str) -> None:
    with pytest.raises(MedaiError, match=message):
        TrainingSettings(**changes)  # type: ignore[arg-type]


def test_validation_with_one_class_cannot_choose_by_auroc(settings: TrainSettings, pictures: Path, tmp_path: Path) -> None:
    arrays = dict(np.load(pictures))
    arrays["val_labels"] = np.ones_like(arrays["val_labels"])
    np.savez(tmp_path / "one.npz", **arrays)
    dataset = settings.dataset | {"path": str(tmp_path / "one.npz"), "name": "one"}
    with pytest.raises(MedaiError, match="no label has two classes among the 48 validation cases"):
        train(replace(settings, name="one", dataset=dataset))
    run = train(replace(settings, name="loss", dataset=dataset, training=replace(settings.training, monitor="loss", epochs=1)))
    assert Checkpoint.load(run).record["thresholds"]["assumed"] == ["bright"]


def test_an_unfinished_training_is_not_taken_for_a_model(settings: TrainSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("medai.training.train._freeze", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(replace(settings, name="half"))
    run = Path(settings.runs) / "half"
    assert json.loads((run / "run.json").read_text())["status"] == "interrupted"
    with pytest.raises(MedaiError, match="did not finish"):
        Checkpoint.load(run)


def test_a_fault_of_the_tracking_does_not_end_the_training(
    settings: TrainSettings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from mlflow import MlflowClient

    def gone(*_: object, **__: object) -> None:
        raise ConnectionError("the server is gone")

    monkeypatch.setattr(MlflowClient, "log_artifacts", gone)
    monkeypatch.setattr(MlflowClient, "set_terminated", gone)
    tracking = TrackingSettings(patience_seconds=0.5)
    run = train(replace(settings, name="alone", tracking=tracking, training=replace(settings.training, epochs=1)))
    assert Checkpoint.load(run).thresholds
    told = capsys.readouterr().err
    assert told.count("they wait, and the training goes on") == 1
    assert "MLflow did not take 3 records" in told


def test_a_run_is_not_overwritten(settings: TrainSettings) -> None:
    train(replace(settings, name="one"))
    with pytest.raises(MedaiError, match="holds a run already"):
        train(replace(settings, name="one"))


def test_a_changed_checkpoint_is_refused(settings: TrainSettings, tmp_path: Path) -> None:
    run = train(replace(settings, name="one"))
    for name in ("model.safetensors", "checkpoint.json"):
        shutil.copytree(run / "checkpoint", tmp_path / name)
        path = tmp_path / name / name
        content = bytearray(path.read_bytes())
        place = len(content) - 9 if name.endswith("safetensors") else content.index(b"epoch") + 1
        content[place] ^= 1
        path.write_bytes(bytes(content))
        with pytest.raises(MedaiError, match="was changed after it was written"):
            Checkpoint.load(tmp_path / name)
    with pytest.raises(MedaiError, match="holds no checkpoint"):
        Checkpoint.load(tmp_path)
