"""How fast a training is: input, loop, end to end, memory, start, ranks, and a GPU where there is one, against other libraries.

    python -m venv BENCH                                                    # an environment of its own, outside the checkout
    BENCH/bin/python -m pip install -c constraints.txt -e '.[train]'
    BENCH/bin/python -m pip install --no-deps -r benchmarks/training-requirements.txt
    BENCH/bin/python benchmarks/training.py                                 # all parts: about 20 minutes on 2 cores, 6 GB of disk
    BENCH/bin/python benchmarks/training.py a c --work FOLDER               # some parts; FOLDER keeps the data sets
    BENCH/bin/python benchmarks/training.py --quick                         # tiny sizes: does everything run?

Each part runs in a process of its own, measures in turns, and says so on stderr. The record, benchmarks/results/training.json
(training-cuda.json where there is a GPU), holds every repetition, medians, ratios and verdicts; parts that were not asked for stay.
"""

import argparse
import importlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from training.data import SEED
from training.harness import Part

from medai.core.environment import commit, hardware, versions
from medai.core.file import write_json

PARTS = {"a": "input", "b": "loop", "c": "whole", "d": "memory", "e": "start", "f": "ranks", "g": "gpu"}
PEERS = ("webdataset", "litdata", "lmdb", "lightning", "pytorch-ignite", "torchvision")
RESULTS = Path(__file__).parent / "results"
KILLED_AFTER = 2.0  # times a part's limit, after which no repetition should begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="part", help=f"{', '.join(f'{key} {name}' for key, name in PARTS.items())}; all")
    parser.add_argument("--work", type=Path, help="folder for the data sets; a temporary one otherwise")
    parser.add_argument("--output", type=Path, default=RESULTS / ("training-cuda.json" if torch.cuda.is_available() else "training.json"))
    parser.add_argument("--quick", action="store_true", help="tiny sizes; the record is printed and not written")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    unknown = sorted(set(chosen.parts) - set(PARTS))
    if unknown:
        parser.error(f"there is no part {unknown[0]!r}; there are {', '.join(PARTS)}")
    if chosen.child:
        _measure(chosen.parts[0], chosen.work, chosen.child, chosen.quick)
        return
    work = chosen.work or Path(tempfile.mkdtemp(prefix="medai-benchmark-"))
    try:
        work.mkdir(parents=True, exist_ok=True)
        _all(chosen.parts or list(PARTS), work.resolve(), chosen.output, chosen.quick)
    finally:
        if not chosen.work:
            shutil.rmtree(work, ignore_errors=True)


def _all(parts: list[str], work: Path, output: Path, quick: bool) -> None:
    record: dict[str, Any] = json.loads(output.read_text(encoding="utf-8")) if output.exists() and not quick else {"parts": {}}
    for name in parts:
        record["parts"][name] = _in_child(name, work, quick)
        if not quick:
            write_json(output, record)
    if quick:
        print(json.dumps(record, indent=2))
    for name, part in record["parts"].items():
        for verdict in part["verdicts"]:
            print(
                f"{name}  {'met    ' if verdict['met'] else 'NOT MET'}  {verdict['value']:>9.3f} {verdict['target']:>8}  {verdict['what']}"
            )


def _in_child(name: str, work: Path, quick: bool) -> dict[str, Any]:
    """Run a part in its own process: nothing of one part is left in the next, and one that hangs is ended."""
    found, limit = work / f"part-{name}.json", importlib.import_module(f"training.{PARTS[name]}").LIMIT_SECONDS
    found.unlink(missing_ok=True)
    command = [sys.executable, str(Path(__file__)), name, "--work", str(work), "--child", str(found)]
    started, status = time.time(), "finished"
    with subprocess.Popen([*command, *(["--quick"] if quick else [])], start_new_session=True) as process:
        try:
            process.wait(KILLED_AFTER * limit + 60)
        except (subprocess.TimeoutExpired, KeyboardInterrupt) as reason:
            os.killpg(process.pid, 9)
            if isinstance(reason, KeyboardInterrupt):
                raise
            status = f"stopped after {time.time() - started:.0f} s"
    status = status if process.returncode in (0, -9) else f"failed with exit code {process.returncode}"
    measured = json.loads(found.read_text(encoding="utf-8")) if found.exists() else {"verdicts": []}
    return {"title": _title(name), "status": status, "quick": quick} | _facts() | measured


def _title(name: str) -> str:
    return str(importlib.import_module(f"training.{PARTS[name]}").__doc__).splitlines()[0]


def _facts() -> dict[str, Any]:
    """Where and with what it was measured."""
    installed = versions()
    for package in PEERS:
        try:
            installed[package] = version(package)
        except PackageNotFoundError:
            installed[package] = "not installed"
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    machine = hardware() | {"memory_gib": round(memory, 1), "torch_threads": torch.get_num_threads(), "gpu": gpu}
    when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return {"measured": when, "seed": SEED, "commit": commit(), "machine": machine, "versions": installed}


def _measure(name: str, work: Path, output: Path, quick: bool) -> None:
    module = importlib.import_module(f"training.{PARTS[name]}")
    part = Part(name, work, output, quick, 1e-9 if quick else module.LIMIT_SECONDS)
    part.say(_title(name))
    try:
        module.run(part)
    finally:
        part.save()


if __name__ == "__main__":
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as `medai train` has it; else idle threads starve worker processes
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("DO_NOT_TRACK", "true")
    main()
