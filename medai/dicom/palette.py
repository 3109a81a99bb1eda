"""Palette colour lookup tables (PS3.3 C.7.6.3.1.5, C.7.9), discrete or segmented, to RGB."""

from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Shaped

from medai.core.error import Refusal
from medai.dicom.header import value_of

if TYPE_CHECKING:
    from pydicom import Dataset

_WRONG = "(0028,1101) 'Red Palette Color Lookup Table Descriptor' or its data is wrong ({}); the file is damaged"


def read_palette(dataset: "Dataset") -> tuple[Shaped[np.ndarray, "N 3"], int]:
    """The table of colours (uint8 or uint16), and the stored value of its first entry.

    Raises:
        Refusal: ``bad-header``.
    """
    try:
        entries, first, _ = (int(value) for value in value_of(dataset, "RedPaletteColorLookupTableDescriptor"))
        little = dataset.original_encoding[1] is not False
        entries = entries % 2**16 or 2**16
        columns = [_column(dataset, colour, entries, little) for colour in ("Red", "Green", "Blue")]
    except Refusal:
        raise
    except Exception as error:  # what pydicom or numpy raise where a descriptor does not fit its data
        raise Refusal("bad-header", _WRONG.format(error)) from None
    if len({column.dtype for column in columns}) > 1:
        raise Refusal("bad-header", _WRONG.format("the colours have different widths"))
    return np.stack(columns, axis=-1), first


def apply_palette(stored: Shaped[np.ndarray, "H W"], palette: tuple[Shaped[np.ndarray, "N 3"], int]) -> Shaped[np.ndarray, "H W 3"]:
    """Colours of stored values; what lies before or after the table takes its end."""
    table, first = palette
    out = np.empty((*stored.shape, 3), table.dtype)
    rows = max(1, 2**20 // stored.shape[1])
    for start in range(0, len(stored), rows):
        index = np.clip(stored[start : start + rows].astype(np.int64) - first, 0, len(table) - 1)
        out[start : start + rows] = table[index]
    return out


def _column(dataset: "Dataset", colour: str, entries: int, little: bool) -> Shaped[np.ndarray, "N"]:
    data = value_of(dataset, f"{colour}PaletteColorLookupTableData")
    if data is not None:
        data = _bytes(data)
        width = round(len(data) / entries)  # not the descriptor's bits: some write bytes where it says 16, or words where it says 8
        if width not in (1, 2) or len(data) < width * entries:
            raise Refusal("bad-header", _WRONG.format(f"{len(data)} bytes for {entries} entries"))
        words = np.frombuffer(data, "<u2" if little else ">u2", len(data) // 2).astype("<u2")
        return (words.view(np.uint8) if width == 1 and len(data) % 2 == 0 else np.frombuffer(data, np.uint8) if width == 1 else words)[
            :entries
        ]
    data = value_of(dataset, f"Segmented{colour}PaletteColorLookupTableData")
    bits = int(value_of(dataset, "RedPaletteColorLookupTableDescriptor")[2])
    if data is None or bits not in (8, 16):
        raise Refusal("bad-header", _WRONG.format("there is no table" if data is None else f"{bits} bits"))
    words = np.frombuffer(_bytes(data), "u1" if bits == 8 else "<u2" if little else ">u2")
    values = _expand(words.astype(int).tolist(), bits, entries, little)
    if len(values) != entries:
        raise Refusal("bad-header", _WRONG.format(f"its segments make {len(values)} of {entries} entries"))
    return np.asarray(values, np.uint8 if bits == 8 else np.uint16)


def _bytes(data: Any) -> bytes:
    return data if isinstance(data, bytes) else np.asarray(data, "<u2").tobytes()  # VR US where it should be OW


def _expand(data: list[int], bits: int, entries: int, little: bool) -> list[int]:
    """PS3.3 C.7.9.2: discrete, linear and indirect segments. Never more than `entries` values, whatever the segments claim."""
    values: list[int] = []
    at = 0
    while at + 1 < len(data) and len(values) < entries:
        if data[at] == 2:
            count, start, at = data[at + 1], _offset(data[at + 2 :], bits, little), at + (6 if bits == 8 else 4)
            for _ in range(count):  # segments that lie elsewhere; they may not be indirect again
                if len(values) >= entries or start + 1 >= len(data):
                    break
                start = _segment(data, start, values, entries)
        else:
            at = _segment(data, at, values, entries)
    return values


def _offset(data: list[int], bits: int, little: bool) -> int:
    """The byte offset of an indirect segment, as an index into `data`."""
    if bits == 16:
        return (data[1] << 16 | data[0]) // 2
    first, second, third, fourth = data[:4] if little else (data[1], data[0], data[3], data[2])
    return fourth << 24 | third << 16 | second << 8 | first


def _segment(data: list[int], at: int, values: list[int], entries: int) -> int:
    """Append one discrete or linear segment; give where the next one starts."""
    kind, length = data[at], data[at + 1]
    room = entries - len(values)
    if kind == 0:
        values.extend(data[at + 2 : at + 2 + min(length, room)])
        return at + 2 + length
    if kind != 1 or not values or at + 2 >= len(data):
        raise Refusal("bad-header", _WRONG.format(f"a segment of type {kind} cannot be expanded"))
    last, end = values[-1], data[at + 2]
    if length:
        values.extend(int(value) for value in np.around(np.linspace(last + (end - last) / length, end, length))[:room])
    return at + 3
