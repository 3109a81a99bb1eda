"""The columns of a header scan: which element each comes from, and how its bytes become a value.

Two ways lead to the same value. `quick_value` decodes the raw bytes of a well-formed element and raises `Unsure` at anything
unusual; `slow_value` takes what pydicom makes of it.
"""

import math
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from medai.dicom.walk import Unsure

LONGEST_VALUE = 4096  # bytes; no value that is asked for is longer (PS3.5 6.2), and a hostile one costs no memory
_EDGE = " \t\r\n\v\f\0"
_WHOLE = re.compile(rb" *[+-]?[0-9]{1,18} *\0?").fullmatch
_DECIMAL = re.compile(rb" *[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)? *\0?").fullmatch
_LARGEST = 2**63


@dataclass(frozen=True)
class Column:
    """One column: its element and what it holds.

    Attributes:
        name: Of `medai.dicom.instance.INSTANCE_SCHEMA`.
        tag: Group and element as one number, 0x00100020.
        vr: Value representation (PS3.5 6.2).
        count: How many numbers make a list; 0 for one value, the first.
    """

    name: str
    tag: int
    vr: str
    count: int = 0


COLUMNS = (
    Column("transfer_syntax", 0x00020010, "UI"),
    Column("sop_class_uid", 0x00080016, "UI"),
    Column("sop_instance_uid", 0x00080018, "UI"),
    Column("study_uid", 0x0020000D, "UI"),
    Column("series_uid", 0x0020000E, "UI"),
    Column("frame_of_reference_uid", 0x00200052, "UI"),
    Column("patient_id", 0x00100020, "LO"),
    Column("accession_number", 0x00080050, "SH"),
    Column("study_date", 0x00080020, "DA"),
    Column("acquisition_date", 0x00080022, "DA"),
    Column("birth_date", 0x00100030, "DA"),
    Column("age", 0x00101010, "AS"),
    Column("sex", 0x00100040, "CS"),
    Column("modality", 0x00080060, "CS"),
    Column("manufacturer", 0x00080070, "LO"),
    Column("model", 0x00081090, "LO"),
    Column("station", 0x00081010, "SH"),
    Column("institution", 0x00080080, "LO"),
    Column("body_part", 0x00180015, "CS"),
    Column("laterality", 0x00200062, "CS"),
    Column("view", 0x00185101, "CS"),
    Column("image_type", 0x00080008, "CS"),
    Column("series_description", 0x0008103E, "LO"),
    Column("study_description", 0x00081030, "LO"),
    Column("protocol_name", 0x00181030, "LO"),
    Column("kernel", 0x00181210, "SH"),
    Column("sequence_name", 0x00180024, "SH"),
    Column("series_number", 0x00200011, "IS"),
    Column("instance_number", 0x00200013, "IS"),
    Column("acquisition_number", 0x00200012, "IS"),
    Column("echo_number", 0x00180086, "IS"),
    Column("temporal_position", 0x00200100, "IS"),
    Column("frames", 0x00280008, "IS"),
    Column("rows", 0x00280010, "US"),
    Column("columns", 0x00280011, "US"),
    Column("samples", 0x00280002, "US"),
    Column("bits_allocated", 0x00280100, "US"),
    Column("echo_time", 0x00180081, "DS"),
    Column("b_value", 0x00189087, "FD"),
    Column("slice_thickness", 0x00180050, "DS"),
    Column("spacing_between_slices", 0x00180088, "DS"),
    Column("gantry_tilt", 0x00181120, "DS"),
    Column("trigger_time", 0x00181060, "DS"),
    Column("window_center", 0x00281050, "DS"),
    Column("window_width", 0x00281051, "DS"),
    Column("acquisition_time", 0x00080032, "TM"),
    Column("photometric", 0x00280004, "CS"),
    Column("burned_in", 0x00280301, "CS"),
    Column("pixel_spacing", 0x00280030, "DS", 2),
    Column("imager_pixel_spacing", 0x00181164, "DS", 2),
    Column("position", 0x00200032, "DS", 3),
    Column("orientation", 0x00200037, "DS", 6),
    # What stands in where another is absent: it has no column of its own.
    Column("_laterality_of_series", 0x00200060, "CS"),
    Column("_media_class", 0x00020002, "UI"),
    Column("_media_instance", 0x00020003, "UI"),
)
PLACE = {column.name: place for place, column in enumerate(COLUMNS)}
"""Where in a list of values each column lies."""


