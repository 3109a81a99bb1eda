"""For given parameters, images are blurred and sharpened as MONAI does it."""

import numpy as np
import pytest
import torch
from torch import Tensor

from medai.augmentation.smooth import GaussianSharpen, GaussianSmooth

SIGMA = np.array([[0.3, 1.4], [2.0, 0.0], [0.9, 0.9]])


def random_images() -> Tensor:
    return torch.rand(3, 2, 17, 23, generator=torch.Generator().manual_seed(0))


def test_a_blur_is_that_of_monai() -> None:
    from monai.transforms import GaussianSmooth as Reference

    result = GaussianSmooth().apply(random_images(), {"sigma": SIGMA})
    expected = [Reference(sigma.tolist())(image) for image, sigma in zip(random_images(), SIGMA, strict=True)]
    torch.testing.assert_close(result, torch.stack(expected), atol=1e-6, rtol=1e-5)


def test_sharpening_is_that_of_monai() -> None:
    from monai.transforms import GaussianSharpen as Reference

    alpha, first = np.array([10.0, 20.0, 0.5]), SIGMA + 0.2
    result = GaussianSharpen().apply(random_images(), {"sigma1": first, "sigma2": SIGMA, "alpha": alpha})
    expected = [
        Reference(one.tolist(), two.tolist(), float(weight))(image)
        for image, one, two, weight in zip(random_images(), first, SIGMA, alpha, strict=True)
    ]
    torch.testing.assert_close(result, torch.stack(expected), atol=2e-5, rtol=1e-5)


def test_arguments_without_a_batched_meaning_are_refused() -> None:
    with pytest.raises(ValueError, match="approx has to be 'erf'"):
        GaussianSmooth(approx="sampled")
    with pytest.raises(ValueError, match="not negative"):
        GaussianSharpen(sigma2_x=(-0.1, 0.5))
