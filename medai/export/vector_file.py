"""The file that a vector starts from: its pixels as a device meets them."""

import io
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from jaxtyping import Float32, Int32, UInt8

from medai.core.error import MedaiError
from medai.device.contract import InputContract
from medai.device.intake import read_input
from medai.dicom.write import SOP_CLASSES, Encoding, encode_image

LARGEST_SPAN = 65_535  # of values in 16 stored bits
# The DICOM files differ in how they are stored, so that a device proves its decoders too.
STORED = (("explicit", "MONOCHROME2"), ("jpeg-ls", "MONOCHROME1"), ("jpeg-2000", "MONOCHROME2"), ("rle", "MONOCHROME1"))


def image_file(image: Float32[np.ndarray, "C H W"], contract: InputContract, number: int) -> tuple[bytes, str]:
    """A file that gives exactly these pixels: DICOM where it can hold them, else PNG, else npy.

    Args:
        image: Modality values, accepted by the contract.
        contract: What the model accepts; the file names its first modality and body part.
        number: Chooses how a DICOM file is stored.

    Returns:
        The file's bytes and its suffix.

    Raises:
        MedaiError: reading the file back gives other pixels.
    """
    whole = bool((image == np.round(image)).all())
    if contract.channels == 1 and whole and float(image.max() - image.min()) <= LARGEST_SPAN:
        source, suffix = _dicom(image.astype(np.int32), contract, number), ".dcm"
    elif contract.channels == 3 and whole and image.min() >= 0 and image.max() <= 255:
        source, suffix = _png(image.astype(np.uint8)), ".png"
    else:
        source, suffix = _npy(image), ".npy"
    _prove(source, suffix, image, contract)
    return source, suffix


def _dicom(image: Int32[np.ndarray, "1 H W"], contract: InputContract, number: int) -> bytes:
    low, span = int(image.min()), int(image.max()) - int(image.min())
    bits = next(bits for bits in (8, 12, 16) if span < 2**bits)
    modality, body_part = (contract.modalities or ("DX",))[0], (contract.body_parts or ("CHEST",))[0]
    transfer_syntax, photometric = STORED[number % len(STORED)]
    attributes = {"Modality": modality, "BodyPartExamined": body_part}
    encoding = Encoding(bits, photometric, intercept=low, transfer_syntax=transfer_syntax, attributes=attributes)
    return encode_image(image, modality if modality in SOP_CLASSES else "OT", encoding)  # a secondary capture may have any modality


def _png(image: UInt8[np.ndarray, "3 H W"]) -> bytes:
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(np.moveaxis(image, 0, -1)).save(stream, "PNG")
    return stream.getvalue()


def _npy(image: Float32[np.ndarray, "C H W"]) -> bytes:
    stream = io.BytesIO()
    np.save(stream, image, allow_pickle=False)
    return stream.getvalue()


def _prove(source: bytes, suffix: str, image: Float32[np.ndarray, "C H W"], contract: InputContract) -> None:
    """A file that does not give its pixels back would make every device fail."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"source{suffix}"
        path.write_bytes(source)
        if not np.array_equal(read_input(path, contract).pixels, image):
            raise MedaiError(f"the phantom's {suffix} file does not give its pixels back; this is a fault of medai")
