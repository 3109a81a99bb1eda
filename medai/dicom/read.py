"""One DICOM file to pixels and the allowed attributes."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Shaped

from medai.dicom.attribute import read_attributes
from medai.dicom.parse import is_dicom, parse, parse_file, quiet
from medai.dicom.pixel import read_pixel_frames, read_pixels

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["DicomImage", "is_dicom", "read_dicom", "read_frames"]


@dataclass(frozen=True)
class DicomImage:
    """One frame as the rest of medai sees it.

    Attributes:
        pixels: Grey (1, H, W): modality values (PS3.3 C.11.1) in MONOCHROME2 polarity, whole numbers (uint8, int16, uint16,
            int32) where the rescale keeps them whole, else float32. Colour (3, H, W): RGB, uint8 or uint16.
        attributes: The allowlisted header values by DICOM keyword, see `medai.dicom.attribute`.
    """

    pixels: Shaped[np.ndarray, "C H W"]
    attributes: dict[str, Any]


def read_dicom(source: Path | bytes) -> DicomImage:
    """Read a single-frame DICOM image: stored values, modality values, polarity; palette and YBR become RGB.

    Args:
        source: A file, or the bytes of one.

    Raises:
        Refusal: ``missing-file``, ``unreadable-file``, ``not-dicom``, ``truncated``, ``too-large``, ``no-pixels``, ``bad-header``,
            ``multi-frame``, ``unsupported-syntax``, ``unsupported-pixels`` or ``decode-failed``. But for the first two the
            message names no path, since a path may name a patient.

    Example:
        >>> read_dicom(Path("chest.dcm")).pixels.shape
        (1, 2500, 2048)
    """
    dataset = parse(source) if isinstance(source, bytes) else parse_file(Path(source))
    with quiet():
        return DicomImage(read_pixels(dataset), read_attributes(dataset))


def read_frames(
    source: Path | bytes, frames: Sequence[int] | None = None, fast: bool = False
) -> tuple[Shaped[np.ndarray, "F C H W"], "Dataset"]:
    """Read frames of a DICOM image, single- or multi-frame, in modality values; the rescale of each frame is honoured.

    Frames are decoded one after the other, and of a large file only what is asked for is read.

    Args:
        source: A file, or the bytes of one.
        frames: Numbers of frames from 0, in any order; None for all.
        fast: Take the fastest decoder, also one that may end the process on a damaged stream. For workers that can be lost.

    Returns:
        Grey (F, 1, H, W) in modality values and MONOCHROME2 polarity, in one number type for all frames (as
        `DicomImage.pixels`), or RGB (F, 3, H, W); and the header without its pixel data.

    Raises:
        Refusal: as `read_dicom` but for ``multi-frame``; ``too-large`` where the frames together exceed
            `medai.dicom.pixel.MAXIMUM_BYTES`.

    Example:
        >>> pixels, header = read_frames(Path("enhanced-ct.dcm"), frames=[0, 1, 2])
        >>> pixels.shape
        (3, 1, 512, 512)
    """
    dataset = parse(source) if isinstance(source, bytes) else parse_file(Path(source))
    with quiet():
        pixels = read_pixel_frames(dataset, frames, fast)
    for keyword in ("PixelData", "FloatPixelData", "DoubleFloatPixelData"):
        if keyword in dataset:
            delattr(dataset, keyword)
    return pixels, dataset
