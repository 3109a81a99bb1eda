"""Siemens mosaics: the slices of a volume as tiles of one image; their number and normal lie in private elements."""

import math
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Shaped

from medai.core.error import Refusal

if TYPE_CHECKING:
    from pydicom import Dataset

_CSA_IMAGE_HEADER = (0x0029, 0x1010)
_IMAGES_IN_MOSAIC = (0x0019, 0x100A)
_MAXIMUM_TAGS, _TAG_BYTES, _ITEM_BYTES = 128, 84, 16


def is_mosaic(image_type: str | None) -> bool:
    r"""Whether (0008,0008) 'Image Type', joined by a backslash, says MOSAIC.

    Example:
        >>> is_mosaic("ORIGINAL\\PRIMARY\\M\\ND\\MOSAIC")
        True
    """
    return "MOSAIC" in (image_type or "").upper().split("\\")


def unpack_mosaic(
    pixels: Shaped[np.ndarray, "1 H W"],
    dataset: "Dataset",
    position: Float[np.ndarray, " 3"],
    orientation: Float[np.ndarray, " 6"],
    pixel_spacing: Float[np.ndarray, " 2"],
    step_mm: float,
) -> tuple[Shaped[np.ndarray, "1 D h w"], Float[np.ndarray, "D 3"]]:
    """Tiles to slices. The tiles fill a square, row by row, in the order of the slice normal that the CSA header gives.

    (0020,0032) of a mosaic is where a slice of the mosaic's whole size would begin if it had the first slice's centre.

    Args:
        pixels: The mosaic.
        dataset: The header with its private elements.
        position: (0020,0032) in mm.
        orientation: (0020,0037).
        pixel_spacing: (0028,0030) in mm.
        step_mm: Between slices.

    Returns:
        The slices in the mosaic's order, and their positions in mm.

    Raises:
        Refusal: ``mosaic``: the number of slices or their direction cannot be read, or does not fit the image.
    """
    csa = read_csa(dataset)
    count, slice_normal = _count(dataset, csa), csa.get("SliceNormalVector", [])
    channels, rows, columns = pixels.shape
    side = math.isqrt(max(count - 1, 0)) + 1
    if channels != 1 or count < 1 or rows % side or columns % side:
        raise Refusal("mosaic", f"a mosaic of {rows} x {columns} pixels whose {count} slices do not tile it; export it as single slices")
    if len(slice_normal) != 3:
        raise Refusal("mosaic", "a mosaic whose (0029,1010) CSA header does not tell the slices' normal; export it as single slices")
    height, width = rows // side, columns // side
    tiles = pixels[0].reshape(side, height, side, width).swapaxes(1, 2).reshape(side * side, height, width)[:count]
    normal = np.cross(orientation[:3], orientation[3:])
    along = float(normal @ np.array(slice_normal))
    if abs(abs(along) - 1) > 0.01:
        raise Refusal("mosaic", f"the slices' normal and the image's differ: cosine {along:.3f}, expected 1 or -1")
    first = position + (
        orientation[:3] * pixel_spacing[1] * (columns - width) / 2 + orientation[3:] * pixel_spacing[0] * (rows - height) / 2
    )
    places = first + np.arange(count)[:, None] * step_mm * math.copysign(1, along) * normal
    return tiles[None], places


def _count(dataset: "Dataset", csa: dict[str, list[float]]) -> int:
    try:
        value = dataset[_IMAGES_IN_MOSAIC].value
        return int(value if isinstance(value, int) else int.from_bytes(value[:2], "little"))  # bytes in implicit VR
    except Exception:  # absent or damaged: the CSA header has it too
        return int(next(iter(csa.get("NumberOfImagesInMosaic", [])), 0))


def read_csa(dataset: "Dataset") -> dict[str, list[float]]:
    """The numeric tags of the CSA image header (0029,1010), format SV10; none where it is absent or damaged."""
    try:
        data = bytes(dataset[_CSA_IMAGE_HEADER].value)
    except Exception:  # absent, or pydicom cannot parse it
        return {}
    if data[:4] != b"SV10":
        return {}
    found: dict[str, list[float]] = {}
    at = 16
    for _ in range(min(int.from_bytes(data[8:12], "little"), _MAXIMUM_TAGS)):
        head = data[at : at + _TAG_BYTES]
        if len(head) < _TAG_BYTES:
            break
        name = head[:64].split(b"\0")[0].decode("latin-1")
        values: list[float] = []
        items, at = int.from_bytes(head[76:80], "little"), at + _TAG_BYTES
        for _ in range(min(items, len(data) // _ITEM_BYTES)):
            length = int.from_bytes(data[at + 4 : at + 8], "little")
            text = data[at + _ITEM_BYTES : at + _ITEM_BYTES + length].split(b"\0")[0].strip()
            at += _ITEM_BYTES + (length + 3) // 4 * 4
            try:
                number = float(text)
            except ValueError:
                continue
            if math.isfinite(number):
                values.append(number)
        found[name] = values
    return found
