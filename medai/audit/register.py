"""Lay one image over a window of another, and say how alike they are then.

The window is found by Gauss-Newton on its four edges, with contrast and brightness free (Baker and Matthews, "Lucas-Kanade 20
Years On" (2004), section 4). The likeness is the normalised cross-correlation of what is left without the coarse shapes, which
all chest radiographs have in common: the blurred image is taken away first.
"""

from functools import lru_cache

import numpy as np
from jaxtyping import Float32, Float64, Num

from medai.audit.phash import cuts

STEPS = 6
BLUR = 2.5 / 32  # standard deviation, as a share of the image
EVEN_BLUR = 2 / 32
NOISE = 6.0  # grey values: a contrast that is no detail yet
FARTHEST = 0.08  # an edge is looked for so far outside the image
SMALLEST = 0.75  # the side of a window, as a share of the image
BATCH = 512

Frames = Float64[np.ndarray, "B 4"]
"""Windows: top, height, left and width as shares of the image."""


def register(
    whole: Num[np.ndarray, "B side side"], part: Num[np.ndarray, "B side side"], start: Frames
) -> tuple[Float64[np.ndarray, " B"], Frames]:
    """How alike each `part` is to that window of `whole` which fits it best.

    Args:
        whole: Images.
        part: Other images, each perhaps a window of its `whole`; of the same size in pixels.
        start: Where to look first.

    Returns:
        Likeness from -1 to 1, and the windows.
    """
    frames, likeness = start.astype(np.float64), np.empty(len(start))
    for first in range(0, len(start), BATCH):
        some = np.s_[first : first + BATCH]
        large, small = whole[some].astype(np.float32), part[some].astype(np.float32)
        likeness[some], frames[some] = _fit(large, small, frames[some])
    return likeness, frames


def detail(images: Num[np.ndarray, "B side side"]) -> Float32[np.ndarray, "B pixels"]:
    """Images less their blurred selves, flat, with mean 0 and length 1 (0 where nothing is left)."""
    flat = _fine(images.astype(np.float32))
    flat -= flat.mean(axis=1, keepdims=True)
    length = np.linalg.norm(flat, axis=1, keepdims=True)
    return np.asarray(flat / np.maximum(length, 1e-6))


def even_detail(images: Num[np.ndarray, "B side side"], noise: Num[np.ndarray, " B"]) -> Float32[np.ndarray, "B pixels"]:
    """`detail` with the same contrast everywhere, so that one bright edge in a dark image does not speak for all of it.

    Args:
        images: Values from 0 to 255.
        noise: Standard deviation of theirs; a contrast below twice that is not made even, lest it be the noise that speaks.
    """
    plain = images.astype(np.float32)
    blur = _blur(plain.shape[-1], EVEN_BLUR)
    fine = plain - blur @ plain @ blur.T
    least = np.maximum(NOISE, 2 * noise).astype(np.float32)[:, None, None]
    contrast = np.sqrt(np.maximum(blur @ (fine * fine) @ blur.T, 0)) + least
    flat = (fine / contrast).reshape(len(plain), -1)
    flat -= flat.mean(axis=1, keepdims=True)
    return np.asarray(flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6))


def evenly_alike(
    seen: Num[np.ndarray, "B side side"], part: Num[np.ndarray, "B side side"], noise: Num[np.ndarray, " B"]
) -> Float64[np.ndarray, " B"]:
    """The correlation of `even_detail` of registered images (from 0 to 255), from -1 to 1."""
    return np.asarray(np.einsum("bp,bp->b", even_detail(seen, noise), even_detail(part, noise)), dtype=np.float64)


