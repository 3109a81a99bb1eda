"""Trainings as jobs: in the background of this machine, and of a real Slurm."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from medai.config import run
from medai.core.error import MedaiError
from medai.core.file import read_json
from medai.training.settings import TrainSettings

SMALL = ["dataset.count=120", "dataset.size=48", "preprocessing.height=32", "preprocessing.width=32", "training.batch_size=16", "workers=0",
         "model.channels=8", "model.blocks=1", "training.accelerator=cpu"]  # fmt: skip
TRAINING = [sys.executable, "-m", "medai.cli", "train", *SMALL]
needs_slurm = pytest.mark.skipif(not shutil.which("slurmctld") or not shutil.which("munged"), reason="needs slurm-wlm and munge")


def _wait(condition: Callable[[], bool], what: str, seconds: float = 420) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.3)


def _status(folder: Path) -> str:
    return str(read_json(folder / "run.json").get("status")) if (folder / "run.json").exists() else "absent"


def _log(folder: Path) -> str:
    return "".join(path.read_text() for path in sorted((folder / "job").glob("*log.out")))


def _steps(folder: Path) -> list[int]:
    """The steps after which the training was validated, as they were recorded."""
    path = folder / "metrics.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return [int(json.loads(line)["step"]) for line in lines if '"epoch"' in line]


@pytest.fixture
def jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Commands that were handed to the launcher instead of being run."""
    seen: list[list[str]] = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("medai.config.launch", lambda settings, arguments, folder: seen.append([settings.cluster, str(folder), *arguments]))
    return seen


def _no_task(chosen: TrainSettings) -> None:
    raise AssertionError("the launcher runs it, not we")


def test_a_training_becomes_a_command_that_goes_on_in_its_own_folder(jobs: list[list[str]]) -> None:
    run("train", ["launcher=slurm", "seed=1", "dataset.path=X rays (2024)", "name=first", "launcher.devices=4"], _no_task)
    assert jobs == [
        ["slurm", "runs/first/job", "train", "seed=1", "dataset.path='X rays (2024)'", "name='first'", "folder='runs/first'", "resume=auto"]
    ]


def test_a_multirun_becomes_a_job_for_each(jobs: list[list[str]]) -> None:
    run("train", ["-m", "launcher=slurm", "seed=0,1", "name=both"], _no_task)
    assert [job[1:4] for job in jobs] == [[f"runs/both/{seed}/job", "train", f"seed={seed}"] for seed in (0, 1)]
    assert all({"sweep='runs/both'", "resume=auto"} <= set(job) for job in jobs)


def test_a_sweep_becomes_as_many_jobs_as_are_wanted_on_the_same_sweep(jobs: list[list[str]]) -> None:
    run("sweep", ["launcher=slurm", "launcher.jobs=3", "seed=choice(1,2)", "name=search"], _no_task)
    assert jobs == [["slurm", "runs/search/job", "sweep", "seed=choice(1,2)", "name=search"]] * 3
    with pytest.raises(MedaiError, match=r"a sweep's trial runs on one device"):
        run("sweep", ["launcher=slurm", "launcher.devices=2", "seed=choice(1,2)"], _no_task)


def test_the_launcher_is_no_part_of_the_configuration(jobs: list[list[str]]) -> None:
    seen: list[TrainSettings] = []
    run("train", ["seed=1", "name=a"], seen.append)
    assert not hasattr(seen[0], "launcher") and not jobs
    with pytest.raises(MedaiError, match=r"^launcher is no setting of medai evaluate; train and sweep have it$"):
        run("evaluate", ["candidate=a", "launcher=slurm"], _no_task)
    with pytest.raises(MedaiError, match=r"^launcher\.device is unknown; did you mean launcher\.devices\?$"):
        run("train", ["launcher.device=2"], _no_task)


