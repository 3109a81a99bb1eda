"""The search, with a training that is only a formula."""

import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from medai.core.error import MedaiError
from medai.core.file import read_json
from medai.sweep.settings import SweepSettings
from medai.sweep.space import Dimension, SweepPlan
from medai.sweep.sweep import run_sweep
from medai.training.settings import TrainSettings

LR = Dimension("lr", low=1e-4, high=1e-1, log=True)
SPACE = (LR, Dimension("depth", low=1, high=5, whole=True), Dimension("net", options=("small", "wide")))


class Pruned(Exception):
    """Stands for the training's."""


class Ended(MedaiError):
    exit_code = 143


def _plan(folder: Path, trials: int = 6, **changes: Any) -> SweepPlan:
    def compose(values: Mapping[str, str]) -> TrainSettings:
        return TrainSettings(dataset=dict(values), name="search")

    settings = SweepSettings(trials=trials, **{"startup": 4, **changes.pop("settings", {})})
    return SweepPlan(settings, changes.pop("space", SPACE), ("seed=1",), folder, changes.pop("monitor", "auroc"), compose)


class Formula:
    """A training whose figures follow from its values; remembers the settings that it was called with."""

    def __init__(self, epochs: int = 3, broken: int = 0) -> None:
        self.calls: list[TrainSettings] = []
        self.epochs, self.broken, self.validations = epochs, broken, 0

    def __call__(self, settings: TrainSettings, watch: Any = None) -> Path:
        self.calls.append(settings)
        if len(self.calls) <= self.broken:
            raise MedaiError("training.optimizer.lr is too large\nfor this")
        best = quality(settings.dataset)
        for epoch in range(1, self.epochs + 1):
            self.validations += 1
            watch(epoch * 10, {"validation_auroc": best - 0.2 / epoch, "validation_loss": 1 - best + 0.2 / epoch})
        return Path(settings.folder or "")


def quality(values: Mapping[str, str]) -> float:
    wide = 0.02 if values["net"] == "wide" else 0.0
    return 0.9 - 0.05 * (math.log10(float(values["lr"])) + 3) ** 2 + wide - 0.01 * abs(int(values["depth"]) - 3)


def test_every_trial_is_a_training_in_its_own_folder_of_the_sweep(tmp_path: Path) -> None:
    train = Formula()
    folder = run_sweep(_plan(tmp_path / "search"), train, Pruned)
    assert [call.folder for call in train.calls] == [str(folder / str(number)) for number in range(6)]
    assert {(call.sweep, call.resume) for call in train.calls} == {(str(folder), "auto")}


def test_the_best_trial_is_the_one_with_the_best_validation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train = Formula()
    result = read_json(run_sweep(_plan(tmp_path / "search", 12, settings={"pruner": "none"}), train, Pruned) / "sweep.json")
    expected = max(quality(call.dataset) - 0.2 / 3 for call in train.calls)
    assert result["best"]["value"] == pytest.approx(expected)
    assert result["trials"][result["best"]["trial"]]["values"] == result["best"]["values"]
    assert sum(result["importances"].values()) == pytest.approx(1)
    printed = capsys.readouterr().out.splitlines()
    assert printed[1] == "12 trials: 12 complete"
    assert printed[3].split()[:2] == [str(result["best"]["trial"]), f"{expected:.4f}"]


def test_a_loss_is_searched_downwards(tmp_path: Path) -> None:
    train = Formula()
    result = read_json(run_sweep(_plan(tmp_path / "search", monitor="loss"), train, Pruned) / "sweep.json")
    assert result["direction"] == "minimize"
    assert result["best"]["value"] == min(trial["value"] for trial in result["trials"] if trial["value"] is not None)


