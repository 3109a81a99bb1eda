"""List the files of a folder: names relative to it, sizes and times, in one fixed order."""

import os
from collections.abc import Iterator
from pathlib import Path

import polars as pl

from medai.core.error import MedaiError
from medai.source.base import ITEM_SCHEMA, existing

BATCH = 8192  # names that are held as Python objects at a time


def list_files(path: str | None, leave_out: Path | None = None) -> pl.DataFrame:
    """Every file under a folder, with any name and extension.

    Args:
        path: The folder.
        leave_out: A file that is part of the definition, e.g. the label table.

    Raises:
        MedaiError: the folder is not set, missing, not a folder, or holds no file.
    """
    folder = existing(path)
    if not folder.is_dir():
        raise MedaiError(f"dataset.path {folder} is a file; give the folder that holds the images")
    known = leave_out.resolve() if leave_out else None
    frames, batch = [], []
    for entry in _walk(str(folder)):
        if known and entry.name == known.name and Path(entry.path).resolve() == known:
            continue
        status = entry.stat()
        batch.append((_text(os.path.relpath(entry.path, folder)), status.st_size, status.st_mtime_ns))
        if len(batch) == BATCH:
            frames.append(pl.DataFrame(batch, schema=ITEM_SCHEMA, orient="row"))
            batch = []
    frames.append(pl.DataFrame(batch, schema=ITEM_SCHEMA, orient="row"))
    listing = pl.concat(frames).sort("item")
    if listing.is_empty():
        raise MedaiError(f"dataset.path {folder} holds no files; give the folder that holds the images")
    return listing


def _walk(folder: str, above: tuple[tuple[int, int], ...] = ()) -> Iterator[os.DirEntry[str]]:
    status = os.stat(folder)
    identity = (status.st_dev, status.st_ino)
    if identity in above:  # a link to a folder above
        return
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir():
                    yield from _walk(entry.path, (*above, identity))
                elif entry.is_file():
                    yield entry
    except PermissionError:
        raise MedaiError(f"{folder} may not be read; give yourself the right to, or move it out of dataset.path") from None


def _text(name: str) -> str:
    """A name as text; one that is not UTF-8 can then not be opened and is refused by the reader."""
    return os.fsencode(name).decode("utf-8", errors="replace").replace(os.sep, "/")
