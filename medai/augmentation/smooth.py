"""Gaussian filters of a batch."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32, Float64
from numpy import ndarray
from torch import Tensor
from torch.nn import functional

from medai.augmentation.draws import Draws, column
from medai.augmentation.range import pair
from medai.augmentation.transform import Parameters, Shape

Images = Float32[Tensor, "N C H W"]


@dataclass(frozen=True)
class GaussianSmooth:
    """MONAI's RandGaussianSmooth: deviations in pixels along rows (`sigma_x`) and columns (`sigma_y`); beyond the border are zeros."""

    sigma_x: Sequence[float] = (0.25, 1.5)
    sigma_y: Sequence[float] = (0.25, 1.5)
    sigma_z: Sequence[float] = (0.25, 1.5)
    prob: float = 0.1
    approx: str = "erf"

    def __post_init__(self) -> None:
        _check(self.approx, self.sigma_x, self.sigma_y)

    def draw(self, draws: Draws, shape: Shape) -> Parameters:
        return {"sigma": np.stack([draws.uniform(*pair(limits)) for limits in (self.sigma_x, self.sigma_y)], axis=1)}

    def apply(self, images: Images, parameters: Parameters) -> Images:
        return blur(images, parameters["sigma"])


@dataclass(frozen=True)
class GaussianSharpen:
    """MONAI's RandGaussianSharpen: b + alpha (b - blurred b) for an image b that is blurred once; 1 and 2 are the two blurs.

    A number as `sigma2_x` means from that number to the first blur's deviation.
    """

    sigma1_x: Sequence[float] = (0.5, 1.0)
    sigma1_y: Sequence[float] = (0.5, 1.0)
    sigma1_z: Sequence[float] = (0.5, 1.0)
    sigma2_x: float | Sequence[float] = 0.5
    sigma2_y: float | Sequence[float] = 0.5
    sigma2_z: float | Sequence[float] = 0.5
    alpha: Sequence[float] = (10.0, 30.0)
    approx: str = "erf"
    prob: float = 0.1

    def __post_init__(self) -> None:
        second = [sigma for sigma in (self.sigma2_x, self.sigma2_y) if isinstance(sigma, Sequence)]
        _check(self.approx, self.sigma1_x, self.sigma1_y, *second)
        pair(self.alpha)

    def draw(self, draws: Draws, shape: Shape) -> Parameters:
        first, second = [], []
        for limits1, limits2 in ((self.sigma1_x, self.sigma2_x), (self.sigma1_y, self.sigma2_y)):
            first.append(draws.uniform(*pair(limits1)))
            second.append(draws.uniform(*pair(limits2)) if isinstance(limits2, Sequence) else draws.uniform(limits2, first[-1]))
        return {"sigma1": np.stack(first, axis=1), "sigma2": np.stack(second, axis=1), "alpha": draws.uniform(*pair(self.alpha))}

    def apply(self, images: Images, parameters: Parameters) -> Images:
        blurred = blur(images, parameters["sigma1"])
        return blurred + column(parameters["alpha"], images)[:, None, None, None] * (blurred - blur(blurred, parameters["sigma2"]))


def blur(images: Images, sigma: Float64[ndarray, "N 2"]) -> Images:
    """Convolve each image with Gaussians, integrated over pixels and cut at 4 deviations; `sigma` is along rows, along columns."""
    for axis in (0, 1):
        images = _blur_axis(images, sigma[:, axis], 2 + axis)
    return images


def _blur_axis(images: Images, sigma: Float64[ndarray, " N"], dim: int) -> Images:
    tails = np.maximum(sigma * 4, 0.5) + 0.5
    reach, length = int(tails.max()), images.shape[dim]
    places = torch.arange(reach + 1, dtype=torch.float64)
    narrow = 2**-0.5 / torch.from_numpy(sigma)[:, None]
    weights = (torch.erf(narrow * (places + 0.5)) - torch.erf(narrow * (places - 0.5))) / 2
    weights = torch.where(places <= torch.from_numpy(tails).floor()[:, None], weights, 0)  # nothing of a broader neighbour's reach
    taps = weights.to(images.device, torch.float32, non_blocking=True)[:, :, None, None, None]
    padded = functional.pad(images, [reach, reach, 0, 0] if dim == 3 else [0, 0, reach, reach])
    blurred = images * taps[:, 0]
    for place in range(1, reach + 1):
        pairs = padded.narrow(dim, reach - place, length) + padded.narrow(dim, reach + place, length)
        blurred += pairs.mul_(taps[:, place])
    return blurred


def _check(approx: str, *ranges: Sequence[float]) -> None:
    if approx != "erf":
        raise ValueError(f"approx has to be 'erf', got {approx!r}")
    if any(min(pair(limits)) < 0 for limits in ranges):
        raise ValueError(f"deviations are not negative, got {ranges}")
