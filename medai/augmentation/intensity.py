"""What a pixel's value becomes: shifts, scales, gamma curves, noise and fields of a batch."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float32
from numpy import ndarray
from torch import Tensor

from medai.augmentation.draws import Draws, column, gaussian_pixels
from medai.augmentation.range import RangeArgument, pair, symmetric
from medai.augmentation.transform import Parameters, Shape

Images = Float32[Tensor, "N C H W"]


@dataclass(frozen=True)
class ShiftIntensity:
    """MONAI's RandShiftIntensity: v + offset, one offset an image or a channel."""

    offsets: RangeArgument
    safe: bool = False
    prob: float = 0.1
    channel_wise: bool = False

    def __post_init__(self) -> None:
        symmetric(self.offsets)

    def draw(self, draws: Draws, shape: Shape) -> Parameters:
        return {"offset": _each_channel(draws, symmetric(self.offsets), shape[0] if self.channel_wise else 1)}

    def apply(self, images: Images, parameters: Parameters) -> Images:
        return images.add_(column(parameters["offset"], images)[..., None, None])


@dataclass(frozen=True)
class ScaleIntensity:
    """MONAI's RandScaleIntensity: v (1 + factor), one factor an image or a channel."""

    factors: RangeArgument
    prob: float = 0.1
    channel_wise: bool = False

    def __post_init__(self) -> None:
        symmetric(self.factors)

    def draw(self, draws: Draws, shape: Shape) -> Parameters:
        return {"factor": _each_channel(draws, symmetric(self.factors), shape[0] if self.channel_wise else 1)}

    def apply(self, images: Images, parameters: Parameters) -> Images:
        return images.mul_(column(1 + parameters["factor"], images)[..., None, None])


@dataclass(frozen=True)
class StdShiftIntensity:
    """MONAI's RandStdShiftIntensity: v + factor std(v), over an image or each channel, of all pixels or of those that are not 0."""

    factors: RangeArgument
    prob: float = 0.1
    nonzero: bool = False
    channel_wise: bool = False

    def __post_init__(self) -> None:
        symmetric(self.factors)

    def draw(self, draws: Draws, shape: Shape) -> Parameters:
        return {"factor": draws.uniform(*symmetric(self.factors))}

    def apply(self, images: Images, parameters: Parameters) -> Images:
        counted = images != 0 if self.nonzero else None
        _, deviation = _statistics(images, counted, 2 if self.channel_wise else 1, correction=0)
        shift = deviation * column(parameters["factor"], images)[:, None, None, None]
        return images.add_(shift if counted is None else shift * counted)


@dataclass(frozen=True)
class AdjustContrast:
    """MONAI's RandAdjustContrast: a gamma curve between an image's least and greatest value.

    A number as `gamma` means (0.5, gamma). `invert_image` bends the negative, `retain_stats` restores mean and deviation.
    """

    prob: float = 0.1
    gamma: float | Sequence[float] = (0.5, 4.5)
    invert_image: bool = False
    retain_stats: bool = False

    def __post_init__(self) -> None:
        if min(self._limits()) <= 0:
            raise ValueError(f"gamma is positive, got {self.gamma!r}")

    def _limits(self) -> tuple[float, float]:
        if not isinstance(self.gamma, int | float):
            return pair(self.gamma)
        if self.gamma <= 0.5:
            raise ValueError(f"a single gamma is greater than 0.5, got {self.gamma}")
        return 0.5, self.gamma

    def draw(self, draws: Draws, shape: Shape) -> Parameters:
        return {"gamma": draws.uniform(*self._limits())}

    def apply(self, images: Images, parameters: Parameters) -> Images:
        gamma = column(parameters["gamma"], images)[:, None, None, None]
        images = images.neg_() if self.invert_image else images
        before = _statistics(images, None, 1, correction=1) if self.retain_stats else None
        least, extent = _extent(images)
        images = images.sub_(least).mul_(1 / (extent + 1e-7))
        images = images.log_().mul_(gamma).exp_()  # torch's pow rounds by a value's place in memory, and is slower
        images = images.mul_(extent).add_(least)
        if before is not None:
            mean, deviation = _statistics(images, None, 1, correction=1)
            images = images.sub_(mean).mul_(before[1] / (deviation + 1e-8)).add_(before[0])
        return images.neg_() if self.invert_image else images


@dataclass(frozen=True)
class GaussianNoise:
    """MONAI's RandGaussianNoise: normal noise of `mean` and of a deviation from (0, std), or of `std` itself."""

    prob: float = 0.1
    mean: float = 0.0
    std: float = 0.1
    sample_std: bool = True

    def draw(self, draws: Draws, shape: Shape) -> Parameters:
        return {"key": draws.keys(), "std": draws.uniform(0 if self.sample_std else self.std, self.std)}

    def apply(self, images: Images, parameters: Parameters) -> Images:
        noise = gaussian_pixels(parameters["key"], column(parameters["std"], images), images[0].numel())
        noise = noise.add_(self.mean) if self.mean else noise
        return images.add_(noise.view(images.shape))


