"""The unit of ingest: some items are read, keyed and written as one part, or not at all."""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Shaped

from medai.cohort.key import Keys
from medai.cohort.schema import CASE_SCHEMA, shard_name
from medai.cohort.write import hash_part, write_table
from medai.core.error import Refusal
from medai.core.file import atomic_file
from medai.core.watchdog import Watchdog
from medai.ingest.reason import reason
from medai.source.base import CaseRecord, RefusedItem, Source
from medai.store.shard import ShardWriter
from medai.store.volume import volume_name, write_volume
from medai.store.write_out import WriteOut

CASES_PER_UNIT = 256
BYTES_PER_UNIT = 256 * 2**20
UNITS, FEWEST_CASES, FEWEST_BYTES = 32, 8, 8 * 2**20  # of a small data set: so many units, of at least so much each
WORK = ".work"  # inside the unfinished cohort; gone from the finished one

SECONDS_PER_FILE = float(os.environ.get("MEDAI_SECONDS_PER_FILE", "10"))  # that a process may take, before it is taken for hung

LATER = ("ordinal", "partition", "exclusion")  # what only the whole cohort can tell
FILE_HASH = "file_hash"  # of the shard or the volume that holds the pixels, as the cohort's record has it
PART_SCHEMA = pl.Schema(
    {"position": pl.Int64} | {name: dtype for name, dtype in CASE_SCHEMA.items() if name not in LATER} | {FILE_HASH: pl.String}
)
REFUSED_PART_SCHEMA = pl.Schema({"position": pl.Int64, "files": pl.Int32, "source_key": pl.String, "code": pl.String, "message": pl.String})


@dataclass(frozen=True)
class Unit:
    """Some rows of a scan's items.

    Attributes:
        number: Of the part and of its shard.
        first: Position of the first row in the scan.
        rows: The rows.
        deadly: Items that ended the process that read them; they are refused unread.
    """

    number: int
    first: int
    rows: pl.DataFrame
    deadly: tuple[str, ...] = ()


@dataclass(frozen=True)
class UnitContext:
    """What all units of an ingest share.

    Attributes:
        source: Prepared, see `Source.prepare`.
        keys: How names enter the cohort.
        folder: The unfinished cohort.
    """

    source: Source
    keys: Keys
    folder: Path


