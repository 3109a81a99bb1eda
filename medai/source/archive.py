"""Items of a folder, a zip archive or a DICOMDIR: what there is to read, and its bytes. Nothing is unpacked to disk.

A member of an archive is the item ``folder/name.zip!/path/in/it``. What a file is, its content says, never its name.
"""

import os
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import polars as pl

from medai.core.error import MedaiError, Refusal
from medai.dicom.bytes_source import Prefix
from medai.dicom.parse import parse, read_bytes
from medai.dicom.scan import Row, refused_row, scan_bytes, scan_file, scan_header
from medai.source.base import ITEM_SCHEMA, existing
from medai.source.listing import file_name, item_name, list_files

LISTING_SCHEMA = pl.Schema([*ITEM_SCHEMA.items(), ("code", pl.String()), ("message", pl.String())])
"""`code` and `message` tell why an item cannot be read; null where it is to be read."""

INSIDE = "!/"
LARGEST_MEMBER = 2**31  # bytes when it is unpacked
LARGEST_RATIO = 200  # unpacked to packed, of members above LARGE_MEMBER: an empty image packs well, a bomb better
LARGE_MEMBER = 2**26
LARGEST_INDEX = 2**25  # bytes: some 300,000 members
LARGEST_DIRECTORY = 2**28  # bytes of a DICOMDIR

_MAGIC = b"PK\x03\x04"
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # LZMA lets the archive say how much memory to take
_BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, UnicodeDecodeError, ValueError, OverflowError)
_LISTED = tuple[str, int, int, str | None, str | None]


def list_items(path: str | None, leave_out: Path | None = None, key: str = "dataset.path") -> pl.DataFrame:
    """Every file of a folder, with the members of its archives; or those of one archive; or those that a DICOMDIR names.

    Args:
        path: A folder, a zip archive, or a DICOMDIR (PS3.10 8.6).
        leave_out: A file that is part of the definition, e.g. the label table.
        key: What the path was given as, for errors.

    Returns:
        LISTING_SCHEMA, in the order of the names. A member has the time of its archive.

    Raises:
        MedaiError: nothing is there, or a file that is none of these.
    """
    if existing(path, key).is_dir():
        listing = list_files(path, leave_out, key)
        return _frame([listing.with_columns(code=None, message=None).cast(dict(LISTING_SCHEMA))], existing(path))  # type: ignore[arg-type]
    file = existing(path)
    status = file.stat()
    if _is_archive(str(file)):
        rows: Iterable[_LISTED] = list_members(file.parent, item_name(file.name), status.st_size, status.st_mtime_ns)
    elif scan_header(file)["code"] == "dicomdir":
        rows = _referenced(file)
    else:
        raise MedaiError(f"{key} {file} is a file; give the folder that holds the images, a zip archive or a DICOMDIR")
    return pl.DataFrame(list(rows), schema=LISTING_SCHEMA, orient="row").unique("item", keep="first").sort("item")


def item_folder(path: str | None) -> Path:
    """The folder to which the items of `path` are relative."""
    found = existing(path)
    return found if found.is_dir() else found.parent


def open_item(folder: Path, item: str) -> bytes:
    """The bytes of a file or of a member of an archive.

    Raises:
        Refusal: ``missing-file``, ``unreadable-file``, ``too-large``, ``bad-archive`` or ``encrypted-member``.
    """
    archive, member = _split(folder, item)
    if member is None:
        return read_bytes(archive)
    opened, info = _member(archive, member)
    try:
        with opened.open(info) as stream:
            data = stream.read(LARGEST_MEMBER)
    except (*_BROKEN, OSError) as error:
        raise _damaged(error) from None
    if len(data) != info.file_size:
        raise Refusal("bad-archive", "the member of the archive is cut off; make the archive again")
    return data


