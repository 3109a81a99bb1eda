"""Randomness: every draw is a pure function of (seed, epoch, position, stream).

A sequence of draws therefore depends neither on the number of workers and ranks nor on where a run was resumed.
"""

import hashlib

import numpy as np
from jaxtyping import Int64


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


def generator(seed: int, epoch: int, position: int, stream: str) -> np.random.Generator:
    """A numpy generator for one draw (Philox, so the key may be any integer)."""
    return np.random.Generator(np.random.Philox(draw_seed(seed, epoch, position, stream)))


def epoch_order(count: int, seed: int, epoch: int) -> Int64[np.ndarray, " count"]:
    """The order in which an epoch visits `count` cases."""
    return generator(seed, epoch, 0, "order").permutation(count)
