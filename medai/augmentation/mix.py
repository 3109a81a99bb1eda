"""Mixup and CutMix: images mixed with their partners, whole batches at once."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt64
from numpy import ndarray
from torch import Tensor

from medai.augmentation.draws import Draws
from medai.core.error import MedaiError

MODES = ("none", "mixup", "cutmix", "both")
PLACE = 2**32  # of the draws: behind those of every transform in the list


@dataclass(frozen=True)
class MixDraw:
    """How each of N images of D spatial axes is mixed: inside a box by a weight, outside not at all.

    CutMix has the weight 0 inside; mixup has the whole image for its box.

    Attributes:
        box: First pixel and the one after the last, along each axis (N, D, 2).
        weight: Of the image itself inside the box (N,).
        share: How much of the result is the image itself, and not its partner (N,): for CutMix by the box's true area.
    """

    box: Int64[ndarray, "N D 2"]
    weight: Float[ndarray, " N"]
    share: Float[ndarray, " N"]


@dataclass(frozen=True)
class Mix:
    """Mixes images with their partners; each by a draw of its own seed, whatever else is in the batch.

    Attributes:
        mode: ``mixup`` adds the two images (Zhang et al. 2018), ``cutmix`` puts a box of the partner into the image (Yun et al.
            2019), ``both`` takes one of them at random, ``none`` leaves the images alone.
        alpha: Of the Beta(alpha, alpha) distribution of the image's own share.
        probability: Share of the images that are mixed.

    Example:
        >>> images, share = Mix("cutmix", alpha=1.0)(images, partners, seeds)
    """

    mode: str
    alpha: float = 0.2
    probability: float = 1.0

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise MedaiError(f"augmentation.mix is {self.mode!r}; allowed: {', '.join(MODES)}")
        if not self.alpha > 0:
            raise MedaiError(f"augmentation.mix_alpha is {self.alpha}; it must be larger than 0")

    def __call__(
        self, images: Float[Tensor, "N C *size"], partners: Float[Tensor, "N C *size"], seeds: UInt64[ndarray, " N"]
    ) -> tuple[Float[Tensor, "N C *size"], Float[Tensor, " N"]]:
        """The mixed images, and how much of each is the image itself; both on the device of the images."""
        drawn = self.draw(seeds, images.shape[2:])
        return apply_mix(images, partners, drawn), torch.from_numpy(drawn.share).to(images.device, non_blocking=True)

    def draw(self, seeds: UInt64[ndarray, " N"], size: Sequence[int]) -> MixDraw:
        """What each seed asks for.

        Args:
            seeds: One an image.
            size: Of the images, in pixels along each spatial axis.
        """
        from scipy.special import betaincinv

        draws = Draws(seeds, PLACE)
        strength = betaincinv(self.alpha, self.alpha, draws.uniform())  # by the inverse of the distribution function
        mixes = (draws.uniform() < self.probability) & (self.mode != "none")
        cuts = mixes & (draws.uniform() < {"none": 0.0, "mixup": 0.0, "both": 0.5, "cutmix": 1.0}[self.mode])
        extent = np.array(size, dtype=np.int64)
        half = extent * (1 - strength[:, None]) ** (1 / len(size)) / 2
        centre = extent * np.stack([draws.uniform() for _ in size], axis=1)
        box = np.rint(np.stack([centre - half, centre + half], axis=2)).astype(np.int64).clip(0, extent[:, None])
        box = np.where(cuts[:, None, None], box, np.stack([np.zeros_like(extent), extent], axis=1))
        weight = np.where(cuts, 0.0, np.where(mixes, strength, 1.0))
        area = (box[:, :, 1] - box[:, :, 0]).prod(axis=1) / extent.prod()
        return MixDraw(box, weight.astype(np.float32), (1 - area * (1 - weight)).astype(np.float32))


def apply_mix(images: Float[Tensor, "N C *size"], partners: Float[Tensor, "N C *size"], draw: MixDraw) -> Float[Tensor, "N C *size"]:
    """Mix as drawn."""
    size = images.shape[2:]
    box = torch.from_numpy(draw.box).to(images.device, non_blocking=True)
    weight = torch.from_numpy(draw.weight).to(images.device, images.dtype, non_blocking=True)
    inside = torch.ones((), dtype=torch.bool, device=images.device)
    for axis, length in enumerate(size):
        place = torch.arange(length, device=images.device)
        within = (place >= box[:, axis, :1]) & (place < box[:, axis, 1:])
        inside = inside & within.view(len(images), 1, *(length if other == axis else 1 for other in range(len(size))))
    own = torch.where(inside, weight.view(-1, *[1] * (len(size) + 1)), torch.ones((), dtype=images.dtype, device=images.device))
    return torch.lerp(partners, images, own)
