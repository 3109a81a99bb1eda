"""What an image looks like in 64 bits and in 32 x 32 pixels: the perceptual hash and the thumbnail that it is made from.

The hash follows Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions" (2010), section 3.2: 32 x 32 grey
pixels, DCT-II, the 8 x 8 coefficients after the constant row and column, each a bit: above their median or not. Contrast and
brightness do not change it, nor do resizing and compression by much. A crop does: therefore the audit also hashes *windows*
of each thumbnail, so that the window of the whole image that a copy was cut to has nearly the hash of that copy.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Float32, Num, UInt8, UInt64

from medai.core.picture import GREY_WEIGHTS

SIDE = 32
BITS = 8  # a side of the square of coefficients
CLIPPED = 4  # of the thumbnail's values at either end, so that a marker or a piece of metal does not flatten the rest
FEATURELESS = 0.2  # share of an image's variance that a thumbnail keeps; of noise alone it keeps next to nothing
Window = tuple[float, float, float]  # top, left and side, as shares of the image
WHOLE: Window = (0.0, 0.0, 1.0)
WINDOWS: tuple[Window, ...] = (
    WHOLE,
    *((top, left, 0.95) for top in (0.0, 0.025, 0.05) for left in (0.0, 0.025, 0.05)),
    (0.05, 0.05, 0.9),
)


@dataclass(frozen=True)
class Signature:
    """What near-duplicates are found by.

    Attributes:
        phash: 64 bits; 0 where the image is featureless (constant, or noise alone): such images look alike without being so.
        thumbnail: Grey, stretched to 0..255; all 0 where the image is featureless.
    """

    phash: int
    thumbnail: UInt8[np.ndarray, "32 32"]


def signature(pixels: Num[np.ndarray, "C *DHW"]) -> Signature:
    """The signature of an image (C, H, W) or a volume (C, D, H, W) of any size and number type.

    A volume is projected first: the mean over its slices, which a change of the slices' number or thickness leaves alike.

    Example:
        >>> signature(np.zeros((1, 512, 512))).phash
        0
    """
    plane = grey(pixels)
    small = reduced(plane, SIDE)
    variance = float(np.vdot(plane, plane)) / plane.size  # its mean is 0
    if float(small.var()) <= FEATURELESS * variance:
        return Signature(0, np.zeros((SIDE, SIDE), np.uint8))
    thumbnail = stretched(small)
    return Signature(int(hashes(thumbnail[None])[0]), thumbnail)


def phash(pixels: Num[np.ndarray, "C *DHW"]) -> np.uint64:
    """The perceptual hash of an image (C, H, W) or a volume (C, D, H, W): bits in row-major order, the first the highest."""
    return np.uint64(signature(pixels).phash)


def grey(pixels: Num[np.ndarray, "C *DHW"]) -> Float32[np.ndarray, "H W"]:
    """One plane: luma (ITU-R BT.601) of three channels, else the mean of the channels, the mean over slices; centred at 0, at most 1."""
    return grey_and_level(pixels)[0]


def grey_and_level(pixels: Num[np.ndarray, "C *DHW"]) -> tuple[Float32[np.ndarray, "H W"], float]:
    """`grey`, and what one grey level of the pixels is in it: 0 for floating-point numbers and for the mean of slices, which have none.

    Example:
        >>> grey_and_level(np.array([[[0, 20]]]))
        (array([[-1.,  1.]], dtype=float32), 0.1)
    """
    planes = pixels.mean(axis=1, dtype=np.float64) if pixels.ndim == 4 else pixels
    weights = np.array(GREY_WEIGHTS if len(planes) == 3 else [1 / len(planes)] * len(planes))
    plane = planes[0].astype(np.float32) if len(planes) == 1 else np.tensordot(weights, planes, axes=1).astype(np.float32)
    plane -= plane.mean(dtype=np.float64)
    largest = max(float(plane.max()), -float(plane.min()))
    if largest == 0:
        return np.asarray(plane), 0.0
    counted = pixels.ndim == 3 and np.issubdtype(pixels.dtype, np.integer)
    return np.asarray(plane / np.float32(largest)), 1 / largest if counted else 0.0


def reduced(plane: Float32[np.ndarray, "H W"], side: int) -> Float32[np.ndarray, "side side"]:
    """A plane at `side` x `side` pixels, whatever its shape, by a triangle filter as wide as the step (antialiased)."""
    rows, columns = _filter(plane.shape[0], side), _filter(plane.shape[1], side)
    return np.asarray(rows @ plane @ columns.T)


def stretched(small: Float32[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w"]:
    """Values from 0 to 255, without the four lowest and the four highest."""
    return stretched_by(small)[0]


def stretched_by(small: Float32[np.ndarray, "h w"]) -> tuple[UInt8[np.ndarray, "h w"], float]:
    """`stretched`, and the factor of it."""
    ordered = np.sort(small, axis=None)
    low, high = float(ordered[CLIPPED]), float(ordered[-1 - CLIPPED])
    if high <= low:
        low, high = float(ordered[0]), float(ordered[-1])
    factor = 255 / max(high - low, 1e-12)
    return np.asarray(np.clip((small - low) * factor, 0, 255).round(), dtype=np.uint8), factor


def hashes(thumbnails: UInt8[np.ndarray, "N 32 32"], window: Window = WHOLE) -> UInt64[np.ndarray, " N"]:
    """The hashes of a window of many thumbnails; 0 where a thumbnail is featureless."""
    top, left, side = window
    rows, columns = _cosines() @ cut(top, side), _cosines() @ cut(left, side)
    found = np.empty(len(thumbnails), np.uint64)
    for start in range(0, len(thumbnails), 4096):
        some = thumbnails[start : start + 4096].astype(np.float32)
        found[start : start + 4096] = _packed((rows @ some @ columns.T).reshape(len(some), -1))
    found[is_featureless(thumbnails)] = 0
    return found


def is_featureless(thumbnails: UInt8[np.ndarray, "N 32 32"]) -> Bool[np.ndarray, " N"]:
    """Which thumbnails are empty."""
    return np.asarray(~thumbnails.any(axis=(1, 2)))


def cut(start: float, length: float, side: int = SIDE) -> Float32[np.ndarray, "side side"]:
    """The matrix that samples a part of an axis of `side` pixels at `side` points, linearly.

    Args:
        start: Where the part starts, as a share of the axis.
        length: How long it is, as a share of the axis.
        side: Pixels of the axis.
    """
    return np.asarray(cuts(np.array([start]), np.array([length]), side)[0])


def cuts(start: Num[np.ndarray, " B"], length: Num[np.ndarray, " B"], side: int) -> Float32[np.ndarray, "B side side"]:
    """Many such matrices, see `cut`; beyond the ends the last pixel is repeated."""
    points = (start[:, None] + length[:, None] * ((np.arange(side) + 0.5) / side)) * side - 0.5
    points = np.clip(points, 0, side - 1)[:, :, None]
    return np.asarray(np.maximum(0, 1 - np.abs(points - np.arange(side))), dtype=np.float32)


@lru_cache(256)
def _filter(size: int, side: int) -> Float32[np.ndarray, "side size"]:
    step = size / side
    distance = np.abs(np.arange(size) + 0.5 - (np.arange(side)[:, None] + 0.5) * step)
    weight = np.maximum(0, 1 - distance / max(step, 1.0))
    return np.asarray(weight / weight.sum(axis=1, keepdims=True), dtype=np.float32)


@lru_cache(1)
def _cosines() -> Float32[np.ndarray, "8 32"]:
    """Rows 1 to 8 of the DCT-II."""
    angle = np.pi * np.arange(1, BITS + 1)[:, None] * (np.arange(SIDE) + 0.5) / SIDE
    return np.asarray(np.cos(angle), dtype=np.float32)


def _packed(coefficients: Float32[np.ndarray, "N 64"]) -> UInt64[np.ndarray, " N"]:
    bits = coefficients > np.median(coefficients, axis=1, keepdims=True)
    return np.asarray(np.packbits(bits, axis=1).view(">u8")[:, 0], dtype=np.uint64)
