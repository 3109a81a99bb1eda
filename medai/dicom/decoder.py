"""One encoded frame to stored values: which decoder for which transfer syntax, and in which order.

The order is by measured speed among the decoders that give exactly the reference's values (`benchmarks/decode.py` measures,
tests/dicom/test_decoder.py proves). A decoder that may end the process on a damaged stream comes first only where the caller can
lose the process (`fast`); otherwise it comes last, for the syntaxes that nothing else reads, and works in a process apart.
"""

import zlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Shaped

from medai.core.error import Refusal
from medai.dicom import gdcm_codec
from medai.dicom.apart import decode_apart
from medai.dicom.codestream import refuse_other_size

if TYPE_CHECKING:
    from pydicom.uid import UID

_JPEG = "1.2.840.10008.1.2.4."
_BIG_ENDIAN = ("1.2.840.10008.1.2.2", "1.2.840.113619.5.2")  # the second is GE's own: an implicit header, pixels in big endian
NATIVE = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", *_BIG_ENDIAN)
ENCAPSULATED_UNCOMPRESSED = "1.2.840.10008.1.2.1.98"
DEFLATED_FRAMES = "1.2.840.10008.1.2.8.1"
_BY_OURSELVES = (ENCAPSULATED_UNCOMPRESSED, DEFLATED_FRAMES)
_MAY_CRASH = frozenset({"gdcm"})
_RLE = "1.2.840.10008.1.2.5"

DECODERS: dict[str, tuple[str, ...]] = {
    _JPEG + "50": ("pillow", "gdcm"),  # JPEG Baseline; the two differ by rounding, so that Pillow is never changed for GDCM
    _JPEG + "51": ("pillow", "gdcm"),  # JPEG Extended; 8 bits only
    _JPEG + "57": ("gdcm",),  # JPEG Lossless, process 14
    _JPEG + "70": ("gdcm",),  # JPEG Lossless, first-order prediction
    _JPEG + "80": ("pyjpegls", "gdcm"),  # JPEG-LS lossless
    _JPEG + "81": ("pyjpegls", "gdcm"),  # JPEG-LS near-lossless
    # JPEG 2000: all three are OpenJPEG. GDCM has two threads a frame: quicker alone, slower where every core has work; and it may crash.
    _JPEG + "90": ("pylibjpeg", "pillow", "gdcm"),  # lossless
    _JPEG + "91": ("pylibjpeg", "pillow", "gdcm"),  # JPEG 2000
    _JPEG + "201": ("pylibjpeg",),  # High-throughput JPEG 2000
    _JPEG + "202": ("pylibjpeg",),
    _JPEG + "203": ("pylibjpeg",),
    _RLE: ("pylibjpeg", "pydicom"),
}
"""Transfer syntax -> pydicom's names of its decoding plugins, the fastest first."""


@dataclass(frozen=True)
class Layout:
    """How one frame is stored (Image Pixel module, PS3.3 C.7.6.3).

    Attributes:
        syntax: Transfer Syntax UID.
        keyword: ``PixelData``, ``FloatPixelData`` or ``DoubleFloatPixelData``.
        photometric: (0028,0004).
        rows: (0028,0010).
        columns: (0028,0011).
        samples: (0028,0002).
        bits_allocated: (0028,0100).
        bits_stored: (0028,0101).
        high_bit: (0028,0102).
        signed: (0028,0103) is 1.
        planar: (0028,0006): 1 for a plane a colour.
        words: Pixel Data is OW: in Explicit VR Big Endian pairs of 8-bit samples are swapped.
    """

    syntax: str
    keyword: str
    photometric: str
    rows: int
    columns: int
    samples: int
    bits_allocated: int
    bits_stored: int
    high_bit: int
    signed: bool
    planar: int
    words: bool = False

    @property
    def encapsulated(self) -> bool:
        """Whether the pixel data is a sequence of fragments (PS3.5 A.4)."""
        return self.syntax not in NATIVE

    @property
    def big_endian(self) -> bool:
        """Whether the pixels are: Explicit VR Big Endian, or GE's own syntax."""
        return self.syntax in _BIG_ENDIAN

    @property
    def frame_bits(self) -> int:
        """Bits of one frame in native form (PS3.5 8.1.1); YBR_FULL_422 shares its chrominance between two pixels."""
        bits = self.rows * self.columns * self.samples * self.bits_allocated
        return bits // 3 * 2 if self.photometric == "YBR_FULL_422" and not self.encapsulated else bits

    @property
    def dtype(self) -> np.dtype[Any]:
        """The number type of a native frame; bit-packed samples are widened."""
        if self.keyword != "PixelData":
            return np.dtype(np.float32 if self.keyword == "FloatPixelData" else np.float64)
        width = next(width for width in (8, 16, 32, 64) if width >= self.bits_allocated)
        return np.dtype(f"{'i' if self.signed and self.bits_allocated > 1 else 'u'}{width // 8}")


