"""Draws that are pure functions of a case's seed, made for a whole batch at once.

No generator is set up for a case, which would cost more than the transforms of a small image: a draw is a hash of the seed,
of the transform's place in the list and of a counter. Single numbers are hashed in numpy with 64 bits, pixels on the images'
device with 32.
"""

from copy import copy
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float, Float32, Float64, Int32, Int64, UInt64
from numpy import ndarray
from torch import Tensor

GOLDEN = 0x9E3779B97F4A7C15
MASK64 = 2**64 - 1


def mix(values: UInt64[ndarray, " n"]) -> UInt64[ndarray, " n"]:
    """The finalizer of SplitMix64 (Steele, Lea and Flood 2014, with Stafford's constants): each bit depends on every bit."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: UInt64[ndarray, " n"] = values ^ (values >> np.uint64(31))
    return mixed


class Draws:
    """The stream of draws of one transform, a column of n values at a time: SplitMix64 for each case, started by its seed.

    Args:
        seeds: One a case.
        place: Of the transform in its list; transforms at different places draw independently.
    """

    def __init__(self, seeds: UInt64[ndarray, " n"], place: int) -> None:
        self._state = mix(seeds ^ mix(np.full(1, place + 1, dtype=np.uint64)))
        self._drawn = 0

    def of(self, cases: Int64[ndarray, " m"]) -> "Draws":
        """The same stream, going on for some of the cases."""
        some = copy(self)
        some._state = self._state[cases]
        return some

    def keys(self) -> UInt64[ndarray, " n"]:
        """The next 64 random bits of each case."""
        self._drawn += 1
        return mix(self._state + np.uint64(self._drawn * GOLDEN & MASK64))

    def uniform(self, low: float | Float64[ndarray, " n"] = 0.0, high: float | Float64[ndarray, " n"] = 1.0) -> Float64[ndarray, " n"]:
        """A value of each case from [low, high)."""
        share = (self.keys() >> np.uint64(11)) * 2.0**-53
        values: Float64[ndarray, " n"] = low + share * (high - low)
        return values

    def integer(self, low: int | Int64[ndarray, " n"], high: int | Int64[ndarray, " n"]) -> Int64[ndarray, " n"]:
        """An integer of each case from low to high, both included."""
        values: Int64[ndarray, " n"] = np.floor(self.uniform(low, high + 1)).astype(np.int64)
        return values


def gaussian_pixels(keys: UInt64[ndarray, " n"], std: Float32[Tensor, " n"], count: int) -> Float32[Tensor, "n count"]:
    """Normal values of mean 0, `count` a case, by the inverse of the distribution function (they end at 5.4 deviations)."""
    return _symmetric_pixels(keys, count, std.device).erfinv_().mul_((std * 2**0.5)[:, None])


def uniform_pixels(keys: UInt64[ndarray, " n"], count: int, device: torch.device) -> Float32[Tensor, "n count"]:
    """Values from [0, 1), `count` a case."""
    return _symmetric_pixels(keys, count, device).mul_(0.5).add_(0.5)


def column(values: Float[ndarray, "n ..."], like: Tensor) -> Float32[Tensor, "n ..."]:
    """A parameter, one a case, on the device of the images."""
    return torch.from_numpy(values.astype(np.float32)).to(like.device, non_blocking=True)


def _symmetric_pixels(keys: UInt64[ndarray, " n"], count: int, device: torch.device) -> Float32[Tensor, "n count"]:
    """Uniform in (-1, 1): the largest value is the float before 1."""
    return _words(keys, count, device).to(torch.float32).mul_(2.0**-31 * (1 - 2.0**-24))


def _words(keys: UInt64[ndarray, " n"], count: int, device: torch.device) -> Int32[Tensor, "n count"]:
    """32 random bits a pixel: a multiply-xorshift hash of the pixel's own hash, with one half of the key before and one within it."""
    halves = torch.from_numpy(keys.view(np.int32).reshape(-1, 2)).to(device, non_blocking=True)
    words = _pixel_hashes(count, device) ^ halves[:, :1]
    words.mul_(0x7FEB352D)
    words.bitwise_xor_((words >> 16).bitwise_and_(0xFFFF))
    return words.add_(halves[:, 1:]).mul_(0x846CA68B - 2**32)


@lru_cache(maxsize=16)
def _pixel_hashes(count: int, device: torch.device) -> Int32[Tensor, " count"]:
    hashes = mix(np.arange(count, dtype=np.uint64) + np.uint64(GOLDEN)).astype(np.uint32)
    return torch.from_numpy(hashes.view(np.int32)).to(device)
