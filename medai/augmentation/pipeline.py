"""Random transforms of single images: MONAI's or your own, with draws that depend on nothing but their seed."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt64
from numpy import ndarray
from torch import Tensor

from medai.core.error import MedaiError
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
        """Build the transforms; otherwise their first use does it."""
        from monai.transforms import Compose

        self._compose = Compose([build(node, "a transform", is_transform) for node in self.nodes])

    def check(self, shape: tuple[int, int, int]) -> None:
        """Try the transforms on an image of `shape` (C, H, W), so that a wrong one is told before the training starts.

        Raises:
            MedaiError: one fails, or they change the shape.
        """
        names = ", ".join(str(node.get("_target_", "?")).rsplit(".", 1)[-1] for node in self.nodes)
        try:
            result = self(torch.rand(4, *shape), np.arange(4, dtype=np.uint64))
        except (RuntimeError, ValueError, TypeError, KeyError, IndexError) as error:
            reason = str(error.__cause__ or error).splitlines()[0]
            raise MedaiError(f"augmentation.transforms ({names}) fail on an image of shape {shape}: {reason}") from None
        if tuple(result.shape[1:]) != shape:
            raise MedaiError(f"augmentation.transforms ({names}) change the shape {shape} to {tuple(result.shape[1:])}; it has to stay")

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
