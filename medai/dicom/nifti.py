"""NIfTI-1 files, written without a library (NIfTI-1 standard, nifti1.h; RAS, millimetres)."""

import gzip
import struct
from pathlib import Path

import numpy as np
from jaxtyping import Float, Shaped

from medai.core.error import MedaiError
from medai.core.file import atomic_file

_DATATYPES = {"u1": 2, "i2": 4, "i4": 8, "f4": 16, "f8": 64, "i1": 256, "u2": 512, "u4": 768}
_RGB24, _VECTOR = 128, 1007
_SCANNER, _MILLIMETRES = 1, 2
_HEADER = struct.Struct("<i10s18sihcB8h3f4h8f3fhBB4f2i80s24s2h6f12f16s4s")
_VOXELS_AT = 352
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_SHEAR_LIMIT = 1e-4


def write_nifti(path: Path, pixels: Shaped[np.ndarray, "C D H W"], affine_lps: Float[np.ndarray, "4 4"]) -> None:
    """Write a volume as ``.nii`` or ``.nii.gz``, the same bytes each time.

    The voxels keep their values and dtype; colour of 8 bits becomes RGB24, other channels a fifth dimension. The affine
    stands in sform and, where its columns are at right angles, in qform; both as scanner coordinates.

    Args:
        path: Ends in ``.nii`` or ``.nii.gz``; written under a temporary name and renamed.
        pixels: Axis order (C, D, H, W).
        affine_lps: From (w, h, d, 1) to LPS mm.

    Raises:
        MedaiError: another ending, another shape, or a dtype that NIfTI does not know.

    Example:
        >>> write_nifti(Path("case.nii.gz"), volume.pixels, volume.affine)
    """
    path = Path(path)
    if not path.name.endswith((".nii", ".nii.gz")):
        raise MedaiError(f"{path.name} must end in .nii or .nii.gz")
    if pixels.ndim != 4 or not pixels.size or max(pixels.shape) > np.iinfo(np.int16).max or affine_lps.shape != (4, 4):
        raise MedaiError(
            f"NIfTI takes pixels (C, D, H, W) of at most 32767 a side and an affine (4, 4), got {pixels.shape}, {affine_lps.shape}"
        )
    header, voxels = _header(pixels, _LPS_TO_RAS @ affine_lps), _voxels(pixels)
    with atomic_file(path) as temporary, open(temporary, "wb") as stream:
        if path.name.endswith(".gz"):
            with gzip.GzipFile(filename="", mode="wb", fileobj=stream, compresslevel=6, mtime=0) as packed:
                packed.write(header)
                packed.write(voxels)
        else:
            stream.write(header)
            stream.write(voxels)


def _is_rgb(pixels: Shaped[np.ndarray, "C D H W"]) -> bool:
    return pixels.shape[0] == 3 and pixels.dtype == np.uint8


def _stored(dtype: np.dtype) -> str:
    kind = "u1" if dtype == np.bool_ else dtype.str[1:]
    if kind not in _DATATYPES:
        raise MedaiError(f"NIfTI has no voxels of {dtype}; convert them to one of int16, uint16, int32, float32")
    return kind


def _voxels(pixels: Shaped[np.ndarray, "C D H W"]) -> memoryview:
    ordered = np.moveaxis(pixels, 0, -1) if _is_rgb(pixels) else pixels  # the first NIfTI axis is the one that runs fastest: W
    return np.ascontiguousarray(ordered, dtype="<" + _stored(pixels.dtype)).reshape(-1).view(np.uint8).data


def _header(pixels: Shaped[np.ndarray, "C D H W"], affine: Float[np.ndarray, "4 4"]) -> bytes:
    channels, depth, height, width = pixels.shape
    rgb, kind = _is_rgb(pixels), _stored(pixels.dtype)
    vector = channels > 1 and not rgb
    size = (5, width, height, depth, 1, channels, 1, 1) if vector else (3, width, height, depth, 1, 1, 1, 1)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    quaternion, handedness, straight = _quaternion(affine[:3, :3] / spacing)
    return _HEADER.pack(
        348, b"", b"", 0, 0, b"r", 0,
        *size, 0.0, 0.0, 0.0,
        _VECTOR if vector else 0, _RGB24 if rgb else _DATATYPES[kind], 24 if rgb else 8 * np.dtype(kind).itemsize, 0,
        handedness, *spacing, 1.0, 1.0, 1.0, 1.0,
        float(_VOXELS_AT), 1.0, 0.0, 0, 0, _MILLIMETRES,
        0.0, 0.0, 0.0, 0.0, 0, 0,
        b"medai", b"",
        _SCANNER if straight else 0, _SCANNER, *quaternion, *affine[:3, 3],
        *affine[:3].ravel(),
        b"", b"n+1",
    ) + bytes(_VOXELS_AT - _HEADER.size)  # fmt: skip


def _quaternion(rotation: Float[np.ndarray, "3 3"]) -> tuple[tuple[float, float, float], float, bool]:
    """Quaternion (b, c, d), qfac, and whether the columns are at right angles, so that a rotation can say it (nifti1.h, method 2)."""
    straight = bool(np.abs(rotation.T @ rotation - np.eye(3)).max() < _SHEAR_LIMIT)
    qfac = -1.0 if np.linalg.det(rotation) < 0 else 1.0
    left, _, right = np.linalg.svd(rotation * [1, 1, qfac])  # the nearest rotation
    r = left @ right
    x, y, z = np.diag(r)
    a, b, c, d = square = np.array([1 + x + y + z, 1 + x - y - z, 1 - x + y - z, 1 - x - y + z])
    largest = int(square.argmax())  # of 4a², 4b², 4c², 4d²: the one that is safe to divide by
    quaternion = (
        np.array([a, r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1]]),
        np.array([r[2, 1] - r[1, 2], b, r[0, 1] + r[1, 0], r[0, 2] + r[2, 0]]),
        np.array([r[0, 2] - r[2, 0], r[0, 1] + r[1, 0], c, r[1, 2] + r[2, 1]]),
        np.array([r[1, 0] - r[0, 1], r[0, 2] + r[2, 0], r[1, 2] + r[2, 1], d]),
    )[largest] / (2 * np.sqrt(square[largest]))
    quaternion = -quaternion if quaternion[0] < 0 else quaternion
    return (float(quaternion[1]), float(quaternion[2]), float(quaternion[3])), qfac, straight
