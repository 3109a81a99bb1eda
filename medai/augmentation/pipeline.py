"""Random transforms of single images: MONAI's or your own, with draws that depend on nothing but their seed."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float, UInt64
from numpy import ndarray
from torch import Tensor

from medai.core.target import build


def is_transform(target: Any) -> bool:
    """Whether a configuration may name `target` as a transform: a subclass of MONAI's Transform, or an nn.Module."""
    from monai.transforms import Transform

    return inspect.isclass(target) and issubclass(target, Transform | torch.nn.Module)


class Augmentation:
    """A list of transforms that maps (C, H, W) float tensors to the same shape.

    The transforms are built on first use, in the process that uses them: MONAI takes seconds to import.

    Args:
        nodes: Configuration nodes of the transforms, in order.
    """

    def __init__(self, nodes: Sequence[Mapping[str, Any]]) -> None:
        self.nodes = [dict(node) for node in nodes]
        self._compose: Any = None

    def __getstate__(self) -> dict[str, Any]:
        return {"nodes": self.nodes, "_compose": None}

    def build(self) -> None:
        """Build the transforms now, so that a wrong name is found before the training starts."""
        from monai.transforms import Compose

        self._compose = Compose([build(node, "a transform", is_transform) for node in self.nodes])

    def __call__(self, images: Float[Tensor, "N C H W"], seeds: UInt64[ndarray, " N"]) -> Float[Tensor, "N C H W"]:
        """Transform each image with the draw of its own seed."""
        if not self.nodes:
            return images
        if self._compose is None:
            self.build()
        from monai.data.meta_obj import get_track_meta, set_track_meta

        tracked, threads = get_track_meta(), torch.get_num_threads()
        set_track_meta(False)  # plain tensors: meta data costs more than the transforms of a small image
        torch.set_num_threads(1)  # as in a worker process: the number of workers must not change a bit
        try:
            return torch.stack([self._apply(image, int(seed)) for image, seed in zip(images, seeds, strict=True)])
        finally:
            torch.set_num_threads(threads)
            set_track_meta(tracked)

    def _apply(self, image: Float[Tensor, "C H W"], seed: int) -> Float[Tensor, "C H W"]:
        self._compose.set_random_state(seed=seed % 2**32)
        torch.default_generator.manual_seed(seed % 2**63)  # for a module that draws from torch; torch.manual_seed costs 0.7 ms
        result: Tensor = self._compose(image)
        return result
