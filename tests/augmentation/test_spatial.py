"""For given parameters, pixels come from where MONAI's own transforms take them."""

import numpy as np
import pytest
import torch
from numpy import ndarray
from torch import Tensor

from medai.augmentation.spatial import Affine, AxisFlip, Flip, Rotate, Rotate90, Zoom, affine_matrix
from medai.core.error import MedaiError

SHAPE = (3, 2, 20, 27)


def smooth_images() -> Tensor:
    coarse = torch.rand(3, 2, 7, 9, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.interpolate(coarse, SHAPE[2:], mode="bicubic")


def column(*values: float) -> ndarray:
    return np.array(values, dtype=np.float64)


@pytest.mark.parametrize("axis", [0, 1, -1, (0, 1), None])
def test_a_mirror_moves_pixels_and_changes_none(axis: int | tuple[int, int] | None) -> None:
    from monai.transforms import Flip as Reference

    images = smooth_images()
    expected = torch.stack([Reference(axis)(image) for image in images])
    assert torch.equal(Flip(spatial_axis=axis).apply(images, {}), expected)


def test_an_axis_that_is_drawn_is_mirrored_image_by_image() -> None:
    from monai.transforms import Flip as Reference

    images, axes = smooth_images(), np.array([1, 0, 1])
    expected = torch.stack([Reference(int(axis))(image) for image, axis in zip(images, axes, strict=True)])
    assert torch.equal(AxisFlip().apply(images, {"axis": axes}), expected)


@pytest.mark.parametrize("axes", [(0, 1), (1, 0)])
def test_quarter_turns_go_the_same_way(axes: tuple[int, int]) -> None:
    from monai.transforms import Rotate90 as Reference

    images, turns = smooth_images()[..., :20], np.array([1, 3, 2])
    expected = torch.stack([Reference(int(k), axes)(image) for image, k in zip(images, turns, strict=True)])
    assert torch.equal(Rotate90(spatial_axes=axes).apply(images, {"turns": turns}), expected)


def test_quarter_turns_of_oblong_images_are_refused() -> None:
    with pytest.raises(MedaiError, match=r"RandRotate90 would change the shape of images of \(20, 27\) pixels"):
        Rotate90().apply(smooth_images(), {"turns": np.array([2, 2, 2])})


ANGLES = column(0.3, -1.2, 0.0)
SHEARS, SHIFTS, SCALES = ((0.1, -0.3, 0.0), (0.2, 0.05, 0.0)), ((3, -4.5, 1), (0.5, 2, 0)), ((0.2, -0.3, 0), (0.1, 0, 0))


@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
def test_an_affine_map_reads_where_monai_reads(mode: str, padding: str) -> None:
    from monai.transforms import Affine as Reference

    images = smooth_images()
    matrix = affine_matrix(ANGLES, *(column(*row) for pair in (SHEARS, SHIFTS, SCALES) for row in pair))
    result = Affine(mode=mode, padding_mode=padding).apply(images, {"matrix": matrix})
    for place, image in enumerate(images):
        shear, shift, scale = ([row[place] for row in pair] for pair in (SHEARS, SHIFTS, SCALES))
        factors = [1 + value for value in scale]
        reference = Reference(float(ANGLES[place]), shear, shift, factors, mode=mode, padding_mode=padding, image_only=True)
        torch.testing.assert_close(result[place], torch.as_tensor(reference(image)), atol=5e-5, rtol=0)


def test_the_nearest_pixel_is_the_same_nearly_everywhere() -> None:
    from monai.transforms import Affine as Reference

    image = smooth_images()[:1]
    matrix = affine_matrix(column(0.4), *[column(0)] * 2, column(2.3), column(-1.7), column(0.1), column(0.1))
    result = Affine(mode="nearest", padding_mode="zeros").apply(image, {"matrix": matrix})[0]
    reference = Reference(0.4, None, [2.3, -1.7], [1.1, 1.1], mode="nearest", padding_mode="zeros", image_only=True)(image[0])
    assert float((result != reference).float().mean()) < 0.002


@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
def test_a_turn_is_that_of_monai(padding: str) -> None:
    from monai.transforms import Rotate as Reference

    images = smooth_images()
    result = Rotate(padding_mode=padding).apply(images, {"matrix": affine_matrix(ANGLES, *[np.zeros(3)] * 6)})
    expected = [Reference(float(angle), padding_mode=padding)(image) for image, angle in zip(images, ANGLES, strict=True)]
    torch.testing.assert_close(result, torch.as_tensor(torch.stack(expected)), atol=5e-5, rtol=0)


@pytest.mark.parametrize("padding", ["edge", "constant"])
@pytest.mark.parametrize("mode", ["area", "bilinear", "nearest", "nearest-exact", "bicubic"])
def test_a_zoom_is_that_of_monai(mode: str, padding: str) -> None:
    from monai.transforms import Zoom as Reference

    images, zooms = smooth_images(), [(0.77, 0.9), (1.3, 1.31), (0.8, 1.25)]
    sizes = np.array([[int(20 * rows), int(27 * columns)] for rows, columns in zooms])
    result = Zoom(mode=mode, padding_mode=padding).apply(images, {"size": sizes})
    expected = [Reference(zoom, mode=mode, padding_mode=padding)(image) for image, zoom in zip(images, zooms, strict=True)]
    torch.testing.assert_close(result, torch.as_tensor(torch.stack(expected)), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("transform", "arguments", "message"),
    [
        (Flip, {"spatial_axis": 2}, "spatial_axis is 0"),
        (Rotate90, {"spatial_axes": (0, 0)}, "the two axes"),
        (Affine, {"mode": 3}, "mode is one of"),
        (Affine, {"rotate_range": [[0.1, 0.2, 0.3]]}, "a range is a pair"),
        (Affine, {"scale_range": [None, 0.1]}, "a range is a pair"),
        (Rotate, {"keep_size": False}, "keep_size has to be true"),
        (Zoom, {"padding_mode": "wrap"}, "padding_mode one of"),
        (Zoom, {"min_zoom": [0.9, 0.9], "max_zoom": 1.1}, "one number or one an axis"),
        (Zoom, {"align_corners": True}, "align_corners goes with"),
    ],
)
def test_arguments_without_a_batched_meaning_are_refused(transform: type, arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        transform(**arguments)