@dataclass(frozen=True)
class HistogramShift:
    """MONAI's RandHistogramShift: a broken line through control points that are moved between their neighbours, from left to right."""

    num_control_points: int | Sequence[int] = 10
    prob: float = 0.1

    def __post_init__(self) -> None:
        if min(self._limits()) < 3:
            raise ValueError(f"num_control_points is at least 3, got {self.num_control_points!r}")

    def _limits(self) -> tuple[int, int]:
        given = self.num_control_points
        low, high = pair((given, given) if isinstance(given, int) else given)
        return int(low), int(high)

    def draw(self, draws: Draws, shape: Shape) -> Parameters:
        count = draws.integer(*self._limits())
        points = np.minimum(np.arange(self._limits()[1]) / (count[:, None] - 1), 1.0)  # those beyond a case's last stay at 1
        for place in range(1, points.shape[1] - 1):
            moved = draws.uniform(points[:, place - 1], points[:, place + 1])
            points[:, place] = np.where(place < count - 1, moved, points[:, place])
        return {"count": count, "points": points}

    def apply(self, images: Images, parameters: Parameters) -> Images:
        least, extent = _extent(images)
        line = column(parameters["points"], images)
        last = column(parameters["count"] - 1.0, images)[:, None]
        places = ((images - least) / torch.where(extent > 0, extent, 1)).flatten(1) * last
        left = places.floor().clamp_(max=last - 1).long()
        start, end = line.gather(1, left), line.gather(1, left + 1)
        moved = (start + (places - left) * (end - start)).view(images.shape)
        return torch.where(extent > 0, moved * extent + least, images)


@dataclass(frozen=True)
class BiasField:
    """MONAI's RandBiasField: v exp(f) with a field f of Legendre polynomials over rows and columns, up to `degree` together."""

    degree: int = 3
    coeff_range: Sequence[float] = (0.0, 0.1)
    prob: float = 0.1

    def __post_init__(self) -> None:
        pair(self.coeff_range)
        if self.degree < 1:
            raise ValueError(f"degree is at least 1, got {self.degree}")

    def draw(self, draws: Draws, shape: Shape) -> Parameters:
        places = np.stack(np.tril_indices(self.degree + 1), axis=1)
        drawn = np.stack([draws.uniform(*pair(self.coeff_range)) for _ in places], axis=1)
        coefficients = np.zeros((len(drawn), self.degree + 1, self.degree + 1))
        coefficients[:, places[:, 0], places[:, 1]] = drawn
        return {"coefficients": coefficients}

    def apply(self, images: Images, parameters: Parameters) -> Images:
        coefficients = column(parameters["coefficients"], images)
        rows, columns = (_legendre(size, self.degree, images) for size in images.shape[2:])
        field = torch.zeros_like(images[:, :1])
        for row in range(self.degree + 1):
            along = torch.zeros_like(field[:, :, :1])
            for place in range(row + 1):
                along += coefficients[:, row, place, None, None, None] * columns[place]
            field += along * rows[row][:, None]
        return images.mul_(field.exp_())


def _each_channel(draws: Draws, limits: tuple[float, float], channels: int) -> ndarray:
    return np.stack([draws.uniform(*limits) for _ in range(channels)], axis=1)


def _legendre(size: int, degree: int, like: Tensor) -> Float32[Tensor, "degrees size"]:
    values = np.polynomial.legendre.legvander(np.linspace(-1.0, 1.0, size), degree)
    return column(values.T.copy(), like)


def _extent(images: Images) -> tuple[Float32[Tensor, "N 1 1 1"], Float32[Tensor, "N 1 1 1"]]:
    """The least value of each image, and the greatest less the least."""
    least, greatest = images.amin((1, 2, 3), keepdim=True), images.amax((1, 2, 3), keepdim=True)
    return least, greatest - least


def _statistics(
    images: Images, counted: Bool[Tensor, "N C H W"] | None, start: int, correction: int
) -> tuple[Float32[Tensor, "N _ 1 1"], Float32[Tensor, "N _ 1 1"]]:
    """Mean and standard deviation of each image (start 1) or channel (start 2), over the pixels that count (None: all)."""
    count = images.flatten(start).shape[-1] if counted is None else _sum(counted.to(torch.float32), start).clamp_(min=1)
    mean = _sum(images if counted is None else images * counted, start) / count
    distances = images - mean if counted is None else (images - mean) * counted
    return mean, (_sum(distances.square_(), start) / (count - correction)).sqrt_()


def _sum(images: Images, start: int) -> Float32[Tensor, "N _ 1 1"]:
    """The sum over the dimensions from `start` on, in pairs: its rounding depends neither on the batch nor on threads."""
    values = images.flatten(start)
    while values.shape[-1] > 1:
        half = (values.shape[-1] + 1) // 2
        left, right = values[..., :half].clone(), values[..., half:]
        left[..., : right.shape[-1]] += right
        values = left
    return values.reshape(*values.shape[:start], *[1] * (4 - start))
