"""Ordinary pictures (PNG, JPEG, TIFF, BMP, npy) as arrays (C, H, W)."""

from pathlib import Path

import numpy as np
from jaxtyping import Shaped

from medai.core.error import Refusal

GREY_WEIGHTS = (0.299, 0.587, 0.114)  # of red, green and blue, ITU-R BT.601
PICTURE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".npy"})


def read_picture(path: Path) -> Shaped[np.ndarray, "C H W"]:
    """Read one picture: grey (1, H, W) or colour (3, H, W), in the file's own dtype (uint8, uint16; npy: any number).

    A colour file whose three channels are equal is grey. An alpha channel is dropped, EXIF orientation is applied.

    Raises:
        Refusal: ``missing-file``, ``unreadable-picture`` (truncated, not a picture) or ``unsupported-shape``.
    """
    path = Path(path)
    if not path.is_file():
        raise Refusal("missing-file", f"{path} does not exist")
    return _read_npy(path) if path.suffix.lower() == ".npy" else _read_image(path)


def _read_image(path: Path) -> Shaped[np.ndarray, "C H W"]:
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            if getattr(image, "n_frames", 1) > 1:
                raise Refusal("multi-frame", f"{path} holds {image.n_frames} pictures; give one file for each")  # type: ignore[attr-defined]
            image.load()
            upright = ImageOps.exif_transpose(image)
            if upright.mode == "1":
                upright = upright.convert("L")
            elif upright.mode not in ("L", "RGB", "I;16", "I;16B", "I", "F"):
                upright = upright.convert("RGB")
            array = np.asarray(upright)
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise Refusal("unreadable-picture", f"{path} cannot be read as a picture ({error}); send the original file again") from None
    if array.dtype == np.int32:  # Pillow's mode "I": 16-bit PNG in older releases
        array = array.astype(np.uint16) if array.min() >= 0 and array.max() <= 65535 else array.astype(np.float32)
    if array.ndim == 3:
        array = np.moveaxis(array, -1, 0)
        if (array[0] == array[1]).all() and (array[0] == array[2]).all():
            array = array[:1]
        return np.ascontiguousarray(array)
    return np.ascontiguousarray(array.astype(array.dtype.newbyteorder("="))[None])


def _read_npy(path: Path) -> Shaped[np.ndarray, "C H W"]:
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise Refusal("unreadable-picture", f"{path} cannot be read as an array ({error})") from None
    if array.ndim == 2:
        array = array[None]
    if array.ndim != 3 or array.shape[0] not in (1, 3) or not np.issubdtype(array.dtype, np.number):
        raise Refusal(
            "unsupported-shape",
            f"{path} has shape {array.shape} and dtype {array.dtype}; expected numbers of shape (H, W), (1, H, W) or (3, H, W)",
        )
    return np.ascontiguousarray(array)
