"""What goes wrong around a training is told in a line, and where it can the training goes on."""

import errno
import multiprocessing
import os
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from medai.core.error import MedaiError
from medai.tracking.outbox import Outbox
from medai.training import recorder as recorder_module
from medai.training.recorder import Recorder
from medai.training.settings import TrainSettings
from medai.training.train import train
from tests.training.runs import records, same, weights


def with_steps(settings: TrainSettings, **changed: Any) -> TrainSettings:
    return replace(settings, training=replace(settings.training, log_steps=1, **changed))


def test_a_loss_that_is_no_number_names_the_cases_of_its_batch(settings: TrainSettings) -> None:
    settings = replace(with_steps(settings), loss={"_target_": "tests.training.parts.SometimesNan", "calls": [3]})
    with pytest.raises(MedaiError, match=r"the loss became nan at step 3 \(epoch 1\); the batch held the cases train.*and 8 more; lower"):
        train(replace(settings, name="nan"))
    assert [line["step"] for line in records(Path(settings.runs) / "nan")] == [1, 2]


def test_a_step_that_is_not_finite_can_be_left_out(settings: TrainSettings, capfd: pytest.CaptureFixture[str]) -> None:
    settings = replace(with_steps(settings, on_nonfinite="skip"), loss={"_target_": "tests.training.parts.SometimesNan", "calls": [3, 7]})
    run = train(replace(settings, name="skipped"))
    told = capfd.readouterr().err
    assert "step 3 is left out: its gradient is not finite" in told and "step 7 is left out" in told
    assert all(torch.isfinite(value).all() for value in weights(run).values())
    assert len([line for line in records(run) if "loss" in line]) == 18


def test_ten_steps_in_a_row_without_a_finite_gradient_end_the_training(settings: TrainSettings) -> None:
    loss = {"_target_": "tests.training.parts.SometimesNan", "calls": list(range(2, 40))}
    with pytest.raises(MedaiError, match="10 steps in a row had no finite gradient"):
        train(replace(with_steps(settings, on_nonfinite="skip"), loss=loss, name="lost"))


def test_a_killed_worker_is_replaced_and_the_weights_are_the_same(
    settings: TrainSettings, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    settings = replace(with_steps(settings), augmentation=replace(settings.augmentation, engine="monai"))
    whole = train(replace(settings, name="whole"))
    logged = Recorder.logged

    def kill(self: Recorder, step: int, metrics: dict[str, float]) -> None:
        logged(self, step, metrics)
        if step == 7:
            for worker in multiprocessing.active_children():
                os.kill(worker.pid or 0, signal.SIGKILL)

    monkeypatch.setattr(Recorder, "logged", kill)
    run = train(replace(settings, name="killed", workers=1))
    assert "a worker process ended" in capfd.readouterr().err
    assert same(whole, run)


def test_a_full_disk_is_told_and_the_training_goes_on(
    settings: TrainSettings, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    save, calls = recorder_module.save_state, []

    def full(*arguments: Any) -> None:
        calls.append(1)
        if len(calls) == 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        save(*arguments)

    monkeypatch.setattr(recorder_module, "save_state", full)
    run = train(replace(settings, name="full"))
    assert "the state of" in (told := capfd.readouterr().err) and "No space left on device" in told and "make room" in told
    assert len(list((run / "state").glob("step-*"))) == 2


def test_a_best_checkpoint_that_could_not_be_written_is_written_later(
    settings: TrainSettings, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from medai.training.checkpoint import Checkpoint

    whole = train(replace(settings, name="whole"))
    save, calls = Checkpoint.save, []

    def full(self: Checkpoint, path: Path) -> None:
        calls.append(1)
        if len(calls) == 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        save(self, path)

    monkeypatch.setattr(Checkpoint, "save", full)
    run = train(replace(settings, name="full"))
    assert "the checkpoint of" in capfd.readouterr().err
    assert same(whole, run)


def test_records_wait_for_a_server_that_is_gone_and_arrive_in_order(capfd: pytest.CaptureFixture[str]) -> None:
    taken: list[int] = []
    back = time.monotonic() + 2.5

    def send(batch: list[int]) -> None:
        if time.monotonic() < back:
            raise ConnectionError("no route to the server")
        taken.extend(batch)

    outbox = Outbox("run", send)
    begun = time.monotonic()
    for number in range(1000):
        outbox.metrics([number])
    outbox.call(lambda: taken.append(-1))
    assert time.monotonic() - begun < 1  # nothing was blocked
    assert outbox.flush(patience_seconds=30) == 0
    assert taken == [*range(1000), -1]
    told = capfd.readouterr().err
    assert told.count("they wait, and the training goes on") == 1 and told.count("MLflow answers again") == 1


def test_a_server_that_stays_away_holds_up_the_end_no_longer_than_its_patience() -> None:
    def send(_: list[int]) -> None:
        raise ConnectionError("no route to the server")

    outbox = Outbox("run", send)
    outbox.metrics([1, 2, 3])
    begun = time.monotonic()
    assert outbox.flush(patience_seconds=0.5) == 3
    assert time.monotonic() - begun < 10
