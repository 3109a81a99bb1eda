"""For given parameters, values become what MONAI's own transforms make of them."""

import numpy as np
import pytest
import torch
from torch import Tensor

from medai.augmentation.intensity import (
    AdjustContrast,
    BiasField,
    GaussianNoise,
    HistogramShift,
    ScaleIntensity,
    ShiftIntensity,
    StdShiftIntensity,
)

SEEDS = np.arange(3, dtype=np.uint64)


def random_images() -> Tensor:
    images = torch.rand(3, 2, 17, 23, generator=torch.Generator().manual_seed(0)) * 3 - 1
    images[0, 1, :9] = 0.0
    return images


def assert_close(result: Tensor, expected: list[Tensor]) -> None:
    torch.testing.assert_close(result, torch.stack([torch.as_tensor(image) for image in expected]), atol=2e-6, rtol=2e-6)


def test_a_shift_and_a_scale_are_those_of_monai() -> None:
    from monai.transforms import ScaleIntensity as Scale
    from monai.transforms import ShiftIntensity as Shift

    values = np.array([0.3, -0.2, 0.0])
    shifted = ShiftIntensity(0.1).apply(random_images(), {"offset": values[:, None]})
    scaled = ScaleIntensity(0.1).apply(random_images(), {"factor": values[:, None]})
    assert_close(shifted, [Shift(float(value))(image) for image, value in zip(random_images(), values, strict=True)])
    assert_close(scaled, [Scale(None, None, float(value))(image) for image, value in zip(random_images(), values, strict=True)])


def test_each_channel_can_have_its_own_value() -> None:
    values = np.array([[0.3, -0.2], [0.0, 0.1], [1.0, 2.0]])
    shifted = ShiftIntensity(0.1, channel_wise=True).apply(random_images(), {"offset": values})
    torch.testing.assert_close(shifted - random_images(), torch.tensor(values, dtype=torch.float32)[..., None, None].expand_as(shifted))


@pytest.mark.parametrize("channel_wise", [False, True])
@pytest.mark.parametrize("nonzero", [False, True])
def test_a_shift_by_deviations_is_that_of_monai(nonzero: bool, channel_wise: bool) -> None:
    from monai.transforms import StdShiftIntensity as Reference

    factors = np.array([0.3, -2.0, 0.0])
    result = StdShiftIntensity(1.0, nonzero=nonzero, channel_wise=channel_wise).apply(random_images(), {"factor": factors})
    pairs = zip(random_images(), factors, strict=True)
    assert_close(result, [Reference(float(factor), nonzero, channel_wise)(image) for image, factor in pairs])


@pytest.mark.parametrize("retain", [False, True])
@pytest.mark.parametrize("invert", [False, True])
def test_a_gamma_curve_is_that_of_monai(invert: bool, retain: bool) -> None:
    from monai.transforms import AdjustContrast as Reference

    gammas = np.array([0.5, 1.0, 3.3])
    result = AdjustContrast(invert_image=invert, retain_stats=retain).apply(random_images(), {"gamma": gammas})
    assert_close(result, [Reference(float(gamma), invert, retain)(image) for image, gamma in zip(random_images(), gammas, strict=True)])


def test_an_even_image_survives_a_gamma_curve() -> None:
    even = torch.full((1, 1, 4, 4), 0.25)
    torch.testing.assert_close(AdjustContrast().apply(even.clone(), {"gamma": np.array([2.0])}), even)


def test_noise_has_the_mean_and_deviation_that_were_drawn() -> None:
    keys, images = np.array([1, 2**63], dtype=np.uint64), torch.zeros(2, 1, 300, 300)
    noise = GaussianNoise(mean=0.5).apply(images, {"key": keys, "std": np.array([0.2, 2.0])})
    torch.testing.assert_close(noise.mean((1, 2, 3)), torch.tensor([0.5, 0.5]), atol=0.02, rtol=0)
    torch.testing.assert_close(noise.std((1, 2, 3)), torch.tensor([0.2, 2.0]), atol=0, rtol=0.01)


def test_a_broken_line_through_the_histogram_is_that_of_monai() -> None:
    from monai.transforms import RandHistogramShift as Reference

    images, expected = random_images(), []
    points = np.array([[0, 0.3, 0.4, 1, 1], [0, 0.1, 0.5, 0.8, 1], [0, 1, 1, 1, 1]])
    count = np.array([4, 5, 2])
    for image, number, heights in zip(images, count, points, strict=True):
        reference = Reference(prob=1.0)
        reference.reference_control_points, reference.floating_control_points = np.linspace(0, 1, number), heights[:number]
        reference._do_transform = True
        expected.append(reference(image, randomize=False))
    assert_close(HistogramShift((3, 5)).apply(images, {"count": count, "points": points}), expected)


def test_an_even_image_survives_a_broken_line() -> None:
    even = torch.full((1, 1, 4, 4), 0.25)
    assert torch.equal(HistogramShift(3).apply(even, {"count": np.array([3]), "points": np.array([[0, 0.7, 1]])}), even)


def test_a_bias_field_is_that_of_monai() -> None:
    from monai.transforms import RandBiasField as Reference

    images, expected, drawn = random_images(), [], np.random.default_rng(0).uniform(-0.3, 0.3, (3, 6))
    coefficients = np.zeros((3, 3, 3))
    coefficients[:, *np.tril_indices(3)] = drawn
    for image, values in zip(images, drawn, strict=True):
        reference = Reference(degree=2, prob=1.0)
        reference._coeff, reference._do_transform = values.tolist(), True
        expected.append(reference(image, randomize=False))
    assert_close(BiasField(degree=2).apply(images, {"coefficients": coefficients}), expected)


@pytest.mark.parametrize(
    ("transform", "arguments", "message"),
    [
        (ShiftIntensity, {"offsets": [1, 2, 3]}, "a range is a pair"),
        (ScaleIntensity, {"factors": "0.1"}, "a range is a pair"),
        (AdjustContrast, {"gamma": 0.4}, "greater than 0.5"),
        (AdjustContrast, {"gamma": (-1, 2)}, "gamma is positive"),
        (HistogramShift, {"num_control_points": 2}, "at least 3"),
        (BiasField, {"degree": 0}, "at least 1"),
    ],
)
def test_arguments_without_meaning_are_refused(transform: type, arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        transform(**arguments)
