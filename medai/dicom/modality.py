"""Stored values to modality values (PS3.3 C.11.1), and MONOCHROME1 to MONOCHROME2 polarity."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Shaped

from medai.core.error import Refusal
from medai.dicom.header import number_of, value_of, whole_of

if TYPE_CHECKING:
    from pydicom import Dataset

INTEGER_TYPES = (np.dtype(np.int16), np.dtype(np.uint16), np.dtype(np.int32))
MAXIMUM_SEQUENCE_BYTES = 2**25
"""The longest sequence that is parsed on the way to the pixels: a hostile one of tiny elements takes seconds a megabyte."""

_BLOCK = 2**20  # pixels that are widened to 64 bits at once


def modality_values(
    stored: Shaped[np.ndarray, "F H W"], dataset: "Dataset", inverted: bool, frames: Sequence[int] = (0,)
) -> Shaped[np.ndarray, "F H W"]:
    """Apply the modality LUT or the rescale (of each frame, where it has its own), and turn MONOCHROME1 round.

    Pixel padding (0028,0120) is kept as it is: it is a value like others, which the intensity step clips; `padding_range` tells it.

    Args:
        stored: Stored values (F, H, W).
        dataset: The header.
        inverted: True for MONOCHROME1: v becomes lo + hi - v, where lo and hi are the modality values of the ends of the
            stored type (Bits Stored, Pixel Representation), so that equal files of different content invert alike.
        frames: The number of each frame in the file, from 0.

    Returns:
        Whole numbers in the first of stored dtype, int16, uint16 and int32 that holds those of all frames, else float32.

    Raises:
        Refusal: ``bad-header`` or ``unsupported-pixels``.
    """
    sequence = sequence_of(dataset, "ModalityLUTSequence")
    if sequence:
        values, bits = _look_up(stored, sequence[0], bool(whole_of(dataset, "PixelRepresentation", 0)))
        return (np.array(2**bits - 1, values.dtype) - values) if inverted else values
    scales = [rescale_of(dataset, frame) for frame in frames]
    if inverted:
        for index, (slope, intercept) in enumerate(scales):
            lowest, highest = stored_range(stored[index], dataset)
            scales[index] = -slope, slope * (lowest + highest) + intercept  # lo + hi - v, written as a rescale of stored values
    return _rescale(stored, scales)


def rescale_of(dataset: "Dataset", frame: int = 0) -> tuple[float, float]:
    """Slope and intercept of a frame: of its functional group (PS3.3 C.7.6.16.2.9), of the shared one, or of the header.

    Raises:
        Refusal: ``bad-header``.
    """
    group = functional_group(dataset, frame, "PixelValueTransformationSequence") or dataset
    slope, intercept = number_of(group, "RescaleSlope", 1.0), number_of(group, "RescaleIntercept", 0.0)
    if slope == 0:
        raise Refusal("bad-header", "(0028,1053) 'Rescale Slope' is 0, so that every pixel would be the same; expected another number")
    return slope, intercept


def window_of(dataset: "Dataset", frame: int = 0) -> tuple[float, float] | None:
    """Centre and width of the first VOI window of a frame (PS3.3 C.11.2, C.7.6.16.2.10) in modality values; None where there is none.

    The pixels are never changed by it. MONOCHROME1 images are turned round, and their window is not: turn it as `modality_values` does.
    """
    group = functional_group(dataset, frame, "FrameVOILUTSequence") or dataset
    numbers = [_first_number(group, keyword) for keyword in ("WindowCenter", "WindowWidth")]
    return None if numbers[0] is None or numbers[1] is None else (numbers[0], numbers[1])


def padding_range(dataset: "Dataset", frame: int = 0) -> tuple[float, float] | None:
    """Least and greatest modality value of the pixel padding (PS3.3 C.7.5.1.1.2), or None where the image declares none.

    Example:
        >>> padding_range(ct)  # Pixel Padding Value -2000, Rescale Slope 1, Intercept 0
        (-2000.0, -2000.0)
    """
    signed = bool(whole_of(dataset, "PixelRepresentation", 0))
    ends = [_first_number(dataset, keyword) for keyword in ("PixelPaddingValue", "PixelPaddingRangeLimit")]
    first, second = ends[0], ends[0] if ends[1] is None else ends[1]
    if first is None or second is None:
        return None
    bits = whole_of(dataset, "BitsAllocated", 16)
    slope, intercept = rescale_of(dataset, frame)
    values = [_as_signed(end, bits) if signed else end % 2.0**bits for end in (first, second)]
    if str(value_of(dataset, "PhotometricInterpretation") or "").strip() == "MONOCHROME1":
        stored = whole_of(dataset, "BitsStored", bits)
        total = -1.0 if signed else 2.0**stored - 1
        values = [total - value for value in values]
    scaled = sorted(value * slope + intercept for value in values)
    return scaled[0], scaled[1]


def functional_group(dataset: "Dataset", frame: int, keyword: str) -> "Dataset | None":
    """The item of `keyword` in a frame's functional groups, else in the shared ones (PS3.3 C.7.6.16.1), else None."""
    for groups, index in (
        (sequence_of(dataset, "PerFrameFunctionalGroupsSequence"), frame),
        (sequence_of(dataset, "SharedFunctionalGroupsSequence"), 0),
    ):
        if groups and index < len(groups):
            items = sequence_of(groups[index], keyword)
            if items:
                item: Dataset = items[0]
                return item
    return None


