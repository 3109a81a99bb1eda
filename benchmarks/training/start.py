"""(e) Start: seconds from the start of `medai train` to the end of its first step, with 135,000 cases. The cohort is there already."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from training.harness import Part
from training.memory import large_data_set
from training.network import VARIABLE, calls

LIMIT_SECONDS = 120
LONGEST_SECONDS = 90


def run(part: Part) -> None:
    """Start some trainings."""
    part.say("the cohort of 135,000 cases: ingest is not measured")
    arguments = large_data_set(part).arguments("Tiny")
    medians = part.repeat({"start to first step": lambda: _start(part, arguments)}, 1 if part.quick else 3, "s")
    part.verdict("start to first step, seconds", medians["start to first step"], 30, at_least=False)


def _start(part: Part, arguments: list[str]) -> float:
    """Seconds until the network is called for the second step; the training is then ended."""
    marks, runs = part.work / "start-calls", part.work / "start-runs"
    for old in part.work.glob("start-calls.*"):
        old.unlink()
    shutil.rmtree(runs, ignore_errors=True)
    settings = ["augmentation=light", "training.batch_size=64", "workers=2", f"runs={runs}", "tracking=sqlite"]
    environment = os.environ | {VARIABLE: str(marks), "PYTHONPATH": _path()}
    started = time.time()
    with open(part.work / "start.log", "w", encoding="utf-8") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "medai.cli", "train", *arguments, *settings], env=environment, stdout=log, stderr=log
        )
    try:
        while len(calls(marks)) < 2:
            if process.poll() is not None or time.time() - started > LONGEST_SECONDS:
                raise RuntimeError(f"no step in {time.time() - started:.0f} s: {(part.work / 'start.log').read_text()[-2000:]}")
            time.sleep(0.02)
        return calls(marks)[1] - started
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()


def _path() -> str:
    return os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
