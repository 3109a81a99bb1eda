"""Several ranks: the same training, each case validated once, an end in bounded time."""

import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from medai.core.file import write_json
from medai.training.settings import TrainSettings
from tests.training.runs import records, weights

ROOT = Path(__file__).resolve().parents[2]
RUN = """
import json, sys
from pathlib import Path
from medai.training.resume import _from_dict
from medai.training.settings import TrainSettings
from medai.training.train import train
train(_from_dict(TrainSettings, json.loads(Path(sys.argv[1]).read_text())))
"""
DYING = """
import os, signal
from medai.training.fit import Fit
step = Fit._step
def dying(self, parts):
    step(self, parts)
    if self.group.rank == 1 and self.step == 9 and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
        os.kill(os.getpid(), signal.SIGKILL)
Fit._step = dying
"""

COLLECTIVES = """
import os, sys
import torch
import torch.distributed as dist
from medai.training.distributed import Group

torch.set_num_threads(1)

def work(rank, file):
    os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[rank % len(os.sched_getaffinity(0))]})
    dist.init_process_group("gloo", rank=rank, world_size=2, store=dist.FileStore(file, 2))
    group = Group(rank, 2)
    group.any(False)  # then its threads have their names
    for thread in os.listdir("/proc/self/task"):  # the threads that drop the tensors come last
        if "gloo_runloop" in open(f"/proc/self/task/{thread}/comm").read():
            os.sched_setscheduler(int(thread), os.SCHED_IDLE, os.sched_param(0))
    for extra in range(3):
        assert group.sum(torch.tensor([1.0, rank])).tolist() == [2.0, 1.0]
        assert group.broadcast({"rank": rank}) == {"rank": 0}
        assert group.gather("x" * (5 * rank + extra)) == (["x" * extra, "x" * (5 + extra)] if rank == 0 else [])
        weights = torch.full((3,), float(rank))
        group.copy_from_first([weights])
        assert weights.tolist() == [0, 0, 0]
        assert group.any(rank == 1, False) == (True, False)
        assert group.any(rank == 0) == (True,)
    if "kept" in sys.argv:
        globals()["kept"] = dist.group.WORLD  # as DDP keeps it: its threads outlive its end
    dist.destroy_process_group()

for trial in range(20):
    children = []
    for rank in range(2):
        children.append(os.fork())
        if not children[-1]:
            work(rank, f"{sys.argv[1]}/{trial}")
            sys.exit()
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0]
"""


def launch(settings: TrainSettings, folder: Path, ranks: int, prologue: str = "", restarts: int = 0) -> subprocess.CompletedProcess[str]:
    """Train in processes of its own; with several ranks under torchrun."""
    write_json(folder / f"{settings.name}.json", asdict(settings))
    (folder / f"{settings.name}.py").write_text(prologue + RUN)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}", f"--max-restarts={restarts}"]
    command = [*(torchrun if ranks > 1 else [sys.executable]), str(folder / f"{settings.name}.py"), str(folder / f"{settings.name}.json")]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=280, check=False)


@pytest.fixture
def plain(settings: TrainSettings) -> TrainSettings:
    """A network without batch statistics and dropout, whose loss is recorded at every step."""
    model = {"_target_": "tests.training.parts.Plain"}
    training = replace(settings.training, ema_decay=0.0, log_steps=1, micro_batch=None)
    return replace(settings, model=model, training=training)


@pytest.mark.skipif(not hasattr(os, "SCHED_IDLE"), reason="threads are put last as Linux does it")
@pytest.mark.parametrize("end", ["kept", "ended"])
def test_ranks_tell_each_other_what_they_know_and_end_though_the_threads_of_gloo_lag_behind(end: str, tmp_path: Path) -> None:
    busy = "import os, sys\nos.nice(19)\nos.sched_setaffinity(0, {int(sys.argv[1])})\nwhile True: pass"
    hogs = [subprocess.Popen([sys.executable, "-c", busy, str(core)]) for core in os.sched_getaffinity(0)]
    try:
        command = [sys.executable, "-c", COLLECTIVES, str(tmp_path), end]
        result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=280, check=False)
    finally:
        for hog in hogs:
            hog.kill()
    assert result.returncode == 0, result.stderr[-3000:]


