"""Trainings by plan, from the command line to the run: what is given by hand wins, and a plan's file gives the same run."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from medai import config
from medai.cli import main
from medai.cohort.cohort import Cohort
from medai.core.error import MedaiError
from medai.planning.auto import apply, given, plan_for, planned
from medai.planning.option import AUTO
from medai.planning.write import read_plan, write_plan
from medai.training.settings import TrainSettings
from tests.planning.conftest import calculated, npz


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WORLD_SIZE", raising=False)


@pytest.fixture
def arguments(tmp_path: Path) -> list[str]:
    """The command line of a small training by plan."""
    source = npz(tmp_path, "grey")
    (tmp_path / "dataset").mkdir()
    text = {"_target_": "medai.source.npz.NpzSource", "name": "grey"} | source
    (tmp_path / "dataset" / "grey.yaml").write_text(json.dumps(text))
    few = ["training.epochs=2", "training.batch_size=32", "+model.channels=8", "+model.blocks=1", "training.accelerator=cpu"]
    return ["--config-dir", str(tmp_path), "model=auto", "dataset=grey", "tracking=none", "workers=0", "model.range_test=false", *few]


def settings(*arguments: str) -> TrainSettings:
    found: TrainSettings = config.settings("train", ["model=auto", *arguments])
    return found


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "checkpoint" / "model.safetensors")


def same(one: Path, other: Path) -> bool:
    mine, theirs = weights(one), weights(other)
    return mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in mine)


def test_a_training_by_plan_and_one_by_its_file_are_the_same(arguments: list[str]) -> None:
    assert main(["train", *arguments, "name=first"]) == 0
    first = Path("runs/first")
    recorded = json.loads((first / "config.json").read_text())
    assert recorded["model"] == {"_target_": "medai.model.network.residual_small", "channels": 8, "blocks": 1}
    assert (recorded["training"]["epochs"], recorded["preprocessing"]["height"]) == (2, 28)
    plan = read_plan(first)
    assert plan["training.epochs"] == 2  # what was given is part of the plan, so that its file is enough
    bare = [argument for argument in arguments if not argument.startswith(("training.", "+model", "model.range"))]
    assert main(["train", *bare, "model.plan=runs/first/plan.yaml", "name=second"]) == 0
    assert same(first, Path("runs/second"))
    assert read_plan(Path("runs/second")) == plan


def test_an_edited_plan_is_followed_and_the_command_line_wins_over_it(arguments: list[str], cohort: Callable[[str], Cohort]) -> None:
    plan = plan_for(cohort("grey"), settings("model.range_test=false"), calculated)
    path = write_plan(plan, Path("plans"))
    path.write_text(path.read_text().replace(f"epochs: {plan.values['training.epochs']}", "epochs: 3"))
    filled = planned(settings(f"model.plan={path}", "training.batch_size=5", "name=x"))
    assert (filled.training.epochs, filled.training.batch_size, filled.preprocessing.height) == (3, 5, 28)
    assert filled.model == {"_target_": "medai.model.network.residual_small", "channels": 16, "blocks": 3}
    assert Path("runs/x/plan.yaml").read_bytes() == path.read_bytes()


def test_what_counts_as_given_by_hand(tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text(
        "# @package _global_\ndefaults:\n  - override /augmentation: none\n  - _self_\ntraining:\n  epochs: 9\nseed: 3\n"
    )
    assert given(settings()) == {}
    assert given(settings("training.epochs=3", "seed=1", "workers=0")) == {"training.epochs": 3}
    assert given(settings("training=standard"))["training.optimizer.lr"] == 2e-3  # chosen by name, though it is the default
    found = given(settings("--config-dir", str(tmp_path), "experiment=mine", "training.threshold=0.3", "+model.channels=8"))
    assert found == {"augmentation.transforms": [], "training.epochs": 9, "training.threshold": "0.3", "model.channels": 8}


def test_given_settings_win_over_the_plan_key_by_key(cohort: Callable[[str], Cohort]) -> None:
    by_hand = settings("training=sgd", "augmentation=none", "preprocessing.intensity.method=minmax", "model.range_test=false")
    plan = plan_for(cohort("grey"), by_hand, calculated)
    filled = apply(by_hand, plan.values, "the plan")
    optimizer = {"_target_": "torch.optim.SGD", "lr": 0.05, "momentum": 0.9, "nesterov": True, "weight_decay": 5e-4}
    assert (filled.training.optimizer, filled.training.epochs, filled.training.schedule) == (optimizer, 60, "cosine")
    assert filled.augmentation.transforms == []
    assert filled.training.flip_average is False
    assert filled.preprocessing.intensity.method == "minmax"
    assert filled.training.class_weights == plan.values["training.class_weights"] == "balanced"  # the rest is the plan's


def test_every_job_of_a_multirun_keeps_its_own_settings() -> None:
    jobs: list[Any] = []
    config.run("train", ["-m", "model=auto", "training.epochs=3,4", "seed=0,1"], jobs.append)
    assert [given(job) for job in jobs] == [{"training.epochs": 3}, {"training.epochs": 3}, {"training.epochs": 4}, {"training.epochs": 4}]


def test_a_plan_works_as_an_experiment_too(tmp_path: Path, cohort: Callable[[str], Cohort]) -> None:
    path = write_plan(plan_for(cohort("colour"), settings("model.range_test=false"), calculated), Path("plans"))
    (tmp_path / "experiment").mkdir()
    shutil.copy(path, tmp_path / "experiment" / "mine.yaml")
    one = planned(settings(f"model.plan={path}", "name=x"))
    other = config.settings("train", ["--config-dir", str(tmp_path), "experiment=mine", "name=x"])
    for group in ("preprocessing", "augmentation", "pretrained", "loss", "training"):
        assert getattr(one, group) == getattr(other, group)
    assert one.model.items() <= other.model.items()  # the option's own defaults stand beside it


def test_a_run_that_goes_on_keeps_its_plan(arguments: list[str], cohort: Callable[[str], Cohort]) -> None:
    plan = plan_for(cohort("grey"), settings("model.range_test=false", "training.epochs=77"), calculated)
    write_plan(plan, Path("runs/x"))
    filled = planned(config.settings("train", [*arguments[:-5], "name=x", "resume=auto"]))
    assert filled.training.epochs == 77


def test_a_folder_that_holds_a_run_is_refused_before_the_plan_is_made() -> None:
    Path("runs/x").mkdir(parents=True)
    Path("runs/x/config.json").write_text("{}")
    with pytest.raises(MedaiError, match="runs/x holds a run already"):
        planned(settings("name=x"))


def test_several_processes_are_told_to_make_the_plan_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(MedaiError, match=r"make one first: medai plan COHORT --output FOLDER, then give it with model\.plan=FOLDER"):
        planned(settings("name=x"))


def test_other_settings_are_left_as_they_are() -> None:
    plain = TrainSettings(model={"_target_": "medai.model.network.resnet18"})
    assert planned(plain) is plain
    resumed = TrainSettings(model={"_target_": AUTO}, resume="runs/x")
    assert planned(resumed) is resumed


def test_a_wrong_budget_is_told(cohort: Callable[[str], Cohort]) -> None:
    with pytest.raises(MedaiError, match=r"model\.budget_minutes is 'long'; it must be a number above 0"):
        plan_for(cohort("grey"), settings("model.budget_minutes=long"), calculated)


def test_medai_plan_prints_the_reasons_and_writes_where_asked(
    cohort: Callable[[str], Cohort], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = str(cohort("grey").path)
    assert main(["plan", path, "model.range_test=false", "training.epochs=5"]) == 0
    text = capsys.readouterr().out
    assert "160 training cases give" in text
    assert "given by hand" in text
    assert not list(tmp_path.iterdir())
    assert main(["plan", path, "model.range_test=false", "--output", "plans/a b"]) == 0
    assert "medai train model=auto 'model.plan=plans/a b/plan.yaml'" in capsys.readouterr().out
    assert read_plan(Path("plans/a b"))["preprocessing.height"] == 28
    assert main(["plan", str(tmp_path / "nowhere")]) == 2
    assert "does not exist" in capsys.readouterr().err


def test_the_learning_rate_comes_from_a_range_test_on_the_cohort(cohort: Callable[[str], Cohort]) -> None:
    asked = replace(settings("+model.channels=8", "+model.blocks=1", "training.batch_size=8", "augmentation=none"), dataset={}, workers=0)
    one, other = (plan_for(cohort("grey"), asked, calculated) for _ in range(2))
    assert one == other
    assert one.range_test is not None
    rate, why = next((choice.value, choice.why) for choice in one.choices if choice.key == "training.optimizer.lr")
    assert rate == pytest.approx(min(max(one.range_test.slowing, 1e-4), 1e-2), rel=0.05)
    assert "the loss falls fastest at" in why
    assert ("held within" in why) == (not 1e-4 <= one.range_test.slowing <= 1e-2)


def test_range_test_prints_the_rates(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    fixed = [argument.replace("model=auto", "model=residual_small") for argument in arguments if not argument.startswith("model.")]
    fixed = [argument.lstrip("+") for argument in fixed]
    assert main(["range-test", *fixed, "name=rates"]) == 0
    text = capsys.readouterr().out
    assert "the loss falls fastest  at a learning rate of" in text
    assert Path("runs/rates/range_test.svg").exists()
    assert main(["range-test", "--help"]) == 0
