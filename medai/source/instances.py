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

import polars as pl

from medai.cohort.key import Keys
from medai.core.error import MedaiError
from medai.core.file import atomic_file
from medai.core.progress import progress
from medai.core.tasks import run_tasks
from medai.dicom.instance import INSTANCE_SCHEMA, instance_frame
from medai.source.archive import scan_item

VERSION = 1
"""Of the parts; one more whenever the scan finds other values."""

FILES_A_TASK = 2048
WORTH_PROCESSES = 8192  # files; below, starting processes costs more than it saves
IDENTITY = ("item", "size", "mtime_ns")  # what makes a file the same file
PASSING = ("missing-file", "unreadable-file")  # may be mended without a change of the file, so they are tried again
_NONCE = 12

Run = Callable[[Callable[[Any, Any], Any], Any, Sequence[Any], int], Iterator[Any]]
"""What runs the tasks: `run_tasks`, or an executor of the same form."""


@dataclass(frozen=True)
class _Context:
    folder: str
    cache: str | None
    keys: Keys


def scan_instances(
    items: pl.DataFrame, folder: Path, cache: Path | None, keys: Keys, workers: int = 1, run: Run = run_tasks
) -> pl.DataFrame:
    """The headers of all items.

    Args:
        items: `item`, `size`, `mtime_ns`, and perhaps `code` and `message` of those that need no reading (see `list_items`).
        folder: To which the items are relative.
        cache: A folder for what was found; made where it is absent. None keeps nothing.
        keys: Encrypt the cache, unless they are literal (public data).
        workers: Processes.
        run: What runs the tasks.

    Returns:
        INSTANCE_SCHEMA, a row an item, in the order of `items`.
    """
    parts = _part_folder(cache, keys) if cache else None
    refused = items.filter(pl.col("code").is_not_null()) if "code" in items.columns else items.clear()
    wanted = items.join(refused.select("item"), on="item", how="anti", maintain_order="left").select(IDENTITY)
    found = [_read_parts(parts, keys, wanted)] if parts else []
    fresh = wanted.join(found[0].select(IDENTITY), on=IDENTITY, how="anti", maintain_order="left") if found else wanted
    tasks = [fresh.slice(start, FILES_A_TASK) for start in range(0, fresh.height, FILES_A_TASK)]
    context = _Context(str(folder), str(parts) if parts else None, keys)
    with progress("Scan", fresh.height, "files") as bar:
        for part in run(_scan_part, context, tasks, workers if fresh.height >= WORTH_PROCESSES else 1):
            found.append(part)
            bar.advance(part.height)
    if refused.height:
        found.append(pl.concat([INSTANCE_SCHEMA.to_frame(), refused.select(*IDENTITY, "code", "message")], how="diagonal"))
    rows = pl.concat(found) if found else INSTANCE_SCHEMA.to_frame()
    return items.select("item").join(rows, on="item", how="left", maintain_order="left")


def _scan_part(context: _Context, items: pl.DataFrame) -> pl.DataFrame:
    """Scan some items and keep what was found; a task of a process."""
    folder = context.folder
    frame = instance_frame([(item, size, mtime, *scan_item(folder, item)) for item, size, mtime in items.iter_rows()])
    if context.cache:
        lasting = frame.filter(pl.col("code").is_null() | ~pl.col("code").is_in(PASSING))
        if lasting.height:
            _write_part(Path(context.cache), items, lasting, context.keys)
    return frame


def _part_folder(cache: Path, keys: Keys) -> Path:
    """Parts of another version or of another key lie beside, and are left alone."""
    folder = Path(cache) / f"instances-{VERSION}-{keys.identity or 'public'}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _write_part(folder: Path, items: pl.DataFrame, frame: pl.DataFrame, keys: Keys) -> None:
    """Equal items give an equal name, so that two runs at once write the same part; keyed, since it depends on names."""
    name = keys.hash("scan", _hash(items.write_csv().encode()))[:32]
    buffer = io.BytesIO()
    frame.write_parquet(buffer)
    data = buffer.getvalue()
    # Parquet does not see each damage by itself; the seal does, and of plain parts the name holds a checksum.
    with atomic_file(folder / (f"{name}-{_hash(data)}.parquet" if keys.public else f"{name}.sealed")) as temporary:
        temporary.write_bytes(_seal(data, keys))


def _hash(data: bytes) -> str:
    return blake2b(data, digest_size=16).hexdigest()


def _read_parts(folder: Path, keys: Keys, wanted: pl.DataFrame) -> pl.DataFrame:
    """The rows of all parts that are still true; a damaged part is removed, so that its items are scanned again."""
    rows = [INSTANCE_SCHEMA.to_frame()]
    for path in sorted(folder.glob("[0-9a-f]*.parquet" if keys.public else "[0-9a-f]*.sealed")):
        try:
            part = pl.read_parquet(io.BytesIO(_unseal(path, keys)))
            if part.schema != INSTANCE_SCHEMA:
                raise ValueError("another schema")
        except FileNotFoundError:
            continue
        except (ValueError, pl.exceptions.PolarsError):
            path.unlink(missing_ok=True)
            continue
        rows.append(part.join(wanted, on=IDENTITY, how="semi"))
    return pl.concat(rows).unique("item", keep="first", maintain_order=True)


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