def test_two_ranks_train_as_one_does_over_fifty_steps(plain: TrainSettings, tmp_path: Path) -> None:
    plain = replace(plain, training=replace(plain.training, epochs=9))
    results = {ranks: launch(replace(plain, name=f"ranks{ranks}"), tmp_path, ranks) for ranks in (1, 2)}
    assert all(result.returncode == 0 for result in results.values()), [result.stderr[-2000:] for result in results.values()]
    runs = [Path(plain.runs) / f"ranks{ranks}" for ranks in (1, 2)]
    curves = [np.array([line["loss"] for line in records(run) if "loss" in line]) for run in runs]
    assert len(curves[0]) == 54
    assert np.abs(curves[0] - curves[1]).max() < 1e-5
    validated = [[line["validation_loss"] for line in records(run) if "epoch" in line] for run in runs]
    assert np.allclose(*validated, atol=1e-5)
    assert [line["step"] for line in records(runs[1])] == [line["step"] for line in records(runs[0])]
    assert results[2].stderr.count("epoch 1:") == 1  # one rank speaks


def test_weights_that_are_spread_over_the_ranks_are_trained_as_whole_ones(plain: TrainSettings, tmp_path: Path) -> None:
    spread = replace(plain, training=replace(plain.training, strategy="fsdp", epochs=2))
    copied = replace(plain, training=replace(plain.training, epochs=2))
    for settings, name in ((spread, "fsdp"), (copied, "ddp")):
        result = launch(replace(settings, name=name), tmp_path, 2)
        assert result.returncode == 0, result.stderr[-6000:]
    curves = [np.array([line["loss"] for line in records(Path(plain.runs) / name) if "loss" in line]) for name in ("fsdp", "ddp")]
    assert np.abs(curves[0] - curves[1]).max() < 1e-5
    (Path(plain.runs) / "fsdp" / "run.json").write_text("{}")
    shutil.rmtree(Path(plain.runs) / "fsdp" / "state" / "step-00000012")
    again = launch(replace(spread, name="again", resume=str(Path(plain.runs) / "fsdp")), tmp_path, 2)
    assert again.returncode == 0, again.stderr[-2000:]
    assert "Resumed at step 6" in again.stderr
    first, second = (weights(Path(plain.runs) / name)["network.layers.0.weight"] for name in ("fsdp", "ddp"))
    assert np.allclose(first, second, atol=1e-5)


def test_a_rank_that_dies_is_restarted_from_the_last_state(plain: TrainSettings, tmp_path: Path) -> None:
    whole = launch(replace(plain, name="whole"), tmp_path, 2)
    assert whole.returncode == 0, whole.stderr[-2000:]
    named = replace(plain, folder=str(Path(plain.runs) / "dying"), name="dying")
    begun = time.monotonic()
    died = launch(named, tmp_path, 2, DYING)
    assert died.returncode != 0 and time.monotonic() - begun < 120
    assert "Signal 9 (SIGKILL)" in died.stderr
    again = launch(replace(named, name="restarted", folder=str(Path(plain.runs) / "restarted")), tmp_path, 2, DYING, restarts=1)
    assert again.returncode == 0, again.stderr[-2000:]
    assert "Resumed at step 6" in again.stderr
    weights = [(Path(plain.runs) / name / "checkpoint" / "model.safetensors").read_bytes() for name in ("whole", "restarted")]
    assert weights[0] == weights[1]
    assert json.loads((Path(plain.runs) / "restarted" / "run.json").read_text())["status"] == "finished"
