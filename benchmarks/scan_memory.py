"""How the peak of memory of a DICOM scan grows with the number of files: listing to cases, without a file on disk.

    OMP_NUM_THREADS=1 python benchmarks/scan_memory.py

Synthetic listings and header rows (CT studies of 300 slices, of which one in 20 has a localiser, a copied file and a file that is no
DICOM) stand in for `list_items` and `scan_item`; all between and behind is what `medai ingest source=dicom` does in the scan: the
encrypted cache, grouping, the verdicts, the join of a label table by patient, the hash of the listing, and the rows of the cohort's
instances. Each size runs in a process of its own, once with an empty cache and once with the cache that this left. Recorded are
VmHWM of the process and of each step (the mark is reset between them); `list` is the synthetic listing. Target: less than 100 bytes
a file, between the two largest sizes. Results go to benchmarks/results/scan_memory.json.

    --quick     few files, nothing is recorded: does it run?
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

SIZES = (10_000, 100_000, 1_000_000, 3_000_000)
SLICES = 300
TARGET = 100  # bytes a file
ORIENTATION = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
ROOT = "1.2.826.0.1.3680043.8.498"


def listing(files: int) -> Any:
    """Names, sizes and times, in the order of `list_items`."""
    import numpy as np
    import polars as pl

    from medai.source.archive import LISTING_SCHEMA

    number = pl.Series("number", np.arange(files))
    study = number // SLICES
    text = [
        pl.format("P{}/20210304-{}-CT/S000/IM{}.dcm", *(pl.col(name).cast(pl.String).str.zfill(width) for name, width in columns))
        for columns in [(("patient", 7), ("study", 7), ("slice", 6))]
    ]
    frame = pl.DataFrame({"patient": study // 2, "study": study, "slice": number % SLICES}).select(
        item=text[0],
        size=400_000 + number.hash() % 100_000,
        mtime_ns=1_600_000_000 * 10**9 + number * 10**8 + number.hash(1) % 10**8,
        code=None,
        message=None,
    )
    return frame.cast(LISTING_SCHEMA)


def scan_item(folder: str, item: str) -> tuple[Any, ...]:
    """The header row of a name: what differs in a hospital from file to file, from series to series and from study to study."""
    from hashlib import blake2b

    from medai.dicom.scan import FIELDS, refused_row

    study, number = int(item.split("-")[1]), int(item[-10:-4])
    odd = study % 20 == 0
    if odd and number == 299:
        return refused_row("not-dicom", "this is not a DICOM file: no 'DICM' after 128 bytes", item.encode())
    same = number - 1 if odd and number == 298 else number  # a copied file
    unique = int.from_bytes(blake2b(f"{study} {same}".encode(), digest_size=12).digest())
    patient = study // 2
    series = int.from_bytes(blake2b(f"series {study}".encode(), digest_size=12).digest())
    localiser = odd and number == 0
    row = {
        "digest": blake2b(item.encode(), digest_size=16).hexdigest(),
        "transfer_syntax": "1.2.840.10008.1.2.4.70", "sop_class_uid": "1.2.840.10008.5.1.4.1.1.2",
        "sop_instance_uid": f"{ROOT}.{unique}", "study_uid": f"{ROOT}.{series + 1}", "series_uid": f"{ROOT}.{series}",
        "frame_of_reference_uid": f"{ROOT}.{series + 2}", "patient_id": f"MRN-{patient:08d}", "accession_number": f"ACC-{study:08d}",
        "study_date": "20210304", "acquisition_date": "20210304", "birth_date": "19610502", "age": "059Y", "sex": "MF"[patient % 2],
        "modality": "CT", "manufacturer": "MAKER", "model": f"Scanner {study % 7}", "station": f"CT{study % 7}",
        "institution": "Hospital", "body_part": "CHEST", "image_type": "ORIGINAL\\PRIMARY\\" + ("LOCALIZER" if localiser else "AXIAL"),
        "series_description": f"Thorax {study % 13} mm", "study_description": "CT Thorax", "protocol_name": "Thorax routine",
        "kernel": "B31f", "series_number": 2, "instance_number": number, "acquisition_number": 1, "frames": 1,
        "rows": 512, "columns": 512, "samples": 1, "bits_allocated": 16, "slice_thickness": 1.0, "window_center": 40.0,
        "window_width": 400.0, "acquisition_time": f"1012{number % 60:02d}.{same:06d}", "photometric": "MONOCHROME2", "burned_in": "NO",
        "pixel_spacing": (0.7, 0.7), "position": (-180.0, -180.0, same * 1.0), "orientation": ORIENTATION,
    }  # fmt: skip
    return tuple(row.get(name) for name in FIELDS)


def kilobytes(name: str) -> int:
    """A line of /proc/self/status."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def new_mark() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def watched(step: str, work: Callable[..., Any], marks: dict[str, int]) -> Callable[..., Any]:
    """`work`, with the peak of memory while it runs noted under `step`."""

    def run(*arguments: Any, **named: Any) -> Any:
        marks["between"] = max(marks["between"], kilobytes("VmHWM"))
        new_mark()
        try:
            return work(*arguments, **named)
        finally:
            marks[step] = max(marks.get(step, 0), kilobytes("VmHWM"))
            new_mark()

    return run


