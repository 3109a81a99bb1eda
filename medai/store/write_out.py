"""Have the disk write while more is made, so that the fsync at the end of a large file finds little left to wait for."""

import os
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import BinaryIO

WRITE_OUT_BYTES = 8 * 2**20
"""So much is handed to the disk at a time; a smaller file is left to its fsync, and starts no thread."""


class WriteOut:
    """Hands to the disk what was written to a file, from a thread beside. It makes nothing durable: that is the fsync's.

    Example:
        >>> with open(path, "wb") as stream, WriteOut(stream) as out:
        ...     stream.write(record)
        ...     out.wrote(len(record))

    Raises:
        OSError: at the end, what the disk told the thread (full, broken): a later fsync is not told again.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream, self._waiting = stream, 0
        self._running: Future[None] | None = None
        self._pool = ThreadPoolExecutor(1)

    def wrote(self, count: int) -> None:
        """So many bytes more are in the stream."""
        self._waiting += count
        if self._waiting >= WRITE_OUT_BYTES and self._ended():
            self._stream.flush()
            self._running, self._waiting = self._pool.submit(os.fsync, self._stream.fileno()), 0

    def _ended(self) -> bool:
        """Whether the disk has done what it was given."""
        if self._running is None:
            return True
        if self._running.done():
            self._running.result()
            return True
        return False

    def __enter__(self) -> "WriteOut":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._pool.shutdown()
        if error is None:
            self._ended()