@pytest.mark.proof
@pytest.mark.timeout(900)
def test_a_training_in_the_background_of_this_machine(tmp_path: Path) -> None:
    command = [*TRAINING, "training.epochs=2", "name=first", "launcher=submitit_local"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "(local): medai train" in done.stderr, done.stderr
    _wait(lambda: _status(tmp_path / "runs" / "first") == "finished", "the job does not finish")


@pytest.mark.proof
@pytest.mark.timeout(900)
def test_two_processes_here(tmp_path: Path) -> None:
    command = [*TRAINING, "training.epochs=2", "name=first", "launcher=local", "launcher.devices=2"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert _status(tmp_path / "runs" / "first") == "finished"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A Slurm of one node, as long as the tests of this file run."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "launcher"))
    from slurm import slurm

    with slurm(tmp_path_factory.mktemp("slurm")) as environment:
        yield environment


def _submit(folder: Path, cluster: dict[str, str], *arguments: str) -> str:
    command = [*TRAINING, "name=first", "launcher=slurm", "launcher.gpus=0", *arguments]
    done = subprocess.run(command, cwd=folder, env=cluster, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stderr.split("Job ")[1].split()[0]


def _go_on(number: str, cluster: dict[str, str], folder: Path) -> None:
    """Slurm lets a job wait for two minutes before it starts it again: not here."""
    _wait(lambda: "Restarts=1" in _show(number, cluster) and "JobState=PENDING" in _show(number, cluster), _log(folder))
    time.sleep(6)  # the job's credential is good again only after that of its first start has run out
    subprocess.run(["scontrol", "update", f"jobid={number}", "StartTime=now"], env=cluster, check=True)


def _show(number: str, cluster: dict[str, str]) -> str:
    return subprocess.run(["scontrol", "show", "job", number], env=cluster, capture_output=True, text=True, check=True).stdout


@pytest.mark.proof
@pytest.mark.timeout(1500)
@needs_slurm
@pytest.mark.parametrize(
    ("order", "devices"), [(["scancel", "--signal=USR2"], 1), (["scontrol", "requeue"], 1), (["scancel", "--signal=USR2"], 2)],
    ids=["limit", "preemption", "limit with two processes"],
)  # fmt: skip
def test_a_job_of_slurm_goes_on_after_it_was_stopped(tmp_path: Path, cluster: dict[str, str], order: list[str], devices: int) -> None:
    folder = tmp_path / "runs" / "first"
    number = _submit(tmp_path, cluster, "training.epochs=30", f"launcher.devices={devices}")
    _wait(lambda: len(_steps(folder)) >= 2, "the job does not start")
    subprocess.run([*order, number], env=cluster, check=True)
    _go_on(number, cluster, folder)
    before = read_json(folder / "run.json")
    assert before["status"] == "preempted", before
    _wait(lambda: _status(folder) == "finished", "the job does not finish")
    assert read_json(folder / "run.json")["mlflow_run_id"] == before["mlflow_run_id"]
    steps = _steps(folder)
    assert len(steps) == 30 and steps == sorted(set(steps))
    assert [path.name for path in (tmp_path / "runs").iterdir() if path.is_dir() and (path / "run.json").exists()] == ["first"]


@pytest.mark.proof
@pytest.mark.timeout(1500)
@needs_slurm
def test_a_cancelled_job_of_slurm_keeps_its_state_and_does_not_come_back(tmp_path: Path, cluster: dict[str, str]) -> None:
    folder = tmp_path / "runs" / "first"
    number = _submit(tmp_path, cluster, "training.epochs=500")
    _wait(lambda: len(_steps(folder)) >= 2, "the job does not start")
    subprocess.run(["scancel", number], env=cluster, check=True)
    _wait(lambda: "JobState=CANCELLED" in _show(number, cluster), _show(number, cluster))
    _wait(lambda: _status(folder) == "preempted", _log(folder), 60)
    assert os.listdir(folder / "state")
    time.sleep(3)
    assert "JobState=CANCELLED" in _show(number, cluster)
