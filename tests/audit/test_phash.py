from collections.abc import Callable

import numpy as np
import pytest

from medai.audit.phash import WINDOWS, grey_and_level, hashes, phash, signature

Scene = Callable[..., np.ndarray]


def _distance(one: np.uint64, other: np.uint64) -> int:
    return int(np.bitwise_count(one ^ other))


def test_the_hash_is_that_of_the_definition(scene: Scene) -> None:
    thumbnail = signature(scene(1)).thumbnail.astype(np.float64)
    angle = np.pi * np.arange(32)[:, None] * (2 * np.arange(32) + 1) / 64
    square = (np.cos(angle) @ thumbnail @ np.cos(angle).T)[1:9, 1:9].ravel()
    bits = "".join("1" if value > np.median(square) else "0" for value in square)
    assert int(phash(scene(1))) == int(bits, 2)


@pytest.mark.parametrize("change", ["brighter", "wider numbers", "twice the size", "inverted offset"])
def test_contrast_brightness_and_size_hardly_change_it(scene: Scene, change: str) -> None:
    image = scene(2)
    copies = {
        "brighter": (image * 0.7 + 60).astype(np.uint8),
        "wider numbers": image.astype(np.int32) * 1000 - 70_000,
        "twice the size": image.repeat(2, axis=1).repeat(2, axis=2),
        "inverted offset": image.astype(np.float32) / 1e6,
    }
    assert _distance(phash(image), phash(copies[change])) <= 2


def test_pictures_of_their_own_are_far_apart(scene: Scene) -> None:
    found = [phash(scene(seed)) for seed in range(12)]
    assert min(_distance(one, other) for i, one in enumerate(found) for other in found[:i]) > 10


def test_a_window_has_nearly_the_hash_of_the_crop(scene: Scene) -> None:
    image = scene(3, side=200)
    thumbnail = signature(image).thumbnail[None]
    for window in WINDOWS:
        top, left, side = (round(200 * part) for part in window)
        crop = image[:, top : top + side, left : left + side]
        assert _distance(hashes(thumbnail, window)[0], phash(crop)) <= 6


@pytest.mark.parametrize("image", [np.zeros((1, 40, 50), np.uint8), np.full((3, 9, 9), 7.5), np.zeros((1, 4, 20, 20), np.int16)])
def test_a_constant_image_is_featureless(image: np.ndarray) -> None:
    assert phash(image) == 0 and not signature(image).thumbnail.any()


def test_noise_alone_is_featureless() -> None:
    assert phash(np.random.default_rng(0).integers(0, 3, (1, 256, 256))) == 0


def test_a_grey_level_is_told_where_pixels_are_counted() -> None:
    pixels = np.array([[[0, 20], [40, 60]]], np.uint16)
    plane, level = grey_and_level(pixels)
    assert np.allclose(plane[0, 1] - plane[0, 0], 20 * level)
    assert grey_and_level(pixels.astype(np.float32))[1] == 0 and grey_and_level(pixels[:, None])[1] == 0
    assert grey_and_level(np.zeros((1, 4, 4), np.uint8))[1] == 0


def test_colour_is_hashed_by_its_luma_and_a_volume_by_its_mean(scene: Scene) -> None:
    image = scene(4)
    assert phash(np.concatenate([image] * 3)) == phash(image)
    assert phash(np.stack([image] * 5, axis=1)) == phash(image)


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 1, 64), (1, 7, 300), (1, 3000, 20)])
def test_any_shape_has_a_hash(shape: tuple[int, int, int]) -> None:
    pixels = np.random.default_rng(0).normal(size=shape).cumsum(axis=1).cumsum(axis=2)
    assert 0 <= int(phash(pixels)) < 2**64
