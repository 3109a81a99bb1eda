"""Pixels that de-identification changes: regions blackened, overlays in unused bits and bytes behind the last frame removed."""

from typing import TYPE_CHECKING

import numpy as np

from medai.core.error import Refusal
from medai.dicom.deidentify.burned_in import Crop
from medai.dicom.header import value_of, whole_of
from medai.dicom.parse import MAXIMUM_BYTES

if TYPE_CHECKING:
    from pydicom import Dataset


def is_native(dataset: "Dataset") -> bool:
    """Whether the pixels are not encapsulated."""
    return not dataset.file_meta.TransferSyntaxUID.is_encapsulated


def cut_trailing_bytes(dataset: "Dataset") -> None:
    """Native (7FE0,0010) 'Pixel Data' without what lies behind its last frame; that can be anything."""
    if "PixelData" not in dataset or not is_native(dataset):
        return
    bits = _frames_samples(dataset) * whole_of(dataset, "BitsAllocated")
    if value_of(dataset, "PhotometricInterpretation") == "YBR_FULL_422":
        bits = bits * 2 // 3
    length = (bits + 7) // 8
    if len(dataset.PixelData) > length + 1:
        dataset["PixelData"].value = dataset.PixelData[:length] + b"\0" * (length % 2)


def clear_embedded_overlay(dataset: "Dataset", original: "Dataset") -> None:
    """Set the bits beside the stored ones to zero or the sign where (60xx,0102) says that an overlay lies in them.

    Raises:
        Refusal: ``embedded-overlay``: the pixels are compressed, or of another form than 16 bits with the stored ones lowest.
    """
    positions = [original.get_item(tag) for tag in original.keys() if 0x6000 <= tag.group <= 0x60FF and tag.element == 0x0102]  # noqa: SIM118
    if not positions or all((original[item.tag].value or 0) == 0 for item in positions if item is not None):
        return
    stored, allocated = whole_of(dataset, "BitsStored"), whole_of(dataset, "BitsAllocated")
    if not is_native(dataset) or allocated != 16 or whole_of(dataset, "HighBit") != stored - 1:
        raise Refusal(
            "embedded-overlay",
            "an overlay lies in unused bits of compressed pixels ((60xx,0102) 'Overlay Bit Position'); decompress the file",
        )
    values = np.frombuffer(dataset.PixelData, dtype=_dtype(dataset))
    shift = 16 - stored
    signed = values.astype(np.int16 if whole_of(dataset, "PixelRepresentation") else np.uint16)
    cleared = (signed << shift) >> shift
    dataset["PixelData"].value = cleared.astype(values.dtype).tobytes()


def blacken(dataset: "Dataset", crop: Crop) -> None:
    """Blacken regions of every frame; compressed pixels become native ones (Explicit VR Little Endian).

    Raises:
        Refusal: ``burned-in-text``, ``too-large``, ``unsupported-pixels`` or ``decode-failed``.
    """
    rows, columns = whole_of(dataset, "Rows"), whole_of(dataset, "Columns")
    crop.check(rows, columns)
    if _frames_samples(dataset) * max(1, whole_of(dataset, "BitsAllocated") // 8) > MAXIMUM_BYTES:
        raise Refusal("too-large", f"the pixels are more than the {MAXIMUM_BYTES:,} bytes that are decoded at once")
    if not is_native(dataset):
        _decompress(dataset)
    photometric = str(value_of(dataset, "PhotometricInterpretation"))
    bits, samples = whole_of(dataset, "BitsAllocated"), whole_of(dataset, "SamplesPerPixel", 1)
    if bits not in (8, 16, 32) or photometric == "YBR_FULL_422" or "PixelData" not in dataset:
        raise Refusal(
            "unsupported-pixels", f"regions of {photometric} pixels of {bits} bits cannot be blackened; allow the image or leave it out"
        )
    frames = whole_of(dataset, "NumberOfFrames", 1)
    planar = samples > 1 and whole_of(dataset, "PlanarConfiguration", 0) == 1
    shape = (frames, samples, rows, columns) if planar else (frames, rows, columns, samples)
    count = int(np.prod(shape))
    data = bytes(dataset.PixelData)
    values = np.frombuffer(data, dtype=_dtype(dataset), count=count).reshape(shape).copy()
    by_sample = values if planar else np.moveaxis(values, -1, 1)
    for channel, value in enumerate(_black(by_sample, photometric)):
        for top, left, bottom, right in crop.hide:
            by_sample[:, channel, top:bottom, left:right] = value
    raw = values.tobytes()
    dataset["PixelData"].value = raw + b"\0" * (len(raw) % 2)


def _black(by_sample: np.ndarray, photometric: str) -> list[int]:
    if photometric == "YBR_FULL":
        return [0, 128, 128]
    if by_sample.shape[1] > 1:
        return [0] * by_sample.shape[1]
    if by_sample.dtype.kind == "u" and photometric != "MONOCHROME1":
        return [0]
    return [int(by_sample.max() if photometric == "MONOCHROME1" else by_sample.min())]


def _decompress(dataset: "Dataset") -> None:
    try:
        dataset.decompress(generate_instance_uid=False)
    except Exception as error:  # decoders raise anything on damaged data
        raise Refusal("decode-failed", f"the pixels cannot be decompressed to blacken them ({type(error).__name__})") from None


def _frames_samples(dataset: "Dataset") -> int:
    number = 1
    for keyword, default in (("Rows", None), ("Columns", None), ("SamplesPerPixel", 1), ("NumberOfFrames", 1)):
        number *= whole_of(dataset, keyword, default)
    return number


def _dtype(dataset: "Dataset") -> np.dtype:
    kind = "i" if whole_of(dataset, "PixelRepresentation", 0) else "u"
    order = "<" if dataset.file_meta.TransferSyntaxUID.is_little_endian else ">"
    return np.dtype(f"{order}{kind}{whole_of(dataset, 'BitsAllocated') // 8}")
