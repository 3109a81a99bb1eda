"""The folder into which a DICOMweb server's instances are fetched: in the clear, for its owner alone, and never with half a file.

- ``instances/<study>/<series>/<instance>.dcm``: what was fetched, by any query;
- ``selected/<query>/<study>/<series>``: links to the series that one query selects;
- ``complete/<study>/<series>.json``: how many instances a series that is complete has;
- ``incoming/``: what is arriving;
- ``failed.json``: what the server did not deliver the last time.
"""

import errno
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import Any

import polars as pl

from medai.core.error import MedaiError
from medai.core.file import read_json, write_json
from medai.dicom.scan import scan_header
from medai.source.dicomweb_client import FetchFault
from medai.source.dicomweb_query import is_uid
from medai.source.multipart import BrokenBody

VERSION = 1
SERIES_SCHEMA = pl.Schema({"study": pl.String, "series": pl.String, "instances": pl.Int64})
MOST_BYTES = 2**33  # of one instance
OLDEST_S, SPAN_S = 946_684_800, 2**29  # 2000-01-01, and 17 years


class Spool:
    """The folder of one server."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._instances = folder / "instances"

    @classmethod
    def open(cls, folder: Path, server: str) -> "Spool":
        """Make the folder, or find it again.

        Raises:
            MedaiError: it holds other things, or was filled from another server.
        """
        about = {"what": "medai spool", "version": VERSION, "server": server.rstrip("/")}
        with told_disk():
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            if (folder / "spool.json").exists():
                if read_json(folder / "spool.json") != about:
                    raise MedaiError(f"dataset.path {folder} was filled from another server; give another folder, one a server")
            elif any(entry.name != ".lock" for entry in folder.iterdir()):
                raise MedaiError(f"dataset.path {folder} holds other things; give a new folder, into which the images are fetched")
            else:
                folder.chmod(0o700)  # names, dates and pixels of patients
                write_json(folder / "spool.json", about)
            spool = cls(folder)
            shutil.rmtree(folder / "incoming", ignore_errors=True)  # of a run that was killed
            for name in ("instances", "selected", "complete", "incoming"):
                (folder / name).mkdir(exist_ok=True)
        return spool

    def select(self, query: str, series: pl.DataFrame) -> None:
        """Make the folder of a query hold `series` (SERIES_SCHEMA), as far as they are there, and nothing else.

        Queries have folders of their own, so that one does not take from another what it is reading.
        """
        folder = self.folder / "selected" / query
        with told_disk():
            folder.mkdir(exist_ok=True)
            before, there = _series_within(folder), _series_within(self._instances)
            wanted = there.join(series, on=["study", "series"], how="semi")
            for study, name in before.join(wanted, on=["study", "series"], how="anti").iter_rows():
                (folder / study / name).unlink()
            for study, name in wanted.join(before, on=["study", "series"], how="anti").iter_rows():
                (folder / study).mkdir(exist_ok=True)
                (folder / study / name).symlink_to(Path("../../../instances") / study / name, target_is_directory=True)

    def instances(self, study: str, series: str) -> set[str]:
        """The SOP Instance UIDs that are there."""
        try:
            return {name.removesuffix(".dcm") for name in os.listdir(self._instances / study / series)}
        except FileNotFoundError:
            return set()

    def is_complete(self, study: str, series: str, announced: int | None) -> int | None:
        """The number of instances of a series that is complete, and of which the server still announces as many; else None."""
        mark = self._mark(study, series)
        if announced is None or not mark.exists():
            return None
        found = read_json(mark)
        count = len(self.instances(study, series))
        return count if found == {"instances": count, "announced": announced} else None

    def complete(self, study: str, series: str, announced: int | None) -> None:
        """Say that nothing of a series is missing."""
        with told_disk():
            _fsync(self._instances / study / series)
            write_json(self._mark(study, series), {"instances": len(self.instances(study, series)), "announced": announced})

    def drop(self, study: str, series: str, instances: Iterable[str]) -> None:
        """Remove what the server does not have any more."""
        with told_disk():
            for name in instances:
                (self._instances / study / series / f"{name}.dcm").unlink(missing_ok=True)

    def receive(self, pieces: Iterator[bytes], study: str, series: str, asked: str | None = None) -> str:
        """Take an instance: it is there as a whole, or not at all.

        Args:
            pieces: Its bytes.
            study: The study that was asked for.
            series: The series that was asked for.
            asked: The instance that was asked for; None: any of the series.

        Returns:
            Its SOP Instance UID.

        Raises:
            FetchFault: it is not what was asked for.
            BrokenBody: it does not end.
            MedaiError: the disk is full, or will not have it.
        """
        temporary = self.folder / "incoming" / uuid.uuid4().hex
        digest, size = blake2b(digest_size=8), 0
        try:
            with told_disk(), open(temporary, "xb") as stream:
                for piece in pieces:
                    size += len(piece)
                    if size > MOST_BYTES:
                        raise BrokenBody(f"an instance is longer than {MOST_BYTES >> 30} GiB")
                    digest.update(piece)
                    stream.write(piece)
            name = _identified(temporary, study, series, asked)
            target = self._instances / study / series / f"{name}.dcm"
            if not target.exists():  # a server may send an instance twice
                with told_disk():
                    # The time follows from the content, so that equal instances make an equal scan wherever and whenever they were fetched.
                    second = OLDEST_S + int.from_bytes(digest.digest()) % SPAN_S
                    os.utime(temporary, (second, second))
                    _fsync(temporary)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    os.replace(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)
        return name

    def write_failed(self, failed: list[tuple[str, str, str]]) -> None:
        """Keep the names of what was not delivered, for the owner of the folder."""
        with told_disk():
            write_json(self.folder / "failed.json", [dict(zip(("item", "code", "message"), one, strict=True)) for one in failed])

    def _mark(self, study: str, series: str) -> Path:
        return self.folder / "complete" / study / f"{series}.json"


def _series_within(folder: Path) -> pl.DataFrame:
    pairs = [(study.name, series.name) for study in os.scandir(folder) for series in os.scandir(study.path)]
    return pl.DataFrame(pairs, schema={"study": pl.String, "series": pl.String}, orient="row")


def _identified(path: Path, study: str, series: str, asked: str | None) -> str:
    row: dict[str, Any] = scan_header(path)
    if row["code"] == "not-dicom":
        raise FetchFault("the server sent what is no DICOM file")
    for name, expected in (("study_uid", study), ("series_uid", series), ("sop_instance_uid", asked)):
        if expected is not None and row[name] is not None and row[name] != expected:
            raise FetchFault("the server sent another instance than the one that was asked for")
    # A header that cannot be read is the scan's to refuse; the name is then the one that was asked for.
    instance = row["sop_instance_uid"] or asked
    if not is_uid(instance):
        raise FetchFault("the server sent an instance whose name is no UID (PS3.5 9.1)")
    return str(instance)


@contextmanager
def told_disk() -> Iterator[None]:
    """Tell a fault of the disk in one line.

    Raises:
        MedaiError: there is one.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise MedaiError(
                "the disk of dataset.path is full; make room and run the same command again: it goes on where it stopped"
            ) from None
        raise MedaiError(f"dataset.path cannot be written ({error.strerror}); check its permissions") from None


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
