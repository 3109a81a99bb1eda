"""Scan the headers of many items in parallel, and keep what was found, so that a rerun reads only what is new or has changed.

The cache is a folder of parts that are only added. What a header says of a patient is in them, so that a part is encrypted with
a key that follows from the site's key (AES-256-GCM; NIST SP 800-38D); of public data it is plain Parquet.
"""

import hmac
import io
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Integer, UInt32, UInt64

from medai.cohort.key import Keys
from medai.core.error import MedaiError
from medai.core.file import atomic_file
from medai.core.progress import progress
from medai.core.tasks import run_tasks
from medai.dicom.instance import INSTANCE_SCHEMA, instance_frame
from medai.source.archive import scan_item
from medai.source.packed import Packed, compact, runs

VERSION = 1
"""Of the parts; one more whenever the scan finds other values."""

FILES_A_TASK = 2048
WORTH_PROCESSES = 8192  # files; below, starting processes costs more than it saves
FEWEST_ROWS, MOST_ROWS = 2**16, 2**20  # of studies that are held at a time
READINGS = 8  # of each part; where studies lie so scattered that it would be more, more rows are held at a time
EVERY_COLUMN = tuple(INSTANCE_SCHEMA)
IDENTITY = ("item", "size", "mtime_ns")  # what makes a file the same file
STUDY = ("study_uid", "patient_id", "code")  # what tells which files have to be judged together
PASSING = ("missing-file", "unreadable-file")  # may be mended without a change of the file, so they are tried again
NOWHERE = 2**32 - 1
_NONCE = 12

Run = Callable[[Callable[[Any, Any], Any], Any, Sequence[Any], int], Iterator[Any]]
"""What runs the tasks: `run_tasks`, or an executor of the same form."""


@dataclass(frozen=True)
class _Context:
    folder: str
    cache: str | None
    keys: Keys


@dataclass(frozen=True)
class _Task:
    """Items to scan, and their rows in the listing."""

    rows: UInt32[np.ndarray, " N"]
    items: pl.DataFrame


@dataclass(frozen=True)
class _Found:
    """What a task found: where the rows lie, and STUDY of each.

    Attributes:
        rows: As in the task.
        study: STUDY, in the order of `rows`.
        kept: Which rows are in the part at `path`, in their order; the others are in `rest`, in theirs.
    """

    rows: UInt32[np.ndarray, " N"]
    study: pl.DataFrame
    kept: np.ndarray
    path: Path | None
    rest: pl.DataFrame


