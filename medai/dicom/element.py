"""Data elements as bytes in Explicit VR Little Endian (PS3.5 7.1.2), written by pydicom once for each value that recurs."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any


def join_elements(values: Mapping[str, Any]) -> bytes:
    """The elements of `values` (keyword -> value), in ascending order of their tags."""
    hashable = {keyword: tuple(value) if isinstance(value, list) else value for keyword, value in values.items()}
    return b"".join(data for _, data in sorted(element(keyword, value) for keyword, value in hashable.items()))


@lru_cache(maxsize=4096, typed=True)
def element(keyword: str, value: Any) -> tuple[int, bytes]:
    """Tag and bytes of one element. A header repeats most of its values, so that writing one costs a tenth of pydicom's time.

    Args:
        keyword: E.g. ``"PatientID"``.
        value: str, number, bytes or a tuple of them; an empty tuple for a sequence without items.

    Raises:
        ValueError: pydicom knows no such keyword.
    """
    from pydicom import DataElement
    from pydicom.datadict import dictionary_VR, tag_for_keyword
    from pydicom.filebase import DicomBytesIO
    from pydicom.filewriter import write_data_element

    tag = tag_for_keyword(keyword)
    if tag is None:
        raise ValueError(f"{keyword!r} is no DICOM keyword")
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, False
    write_data_element(buffer, DataElement(tag, dictionary_VR(tag), list(value) if isinstance(value, tuple) else value), ["utf-8"])
    return tag, buffer.getvalue()


def long_element(tag: int, representation: bytes, value: bytes, undefined_length: bool = False) -> bytes:
    """An element with a 32-bit length (OB, OW), padded to even length; of undefined length it ends with a delimiter."""
    head = (tag >> 16).to_bytes(2, "little") + (tag & 0xFFFF).to_bytes(2, "little") + representation + b"\0\0"
    if undefined_length:
        return head + b"\xff\xff\xff\xff" + value + b"\xfe\xff\xdd\xe0\0\0\0\0"
    padding = b"\0" * (len(value) % 2)
    return head + (len(value) + len(padding)).to_bytes(4, "little") + value + padding
