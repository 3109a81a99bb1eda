"""Composing the configuration, and the lines that its errors end in."""

import dataclasses
import os
import re
import shlex
import sys
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from medai import config
from medai.core.error import MedaiError
from medai.core.target import locate
from medai.manual import documented, opening_comment

ROOT = Path(__file__).resolve().parents[1]
YAMLS = sorted([*(ROOT / "configs").rglob("*.yaml"), *(ROOT / "datasets").glob("*.yaml")])
YAMLS = [path for path in YAMLS if "local" not in path.parts]
DATASETS = sorted(path.stem for path in (ROOT / "datasets").glob("*.yaml"))


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def _run(command: str, *arguments: str) -> list[Any]:
    seen: list[Any] = []
    with patch.object(config, "launch", lambda settings, job, folder: seen.append(job)):  # nothing is started from here
        config.run(command, arguments, seen.append)
    return seen


def _commands(path: Path) -> list[tuple[str, list[str]]]:
    """The commands in a YAML's opening comment: verb and arguments."""
    found = []
    for line in opening_comment(path).splitlines():
        if match := re.match(r"(?:python (\w+)\.py|medai (\w+))( .*)?$", line):
            found.append((match[1] or match[2], shlex.split(re.split(r"\s{2,}", match[3] or "")[0])))
    return found


