"""Write a cohort's tables and its record."""

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import polars as pl

from medai.cohort.key import Keys
from medai.cohort.schema import RECORD, SCHEMA_VERSION
from medai.core.file import atomic_file, canonical_json, hash_file, hash_text, write_json

ROW_GROUP = 65_536


def write_table(path: Path, frame: pl.DataFrame) -> None:
    """Write a Parquet file atomically; the same rows give the same bytes."""
    with atomic_file(path) as temporary:
        frame.rechunk().write_parquet(temporary, compression="zstd", compression_level=3, row_group_size=ROW_GROUP)


def write_pieces(path: Path, pieces: Iterable[pl.DataFrame], scratch: Path, column: str) -> tuple[int, int]:
    """Write a Parquet file of many rows that are not in memory together; the bytes are those of `write_table`.

    Args:
        path: Where to.
        pieces: The rows, in order; at least one piece.
        scratch: A folder for the pieces, gone afterwards.
        column: Whose values are counted.

    Returns:
        The number of rows, and of those where `column` is not null.
    """
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    rows, known = 0, 0
    parts: list[Path] = []
    for piece in pieces:
        parts.append(scratch / f"{len(parts):06d}.parquet")
        piece.write_parquet(parts[-1], compression="zstd", compression_level=1)
        rows, known = rows + piece.height, known + int(piece[column].is_not_null().sum())
    if len(parts) == 1:
        write_table(path, pl.read_parquet(parts[0]))
    else:
        with atomic_file(path) as temporary:
            pl.scan_parquet(parts, glob=False).sink_parquet(temporary, compression="zstd", compression_level=3, row_group_size=ROW_GROUP)
    shutil.rmtree(scratch)
    return rows, known


def part_files(folder: Path) -> Iterator[str]:
    """Every file that belongs to the cohort's content, relative, sorted: all but the record, the views and hidden files."""
    found = []
    for directory, folders, files in os.walk(folder):
        here = Path(directory).relative_to(folder)
        folders[:] = [name for name in folders if not name.startswith(".") and (here / name).as_posix() != "views"]
        found += [(here / name).as_posix() for name in files if not name.startswith(".")]
    return iter(sorted(name for name in found if name != RECORD))


def hash_part(path: Path, keys: Keys) -> str:
    """The hash of a part as the record holds it."""
    return keys.hash("part", hash_file(path))


def content_hash(record: Mapping[str, Any], keys: Keys) -> str:
    """The hash over what the cohort holds: its labels, its unit and the hashes of its parts. Names and places do not matter."""
    content = {key: record[key] for key in ("schema_version", "unit", "labels", "parts")}
    return keys.hash("cohort", hash_text(canonical_json(content)))


def write_record(folder: Path, record: Mapping[str, Any], keys: Keys, known: Mapping[str, str] | None = None) -> None:
    """Hash every part in `folder` and write the record; with it the cohort is complete.

    Args:
        folder: The cohort's.
        record: All but the hashes.
        keys: How hashes enter it.
        known: Hashes of parts, by their relative names, that were taken while they were written.
    """
    known = known or {}
    parts = {name: known.get(name) or hash_part(folder / name, keys) for name in part_files(folder)}
    whole = {"schema_version": SCHEMA_VERSION} | dict(record) | {"key_identity": keys.identity, "parts": parts}
    write_json(folder / RECORD, {"schema_version": SCHEMA_VERSION, "hash": content_hash(whole, keys)} | whole)
