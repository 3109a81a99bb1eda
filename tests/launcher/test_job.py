"""A job and the signals that it is sent, in submitit's local executor: with a stand-in for the training, so that it is quick."""

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from medai.core.error import MedaiError
from medai.launcher.job import Job
from medai.launcher.settings import LauncherSettings
from medai.launcher.submit import Ended, launch

submitit = pytest.importorskip("submitit")
HERE = Path(__file__).parent


def _submit(folder: Path, steps: int) -> Any:
    executor = submitit.AutoExecutor(folder / "job", cluster="local")
    executor.update_parameters(timeout_min=5, stderr_to_stdout=True)
    return executor.submit(Job((str(folder / "run"), str(steps)), module="slow_training"))


def _wait(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.1)


def _lines(folder: Path) -> list[str]:
    log = folder / "run" / "log0"
    return log.read_text().splitlines() if log.exists() else []


def _task(job: Any) -> int:
    """The process of the job's callable: the controller's child."""
    return int(Path(f"/proc/{job.job_id}/task/{job.job_id}/children").read_text().split()[0])


@pytest.fixture(autouse=True)
def _stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])]))


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_job_that_reaches_its_limit_saves_its_state_and_goes_on(tmp_path: Path) -> None:
    job = _submit(tmp_path, 40)
    _wait(lambda: len(_lines(tmp_path)) > 10, "the job does not start")
    os.kill(_task(job), signal.SIGUSR2)
    assert job.result() == 0
    starts = [line for line in _lines(tmp_path) if line.startswith("start")]
    steps = [line for line in _lines(tmp_path) if line.startswith("step")]
    assert len(starts) == 2 and starts[1] != "start 0"
    assert steps == [f"step {number}" for number in range(1, 41)]  # none lost, none twice


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_job_that_is_cancelled_saves_its_state_and_ends(tmp_path: Path) -> None:
    job = _submit(tmp_path, 400)
    _wait(lambda: len(_lines(tmp_path)) > 5, "the job does not start")
    os.kill(_task(job), signal.SIGTERM)
    _wait(job.done, "the job does not end")
    last = _lines(tmp_path)[-1].split()[1]
    assert (tmp_path / "run" / "state0").read_text() == last
    assert [line for line in _lines(tmp_path) if line.startswith("start")] == ["start 0"]


def test_a_job_whose_command_fails_has_failed(tmp_path: Path) -> None:
    executor = submitit.AutoExecutor(tmp_path / "job", cluster="local")
    executor.update_parameters(timeout_min=5)
    job = executor.submit(Job(("train", "training.epochs=0")))
    with pytest.raises(
        submitit.core.utils.FailedJobError, match="the command ended with exit code 2; its last lines stand in the job's log"
    ):
        job.result()
    assert "medai: training.epochs is 0" in (job.stdout() or "") + (job.stderr() or "")


def test_several_processes_are_started_by_torchrun() -> None:
    one, two, four = Job(("train",)).command(), Job(("train",), devices=2).command(), Job(("train",), 2, 2, 3).command("node1", 12_345)
    assert one[-4:] == ["-u", "-m", "medai.cli", "train"]
    assert "--nproc-per-node=2" in two and "--standalone" in two and two[-3:] == ["-m", "medai.cli", "train"]
    assert {"--nnodes=2", "--max-restarts=3", "--rdzv-endpoint=node1:20345", "--rdzv-id=12345"} <= set(four)


def test_a_command_that_fails_here_gives_its_exit_code(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Ended, match="the reason stands above") as caught:
        launch(LauncherSettings(), ["train", "training.epochs=0"], tmp_path)
    assert caught.value.exit_code == 2
    assert "medai: training.epochs is 0; it must lie in" in capfd.readouterr().err


def test_a_cluster_that_is_not_there_is_told_in_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MedaiError, match=r"^the job was not taken by slurm: Could not detect \"srun\""):
        launch(LauncherSettings(cluster="slurm"), ["train"], tmp_path / "job")


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"cluster": "pbs"}, r"launcher\.cluster is 'pbs'; allowed: here, local, slurm"),
        ({"devices": 0}, r"launcher\.devices is 0; it must be at least 1"),
        ({"nodes": 2}, r"launcher\.nodes is 2; several machines need launcher=slurm"),
        ({"cluster": "slurm", "minutes": 2}, r"launcher\.grace_seconds \(120\) must be less than the 2 minutes"),
    ],
)
def test_settings_say_what_is_allowed(settings: dict[str, Any], line: str) -> None:
    with pytest.raises(MedaiError, match=line):
        LauncherSettings(**settings)
