"""Random transforms of whole batches, on the device where the batch is: what MONAI's transforms do to single images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, Int64, UInt64
from numpy import ndarray
from torch import Tensor

from medai.augmentation import dropout, intensity, smooth, spatial
from medai.augmentation.draws import Draws
from medai.augmentation.transform import BatchTransform, Parameters, Shape
from medai.core.error import MedaiError

TRANSFORMS: dict[str, type] = {
    "RandAdjustContrast": intensity.AdjustContrast,
    "RandAffine": spatial.Affine,
    "RandAxisFlip": spatial.AxisFlip,
    "RandBiasField": intensity.BiasField,
    "RandCoarseDropout": dropout.CoarseDropout,
    "RandFlip": spatial.Flip,
    "RandGaussianNoise": intensity.GaussianNoise,
    "RandGaussianSharpen": smooth.GaussianSharpen,
    "RandGaussianSmooth": smooth.GaussianSmooth,
    "RandHistogramShift": intensity.HistogramShift,
    "RandRotate": spatial.Rotate,
    "RandRotate90": spatial.Rotate90,
    "RandScaleIntensity": intensity.ScaleIntensity,
    "RandShiftIntensity": intensity.ShiftIntensity,
    "RandStdShiftIntensity": intensity.StdShiftIntensity,
    "RandZoom": spatial.Zoom,
}
CACHED_PIXELS = 2**18  # at a time for a thread of a CPU: a few arrays of them fit its cache
DEVICE_PIXELS = 2**26  # at a time elsewhere: bounds the memory


def covers(nodes: Sequence[Mapping[str, Any]]) -> bool:
    """Whether `BatchedAugmentation` knows every transform of the list, with its arguments; `not_covered` says what it does not know."""
    return not_covered(nodes) is None


def not_covered(nodes: Sequence[Mapping[str, Any]]) -> str | None:
    """The first transform that only MONAI itself can apply, and why; None if there is none.

    Example:
        >>> not_covered([{"_target_": "monai.transforms.RandFlip", "prob": 0.5, "spatial_axis": 1}])
        >>> not_covered([{"_target_": "monai.transforms.RandFlip", "lazy": True}])
        'monai.transforms.RandFlip with the argument lazy'
    """
    for node in nodes:
        try:
            _transform(node)
        except ValueError as error:
            return str(error)
    return None


class BatchedAugmentation:
    """A list of MONAI's random transforms, applied to a batch at a time.

    The distribution is MONAI's. Each transform of the list is chosen for a case with its own probability, its parameters are
    uniform in the ranges of MONAI's class of that name (or as there: normal noise, control points of a histogram), and the
    application is that of MONAI's deterministic transform, with its conventions of axes, direction, units and border, in the
    list's order: a mirror only moves pixels, and each geometric transform interpolates once, as a list of MONAI's does. Tests
    compare both parts with MONAI. The single draws are others than those of `Augmentation` for the same seed.

    A case's result is a function of its pixels and its seed. On a CPU not one bit depends on the other cases, on their number
    or on the number of threads. A CUDA device draws the same numbers and rounds their functions differently.

    Args:
        nodes: Configuration nodes of the transforms, in order, as of `Augmentation`.

    Raises:
        MedaiError: a transform or an argument is not covered.

    Example:
        >>> augmentation = BatchedAugmentation([{"_target_": "monai.transforms.RandFlip", "prob": 1.0, "spatial_axis": 1}])
        >>> augmentation(torch.tensor([[[[1.0, 2.0, 3.0]]]]), np.array([7], dtype=np.uint64))
        tensor([[[[3., 2., 1.]]]])
    """

    def __init__(self, nodes: Sequence[Mapping[str, Any]]) -> None:
        reason = not_covered(nodes)
        if reason:
            raise MedaiError(f"augmentation.engine=batched does not know {reason}; give augmentation.engine=auto or monai")
        self.transforms = [_transform(node) for node in nodes]

    def check(self, shape: Shape) -> None:
        """Try the transforms on images of `shape` (C, H, W), so that a wrong one is told before the training starts.

        Raises:
            MedaiError: one fails, or changes the shape.
        """
        seeds = np.arange(2, dtype=np.uint64)
        for place, transform in enumerate(self.transforms):
            name = type(transform).__name__
            try:
                result = transform.apply(torch.rand(2, *shape, generator=torch.Generator()), transform.draw(Draws(seeds, place), shape))
            except (RuntimeError, TypeError, ValueError) as error:
                reason = str(error).splitlines()[0]
                raise MedaiError(f"augmentation.transforms[{place}] ({name}) fails on an image of shape {shape}: {reason}") from None
            if tuple(result.shape[1:]) != shape:
                raise MedaiError(f"augmentation.transforms[{place}] ({name}) changes the shape {shape} to {tuple(result.shape[1:])}")

    @torch.no_grad()
    def __call__(self, images: Float32[Tensor, "N C H W"], seeds: UInt64[ndarray, " N"]) -> Float32[Tensor, "N C H W"]:
        """Transform each image with the draw of its own seed; the given images stay as they are."""
        if not self.transforms or not len(images):
            return images
        result = self.in_place(images.clone(memory_format=torch.contiguous_format), seeds)
        return result if images.is_contiguous() else torch.empty_like(images).copy_(result)

    @torch.no_grad()
    def in_place(self, images: Float32[Tensor, "N C H W"], seeds: UInt64[ndarray, " N"]) -> Float32[Tensor, "N C H W"]:
        """The same in the memory of the given images, which has to be contiguous."""
        shape = (images.shape[1], images.shape[2], images.shape[3])
        steps = [_Step.draw(transform, Draws(seeds, place), shape) for place, transform in enumerate(self.transforms)]
        count = _at_once(images)
        for start in range(0, len(images), count):
            for step in steps:
                step.apply(images[start : start + count], start)
        return images


def _at_once(images: Float32[Tensor, "N C H W"]) -> int:
    """How many cases to take through the whole list before the next; the results do not depend on it."""
    if images.device.type != "cpu":
        return max(1, DEVICE_PIXELS // images[0].numel())
    threads = torch.get_num_threads()  # interpolation gives each thread a case
    return max(threads, threads * CACHED_PIXELS // images[0].numel())


@dataclass(frozen=True)
class _Step:
    """A transform, drawn for a batch: the chosen cases' places, in order, and their parameters."""

    transform: BatchTransform
    cases: Int64[ndarray, " n"]
    parameters: Parameters

    @classmethod
    def draw(cls, transform: BatchTransform, draws: Draws, shape: Shape) -> "_Step":
        cases = np.flatnonzero(draws.uniform() < transform.prob)
        return cls(transform, cases, transform.draw(draws.of(cases), shape) if len(cases) else {})

    def apply(self, images: Float32[Tensor, "m C H W"], start: int) -> None:
        """Transform the chosen ones of the images, which are those of the batch from `start` on, where they lie."""
        first, end = np.searchsorted(self.cases, (start, start + len(images)))
        if first == end:
            return
        parameters = {name: values[first:end] for name, values in self.parameters.items()}
        if end - first == len(images):
            changed = self.transform.apply(images, parameters)
            if changed is not images:
                images.copy_(changed)
            return
        places = torch.from_numpy(self.cases[first:end] - start).to(images.device, non_blocking=True)
        chosen = images.index_select(0, places)  # images[places] would go through the elements one by one
        images.index_copy_(0, places, self.transform.apply(chosen, parameters))


def _transform(node: Mapping[str, Any]) -> BatchTransform:
    """The batched transform that stands for a node.

    Raises:
        ValueError: there is none.
    """
    path = str(node.get("_target_", "a node without _target_"))
    arguments = {str(name): value for name, value in node.items() if name != "_target_"}
    kind = TRANSFORMS.get(path.rsplit(".", 1)[-1]) if path.startswith("monai.transforms.") else None
    if kind is None:
        raise ValueError(path)
    unknown = sorted(set(arguments) - {field.name for field in fields(kind)})
    if unknown:
        raise ValueError(f"{path} with the argument {unknown[0]}")
    try:
        transform: BatchTransform = kind(**arguments)
        if not isinstance(transform.prob, int | float):
            raise ValueError(f"prob is a number, got {transform.prob!r}")
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path} as it is given ({error})") from None
    return transform
