"""A reader of NIfTI-1 files for tests: it shares nothing with the writer."""

import gzip
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

_FIELDS: dict[str, tuple[Any, int]] = {
    "size": ("<i4", 0), "dim": (("<i2", 8), 40), "datatype": ("<i2", 70), "pixdim": (("<f4", 8), 76), "vox_offset": ("<f4", 108),
    "slope": ("<f4", 112), "inter": ("<f4", 116), "qform_code": ("<i2", 252), "sform_code": ("<i2", 254), "quatern": (("<f4", 3), 256),
    "qoffset": (("<f4", 3), 268), "srow": (("<f4", (3, 4)), 280), "magic": ("S4", 344),
}  # fmt: skip
_HEADER = np.dtype(
    {
        "names": list(_FIELDS),
        "formats": [kind for kind, _ in _FIELDS.values()],
        "offsets": [at for _, at in _FIELDS.values()],
        "itemsize": 348,
    }
)
_TYPES: dict[int, Any] = {
    2: "u1", 4: "<i2", 8: "<i4", 16: "<f4", 64: "<f8", 256: "i1", 512: "<u2", 768: "<u4", 128: ("u1", 3), 2304: ("u1", 4),
}  # fmt: skip


@dataclass(frozen=True)
class NiftiFile:
    """Voxels as NIfTI orders them (x, y, z, …; colour last), and the affines to RAS mm."""

    voxels: np.ndarray
    sform: np.ndarray
    qform: np.ndarray | None


def read_nifti(path: Path) -> NiftiFile:
    data = path.read_bytes()
    data = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
    header = np.frombuffer(data[:348], _HEADER)[0]
    assert header["size"] == 348 and header["magic"] == b"n+1"
    shape = header["dim"][1 : 1 + header["dim"][0]].tolist()
    dtype = np.dtype(_TYPES[int(header["datatype"])])
    flat = np.frombuffer(data, dtype.base, offset=int(header["vox_offset"]), count=int(np.prod(shape)) * max(1, int(np.prod(dtype.shape))))
    colour = dtype.shape[0] if dtype.shape else 1
    voxels = flat.reshape(*shape[::-1], colour).transpose(*range(len(shape) - 1, -1, -1), len(shape))
    slope = float(header["slope"])
    if np.isfinite(slope) and slope not in (0.0, 1.0):
        voxels = voxels * slope + float(header["inter"])
    return NiftiFile(voxels if colour > 1 else voxels[..., 0], np.vstack([header["srow"], [0, 0, 0, 1]]).astype(float), _qform(header))


def _qform(header: Any) -> np.ndarray | None:
    if not header["qform_code"]:
        return None
    b, c, d = header["quatern"].astype(float)
    a = np.sqrt(max(0.0, 1 - b * b - c * c - d * d))
    rotation = np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * b * c - 2 * a * d, 2 * b * d + 2 * a * c],
            [2 * b * c + 2 * a * d, a * a + c * c - b * b - d * d, 2 * c * d - 2 * a * b],
            [2 * b * d - 2 * a * c, 2 * c * d + 2 * a * b, a * a + d * d - b * b - c * c],
        ]
    )
    affine = np.eye(4)
    affine[:3, :3] = rotation * header["pixdim"][1:4] * [1, 1, -1 if header["pixdim"][0] < 0 else 1]
    affine[:3, 3] = header["qoffset"]
    return affine


def canonical(voxels: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Axes permuted and flipped until they run nearest to R, A, S; by a search over all 48 ways, not as the code does it."""
    size = voxels.shape[:3]
    best: tuple[float, Any] = (-np.inf, None)
    for order in ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)):
        for signs in np.ndindex(2, 2, 2):
            change = np.zeros((4, 4))
            change[3, 3] = 1
            for new, (old, flip) in enumerate(zip(order, signs, strict=True)):
                change[old, new], change[old, 3] = (-1, size[old] - 1) if flip else (1, 0)
            moved = affine @ change
            score = float(np.trace(moved[:3, :3] / np.linalg.norm(moved[:3, :3], axis=0)))
            if score > best[0]:
                best = (score, (order, signs, moved))
    order, signs, moved = best[1]
    turned = voxels.transpose(*order, *range(3, voxels.ndim))
    return turned[tuple(slice(None, None, -1 if flip else 1) for flip in signs)], moved
