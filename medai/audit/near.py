"""Near-duplicates: the same image resized, cropped, brightened or compressed again.

Four sieves, each for what the one before lets through: the hashes of the whole and of its windows (every pair is compared), the
thumbnails laid over each other as the hash suggests, the thumbnails registered, and the pixels registered. Each is dearer
and stricter than the one before.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float64, Int64, Num, UInt8

from medai.audit.pair import near_pairs
from medai.audit.phash import SIDE, WHOLE, WINDOWS, cut, grey_and_level, hashes, is_featureless, reduced, stretched_by
from medai.audit.register import Frames, detail, evenly_alike, register, reliability, warp

DISTANCE = 10  # bits
ALIKE = 0.8  # thumbnails, laid over each other
REGISTERED = 0.85  # thumbnails, registered
CORRELATED = 0.95  # pixels, registered
VERIFIED = 0.943  # the mean of that (twice) and of the same with even contrast, so that two bright rings in the dark are not one image
NOISY = 0.9  # neither of both need be more than this where noise is to blame
COPIED = 0.5  # grey levels: what JPEG of quality 60 changes in a dark image, seen at 64 x 64 (0.3 to 0.6, of 128 to 512 pixels a side)
PIXEL_SIDE = 64
ROWS = 256  # of the search at a time
MOST = 200_000  # pairs whose pixels are looked at
CROWD = 32  # so many images with one hash are compared with the first of them only
HELD = 8192  # images, 32 MB

Read = Callable[[int], Num[np.ndarray, "C *DHW"]]
"""Gives the pixels of the case at a place."""


@dataclass(frozen=True)
class Search:
    """What was found, and how much was looked at.

    Attributes:
        first: Place of the whole (or larger) image of each pair.
        second: Place of the other.
        likeness: After registration on the pixels, from `VERIFIED` (`NOISY` where an image has few grey levels) to 1.
        frames: Which window of the first the second is: top, height, left, width, as shares.
        images: Images searched; featureless ones are not.
        featureless: Images left out.
        compared: Pairs of images that were compared.
        hashes_compared: Comparisons of hashes for it: each image with the windows of each other.
        candidates: Pairs left after the thumbnails.
        looked_at: Pairs whose pixels were looked at; fewer than candidates where there were too many.
        crowds: Groups of more than `CROWD` images with one hash.
    """

    first: Int64[np.ndarray, " K"]
    second: Int64[np.ndarray, " K"]
    likeness: Float64[np.ndarray, " K"]
    frames: Frames
    images: int
    featureless: int
    compared: int
    hashes_compared: int
    candidates: int
    looked_at: int
    crowds: int


@dataclass(frozen=True)
class Suspects:
    """Pairs by their thumbnails, each once.

    Attributes:
        first: Place of the whole.
        second: Place of what may be a window of it.
        likeness: Of the registered thumbnails.
        frames: The window.
    """

    first: Int64[np.ndarray, " K"]
    second: Int64[np.ndarray, " K"]
    likeness: Float64[np.ndarray, " K"]
    frames: Frames


def near_duplicates(
    thumbnails: UInt8[np.ndarray, "N 32 32"], read: Read, *, distance: int = DISTANCE, threads: int = 2, most: int = MOST
) -> Search:
    """Find every pair that its hashes bring together and its pixels confirm.

    Args:
        thumbnails: See `medai.audit.phash.signature`.
        read: Gives the pixels of a place; asked only for candidates.
        distance: Bits in which the hash of an image and that of a window of the other may differ.
        threads: That compare hashes.
        most: Pairs whose pixels are looked at, the likeliest first.
    """
    shown = np.flatnonzero(~is_featureless(thumbnails))
    suspects, crowds = suspect(thumbnails[shown], distance, threads)
    order = np.argsort(-suspects.likeness, kind="stable")[:most]
    order = order[np.lexsort((suspects.second[order], suspects.first[order]))]
    first, second, frames = shown[suspects.first[order]], shown[suspects.second[order]], suspects.frames[order]
    likeness, frames = verify(first, second, frames, read)
    kept = likeness > 0
    pairs = len(shown) * (len(shown) - 1) // 2
    return Search(
        first[kept], second[kept], likeness[kept], frames[kept], len(shown), len(thumbnails) - len(shown), pairs,
        pairs * (2 * len(WINDOWS) - 1), len(suspects.first), len(order), crowds,
    )  # fmt: skip


def suspect(thumbnails: UInt8[np.ndarray, "N 32 32"], distance: int = DISTANCE, threads: int = 2) -> tuple[Suspects, int]:
    """The pairs that hashes and thumbnails bring together, and the number of crowds.

    Args:
        thumbnails: None of them featureless.
        distance: Bits.
        threads: That compare.
    """
    if len(thumbnails) == 0:
        return _each_once([]), 0
    of_window = np.stack([hashes(thumbnails, window) for window in WINDOWS])
    inner, crowds = _crowded(of_window[0])
    fine = _quantised(thumbnails)

    def block(start: int) -> Suspects:
        return _register(thumbnails, *_laid_over(thumbnails, of_window, fine, start, distance, inner))

    with ThreadPoolExecutor(max(1, threads)) as pool:
        parts = list(pool.map(block, range(0, len(thumbnails), ROWS)))
    return _each_once(parts), crowds


def verify(
    first: Int64[np.ndarray, " K"], second: Int64[np.ndarray, " K"], frames: Frames, read: Read
) -> tuple[Float64[np.ndarray, " K"], Frames]:
    """Likeness and window of some pairs on their pixels, at 64 x 64; likeness is 0 where they are not one image.

    They are one if the registered pixels correlate to `CORRELATED` and the mean is `VERIFIED`. In an almost black image a few grey
    levels are all there is, and the rounding of a compressed copy is a good part of that: both thresholds fall, not below `NOISY`,
    by what a noise of `COPIED` grey levels takes from a correlation (`medai.audit.register.reliability`).
    """

    @lru_cache(HELD)
    def small(place: int) -> tuple[UInt8[np.ndarray, "64 64"], float]:
        plane, level = grey_and_level(read(place))
        image, factor = stretched_by(reduced(plane, PIXEL_SIDE))
        return image, COPIED * level * factor

    likeness, found = np.empty(len(first)), frames.copy()
    for start in range(0, len(first), ROWS):
        some = np.s_[start : start + ROWS]
        whole, whole_noise = (np.stack(each) for each in zip(*(small(int(place)) for place in first[some]), strict=True))
        part, part_noise = (np.stack(each) for each in zip(*(small(int(place)) for place in second[some]), strict=True))
        correlation, found[some] = register(whole, part, frames[some])
        seen, noise = warp(whole.astype(np.float32), found[some]), np.maximum(whole_noise, part_noise)
        mean = (2 * correlation + evenly_alike(seen, part, noise)) / 3
        kept = reliability(seen, part, noise)
        alike = (correlation >= np.maximum(NOISY, CORRELATED * kept)) & (mean >= np.maximum(NOISY, VERIFIED * kept))
        likeness[some] = np.where(alike, mean, 0.0)
    return likeness, found


def _crowded(whole: Num[np.ndarray, " N"]) -> tuple[Int64[np.ndarray, " N"], int]:
    """For images whose hash too many have: the place of the first such image; else -1."""
    _, first, group, count = np.unique(whole, return_index=True, return_inverse=True, return_counts=True)
    return np.where(count[group] > CROWD, first[group], -1).astype(np.int64), int((count > CROWD).sum())


def _quantised(thumbnails: UInt8[np.ndarray, "N 32 32"]) -> Num[np.ndarray, "N 1024"]:
    """What `detail` gives in 8 bits, to have that of 135,000 images in 138 MB."""
    fine = np.empty((len(thumbnails), SIDE * SIDE), np.int8)
    for start in range(0, len(thumbnails), 1024):
        flat = detail(thumbnails[start : start + 1024])
        fine[start : start + 1024] = np.round(flat * (127 / np.maximum(np.abs(flat).max(axis=1, keepdims=True), 1e-6)))
    return fine


def _laid_over(
    thumbnails: UInt8[np.ndarray, "N 32 32"], of_window: Num[np.ndarray, "W N"], fine: Num[np.ndarray, "N 1024"], start: int,
    distance: int, inner: Int64[np.ndarray, " N"],
) -> tuple[Int64[np.ndarray, " K"], Int64[np.ndarray, " K"], Int64[np.ndarray, " K"]]:  # fmt: skip
    """First, second and window of the pairs that are alike when one is laid over a window of the other; `first` in one block."""
    stop = min(start + ROWS, len(thumbnails))
    found: list[tuple[Int64[np.ndarray, " K"], Int64[np.ndarray, " K"], Int64[np.ndarray, " K"], Float64[np.ndarray, " K"]]] = []
    for number, window in enumerate(WINDOWS):
        shown = detail(cut(window[0], window[2]) @ thumbnails[start:stop].astype(np.float32) @ cut(window[1], window[2]).T)
        own = start if window == WHOLE else None
        for i, j in near_pairs(of_window[number, start:stop], of_window[0], distance, first=own):
            i, j = _apart(i + start, j, inner)
            for alike, some in _alike(shown, fine, i - start, j):
                kept = alike >= ALIKE
                found.append((i[some][kept], j[some][kept], np.full(int(kept.sum()), number), alike[kept]))
    if not found:
        return (np.empty(0, np.int64),) * 3
    first, second, window_number, likeness = (np.concatenate(column) for column in zip(*found, strict=True))
    order = np.lexsort((-likeness, second, first))
    first, second, window_number = first[order], second[order], window_number[order]
    best = np.append(True, (first[1:] != first[:-1]) | (second[1:] != second[:-1]))[: len(first)]
    return first[best], second[best], window_number[best]


def _apart(
    i: Int64[np.ndarray, " K"], j: Int64[np.ndarray, " K"], inner: Int64[np.ndarray, " N"]
) -> tuple[Int64[np.ndarray, " K"], Int64[np.ndarray, " K"]]:
    """Without an image and itself, and of a crowd only the pairs with its first image."""
    within = (inner[i] >= 0) & (inner[i] == inner[j]) & (inner[i] != i) & (inner[j] != j)
    kept = (i != j) & ~within
    return i[kept], j[kept]


def _alike(
    shown: Num[np.ndarray, "R 1024"], fine: Num[np.ndarray, "N 1024"], i: Int64[np.ndarray, " K"], j: Int64[np.ndarray, " K"]
) -> Iterator[tuple[Float64[np.ndarray, " k"], slice]]:
    for begin in range(0, len(i), 2048):
        some = slice(begin, begin + 2048)
        other = fine[j[some]].astype(np.float32)
        length = np.sqrt(np.einsum("kp,kp->k", other, other))
        yield np.einsum("kp,kp->k", shown[i[some]], other).astype(np.float64) / np.maximum(length, 1e-6), some


def _register(
    thumbnails: UInt8[np.ndarray, "N 32 32"], first: Int64[np.ndarray, " K"], second: Int64[np.ndarray, " K"],
    number: Int64[np.ndarray, " K"],
) -> Suspects:  # fmt: skip
    frames = np.array([[top, side, left, side] for top, left, side in WINDOWS])[number]
    likeness = np.empty(len(first))
    for begin in range(0, len(first), ROWS):
        some = np.s_[begin : begin + ROWS]
        likeness[some], frames[some] = register(thumbnails[first[some]], thumbnails[second[some]], frames[some])
    kept = likeness >= REGISTERED
    return Suspects(first[kept], second[kept], likeness[kept], frames[kept])


def _each_once(parts: list[Suspects]) -> Suspects:
    """Of a pair that was found both ways, the likelier."""
    first, second = (np.concatenate([np.empty(0, np.int64), *(getattr(part, name) for part in parts)]) for name in ("first", "second"))
    likeness = np.concatenate([np.empty(0), *(part.likeness for part in parts)])
    frames = np.concatenate([np.empty((0, 4)), *(part.frames for part in parts)])
    order = np.lexsort((-likeness, np.maximum(first, second), np.minimum(first, second)))
    low, high = np.minimum(first, second)[order], np.maximum(first, second)[order]
    best = order[np.append(True, (low[1:] != low[:-1]) | (high[1:] != high[:-1]))[: len(order)]]
    return Suspects(first[best], second[best], likeness[best], frames[best])
