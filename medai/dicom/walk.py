"""Walk over the elements of a DICOM header in memory: strict, bounded, and much quicker than a full parser.

It takes little endian, explicit or implicit VR (PS3.5 7.1), skips what is nested, and gives the raw bytes of wanted elements.
At anything that it is not sure of it says so (`Unsure`), and a full parser decides.
"""

import struct
from collections.abc import Mapping

DEPTH = 16  # sequences within sequences
LAST_GROUP = 0x0028  # of what is wanted
_UNDEFINED = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xE000FFFE, 0xE00DFFFE, 0xE0DDFFFE  # as a little-endian number
_DELIMITERS = 0xFFFE  # the group of the three
_PIXELS = frozenset({0x00107FE0, 0x00097FE0, 0x00087FE0})
_FIRST_NUMBERS = frozenset({0x0000, 0x0001, 0x0005, 0x0008, 0x0012, 0x0014, 0x0016, 0x0018, 0x0020})
_GROUPS = frozenset({0x92295200, 0x92305200})  # Shared and Per-Frame Functional Groups Sequence
_STOP = _PIXELS | _GROUPS
_SHORT = frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())
_LONG = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
_explicit = struct.Struct("<I2sH").unpack_from
_implicit = struct.Struct("<II").unpack_from
_length = struct.Struct("<I").unpack_from


class Unsure(Exception):
    """This header is not of the plain kind; a full parser has to read it."""


class NeedMore(Exception):
    """What is wanted can follow behind the bytes that were given; holds where the next element would begin."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.at = at


Wanted = Mapping[int, tuple[int, bytes]]
"""Tag as the four bytes of the file read as a little-endian number -> place in the list of values, value representation."""


def wanted(columns: Mapping[int, tuple[int, str]]) -> Wanted:
    """Tag 0xGGGGEEEE -> (place, VR), in the order of bytes that the walk needs."""
    return {tag >> 16 | (tag & 0xFFFF) << 16: (place, vr.encode()) for tag, (place, vr) in columns.items()}


def walk_meta(data: bytes, at: int, want: Wanted, values: list[bytes | None]) -> int:
    """Take what is wanted of the file meta information (group 0002, explicit VR: PS3.10 7.1); gives where it ends."""
    try:
        while True:
            tag, vr, length = _explicit(data, at)
            if tag & 0xFFFF != 0x0002:
                return at
            if vr in _SHORT:
                start = at + 8
            elif vr in _LONG:
                (length,), start = _length(data, at + 8), at + 12
            else:
                raise Unsure
            at = start + length
            if tag in want:
                values[want[tag][0]] = data[start:at]
    except struct.error:
        raise NeedMore(len(data) + 1) from None


def walk_explicit(data: bytes, at: int, want: Wanted, values: list[bytes | None]) -> int:
    """Take what is wanted of an Explicit VR Little Endian data set, up to the pixels or to the end of `data`.

    Args:
        data: The file from its start on, or all of it.
        at: Where the data set begins.
        want: See `wanted`.
        values: Filled in place; the last of equal tags holds.

    Returns:
        Where it stopped: at the pixels, or where `data` ends and nothing that is wanted can follow; beyond `len(data)` where an
        element does not end within it.

    Raises:
        Unsure: see there.
        NeedMore: `data` ends where wanted elements can still follow.
    """
    get = want.get
    last = len(data) - 8
    tag = 0
    try:
        while at <= last:
            tag, vr, length = _explicit(data, at)
            if vr in _SHORT:
                start = at + 8
            elif vr in _LONG:
                if tag in _STOP:
                    return _stop(tag, at)
                (length,), start = _length(data, at + 8), at + 12
                if length == _UNDEFINED:
                    if vr != b"SQ" and vr != b"UN":
                        raise Unsure
                    at = _skip_items(data, start, False, 1)
                    continue
            else:
                raise Unsure
            at = start + length
            found = get(tag)
            if found is not None:
                if vr != found[1]:
                    raise Unsure
                values[found[0]] = data[start:at]
    except struct.error:
        at = len(data) + 1
    return _end(at, tag)


def walk_implicit(data: bytes, at: int, want: Wanted, values: list[bytes | None]) -> int:
    """The same of an Implicit VR Little Endian data set."""
    get = want.get
    last = len(data) - 8
    tag = 0
    try:
        while at <= last:
            tag, length = _implicit(data, at)
            if tag in _STOP:
                return _stop(tag, at)
            if tag & 0xFFFF == _DELIMITERS:
                raise Unsure
            start = at + 8
            if length == _UNDEFINED:
                at = _skip_items(data, start, True, 1)
                continue
            at = start + length
            found = get(tag)
            if found is not None:
                values[found[0]] = data[start:at]
    except struct.error:
        at = len(data) + 1
    return _end(at, tag)


def is_explicit(data: bytes, at: int) -> bool:
    """Whether the element there says its value representation."""
    return data[at + 4 : at + 6] in _SHORT or data[at + 4 : at + 6] in _LONG


def _stop(tag: int, at: int) -> int:
    if tag in _GROUPS:
        raise Unsure  # what is wanted may lie in it
    return at


def _end(at: int, tag: int) -> int:
    if tag & 0xFFFF <= LAST_GROUP:
        raise NeedMore(at)
    return at


def _skip_items(data: bytes, at: int, implicit: bool, depth: int) -> int:
    """Where a sequence of undefined length ends (PS3.5 7.5)."""
    if depth > DEPTH:
        raise Unsure
    while True:
        tag, length = _implicit(data, at)
        at += 8
        if tag == _SEQUENCE_END:
            return at
        if tag != _ITEM:
            raise Unsure
        if length == _UNDEFINED:
            at = _skip_elements(data, at, implicit or not is_explicit(data, at), depth)
        else:
            at += length


def _skip_elements(data: bytes, at: int, implicit: bool, depth: int) -> int:
    """Where an item of undefined length ends."""
    while True:
        tag, length = _implicit(data, at)
        if tag == _ITEM_END:
            return at + 8
        if implicit:
            at += 8
        else:
            vr = data[at + 4 : at + 6]
            if vr in _SHORT:
                length, at = length >> 16, at + 8
            elif vr in _LONG:
                (length,), at = _length(data, at + 8), at + 12
                if length == _UNDEFINED and vr != b"SQ" and vr != b"UN":
                    raise Unsure
            else:
                raise Unsure
        at = _skip_items(data, at, implicit, depth + 1) if length == _UNDEFINED else at + length


def starts_like_dicom(data: bytes) -> bool:
    """A preamble and ``DICM`` (PS3.10 7.1), or a data set that begins with group 0002 or 0008."""
    if data[128:132] == b"DICM":
        return True
    if len(data) < 8:
        return False
    little, big = (tuple(int.from_bytes(data[at : at + 2], order) for at in (0, 2)) for order in ("little", "big"))
    return any(group in (0x0002, 0x0008) and number in _FIRST_NUMBERS for group, number in (little, big))
