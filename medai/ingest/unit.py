"""The unit of ingest: some items are read, keyed and written as one part, or not at all."""

import hashlib
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Shaped

from medai.cohort.key import Keys
from medai.cohort.schema import CASE_SCHEMA, INSTANCE_SCHEMA, shard_name
from medai.cohort.write import write_table
from medai.core.error import Refusal
from medai.core.file import atomic_file
from medai.ingest.reason import reason
from medai.source.base import CaseRecord, RefusedItem, Source
from medai.store.shard import ShardWriter

CASES_PER_UNIT = 256
BYTES_PER_UNIT = 256 * 2**20
WORK = ".work"  # inside the unfinished cohort; gone from the finished one

LATER = ("ordinal", "partition", "exclusion")  # what only the whole cohort can tell
PART_SCHEMA = pl.Schema(
    {"position": pl.Int64, "join_key": pl.String}
    | {name: dtype for name, dtype in CASE_SCHEMA.items() if name not in LATER}
    | {name: dtype for name, dtype in INSTANCE_SCHEMA.items() if name not in CASE_SCHEMA}
)
REFUSED_PART_SCHEMA = pl.Schema({"position": pl.Int64, "source_key": pl.String, "code": pl.String, "message": pl.String})


@dataclass(frozen=True)
class Unit:
    """Some rows of a scan's items.

    Attributes:
        number: Of the part and of its shard.
        first: Position of the first row in the scan.
        rows: The rows.
    """

    number: int
    first: int
    rows: pl.DataFrame


@dataclass(frozen=True)
class UnitContext:
    """What all units of an ingest share.

    Attributes:
        source: Prepared, see `Source.prepare`.
        keys: How names enter the cohort.
        folder: The unfinished cohort.
        key: By what labels are joined, see `Scan.key`.
        wanted: Keyed, sorted: a case with another key has no label row. None: every case is wanted.
    """

    source: Source
    keys: Keys
    folder: Path
    key: str
    wanted: Shaped[np.ndarray, " K"] | None


def cut(items: pl.DataFrame) -> list[Unit]:
    """Cut a scan into units of at most 256 items and, where possible, 256 MB of files, so that a unit fills one shard."""
    units: list[Unit] = []
    first, size = 0, 0
    for position, more in enumerate(items["size"].to_numpy().tolist()):
        if position > first and (position - first == CASES_PER_UNIT or size + more > BYTES_PER_UNIT):
            units.append(Unit(len(units), first, items[first:position]))
            first, size = position, 0
        size += more
    return [*units, Unit(len(units), first, items[first:])] if len(items) else []


def cases_part(folder: Path, number: int) -> Path:
    """The part's table of cases. It is written last: where it is, the unit is done."""
    return folder / WORK / "parts" / f"{number:05d}.cases.parquet"


def refused_part(folder: Path, number: int) -> Path:
    """The part's table of refused items."""
    return folder / WORK / "parts" / f"{number:05d}.refused.parquet"


def ingest_unit(context: UnitContext, unit: Unit) -> int:
    """Read a unit and write its shard and its part. Gives the number of items."""
    position = {item: unit.first + index for index, item in enumerate(unit.rows["item"])}
    cases: list[dict[str, Any]] = []
    refused: list[dict[str, Any]] = []
    shard = context.folder / shard_name(unit.number)
    with atomic_file(shard) as temporary, open(temporary, "wb") as stream:
        writer = ShardWriter(stream)
        for outcome in context.source.read(unit.rows):
            place = {"position": position[outcome.item], "source_key": context.keys.name("item", outcome.item)}
            try:
                cases.append(place | _case(context, outcome, unit.number, writer))
            except Refusal as refusal:
                message = refusal.message if context.keys.public else reason(refusal.code)
                refused.append(place | {"code": refusal.code, "message": message})
    if not cases:
        shard.unlink()
    write_table(refused_part(context.folder, unit.number), pl.DataFrame(refused, schema=REFUSED_PART_SCHEMA))
    write_table(cases_part(context.folder, unit.number), pl.DataFrame(cases, schema=PART_SCHEMA))
    return len(unit.rows)


def _case(context: UnitContext, outcome: CaseRecord | RefusedItem, shard: int, writer: ShardWriter) -> dict[str, Any]:
    if isinstance(outcome, RefusedItem):
        raise Refusal(outcome.code, outcome.message)
    keys = context.keys
    join_key = keys.name(context.key, outcome.key(context.key))
    if not _is_wanted(context.wanted, join_key):
        raise Refusal("no-label-row", f"the label table has no row for this {context.key}")
    pixels = judge(outcome.pixels)
    offset, length = writer.append(pixels)
    days = timedelta(days=keys.days_back(outcome.patient or outcome.study or outcome.case))
    row = dict(outcome.acquisition) | dict(outcome.instance or {}) | {
        "join_key": join_key,
        "case_id": keys.name("instance", outcome.case),
        "patient_id": keys.name("patient", outcome.patient),
        "study_id": keys.name("study", outcome.study),
        "series_id": keys.name("series", outcome.series),
        "study_date": outcome.study_date - days if outcome.study_date else None,
        "shape": list(pixels.shape),
        "dtype": pixels.dtype.name,
        "pixel_min": float(pixels.min()),
        "pixel_max": float(pixels.max()),
        "pixel_hash": (keys.hash("pixels", hash_pixels(pixels)))[:32],
        "shard": shard,
        "offset": offset,
        "length": length,
    }  # fmt: skip
    return row


def _is_wanted(wanted: Shaped[np.ndarray, " K"] | None, key: str | None) -> bool:
    if wanted is None:
        return True
    if key is None:
        return False
    encoded = key.encode()
    place = int(np.searchsorted(wanted, np.bytes_(encoded)))
    return place < len(wanted) and bytes(wanted[place]) == encoded


def judge(pixels: Shaped[np.ndarray, "C H W"]) -> Shaped[np.ndarray, "C H W"]:
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


def hash_pixels(pixels: Shaped[np.ndarray, "C H W"]) -> str:
    """SHA-256 over type, shape and values, the same on every machine."""
    plain = np.ascontiguousarray(pixels.astype(pixels.dtype.newbyteorder("<"), copy=False))
    digest = hashlib.sha256(f"{plain.dtype.str}{plain.shape}".encode())
    digest.update(plain.data)
    return digest.hexdigest()
