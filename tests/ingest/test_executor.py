"""Items that crash or hang a process are refused, and the rest is ingested; a Dask cluster gives the same bytes."""

import os
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import medai.ingest.ingest
import medai.ingest.unit
from medai.ingest.executor import ExecutorSettings
from medai.ingest.ingest import ingest
from medai.source.base import CaseRecord
from medai.source.dicom import DicomSource


@dataclass(frozen=True)
class DeadlySource(DicomSource):
    """Some files end the process that reads them."""

    def _read(self, row: Mapping[str, Any], folder: Path) -> CaseRecord:
        if "Secretname2_" in row["item"]:
            os.kill(os.getpid(), signal.SIGSEGV)
        if "Secretname5_15" in row["item"]:
            time.sleep(60)
        return super()._read(row, folder)


@dataclass(frozen=True)
class SlowSource(DicomSource):
    """Takes its time."""

    def _read(self, row: Mapping[str, Any], folder: Path) -> CaseRecord:
        time.sleep(0.05)
        return super()._read(row, folder)


def _settings(hospital: Path) -> dict[str, Any]:
    return {"name": "h", "path": str(hospital / "files"), "labels": str(hospital / "labels.csv"), "targets": ["sick"], "key": "patient"}


@pytest.fixture(autouse=True)
def _small_units(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(medai.ingest.unit, "CASES_PER_UNIT", 7)
    monkeypatch.setattr(medai.ingest.ingest, "FEW_BYTES", 0)


def test_files_that_crash_or_hang_the_decoder_are_refused_and_the_rest_is_ingested(
    hospital: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDAI_SECONDS_PER_FILE", "2")
    cohort = ingest(DeadlySource(**_settings(hospital)), tmp_path / "c", workers=2)
    assert cohort.counts["quarantine"]["reader-crashed"] == 4 and cohort.counts["cases"] == 55
    instances = pl.read_parquet(cohort.path / "instances.parquet")
    assert (instances["code"] == "reader-crashed").sum() == 4 and cohort.counts["files"] == {"found": 61, "in_cases": 55, "in_no_case": 6}
    cohort.check()


def test_a_cluster_of_which_a_worker_is_killed_gives_the_same_bytes(
    hospital: Path, tmp_path: Path, cluster: str, tree: Callable[[Path], dict[str, bytes]]
) -> None:
    from threading import Timer

    from distributed import Client

    whole = ingest(DicomSource(**_settings(hospital)), tmp_path / "local", workers=0)
    with Client(cluster, set_as_default=False) as client:  # type: ignore[no-untyped-call]
        victim = next(iter(client.run(os.getpid).values()))
    timer = Timer(1.0, os.kill, (victim, signal.SIGKILL))
    timer.start()
    source = SlowSource(**_settings(hospital))
    cohort = ingest(source, tmp_path / "dask", executor=ExecutorSettings("dask", cluster))
    timer.join()
    left, right = tree(whole.path), tree(cohort.path)
    differing = {name for name in left.keys() | right.keys() if left.get(name) != right.get(name)}
    assert differing <= {"cohort.json"}, "the record names the kind of the source"
