"""Where each frame lies in (7FE0,0010) 'Pixel Data': by arithmetic in native form, by its fragments in encapsulated form."""

import os
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medai.core.error import Refusal
from medai.dicom.decoder import Layout

if TYPE_CHECKING:
    from pydicom import Dataset

MAXIMUM_FRAGMENTS = 2**20
_ITEM, _END = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"
_END_OF_IMAGE = (b"\xff\xd9", b"\xff\xd9\x00", b"\xff\xd9\x00\x00")  # EOI of JPEG and JPEG-LS, EOC of JPEG 2000, with padding


@dataclass(frozen=True)
class PixelValue:
    """The value of the pixel element: in memory, or a part of a file that is read piece by piece.

    Attributes:
        length: Bytes.
        data: The whole value, or None.
        path: The file, where `data` is None.
        start: Its first byte there.
    """

    length: int
    data: bytes | None = None
    path: Path | None = None
    start: int = 0

    def read(self, offset: int, length: int) -> bytes:
        """At most `length` bytes from `offset` on."""
        if self.data is not None:
            return self.data if not offset and length >= len(self.data) else self.data[offset : offset + length]
        length = max(min(length, self.length - offset), 0)
        with open(self.path, "rb") as stream:  # type: ignore[arg-type]  # one of the two is given
            return os.pread(stream.fileno(), length, self.start + offset)


def pixel_value(dataset: "Dataset", keyword: str) -> PixelValue:
    """The value of `keyword` without a copy; a data set of `parse_file` may have left it in its file.

    Raises:
        Refusal: ``bad-header``: it is no string of bytes.
    """
    raw: Any = dataset.get_item(keyword, keep_deferred=True)
    path = getattr(dataset, "medai_path", None)
    if getattr(raw, "value", b"") is None and path is not None and raw.length:
        length = os.path.getsize(path) - raw.value_tell if raw.length == 0xFFFFFFFF else raw.length
        return PixelValue(length, None, path, raw.value_tell)
    value = raw.value or b""
    if not isinstance(value, bytes):
        raise Refusal("bad-header", f"(7FE0,0010) 'Pixel Data' is {type(value).__name__}; expected bytes")
    return PixelValue(len(value), value)


def native_frame(value: PixelValue, layout: Layout, index: int) -> tuple[bytes, int]:
    """The bytes that hold frame `index`, and the bit at which it starts in them."""
    first, bits = index * layout.frame_bits, layout.frame_bits
    if layout.big_endian and layout.words and layout.bits_allocated == 8:
        start = first // 16 * 2  # pairs of samples are swapped: read whole pairs
        pairs = bytearray(value.read(start, -(-(first % 16 + bits) // 16) * 2))
        whole = len(pairs) // 2 * 2
        pairs[:whole:2], pairs[1:whole:2] = pairs[1:whole:2], pairs[:whole:2]
        return bytes(pairs[first % 16 // 8 :]), 0
    return value.read(first // 8, -(-(first % 8 + bits) // 8)), first % 8


def frame_places(value: PixelValue, dataset: "Dataset", frames: int, wanted: int) -> list[list[tuple[int, int]]]:
    """The fragments (offset, length) of each of the first `wanted` frames (PS3.5 A.4).

    The offset tables are believed where each of their entries is the start of a fragment, in ascending order; else the fragments
    are counted: one a frame, or all of them for a single frame, or up to each end-of-image marker.

    Raises:
        Refusal: ``decode-failed`` or ``too-large``.
    """
    items = _items(value)
    table, fragments = items[0], items[1:]
    starts = [0] if frames == 1 else _starts(_table(dataset, value, table), fragments, frames) or _count(value, fragments, frames)
    if not fragments or len(starts) < wanted:
        raise Refusal(
            "decode-failed", f"(7FE0,0010) 'Pixel Data' holds {len(fragments)} fragments for {frames} frames; copy the file again"
        )
    ends = [*starts[1:], len(fragments)]
    return [fragments[start:end] for start, end in zip(starts[:wanted], ends, strict=False)]


def _items(value: PixelValue) -> list[tuple[int, int]]:
    """Offset and length of the basic offset table's value and of each fragment's."""
    items: list[tuple[int, int]] = []
    at = 0
    while True:
        head = value.read(at, 8)
        if head[:4] == _END or (len(head) < 8 and items):
            return items or [(0, 0)]
        length = int.from_bytes(head[4:], "little")
        if head[:4] != _ITEM or at + 8 + length > value.length:
            if items and (not value.length - at or set(head) <= {0}):
                return items  # padding after the last fragment
            raise Refusal("decode-failed", "the fragments of (7FE0,0010) 'Pixel Data' do not fit their lengths; copy the file again")
        if len(items) > MAXIMUM_FRAGMENTS:
            raise Refusal("too-large", f"(7FE0,0010) 'Pixel Data' has more than {MAXIMUM_FRAGMENTS:,} fragments")
        items.append((at + 8, length))
        at += 8 + length


def _table(dataset: "Dataset", value: PixelValue, table: tuple[int, int]) -> list[int]:
    """The extended (PS3.3 C.7.6.3.1.8) or the basic offset table: offsets of frames from the first fragment on."""
    try:
        extended = dataset.get("ExtendedOffsetTable")
        data, width = (bytes(extended), 8) if extended else (value.read(*table), 4)
    except Exception:  # pydicom parses an element when it is asked for, and a broken one raises anything
        data, width = b"", 4
    return [int.from_bytes(data[at : at + width], "little") for at in range(0, min(len(data), MAXIMUM_FRAGMENTS * width), width)]


def _starts(table: list[int], fragments: list[tuple[int, int]], frames: int) -> list[int]:
    """The fragment with which each frame begins, or none where the table is absent or wrong."""
    if len(table) < frames or not fragments:
        return []
    number = {offset - fragments[0][0]: index for index, (offset, _) in enumerate(fragments)}
    starts = [number.get(offset, -1) for offset in table]
    ascending = all(first < second for first, second in pairwise(starts))
    return starts if starts[0] == 0 and ascending else []


def _count(value: PixelValue, fragments: list[tuple[int, int]], frames: int) -> list[int]:
    if len(fragments) <= frames:
        return list(range(len(fragments)))
    starts = [0]
    for index, (offset, length) in enumerate(fragments[:-1]):
        if value.read(offset + max(length - 4, 0), min(length, 4)).endswith(_END_OF_IMAGE):
            starts.append(index + 1)
    return starts if len(starts) >= frames else list(range(len(fragments)))