def measure(files: int, folder: Path) -> dict[str, Any]:
    """One scan in this process."""
    import polars as pl

    from medai.cohort.key import Keys
    from medai.source import dicom, instances
    from medai.source.base import ScanContext

    (folder / "none").mkdir(exist_ok=True)
    patients = -(-files // SLICES) // 2 + 1
    pl.DataFrame({"patient": [f"MRN-{one:08d}" for one in range(patients)], "sick": [one % 2 for one in range(patients)]}).write_csv(
        folder / "labels.csv"
    )
    marks: dict[str, int] = {"between": 0}
    vars(dicom)["list_items"] = watched("list", lambda path, leave_out=None: listing(files), marks)
    vars(instances)["scan_item"] = scan_item
    for step in STEPS:
        if hasattr(dicom, step):
            vars(dicom)[step] = watched(step, vars(dicom)[step], marks)
    source = dicom.DicomSource("bench", str(folder / "none"), str(folder / "labels.csv"), ["sick"], key="patient")
    start = kilobytes("VmHWM")
    scan = source.scan(ScanContext(folder / "cache", Keys(bytes(range(32)))))
    marks["between"] = max(marks["between"], kilobytes("VmHWM"))
    new_mark()
    found = sum(piece["case_item"].is_not_null().sum() for piece in scan.instances.pieces()) if scan.instances else 0
    marks["instances"] = kilobytes("VmHWM")
    seconds = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
    return {
        "files": files, "cases": len(scan.items), "refused": len(scan.refused), "files_in_cases": int(found), "digest": scan.digest,
        "start_kb": start, "peak_kb": max(marks.values()), "held_kb": kilobytes("VmRSS"), "steps_kb": marks, "cpu_seconds": seconds,
    }  # fmt: skip


STEPS = ("digest", "open_instances", "frame_items", "judge_studies", "put_together", "_without_burned_in", "_with_slices")


def measure_apart(files: int) -> dict[str, Any]:
    """An empty cache, then the same again with what it holds by then."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, "--measure", str(files), "--folder", folder]
        runs = [subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout for _ in range(2)]
    first, again = (dict(json.loads(run.splitlines()[-1])) for run in runs)
    return {"first": first, "again": again}


def growth(measured: list[dict[str, Any]], run: str) -> float:
    """Bytes a file between the two largest sizes."""
    one, other = measured[-2][run], measured[-1][run]
    return float(1024 * (other["peak_kb"] - one["peak_kb"]) / (other["files"] - one["files"]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--measure", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        print(json.dumps(measure(given.measure, given.folder)))
        return
    from medai.core.environment import commit, hardware, versions
    from medai.core.file import write_json

    measured = []
    for files in (3_000, 6_000) if given.quick else given.sizes:
        measured.append(measure_apart(files))
        for run, row in measured[-1].items():
            steps = ", ".join(f"{name} {value / 1024:,.0f}" for name, value in row["steps_kb"].items())
            cpu = f"{row['cpu_seconds']:.0f} CPU s"
            print(f"{files:>10,} files, {run}: {row['cases']:,} cases, peak {row['peak_kb'] / 1024:,.0f} MiB ({steps}), {cpu}", flush=True)
    found = {run: growth(measured, run) for run in ("first", "again")}
    for run, bytes_a_file in found.items():
        print(f"{run}: {bytes_a_file:,.0f} bytes a file; target {TARGET}: {'met' if bytes_a_file < TARGET else 'not met'}")
    if not given.quick:
        record = {"target": TARGET, "growth": found, "sizes": measured, "commit": commit(), "versions": versions(), "hardware": hardware()}
        write_json(Path(__file__).parent / "results" / "scan_memory.json", record)


if __name__ == "__main__":
    main()
