"""Rectangles are cut out as MONAI does it."""

import numpy as np
import pytest
import torch
from torch import Tensor

from medai.augmentation.draws import Draws
from medai.augmentation.dropout import CoarseDropout

BOXES = np.array([[[[2, 5], [0, 9]], [[3, 4], [8, 20]]], [[[0, 17], [4, 5]], [[0, 0], [0, 0]]]])
KEYS = np.array([5, 6], dtype=np.uint64)


def random_images() -> Tensor:
    return torch.rand(2, 2, 17, 23, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("inside", [True, False])
def test_rectangles_of_a_value_are_those_of_monai(inside: bool) -> None:
    from monai.transforms import RandCoarseDropout as Reference

    result = CoarseDropout(1, 4, dropout_holes=inside, fill_value=-1.0).apply(random_images(), {"boxes": BOXES, "key": KEYS})
    for image, boxes, got in zip(random_images(), BOXES, result, strict=True):
        reference = Reference(1, 4, dropout_holes=inside, fill_value=-1.0)
        reference.hole_coords = [(slice(None), slice(*rows), slice(*columns)) for rows, columns in boxes]
        reference._do_transform = True
        assert torch.equal(got, reference(image, randomize=False))


@pytest.mark.parametrize(("fill", "low", "high"), [(None, 0.0, 1.0), ((2.0, 5.0), 2.0, 5.0)])
def test_rectangles_of_noise_lie_in_the_range(fill: tuple[float, float] | None, low: float, high: float) -> None:
    boxes = np.tile(np.array([[0, 17], [0, 23]]), (2, 1, 1, 1))
    result = CoarseDropout(1, 4, fill_value=fill).apply(random_images(), {"boxes": boxes, "key": KEYS})
    assert low <= float(result.min()) < low + 0.02 * (high - low) and high - 0.02 * (high - low) < float(result.max()) <= high
    assert not torch.equal(result[0], result[1])


def test_rectangles_lie_within_the_image_and_have_the_sizes_that_were_asked_for() -> None:
    draws = Draws(np.arange(2000, dtype=np.uint64), 0)
    boxes = CoarseDropout(1, (3, -1), max_holes=3, max_spatial_size=(5, 40)).draw(draws, (1, 17, 23))["boxes"]
    lengths = boxes[..., 1] - boxes[..., 0]
    assert set(np.unique(lengths[..., 0])) == {0, 3, 4, 5} and set(np.unique(lengths[..., 1])) == {0, 23}
    assert boxes[:, :, 0].min() == 0 and boxes[:, :, 0].max() == 17
    assert set(np.unique((lengths[..., 0] > 0).sum(axis=1))) == {1, 2, 3}


def test_arguments_without_meaning_are_refused() -> None:
    with pytest.raises(ValueError, match="at most max_holes"):
        CoarseDropout(3, 4, max_holes=2)
    with pytest.raises(ValueError, match=r"a number or \(rows, columns\)"):
        CoarseDropout(1, (4, 4, 4))
