"""The wire format of protocol buffers, as far as ONNX files need it: fields read and written without the onnx package.

Source: https://protobuf.dev/programming-guides/encoding
"""

from collections.abc import Iterator

import numpy as np

from medai.core.error import MedaiError

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
LONGEST_VARINT = 10  # bytes: 64 bits in groups of 7


def fields(message: memoryview) -> Iterator[tuple[int, int, int | memoryview]]:
    """Iterate over the fields of one message as (field number, wire type, value).

    A varint's value is an unsigned integer; the others are views of the message's bytes, not copies.

    Raises:
        MedaiError: the message is cut short or is no protocol buffer.

    Example:
        >>> list(fields(memoryview(bytes([8, 150, 1]))))
        [(1, 0, 150)]
    """
    position = 0
    while position < len(message):
        key, position = _varint(message, position)
        number, kind = key >> 3, key & 7
        if kind == VARINT:
            value, position = _varint(message, position)
            yield number, kind, value
            continue
        if kind == BYTES:
            length, position = _varint(message, position)
        elif kind in (FIXED32, FIXED64):
            length = 4 if kind == FIXED32 else 8
        else:
            raise MedaiError(f"not an ONNX file: wire type {kind} at byte {position}; the file is damaged")
        if position + length > len(message):
            raise MedaiError(f"ONNX data is cut short: {length} bytes expected at byte {position}, {len(message) - position} are left")
        yield number, kind, message[position : position + length]
        position += length


def integer(value: int | memoryview) -> int:
    """A varint as the signed 64-bit integer that ONNX means by it."""
    if not isinstance(value, int):
        raise MedaiError("not an ONNX file: bytes where an integer belongs; the file is damaged")
    return value - (1 << 64) if value >= 1 << 63 else value


def payload(value: int | memoryview) -> memoryview:
    """The bytes of a length-delimited field."""
    if isinstance(value, int):
        raise MedaiError("not an ONNX file: an integer where bytes belong; the file is damaged")
    return value


def text(value: int | memoryview) -> str:
    """A string field."""
    return bytes(payload(value)).decode("utf-8", "replace")


def integers(kind: int, value: int | memoryview) -> list[int]:
    """A repeated integer field's share: one value, or several packed."""
    if kind == VARINT:
        return [integer(value)]
    packed, position, found = payload(value), 0, []
    while position < len(packed):
        number, position = _varint(packed, position)
        found.append(integer(number))
    return found


def floats(kind: int, value: int | memoryview, dtype: str) -> list[float]:
    """A repeated float (``"<f4"``) or double (``"<f8"``) field's share: one value, or several packed."""
    packed = payload(value)
    if len(packed) % np.dtype(dtype).itemsize:
        raise MedaiError(f"ONNX data is damaged: {len(packed)} bytes are no whole number of {np.dtype(dtype).itemsize}-byte values")
    found: list[float] = np.frombuffer(packed, dtype).tolist()
    return found


def field(number: int, value: int | bytes) -> bytes:
    """One field as it is written: a varint, or length-delimited bytes."""
    if isinstance(value, int):
        return _encode(number << 3 | VARINT) + _encode(value)
    return _encode(number << 3 | BYTES) + _encode(len(value)) + value


def _encode(value: int) -> bytes:
    value &= 0xFFFFFFFFFFFFFFFF
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    value = 0
    for index in range(LONGEST_VARINT):
        if position + index >= len(message):
            raise MedaiError("ONNX data is cut short in the middle of a number")
        byte = message[position + index]
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, position + index + 1
    raise MedaiError(f"not an ONNX file: an endless number at byte {position}; the file is damaged")
