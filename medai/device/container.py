"""Where a package's files lie: a directory, or one zip that is read without unpacking it to disk."""

import stat
import zipfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol, cast, runtime_checkable

from medai.core.error import MedaiError


@runtime_checkable
class Container(Protocol):
    """Files by their names (``/`` between folders), with their sizes in bytes."""

    sizes: dict[str, int]

    def open(self, name: str) -> AbstractContextManager[BinaryIO]:
        """A stream of one file's bytes."""


def open_container(path: Path) -> Container:
    """A directory or a zip file.

    Raises:
        MedaiError: neither, or a zip that is damaged or tries to write outside its own folder.
    """
    path = Path(path)
    if path.is_dir():
        return Folder(path)
    if not path.exists():
        raise MedaiError(f"{path} does not exist; give a package's directory or zip file")
    try:
        return Zip(path)
    except zipfile.BadZipFile as error:
        raise MedaiError(f"{path} is not a package: neither a directory nor an undamaged zip file ({error})") from None


class Folder:
    """The files below a directory. A symbolic link is refused: it could lead anywhere."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.sizes: dict[str, int] = {}
        for file in sorted(path.rglob("*")):
            name = file.relative_to(path).as_posix()
            mode = file.lstat().st_mode
            if stat.S_ISREG(mode):
                self.sizes[name] = file.stat().st_size
            elif not stat.S_ISDIR(mode):
                raise MedaiError(f"{path} holds {name}, which is a link or a device; a package holds plain files only")

    def open(self, name: str) -> AbstractContextManager[BinaryIO]:
        return open(self._path / name, "rb")


class Zip:
    """The files in a zip. Nothing is unpacked to disk, and a name that leads outside is refused all the same."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.sizes: dict[str, int] = {}
        with zipfile.ZipFile(path) as archive:
            entries = [entry for entry in archive.infolist() if not entry.is_dir()]
        for entry in entries:
            _check_entry(path, entry)
            if entry.filename in self.sizes:
                raise MedaiError(f"{path} holds {entry.filename!r} twice; make the zip again from the package's directory")
            self.sizes[entry.filename] = entry.file_size

    def open(self, name: str) -> AbstractContextManager[BinaryIO]:
        return _opened(self._path, name)


@contextmanager
def _opened(path: Path, name: str) -> Iterator[BinaryIO]:
    """One file of a zip. What its header says wrongly (size, checksum, compression) ends in one line."""
    try:
        with zipfile.ZipFile(path) as archive, archive.open(name) as stream:
            yield cast(BinaryIO, stream)
    except (zipfile.BadZipFile, NotImplementedError, EOFError, OSError) as error:
        raise MedaiError(f"{path}: {name} is damaged in the zip ({error}); fetch the package again") from None


def _check_entry(path: Path, entry: zipfile.ZipInfo) -> None:
    name = entry.orig_filename
    parts = name.split("/")
    if "\\" in name or ":" in name or "\0" in name or name.startswith("/") or any(part in ("", ".", "..") for part in parts):
        raise MedaiError(f"{path} holds the name {name!r}, which leads outside the package; do not use this file")
    if stat.S_ISLNK(entry.external_attr >> 16):
        raise MedaiError(f"{path} holds {name!r} as a link; a package holds plain files only")
    if entry.flag_bits & 1:
        raise MedaiError(f"{path}: {name!r} is encrypted; give the package without a password")
