"""An ingest that is killed twenty times at random moments, or runs out of space, ends with the bytes of one that nobody disturbed."""

import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from medai.dicom.write import Encoding, write_image
from medai.ingest.ingest import ingest
from medai.source.dicom import DicomSource

ROOT = Path(__file__).resolve().parents[2]
KILLS, INSIDE = 20, 5  # kills in all, and how many at least after the first unit was written
SEED = 20261124
SCRIPT = """
import sys
import medai.ingest.ingest, medai.ingest.unit, medai.store.write_out
medai.store.write_out.WRITE_OUT_BYTES = 1  # here and in the processes it starts, as if each record were a large one
from tests.end_to_end.test_ingest_kills import source
if __name__ == "__main__":
    medai.ingest.ingest.FEW_BYTES = 0
    medai.ingest.ingest.ingest(source(sys.argv[1]), sys.argv[2], workers=2)
"""
FULL = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))\n"


def source(folder: str) -> DicomSource:
    return DicomSource("h", f"{folder}/files", f"{folder}/labels.csv", ["sick"], key="patient")


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """120 radiographs and 12 CT volumes of 60 patients."""
    folder = tmp_path_factory.mktemp("export")
    (folder / "files").mkdir()
    draw = np.random.default_rng(0)
    for number in range(120):
        names = {"PatientID": f"P{number % 60:03d}", "StudyInstanceUID": f"1.2.{number}", "SOPInstanceUID": f"1.2.{number}.1.1"}
        pixels = draw.integers(0, 4096, (1, 96, 80), dtype=np.uint16)
        write_image(folder / "files" / f"cr{number:03d}", pixels, encoding=Encoding(attributes=names))
    for number in range(12):
        for place in range(8):
            names = {
                "PatientID": f"P{number:03d}", "StudyInstanceUID": f"1.3.{number}", "SeriesInstanceUID": f"1.3.{number}.1",
                "SOPInstanceUID": f"1.3.{number}.1.{place}", "Modality": "CT", "PixelSpacing": [1.0, 1.0],
                "ImagePositionPatient": [0.0, 0.0, 2.0 * place], "ImageOrientationPatient": [1.0, 0.0, 0.0, 0.0, 1.0, 0.0],
            }  # fmt: skip
            pixels = draw.integers(0, 4096, (1, 64, 64), dtype=np.uint16)
            write_image(folder / "files" / f"ct{number:02d}-{place}", pixels, encoding=Encoding(attributes=names))
    (folder / "labels.csv").write_text("patient,sick\n" + "\n".join(f"P{number:03d},{number % 2}" for number in range(60)) + "\n")
    return folder


def start(export: Path, cohorts: Path, before: str = "") -> subprocess.Popen[bytes]:
    script = cohorts.with_suffix(".py")
    script.write_text(before + SCRIPT)
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(script), str(export), str(cohorts)]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, start_new_session=True)


def parts(cohorts: Path) -> list[Path]:
    """The units that an unfinished ingest has written."""
    return list(cohorts.glob("*.ingesting/.work/parts/*.cases.parquet"))


def content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.proof
@pytest.mark.timeout(900)
def test_twenty_kills_leave_no_trace(export: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = ingest(source(str(export)), tmp_path / "whole", workers=0)
    assert whole.counts["files"] == {"found": 216, "in_cases": 216, "in_no_case": 0}
    draw, kills, inside, cohorts = random.Random(SEED), 0, 0, tmp_path / "killed"
    while kills < KILLS:
        process = start(export, cohorts)
        if kills % 2:  # every second one waits for a unit to be written
            before = len(parts(cohorts))
            while process.poll() is None and len(parts(cohorts)) <= before:
                time.sleep(0.005)
            time.sleep(draw.uniform(0, 0.3))
        else:
            with suppress(subprocess.TimeoutExpired):
                process.wait(draw.uniform(0.2, 4))
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            kills += 1
            inside += bool(parts(cohorts))
        process.wait()
        for path in cohorts.glob("h-????????"):  # it came through: once more from the start, so that there is something to kill
            assert content(path) == content(whole.path)
            shutil.rmtree(path)
    cohort = ingest(source(str(export)), cohorts, workers=2)
    with capsys.disabled():
        print(f"\n{kills} kills (seed {SEED}), {inside} after the first unit was written")
    assert inside >= INSIDE
    assert content(cohort.path) == content(whole.path)
    cohort.check()


def test_a_full_disk_is_one_line_and_the_next_ingest_goes_on(export: Path, tmp_path: Path) -> None:
    whole = ingest(source(str(export)), tmp_path / "whole", workers=0)
    assert max(path.stat().st_size for path in (whole.path / "pixels").iterdir()) > 60_000
    process = start(export, tmp_path / "full", FULL)
    _, told = process.communicate(timeout=120)
    assert process.returncode != 0 and b"File too large" in told
    assert not any((tmp_path / "full").glob("*/cohort.json"))
    cohort = ingest(source(str(export)), tmp_path / "full", workers=2)
    assert content(cohort.path) == content(whole.path)
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
