"""Resize modality values to the network's size: the first exported step, and what a view stores."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from medai.core.picture import GREY_WEIGHTS
from medai.preprocessing.plan import ResizePlan


class Resize(nn.Module):
    """Antialiased bilinear resize of a batch to one size and number of channels.

    Args:
        height: Rows of the result, in pixels.
        width: Columns of the result, in pixels.
        channels: 1 or 3. Grey is repeated, colour is weighted to grey.

    Example:
        >>> Resize(224, 224, 1)(torch.rand(2, 1, 777, 901)).shape
        torch.Size([2, 1, 224, 224])
    """

    def __init__(self, height: int, width: int, channels: int) -> None:
        super().__init__()
        self.height, self.width, self.channels = height, width, channels
        self.register_buffer("grey_weights", torch.tensor(GREY_WEIGHTS).view(1, 3, 1, 1), persistent=False)

    @staticmethod
    def from_plan(plan: ResizePlan) -> "Resize":
        return Resize(plan.height, plan.width, plan.channels)

    def forward(self, pixels: Float[Tensor, "N C H W"]) -> Float[Tensor, "N channels height width"]:
        """Resize modality values; their range stays."""
        if pixels.shape[1] == 3 and self.channels == 1:
            weights: Tensor = self.get_buffer("grey_weights")
            pixels = (pixels * weights).sum(dim=1, keepdim=True)
        elif pixels.shape[1] == 1 and self.channels == 3:
            pixels = pixels.repeat(1, 3, 1, 1)
        size = (self.height, self.width)
        return nn.functional.interpolate(pixels, size=size, mode="bilinear", antialias=True, align_corners=False)
