"""Rectangular holes in the images of a batch."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float32
from numpy import ndarray
from torch import Tensor

from medai.augmentation.draws import Draws, uniform_pixels
from medai.augmentation.range import pair
from medai.augmentation.transform import Parameters, Shape

Images = Float32[Tensor, "N C H W"]


@dataclass(frozen=True)
class CoarseDropout:
    """MONAI's RandCoarseDropout: rectangles filled with a value or with uniform noise (None: between the image's extremes).

    As in MONAI, a rectangle's size is drawn from that of the one before it up to `max_spatial_size`: later ones are larger.
    """

    holes: int
    spatial_size: int | Sequence[int]
    dropout_holes: bool = True
    fill_value: float | Sequence[float] | None = None
    max_holes: int | None = None
    max_spatial_size: int | Sequence[int] | None = None
    prob: float = 0.1

    def __post_init__(self) -> None:
        if self.holes < 1 or (self.max_holes is not None and self.max_holes < self.holes):
            raise ValueError(f"holes is at least 1 and at most max_holes, got {self.holes} and {self.max_holes}")
        if self.fill_value is not None and not isinstance(self.fill_value, int | float):
            pair(self.fill_value)
        for size in (self.spatial_size, self.max_spatial_size):
            if isinstance(size, Sequence) and len(size) != 2:
                raise ValueError(f"a size is a number or (rows, columns), got {size!r}")

    def draw(self, draws: Draws, shape: Shape) -> Parameters:
        count, key = draws.integer(self.holes, self.max_holes or self.holes), draws.keys()
        boxes = np.zeros((len(count), self.max_holes or self.holes, 2, 2), dtype=np.int64)  # (case, hole, axis, start and end)
        for axis, extent in enumerate(shape[1:]):
            size = np.full(len(count), _size(self.spatial_size, axis, extent))
            for hole in range(boxes.shape[1]):
                if self.max_spatial_size is not None:
                    size = draws.integer(size, _size(self.max_spatial_size, axis, extent))
                length = np.minimum(size, extent)
                start = draws.integer(0, extent - length)
                boxes[:, hole, axis] = np.where(hole < count, [start, start + length], 0).T
        return {"boxes": boxes, "key": key}

    def apply(self, images: Images, parameters: Parameters) -> Images:
        boxes = torch.from_numpy(parameters["boxes"]).to(images.device, non_blocking=True)
        inside = torch.zeros_like(images[:, :1], dtype=torch.bool)
        for hole in range(boxes.shape[1]):
            rows, columns = (_between(boxes[:, hole, axis], images.shape[2 + axis]) for axis in (0, 1))
            inside |= rows[:, None, :, None] & columns[:, None, None, :]
        return torch.where(inside if self.dropout_holes else ~inside, self._fill(images, parameters["key"]), images)

    def _fill(self, images: Images, keys: ndarray) -> Tensor:
        if isinstance(self.fill_value, int | float):
            return torch.full_like(images[:1, :1, :1, :1], self.fill_value)
        share = uniform_pixels(keys, images[0].numel(), images.device).view(images.shape)
        if self.fill_value is not None:
            low, high = self.fill_value
            return share * (high - low) + low
        least, greatest = images.amin((1, 2, 3), keepdim=True), images.amax((1, 2, 3), keepdim=True)
        return share * (greatest - least) + least


def _between(limits: Tensor, length: int) -> Bool[Tensor, "N length"]:
    """Which places lie in [start, end)."""
    places = torch.arange(length, device=limits.device)
    return (places >= limits[:, :1]) & (places < limits[:, 1:])


def _size(size: int | Sequence[int], axis: int, extent: int) -> int:
    """The size along an axis; what is not positive means all of it."""
    chosen = size[axis] if isinstance(size, Sequence) else size
    return chosen if chosen > 0 else extent