@pytest.mark.parametrize("path", YAMLS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_yaml_opens_with_a_command_that_composes(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    commands = _commands(path)
    assert commands, f"{path} does not open with the command that uses it"
    for verb, arguments in commands:
        if not set(arguments) & {"--cfg"}:
            assert _run(verb, *arguments)


@pytest.mark.parametrize("group", config.GROUPS)
def test_every_option_of_every_group_composes(group: str) -> None:
    for option in config.group_options()[group]:
        needed = ["dataset.path=x"] if (option in DATASETS and option != "phantom") or group == "experiment" else []
        needed += ["tracking.uri=x"] if option == "server" else []
        needed += ["executor.address=x"] if option == "dask" else []
        assert config.settings("ingest" if group == "executor" else "train", [f"{group}={option}", *needed])


@pytest.mark.parametrize("command", ["train", "ingest", "evaluate"])
@pytest.mark.parametrize("name", DATASETS)
def test_a_data_set_has_every_field_of_its_source_and_a_card(command: str, name: str) -> None:
    extra = ["candidate=x"] if command == "evaluate" else []
    node = config.settings(command, [f"dataset={name}", "dataset.path=x", *extra]).dataset
    expected = {field.name for field in dataclasses.fields(locate(node.pop("_target_"))) if field.name != "unpacked"}
    assert set(node) == expected
    assert "Known faults" in (ROOT / "datasets" / f"{name}.md").read_text() or name in ("folder", "dicom")


def test_every_network_augmentation_and_source_can_be_built() -> None:
    from medai.augmentation.pipeline import Augmentation
    from medai.model.network import build_network
    from medai.source.build import build_source

    options = config.group_options()
    for name in set(options["model"]) - {"auto"}:
        assert build_network(config.settings("train", [f"model={name}"]).model, in_channels=1, out_channels=2, height=32, width=32)
    for name in options["augmentation"]:
        Augmentation(config.settings("train", [f"augmentation={name}"]).augmentation.transforms).build()
    for name in DATASETS:
        assert build_source(config.settings("ingest", [f"dataset={name}", "dataset.path=x"]).dataset)


def test_every_setting_has_its_meaning_in_the_schema() -> None:
    for schema in config.SCHEMAS.values():
        assert [key for key, meaning in documented(schema) if not meaning] == []


def test_defaults_live_in_the_schema_and_variations_in_yaml() -> None:
    chosen = config.settings("train", ["experiment=quick", "seed=3"])
    assert (chosen.seed, chosen.dataset["count"], chosen.training.epochs, chosen.training.schedule) == (3, 300, 2, "one_cycle")
    assert chosen.dataset["path"] == "cohorts/phantom-files/300x96-seed0"


@pytest.mark.parametrize("path", ["X rays (2024)/a=b, c", "肺炎/第 1 批.npz", "it's ${here}", "trailing\\"])
def test_a_strange_path_simply_works(path: str) -> None:
    assert _run("train", "dataset=pneumoniamnist", f"dataset.path={path}")[0].dataset["path"] == path
    assert _run("evaluate", f"candidate={path}")[0].candidate == path


@pytest.mark.parametrize(
    ("command", "arguments", "line"),
    [
        ("train", ["sead=1"], r"^sead is unknown; did you mean seed\?$"),
        ("train", ["epochs=3"], r"^epochs is unknown; did you mean training\.epochs\?$"),
        ("train", ["training.epoch=3"], r"^training\.epoch is unknown; did you mean training\.epochs\?$"),
        ("train", ["dataset.pth=x"], r"^dataset\.pth is unknown; did you mean dataset\.path\?"),
        ("train", ["+new=1"], r"^new is unknown"),
        ("train", ["training.epochs=many"], r"^training\.epochs is 'many'; it must be a whole number$"),
        ("train", ["training.epochs=1.5"], r"^training\.epochs is '1\.5'; it must be a whole number$"),
        ("train", ["training.patience=x"], r"^training\.patience is 'x'; it must be a whole number or null$"),
        ("train", ["export=perhaps"], r"^export is 'perhaps'; it must be true or false$"),
        ("train", ["allow=leak"], r"^allow is 'leak'; it must be a list, e\.g\. \[a,b\]$"),
        ("train", ["training.schedule=steps"], r"^training\.schedule is 'steps'; allowed: constant, cosine, one_cycle, polynomial, step$"),
        ("train", ["training.epochs=0"], r"^training\.epochs is 0; it must lie in \[1, 100000\]$"),
        ("train", ["model=resnet81"], r"^model=resnet81 is unknown; there are: auto, densenet121, .*; did you mean resnet18"),
        ("train", ["model=3"], r"^model=3 is unknown; there are: auto, densenet121"),
        ("train", ["dataset=pneumonia"], r"^dataset=pneumonia is unknown; there are: breastmnist, .*; did you mean pneumoniamnist\?$"),
        ("train", ["experiment=quikc"], r"^experiment=quikc is unknown; .*; did you mean quick\?$"),
        ("train", ["dataset=folder"], r"^dataset\.path has no value; give it as dataset\.path=…$"),
        ("train", ["model=resnet18,resnet50"], r"^model=resnet18,resnet50 names several values; add -m"),
        ("train", ["seed=range(3)"], r"^seed=range\(3\) is a sweep; add -m"),
        ("train", ["fast"], r"^'fast' is not a setting; write key=value"),
        ("train", ["--fast"], r"^unrecognized arguments: --fast"),
        ("train", ["--cfg", "everything"], r"argument -c/--cfg: invalid choice: 'everything'"),
        ("train", ["--experimental-rerun", "x.pickle"], r"^unrecognized arguments: --experimental-rerun"),
        ("train", ["--config-dir", "nowhere"], r"^--config-dir nowhere does not exist"),
        ("train", ["-m", "model=resnet18,resnet81"], r"^model=resnet81 is unknown"),
        ("evaluate", [], r"^name what to evaluate: candidate=.*; got neither$"),
        ("evaluate", ["candidate=a", "predictions=b"], r"got both$"),
        ("evaluate", ["candidate=a", "dataset.path=b"], r"^dataset\.path needs a choice first: dataset=<one of: breastmnist"),
        ("evaluate", ["candidate=a", "model=resnet18"], r"^model is no setting of medai evaluate"),
        ("evaluate", ["candidate=a", "split=tset"], r"^split is 'tset'; allowed: train, validation, test$"),
        ("evaluate", ["candidate=a", "thresholds.x=high"], r"^thresholds\.x is 'high'; it must be a number$"),
        ("export", [], r"^candidate has no value; give it as candidate=…$"),
    ],
)  # fmt: skip
def test_a_fault_ends_in_one_line(command: str, arguments: list[str], line: str) -> None:
    with pytest.raises(MedaiError, match=line) as caught:
        _run(command, *arguments)
    assert "\n" not in str(caught.value)
    assert list(Path.cwd().iterdir()) == []


def test_a_users_own_folder_joins_the_tree(tmp_path: Path) -> None:
    mine = tmp_path / "my tree, 1"
    (mine / "dataset").mkdir(parents=True)
    (mine / "dataset" / "mine.yaml").write_text("_target_: medai.source.npz.NpzSource\nname: mine\npath: x.npz\n")
    assert _run("train", "--config-dir", str(mine), "dataset=mine")[0].dataset["name"] == "mine"
    assert "mine" in config.group_options(str(mine))["dataset"]
    with pytest.raises(MedaiError, match=r"dataset=mind is unknown; there are: .*mine"):
        _run("train", "--config-dir", str(mine), "dataset=mind")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            "# @package _global_\ntraining:\n  epoch: 3\n",
            r"^in experiment/mine\.yaml: training\.epoch is unknown; did you mean training\.epochs\?$",
        ),
        (
            "# @package _global_\ntraining:\n  epochs: many\n",
            r"^in experiment/mine\.yaml: training\.epochs: .*; it must be a whole number$",
        ),
        ("# @package _global_\ntraining: [\n", r"mine\.yaml"),
        ("# @package _global_\nruns: ${nowhere}\n", r"^runs: .*nowhere"),
    ],
)
def test_a_fault_in_a_users_file_names_the_file_or_the_key(tmp_path: Path, text: str, line: str) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text(text)
    with pytest.raises(MedaiError, match=line) as caught:
        _run("train", "--config-dir", str(tmp_path), "experiment=mine")
    assert "\n" not in str(caught.value)


