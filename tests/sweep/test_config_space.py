"""The sweep's command line: Hydra's grammar to a search space, checked before anything runs."""

from pathlib import Path

import pytest

from medai.config import run
from medai.core.error import MedaiError
from medai.sweep.space import Dimension, SweepPlan


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def _plan(*arguments: str) -> SweepPlan:
    seen: list[SweepPlan] = []
    run("sweep", arguments, seen.append)
    return seen[0]


def test_hydras_grammar_becomes_dimensions() -> None:
    plan = _plan(
        "training.optimizer.lr=tag(log, interval(1e-4,1e-2))", "training.epochs=int(interval(3,9))", "training.warmup=interval(0,0.5)",
        "model=choice(resnet18,densenet121)", "seed=1,2,3", "training.batch_size=range(16,65,16)", "sweep.trials=7", "workers=0",
    )  # fmt: skip
    assert plan.space == (
        Dimension("training.optimizer.lr", low=1e-4, high=1e-2, log=True),
        Dimension("training.epochs", low=3, high=9, whole=True),
        Dimension("training.warmup", low=0, high=0.5),
        Dimension("model", options=("resnet18", "densenet121")),
        Dimension("seed", options=("1", "2", "3")),
        Dimension("training.batch_size", low=16, high=64, step=16, whole=True),
    )
    assert plan.fixed == ("workers=0",) and plan.settings.trials == 7 and plan.monitor == "auroc"


def test_a_trials_settings_are_those_of_the_training_with_its_values() -> None:
    plan = _plan("training.optimizer.lr=interval(0.1,0.2)", "model=choice(resnet18,vit)", "training.epochs=3", "name=search")
    chosen = plan.compose({"training.optimizer.lr": "0.15", "model": "vit"})
    assert chosen.training.optimizer["lr"] == 0.15 and chosen.training.epochs == 3 and chosen.model["_target_"].endswith("vit")
    assert plan.folder == Path("runs/search")


def test_the_same_command_has_the_same_folder_and_another_space_another() -> None:
    first, again = _plan("seed=1,2", "sweep.trials=3"), _plan("seed=1,2", "sweep.trials=9")
    assert first.folder == again.folder != _plan("seed=1,2,3").folder
    assert first.folder.name.startswith("phantom_sweep_")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["seed=1"], r"^nothing varies; name what to search, e\.g\. 'training\.optimizer\.lr=tag"),
        (["seed=1,2", "training.monitor=last"], r"^a sweep needs one figure to search by"),
        (["training.epochs=interval(5,20)"], r"^training\.epochs is '12\.5'; it must be a whole number; write training\.epochs=int\("),
        (["model=choice(resnet18,resnet81)"], r"^model=resnet81 is unknown; there are: .*did you mean resnet18"),
        (["training.warmup=interval(0.5,1.5)"], r"^training\.warmup is 1\.5; it must lie in \[0, 1\]"),
        (["seed=1,2", "sweep.trails=3"], r"^sweep\.trails is unknown; did you mean sweep\.trials\?$"),
        (["seed=1,2", "folder=x"], r"^folder is chosen by the sweep for each trial"),
        (["seed=1,2", "seed=3"], r"^seed is given twice; leave one out$"),
        (["seed=3", "seed=1,2"], r"^seed is given twice; leave one out$"),
        (["model=glob(*)"], r"^model varies in a way that cannot be searched; write choice"),
        (["seed=1,2", "-m"], r"^medai sweep takes key=value"),
        (["training.optimizer.lr=tag(log,interval(0,1))"], r"it must begin above 0$"),
    ],
)  # fmt: skip
def test_a_fault_ends_in_one_line_before_anything_runs(arguments: list[str], line: str, tmp_path: Path) -> None:
    with pytest.raises(MedaiError, match=line) as caught:
        _plan(*arguments)
    assert "\n" not in str(caught.value) and list(Path.cwd().iterdir()) == []