class _Memo(dict[bytes | None, Any]):
    """Values by their bytes: a header repeats most of its values, so that each is decoded once."""

    MOST = 8192

    def __init__(self, decode: Callable[[bytes], Any]) -> None:
        super().__init__({None: None, b"": None})
        self._decode = decode

    def __missing__(self, raw: bytes) -> Any:
        value = self._decode(raw) if len(raw) <= LONGEST_VALUE else None
        if len(self) >= self.MOST:
            self.clear()
            self.update({None: None, b"": None})
        self[raw] = value
        return value


def _text(raw: bytes) -> str | None:
    try:
        text = raw.decode("ascii").rstrip("\0 ")
    except UnicodeDecodeError:
        raise Unsure from None  # (0008,0005) 'Specific Character Set' matters
    if not text.isprintable():  # a control character: ISO 2022 escapes are among them
        raise Unsure
    return tidy_text(text)


def tidy_text(text: str) -> str | None:
    r"""Text without padding at the ends of its values, None where nothing is left.

    Example:
        >>> tidy_text("ORIGINAL \\PRIMARY ")
        'ORIGINAL\\PRIMARY'
    """
    if "\\" in text:
        parts = [part.strip(_EDGE) for part in text.split("\\")]
        return "\\".join(parts) if any(parts) else None
    return text.strip(_EDGE) or None


def _date(raw: bytes) -> str | None:
    return tidy_date(_text(raw))


def tidy_date(text: str | None) -> str | None:
    """YYYYMMDD; the form YYYY.MM.DD of older files is turned into it (PS3.5 6.2, DA)."""
    digits = (text or "").replace(".", "")
    return digits if len(digits) == 8 and digits.isascii() and digits.isdigit() else None


def _whole(raw: bytes) -> int:
    parts = raw.split(b"\\")
    if not all(map(_WHOLE, parts)):
        raise Unsure
    return int(parts[0].strip(b" \0"))


def _short(raw: bytes) -> int:
    if len(raw) % 2:
        raise Unsure
    return int.from_bytes(raw[:2], "little")


def _decimal(raw: bytes) -> float | None:
    parts = raw.split(b"\\")
    if not all(map(_DECIMAL, parts)):
        raise Unsure
    return _finite(float(parts[0].strip(b" \0")))


def _double(raw: bytes) -> float | None:
    if len(raw) % 8:
        raise Unsure
    return _finite(struct.unpack_from("<d", raw)[0])


def _decimals(count: int) -> Callable[[bytes], tuple[float, ...] | None]:
    def decode(raw: bytes) -> tuple[float, ...] | None:
        parts = raw.split(b"\\")
        if len(parts) != count or not all(map(_DECIMAL, parts)):
            raise Unsure
        return _all_finite([float(part.strip(b" \0")) for part in parts])

    return decode


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None


def _all_finite(numbers: list[float]) -> tuple[float, ...] | None:
    return tuple(numbers) if all(map(math.isfinite, numbers)) else None


_DECODERS: dict[tuple[str, int], Callable[[bytes], Any]] = {
    ("DA", 0): _date,
    ("IS", 0): _whole,
    ("US", 0): _short,
    ("DS", 0): _decimal,
    ("FD", 0): _double,
} | {("DS", count): _decimals(count) for count in (2, 3, 6)}
_MEMOS = {decode: _Memo(decode) for decode in (_text, *_DECODERS.values())}
QUICK: tuple[Callable[[bytes | None], Any], ...] = tuple(
    _MEMOS[_DECODERS.get((column.vr, column.count), _text)].__getitem__ for column in COLUMNS
)
"""For each column: raw bytes (None: absent) to the value. They raise `Unsure`."""


def slow_value(column: Column, value: Any) -> Any:
    """What a value that pydicom parsed is in the table; None where it is not what the column holds."""
    if value is None or (not isinstance(value, int | float) and not value):
        return None
    try:
        return _slow_value(column, value)
    except (TypeError, ValueError, OverflowError):
        return None


def _slow_value(column: Column, value: Any) -> Any:
    several = not isinstance(value, str | bytes) and hasattr(value, "__iter__")
    if column.count:
        numbers = [float(part) for part in value] if several else []
        return _all_finite(numbers) if len(numbers) == column.count else None
    if column.vr in ("IS", "US", "DS", "FD"):
        first: Any = next(iter(value), None) if several else value
        if column.vr in ("DS", "FD"):
            return _finite(float(first))
        whole = int(first)
        return whole if whole == first and -_LARGEST <= whole < _LARGEST else None
    text = "\\".join(map(str, value)) if several else value.decode("ascii", "replace") if isinstance(value, bytes) else str(value)
    return tidy_date(tidy_text(text)) if column.vr == "DA" else tidy_text(text)
