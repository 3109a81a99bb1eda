"""Stored integers to the network's input, on the device: decode, intensity, augmentation, mixing."""

import torch
from jaxtyping import Float
from torch import Tensor

from medai.augmentation.batched import BatchedAugmentation, not_covered
from medai.augmentation.mix import Mix
from medai.augmentation.pipeline import Augmentation
from medai.core.progress import say
from medai.preprocessing.intensity import Window, intensity
from medai.preprocessing.plan import IntensityPlan
from medai.store.view import Encoding
from medai.training.data import Batch
from medai.training.settings import AugmentationSettings


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
        self._last: Tensor | None = None

    def __call__(self, batch: Batch) -> Float[Tensor, "n C H W"]:
        """The network's input. It holds until the next call, which may use its memory again."""
        images = batch.images
        if not images.is_floating_point():
            images = self.values(images)
            if self.augmentation is not None:
                images = self.augmentation.in_place(images, batch.seeds)
        count = len(batch)
        if self.mix is not None and len(images) > count:
            images, _ = self.mix(images[:count], images[count:], batch.seeds[:count])
        return images.contiguous(memory_format=self.format)

    def values(self, stored: Tensor) -> Float[Tensor, "m C H W"]:
        """Modality values after the intensity step."""
        values = self._memory(stored).copy_(stored)
        decode_in_place(values, self.encoding)
        return self.intensity.in_place(values) if isinstance(self.intensity, Window) else self.intensity(values)

    def _memory(self, stored: Tensor) -> Float[Tensor, "m C H W"]:
        """Memory for the values. It is used again for every batch: fresh pages cost as much as filling them."""
        if self._last is None or self._last.shape != stored.shape or self._last.device != stored.device:
            self._last = torch.empty(stored.shape, dtype=torch.float32, device=stored.device)
        return self._last


def decode_in_place(values: Float[Tensor, "n C H W"], encoding: Encoding) -> None:
    """Stored values to modality values; see `Encoding`."""
    if (encoding.scale, encoding.offset) != (1.0, 0.0):
        values.mul_(encoding.scale).add_(encoding.offset)
