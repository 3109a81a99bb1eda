"""Mutated files through the reader in processes that may die: each is an image or a refusal, in bounded time and memory."""

import json
import multiprocessing
import os
import resource
import subprocess
import sys
import warnings
from collections import Counter
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medai.core.error import Refusal
from tests.dicom.mutate import mutation, seeds

SECONDS = 10
MEMORY_BYTES = 2**30
CODES = {
    "not-dicom",
    "truncated",
    "too-large",
    "no-pixels",
    "bad-header",
    "unsupported-pixels",
    "unsupported-syntax",
    "decode-failed",
}


def outcome_of(data: bytes, fast: bool) -> str:
    """The code of the refusal, or "image"; anything else goes up."""
    from medai.dicom.read import read_frames
    from medai.dicom.scan import scan_header

    scan_header(data)  # the other reader of headers: it gives a row in any case
    try:
        pixels, _ = read_frames(data, fast=fast)
    except Refusal as refusal:
        return refusal.code if "\n" not in refusal.message else f"more than a line: {refusal.message}"
    assert pixels.ndim == 4 and pixels.shape[1] in (1, 3) and pixels.dtype.name in ("uint8", "uint16", "int16", "int32", "float32")
    return "image"


def work(connection: Connection, fast: bool) -> None:
    """A worker: bytes in; outcome, seconds and peak memory of this file out. The peak is reset for each file."""
    warnings.simplefilter("ignore")
    resource.setrlimit(resource.RLIMIT_AS, (4 * MEMORY_BYTES, 4 * MEMORY_BYTES))  # only so that a bug does not take the machine along
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # the C libraries complain there
    outcome_of(seeds()["grey 1.2.840.10008.1.2.1"], fast)
    while True:
        data = connection.recv_bytes()
        Path("/proc/self/clear_refs").write_text("5")
        started = resource.getrusage(resource.RUSAGE_SELF)
        try:
            outcome = outcome_of(data, fast)
        except BaseException as error:
            outcome = f"escaped {type(error).__name__}: {error}"[:300]
        ended = resource.getrusage(resource.RUSAGE_SELF)
        peak = next(int(line.split()[1]) * 1024 for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
        connection.send((outcome, ended.ru_utime + ended.ru_stime - started.ru_utime - started.ru_stime, peak))


class Worker:
    """A process that is started again when it dies or hangs."""

    def __init__(self, fast: bool) -> None:
        self.fast = fast
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=work, args=(theirs, self.fast), daemon=True)
        self.process.start()
        theirs.close()

    def run(self, data: bytes) -> tuple[str, float, int]:
        try:
            self.connection.send_bytes(data)
            if self.connection.poll(6 * SECONDS):  # of wall clock, since others compute here too; the limit is of processor time
                answer: tuple[str, float, int] = self.connection.recv()
                return answer
            outcome = "hang"
        except (EOFError, ConnectionError):
            outcome = "crash"
        self.stop()
        self._start()
        return outcome, 0.0, 0

    def stop(self) -> None:
        self.process.kill()
        self.process.join()
        self.connection.close()


def fuzz(numbers: range, seed: int, fast: bool = True) -> list[dict[str, Any]]:
    """A row for each mutation; a file that ends its process is read again in the safe order, as ingest does."""
    worker, rows = Worker(fast), []
    try:
        for number in numbers:
            what, data = mutation(number, seed)
            outcome, seconds, peak = worker.run(data)
            crashed = outcome == "crash"
            if crashed:
                safe = Worker(fast=False)
                outcome, seconds, peak = safe.run(data)
                safe.stop()
            rows.append({"number": number, "what": what, "outcome": outcome, "seconds": seconds, "peak": peak, "crashed": crashed})
    finally:
        worker.stop()
    return rows


def check(rows: list[dict[str, Any]]) -> None:
    strange = [row for row in rows if row["outcome"] not in CODES | {"image"}]
    assert not strange, f"neither an image nor a refusal: {strange[:5]}"
    slow = [row for row in rows if row["seconds"] > SECONDS]
    assert not slow, f"over {SECONDS} s of processor time: {slow[:5]}"
    large = [row for row in rows if row["peak"] > MEMORY_BYTES]
    assert not large, f"over {MEMORY_BYTES:,} bytes: {large[:5]}"


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "files": len(rows),
        "outcomes": dict(Counter(row["outcome"] for row in rows)),
        "crashes contained": sum(row["crashed"] for row in rows),
        "slowest": max(rows, key=lambda row: row["seconds"]),
        "largest": max(rows, key=lambda row: row["peak"]),
    }


@pytest.mark.timeout(240)
def test_100_mutated_files_give_an_image_or_a_refusal_within_time_and_memory() -> None:
    rows = fuzz(range(100), seed=0)
    check(rows)
    outcomes = Counter(row["outcome"] for row in rows)
    assert len(rows) == 100
    assert {"image", "truncated", "too-large", "bad-header", "decode-failed", "not-dicom"} <= outcomes.keys()


@pytest.mark.proof
@pytest.mark.timeout(3600)
def test_2000_mutated_files_give_an_image_or_a_refusal_within_time_and_memory() -> None:
    rows = fuzz(range(2000), seed=1)
    told = summary(rows)
    print(json.dumps(told, indent=1))
    if os.environ.get("MEDAI_FUZZ_RESULT"):
        Path(os.environ["MEDAI_FUZZ_RESULT"]).write_text(json.dumps(told | {"rows": rows}, indent=1))
    check(rows)
    assert len(rows) == 2000 and len(told["outcomes"]) >= 6


def test_the_same_number_gives_the_same_mutation_in_any_process() -> None:
    code = (
        "import hashlib, warnings; warnings.simplefilter('ignore'); from tests.dicom.mutate import mutation, seeds;"
        "print(hashlib.sha256(b''.join([*seeds().values(), *(mutation(number)[1] for number in range(2, 17, 3))])).hexdigest())"
    )
    root = Path(__file__).resolve().parents[2]
    told = {subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True).stdout for _ in range(2)}
    assert len(told) == 1
    assert mutation(3, 0) != mutation(3, 1)


def test_every_seed_is_an_image() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert {name: outcome_of(data, fast=True) for name, data in seeds().items()} == dict.fromkeys(seeds(), "image")


def test_a_process_that_dies_is_told_and_started_again() -> None:
    worker = Worker(fast=True)
    try:
        os.kill(worker.process.pid or 0, 9)
        assert worker.run(b"x")[0] == "crash"
        assert worker.run(b"x")[0] == "not-dicom"
        assert worker.run(np.random.default_rng(0).bytes(5000))[0] == "not-dicom"
    finally:
        worker.stop()
