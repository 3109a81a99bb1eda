"""How fast headers are scanned, beside a plain loop of pydicom's over the same files.

    OMP_NUM_THREADS=1 python benchmarks/scan.py

Phantom studies of CT and CR: headers of 220 to 250 elements as scanners write them (private blocks, nested sequences, long text),
in explicit and implicit VR. Their pixels are holes in the files, which no method reads. All methods take turns in each round, each in
a process of its own, and the time is that of the whole job without imports of the first process: starting others is counted.
Target: 10 times the plain loop, on 2 cores. Results go to benchmarks/results/scan.json.

    --quick             300 files, 1 round, nothing is recorded: does it run?
    --files N           how many files (60,000)
    --folder FOLDER     make them there, and keep them; there again they are not made again
    --dicomsdl PYTHON   an interpreter that has dicomsdl, where this one has not
"""

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROUNDS = 3
FILES_A_SERIES = 60
BLANK = (99_999, 77_777)  # series and number for which the blanks stand
TARGET = 10.0
PLAIN = "pydicom, 1 process"
METHODS: dict[str, tuple[str, int]] = {
    PLAIN: ("pydicom", 1),
    "pydicom, 2 processes": ("pydicom", 2),
    "medai, 1 process": ("medai", 1),
    "medai, 2 processes": ("medai", 2),
    "medai, 2 processes, cache written": ("cached", 2),
    "medai, rerun from the cache": ("rerun", 2),
    "dicomsdl, 1 process (opens, takes no value)": ("dicomsdl", 1),
}


def make_studies(folder: Path, files: int) -> None:
    """Write `files` headers with holes for pixels, `FILES_A_SERIES` in a folder."""
    templates = [_template(True), _template(False), _template(False)]  # a third is CT, the rest CR
    headers = [_encode(template) for template in templates]
    for first in range(0, files, FILES_A_SERIES):
        series = first // FILES_A_SERIES
        path = folder / f"study{series:05d}"
        path.mkdir(parents=True)
        for number in range(min(FILES_A_SERIES, files - first)):
            header = headers[series % 3]
            for (_, blank), (_, value) in zip(_varying(*BLANK), _varying(series, number), strict=True):
                header = header.replace(blank.encode(), value.encode())
            with open(path / f"I{number:04d}", "wb") as stream:
                stream.write(header)
                stream.truncate(len(header) + 2 * 512 * 512)


def _encode(template: Any) -> bytes:
    """The bytes up to the pixels' value, with blanks of fixed length for what differs from file to file."""
    import io

    from pydicom import dcmwrite

    for keyword, value in _varying(*BLANK):
        setattr(template, keyword, value.split("\\"))
    template.file_meta.MediaStorageSOPInstanceUID = template.SOPInstanceUID
    buffer = io.BytesIO()
    dcmwrite(buffer, template, enforce_file_format=True)
    explicit = b"" if template.file_meta.TransferSyntaxUID.is_implicit_VR else b"OW\0\0"
    return buffer.getvalue() + b"\xe0\x7f\x10\x00" + explicit + (2 * 512 * 512).to_bytes(4, "little")