class _Tasks(Sequence[_Task]):
    """Rows to scan as tasks, each made when it is asked for."""

    def __init__(self, listed: Packed, rows: UInt32[np.ndarray, " N"]) -> None:
        self._listed, self._rows = listed, rows

    def __len__(self) -> int:
        return -(-len(self._rows) // FILES_A_TASK)

    def __getitem__(self, number: Any) -> Any:
        if not 0 <= number < len(self):
            raise IndexError(number)
        rows = self._rows[number * FILES_A_TASK : (number + 1) * FILES_A_TASK]
        return _Task(rows, self._listed.take(rows).select(IDENTITY))


class Instances:
    """The headers of very many files, of which some are in memory at a time.

    A row is 600 bytes; the rows of a cached scan stay in the cache, and 16 bytes a file tell in which part and where each is, and
    to which study it belongs.

    Attributes:
        listed: The items in their order; a row is an item's place there.
    """

    def __init__(self, listed: Packed, folder: Path, keys: Keys) -> None:
        self.listed = listed
        self._folder, self._keys = str(folder), keys
        self._parts: list[Path | pl.DataFrame] = []
        self._part = np.full(listed.height, NOWHERE, np.uint32)
        self._at = np.zeros(listed.height, np.uint32)
        self._study = np.zeros(listed.height, np.uint64)

    def __len__(self) -> int:
        return self.listed.height

    def missing(self) -> UInt32[np.ndarray, " N"]:
        """Rows that are not there yet."""
        return np.flatnonzero(self._part == NOWHERE).astype(np.uint32)

    def add(self, part: Path | pl.DataFrame, rows: Integer[np.ndarray, " N"], at: Integer[np.ndarray, " N"], study: pl.DataFrame) -> None:
        """Say where rows lie; of rows that are there already the first holds.

        Args:
            part: A part of the cache, or rows in memory: INSTANCE_SCHEMA, or the columns of it that are not null.
            rows: In the listing.
            at: Where in the part.
            study: STUDY of each.
        """
        new = self._part[rows] == NOWHERE
        if new.any():
            self._part[rows[new]], self._at[rows[new]] = len(self._parts), at[new]
            self._study[rows[new]] = _study_hash(study, rows)[new]
            self._parts.append(part)

    def take(self, rows: Integer[np.ndarray, " N"], columns: Sequence[str] = EVERY_COLUMN) -> pl.DataFrame:
        """INSTANCE_SCHEMA of some rows, or some columns of it, in the order in which the rows are named."""
        order = np.argsort(self._part[rows], kind="stable")
        found = [INSTANCE_SCHEMA.to_frame().select(columns)]
        for part, chosen in runs(self._part[rows][order], rows[order]):
            found.append(self._rows(part, chosen, columns))
        back = np.empty(len(rows), np.int64)
        back[order] = np.arange(len(rows))
        return pl.concat(found).select(pl.all().gather(back))

    def studies(self) -> Iterator[pl.DataFrame]:
        """All instances, whole studies at a time, with their `row`, in the order of the rows."""
        portion = self._portions()
        for number in range(int(portion.max(initial=0)) + 1):
            rows = np.flatnonzero(portion == number)
            yield self.take(rows).with_columns(row=pl.Series(rows.astype(np.uint32)))

    def pieces(self, columns: Sequence[str], size: int = 2**16) -> Iterator[tuple[Integer[np.ndarray, " N"], pl.DataFrame]]:
        """Some columns of all rows in their order, some rows at a time, with their numbers."""
        for start in range(0, max(len(self), 1), size):
            rows = np.arange(start, min(start + size, len(self)))
            yield rows, self.take(rows, columns)

    def _rows(self, part: int, rows: Integer[np.ndarray, " N"], columns: Sequence[str]) -> pl.DataFrame:
        held = self._parts[part]
        if isinstance(held, Path):
            try:
                return _read_part(held, self._keys, columns).select(pl.all().gather(self._at[rows]))
            except (FileNotFoundError, ValueError, pl.exceptions.PolarsError):  # gone since, or damaged: it is in the files still
                return _scan_frame(self._folder, self.listed.take(rows).select(IDENTITY)).select(columns)
        return pl.concat([INSTANCE_SCHEMA.to_frame(), held.select(pl.all().gather(self._at[rows]))], how="diagonal").select(columns)

    def _portions(self) -> UInt32[np.ndarray, " N"]:
        """Which rows are held together, by number: whole studies, in the order of their first files."""
        sizes = pl.DataFrame({"study": self._study}).with_row_index("row").group_by("study").agg(pl.len(), pl.col("row").min()).sort("row")
        ends = sizes["len"].cum_sum().to_numpy() - 1
        by_hash = np.argsort(sizes["study"].to_numpy())
        studies = sizes["study"].to_numpy()[by_hash]
        portion = np.empty(len(self), np.uint32)
        size = FEWEST_ROWS
        while True:
            number = (ends // size).astype(np.uint32)[by_hash]
            for start in range(0, len(self), 2**20):
                piece = slice(start, start + 2**20)
                portion[piece] = number[np.searchsorted(studies, self._study[piece])]
            if size >= MOST_ROWS or self._readings(portion) <= READINGS * len(self._parts):
                return portion
            size *= 2

    def _readings(self, portion: UInt32[np.ndarray, " N"]) -> int:
        """How often a part would be read, all parts together."""
        pairs = np.zeros(0, np.uint64)
        for start in range(0, len(self), 2**20):
            piece = slice(start, start + 2**20)
            pairs = np.union1d(pairs, portion[piece].astype(np.uint64) << np.uint64(32) | self._part[piece])
        return len(pairs)


def scan_instances(
    items: pl.DataFrame, folder: Path, cache: Path | None, keys: Keys, workers: int = 1, run: Run = run_tasks
) -> pl.DataFrame:
    """The headers of all items at once: INSTANCE_SCHEMA, a row an item, in the order of `items`. See `open_instances`."""
    found = open_instances(Packed.of(items), folder, cache, keys, workers, run)
    return found.take(np.arange(len(found)))


def open_instances(listed: Packed, folder: Path, cache: Path | None, keys: Keys, workers: int = 1, run: Run = run_tasks) -> Instances:
    """Scan the headers of all items that the cache does not hold.

    Args:
        listed: `item`, `size`, `mtime_ns`, and perhaps `code` and `message` of those that need no reading (see `list_items`).
        folder: To which the items are relative.
        cache: A folder for what was found; made where it is absent. None keeps everything in memory.
        keys: Encrypt the cache, unless they are literal (public data).
        workers: Processes.
        run: What runs the tasks.
    """
    found = Instances(listed, folder, keys)
    parts = _part_folder(cache, keys) if cache else None
    if "code" in listed.schema:
        _add_refused(found)
    if parts:
        _add_parts(found, parts, keys)
    fresh = found.missing()
    context = _Context(str(folder), str(parts) if parts else None, keys)
    with progress("Scan", len(fresh), "files") as bar:
        for part in run(_scan_part, context, _Tasks(listed, fresh), workers if len(fresh) >= WORTH_PROCESSES else 1):
            kept, rest = np.flatnonzero(part.kept), np.flatnonzero(~part.kept)
            if part.path:
                found.add(part.path, part.rows[kept], np.arange(len(kept)), part.study[kept])
            found.add(part.rest, part.rows[rest], np.arange(len(rest)), part.study[rest])
            bar.advance(len(part.rows))
    return found


def _study_hash(study: pl.DataFrame, rows: Integer[np.ndarray, " N"]) -> UInt64[np.ndarray, " N"]:
    """Equal for files that are judged together; a file that is no instance stays with its neighbours."""
    alone = pl.Series(rows // FILES_A_TASK, dtype=pl.UInt64)
    key = (
        pl.when(pl.col("code").is_not_null())
        .then(alone)
        .when(pl.col("study_uid").is_not_null())
        .then(pl.col("study_uid").hash(0))
        .otherwise(pl.col("patient_id").hash(1))
    )
    return study.select(key.alias("study")).to_series().to_numpy()


def _add_refused(found: Instances) -> None:
    first = 0
    for frame in found.listed.frames():
        rows = first + frame["code"].is_not_null().arg_true().to_numpy()
        refused = compact(frame.filter(pl.col("code").is_not_null()).select(*IDENTITY, "code", "message"))
        study = refused.select("code", study_uid=pl.lit(None, pl.String), patient_id=pl.lit(None, pl.String))
        found.add(refused, rows, np.arange(len(rows)), study)
        first += frame.height


def _add_parts(found: Instances, folder: Path, keys: Keys) -> None:
    """The rows of all parts that are still true; a damaged part is removed, so that its items are scanned again."""
    paths = sorted(folder.glob("[0-9a-f]*.parquet" if keys.public else "[0-9a-f]*.sealed"))
    if not paths:
        return
    place = _Places(found.listed)
    for path in paths:
        try:
            part = _read_part(path, keys, (*IDENTITY, *STUDY))
        except FileNotFoundError:
            continue
        except (ValueError, pl.exceptions.PolarsError):
            path.unlink(missing_ok=True)
            continue
        rows, at = place.of(part)
        found.add(path, rows, at, part.select(STUDY)[at])


class _Places:
    """Where an item stands in the listing, by two 64-bit hashes of its identity."""

    def __init__(self, listed: Packed) -> None:
        first, second = np.empty(listed.height, np.uint64), np.empty(listed.height, np.uint64)
        start = 0
        for frame in listed.frames():
            piece = slice(start, start + frame.height)
            first[piece], second[piece] = self._hashes(frame)
            start += frame.height
        self._order = np.argsort(first).astype(np.uint32)
        first.sort()
        self._first, self._second = first, second

    def of(self, part: pl.DataFrame) -> tuple[UInt32[np.ndarray, " n"], Integer[np.ndarray, " n"]]:
        """The rows of those that are listed, and where they are in `part`."""
        first, second = self._hashes(part)
        near = np.searchsorted(self._first, first).clip(max=len(self._first) - 1)
        rows = self._order[near]
        at = np.flatnonzero((self._first[near] == first) & (self._second[rows] == second))
        return rows[at], at

    @staticmethod
    def _hashes(frame: pl.DataFrame) -> tuple[UInt64[np.ndarray, " N"], UInt64[np.ndarray, " N"]]:
        identity = frame.select(IDENTITY)
        return identity.hash_rows(seed=1).to_numpy(), identity.hash_rows(seed=2).to_numpy()


def _scan_frame(folder: str, items: pl.DataFrame) -> pl.DataFrame:
    return instance_frame([(item, size, mtime, *scan_item(folder, item)) for item, size, mtime in items.iter_rows()])


def _scan_part(context: _Context, task: _Task) -> _Found:
    """Scan some items and keep what was found; a task of a process."""
    frame = _scan_frame(context.folder, task.items)
    study = frame.select(STUDY)
    if not context.cache:
        return _Found(task.rows, study, np.zeros(len(frame), bool), None, frame)
    lasting = ~frame["code"].is_in(PASSING).fill_null(False)
    path = _write_part(Path(context.cache), task.items, frame.filter(lasting), context.keys) if lasting.any() else None
    rest = compact(frame.filter(~lasting).select(*IDENTITY, "code", "message", "digest"))
    return _Found(task.rows, study, lasting.to_numpy(), path, rest)


def _part_folder(cache: Path, keys: Keys) -> Path:
    """Parts of another version or of another key lie beside, and are left alone."""
    folder = Path(cache) / f"instances-{VERSION}-{keys.identity or 'public'}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _write_part(folder: Path, items: pl.DataFrame, frame: pl.DataFrame, keys: Keys) -> Path:
    """Equal items give an equal name, so that two runs at once write the same part; keyed, since it depends on names."""
    name = keys.hash("scan", _hash(items.write_csv().encode()))[:32]
    buffer = io.BytesIO()
    frame.write_parquet(buffer)
    data = buffer.getvalue()
    # Parquet does not see each damage by itself; the seal does, and of plain parts the name holds a checksum.
    path = folder / (f"{name}-{_hash(data)}.parquet" if keys.public else f"{name}.sealed")
    with atomic_file(path) as temporary:
        temporary.write_bytes(_seal(data, keys))
    return path


def _hash(data: bytes) -> str:
    return blake2b(data, digest_size=16).hexdigest()


def _read_part(path: Path, keys: Keys, columns: Sequence[str]) -> pl.DataFrame:
    """A part of the cache.

    Raises:
        ValueError: it is damaged, sealed with another key, or has another schema.
        polars.exceptions.PolarsError: it is damaged.
        FileNotFoundError: it is gone.
    """
    data = io.BytesIO(_unseal(path, keys))
    if pl.Schema(pl.read_parquet_schema(data)) != INSTANCE_SCHEMA:
        raise ValueError("another schema")
    data.seek(0)
    return pl.read_parquet(data, columns=list(columns))


def _seal(data: bytes, keys: Keys) -> bytes:
    if keys.secret is None:
        return data
    nonce = os.urandom(_NONCE)
    sealed: bytes = _cipher(keys.secret).encrypt(nonce, data, _about())
    return nonce + sealed


def _unseal(path: Path, keys: Keys) -> bytes:
    """The data of a part.

    Raises:
        ValueError: it is damaged, or sealed with another key.
    """
    data = path.read_bytes()
    if keys.secret is None:
        if path.stem.rpartition("-")[2] != _hash(data):
            raise ValueError("damaged")
        return data
    cipher = _cipher(keys.secret)
    from cryptography.exceptions import InvalidTag

    try:
        opened: bytes = cipher.decrypt(data[:_NONCE], data[_NONCE:], _about())
    except InvalidTag:
        raise ValueError("damaged, or sealed with another key") from None
    return opened


def _cipher(secret: bytes) -> Any:
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    except ModuleNotFoundError:
        raise MedaiError("the cache of a scan is encrypted; run: pip install 'medai[ingest]'") from None
    return AESGCM(hmac.digest(secret, b"medai cache of instances", "sha256"))


def _about() -> bytes:
    return f"medai instances {VERSION}".encode()
