"""List the files of a folder: names relative to it, sizes and times, in one fixed order.

A byte of a name that is not UTF-8 becomes a character of its own, from U+10FE80 on, so that the file can be opened by its item.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import polars as pl

from medai.core.error import MedaiError
from medai.source.base import ITEM_SCHEMA, existing

BATCH = 8192  # names that are held as Python objects at a time
_ESCAPED = {0xDC00 + byte: 0x10FE00 + byte for byte in range(0x80, 0x100)}  # from Python's stand-ins, which no UTF-8 text can hold
_PLAIN = {there: here for here, there in _ESCAPED.items()}


def list_files(path: str | None, leave_out: Path | None = None, key: str = "dataset.path") -> pl.DataFrame:
    """Every file under a folder, with any name and extension.

    Args:
        path: The folder.
        leave_out: A file that is part of the definition, e.g. the label table.
        key: What the path was given as, for errors.

    Raises:
        MedaiError: the folder is not set, missing, not a folder, or holds no file.
    """
    folder = existing(path, key)
    if not folder.is_dir():
        raise MedaiError(f"{key} {folder} is a file; give the folder that holds the images")
    known = leave_out.resolve() if leave_out else None
    frames, batch = [], []
    for entry in _walk(str(folder)):
        if known and entry.name == known.name and Path(entry.path).resolve() == known:
            continue
        batch.append((item_name(os.path.relpath(entry.path, folder)), *_size_and_time(entry)))
        if len(batch) == BATCH:
            frames.append(pl.DataFrame(batch, schema=ITEM_SCHEMA, orient="row"))
            batch = []
    frames.append(pl.DataFrame(batch, schema=ITEM_SCHEMA, orient="row"))
    listing = pl.concat(frames).sort("item")
    if listing.is_empty():
        raise MedaiError(f"{key} {folder} holds no files; give the folder that holds the images")
    return listing


def _walk(folder: str, above: tuple[tuple[int, int], ...] = ()) -> Iterator[os.DirEntry[str]]:
    status = os.stat(folder)
    identity = (status.st_dev, status.st_ino)
    if identity in above:  # a link to a folder above
        return
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if _is_folder(entry):
                    yield from _walk(entry.path, (*above, identity))
                elif _is_file(entry):
                    yield entry
    except PermissionError:
        raise MedaiError(f"{folder} may not be read; give yourself the right to, or move it out of dataset.path") from None


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _is_file(entry: os.DirEntry[str]) -> bool:
    """Also a link that leads nowhere: it is for the reader to refuse. Pipes and devices are none."""
    try:
        return entry.is_file() or (entry.is_symlink() and not os.path.exists(entry.path))
    except OSError:  # a link to itself
        return True


def _size_and_time(entry: os.DirEntry[str]) -> tuple[int, int]:
    """Zeros where the file has gone meanwhile, or is a link that leads nowhere."""
    try:
        status = entry.stat()
    except OSError:
        return 0, 0
    return status.st_size, status.st_mtime_ns


def item_name(name: str) -> str:
    """The name of a file, as Python has it, as the item: text that can be written as UTF-8."""
    return name.translate(_ESCAPED).replace(os.sep, "/")


def file_name(item: str) -> str:
    """The name under which an item's file is opened."""
    return item.translate(_PLAIN)