def reliability(
    seen: Num[np.ndarray, "B side side"], part: Num[np.ndarray, "B side side"], noise: Num[np.ndarray, " B"]
) -> Float64[np.ndarray, " B"]:
    """What noise in one of two copies leaves of the correlation of their `detail`, from 0 to 1.

    The root of the share of the variance that is not noise: Spearman, "The Proof and Measurement of Association between Two
    Things" (1904), on the attenuation of a correlation by errors of measurement.

    Args:
        seen: Images, registered.
        part: The others; of each two, the one with the less detail counts.
        noise: Its standard deviation, in values of the images.
    """
    variance = np.minimum(*(_fine(images.astype(np.float32)).var(axis=1, dtype=np.float64) for images in (seen, part)))
    return np.asarray(np.sqrt(np.clip(1 - noise**2 / np.maximum(variance, 1e-6), 0, 1)))


def warp(images: Float32[np.ndarray, "B side side"], frames: Frames) -> Float32[np.ndarray, "B side side"]:
    """The windows of some images."""
    side = images.shape[-1]
    rows, columns = cuts(frames[:, 0], frames[:, 1], side), cuts(frames[:, 2], frames[:, 3], side)
    return np.asarray(rows @ images @ columns.transpose(0, 2, 1))


def _fine(images: Float32[np.ndarray, "B side side"]) -> Float32[np.ndarray, "B pixels"]:
    """Images less their blurred selves, flat."""
    blur = _blur(images.shape[-1], BLUR)
    return np.asarray((images - blur @ images @ blur.T).reshape(len(images), -1))


def _fit(
    whole: Float32[np.ndarray, "B side side"], part: Float32[np.ndarray, "B side side"], frames: Frames
) -> tuple[Float64[np.ndarray, " B"], Frames]:
    wanted = detail(part)
    seen = warp(whole, frames)
    best, kept = np.einsum("bp,bp->b", detail(seen), wanted).astype(np.float64), frames
    for _ in range(STEPS):
        frames = _limited(frames + _step(seen, part, frames))
        seen = warp(whole, frames)
        found = np.einsum("bp,bp->b", detail(seen), wanted).astype(np.float64)
        better = found > best
        best, kept = np.where(better, found, best), np.where(better[:, None], frames, kept)
    return best, kept


def _step(seen: Float32[np.ndarray, "B side side"], part: Float32[np.ndarray, "B side side"], frames: Frames) -> Frames:
    """Solve part = gain * seen + offset + slopes * step for the step, in the least squares."""
    count, side = len(seen), seen.shape[-1]
    place = ((np.arange(side) + 0.5) / side).astype(np.float32)
    down, right = (np.gradient(seen, axis=axis) * side / frames[:, size, None, None].astype(np.float32) for axis, size in ((1, 1), (2, 3)))
    columns = np.stack([down, down * place[:, None], right, right * place, seen, np.ones_like(seen)], axis=1).reshape(count, 6, -1)
    square = (columns @ columns.transpose(0, 2, 1)).astype(np.float64)
    ridge = 1e-4 * np.einsum("bii->bi", square)[:, :, None] * np.eye(6) + 1e-3 * np.eye(6)
    solved = np.linalg.solve(square + ridge, (columns @ part.reshape(count, -1, 1)).astype(np.float64))[:, :, 0]
    gain = np.where(np.abs(solved[:, 4]) > 1e-3, solved[:, 4], 1.0)
    return np.asarray(np.clip(solved[:, :4] / gain[:, None], -0.03, 0.03))


def _limited(frames: Frames) -> Frames:
    low = np.clip(frames[:, [0, 2]], -FARTHEST, 1 - SMALLEST + FARTHEST)
    size = np.clip(frames[:, [1, 3]], SMALLEST, 1 + 2 * FARTHEST)
    return np.stack([low[:, 0], size[:, 0], low[:, 1], size[:, 1]], axis=1)


@lru_cache(8)
def _blur(side: int, share: float) -> Float32[np.ndarray, "side side"]:
    distance = (np.arange(side)[:, None] - np.arange(side)) / (share * side)
    weight = np.exp(-0.5 * distance**2)
    return np.asarray(weight / weight.sum(axis=1, keepdims=True), dtype=np.float32)
