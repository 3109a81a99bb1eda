"""How fast files become a cohort, beside the codec's own rate on all cores, and how much memory that takes.

    OMP_NUM_THREADS=1 python benchmarks/ingest.py

Rate: radiographs of 1,024 x 1,024 and 16 bits, as JPEG 2000 lossless and uncompressed. The peers are what an ingest cannot do without,
done alone by as many processes as there are cores: decoding the frames, and decoding and compressing them into the store. Target:
85 % of (cores x the codec's own rate). Memory: the peak of the whole process tree, at 2,000 and 20,000 studies of one small image each;
target: within 20 %. Results go to benchmarks/results/ingest.json.

    --quick     a few files, nothing is recorded: does it run?
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

CORES = os.cpu_count() or 1
ROUNDS = 3
SIZE = 1024
SYNTAXES = {"JPEG 2000 lossless": "jpeg-2000", "uncompressed": "explicit"}
INGEST = """
import sys, time
if __name__ == "__main__":  # as in the command: the processes that it starts import what they need, not what it has
    from medai.ingest.ingest import ingest
    from medai.source.dicom import DicomSource
    files, table, cohorts, workers = sys.argv[1:]
    start = time.perf_counter()
    cohort = ingest(DicomSource("bench", files, table, ["sick"], key="patient", public=True), cohorts, workers=int(workers))
    print(time.perf_counter() - start, cohort.counts["cases"])
"""


def write_studies(folder: Path, count: int, size: int, syntax: str) -> None:
    """One radiograph a patient, smooth with noise as a detector gives it, and a label table."""
    from medai.dicom.write import Encoding, write_image

    random = np.random.default_rng(0)
    rows, columns = np.mgrid[0:size, 0:size] / size
    smooth = 30000 * np.exp(-((rows - 0.5) ** 2 + (columns - 0.5) ** 2) * 4)
    (folder / "files").mkdir(parents=True)
    for number in range(count):
        pixels = (smooth + random.normal(0, 40, (size, size)) + number).clip(0, 65535).astype(np.uint16)[None]
        attributes = {"PatientID": f"P{number:06d}", "StudyInstanceUID": f"1.2.{number}.1", "SOPInstanceUID": f"1.2.{number}.3"}
        encoding = Encoding(bits_stored=16, transfer_syntax=syntax, attributes=attributes)
        write_image(folder / "files" / f"{number:06d}", pixels, encoding=encoding)
    lines = [f"P{number:06d},{number % 2}" for number in range(count)]
    (folder / "labels.csv").write_text("patient,sick\n" + "\n".join(lines) + "\n")


def run_ingest(folder: Path, workers: int) -> dict[str, float]:
    """Ingest in a process of its own: seconds without the imports, and the peak of the memory of all its processes."""
    with tempfile.TemporaryDirectory() as cohorts:
        script = Path(cohorts) / "ingest_bench.py"
        script.write_text(INGEST)
        command = [sys.executable, str(script), str(folder / "files"), str(folder / "labels.csv"), f"{cohorts}/c", str(workers)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
            peak = [0.0]
            threading.Thread(target=_watch, args=(process, peak), daemon=True).start()
            output, _ = process.communicate()
        if process.returncode:
            raise SystemExit(f"the ingest failed with exit code {process.returncode}")
    seconds, cases = output.split()
    return {"seconds": float(seconds), "cases": int(cases), "peak_mb": peak[0]}


def _watch(process: "subprocess.Popen[str]", peak: list[float]) -> None:
    while process.poll() is None:
        peak[0] = max(peak[0], _tree_memory(process.pid))
        time.sleep(0.05)


def _tree_memory(pid: int) -> float:
    """Proportional set size of a process and its children, in MB."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    own = next((int(line.split()[1]) / 1024 for line in lines if line.startswith("Pss:")), 0.0)
    return own + sum(_tree_memory(int(child)) for child in children)


def decode_some(task: tuple[list[str], bool]) -> int:
    """What an ingest cannot do without: the codec alone, or the codec and the store's compression."""
    from medai.dicom.read import read_frames
    from medai.store.shard import pack

    paths, store = task
    for path in paths:
        frames, _ = read_frames(Path(path), fast=True)
        if store:
            pack(frames[0])
    return len(paths)


def codec_rate(paths: list[str], store: bool) -> float:
    """Frames a second of as many processes as there are cores, started and warm."""
    from medai.core.tasks import MEMORY

    parts = [paths[start::CORES] for start in range(CORES)]
    os.environ.update(MEMORY)  # the codec's processes keep their memory as those of the ingest do
    with ProcessPoolExecutor(CORES, mp_context=get_context("spawn")) as pool:
        list(pool.map(decode_some, [(part[:1], store) for part in parts]))
        start = time.perf_counter()
        list(pool.map(decode_some, [(part, store) for part in parts]))
        return len(paths) / (time.perf_counter() - start)


def rates(count: int, size: int) -> list[dict[str, Any]]:
    measured = []
    for name, syntax in SYNTAXES.items():
        number = count if syntax == "jpeg-2000" else 3 * count
        with tempfile.TemporaryDirectory() as folder:
            write_studies(Path(folder), number, size, syntax)
            paths = sorted(str(path) for path in (Path(folder) / "files").iterdir())
            raw: dict[str, list[float]] = {"ingest": [], "codec": [], "codec and store": []}
            for _ in range(ROUNDS):
                raw["codec"].append(codec_rate(paths, store=False))
                raw["codec and store"].append(codec_rate(paths, store=True))
                raw["ingest"].append(number / run_ingest(Path(folder), CORES)["seconds"])
        median = {key: statistics.median(values) for key, values in raw.items()}
        ratios = {f"ingest / {key}": median["ingest"] / median[key] for key in ("codec", "codec and store")}
        measured.append({"syntax": name, "files": number, "size": size, "files_per_second": raw, "median": median, "ratios": ratios})
        print(f"{name:<20} " + ", ".join(f"{key} {value:,.1f}/s" for key, value in median.items()), flush=True)
        print(f"{'':<20} " + ", ".join(f"{key} {value:.2f}" for key, value in ratios.items()), flush=True)
    return measured


def memory(counts: tuple[int, int], size: int) -> dict[str, Any]:
    found = {}
    for count in counts:
        with tempfile.TemporaryDirectory() as folder:
            write_studies(Path(folder), count, size, "explicit")
            found[count] = {str(workers): run_ingest(Path(folder), workers) for workers in (0, CORES)}
        print(f"{count:>7,} studies: " + ", ".join(f"{key} workers {value['peak_mb']:.0f} MB" for key, value in found[count].items()))
    growth = {key: found[counts[1]][key]["peak_mb"] / found[counts[0]][key]["peak_mb"] - 1 for key in found[counts[0]]}
    print("memory grows by " + ", ".join(f"{value:.1%} with {key} workers" for key, value in growth.items()))
    return {"studies": {str(count): value for count, value in found.items()}, "growth": growth}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    chosen = parser.parse_args()
    from medai.core.environment import commit, hardware, versions
    from medai.core.file import write_json

    measured = rates(8, 128) if chosen.quick else rates(480, SIZE)
    kept = memory((50, 100), 32) if chosen.quick else memory((2_000, 20_000), 128)
    record = {"rates": measured, "memory": kept, "commit": commit(), "versions": versions(), "hardware": hardware()}
    if chosen.quick:
        print(json.dumps(record)[:200])
    else:
        write_json(Path(__file__).parent / "results" / "ingest.json", record)


if __name__ == "__main__":
    main()
