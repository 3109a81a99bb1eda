"""(d) Memory: the largest memory of the loader and its workers, with 1,000 and with 100,000 cases."""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from training.data import INTENSITY, SEED, DataSet, data_set
from training.harness import Part

LIMIT_SECONDS = 100
WORKERS = (0, 2, 4)
LARGEST_GROWTH = 1.1
SIDE = 32
CASES, TEST_SHARE = 135_000, 35 / 135


def large_data_set(part: Part) -> DataSet:
    """100,000 development and 35,000 test cases."""
    return data_set(part.work, 1350 if part.quick else CASES, SIDE, TEST_SHARE)


def run(part: Part) -> None:
    """Measure each number of workers with few and with many cases, each in a process of its own."""
    part.say("the cohort of 135,000 cases: ingest is not measured")
    data = large_data_set(part)
    many = int(data.cohort.counts["development"])
    few = many // 100
    for workers in WORKERS:
        for count in (few, many):
            peak = _peak(part, data.view.path, count, workers)
            part.found["raw"][f"{count} cases, workers={workers}"] = peak
            part.say(f"{count:,} cases, workers={workers}: " + ", ".join(f"{name} {value:,.0f} MiB" for name, value in peak.items()))
            part.save()
        growth = [part.found["raw"][f"{count} cases, workers={workers}"]["held"] for count in (few, many)]
        part.verdict(
            f"memory held, {many:,} cases / {few:,} cases, workers={workers}", growth[1] / growth[0], LARGEST_GROWTH, at_least=False
        )
    part.note(
        "held: anonymous and shared memory of all processes (PSS). pss and uss hold the pages of the view's file too, which the kernel "
        "gives back when it needs them; they grow with the part of the file that was read."
    )


def _peak(part: Part, view: Path, count: int, workers: int) -> dict[str, float]:
    """Largest memory in MiB while a process passes over its cases, at least once and for some seconds."""
    seconds = 1.0 if part.quick else 4.0
    command = [sys.executable, "-m", "training.memory", str(view), str(count), str(workers), str(seconds)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])}
    peak: dict[str, float] = {}
    with subprocess.Popen(command, env=environment) as process:
        while process.poll() is None:
            for name, value in memory_of(process.pid).items():
                peak[name] = max(peak.get(name, 0.0), value)
            time.sleep(0.1)
    if process.returncode:
        raise RuntimeError(f"the loader with {workers} workers ended with exit code {process.returncode}")
    return peak


def memory_of(pid: int) -> dict[str, float]:
    """Of a process and all below it, in MiB: pss, uss, and what is held and cannot be given back."""
    total = {"pss": 0.0, "uss": 0.0, "held": 0.0}
    for member in [pid, *_below(pid)]:
        try:
            lines = Path(f"/proc/{member}/smaps_rollup").read_text(encoding="utf-8").splitlines()
        except OSError:  # it has just ended
            continue
        kilobytes = {line.split(":")[0]: float(line.split()[1]) for line in lines if line.endswith("kB")}
        total["pss"] += kilobytes["Pss"] / 1024
        total["uss"] += (kilobytes["Private_Clean"] + kilobytes["Private_Dirty"]) / 1024
        total["held"] += (kilobytes["Pss_Anon"] + kilobytes["Pss_Shmem"]) / 1024
    return total


def _below(pid: int) -> list[int]:
    parents: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text(encoding="utf-8").rpartition(")")[2].split()
        except OSError:
            continue
        parents.setdefault(int(fields[1]), []).append(int(path.parent.name))
    found, waiting = [], [pid]
    while waiting:
        children = parents.get(waiting.pop(), [])
        found += children
        waiting += children
    return found


def _load(view: Path, count: int, workers: int, seconds: float) -> None:
    """The measured process: the loader and the preparation of a training."""
    from medai.augmentation.batched import BatchedAugmentation
    from medai.store.view import View
    from medai.training.data import EpochBatches, Images, loader
    from medai.training.prepare import Prepare
    from training.input import NODES

    opened = View.open(view)
    target = np.zeros((count, 1), dtype=np.int64)
    images = Images(opened, np.arange(count), target, INTENSITY, SEED)
    prepare = Prepare(opened.encoding, INTENSITY, BatchedAugmentation(NODES))
    order = EpochBatches(count, min(64, count), SEED)
    started: Any = time.monotonic()
    batches = loader(images, order, workers, pin_memory=False)
    while order.epoch == 0 or time.monotonic() - started < seconds:
        for batch in batches:
            prepare(batch.to(torch.device("cpu")))
        order.epoch += 1


if __name__ == "__main__":
    _load(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))
