"""A folder of phantom radiographs: real DICOM files and a table of their truth, made in parallel, resumable, in flat memory."""

import csv
import json
import multiprocessing
import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from medai.core.error import MedaiError
from medai.core.file import atomic_file, read_json, write_json
from medai.core.lock import locked
from medai.core.progress import progress
from medai.dicom.write import Encoding, uid_of, write_image
from medai.source.phantom.detector import present, quantise
from medai.source.phantom.simulate import FINDINGS, PhantomCase, PhantomSettings, simulate

COLUMNS = ("file", "patient", "site", "sex", "age", *FINDINGS)
_CHUNK = 250  # images of one unit of work, which is made again whole after a kill
_FOLDER = 1000  # images of one folder


def write_phantom(folder: Path, settings: PhantomSettings, workers: int | None = None, executor: Executor | None = None) -> None:
    """Write `settings.count` DICOM files (DX) under folder/images and folder/labels.csv; do nothing if they are there.

    ``phantom.json`` is written last and says that the folder is complete. A folder left half made is gone on with, and ends
    with the same bytes.

    Args:
        folder: Made where absent.
        settings: Count, size, seed.
        workers: Processes; 0 or 1 works in this one, None takes a process a core.
        executor: Anything of `concurrent.futures` instead of an own pool.

    Raises:
        MedaiError: the folder holds a phantom of other settings, or other things.
    """
    folder = Path(folder)
    if _is_complete(folder, settings):
        return
    with locked(folder.with_name(f".{folder.name}.lock")):  # several trainings may want it at once
        if not _is_complete(folder, settings):
            _write(folder, settings, workers, executor)


def _write(folder: Path, settings: PhantomSettings, workers: int | None, executor: Executor | None) -> None:
    parts = folder / "parts"
    parts.mkdir(parents=True, exist_ok=True)
    write_json(folder / "unfinished.json", settings.to_dict())
    starts = [start for start in range(0, settings.count, _CHUNK) if not _part(parts, start).exists()]
    with _pool(workers, executor, len(starts)) as pool, progress("Phantom", settings.count, "images") as bar:
        bar.advance(settings.count - sum(_size(start, settings) for start in starts))
        for start in _in_order(pool, folder, starts, settings):
            bar.advance(_size(start, settings))
    _join(parts, folder / "labels.csv", settings)
    if hasattr(os, "sync"):
        os.sync()  # once for all images, before the mark that says they are there
    write_json(folder / "phantom.json", settings.to_dict())
    (folder / "unfinished.json").unlink()
    for part in parts.iterdir():
        part.unlink()
    parts.rmdir()


def _is_complete(folder: Path, settings: PhantomSettings) -> bool:
    wanted = settings.to_dict()
    for name in ("phantom.json", "unfinished.json"):
        if (folder / name).exists():
            found = read_json(folder / name)
            if found != wanted:
                raise MedaiError(f"{folder} holds the phantom {json.dumps(found)}, not {json.dumps(wanted)}; choose another folder")
            return name == "phantom.json"
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise MedaiError(f"{folder} is not empty and holds no phantom; choose another folder")
    return False


def _size(start: int, settings: PhantomSettings) -> int:
    return min(_CHUNK, settings.count - start)


def _part(parts: Path, start: int) -> Path:
    return parts / f"{start:09d}.csv"


@contextmanager
def _pool(workers: int | None, executor: Executor | None, tasks: int) -> Iterator[Executor | None]:
    count = min(os.cpu_count() or 1 if workers is None else workers, tasks)
    if executor is not None or count <= 1:
        yield executor
        return
    with ProcessPoolExecutor(count, mp_context=multiprocessing.get_context("spawn")) as pool:  # fork is unsafe beside torch's threads
        yield pool


def _in_order(pool: Executor | None, folder: Path, starts: list[int], settings: PhantomSettings) -> Iterator[int]:
    """Run the units of work; only a few are in flight, so that memory stays flat."""
    pending: deque[tuple[int, Future[None]]] = deque()
    for start in starts:
        if pool is None:
            write_chunk(folder, start, settings)
            yield start
            continue
        pending.append((start, pool.submit(write_chunk, folder, start, settings)))
        if len(pending) > 4 * (os.cpu_count() or 1):
            done, future = pending.popleft()
            future.result()
            yield done
    for done, future in pending:
        future.result()
        yield done


def write_chunk(folder: Path, start: int, settings: PhantomSettings) -> None:
    """Write the images from `start` on, then the part of the table that says they are done."""
    keep_heap()
    for number in {index // _FOLDER for index in (start, start + _size(start, settings) - 1)}:
        (folder / "images" / f"{number:04d}").mkdir(parents=True, exist_ok=True)
    rows = [_write_case(folder, index, settings) for index in range(start, start + _size(start, settings))]
    with atomic_file(_part(folder / "parts", start)) as temporary, open(temporary, "w", newline="", encoding="utf-8") as stream:
        csv.writer(stream, lineterminator="\n").writerows(rows)


@cache
def keep_heap() -> None:
    """Make glibc keep freed memory in this process: without it, a fifth of an image's time goes into page faults.

    It gives the end of its heap back whenever more than 128 KiB to 512 KiB are free there, which the arrays of each image bring
    about many times; once a block of 32 MiB was freed, the limit is 64 MiB (mallopt(3), M_MMAP_THRESHOLD). Harmless elsewhere.
    """
    np.empty(2**25 - 2**16, np.uint8)


def _join(parts: Path, path: Path, settings: PhantomSettings) -> None:
    with atomic_file(path) as temporary, open(temporary, "w", encoding="utf-8") as stream:
        stream.write(",".join(COLUMNS) + "\n")
        for start in range(0, settings.count, _CHUNK):
            stream.write(_part(parts, start).read_text(encoding="utf-8"))


def _write_case(folder: Path, index: int, settings: PhantomSettings) -> list[Any]:
    case = simulate(settings.seed, index, settings)
    name = f"images/{index // _FOLDER:04d}/{index:07d}.dcm"
    path = folder / name
    site = case.visit.site
    stored = quantise(present(case.radiance, site, case.brightness), site.bits_stored)
    write_image(path, stored[None], "DX", _encoding(case, settings.seed, index))
    patient = f"PHANTOM-{settings.seed}-{case.visit.patient:06d}"
    return [name, patient, site.name, case.visit.sex, case.visit.age_years, *case.labels.values()]


def _encoding(case: PhantomCase, seed: int, index: int) -> Encoding:
    visit, site = case.visit, case.visit.site
    patient, top = f"{seed}/{visit.patient}", 2**site.bits_stored
    attributes = {
        "PatientID": f"PHANTOM-{seed}-{visit.patient:06d}",
        "PatientName": f"PHANTOM^{visit.patient:06d}",
        "PatientSex": visit.sex,
        "PatientAge": f"{visit.age_years:03d}Y",
        "StudyDate": f"20{10 + visit.study:02d}0101",
        "StudyID": str(visit.study + 1),
        "StudyInstanceUID": uid_of(f"phantom/study/{patient}/{visit.study}"),
        "SeriesInstanceUID": uid_of(f"phantom/series/{seed}/{index}"),
        "SOPInstanceUID": uid_of(f"phantom/instance/{seed}/{index}"),
        "Manufacturer": site.manufacturer,
        "ManufacturerModelName": site.model,
        "InstitutionName": f"Phantom Hospital {site.name}",
    }
    return Encoding(
        site.bits_stored,
        site.photometric,
        transfer_syntax=site.transfer_syntax,
        spacing_mm=(case.spacing_mm, case.spacing_mm),
        window=(top / 2, top),
        attributes=attributes,
    )