def decoders_of(syntax: str, fast: bool = False) -> list[str]:
    """The installed decoders of a compressed transfer syntax in the order in which they are asked; empty where there is none.

    Args:
        syntax: Transfer Syntax UID.
        fast: Also the decoders that may end the process come in the order of their speed, not last.
    """
    from pydicom.pixels import get_decoder

    if syntax in _BY_OURSELVES:
        return ["medai"]
    try:
        installed = get_decoder(syntax).available_plugins
    except NotImplementedError:
        return []
    names = [name for name in DECODERS.get(syntax, ()) if name in installed]
    return names if fast else sorted(names, key=lambda name: name in _MAY_CRASH)


def decode(frame: bytes, layout: Layout, fast: bool = False) -> tuple[Shaped[np.ndarray, "H W *C"], str]:
    """Decode one compressed frame, with the first installed decoder only: a damaged stream is not tried again on others.

    Returns:
        Stored values in native byte order, and their photometric interpretation after decoding.

    Raises:
        Refusal: ``unsupported-syntax`` or ``decode-failed``.
    """
    from pydicom.uid import UID

    names, syntax = decoders_of(layout.syntax, fast), UID(layout.syntax)
    if not names:
        raise _unsupported(syntax, "no decoder for it is installed")
    try:
        refuse_other_size(frame, layout)
        risky = names[0] in _MAY_CRASH or layout.syntax == gdcm_codec.EXTENDED
        return decode_apart(names[0], frame, layout) if risky and not fast else decode_with(names[0], frame, layout)
    except (Refusal, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # decoders of several projects: a damaged stream may raise anything, and Rust's panic is no Exception
        raise _failure(error, syntax) from None


def decode_with(name: str, frame: bytes, layout: Layout) -> tuple[Shaped[np.ndarray, "H W *C"], str]:
    """Decode one frame with a decoder of `decoders_of`; raises whatever that raises."""
    from pydicom.encaps import encapsulate
    from pydicom.pixels import get_decoder

    if name == "medai":
        return _plain(frame, layout), layout.photometric
    if (name == "gdcm" or layout.syntax == gdcm_codec.EXTENDED) and gdcm_codec.takes(frame, layout):
        return _stored_bits(gdcm_codec.decode_grey(frame, layout).reshape(-1), layout).reshape(layout.rows, -1), layout.photometric
    if name == "pylibjpeg" and layout.syntax == _RLE and layout.bits_allocated in (8, 16, 32):
        return _run_lengths(frame, layout), layout.photometric
    form: dict[str, Any] = {
        "as_rgb": False,
        "rows": layout.rows,
        "columns": layout.columns,
        "samples_per_pixel": layout.samples,
        "number_of_frames": 1,
        "bits_allocated": layout.bits_allocated,
        "bits_stored": layout.bits_stored,
        "pixel_representation": int(layout.signed),
        "photometric_interpretation": layout.photometric,
        "planar_configuration": layout.planar,
        "pixel_keyword": "PixelData",
    }
    array, meta = get_decoder(layout.syntax).as_array(encapsulate([frame], has_bot=False), index=0, decoding_plugin=name, **form)
    return array.astype(array.dtype.newbyteorder("="), copy=False), str(meta["photometric_interpretation"])


def native(data: bytes, layout: Layout, first_bit: int = 0) -> tuple[Shaped[np.ndarray, "H W *C"], str]:
    """Uncompressed stored values (PS3.5 8.1.1), as an array of their own.

    Args:
        data: The bytes that hold the frame.
        layout: Its form.
        first_bit: Where the frame starts within the first byte: frames of bit-packed images are not aligned.
    """
    count = layout.frame_bits // layout.bits_allocated
    if layout.bits_allocated % 8:
        flat = _unpack(data, layout, first_bit, count)
    else:
        dtype = layout.dtype.newbyteorder(">") if layout.big_endian else layout.dtype.newbyteorder("<")
        plain = np.frombuffer(data, np.uint8) if layout.bits_allocated in (8, 16, 32, 64) else _widen(data, layout)
        flat = plain[: count * layout.dtype.itemsize].view(dtype).astype(layout.dtype)
    flat = _stored_bits(flat, layout)
    if layout.photometric == "YBR_FULL_422":
        return _repeat_chrominance(flat).reshape(layout.rows, layout.columns, 3), "YBR_FULL"
    return _shape(flat, layout), layout.photometric


def _plain(frame: bytes, layout: Layout) -> Shaped[np.ndarray, "H W *C"]:
    """Frames that are encapsulated without compression, or deflated (PS3.5 A.4.11, A.4.13)."""
    length = -(-layout.rows * layout.columns * layout.samples * layout.bits_allocated // 8)
    data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(frame, length) if layout.syntax == DEFLATED_FRAMES else frame
    if len(data) < length:
        raise ValueError(f"{len(data):,} of {length:,} bytes")
    return native(data, layout)[0]


def _run_lengths(frame: bytes, layout: Layout) -> Shaped[np.ndarray, "H W *C"]:
    """RLE segments (PS3.5 Annex G), a plane a colour, as pydicom gives them, which copies each frame three times around the same codec."""
    from rle.rle import decode_frame

    padded = frame + b"\0" * (len(frame) % 2)  # a fragment's length is even (PS3.5 A.4)
    data = decode_frame(padded, layout.rows * layout.columns, layout.bits_allocated, "<")
    flat = np.frombuffer(data, layout.dtype.newbyteorder("<")).astype(layout.dtype, copy=False)
    form = replace(layout, planar=1, high_bit=layout.bits_stored - 1)  # no plane holds unused bits below
    return _shape(_stored_bits(flat, form), form)


def _shape(flat: Shaped[np.ndarray, "N"], layout: Layout) -> Shaped[np.ndarray, "H W *C"]:
    if layout.samples == 1:
        return flat.reshape(layout.rows, layout.columns)
    if layout.planar == 1:
        return np.moveaxis(flat.reshape(layout.samples, layout.rows, layout.columns), 0, -1)
    return flat.reshape(layout.rows, layout.columns, layout.samples)


def _stored_bits(flat: Shaped[np.ndarray, "N"], layout: Layout) -> Shaped[np.ndarray, "N"]:
    """Drop what is no stored bit, such as an overlay in the unused bits (retired, PS3.5 8.1.2), and extend the sign."""
    width = 8 * flat.itemsize
    if layout.keyword == "PixelData" and layout.bits_allocated > 1 and layout.bits_stored < width:
        low = max(layout.high_bit - layout.bits_stored + 1, 0)
        if flat.dtype.kind == "u" and not low:
            flat &= flat.dtype.type(2**layout.bits_stored - 1)
            return flat
        np.left_shift(flat, width - layout.bits_stored - low, out=flat)
        np.right_shift(flat, width - layout.bits_stored, out=flat)
    return flat


def _unpack(data: bytes, layout: Layout, first_bit: int, count: int) -> Shaped[np.ndarray, "N"]:
    """Samples of 1 or, in files of before 1998, any other number of bits, packed from the least significant bit on."""
    width, step = layout.bits_allocated, 2**20
    flat = np.zeros(count, layout.dtype.str.replace("i", "u"))
    bits_ahead = np.frombuffer(data, np.uint8)
    for start in range(0, count, step):
        first, samples = first_bit + start * width, min(step, count - start)
        raw = bits_ahead[first // 8 : -(-(first + samples * width) // 8)]
        bits = np.unpackbits(raw, bitorder="little")[first % 8 : first % 8 + samples * width].reshape(samples, width)
        for place in range(width):
            flat[start : start + samples] |= bits[:, place].astype(flat.dtype) << flat.dtype.type(place)
    return flat.view(layout.dtype)


def _widen(data: bytes, layout: Layout) -> Shaped[np.ndarray, "N"]:
    """Samples of 24 bits as bytes of 32."""
    width = layout.bits_allocated // 8
    samples = np.frombuffer(data, np.uint8, len(data) // width * width).reshape(-1, width)
    wide = np.zeros((len(samples), layout.dtype.itemsize), np.uint8)
    wide[:, layout.dtype.itemsize - width :] = samples if layout.big_endian else 0
    if not layout.big_endian:
        wide[:, :width] = samples
    return wide.reshape(-1)


def _repeat_chrominance(flat: Shaped[np.ndarray, "N"]) -> Shaped[np.ndarray, "M"]:
    """Y1 Y2 Cb Cr -> Y1 Cb Cr Y2 Cb Cr (PS3.3 C.7.6.3.1.2)."""
    pairs = flat[: len(flat) // 4 * 4].reshape(-1, 4)
    return pairs[:, [0, 2, 3, 1, 2, 3]].reshape(-1)


def _unsupported(syntax: "UID", why: str) -> Refusal:
    return Refusal("unsupported-syntax", f"(0002,0010) 'Transfer Syntax UID' is {syntax} ({syntax.name}); {why}")


def _failure(error: BaseException, syntax: "UID") -> Refusal:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    message = lines[-1].strip()[:200]
    if "not support" in message:
        return _unsupported(syntax, f"no decoder takes it ({message})")
    return Refusal("decode-failed", f"(7FE0,0010) 'Pixel Data' ({syntax.name}) cannot be decoded ({message}); copy the file again")
