"""Geometry of enhanced multi-frame files from the shared group or that of the first frame (PS3.3 C.7.6.16)."""

from typing import TYPE_CHECKING, Any

from medai.dicom.bytes_source import Cursor
from medai.dicom.column import COLUMNS, LONGEST_VALUE, PLACE, slow_value

if TYPE_CHECKING:
    from pydicom import Dataset

GROUPS = (0x52009229, 0x52009230)  # Shared and Per-Frame Functional Groups Sequence
_PARTS = {
    0x00209113: ("position",),  # Plane Position Sequence
    0x00209116: ("orientation",),  # Plane Orientation Sequence
    0x00289110: ("pixel_spacing", "slice_thickness", "spacing_between_slices"),  # Pixel Measures Sequence
    0x00289132: ("window_center", "window_width"),  # Frame VOI LUT Sequence
    0x00189117: ("b_value",),  # MR Diffusion Sequence
}


def fill_from_groups(dataset: "Dataset", cursor: Cursor, found: list[Any]) -> None:
    """Fill what is still null in `found` (the order of COLUMNS). Only the first item of a sequence is read.

    Args:
        dataset: As pydicom read it from `cursor`, up to the pixels.
        cursor: To read an item that pydicom stepped over.
        found: Changed in place.

    Raises:
        Exception: whatever pydicom raises at a broken item.
    """
    for tag in GROUPS:
        group = first_item(dataset, tag, cursor)
        for part, names in _PARTS.items() if group is not None else ():
            item = first_item(group, part, cursor)
            for place in (PLACE[name] for name in names if item is not None):
                if found[place] is None:
                    found[place] = _value(item, place)


def first_item(dataset: Any, tag: int, cursor: Cursor) -> "Dataset | None":
    """The first item of a sequence, without parsing the others where the sequence has a length."""
    element = dataset.get_item(tag) if tag in dataset else None
    if element is None:
        return None
    if not hasattr(element, "value_tell") or not hasattr(element, "is_implicit_VR"):  # parsed already: of undefined length
        return next(iter(element.value or ()), None)
    if not element.length:
        return None
    from pydicom.filereader import read_sequence_item

    cursor.seek(element.value_tell)
    encoding = getattr(dataset, "_character_set", None) or "iso8859"
    return read_sequence_item(cursor, element.is_implicit_VR, element.is_little_endian, encoding)  # type: ignore[arg-type]


def _value(item: Any, place: int) -> Any:
    column = COLUMNS[place]
    try:
        raw = item.get_item(column.tag)
        if raw is None or getattr(raw, "length", 0) not in range(LONGEST_VALUE + 1):
            return None
        return slow_value(column, item[column.tag].value)
    except Exception:  # pydicom parses an element when it is asked for, and a broken one raises anything
        return None
