"""Phantoms for test vectors: pixels of any shape and range, and single DICOM files that read back as exactly those pixels."""

from pathlib import Path

import numpy as np
from jaxtyping import Float32, Shaped

from medai.core.error import MedaiError
from medai.dicom.write import Encoding, write_image
from medai.source.phantom.detector import present
from medai.source.phantom.simulate import simulate_shape


def phantom_pixels(index: int, shape: tuple[int, int, int], low: float, high: float, seed: int = 0) -> Float32[np.ndarray, "C H W"]:
    """A radiograph with its greys spread from `low` to `high`.

    Args:
        index: Which phantom.
        shape: (C, H, W) with C 1 or 3 (three equal channels).
        low: Value of black.
        high: Value of white. Where high - low > 2 the values are whole numbers, as a detector gives.
        seed: Other seeds are other patients.

    Example:
        >>> phantom_pixels(0, (1, 64, 80), -1024, 1000).shape
        (1, 64, 80)
    """
    channels, height, width = shape
    if channels not in (1, 3) or min(height, width) < 8:
        raise MedaiError(f"phantom shape is {shape}; expected (1 or 3, H, W) with H and W of at least 8")
    case = simulate_shape(seed, index, height, width)
    pixels = low + present(case.radiance, case.visit.site, case.brightness).astype(np.float64) * (high - low)
    if high - low > 2:
        pixels = np.clip(np.rint(pixels), np.ceil(low), np.floor(high))
    return np.repeat(pixels.astype(np.float32)[None], channels, axis=0)


def phantom_dicom(
    pixels: Shaped[np.ndarray, "C H W"], path: Path, modality: str = "DX", body_part: str = "CHEST", monochrome1: bool = False
) -> None:
    """Write one valid DICOM file which `read_dicom` gives back as exactly `pixels`.

    Args:
        pixels: Whole numbers over a range of at most 65,536: grey (1, H, W), or 8-bit RGB (3, H, W).
        path: The file.
        modality: ``DX``, ``CT`` or ``OT``. Values below 0 need a rescale intercept, which a DX file should not have (PS3.3
            C.8.11.3): it is written all the same, as CT values are.
        body_part: (0018,0015) 'Body Part Examined'.
        monochrome1: Store dense as dark; the pixels read back are the same.

    Raises:
        MedaiError: the pixels are not whole numbers or span more than 16 bits.
    """
    attributes = {"BodyPartExamined": body_part}
    if pixels.ndim == 3 and pixels.shape[0] == 3:
        _require_whole(pixels, 0, 255)
        write_image(path, pixels.astype(np.uint8), modality, Encoding(8, "RGB", attributes=attributes))
        return
    least, most = float(pixels.min()), float(pixels.max())
    intercept = np.floor(least) if least < 0 or most > 65535 else 0.0
    _require_whole(pixels, intercept, intercept + 65535)
    bits = min(max(int(most - intercept).bit_length(), 8), 16)
    photometric = "MONOCHROME1" if monochrome1 else "MONOCHROME2"
    whole = np.rint(pixels).astype(np.uint8 if bits == 8 else np.uint16) if intercept == 0 else pixels
    write_image(path, whole, modality, Encoding(bits, photometric, intercept=float(intercept), attributes=attributes))


def _require_whole(pixels: Shaped[np.ndarray, "C H W"], low: float, high: float) -> None:
    if (np.rint(pixels) != pixels).any() or pixels.min() < low or pixels.max() > high:
        raise MedaiError(f"pixels from {pixels.min()} to {pixels.max()} cannot be stored; expected whole numbers from {low:g} to {high:g}")
