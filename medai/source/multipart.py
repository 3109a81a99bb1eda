"""Parts of a multipart body as they arrive, in memory that does not grow with the parts (RFC 2046 5.1.1)."""

from collections.abc import Iterable, Iterator
from email.message import Message

HEAD_BYTES = 2**16  # the most that the headers of a part may take


class BrokenBody(Exception):
    """A body that ends before its closing delimiter, or that is no multipart body."""


def boundary_of(content_type: str) -> bytes | None:
    """The boundary of a ``multipart/related`` body; None where `content_type` is another.

    Example:
        >>> boundary_of('multipart/related; type="application/dicom"; boundary=ab12')
        b'ab12'
    """
    message = Message()
    message["Content-Type"] = content_type
    boundary = message.get_boundary()
    if message.get_content_type() != "multipart/related" or not boundary:
        return None
    return boundary.encode("latin-1", errors="replace")


def read_parts(chunks: Iterable[bytes], boundary: bytes) -> Iterator[Iterator[bytes]]:
    """Give each part's content as an iterator over its pieces. What is not taken of a part is skipped before the next.

    A part's last piece is given only when the delimiter behind it has been seen: a part that ends is whole.

    Args:
        chunks: The body in pieces of any size.
        boundary: As the content type names it.

    Raises:
        BrokenBody: the body ends before its closing delimiter, while a part is read or after it.
    """
    body = _Body(chunks, boundary)
    _skip(body.until_delimiter())  # the preamble
    while body.opens_part():
        part = body.until_delimiter()
        yield part
        _skip(part)


class _Body:
    def __init__(self, chunks: Iterable[bytes], boundary: bytes) -> None:
        self._chunks = iter(chunks)
        self._delimiter = b"\r\n--" + boundary
        self._buffer = b"\r\n"  # so that a delimiter at the very start is found like the others

    def until_delimiter(self) -> Iterator[bytes]:
        """Pieces up to the next delimiter, which is taken away."""
        keep = len(self._delimiter) - 1  # a delimiter may lie across two chunks
        while (at := self._buffer.find(self._delimiter)) < 0:
            if len(self._buffer) > keep:
                piece, self._buffer = self._buffer[:-keep], self._buffer[-keep:]
                yield piece
            self._more()
        piece, self._buffer = self._buffer[:at], self._buffer[at + len(self._delimiter) :]
        if piece:
            yield piece

    def opens_part(self) -> bool:
        """Take what follows a delimiter: the headers of a part, or the two hyphens that close the body."""
        while len(self._buffer) < 2:
            self._more()
        if self._buffer.startswith(b"--"):
            return False
        while (end := self._buffer.find(b"\r\n\r\n")) < 0:
            if len(self._buffer) > HEAD_BYTES:
                raise BrokenBody("a part's headers do not end")
            self._more()
        head, self._buffer = self._buffer[:end], self._buffer[end + 4 :]
        if head.partition(b"\r\n")[0].strip(b" \t"):
            raise BrokenBody("a delimiter does not end its line")
        return True

    def _more(self) -> None:
        try:
            self._buffer += next(self._chunks)
        except StopIteration:
            raise BrokenBody("the body ends before its closing delimiter") from None


def _skip(pieces: Iterator[bytes]) -> None:
    for _ in pieces:
        pass
