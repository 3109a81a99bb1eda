"""The size that a compressed frame claims for itself: a damaged or hostile one makes a decoder allocate without bound."""

from typing import TYPE_CHECKING

from medai.core.error import Refusal

if TYPE_CHECKING:
    from medai.dicom.decoder import Layout

_NO_FRAME_HEADER = frozenset({0xC4, 0xC8, 0xCC})  # DHT, JPG and DAC lie among the SOF markers
_JPEG_LS_FRAME = 0xF7
_ALONE = frozenset({0x01, *range(0xD0, 0xD9)})  # markers without a length


def refuse_other_size(frame: bytes, layout: "Layout") -> None:
    """Refuse a frame whose JPEG, JPEG-LS or JPEG 2000 header tells another size than the DICOM header.

    Raises:
        Refusal: ``decode-failed``.
    """
    size = codestream_size(frame)
    if size is None:
        return
    rows, columns, samples = size
    if (rows, columns) != (layout.rows, layout.columns):
        raise Refusal(
            "decode-failed",
            f"the compressed frame is {rows} x {columns} pixels, "
            f"(0028,0010) 'Rows' x (0028,0011) 'Columns' {layout.rows} x {layout.columns}",
        )
    if samples != layout.samples:
        raise Refusal(
            "decode-failed", f"the compressed frame has {samples} samples a pixel, (0028,0002) 'Samples per Pixel' {layout.samples}"
        )


def codestream_size(frame: bytes) -> tuple[int, int, int] | None:
    r"""Rows, columns and samples of a frame, or None where it tells none (RLE, native, damaged beyond recognition).

    Example:
        >>> codestream_size(b"\xff\xd8\xff\xf7\x00\x0b\x0c\x00\x10\x00\x20\x01")
        (16, 32, 1)
    """
    if frame[:2] == b"\xff\xd8":
        return _jpeg_size(frame)
    start = frame[:4096].find(b"\xff\x4f\xff\x51")  # SOC, SIZ: ISO/IEC 15444-1 A.5.1; a JP2 box may lie before
    if start < 0 or len(frame) < start + 42:
        return None
    right, lower, left, upper = (int.from_bytes(frame[start + at : start + at + 4], "big") for at in (8, 12, 16, 20))
    return lower - upper, right - left, int.from_bytes(frame[start + 40 : start + 42], "big")


def jpeg_precision(frame: bytes) -> int:
    """Bits of a sample as a JPEG frame tells them; 0 where it does not."""
    at = _frame_header(frame) if frame[:2] == b"\xff\xd8" else 0
    return frame[at + 4] if at else 0


def _jpeg_size(frame: bytes) -> tuple[int, int, int] | None:
    at = _frame_header(frame)
    return (int.from_bytes(frame[at + 5 : at + 7], "big"), int.from_bytes(frame[at + 7 : at + 9], "big"), frame[at + 9]) if at else None


def _frame_header(frame: bytes) -> int:
    """Where the SOF marker stands, or 0 (ISO/IEC 10918-1 B.2.2, 14495-1 C.2.2: marker, length, precision, rows, columns, samples)."""
    at = 2
    while at + 9 < len(frame) and frame[at] == 0xFF:
        marker = frame[at + 1]
        if marker == _JPEG_LS_FRAME or (0xC0 <= marker <= 0xCF and marker not in _NO_FRAME_HEADER):
            return at
        if marker == 0xFF:
            at += 1
        else:
            at += 2 if marker in _ALONE else 2 + int.from_bytes(frame[at + 2 : at + 4], "big")
    return 0
