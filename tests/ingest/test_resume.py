"""Killed at any point, an ingest goes on where it stopped and ends with the same bytes."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import medai.ingest.finish
import medai.ingest.ingest
import medai.ingest.unit
from medai.ingest.ingest import ingest
from medai.source.dicom import DicomSource

SCRIPT = """
import sys, time
from pathlib import Path
import medai.ingest.unit, medai.ingest.ingest, medai.source.dicom

folder, cohorts, workers, stall = sys.argv[1:]
read = medai.source.dicom.read_frames

def stalling(path, *arguments, **keywords):
    if path.name == stall:
        Path(cohorts + ".stalled").touch()
        time.sleep(600)
    return read(path, *arguments, **keywords)

medai.source.dicom.read_frames = stalling  # in the workers too: they run this file up to here
if __name__ == "__main__":
    medai.ingest.unit.CASES_PER_UNIT = 4
    medai.ingest.ingest.FEW_BYTES = 0
    medai.ingest.unit.SECONDS_PER_FILE = 600
    source = medai.source.dicom.DicomSource("h", folder + "/files", folder + "/labels.csv", ["sick"], key="patient")
    medai.ingest.ingest.ingest(source, cohorts, workers=int(workers))
"""
UNITS = 16  # of 61 files


@pytest.fixture(autouse=True)
def _small_units(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(medai.ingest.unit, "CASES_PER_UNIT", 4)


def _source(folder: Path) -> DicomSource:
    return DicomSource("h", str(folder / "files"), str(folder / "labels.csv"), ["sick"], key="patient")


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _start(folder: Path, cohorts: Path, workers: int, stall: str = "-") -> subprocess.Popen[bytes]:
    script = cohorts.with_suffix(".py")
    script.write_text(SCRIPT)
    root = str(Path(medai.ingest.ingest.__file__).parents[2])
    command = [sys.executable, str(script), str(folder), str(cohorts), str(workers), stall]
    return subprocess.Popen(command, env=os.environ | {"PYTHONPATH": root, "OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE)


def _kill_when_stalled(process: subprocess.Popen[bytes], cohorts: Path) -> None:
    deadline = time.monotonic() + 60
    while not cohorts.with_suffix(".stalled").exists():
        assert process.poll() is None, f"the ingest ended by itself: {process.communicate()[1].decode()}"
        assert time.monotonic() < deadline, "the ingest did not come to the file at which it is killed"
        time.sleep(0.01)
    children = _children(process.pid)
    process.send_signal(signal.SIGKILL)
    process.wait()
    _wait_for_end(children)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("stall", ["Secretname0_00.dcm", "Secretname13_41.dcm"])  # in the first unit, and near the middle
def test_an_ingest_killed_in_the_middle_of_a_unit_goes_on_and_ends_with_the_same_bytes(
    hospital: Path, tmp_path: Path, tree: Callable[[Path], dict[str, bytes]], workers: int, stall: str
) -> None:
    whole = ingest(_source(hospital), tmp_path / "whole", workers=0)
    cohorts = tmp_path / "killed"
    _kill_when_stalled(_start(hospital, cohorts, workers, stall), cohorts)
    (unfinished,) = cohorts.glob("*.ingesting")
    assert list(unfinished.glob("pixels/.*.part")), "the kill left half a shard"
    done = len(list(unfinished.glob(".work/parts/*.cases.parquet")))
    assert done < UNITS and (done > 0 or "_00" in stall)
    cohort = ingest(_source(hospital), cohorts, workers=0)
    assert tree(cohort.path) == tree(whole.path)
    assert [path.name for path in cohorts.iterdir() if not path.name.startswith(".")] == [whole.path.name]


def _wait_for_end(children: list[int]) -> None:
    """Workers end with a parent that was killed."""
    deadline = time.monotonic() + 20
    while any(_is_alive(child) for child in children):
        assert time.monotonic() < deadline, "a worker outlived its parent"
        time.sleep(0.02)


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_finished_parts_are_not_read_again(hospital: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(medai.ingest.ingest, "finish", stop)
        with pytest.raises(KeyboardInterrupt):
            ingest(_source(hospital), tmp_path / "c", workers=0)
    monkeypatch.setattr(medai.ingest.ingest, "ingest_unit", None)
    assert ingest(_source(hospital), tmp_path / "c", workers=0).counts["cases"] == 59


@pytest.mark.parametrize("step", ["rmtree", "rename"])
def test_a_kill_while_publishing_loses_nothing(
    hospital: Path, tmp_path: Path, tree: Callable[[Path], dict[str, bytes]], monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def stop(*arguments: object, **keywords: object) -> None:
        raise KeyboardInterrupt

    whole = ingest(_source(hospital), tmp_path / "whole", workers=0)
    with monkeypatch.context() as patched:
        if step == "rmtree":
            patched.setattr(medai.ingest.finish.shutil, "rmtree", stop)
        else:
            patched.setattr(Path, "rename", stop)
        with pytest.raises(KeyboardInterrupt):
            ingest(_source(hospital), tmp_path / "c", workers=0)
    cohort = ingest(_source(hospital), tmp_path / "c", workers=0)
    assert tree(cohort.path) == tree(whole.path)


def test_two_ingests_at_once_make_one_cohort(hospital: Path, tmp_path: Path) -> None:
    both = [_start(hospital, tmp_path / "c", workers=0) for _ in range(2)]
    assert [process.communicate(timeout=120)[1].count(b"59 cases + 3") for process in both].count(1) == 1  # the other one opened it
    assert [process.returncode for process in both] == [0, 0]
    ingest(_source(hospital), tmp_path / "c", workers=0).check()