def _template(implicit: bool) -> Any:
    """A CT header for implicit VR, a CR header for explicit VR; every type of value that a scanner writes."""
    from pydicom.datadict import DicomDictionary, keyword_for_tag
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

    generator = random.Random(implicit)
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    kind = "1.2.840.10008.5.1.4.1.1.2" if implicit else "1.2.840.10008.5.1.4.1.1.1"
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = kind
    dataset.SpecificCharacterSet, dataset.ImageType = "ISO_IR 100", ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.Modality, dataset.Manufacturer, dataset.ManufacturerModelName = ("CT" if implicit else "CR"), "medai phantom", "Scan 64"
    dataset.ImageOrientationPatient, dataset.PixelSpacing = [1, 0, 0, 0, 1, 0], [0.7421875, 0.7421875]
    dataset.Rows, dataset.Columns, dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 512, 512, 16, 12, 11
    dataset.SamplesPerPixel, dataset.PixelRepresentation, dataset.PhotometricInterpretation = 1, 0, "MONOCHROME2"
    dataset.WindowCenter, dataset.WindowWidth, dataset.RescaleSlope, dataset.RescaleIntercept = [40, 500], [400, 1500], 1, -1024
    values = {"DS": "1.25", "IS": "7", "SH": "short text", "LO": "some longer text", "CS": "VALUE_1", "US": 5, "DA": "20240102"}
    values |= {"TM": "101112.123456", "PN": "NOBODY^AT ALL", "UI": "2.25.123456789", "FD": 1.5, "SL": 4, "ST": "text " * 20, "AS": "045Y"}
    groups = (0x0008, 0x0010, 0x0018, 0x0020, 0x0040)
    known = [
        tag
        for tag, (vr, many, _, retired, _) in DicomDictionary.items()
        if tag >> 16 in groups and vr in values and many == "1" and not retired
    ]
    for tag in generator.sample(known, 75 if implicit else 100):
        if tag not in dataset and keyword_for_tag(tag):
            dataset.add_new(tag, DicomDictionary[tag][0], values[DicomDictionary[tag][0]])
    for group, owner in ((0x0009, "MAKER_IDEN_01"), (0x0019, "MAKER_ACQU_01"), (0x0021, "MAKER_RELA_01"), (0x0029, "MAKER_CSA")):
        block = dataset.private_block(group, owner, create=True)
        for element in range(8):
            block.add_new(element, ("LO", "DS", "OB")[element % 3], ("private", "3.5", bytes(400))[element % 3])
    for keyword in ("ReferencedStudySequence", "RequestAttributesSequence", "ProcedureCodeSequence", "ReferencedImageSequence"):
        setattr(dataset, keyword, [_nested(level=2) for _ in range(3)])
        dataset[keyword].is_undefined_length = generator.random() < 0.5
    return dataset


def _nested(level: int) -> Any:
    from pydicom.dataset import Dataset

    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID, item.CodeValue = "1.2.840.10008.5.1.4.1.1.2", "2.25.99", "T-D4000"
    if level > 1:
        item.PurposeOfReferenceCodeSequence = [_nested(level - 1)]
    item.is_undefined_length_sequence_item = True
    return item


def _varying(series: int, number: int) -> list[tuple[str, str]]:
    """What differs from file to file, always of one length."""
    return [
        ("SOPInstanceUID", f"2.25.3{series:09d}{number:05d}"),
        ("StudyInstanceUID", f"2.25.1{series:09d}"),
        ("SeriesInstanceUID", f"2.25.2{series:09d}"),
        ("FrameOfReferenceUID", f"2.25.4{series:09d}"),
        ("PatientID", f"P{series // 3:07d}"),
        ("AccessionNumber", f"A{series:07d}"),
        ("InstanceNumber", f"{number:05d}"),
        ("ImagePositionPatient", f"-190.0\\-190.5\\{number * 1.25:010.4f}"),
        ("SeriesDescription", f"Series {series:05d}"),
    ]


def read_headers(_: None, paths: Sequence[str]) -> int:
    """The plain loop."""
    from pydicom import dcmread

    return sum(dcmread(path, stop_before_pixels=True).Rows > 0 for path in paths)


def run_pydicom(paths: list[str], folder: str, workers: int) -> Callable[[], int]:
    import pydicom  # noqa: F401  # its import is not timed

    if workers == 1:
        return lambda: read_headers(None, paths)
    from medai.core.tasks import run_tasks

    pieces = [paths[at : at + 2048] for at in range(0, len(paths), 2048)]
    return lambda: sum(run_tasks(read_headers, None, pieces, workers))


def run_medai(paths: list[str], folder: str, workers: int, cache: Path | None = None) -> Callable[[], int]:
    import os

    import polars as pl

    from medai.cohort.key import Keys
    from medai.source.base import ITEM_SCHEMA
    from medai.source.instances import scan_instances

    status = [(os.path.relpath(path, folder), *os.stat(path)[6:7], 0) for path in paths]
    items = pl.DataFrame(status, schema=ITEM_SCHEMA, orient="row")
    return lambda: int(scan_instances(items, Path(folder), cache, Keys(bytes(range(32))), workers)["code"].null_count())