def test_the_values_lie_in_the_space_and_are_trained_with_as_they_are_recorded(tmp_path: Path) -> None:
    train = Formula()
    result = read_json(run_sweep(_plan(tmp_path / "search"), train, Pruned) / "sweep.json")
    assert [trial["values"] for trial in result["trials"]] == [call.dataset for call in train.calls]
    for call in train.calls:
        assert 1e-4 <= float(call.dataset["lr"]) <= 1e-1
        assert call.dataset["depth"] in {"1", "2", "3", "4", "5"} and call.dataset["net"] in {"small", "wide"}


def test_the_same_command_goes_on_and_draws_what_an_uninterrupted_sweep_draws(tmp_path: Path) -> None:
    whole, parts = Formula(), Formula()
    run_sweep(_plan(tmp_path / "whole", 7), whole, Pruned)
    for trials in (3, 6, 7, 7):
        run_sweep(_plan(tmp_path / "parts", trials), parts, Pruned)
    assert [call.dataset for call in parts.calls] == [call.dataset for call in whole.calls]


def test_a_hopeless_trial_is_ended_early(tmp_path: Path) -> None:
    train = Formula(epochs=6)
    result = read_json(run_sweep(_plan(tmp_path / "search", 14), train, Pruned) / "sweep.json")
    states = [trial["state"] for trial in result["trials"]]
    assert states.count("pruned") >= 1 and set(states) == {"complete", "pruned"}
    assert train.validations < 14 * 6
    assert all(2 < len(trial["curve"]) < 6 and trial["value"] is None for trial in result["trials"] if trial["state"] == "pruned")


def test_a_failing_trial_is_recorded_and_the_sweep_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = read_json(run_sweep(_plan(tmp_path / "search"), Formula(broken=2), Pruned) / "sweep.json")
    assert [trial["state"] for trial in result["trials"]].count("failed") == 2
    assert result["trials"][0]["reason"] == "training.optimizer.lr is too large for this"
    assert len(result["trials"]) == 6
    assert "trial 0 (1 of 6): failed: training.optimizer.lr is too large for this" in capsys.readouterr().err


def test_three_failures_at_the_start_end_the_sweep_with_the_reason(tmp_path: Path) -> None:
    train = Formula(broken=99)
    with pytest.raises(MedaiError, match=r"the first 3 trials failed, so the sweep ends; the last: training\.optimizer\.lr is too large"):
        run_sweep(_plan(tmp_path / "search"), train, Pruned)
    assert len(train.calls) == 3


def test_a_figure_that_is_never_finite_is_a_failure(tmp_path: Path) -> None:
    def train(settings: TrainSettings, watch: Any = None) -> Path:
        watch(1, {"validation_auroc": float("nan")})
        return Path()

    with pytest.raises(MedaiError, match="no validation gave a finite auroc"):
        run_sweep(_plan(tmp_path / "search"), train, Pruned)


def test_a_trial_that_was_asked_to_end_goes_on_with_the_same_values(tmp_path: Path) -> None:
    formula = Formula()

    def preempted(settings: TrainSettings, watch: Any = None) -> Path:
        if len(formula.calls) == 2:
            formula.calls.append(settings)
            watch(10, {"validation_auroc": 0.7})
            raise Ended("the training was asked to end")
        return formula(settings, watch)

    with pytest.raises(Ended):
        run_sweep(_plan(tmp_path / "search", 4), preempted, Pruned)
    result = read_json(run_sweep(_plan(tmp_path / "search", 4), formula, Pruned) / "sweep.json")
    assert formula.calls[3] == formula.calls[2]
    assert len(formula.calls) == 5 and [trial["number"] for trial in result["trials"]] == [0, 1, 2, 3]
    assert [step for step, _ in result["trials"][2]["curve"]] == [10, 20, 30]  # the step before the end is not counted twice


CHILD = """
import os, sys, time
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_sweep import Formula, Pruned, _plan
from medai.sweep.sweep import run_sweep

class Slow(Formula):
    def __call__(self, settings, watch=None):
        with open({log!r}, "a") as log:
            log.write(settings.folder + "\\n")
        time.sleep({seconds})
        return super().__call__(settings, watch)

run_sweep(_plan(Path({folder!r}), {trials}), Slow(), Pruned)
"""


