"""Randomness: every draw is a pure function of (seed, epoch, position, stream).

A sequence of draws therefore depends neither on the number of workers and ranks nor on where a run was resumed.
"""

import hashlib

import numpy as np
from jaxtyping import Int64, UInt64


def draw_seed(seed: int, epoch: int, position: int, stream: str) -> int:
    """A 64-bit seed for one draw.

    Args:
        seed: The run's seed.
        epoch: Counted from 0.
        position: The sample's place in the epoch's order (not the case: a case drawn twice is augmented twice
            differently), or the step where the draw belongs to a batch.
        stream: What is drawn, e.g. ``"order"``, ``"augmentation"``.
    """
    text = f"{seed}/{epoch}/{position}/{stream}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")


def draw_seeds(seed: int, epoch: int, positions: Int64[np.ndarray, " n"], stream: str) -> UInt64[np.ndarray, " n"]:
    """Seeds for the draws at many positions at once: the outputs of SplitMix64 (Steele, Lea and Flood 2014) that it gives there.

    Args:
        seed: The run's seed.
        epoch: Counted from 0.
        positions: Places in the epoch's order.
        stream: What is drawn.
    """
    start = np.uint64(draw_seed(seed, epoch, 0, stream))
    state = start + positions.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))


def generator(seed: int, epoch: int, position: int, stream: str) -> np.random.Generator:
    """A numpy generator for one draw (Philox, so the key may be any integer)."""
    return np.random.Generator(np.random.Philox(draw_seed(seed, epoch, position, stream)))


def epoch_order(count: int, seed: int, epoch: int) -> Int64[np.ndarray, " count"]:
    """The order in which an epoch visits `count` cases."""
    return generator(seed, epoch, 0, "order").permutation(count)
