"""Stored values to modality values (PS3.3 C.11.1), and MONOCHROME1 to MONOCHROME2 polarity."""

from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Shaped

from medai.core.error import Refusal
from medai.dicom.header import number_of, value_of, whole_of

if TYPE_CHECKING:
    from pydicom import Dataset

INTEGER_TYPES = (np.dtype(np.int16), np.dtype(np.uint16), np.dtype(np.int32))


def modality_values(stored: Shaped[np.ndarray, "H W"], dataset: "Dataset", inverted: bool) -> Shaped[np.ndarray, "H W"]:
    """Apply the modality LUT or the rescale, and turn MONOCHROME1 round.

    Pixel padding (0028,0120) is kept as it is: it is a value like others, which the intensity step clips.

    Args:
        stored: Stored values (H, W).
        dataset: The header.
        inverted: True for MONOCHROME1: v becomes lo + hi - v, where lo and hi are the modality values of the ends of the
            stored type (Bits Stored, Pixel Representation), so that equal files of different content invert alike.

    Returns:
        Whole numbers in the first of stored dtype, int16, uint16 and int32 that holds them, else float32.

    Raises:
        Refusal: ``bad-header`` or ``unsupported-pixels``.
    """
    sequence = value_of(dataset, "ModalityLUTSequence")
    if sequence:
        values, bits = _look_up(stored, sequence[0], bool(whole_of(dataset, "PixelRepresentation", 0)))
        return (np.array(2**bits - 1, values.dtype) - values) if inverted else values
    slope, intercept = number_of(dataset, "RescaleSlope", 1.0), number_of(dataset, "RescaleIntercept", 0.0)
    if slope == 0:
        raise Refusal("bad-header", "(0028,1053) 'Rescale Slope' is 0, so that every pixel would be the same; expected another number")
    if inverted:
        lowest, highest = stored_range(stored, dataset)
        slope, intercept = -slope, slope * (lowest + highest) + intercept  # lo + hi - v, written as a rescale of stored values
    return _rescale(stored, slope, intercept)


def stored_range(stored: Shaped[np.ndarray, "H W"], dataset: "Dataset") -> tuple[float, float]:
    """The least and the greatest value of the stored type; for float pixels, of the image itself."""
    if stored.dtype.kind == "f":
        return float(stored.min()), float(stored.max())
    bits = whole_of(dataset, "BitsStored", 8 * stored.dtype.itemsize)
    return (-(2.0 ** (bits - 1)), 2.0 ** (bits - 1) - 1) if stored.dtype.kind == "i" else (0.0, 2.0**bits - 1)


def _rescale(stored: Shaped[np.ndarray, "H W"], slope: float, intercept: float) -> Shaped[np.ndarray, "H W"]:
    if stored.dtype.kind == "f" or not (slope.is_integer() and intercept.is_integer()):
        return (stored.astype(np.float64) * slope + intercept).astype(np.float32)
    if slope == 1 and intercept == 0 and stored.dtype.itemsize <= 2 and stored.dtype != np.int8:
        return stored
    ends = (int(stored.min()) * int(slope) + int(intercept), int(stored.max()) * int(slope) + int(intercept))
    for dtype in (stored.dtype, *INTEGER_TYPES) if stored.dtype.itemsize <= 2 and stored.dtype != np.int8 else INTEGER_TYPES:
        if np.iinfo(dtype).min <= min(ends) and max(ends) <= np.iinfo(dtype).max:
            return (stored.astype(np.int64) * int(slope) + int(intercept)).astype(dtype)
    return (stored.astype(np.float64) * slope + intercept).astype(np.float32)


def _look_up(stored: Shaped[np.ndarray, "H W"], lut: "Dataset", signed: bool) -> tuple[Shaped[np.ndarray, "H W"], int]:
    """PS3.3 C.11.1.1: number of entries (0 means 65536), first value mapped, bits of an entry."""
    try:
        entries, first, bits = (int(value) for value in lut.LUTDescriptor)
        data: Any = lut.LUTData
    except Exception:  # pydicom parses an element when it is asked for, and a broken one raises anything
        raise Refusal(
            "bad-header", "(0028,3000) 'Modality LUT Sequence' needs a 'LUT Descriptor' of three numbers and 'LUT Data'"
        ) from None
    entries = entries % 2**16 or 2**16
    first = first - 2**16 if signed and first >= 2**15 else first
    if isinstance(data, bytes):
        table = np.frombuffer(data, "u1" if len(data) < 2 * entries else "<u2")
    else:
        table = np.atleast_1d(np.asarray(data, np.int64)) % 2**16
    if not 8 <= bits <= 16 or len(table) < entries or stored.dtype.kind == "f":
        raise Refusal(
            "bad-header",
            f"(0028,3002) 'LUT Descriptor' promises {entries} entries of {bits} bits, (0028,3006) 'LUT Data' has {len(table)} entries",
        )
    index = np.clip(stored.astype(np.int64) - first, 0, entries - 1)
    return table.astype(np.uint8 if bits == 8 else np.uint16)[index], bits
