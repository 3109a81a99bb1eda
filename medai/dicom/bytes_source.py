"""Where a header scan takes its bytes from: a file, bytes in memory, a stream that only goes forward; always within bounds."""

import os
import zlib
from typing import Protocol

from medai.core.error import Refusal

LARGEST_PREFIX = 2**26
"""What a stream (a member of an archive, a deflated data set) may give for its header (64 MiB)."""
MOST_READS = 400_000  # of a full parser in one header: a few seconds
_CHUNK = 2**16


class ByteSource(Protocol):
    """Bytes at any place; fewer than asked for only where they end."""

    def read(self, at: int, count: int) -> bytes: ...


class Memory:
    """The bytes of a whole file."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def read(self, at: int, count: int) -> bytes:
        return self._data[at : at + count]


class OpenFile:
    """An open file by its descriptor. Never asks the system for more than there is."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._size = os.fstat(descriptor).st_size

    def read(self, at: int, count: int) -> bytes:
        return os.pread(self._descriptor, max(0, min(count, self._size - at)), at)


class Forward(Protocol):
    """What can be read once, from its start on."""

    def read(self, count: int, /) -> bytes: ...


class Prefix:
    """The beginning of a stream, kept as far as it was asked for.

    Raises:
        Refusal: ``too-large``: more than `LARGEST_PREFIX` is asked for.
    """

    def __init__(self, stream: Forward) -> None:
        self._stream = stream
        self._data = bytearray()
        self._ended = False

    def read(self, at: int, count: int) -> bytes:
        while not self._ended and len(self._data) < at + count:
            if len(self._data) >= LARGEST_PREFIX:
                raise Refusal("too-large", f"the header goes on after {LARGEST_PREFIX:,} bytes, which is the limit")
            piece = self._stream.read(min(max(_CHUNK, len(self._data)), at + count - len(self._data)))
            self._ended = not piece
            self._data += piece
        return bytes(self._data[at : at + count])


class Inflating:
    """A deflated data set (PS3.5 A.5) as a stream.

    Args:
        source: The file.
        at: Where the deflated bytes begin.

    Raises:
        Refusal: ``truncated`` or ``decode-failed``, in `read`.
    """

    def __init__(self, source: ByteSource, at: int) -> None:
        self._source, self._at = source, at
        self._inflater = zlib.decompressobj(-zlib.MAX_WBITS)

    def read(self, count: int, /) -> bytes:
        while not self._inflater.eof:
            deflated = self._inflater.unconsumed_tail
            if not deflated:
                deflated = self._source.read(self._at, _CHUNK)
                self._at += len(deflated)
            try:
                piece = self._inflater.decompress(deflated, count)
            except zlib.error:
                raise Refusal("decode-failed", "the deflated data set is damaged; copy the file again from its source") from None
            if piece:
                return piece
            if not deflated:
                raise Refusal("truncated", "the file is cut off: the deflated data set has no end; copy the file again from its source")
        return b""


class Cursor:
    """A source as the file that pydicom reads: it counts what is read, so that no header costs more than seconds and megabytes.

    Raises:
        Refusal: ``too-large``.
    """

    def __init__(self, source: ByteSource) -> None:
        self._source, self._place = source, 0
        self._reads, self._bytes = 0, 0
        self.refusal: Refusal | None = None
        """Set when the limit is passed: pydicom turns some errors into others."""

    def read(self, count: int | None = -1, /) -> bytes:
        most = LARGEST_PREFIX + 1 - self._bytes
        data = self._source.read(self._place, most if count is None or count < 0 else min(count, most))
        self._place += len(data)
        self._reads += 1
        self._bytes += len(data)
        if self._reads > MOST_READS or self._bytes > LARGEST_PREFIX:
            limit = f"{MOST_READS:,} parts or {LARGEST_PREFIX:,} bytes"
            self.refusal = Refusal("too-large", f"the header has more than {limit}, which is the limit")
            raise self.refusal
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        if whence == os.SEEK_END:
            raise OSError("the end is not known")
        self._place = max(0, offset + (self._place if whence == os.SEEK_CUR else 0))
        return self._place

    def tell(self) -> int:
        return self._place