def run_dicomsdl(paths: list[str], folder: str, workers: int) -> Callable[[], int]:
    import dicomsdl

    return lambda: sum(dicomsdl.open_file(path, load_until=0x7FE00000) is not None for path in paths)


def measure(method: str, folder: Path, workers: int) -> dict[str, Any]:
    """One method in this process, on files that are in the page cache."""
    paths = sorted(str(path) for path in folder.glob("study*/I*"))
    with tempfile.TemporaryDirectory() as cache:
        if method in ("cached", "rerun"):
            work = run_medai(paths, str(folder), workers, Path(cache))
            if method == "rerun":
                work()
        else:
            work = {"pydicom": run_pydicom, "medai": run_medai, "dicomsdl": run_dicomsdl}[method](paths, str(folder), workers)
        start = time.perf_counter()
        found = work()
        seconds = time.perf_counter() - start
    if found != len(paths):
        raise SystemExit(f"{method} read {found} of {len(paths)} files")
    return {"files": len(paths), "seconds": seconds, "files_per_second": len(paths) / seconds}


def measure_apart(method: str, folder: Path, workers: int, python: str) -> dict[str, Any]:
    command = [python, __file__, "--measure", method, "--folder", str(folder), "--workers", str(workers)]
    return dict(json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1]))


def has_dicomsdl(python: str) -> bool:
    return subprocess.run([python, "-c", "import dicomsdl"], check=False, capture_output=True).returncode == 0


def compare(folder: Path, rounds: int, dicomsdl: str) -> dict[str, Any]:
    """All methods in turns: a median over the rounds, and the ratio to the plain loop of the same round."""
    names = [name for name, (method, _) in METHODS.items() if method != "dicomsdl" or has_dicomsdl(dicomsdl)]
    measured: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for _ in range(rounds):
        for name in names:
            method, workers = METHODS[name]
            measured[name].append(measure_apart(method, folder, workers, dicomsdl if method == "dicomsdl" else sys.executable))
    plain = [row["files_per_second"] for row in measured[PLAIN]]
    return {
        name: {
            "files_per_second": statistics.median(row["files_per_second"] for row in rows),
            "ratio": statistics.median(row["files_per_second"] / base for row, base in zip(rows, plain, strict=True)),
            "rounds": rows,
        }
        for name, rows in measured.items()
    }


def table(results: dict[str, Any]) -> str:
    lines = ["| method | files/s | times the plain loop |", "| --- | --- | --- |"]
    return "\n".join(lines + [f"| {name} | {row['files_per_second']:,.0f} | {row['ratio']:.1f} |" for name, row in results.items()])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--files", type=int, default=60_000)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--dicomsdl", default=sys.executable, metavar="PYTHON")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    parser.add_argument("--workers", type=int, default=1, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        print(json.dumps(measure(given.measure, given.folder, given.workers)))
        return
    from medai.core.environment import commit, hardware, versions
    from medai.core.file import write_json

    files, rounds = (300, 1) if given.quick else (given.files, ROUNDS)
    with tempfile.TemporaryDirectory() as scratch:
        folder = given.folder or Path(scratch) / "studies"
        if not folder.exists():
            make_studies(folder, files)
        results = compare(folder, rounds, given.dicomsdl)
    print(table(results))
    ratio = results["medai, 2 processes"]["ratio"]
    print(f"\nmedai in 2 processes: {ratio:.1f} times the plain loop; target {TARGET:g}: {'met' if ratio >= TARGET else 'not met'}")
    if not given.quick:
        record = {"target": TARGET, "results": results, "commit": commit(), "versions": versions(), "hardware": hardware()}
        write_json(Path(__file__).parent / "results" / "scan.json", record)


if __name__ == "__main__":
    main()
