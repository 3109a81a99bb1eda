"""A training that is ended at any moment goes on as if nothing had happened."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from medai.core.error import MedaiError
from medai.tracking.settings import TrackingSettings
from medai.training.interruption import Interrupted
from medai.training.recorder import Metrics, Recorder
from medai.training.settings import TrainSettings
from medai.training.state import load_state, save_state, states
from medai.training.train import train
from tests.training.runs import records, same


class Stranger:
    """Nothing that a state may hold."""


HOLD = """
import fcntl, sys, time
stream = open(sys.argv[1], "a")
fcntl.flock(stream, fcntl.LOCK_EX)
print("held", flush=True)
time.sleep(60)
"""


def interrupted(monkeypatch: pytest.MonkeyPatch, settings: TrainSettings, step: int) -> Interrupted:
    """Train, and let the process get SIGTERM when a step is recorded."""
    logged = Recorder.logged

    def stop(self: Recorder, now: int, metrics: dict[str, float]) -> None:
        logged(self, now, metrics)
        if now == step:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(Recorder, "logged", stop)
        with pytest.raises(Interrupted, match="medai train resume=") as caught:
            train(settings)
    return caught.value


def with_steps(settings: TrainSettings, **changed: Any) -> TrainSettings:
    return replace(settings, training=replace(settings.training, log_steps=1, **changed))


@pytest.mark.parametrize("step", [1, 6, 8, 18])
def test_a_training_that_is_asked_to_end_goes_on_to_the_same_weights(
    settings: TrainSettings, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    settings = with_steps(settings)
    whole = train(replace(settings, name="whole"))
    assert interrupted(monkeypatch, replace(settings, name="parts"), step).exit_code == 143
    parts = Path(settings.runs) / "parts"
    assert json.loads((parts / "run.json").read_text())["status"] == "preempted"
    assert train(replace(settings, resume=str(parts))) == parts
    assert same(whole, parts)
    without_clock = [
        [{key: value for key, value in line.items() if key not in ("time", "images_per_second")} for line in records(run)]
        for run in (whole, parts)
    ]
    assert without_clock[0] == without_clock[1]


@pytest.mark.parametrize("choice", ["swa", "adam without average", "mixup", "balanced", "micro batches", "patience"])
def test_every_state_survives(settings: TrainSettings, monkeypatch: pytest.MonkeyPatch, choice: str) -> None:
    adam = {"_target_": "torch.optim.Adam", "lr": 1e-3}
    changed: dict[str, dict[str, Any]] = {
        "swa": {"ema_decay": 0.0, "swa_start": 0.3},
        "adam without average": {"ema_decay": 0.0, "optimizer": adam},
        "balanced": {"sampling": "balanced"},
        "micro batches": {"micro_batch": 5},
        "patience": {"patience": 2, "monitor": "loss"},
    }
    settings = with_steps(settings, **changed.get(choice, {}))
    if choice == "mixup":
        settings = replace(settings, augmentation=replace(settings.augmentation, mix="both", mix_alpha=1.0))
    whole = train(replace(settings, name="whole"))
    interrupted(monkeypatch, replace(settings, name="parts"), 9)
    assert same(whole, train(replace(settings, resume=str(Path(settings.runs) / "parts"))))


def test_auto_goes_on_with_the_newest_unfinished_run_of_the_same_configuration(
    settings: TrainSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = with_steps(settings)
    interrupted(monkeypatch, replace(settings, folder=str(Path(settings.runs) / "begun")), 3)
    other = replace(settings, seed=1, resume="auto", folder=str(Path(settings.runs) / "other"))
    assert train(other).name == "other"
    assert train(replace(settings, resume="auto", folder=str(Path(settings.runs) / "new"))).name == "begun"
    assert train(replace(settings, resume="auto", folder=str(Path(settings.runs) / "new"))).name == "new"


def test_a_named_run_goes_on_under_auto_and_another_configuration_is_refused(
    settings: TrainSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = with_steps(settings)
    interrupted(monkeypatch, replace(settings, name="mine"), 3)
    with pytest.raises(MedaiError, match=r"holds a run of another configuration \(seed\)"):
        train(replace(settings, name="mine", resume="auto", seed=4))
    assert train(replace(settings, name="mine", resume="auto")).name == "mine"
    with pytest.raises(MedaiError, match="holds a run already; choose another name=…, remove it, or go on with it: resume="):
        train(replace(settings, name="mine"))


def test_a_finished_run_has_nothing_left_to_do(settings: TrainSettings, capfd: pytest.CaptureFixture[str]) -> None:
    run = train(replace(settings, name="one"))
    before = (run / "run.json").read_bytes()
    assert train(replace(settings, resume=str(run))) == run
    assert "is finished already" in capfd.readouterr().err
    assert (run / "run.json").read_bytes() == before


def test_a_resumed_run_stays_one_run_in_mlflow_with_every_step_once(
    settings: TrainSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = replace(with_steps(settings), tracking=TrackingSettings())
    interrupted(monkeypatch, replace(settings, name="parts"), 8)
    state = load_state(tmp_path / "runs" / "parts" / "state")
    assert state is not None and state["step"] == 8
    train(replace(settings, resume=str(tmp_path / "runs" / "parts")))
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path / 'runs' / 'mlflow.db'}")
    (found,) = client.search_runs([client.get_experiment_by_name("medai").experiment_id])
    assert found.info.status == "FINISHED"
    assert [metric.step for metric in client.get_metric_history(found.info.run_id, "loss")] == list(range(1, 19))
    assert [metric.step for metric in client.get_metric_history(found.info.run_id, "validation_auroc")] == [6, 12, 18]


def test_nothing_can_be_changed_beside_resume(tmp_path: Path) -> None:
    from medai.config import settings as composed

    with pytest.raises(MedaiError, match=r"resume=runs/one takes the configuration of that run, so training\.epochs cannot be given"):
        composed("train", ["resume=runs/one", "training.epochs=3"])
    assert composed("train", ["resume=runs/one", "workers=1"]).workers == 1


@pytest.mark.parametrize("what", ["nothing", "elsewhere"])
def test_what_is_no_run_is_one_clear_line(settings: TrainSettings, tmp_path: Path, what: str) -> None:
    with pytest.raises(MedaiError, match=r"holds no run; give the folder of one"):
        train(replace(settings, resume=str(tmp_path / what)))


def test_a_run_that_another_process_trains_is_left_alone(settings: TrainSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = with_steps(settings)
    interrupted(monkeypatch, replace(settings, name="one"), 3)
    run = Path(settings.runs) / "one"
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(run / ".lock")], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        with pytest.raises(MedaiError, match="is being trained by another process"):
            train(replace(settings, resume=str(run)))
    finally:
        holder.kill()
        holder.wait()


def test_the_newest_whole_state_is_taken_and_older_ones_go(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for step in (3, 6, 9):
        save_state(tmp_path, {"step": step, "epoch": 0, "weights": torch.arange(4.0) + step}, keep=2)
    assert [path.name for path in states(tmp_path)] == ["step-00000006", "step-00000009"]
    damaged = bytearray((tmp_path / "step-00000009" / "state.pt").read_bytes())
    damaged[len(damaged) // 2] ^= 1
    (tmp_path / "step-00000009" / "state.pt").write_bytes(damaged)
    state = load_state(tmp_path)
    assert state is not None and state["step"] == 6
    assert "is damaged (its checksum differs); an older state is taken" in capfd.readouterr().err
    (tmp_path / "step-00000006" / "state.pt").write_bytes(b"")
    with pytest.raises(MedaiError, match="every state in .* is damaged; start the training anew"):
        load_state(tmp_path)


def test_a_state_names_no_code(tmp_path: Path) -> None:
    save_state(tmp_path, {"step": 1, "epoch": 0, "x": Stranger}, keep=1)  # type: ignore[dict-item]
    with pytest.raises(Exception, match="weights_only|Weights only"):
        load_state(tmp_path)


def test_a_line_that_was_torn_is_removed_and_no_line_is_written_twice(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    metrics = Metrics(path)
    first = metrics.add({"step": 1, "loss": 0.5})
    with open(path, "a") as stream:
        stream.write('{"step": 2, "lo')
    again = Metrics(path)
    assert again.add({"step": 1, "loss": 0.7}) is None
    assert again.add({"step": 2, "loss": 0.4}) is not None
    assert again.add({"step": 2, "epoch": 1, "train_loss": 0.4}) is not None
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert lines[0] == first and [line["step"] for line in lines] == [1, 2, 2]


def test_a_repeated_run_has_the_same_weights_and_says_so(settings: TrainSettings, capfd: pytest.CaptureFixture[str]) -> None:
    run = train(replace(settings, name="one"))
    again = train(TrainSettings(repeat=str(run), runs=settings.runs, name="again", workers=0))
    assert same(run, again)
    assert json.loads((again / "run.json").read_text())["repeats"]["same_weights"] is True
    assert "bit for bit" in capfd.readouterr().err


def test_a_repeat_that_differs_says_by_how_much_and_why(settings: TrainSettings, capfd: pytest.CaptureFixture[str]) -> None:
    run = train(replace(settings, name="one"))
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps(config | {"seed": 5}))
    again = train(TrainSettings(repeat=str(run), runs=settings.runs, name="again", workers=0))
    verdict = json.loads((again / "run.json").read_text())["repeats"]
    assert verdict["same_weights"] is False and verdict["largest_difference"] > 1e-3
    assert "seed" in verdict["differences"]
    assert "their receipts differ in" in capfd.readouterr().err


def test_a_receipt_has_what_is_needed_to_repeat_a_run(settings: TrainSettings) -> None:
    run = train(replace(settings, name="one"))
    receipt = json.loads((run / "receipt.json").read_text())
    assert {"commit", "changes_sha256", "config_sha256", "cohort", "packages", "hardware", "deterministic", "threads"} <= receipt.keys()
    assert receipt["packages"]["torch"] and receipt["threads"] == torch.get_num_threads()
    assert json.loads((run / "config.json").read_text())["seed"] == asdict(settings)["seed"]
