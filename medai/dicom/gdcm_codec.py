"""GDCM's codecs asked directly for a grey frame: its Python images hand pixels out as text, which takes as long as decoding them.

Only frames whose own header agrees with the DICOM header in precision and sign are taken; the rest goes through pydicom.
"""

import ctypes
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Shaped

from medai.dicom.codestream import precision_of

if TYPE_CHECKING:
    from medai.dicom.decoder import Layout

_JPEG = "1.2.840.10008.1.2.4."
_CODECS = {_JPEG + "51": "JPEGCodec", _JPEG + "57": "JPEGCodec", _JPEG + "70": "JPEGCodec"} | {
    _JPEG + "90": "JPEG2000Codec",
    _JPEG + "91": "JPEG2000Codec",
}


def takes(frame: bytes, layout: "Layout") -> bool:
    """Whether `decode_grey` decodes this frame.

    JPEG Extended is taken with 12 bits alone: that is what Pillow and pydicom's own use of GDCM cannot.
    """
    if layout.syntax not in _CODECS or layout.samples != 1 or layout.bits_allocated not in (8, 16):
        return False
    precision, signed = precision_of(frame)
    container = 8 if precision <= 8 else 16
    if precision < 2 or container != layout.bits_allocated:
        return False
    if layout.syntax == _JPEG + "51":
        return precision == 12 and not layout.signed
    return precision == layout.bits_stored and (signed is None or signed == layout.signed)


def decode_grey(frame: bytes, layout: "Layout") -> Shaped[np.ndarray, "H W"]:
    """Stored values of one frame that is `takes`-n.

    Raises:
        ValueError: the stream is damaged.
    """
    import gdcm

    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(frame)
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    encoded, decoded = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010)), gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    encoded.SetValue(fragments.__ref__())
    codec = getattr(gdcm, _CODECS[layout.syntax])()
    codec.SetNumberOfDimensions(2)
    codec.SetDimensions((layout.columns, layout.rows, 1))
    codec.SetPlanarConfiguration(0)
    codec.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(gdcm.PhotometricInterpretation.MONOCHROME2))
    bits = layout.bits_stored
    codec.SetPixelFormat(gdcm.PixelFormat(1, layout.bits_allocated, bits, bits - 1, int(layout.signed)))
    codec.SetNeedOverlayCleanup(False)
    if not codec.Decode(encoded, decoded) or decoded.GetByteValue() is None:
        raise ValueError("GDCM cannot decode the frame")
    value = decoded.GetByteValue()
    length, expected = int(str(value.GetLength())), layout.rows * layout.columns * layout.dtype.itemsize
    if length not in (expected, expected + expected % 2):
        raise ValueError(f"GDCM gives {length:,} of {expected:,} bytes")
    plain = np.empty((layout.rows, layout.columns), layout.dtype.newbyteorder("<"))
    ctypes.memmove(plain.ctypes.data, int(value.GetVoidPointer()), expected)  # while `value` is held
    return plain
