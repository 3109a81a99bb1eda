"""Stored integers to the network's input, on the device: decode, intensity, augmentation, mixing."""

import torch
from jaxtyping import Float
from torch import Tensor

from medai.augmentation.batched import BatchedAugmentation, not_covered
from medai.augmentation.mix import Mix
from medai.augmentation.pipeline import Augmentation
from medai.core.progress import say
from medai.preprocessing.intensity import intensity
from medai.preprocessing.plan import IntensityPlan
from medai.store.view import Encoding
from medai.training.data import Batch
from medai.training.settings import AugmentationSettings

CACHED_PIXELS = 2**17  # half a megabyte of float32


def choose_augmentation(
    settings: AugmentationSettings, shape: tuple[int, int, int]
) -> tuple[Augmentation | None, BatchedAugmentation | None]:
    """The augmentation that is applied in the workers, or the one that is applied on the device.

    Args:
        settings: The list of transforms and the engine.
        shape: Of an image (C, H, W).

    Raises:
        MedaiError: a transform fails, or the engine does not know it.
    """
    if not settings.transforms:
        return None, None
    unknown = not_covered(settings.transforms)
    if settings.engine == "monai" or (settings.engine == "auto" and unknown):
        if unknown and settings.engine == "auto":
            say(f"The augmentation runs in the worker processes, image by image: there is no batched {unknown}")
        single = Augmentation(settings.transforms)
        single.check(shape)
        return single, None
    batched = BatchedAugmentation(settings.transforms)
    batched.check(shape)
    return None, batched


class Prepare:
    """Makes a batch ready, in one pass over all its images.

    Args:
        encoding: How the view stores values.
        plan: The intensity step.
        augmentation: Random transforms of whole batches; None: none, or the workers have applied them.
        mix: How images are mixed; None mixes none.
        channels_last: Memory layout of the result.
    """

    def __init__(
        self, encoding: Encoding, plan: IntensityPlan, augmentation: BatchedAugmentation | None = None, mix: Mix | None = None,
        channels_last: bool = False,
    ) -> None:  # fmt: skip
        self.encoding, self.intensity = encoding, intensity(plan)
        self.augmentation, self.mix = augmentation, mix
        self.format = torch.channels_last if channels_last else torch.contiguous_format

    def __call__(self, batch: Batch) -> Float[Tensor, "n C H W"]:
        """The network's input."""
        images = batch.images
        if not images.is_floating_point():
            images = self._values(images)
        if self.augmentation is not None:
            images = self.augmentation(images, batch.seeds)
        count = len(batch)
        if self.mix is not None and len(images) > count:
            images, _ = self.mix(images[:count], images[count:], batch.seeds[:count])
        return images.contiguous(memory_format=self.format)


    def _values(self, stored: Tensor) -> Float[Tensor, "m C H W"]:
        """Decode and map the intensity; on a processor some images at a time, so that they stay in its cache."""
        count = max(1, CACHED_PIXELS // stored[0].numel())
        if stored.device.type != "cpu" or len(stored) <= count:
            small: Tensor = self.intensity(decode(stored, self.encoding))
            return small
        values = torch.empty(stored.shape, dtype=torch.float32)
        for start in range(0, len(stored), count):
            values[start : start + count] = self.intensity(decode(stored[start : start + count], self.encoding))
        return values


def decode(stored: Tensor, encoding: Encoding) -> Float[Tensor, "n C H W"]:
    """Modality values of stored ones; see `Encoding`."""
    values = stored.to(torch.float32)
    if (encoding.scale, encoding.offset) == (1.0, 0.0):
        return values
    return values.mul_(encoding.scale).add_(encoding.offset)