def test_a_sweep_runs_every_combination_in_one_folder() -> None:
    jobs = _run("train", "-m", "model=resnet18,vit", "seed=0,1", "name=a b")
    assert [(job.model["_target_"].rsplit(".")[-1], job.seed) for job in jobs] == [("resnet18", 0), ("resnet18", 1), ("vit", 0), ("vit", 1)]
    assert [job.folder for job in jobs] == [f"runs/a-b/{number}" for number in range(4)]
    assert {job.sweep for job in jobs} == {"runs/a-b"}
    assert list(Path.cwd().iterdir()) == []  # folders are made when a training starts


def test_a_failed_job_does_not_end_the_sweep(capsys: pytest.CaptureFixture[str]) -> None:
    seen = []

    def task(settings: Any) -> None:
        seen.append(settings.seed)
        if settings.seed == 0:
            raise MedaiError("no luck")

    with pytest.raises(MedaiError, match=r"1 job\(s\) of the sweep failed"):
        config.run("train", ["-m", "seed=0,1"], task)
    assert seen == [0, 1]
    assert "medai: job 0 failed: no luck" in capsys.readouterr().err


def test_a_run_is_named_after_time_data_network_and_seed(tmp_path: Path) -> None:
    folder = Path(config.settings("train", ["seed=7"]).folder)
    assert re.fullmatch(r"runs/\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d_phantom_residual_small_s7", folder.as_posix())
    assert config.settings("train", ["name=baseline"]).folder == os.path.join("runs", "baseline")


def test_the_command_line_and_the_surroundings_are_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    before = list(sys.argv)
    _run("train")
    with pytest.raises(MedaiError):
        _run("train", "sead=1")
    assert (sys.argv, os.environ.get("HYDRA_FULL_ERROR")) == (before, None)


def test_an_error_of_the_task_reaches_the_caller_as_it_was() -> None:
    def task(settings: Any) -> None:
        raise ZeroDivisionError("ours")

    with pytest.raises(ZeroDivisionError, match="ours"):
        config.run("train", [], task)


def test_hydras_own_flags_show_what_was_composed(capsys: pytest.CaptureFixture[str]) -> None:
    assert _run("train", "--cfg", "job", "-p", "training", "training.epochs=5") == []
    assert "epochs: 5" in capsys.readouterr().out
    assert _run("train", "--info", "defaults") == []
    assert "train_settings" in capsys.readouterr().out
    with pytest.raises(MedaiError, match="give one of them"):
        _run("train", "-m", "--cfg", "job")


@pytest.mark.parametrize(("given", "place", "value"), [("[abc]", 0, "abc"), ("[0.1,a b]", 1, "a b")])
def test_a_wrong_value_in_a_list_is_named_by_its_place(given: str, place: int, value: str) -> None:
    with pytest.raises(MedaiError) as told:
        config.settings("evaluate", ["candidate=x", f"prevalences={given}"])
    assert str(told.value) == f"prevalences[{place}] is {value!r}; it must be a number"


def test_help_shows_groups_and_settings_with_the_values_that_hold(capsys: pytest.CaptureFixture[str]) -> None:
    assert _run("train", "--help", "training.epochs=77") == []
    text = capsys.readouterr().out
    assert "residual_small, resnet18" in text
    assert re.search(r"training\.epochs=77 +Passes over the training split\.", text)
