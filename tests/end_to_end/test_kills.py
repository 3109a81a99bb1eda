"""Twenty kills at random moments: the weights are those of the training that nobody disturbed, and MLflow has each step once."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from tests.training.runs import write_bright

ROOT = Path(__file__).resolve().parents[2]
KILLS, INSIDE = 20, 5  # kills in all, and how many at least inside the writing of a checkpoint
SEED = 20261124
STEPS = 204


def settings(npz: Path, folder: Path, name: str) -> list[str]:
    """204 steps in 34 epochs; a state every three steps, and the best checkpoint often."""
    return [
        "dataset=pneumoniamnist", f"dataset.path={npz}", "preprocessing=mnist", "augmentation=standard", "model=residual_small",
        "model.channels=8", "model.blocks=1", "model.dropout=0.2", "training.epochs=34", "training.batch_size=16", "training.ema_decay=0.8",
        "training.log_steps=1", "training.checkpoint_steps=3", "training.monitor=loss", "workers=1",
        f"runs={folder / 'runs'}", f"cohorts={folder / 'cohorts'}", f"name={name}",
    ]  # fmt: skip


def start(arguments: list[str], ranks: int) -> subprocess.Popen[str]:
    """A training in a process group of its own."""
    torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}", "-m", "medai.cli"]
    command = [sys.executable, *(torchrun if ranks > 1 else ["-m", "medai.cli"]), "train", *arguments]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, text=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment, start_new_session=True)


def finish(process: subprocess.Popen[str]) -> None:
    _, told = process.communicate(timeout=600)
    assert process.returncode == 0, told[-3000:]


def steps(run: Path) -> int:
    path = run / "metrics.jsonl"
    return path.read_bytes().count(b'"loss"') if path.exists() else 0


def unfinished(run: Path) -> set[str]:
    """Checkpoints and states that are being written, or were when the training was killed."""
    return {path.name for pattern in (".checkpoint.*", "state/.step-*") for path in run.glob(pattern)}


def descendants(pid: int) -> list[int]:
    """The processes that a process has started, and theirs."""
    children: list[int] = []
    with suppress(FileNotFoundError, ProcessLookupError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            children += map(int, (task / "children").read_text().split())
    return children + [each for child in children for each in descendants(child)]


def kill(process: subprocess.Popen[str], run: Path, when: Callable[[], bool]) -> bool:
    """SIGKILL every process of it when `when` says so; gives whether that was inside a checkpoint's writing."""
    before = unfinished(run)  # of earlier kills
    while process.poll() is None and not when():
        pass
    if process.poll() is not None:
        return False
    for pid in [process.pid, *descendants(process.pid)]:  # torchrun gives each rank a process group of its own
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.communicate()
    return bool(unfinished(run) - before)


def while_writing(run: Path, wanted: int) -> Callable[[], bool]:
    """After a number of steps, and when something is being written."""
    old = unfinished(run)
    return lambda: steps(run) >= wanted and bool(unfinished(run) - old)


def at_time(run: Path, end: float, latest: int) -> Callable[[], bool]:
    """At a time, whatever the training does; or when it has come too far for twenty kills."""
    return lambda: time.monotonic() > end or steps(run) > latest


@pytest.mark.proof
@pytest.mark.timeout(2400)
@pytest.mark.parametrize("ranks", [1, 2])
def test_twenty_kills_leave_no_trace(tmp_path: Path, ranks: int, capsys: pytest.CaptureFixture[str]) -> None:
    npz = write_bright(tmp_path / "bright.npz")
    finish(start(settings(npz, tmp_path, "whole"), ranks))
    whole, run = (tmp_path / "runs" / name for name in ("whole", "killed"))
    draw, kills, inside, after = random.Random(SEED + ranks), 0, 0, 0
    while kills < KILLS:
        process = start([*settings(npz, tmp_path, "killed"), "resume=auto"], ranks)
        known = steps(run)
        if kills % 2:  # every second one aims at a checkpoint that is being written, after some steps
            wanted = draw.randint(1, 8)
            inside += kill(process, run, while_writing(run, known + wanted))
        else:  # at any moment from the start on
            end = time.monotonic() + draw.uniform(0, 12)
            inside += kill(process, run, at_time(run, end, known + 8))
        if process.returncode == 0:
            break
        after += steps(run) > 0
        kills += 1
    finish(start([*settings(npz, tmp_path, "killed"), "resume=auto"], ranks))
    with capsys.disabled():
        print(f"\nranks {ranks}: {kills} kills (seed {SEED + ranks}), {inside} inside a checkpoint's writing, {after} after the first step")
    assert kills == KILLS
    assert inside >= INSIDE
    weights = [(path / "checkpoint" / "model.safetensors").read_bytes() for path in (whole, run)]
    assert weights[0] == weights[1]
    check_records(whole, run, tmp_path)


def check_records(whole: Path, run: Path, folder: Path) -> None:
    """Both runs tell the same, and MLflow has one run for each, with each step once."""
    from mlflow import MlflowClient

    lines = [
        [{key: value for key, value in json.loads(line).items() if key not in ("time", "images_per_second")} for line in text.splitlines()]
        for text in ((path / "metrics.jsonl").read_text() for path in (whole, run))
    ]
    assert lines[0] == lines[1]
    client = MlflowClient(tracking_uri=f"sqlite:///{folder / 'runs' / 'mlflow.db'}")
    found = client.search_runs([client.get_experiment_by_name("medai").experiment_id])
    assert sorted(one.info.run_name for one in found) == ["killed", "whole"]
    for one in found:
        assert one.info.status == "FINISHED"
        assert [metric.step for metric in client.get_metric_history(one.info.run_id, "loss")] == list(range(1, STEPS + 1))
        assert [metric.step for metric in client.get_metric_history(one.info.run_id, "validation_auroc")] == list(range(6, STEPS + 1, 6))
