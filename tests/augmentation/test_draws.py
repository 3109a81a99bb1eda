"""Draws depend on the seed alone, have their distribution, and are independent of each other."""

import numpy as np
import torch
from scipy.stats import chi2_contingency, kstest

from medai.augmentation.draws import Draws, gaussian_pixels, mix, uniform_pixels

SEEDS = np.arange(20_000, dtype=np.uint64)
CPU = torch.device("cpu")


def test_the_hash_is_that_of_splitmix() -> None:
    golden = np.array([0x9E3779B97F4A7C15], dtype=np.uint64)
    assert [int(mix(golden * np.uint64(step))[0]) for step in (1, 2)] == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4]  # published for seed 0


def test_a_draw_depends_on_its_own_seed_place_and_turn() -> None:
    draws, some = Draws(SEEDS, 3), Draws(SEEDS[7:9], 3)
    for _ in range(2):
        assert np.array_equal(draws.uniform(2, 5)[7:9], some.uniform(2, 5))
    assert not np.any(Draws(SEEDS, 3).keys() == Draws(SEEDS, 4).keys())


def test_values_fill_their_range_evenly() -> None:
    draws = Draws(SEEDS, 0)
    assert kstest(draws.uniform(-1, 3), "uniform", args=(-1, 4)).pvalue > 0.01
    counts = np.unique(draws.integer(2, 6), return_counts=True)
    assert counts[0].tolist() == [2, 3, 4, 5, 6] and np.abs(counts[1] / len(SEEDS) - 0.2).max() < 0.01


def test_turns_places_and_neighbouring_seeds_are_independent() -> None:
    draws, other = Draws(SEEDS, 0), Draws(SEEDS, 1)
    first, second, third = draws.uniform(), draws.uniform(), other.uniform()
    for left, right in ((first, second), (first, third), (first[:-1], first[1:])):
        table = np.histogram2d(left, right, bins=8)[0]
        assert chi2_contingency(table).pvalue > 0.001


def test_pixels_have_their_distribution() -> None:
    keys = Draws(SEEDS[:8], 0).keys()
    for row in gaussian_pixels(keys, torch.full((8,), 2.0), 100_000).numpy():
        assert kstest(row, "norm", args=(0, 2)).pvalue > 0.001
    for row in uniform_pixels(keys, 100_000, CPU).numpy():
        assert kstest(row, "uniform").pvalue > 0.001


def test_pixels_are_white_and_those_of_two_cases_are_unrelated() -> None:
    noise = gaussian_pixels(SEEDS[:6], torch.ones(6), 256 * 256).view(6, 256, 256).numpy()  # neighbouring keys: the hardest
    limit = 5 / 256
    assert np.abs(np.corrcoef(noise.reshape(6, -1)) - np.eye(6)).max() < limit
    for rows, columns in ((1, 0), (0, 1), (1, 1), (16, 0), (128, 0)):
        moved = np.roll(noise, (rows, columns), axis=(1, 2))
        assert np.abs((noise * moved).mean(axis=(1, 2))).max() < limit
        assert np.abs(((noise**2 - 1) * (moved**2 - 1)).mean(axis=(1, 2)) / 2).max() < limit
    power = np.abs(np.fft.rfft2(noise))[:, 1:, 1:].reshape(6, -1) ** 2 / 256**2
    assert power.max() < 25  # an exponential's largest of 200,000 values


def test_pixels_end_where_floats_end() -> None:
    keys = Draws(SEEDS[:100], 1).keys()
    noise = gaussian_pixels(keys, torch.ones(100), 100_000)
    assert torch.isfinite(noise).all() and 4.9 < float(noise.abs().max()) < 5.5
    share = uniform_pixels(keys, 100_000, CPU)
    assert float(share.min()) >= 0 and float(share.max()) <= 1


def test_pixels_of_both_halves_of_the_key_differ() -> None:
    keys = np.array([5, 5 + 2**32, 6], dtype=np.uint64)
    words = uniform_pixels(keys, 1000, CPU)
    assert not any(torch.allclose(words[left], words[right], atol=0.2) for left, right in ((0, 1), (0, 2), (1, 2)))