def cut(items: pl.DataFrame) -> list[Unit]:
    """Cut a scan into units of at most 256 items and, where possible, 256 MB of files, so that a unit fills one shard.

    A small data set is cut finer, so that there is work for several processes; the cut does not depend on how many there are.
    """
    sizes = items["size"].to_numpy().tolist()
    most_cases = min(CASES_PER_UNIT, max(FEWEST_CASES, -(-len(sizes) // UNITS)))
    most_bytes = min(BYTES_PER_UNIT, max(FEWEST_BYTES, -(-sum(sizes) // UNITS)))
    units: list[Unit] = []
    first, size = 0, 0
    for position, more in enumerate(sizes):
        if position > first and (position - first == most_cases or size + more > most_bytes):
            units.append(Unit(len(units), first, items[first:position]))
            first, size = position, 0
        size += more
    return [*units, Unit(len(units), first, items[first:])] if len(items) else []


def cases_part(folder: Path, number: int) -> Path:
    """The part's table of cases. It is written last: where it is, the unit is done."""
    return folder / WORK / "parts" / f"{number:05d}.cases.parquet"


def refused_part(folder: Path, number: int) -> Path:
    """The part's table of refused items; absent where there are none."""
    return folder / WORK / "parts" / f"{number:05d}.refused.parquet"


def _journal(folder: Path, number: int) -> Path:
    """Which item is being read, by its position, since its name may name a patient: what is known when the process dies."""
    return folder / WORK / "parts" / f"{number:05d}.reading"


def forget_journals(folder: Path) -> None:
    """Those of an earlier ingest that was killed: they accuse nobody."""
    for journal in (folder / WORK / "parts").glob("*.reading"):
        journal.unlink()


def mend_unit(folder: Path, unit: Unit) -> Unit | None:
    """The unit without the item that ended its process; None if it died before it read one."""
    try:
        position = int(_journal(folder, unit.number).read_text())
    except (FileNotFoundError, ValueError):
        return None
    item = unit.rows["item"][position - unit.first]
    return None if item in unit.deadly else replace(unit, deadly=(*unit.deadly, item))


def ingest_unit(context: UnitContext, unit: Unit) -> int:
    """Read a unit and write its shard and its part. Gives the number of items."""
    files = unit.rows["files"].to_list() if "files" in unit.rows.columns else [1] * len(unit.rows)
    place = {item: (unit.first + index, count) for index, (item, count) in enumerate(zip(unit.rows["item"], files, strict=True))}
    cases: list[dict[str, Any]] = []
    refused: list[dict[str, Any]] = []
    shard = context.folder / shard_name(unit.number)
    with atomic_file(shard) as temporary, open(temporary, "wb") as stream, WriteOut(stream) as out:
        writer = ShardWriter(stream)
        for outcome in _outcomes(context, unit, place):
            position, count = place[outcome.item]
            where = {"position": position, "source_key": context.keys.name("item", outcome.item), "files": count}
            try:
                cases.append(where | _case(context, outcome, position, unit.number, writer))
                out.wrote(cases[-1]["length"] or 0)
            except Refusal as refusal:
                message = refusal.message if context.keys.public else reason(refusal.code)
                refused.append(where | {"code": refusal.code, "message": message})
    if not any(case["shard"] is not None for case in cases):
        shard.unlink()
    whole = context.keys.hash("part", writer.digest())
    for case in cases:
        case.setdefault(FILE_HASH, whole)
    if refused:
        write_table(refused_part(context.folder, unit.number), pl.DataFrame(refused, schema=REFUSED_PART_SCHEMA))
    else:
        refused_part(context.folder, unit.number).unlink(missing_ok=True)  # of an earlier attempt
    write_table(cases_part(context.folder, unit.number), pl.DataFrame(cases, schema=PART_SCHEMA))
    return len(unit.rows)


def _outcomes(context: UnitContext, unit: Unit, place: dict[str, tuple[int, int]]) -> Iterator[CaseRecord | RefusedItem]:
    """What the source makes of each item, in order; a process that hangs at one ends itself."""
    for item in unit.deadly:
        yield RefusedItem(item, "reader-crashed", "the decoder crashed or hung")
    rows = unit.rows.filter(~pl.col("item").is_in(unit.deadly)) if unit.deadly else unit.rows
    outcomes = context.source.read(rows)
    journal = _journal(context.folder, unit.number)
    with open(journal, "wb", buffering=0) as stream, Watchdog() as watchdog:
        for item in rows["item"]:
            stream.truncate(0)
            position, count = place[item]
            os.pwrite(stream.fileno(), str(position).encode(), 0)
            watchdog.allow(SECONDS_PER_FILE * (1 + count))
            yield next(outcomes)
    journal.unlink()


def _case(context: UnitContext, outcome: CaseRecord | RefusedItem, position: int, shard: int, writer: ShardWriter) -> dict[str, Any]:
    if isinstance(outcome, RefusedItem):
        raise Refusal(outcome.code, outcome.message)
    keys = context.keys
    pixels = judge(outcome.pixels)
    days = timedelta(days=keys.days_back(outcome.patient or outcome.study or outcome.case))
    row = dict(outcome.acquisition) | {
        "case_id": keys.name("instance", outcome.case),
        "patient_id": keys.name("patient", outcome.patient),
        "study_id": keys.name("study", outcome.study),
        "series_id": keys.name("series", outcome.series),
        "study_date": outcome.study_date - days if outcome.study_date else None,
        "affine": None if outcome.affine is None else outcome.affine.ravel().tolist(),
        "shape": list(pixels.shape),
        "dtype": pixels.dtype.name,
        "pixel_min": float(pixels.min()),
        "pixel_max": float(pixels.max()),
        "pixel_hash": (keys.hash("pixels", hash_pixels(pixels)))[:32],
    }  # fmt: skip
    return row | _store(context, pixels, position, shard, writer)


def _store(context: UnitContext, pixels: Shaped[np.ndarray, "C *D H W"], position: int, shard: int, writer: ShardWriter) -> dict[str, Any]:
    if pixels.ndim == 4:
        name = f"{position:08d}"
        path = context.folder / volume_name(name)
        write_volume(path, pixels)
        return {"volume": name, "shard": None, "offset": None, "length": None, FILE_HASH: hash_part(path, context.keys)}
    offset, length = writer.append(pixels)
    return {"volume": None, "shard": shard, "offset": offset, "length": length}


def judge(pixels: Shaped[np.ndarray, "C *D H W"]) -> Shaped[np.ndarray, "C *D H W"]:
    """Pixels that can be stored and used.

    Raises:
        Refusal: ``empty-image``, ``unsupported-pixels`` or ``non-finite-pixels``.
    """
    if pixels.size == 0:
        raise Refusal("empty-image", f"the image has the shape {pixels.shape}; expected at least one pixel")
    if pixels.dtype.kind not in "buif" or pixels.dtype.itemsize > 8:
        raise Refusal("unsupported-pixels", f"the pixels are {pixels.dtype}; expected whole or floating-point numbers")
    if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
        raise Refusal("non-finite-pixels", "the image holds values that are not numbers (NaN or infinite)")
    return pixels.astype(np.uint8) if pixels.dtype.kind == "b" else pixels


def hash_pixels(pixels: Shaped[np.ndarray, "C *D H W"]) -> str:
    """SHA-256 over type, shape and values, the same on every machine."""
    plain = np.ascontiguousarray(pixels.astype(pixels.dtype.newbyteorder("<"), copy=False))
    digest = hashlib.sha256(f"{plain.dtype.str}{plain.shape}".encode())
    digest.update(plain.data)
    return digest.hexdigest()
