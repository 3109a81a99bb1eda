"""GDCM's JPEG codec asked directly for a grey frame: its Python images hand pixels out as text, which costs nearly half of the time."""

import ctypes
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Shaped

from medai.dicom.codestream import jpeg_precision

if TYPE_CHECKING:
    from medai.dicom.decoder import Layout

EXTENDED = "1.2.840.10008.1.2.4.51"
_LOSSLESS = ("1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70")


def takes(frame: bytes, layout: "Layout") -> bool:
    """Whether `decode_grey` decodes this frame: lossless in the container that the DICOM header tells, or JPEG Extended of 12 bits,
    which neither Pillow nor pydicom's own use of GDCM decodes.
    """
    if layout.samples != 1 or layout.bits_allocated not in (8, 16):
        return False
    precision = jpeg_precision(frame)
    if layout.syntax == EXTENDED:
        return precision == 12 and layout.bits_allocated == 16 and not layout.signed
    return layout.syntax in _LOSSLESS and layout.bits_stored <= precision and (8 if precision <= 8 else 16) == layout.bits_allocated


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
    codec = gdcm.JPEGCodec()
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
