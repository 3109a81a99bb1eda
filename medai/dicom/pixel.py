"""Pixel data of a parsed DICOM file as modality values (grey, MONOCHROME2) or RGB."""

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Shaped

from medai.core.error import Refusal
from medai.dicom.codestream import refuse_other_size
from medai.dicom.header import value_of, whole_of
from medai.dicom.modality import modality_values
from medai.dicom.parse import MAXIMUM_BYTES

if TYPE_CHECKING:
    from pydicom import Dataset
    from pydicom.uid import UID

GREY = ("MONOCHROME1", "MONOCHROME2")
COLOUR = ("RGB", "PALETTE COLOR", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
_ELEMENTS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
_PLUGINS = ("pyjpegls", "pylibjpeg", "pillow", "pydicom", "gdcm")  # GDCM last: on a damaged stream it may end the process
_BITS_ALLOCATED = (1, 8, 16, 32, 64)


def read_pixels(dataset: "Dataset") -> Shaped[np.ndarray, "C H W"]:
    """Decode the one frame of `dataset`.

    Returns:
        Grey (1, H, W) in modality values and MONOCHROME2 polarity, or RGB (3, H, W) as uint8 or uint16.

    Raises:
        Refusal: ``no-pixels``, ``bad-header``, ``multi-frame``, ``unsupported-pixels``, ``unsupported-syntax``, ``too-large``,
            ``truncated`` or ``decode-failed``.
    """
    photometric = _check_header(dataset)
    stored, decoded = _decode(dataset)
    if photometric in GREY:
        if stored.ndim != 2:
            raise Refusal(
                "unsupported-pixels",
                f"(0028,0002) 'Samples per Pixel' is {value_of(dataset, 'SamplesPerPixel')} for {photometric}; expected 1",
            )
        with np.errstate(all="ignore"):
            values = modality_values(stored, dataset, inverted=photometric == "MONOCHROME1")[None]
    else:
        values = np.moveaxis(_to_rgb(stored, dataset, decoded), -1, 0)
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise Refusal("unsupported-pixels", "the modality values are not all finite; expected an image without NaN and infinity")
    return np.ascontiguousarray(values)


def _check_header(dataset: "Dataset") -> str:
    if not any(keyword in dataset for keyword in _ELEMENTS):
        raise Refusal(
            "no-pixels", f"(7FE0,0010) 'Pixel Data' is absent (Modality {value_of(dataset, 'Modality') or 'unknown'}); expected an image"
        )
    photometric = str(value_of(dataset, "PhotometricInterpretation") or "").strip()
    if photometric not in GREY + COLOUR:
        raise Refusal(
            "unsupported-pixels",
            f"(0028,0004) 'Photometric Interpretation' is {photometric or 'absent'}; allowed: {', '.join(GREY + COLOUR)}",
        )
    frames = whole_of(dataset, "NumberOfFrames", 1)
    if frames > 1:
        raise Refusal("multi-frame", f"(0028,0008) 'Number of Frames' is {frames}; expected a single frame")
    rows, columns = whole_of(dataset, "Rows"), whole_of(dataset, "Columns")
    samples, bits = whole_of(dataset, "SamplesPerPixel", 1), whole_of(dataset, "BitsAllocated")
    if rows < 1 or columns < 1:
        raise Refusal("bad-header", f"(0028,0010) 'Rows' x (0028,0011) 'Columns' is {rows} x {columns}; expected at least 1 x 1")
    if bits not in _BITS_ALLOCATED or (samples > 1 and bits not in (8, 16)):
        raise Refusal(
            "unsupported-pixels",
            f"(0028,0100) 'Bits Allocated' is {bits} with {samples} samples; expected 1, 8, 16, 32 or 64, in colour 8 or 16",
        )
    if rows * columns * samples * bits > 8 * MAXIMUM_BYTES:
        raise Refusal(
            "too-large", f"{rows} x {columns} pixels of {samples} x {bits} bits; expected a frame of at most {MAXIMUM_BYTES:,} bytes"
        )
    return photometric


def _decode(dataset: "Dataset") -> tuple[Shaped[np.ndarray, "H W *C"], str]:
    """Decode through pydicom, with the first of `_PLUGINS` that can; also gives the colour space of the result."""
    from pydicom.pixels import get_decoder
    from pydicom.uid import UID

    syntax = UID(str(dataset.file_meta.TransferSyntaxUID))
    try:
        decoder = get_decoder(syntax)
        available = decoder.is_available
    except NotImplementedError:
        available = False
    if not available:
        raise Refusal(
            "unsupported-syntax", f"(0002,0010) 'Transfer Syntax UID' is {syntax} ({syntax.name}); no decoder for it is installed"
        )
    plugin = next((name for name in _PLUGINS if name in decoder.available_plugins), "")
    try:
        if syntax.is_encapsulated:
            refuse_other_size(dataset, whole_of(dataset, "Rows"), whole_of(dataset, "Columns"))
        else:
            _refuse_short_pixels(dataset)
        array, meta = decoder.as_array(dataset, index=0, decoding_plugin=plugin)
    except (Refusal, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # decoders of several projects: a damaged stream may raise anything, and Rust's panic is no Exception
        raise _failure(error, syntax) from None
    return array.astype(array.dtype.newbyteorder("="), copy=False), str(meta["photometric_interpretation"])


def _failure(error: BaseException, syntax: "UID") -> Refusal:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    message = lines[-1].strip()[:200]
    if "not support" in message:
        return Refusal(
            "unsupported-syntax", f"(0002,0010) 'Transfer Syntax UID' is {syntax} ({syntax.name}); no decoder takes it ({message})"
        )
    return Refusal("decode-failed", f"(7FE0,0010) 'Pixel Data' ({syntax.name}) cannot be decoded ({message}); copy the file again")


def _refuse_short_pixels(dataset: "Dataset") -> None:
    from pydicom.pixels.utils import get_expected_length

    value = next(dataset[keyword].value for keyword in _ELEMENTS if keyword in dataset)
    expected, got = get_expected_length(dataset), len(value or b"")
    if got < expected:
        raise Refusal("truncated", f"(7FE0,0010) 'Pixel Data' has {got:,} of {expected:,} bytes; copy the file again from its source")


def _to_rgb(stored: Shaped[np.ndarray, "H W *C"], dataset: "Dataset", decoded: str) -> Shaped[np.ndarray, "H W 3"]:
    if decoded == "PALETTE COLOR":
        from pydicom.pixels.processing import apply_color_lut

        try:
            stored = apply_color_lut(stored, dataset)[..., :3]  # a fourth column would be transparency
        except Exception as error:  # a palette whose descriptor does not fit its data
            raise Refusal("bad-header", f"(0028,1101) 'Red Palette Color Lookup Table Descriptor' or its data is wrong ({error})") from None
    elif decoded != "RGB":
        raise Refusal(
            "unsupported-pixels", f"(0028,0004) 'Photometric Interpretation' {decoded!r} is not RGB after decoding; expected 8 bits"
        )
    if stored.ndim != 3 or stored.shape[-1] != 3 or stored.dtype not in (np.uint8, np.uint16):
        raise Refusal("unsupported-pixels", f"the colour image is {stored.shape} of {stored.dtype}; expected (H, W, 3) of uint8 or uint16")
    return stored
