"""(f) Ranks: images a second of one process with all threads, and of two ranks (torchrun, gloo) with half of them each."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from training.data import data_set
from training.harness import Part, paired_ratio
from training.network import VARIABLE, calls

LIMIT_SECONDS = 100
LONGEST_SECONDS = 120
ROOT = Path(__file__).parents[2]
BATCH, WARM = 32, 2


def run(part: Part) -> None:
    """Train the same steps in both ways, in turns."""
    arguments = data_set(part.work, 2000, 28).arguments("ResNet18")
    subjects = {f"{size} rank{'s' * (size > 1)}": _subject(part, arguments, size) for size in (1, 2)}
    part.repeat(subjects, 1 if part.quick else 3, "images/s")
    part.found["ratios"]["2 ranks / 1 rank at the same total threads"] = paired_ratio(part, "2 ranks", "1 rank")
    part.found["threads"] = os.cpu_count()
    part.save()


def _subject(part: Part, arguments: list[str], size: int) -> Callable[[], float]:
    return lambda: _rate(part, arguments, size)


def _rate(part: Part, arguments: list[str], size: int) -> float:
    marks, runs = part.work / "rank-calls", part.work / "rank-runs"
    for old in part.work.glob("rank-calls.*"):
        old.unlink()
    shutil.rmtree(runs, ignore_errors=True)
    steps = 5 if part.quick else 12
    settings = [f"training.batch_size={4 if part.quick else BATCH}", f"training.max_steps={steps}", f"training.limit_batches={steps}"]
    named = ["tracking=none", "workers=0", f"runs={runs}", "name=ranks"]
    threads = max((os.cpu_count() or 1) // size, 1)
    environment = os.environ | {VARIABLE: str(marks), "PYTHONPATH": _path(), "OMP_NUM_THREADS": str(threads)}
    torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={size}"] if size > 1 else []
    command = [sys.executable, *torchrun, str(ROOT / "train.py"), *arguments, *settings, *named]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=LONGEST_SECONDS, check=False)
    found = calls(marks)
    if done.returncode or len(found) != steps:
        raise RuntimeError(f"{size} rank(s) took {len(found)} of {steps} steps: {done.stderr[-2000:]}")
    batch = 4 if part.quick else BATCH
    return batch * (len(found) - 1 - WARM) / (found[-1] - found[WARM])


def _path() -> str:
    return os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
