"""Geometry of enhanced multi-frame files from the shared group or that of the first frame (PS3.3 C.7.6.16)."""

import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from medai.dicom.bytes_source import Cursor
from medai.dicom.column import COLUMNS, LONGEST_VALUE, PLACE, slow_value

if TYPE_CHECKING:
    from pydicom import Dataset

SHARED, PER_FRAME = 0x52009229, 0x52009230  # Functional Groups Sequences
_PARTS = {
    0x00209113: ("position",),  # Plane Position Sequence
    0x00209116: ("orientation",),  # Plane Orientation Sequence
    0x00289110: ("pixel_spacing", "slice_thickness", "spacing_between_slices"),  # Pixel Measures Sequence
    0x00289132: ("window_center", "window_width"),  # Frame VOI LUT Sequence
    0x00189117: ("b_value",),  # MR Diffusion Sequence
}


def first_groups(dataset: "Dataset", cursor: Cursor, end: int) -> list["Dataset"]:
    """The shared group and that of the first frame, where there are any; no other is parsed.

    Args:
        dataset: As pydicom read it from `cursor`, up to PER_FRAME or the pixels; no value was asked for yet.
        cursor: To read an item that pydicom stepped over.
        end: Where pydicom stopped.

    Raises:
        Exception: whatever pydicom raises at a broken item.
    """
    groups = [_first_item(dataset, SHARED, cursor)]
    raw: Any = next((element for element in reversed(list(dataset._dict.values())) if hasattr(element, "is_implicit_VR")), None)
    if raw is not None:
        implicit, order = bool(raw.is_implicit_VR), "<" if raw.is_little_endian else ">"
        cursor.seek(end)
        head = cursor.read(8 if implicit else 12)
        if head[:4] == struct.pack(f"{order}HH", PER_FRAME >> 16, PER_FRAME & 0xFFFF) and head[-4:] != bytes(4):
            groups.append(_read_item(cursor, implicit, order == "<"))
    return [group for group in groups if group is not None]


def fill_from_groups(groups: Sequence["Dataset"], cursor: Cursor, found: list[Any]) -> None:
    """Fill what is still null in `found` (the order of COLUMNS), in place."""
    for group in groups:
        for part, names in _PARTS.items():
            item = _first_item(group, part, cursor)
            for place in (PLACE[name] for name in names if item is not None):
                if found[place] is None:
                    found[place] = _value(item, place)


def _first_item(dataset: Any, tag: int, cursor: Cursor) -> "Dataset | None":
    """The first item of a sequence, without parsing the others where the sequence has a length."""
    element = dataset.get_item(tag, keep_deferred=True) if tag in dataset else None
    if element is None:
        return None
    if not hasattr(element, "is_implicit_VR"):  # parsed already: it was of undefined length
        return next(iter(element.value or ()), None)
    if not element.length:
        return None
    cursor.seek(element.value_tell)
    return _read_item(cursor, element.is_implicit_VR, element.is_little_endian)


def _read_item(cursor: Any, implicit: bool, little: bool) -> "Dataset | None":
    from pydicom.filereader import read_sequence_item

    return read_sequence_item(cursor, implicit, little, "iso8859")  # numbers only: the character set does not matter


def _value(item: Any, place: int) -> Any:
    column = COLUMNS[place]
    try:
        raw = item.get_item(column.tag, keep_deferred=True)
        if raw is None or getattr(raw, "length", 0) not in range(LONGEST_VALUE + 1):
            return None
        return slow_value(column, item[column.tag].value)
    except Exception:  # pydicom parses an element when it is asked for, and a broken one raises anything
        return None
