"""Modality values to the network's input: the second exported step."""

from jaxtyping import Float
from torch import Tensor, nn

from medai.preprocessing.plan import IntensityPlan, PreprocessingPlan
from medai.preprocessing.resize import Resize

SMALLEST_RANGE = 1e-6  # of a flat image, which becomes 0 everywhere


class Window(nn.Module):
    """Map [lower, upper] to [0, 1] and clip, e.g. a CT window in HU."""

    def __init__(self, lower: float, upper: float) -> None:
        super().__init__()
        self.lower, self.upper = lower, upper

    def forward(self, pixels: Float[Tensor, "N C H W"]) -> Float[Tensor, "N C H W"]:
        return ((pixels - self.lower) / (self.upper - self.lower)).clamp(0, 1)

    def in_place(self, pixels: Float[Tensor, "N C H W"]) -> Float[Tensor, "N C H W"]:
        """The same to the bit, in the memory of `pixels`."""
        return pixels.sub_(self.lower).div_(self.upper - self.lower).clamp_(0, 1)


class Percentile(nn.Module):
    """Map an image's own percentiles to [0, 1] and clip, so that exposure and bit depth do not matter.

    The percentile is the order statistic nearest to it, over all pixels and channels of one image: no interpolation, so
    that torch and the exported graph pick the same pixel.
    """

    def __init__(self, lower: float, upper: float) -> None:
        super().__init__()
        self.lower, self.upper = lower, upper

    def forward(self, pixels: Float[Tensor, "N C H W"]) -> Float[Tensor, "N C H W"]:
        count = pixels.shape[1] * pixels.shape[2] * pixels.shape[3]
        ordered = pixels.flatten(1).sort(dim=1).values
        low = ordered[:, round(self.lower / 100 * (count - 1))].view(-1, 1, 1, 1)
        high = ordered[:, round(self.upper / 100 * (count - 1))].view(-1, 1, 1, 1)
        return ((pixels - low) / (high - low).clamp_min(SMALLEST_RANGE)).clamp(0, 1)


class MinMax(nn.Module):
    """Map an image's own extremes to [0, 1]."""

    def forward(self, pixels: Float[Tensor, "N C H W"]) -> Float[Tensor, "N C H W"]:
        low = pixels.amin(dim=(1, 2, 3), keepdim=True)
        high = pixels.amax(dim=(1, 2, 3), keepdim=True)
        return (pixels - low) / (high - low).clamp_min(SMALLEST_RANGE)


class ZScore(nn.Module):
    """Subtract an image's own mean and divide by its own standard deviation."""

    def forward(self, pixels: Float[Tensor, "N C H W"]) -> Float[Tensor, "N C H W"]:
        centred = pixels - pixels.mean(dim=(1, 2, 3), keepdim=True)
        return centred / centred.square().mean(dim=(1, 2, 3), keepdim=True).sqrt().clamp_min(SMALLEST_RANGE)


def intensity(plan: IntensityPlan) -> nn.Module:
    """The module of an intensity plan."""
    if plan.method == "window":
        return Window(plan.lower, plan.upper)
    if plan.method == "percentile":
        return Percentile(plan.lower, plan.upper)
    return MinMax() if plan.method == "minmax" else ZScore()


def preprocessing(plan: PreprocessingPlan) -> nn.Sequential:
    """Native modality values (N, C, H, W) of any size to the network's input."""
    return nn.Sequential(Resize.from_plan(plan.resize), intensity(plan.intensity))