def sequence_of(dataset: "Dataset", keyword: str) -> Any:
    """The items of a sequence; an empty tuple where it is absent or is no sequence.

    Raises:
        Refusal: ``too-large`` or ``bad-header``.
    """
    raw: Any = dataset.get_item(keyword, keep_deferred=True)
    value = getattr(raw, "value", None)
    if isinstance(value, bytes) and len(value) > MAXIMUM_SEQUENCE_BYTES:
        raise Refusal("too-large", f"'{keyword}' has {len(value):,} bytes; expected at most {MAXIMUM_SEQUENCE_BYTES:,}")
    items = None if raw is None else value_of(dataset, keyword)
    return () if items is None or isinstance(items, str | bytes) or not hasattr(items, "__getitem__") else items


def stored_range(stored: Shaped[np.ndarray, "H W"], dataset: "Dataset") -> tuple[float, float]:
    """The least and the greatest value of the stored type; for float pixels, of the image itself."""
    if stored.dtype.kind == "f":
        return float(stored.min()), float(stored.max())
    bits = whole_of(dataset, "BitsStored", 8 * stored.dtype.itemsize)
    return (-(2.0 ** (bits - 1)), 2.0 ** (bits - 1) - 1) if stored.dtype.kind == "i" else (0.0, 2.0**bits - 1)


def _rescale(stored: Shaped[np.ndarray, "F H W"], scales: list[tuple[float, float]]) -> Shaped[np.ndarray, "F H W"]:
    narrow = stored.dtype.itemsize <= 2 and stored.dtype != np.int8
    whole = stored.dtype.kind != "f" and all(slope.is_integer() and intercept.is_integer() for slope, intercept in scales)
    if whole and narrow and all(scale == (1, 0) for scale in scales):
        return stored
    dtype: np.dtype[Any] = np.dtype(np.float32)
    if whole:
        ends = [
            int(end(frame)) * int(slope) + int(intercept)
            for frame, (slope, intercept) in zip(stored, scales, strict=True)
            for end in (np.min, np.max)
        ]
        for fitting in (stored.dtype, *INTEGER_TYPES) if narrow else INTEGER_TYPES:
            if np.iinfo(fitting).min <= min(ends) and max(ends) <= np.iinfo(fitting).max:
                dtype = np.dtype(fitting)
                break
    out = np.empty(stored.shape, dtype)
    for frame, (slope, intercept), target in zip(stored, scales, out, strict=True):
        if dtype.kind == "f":
            _by_blocks(frame, target, lambda part, a=slope, b=intercept: part.astype(np.float64) * a + b)  # type: ignore[misc]
        else:
            _by_blocks(frame, target, lambda part, a=int(slope), b=int(intercept): part.astype(np.int64) * a + b)  # type: ignore[misc]
    return out


def _by_blocks(source: Shaped[np.ndarray, "H W"], target: Shaped[np.ndarray, "H W"], work: Callable[[Any], Any]) -> None:
    """``target = work(source)`` a few rows at a time, since `work` needs eight bytes a pixel."""
    rows = max(1, _BLOCK // source.shape[1])
    for start in range(0, len(source), rows):
        target[start : start + rows] = work(source[start : start + rows])


def _look_up(stored: Shaped[np.ndarray, "F H W"], lut: "Dataset", signed: bool) -> tuple[Shaped[np.ndarray, "F H W"], int]:
    """PS3.3 C.11.1.1: number of entries (0 means 65536), first value mapped, bits of an entry."""
    try:
        entries, first, bits = (int(value) for value in lut.LUTDescriptor)
        data: Any = lut.LUTData
        if not isinstance(data, bytes):
            data = np.atleast_1d(np.asarray(data, np.int64)) % 2**16
    except Exception:  # pydicom parses an element when it is asked for, and a broken one raises anything
        raise Refusal(
            "bad-header", "(0028,3000) 'Modality LUT Sequence' needs a 'LUT Descriptor' of three numbers and 'LUT Data'"
        ) from None
    entries = entries % 2**16 or 2**16
    first = first - 2**16 if signed and first >= 2**15 else first
    table = np.frombuffer(_even(data, entries), "u1" if len(data) < 2 * entries else "<u2") if isinstance(data, bytes) else data
    if not 8 <= bits <= 16 or len(table) < entries or stored.dtype.kind == "f":
        raise Refusal(
            "bad-header",
            f"(0028,3002) 'LUT Descriptor' promises {entries} entries of {bits} bits, (0028,3006) 'LUT Data' has {len(table)} entries",
        )
    table = table.astype(np.uint8 if bits == 8 else np.uint16)
    out = np.empty(stored.shape, table.dtype)
    for frame, target in zip(stored, out, strict=True):
        _by_blocks(frame, target, lambda part: table[np.clip(part.astype(np.int64) - first, 0, entries - 1)])
    return out, bits


def _even(data: bytes, entries: int) -> bytes:
    """Words, without an odd byte behind them; tables of bytes stay as they are."""
    return data[: len(data) // 2 * 2] if len(data) >= 2 * entries else data


def _first_number(dataset: "Dataset", keyword: str) -> float | None:
    try:
        value = value_of(dataset, keyword)
        value = value if value is None or isinstance(value, str | int | float) else value[0]
        number = None if value is None else float(value)
    except Exception:  # a bad value of what is only told beside the pixels
        return None
    return number if number is not None and np.isfinite(number) else None


def _as_signed(value: float, bits: int) -> float:
    """Some writers store a negative padding value as US."""
    return value - 2.0**bits if value >= 2.0 ** (bits - 1) else value
