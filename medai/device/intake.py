"""From a file to the model's input: DICOM, PNG, JPEG, TIFF, BMP or npy."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from medai.core.error import Refusal
from medai.core.picture import PICTURE_SUFFIXES, read_picture
from medai.device.contract import InputContract


@dataclass(frozen=True)
class Intake:
    """One image, ready for the model.

    Attributes:
        pixels: Modality values, native size.
        attributes: Header values of a DICOM file; empty for a picture.
    """

    pixels: Float32[np.ndarray, "C H W"]
    attributes: dict[str, Any] = field(default_factory=dict)


def read_input(path: Path, contract: InputContract) -> Intake:
    """Read a file and check it against what the model accepts.

    A file is taken for DICOM by its content, not by its name.

    Raises:
        Refusal: unreadable, truncated, of the wrong modality, body part, channels, range or contrast.

    Example:
        >>> read_input(Path("chest.dcm"), package.contract).pixels.shape
        (1, 2048, 2500)
    """
    path = Path(path)
    if not path.is_file():
        raise Refusal("missing-file", f"{path} does not exist" if not path.exists() else f"{path} is not a file; give one image file")
    try:
        intake = _read(path, contract)
        contract.check_values(intake.pixels)
    except Refusal as refusal:
        message = refusal.message if str(path) in refusal.message else f"{path}: {refusal.message}"
        raise Refusal(refusal.code, message) from None
    return intake


def _read(path: Path, contract: InputContract) -> Intake:
    from medai.dicom.read import is_dicom, read_dicom  # pydicom takes a third of a second, which a picture need not wait for

    if path.suffix.lower() in PICTURE_SUFFIXES and not is_dicom(path):
        return Intake(contract.to_input(read_picture(path)))
    image = read_dicom(path)
    contract.check_attributes(image.attributes)
    return Intake(contract.to_input(image.pixels), image.attributes)
