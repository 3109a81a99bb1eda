"""Pixel data of a parsed DICOM file as modality values (grey, MONOCHROME2) or RGB."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Shaped

from medai.core.error import Refusal
from medai.dicom.decoder import NATIVE, Layout, decode, decoders_of, native
from medai.dicom.frames import PixelValue, frame_places, native_frame, pixel_value
from medai.dicom.header import value_of, whole_of
from medai.dicom.modality import modality_values
from medai.dicom.palette import apply_palette, read_palette

if TYPE_CHECKING:
    from pydicom import Dataset

GREY = ("MONOCHROME1", "MONOCHROME2")
COLOUR = ("RGB", "PALETTE COLOR", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
MAXIMUM_FRAME_BYTES = 2**27
"""The largest frame that is decoded (128 MiB: 8192 x 8192 pixels of 16 bits); decoders need several times as much."""

MAXIMUM_BYTES = 2**29
"""What the frames of one call may take (512 MiB); more are asked for a part at a time."""

_ELEMENTS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
_COLOUR_ROWS = 2**20  # pixels of which the colours are converted at once: it takes 24 bytes a pixel


def read_pixels(dataset: "Dataset", fast: bool = False) -> Shaped[np.ndarray, "C H W"]:
    """Decode the one frame of `dataset`.

    Returns:
        Grey (1, H, W) in modality values and MONOCHROME2 polarity, or RGB (3, H, W) as uint8 or uint16.

    Raises:
        Refusal: ``no-pixels``, ``bad-header``, ``multi-frame``, ``unsupported-pixels``, ``unsupported-syntax``, ``too-large``,
            ``truncated`` or ``decode-failed``.
    """
    layout = read_layout(dataset)
    frames = number_of_frames(dataset)
    if frames > 1:
        raise Refusal("multi-frame", f"(0028,0008) 'Number of Frames' is {frames}; expected a single frame")
    pixels: Shaped[np.ndarray, "C H W"] = _frames(dataset, layout, frames, range(1), fast)[0]
    return pixels


def read_pixel_frames(dataset: "Dataset", frames: Sequence[int] | None = None, fast: bool = False) -> Shaped[np.ndarray, "F C H W"]:
    """Decode all frames of `dataset` or those of the numbers in `frames` (from 0), one after the other.

    Returns:
        Grey (F, 1, H, W), or RGB (F, 3, H, W); the number type is one for all frames.

    Raises:
        Refusal: as `read_pixels` but for ``multi-frame``.
    """
    layout = read_layout(dataset)
    count = number_of_frames(dataset)
    if frames is None:
        return _frames(dataset, layout, count, range(count), fast)
    wanted = [int(frame) for frame in frames]
    if not wanted or min(wanted) < 0 or max(wanted) >= count:
        raise Refusal("bad-header", f"frames {wanted[:3]} ... were asked for, (0028,0008) 'Number of Frames' is {count}")
    return _frames(dataset, layout, count, wanted, fast)


def number_of_frames(dataset: "Dataset") -> int:
    """(0028,0008), which is 1 where it is absent or not positive."""
    return max(whole_of(dataset, "NumberOfFrames", 1), 1)


def read_layout(dataset: "Dataset") -> Layout:
    """The Image Pixel module of a header.

    Raises:
        Refusal: ``no-pixels``, ``bad-header``, ``unsupported-pixels``, ``unsupported-syntax`` or ``too-large``.
    """
    keyword = next((keyword for keyword in _ELEMENTS if keyword in dataset), None)
    if keyword is None:
        raise Refusal(
            "no-pixels", f"(7FE0,0010) 'Pixel Data' is absent (Modality {value_of(dataset, 'Modality') or 'unknown'}); expected an image"
        )
    photometric = str(value_of(dataset, "PhotometricInterpretation") or "").strip()
    if photometric not in GREY + COLOUR:
        raise Refusal(
            "unsupported-pixels",
            f"(0028,0004) 'Photometric Interpretation' is {photometric or 'absent'}; allowed: {', '.join(GREY + COLOUR)}",
        )
    rows, columns = whole_of(dataset, "Rows"), whole_of(dataset, "Columns")
    samples, bits = whole_of(dataset, "SamplesPerPixel", 1), whole_of(dataset, "BitsAllocated")
    if rows < 1 or columns < 1:
        raise Refusal("bad-header", f"(0028,0010) 'Rows' x (0028,0011) 'Columns' is {rows} x {columns}; expected at least 1 x 1")
    if (bits != 64 and not 1 <= bits <= 32) or samples < 1 or (samples > 1 and bits not in (8, 16)):
        raise Refusal(
            "unsupported-pixels",
            f"(0028,0100) 'Bits Allocated' is {bits} with {samples} samples; expected 1 to 32 or 64, in colour 8 or 16",
        )
    if samples != (3 if photometric not in (*GREY, "PALETTE COLOR") else 1):
        raise Refusal("unsupported-pixels", f"(0028,0002) 'Samples per Pixel' is {samples} for {photometric}; expected 1, or 3 in colour")
    if rows * columns * samples * max(bits, 8) > 8 * MAXIMUM_FRAME_BYTES:
        raise Refusal(
            "too-large", f"{rows} x {columns} pixels of {samples} x {bits} bits; expected a frame of at most {MAXIMUM_FRAME_BYTES:,} bytes"
        )
    return _layout(dataset, keyword, photometric, rows, columns, samples, bits)


def _layout(dataset: "Dataset", keyword: str, photometric: str, rows: int, columns: int, samples: int, bits: int) -> Layout:
    syntax = str(dataset.file_meta.TransferSyntaxUID)
    stored = whole_of(dataset, "BitsStored", bits)
    if keyword != "PixelData":
        bits = 32 if keyword == "FloatPixelData" else 64
    elif not 1 <= stored <= bits:
        raise Refusal("bad-header", f"(0028,0101) 'Bits Stored' is {stored} of (0028,0100) 'Bits Allocated' {bits}; expected 1 to {bits}")
    high, planar = whole_of(dataset, "HighBit", stored - 1), whole_of(dataset, "PlanarConfiguration", 0) if samples > 1 else 0
    if planar not in (0, 1) or not 0 <= high < 64:
        raise Refusal("bad-header", f"(0028,0006) 'Planar Configuration' is {planar}, (0028,0102) 'High Bit' is {high}; expected 0 or 1")
    layout = Layout(
        syntax=syntax,
        keyword=keyword,
        photometric=photometric,
        rows=rows,
        columns=columns,
        samples=samples,
        bits_allocated=bits,
        bits_stored=stored,
        high_bit=min(max(high, stored - 1), bits - 1),
        signed=whole_of(dataset, "PixelRepresentation", 0) == 1,
        planar=planar,
        words=getattr(dataset.get_item("PixelData", keep_deferred=True), "VR", None) == "OW" if keyword == "PixelData" else False,
    )
    if syntax not in NATIVE and not decoders_of(syntax):
        from pydicom.uid import UID

        raise Refusal(
            "unsupported-syntax", f"(0002,0010) 'Transfer Syntax UID' is {syntax} ({UID(syntax).name}); no decoder for it is installed"
        )
    if bits % 8 and bits > 1 and layout.encapsulated:
        raise Refusal("unsupported-pixels", f"(0028,0100) 'Bits Allocated' is {bits} in a compressed image; expected 1 or a multiple of 8")
    return layout


def _frames(dataset: "Dataset", layout: Layout, count: int, wanted: Sequence[int], fast: bool) -> Shaped[np.ndarray, "F C H W"]:
    size = layout.rows * layout.columns * layout.samples * layout.dtype.itemsize
    if size * len(wanted) > MAXIMUM_BYTES:
        raise Refusal(
            "too-large",
            f"{len(wanted):,} frames of {size:,} bytes; expected at most {MAXIMUM_BYTES:,} bytes at once, ask for fewer frames at a time",
        )
    stack = _stack(_decoded(dataset, layout, count, wanted, fast), len(wanted), fast)
    if layout.photometric in GREY:
        with np.errstate(all="ignore"):
            stack = modality_values(stack, dataset, inverted=layout.photometric == "MONOCHROME1", frames=wanted)[:, None]
    if stack.dtype.kind == "f" and not all(np.isfinite(frame).all() for frame in stack):
        raise Refusal("unsupported-pixels", "the modality values are not all finite; expected an image without NaN and infinity")
    return np.ascontiguousarray(stack)


def _stack(frames: Iterator[Shaped[np.ndarray, "*CHW"]], count: int, fast: bool) -> Shaped[np.ndarray, "F *CHW"]:
    """The frames in one array, which is allocated when the first of them has been decoded."""
    first = next(frames)
    if count == 1:
        return first[None]
    stack = np.empty((count, *first.shape), first.dtype)
    stack[0] = first
    for index, frame in enumerate(frames, 1):
        if frame.shape != first.shape or frame.dtype != first.dtype:
            raise Refusal("decode-failed", f"frame {index} is {frame.shape} {frame.dtype}, the first is {first.shape} {first.dtype}")
        stack[index] = frame
    return stack


def _decoded(dataset: "Dataset", layout: Layout, count: int, wanted: Sequence[int], fast: bool) -> Iterator[Shaped[np.ndarray, "*CHW"]]:
    """Stored values (H, W) of grey frames, RGB (3, H, W) of colour ones."""
    value = pixel_value(dataset, layout.keyword)
    palette = read_palette(dataset) if layout.photometric == "PALETTE COLOR" else None
    if not layout.encapsulated:
        _refuse_short_pixels(value, layout, count)
    places = (
        frame_places(value, dataset, count, 1 + (wanted[-1] if isinstance(wanted, range) else max(wanted))) if layout.encapsulated else []
    )
    for index in wanted:
        if layout.encapsulated:
            stored, photometric = decode(b"".join(value.read(*place) for place in places[index]), layout, fast)
        else:
            data, first_bit = native_frame(value, layout, index)
            stored, photometric = native(data, layout, first_bit)
        if palette is not None:
            stored, photometric = apply_palette(stored, palette), "RGB"
        yield stored if layout.photometric in GREY else _to_rgb(stored, photometric)


def _refuse_short_pixels(value: PixelValue, layout: Layout, count: int) -> None:
    expected = -(-count * layout.frame_bits // 8)
    if value.length < expected:
        raise Refusal(
            "truncated", f"(7FE0,0010) 'Pixel Data' has {value.length:,} of {expected:,} bytes; copy the file again from its source"
        )


def _to_rgb(stored: Shaped[np.ndarray, "H W *C"], decoded: str) -> Shaped[np.ndarray, "3 H W"]:
    if decoded not in ("RGB", "YBR_FULL", "YBR_FULL_422"):
        raise Refusal(
            "unsupported-pixels", f"(0028,0004) 'Photometric Interpretation' {decoded!r} is not RGB after decoding; expected 8 bits"
        )
    if stored.ndim != 3 or stored.shape[-1] != 3 or stored.dtype not in (np.uint8, np.uint16):
        raise Refusal("unsupported-pixels", f"the colour image is {stored.shape} of {stored.dtype}; expected (H, W, 3) of uint8 or uint16")
    if decoded != "RGB" and stored.dtype != np.uint8:
        raise Refusal(
            "unsupported-pixels", f"(0028,0004) 'Photometric Interpretation' is {decoded} with {stored.dtype} samples; expected 8 bits"
        )
    if decoded == "RGB":
        return np.moveaxis(stored, -1, 0)
    from pydicom.pixels.processing import convert_color_space

    out = np.empty((3, *stored.shape[:2]), stored.dtype)
    rows = max(1, _COLOUR_ROWS // stored.shape[1])
    for start in range(0, len(stored), rows):
        part = np.ascontiguousarray(stored[start : start + rows])
        out[:, start : start + rows] = np.moveaxis(convert_color_space(part, "YBR_FULL", "RGB"), -1, 0)
    return out
