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
import sys
import medai.ingest.unit, medai.ingest.ingest
from medai.source.dicom import DicomSource
if __name__ == "__main__":
    medai.ingest.unit.CASES_PER_UNIT = 2
    medai.ingest.ingest.FEW_BYTES = 0
    folder, cohorts, workers = sys.argv[1:]
    source = DicomSource("h", folder + "/files", folder + "/labels.csv", ["sick"], key="patient")
    medai.ingest.ingest.ingest(source, cohorts, workers=int(workers))
"""


@pytest.fixture(autouse=True)
def _small_units(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(medai.ingest.unit, "CASES_PER_UNIT", 2)


def _source(folder: Path) -> DicomSource:
    return DicomSource("h", str(folder / "files"), str(folder / "labels.csv"), ["sick"], key="patient")


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.parametrize(("workers", "parts"), [(0, 3), (0, 20), (2, 5)])
def test_a_killed_ingest_goes_on_and_ends_with_the_same_bytes(
    hospital: Path, tmp_path: Path, tree: Callable[[Path], dict[str, bytes]], workers: int, parts: int
) -> None:
    whole = ingest(_source(hospital), tmp_path / "whole", workers=0)
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    root = str(Path(medai.ingest.ingest.__file__).parents[2])
    process = subprocess.Popen(
        [sys.executable, str(script), str(hospital), str(tmp_path / "killed"), str(workers)],
        env=os.environ | {"PYTHONPATH": root, "OMP_NUM_THREADS": "1"},
    )
    while len(list((tmp_path / "killed").glob("*.ingesting/.work/parts/*.cases.parquet"))) < parts:
        assert process.poll() is None, "the ingest ended before it could be killed"
        time.sleep(0.0005)
    children = _children(process.pid)
    process.send_signal(signal.SIGKILL)
    process.wait()
    (unfinished,) = (tmp_path / "killed").glob("*.ingesting")
    assert not (unfinished / "cohort.json").exists()
    _wait_for_end(children)
    done = len(list(unfinished.glob(".work/parts/*.cases.parquet")))
    (unfinished / "pixels/.00003.shard.0badc0de.part").write_bytes(b"half a shard")
    cohort = ingest(_source(hospital), tmp_path / "killed", workers=0)
    assert parts <= done < 31
    assert tree(cohort.path) == tree(whole.path)
    assert [path.name for path in (tmp_path / "killed").iterdir() if not path.name.startswith(".")] == [whole.path.name]


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

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(medai.ingest.ingest, "finish", stop)
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
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        if step == "rmtree":
            patched.setattr(medai.ingest.finish.shutil, "rmtree", stop)
        else:
            patched.setattr(Path, "rename", stop)
        ingest(_source(hospital), tmp_path / "c", workers=0)
    cohort = ingest(_source(hospital), tmp_path / "c", workers=0)
    assert tree(cohort.path) == tree(whole.path)


def test_two_ingests_at_once_make_one_cohort(hospital: Path, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    root = str(Path(medai.ingest.ingest.__file__).parents[2])
    command = [sys.executable, str(script), str(hospital), str(tmp_path / "c"), "0"]
    both = [subprocess.Popen(command, env=os.environ | {"PYTHONPATH": root, "OMP_NUM_THREADS": "1"}) for _ in range(2)]
    assert [process.wait(60) for process in both] == [0, 0]
    ingest(_source(hospital), tmp_path / "c", workers=0).check()
