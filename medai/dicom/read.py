"""One DICOM file to pixels and the allowed attributes."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped

from medai.dicom.attribute import read_attributes
from medai.dicom.parse import is_dicom, parse, quiet, read_bytes
from medai.dicom.pixel import read_pixels

__all__ = ["DicomImage", "is_dicom", "read_dicom"]


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
    dataset = parse(source if isinstance(source, bytes) else read_bytes(Path(source)))
    with quiet():
        return DicomImage(read_pixels(dataset), read_attributes(dataset))
