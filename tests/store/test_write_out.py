import os
from pathlib import Path

import pytest

from medai.store import write_out
from medai.store.write_out import WriteOut


def _write(path: Path, pieces: int) -> None:
    with open(path, "wb") as stream, WriteOut(stream) as out:
        for number in range(pieces):
            stream.write(bytes([number]) * 1000)
            out.wrote(1000)


def test_what_was_written_is_handed_to_the_disk_before_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    monkeypatch.setattr(write_out, "WRITE_OUT_BYTES", 4000)
    monkeypatch.setattr(os, "fsync", lambda descriptor: sizes.append(os.fstat(descriptor).st_size))
    _write(tmp_path / "file", 20)
    assert (tmp_path / "file").read_bytes() == b"".join(bytes([number]) * 1000 for number in range(20))
    assert sizes and sizes[0] >= 4000 and sizes == sorted(sizes)


def test_a_small_file_is_left_to_its_own_fsync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda descriptor: pytest.fail("fsync"))
    _write(tmp_path / "file", 20)


def _full(descriptor: int) -> None:
    raise OSError(28, "No space left on device")


def test_what_the_disk_told_is_raised_at_the_end_at_the_latest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write_out, "WRITE_OUT_BYTES", 19_500)
    monkeypatch.setattr(os, "fsync", _full)
    with pytest.raises(OSError, match="No space left"):
        _write(tmp_path / "file", 20)


def test_an_error_of_the_work_is_not_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write_out, "WRITE_OUT_BYTES", 1)
    monkeypatch.setattr(os, "fsync", _full)

    def work() -> None:
        with open(tmp_path / "file", "wb") as stream, WriteOut(stream) as out:
            out.wrote(1)
            raise KeyError("the work")

    with pytest.raises(KeyError, match="the work"):
        work()