def scan_item(folder: str, item: str) -> Row:
    """The row of a file or a member (see `medai.dicom.scan`); of a member only the beginning is unpacked."""
    if INSIDE not in item:
        return scan_file(f"{folder}/{file_name(item)}")
    try:
        archive, member = _split(Path(folder), item)
        if member is None:
            return scan_file(str(archive))
        opened, info = _member(archive, member)
        with opened.open(info) as stream:
            source = Prefix(_Guarded(stream))
            row = scan_bytes(source)
            if row[0] == "not-dicom" and source.read(0, 4) == _MAGIC:
                return refused_row("nested-archive", "an archive within an archive; unpack the outer one")
            return row
    except Refusal as refusal:
        return refused_row(refusal.code, refusal.message)
    except (*_BROKEN, OSError) as error:
        return refused_row("bad-archive", _damaged(error).message)


def list_members(folder: Path, name: str, size: int, mtime_ns: int) -> Iterator[_LISTED]:
    """The members of one archive; the archive itself, with a reason, where it cannot be read."""
    try:
        members = [info for info in _archive(folder / file_name(name)).infolist() if not info.is_dir()]
    except Refusal as refusal:
        yield name, size, mtime_ns, refusal.code, refusal.message
        return
    if not members:
        yield name, size, mtime_ns, "bad-archive", "an archive without files"
    seen: dict[str, int] = {}
    for info in reversed(members):  # of equal names the last holds, as in any unpacking
        text = info.filename.encode("utf-8", "replace").decode("utf-8")
        copies = seen[text] = seen.get(text, 0) + 1
        if copies > 1:
            item = f"{name}{INSIDE}{text} (older {copies - 1})"
            yield item, info.file_size, mtime_ns, "duplicate-member", "the archive holds a later member of the same name"
            continue
        fault = _refuse_member(info)
        yield f"{name}{INSIDE}{text}", info.file_size, mtime_ns, *((fault.code, fault.message) if fault else (None, None))