def _child(folder: Path, log: Path, trials: int, seconds: float) -> "subprocess.Popen[bytes]":
    code = CHILD.format(tests=str(Path(__file__).parent), log=str(log), folder=str(folder), trials=trials, seconds=seconds)
    with open(log.with_name("faults"), "ab") as faults:
        return subprocess.Popen([sys.executable, "-c", code], stderr=faults, stdout=subprocess.DEVNULL)


def _wait_for_lines(log: Path, count: int) -> None:
    end = time.monotonic() + 60
    while not log.exists() or len(log.read_text().splitlines()) < count:
        assert time.monotonic() < end, "the child does not start its trials"
        time.sleep(0.05)


def test_a_trial_whose_process_was_killed_is_neither_lost_nor_counted_twice(tmp_path: Path) -> None:
    child = _child(tmp_path / "search", tmp_path / "log", 5, 0.5)
    _wait_for_lines(tmp_path / "log", 3)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    train = Formula()
    result = read_json(run_sweep(_plan(tmp_path / "search", 5), train, Pruned) / "sweep.json")
    assert train.calls[0].folder == str(tmp_path / "search" / "2")
    assert [call.folder for call in train.calls] == [str(tmp_path / "search" / str(number)) for number in (2, 3, 4)]
    assert len(result["trials"]) == 5 and {trial["state"] for trial in result["trials"]} <= {"complete", "pruned"}


def test_two_processes_share_a_sweep_and_no_trial_is_run_twice(tmp_path: Path) -> None:
    children = [_child(tmp_path / "search", tmp_path / "log", 6, 0.3) for _ in range(2)]
    assert [child.wait(90) for child in children] == [0, 0], (tmp_path / "faults").read_text()[-2000:]
    assert sorted((tmp_path / "log").read_text().split()) == [str(tmp_path / "search" / str(number)) for number in range(6)]


def test_a_folder_with_another_sweep_is_refused(tmp_path: Path) -> None:
    run_sweep(_plan(tmp_path / "search", 1), Formula(), Pruned)
    with pytest.raises(MedaiError, match=r"search holds a sweep that searches another space; choose another name=…"):
        run_sweep(_plan(tmp_path / "search", 2, space=(*SPACE, Dimension("more", options=("a", "b")))), Formula(), Pruned)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "study.db").write_text("not a database" * 100)
    with pytest.raises(MedaiError, match=r"study\.db cannot be used"):
        run_sweep(_plan(tmp_path / "broken", 2), Formula(), Pruned)


@pytest.mark.parametrize("pruner", ["median", "hyperband", "none"])
@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_every_sampler_and_pruner_works(tmp_path: Path, sampler: str, pruner: str) -> None:
    plan = _plan(tmp_path / "search", 5, settings={"sampler": sampler, "pruner": pruner})
    assert len(read_json(run_sweep(plan, Formula(), Pruned) / "sweep.json")["trials"]) == 5


@pytest.mark.parametrize(
    ("dimension", "line"),
    [
        ({"low": 1.0, "high": 1.0}, "x is searched from 1 to 1; the first must be smaller"),
        ({"low": 0.0, "high": 1.0, "log": True}, "it must begin above 0"),
    ],
)
def test_a_dimension_without_sense_is_refused(dimension: dict[str, Any], line: str) -> None:
    with pytest.raises(MedaiError, match=line):
        Dimension("x", **dimension)


def test_settings_say_what_is_allowed() -> None:
    with pytest.raises(MedaiError, match=r"sweep\.pruner is 'mean'; allowed: median, hyperband, none"):
        SweepSettings(pruner="mean")
    with pytest.raises(MedaiError, match=r"sweep\.trials is 0; it must lie in \[1, 1000000\]"):
        SweepSettings(trials=0)