class _Guarded:
    """A member's stream whose faults are refusals."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def read(self, count: int, /) -> bytes:
        try:
            return bytes(self._stream.read(count))
        except (*_BROKEN, OSError) as error:
            raise _damaged(error) from None


def _frame(parts: list[pl.DataFrame], folder: Path) -> pl.DataFrame:
    """Replace archives by their members."""
    files = parts[0]
    archives = [
        row for row in files.select("item", "size", "mtime_ns").iter_rows() if row[1] >= 22 and _is_archive(f"{folder}/{file_name(row[0])}")
    ]
    if not archives:
        return files
    kept = files.filter(~pl.col("item").is_in([row[0] for row in archives]))
    for row in archives:
        kept = kept.vstack(pl.DataFrame(list(list_members(folder, *row)), schema=LISTING_SCHEMA, orient="row"))
    return kept.unique("item", keep="first", maintain_order=True).sort("item")


def _is_archive(path: str) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ValueError):
        return False
    try:
        head = os.pread(descriptor, 132, 0)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return head[:4] == _MAGIC and head[128:] != b"DICM"  # a preamble may look like anything (PS3.10 7.1)


def _split(folder: Path, item: str) -> tuple[Path, str | None]:
    """The archive and the member; the file and None where it is a plain file, which may have the mark in its name."""
    at = item.find(INSIDE)
    while at >= 0:
        archive = Path(folder) / file_name(item[:at])
        if archive.is_file():
            return archive, item[at + len(INSIDE) :]
        at = item.find(INSIDE, at + 1)
    return Path(folder) / file_name(item), None


def _member(archive: Path, name: str) -> tuple[zipfile.ZipFile, zipfile.ZipInfo]:
    opened = _archive(archive)
    try:
        info = opened.getinfo(name)
    except KeyError:
        raise Refusal("missing-file", "the archive has no such member") from None
    refusal = _refuse_member(info)
    if refusal:
        raise refusal
    return opened, info


def _refuse_member(info: zipfile.ZipInfo) -> Refusal | None:
    if info.flag_bits & 0x1:
        return Refusal("encrypted-member", "the member of the archive is encrypted; unpack it with its password")
    if info.compress_type not in _METHODS:
        return Refusal("bad-archive", f"the member is packed by method {info.compress_type}; only stored and deflated ones are read")
    bomb = info.file_size > LARGE_MEMBER and info.file_size > LARGEST_RATIO * max(info.compress_size, 1)
    if info.file_size > LARGEST_MEMBER or bomb:
        size = f"{info.compress_size:,} bytes unpack to {info.file_size:,}"
        return Refusal("too-large", f"{size}; up to {LARGEST_MEMBER:,} are read, and above {LARGE_MEMBER:,} up to {LARGEST_RATIO} times")
    return None


def _archive(path: Path) -> zipfile.ZipFile:
    try:
        status = path.stat()
    except OSError:
        raise Refusal("missing-file", "the archive does not exist") from None
    return _opened(str(path), status.st_size, status.st_mtime_ns, os.getpid())


@lru_cache(maxsize=8)
def _opened(path: str, size: int, mtime_ns: int, process: int) -> zipfile.ZipFile:
    """One open archive for all its members; again where it changed, and in another process."""
    try:
        if _index_size(path, size) > LARGEST_INDEX:
            raise Refusal("too-large", f"the index of the archive has more than {LARGEST_INDEX:,} bytes; unpack it")
        return zipfile.ZipFile(path)
    except (*_BROKEN, OSError) as error:
        raise _damaged(error) from None


def _index_size(path: str, size: int) -> int:
    """Bytes of the central directory, as the end record says (APPNOTE 4.3.14 to 4.3.16)."""
    with open(path, "rb") as stream:
        start = max(0, size - 2**16 - 22 - 20)
        stream.seek(start)
        tail = stream.read(2**16 + 22 + 20)
        at = tail.rfind(b"PK\x05\x06")
        if at < 0:
            raise zipfile.BadZipFile
        locator = tail[at - 20 : at] if at >= 20 else b""
        if locator[:4] == b"PK\x06\x07":
            stream.seek(int.from_bytes(locator[8:16], "little"))
            record = stream.read(56)
            if record[:4] == b"PK\x06\x06":
                return int.from_bytes(record[40:48], "little")
        return int.from_bytes(tail[at + 12 : at + 16], "little")


def _damaged(error: BaseException) -> Refusal:
    return Refusal("bad-archive", f"the archive or its member is damaged ({type(error).__name__}); make it again")


def _referenced(directory: Path) -> Iterator[_LISTED]:
    """The files that a DICOMDIR names (PS3.3 F.3): those that are there, and those that are not with a reason."""
    if directory.stat().st_size > LARGEST_DIRECTORY:
        raise MedaiError(f"{directory} is larger than {LARGEST_DIRECTORY:,} bytes; give the folder instead")
    try:
        records = parse(read_bytes(directory)).get("DirectoryRecordSequence") or ()
        names = [_parts(record.get("ReferencedFileID")) for record in records]
    except Refusal as refusal:
        raise MedaiError(f"{directory}: {refusal.message}") from None
    except Exception:  # pydicom parses an element when it is asked for, and a broken one raises anything
        raise MedaiError(f"{directory} is damaged; give the folder that holds it instead") from None
    folders: dict[Path, dict[str, str]] = {}
    for parts in names:
        if not parts:
            continue
        found = _find(directory.parent, parts, folders)
        if found is None:
            item = "/".join(parts)
            yield item, 0, 0, "missing-file", "the DICOMDIR names this file, and it is not there"
        else:
            status = (directory.parent / found).stat()
            yield item_name(found), status.st_size, status.st_mtime_ns, None, None


def _parts(value: Any) -> list[str]:
    parts = [value] if isinstance(value, str) else list(value or ())
    return [str(part).strip() for part in parts if str(part).strip()]


def _find(folder: Path, parts: list[str], folders: dict[Path, dict[str, str]]) -> str | None:
    """A file by its name on the medium; how upper and lower case came over from it depends on who copied it."""
    found: list[str] = []
    for part in parts:
        here = folder.joinpath(*found)
        if here not in folders:
            folders[here] = {name.upper(): name for name in sorted(os.listdir(here))} if here.is_dir() else {}
        name = part if (here / part).exists() and part in folders[here].values() else folders[here].get(part.upper())
        if name is None:
            return None
        found.append(name)
    return "/".join(found) if folder.joinpath(*found).is_file() else None
