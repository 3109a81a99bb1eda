"""Variants of an image that a model answers for as well: its answers are averaged over them, in validation and on the device.

Each is a deterministic map of the network's input, of fixed size, made of operations that every ONNX runtime has.
"""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from medai.core.error import MedaiError
from medai.training.settings import TEST_TIME, TrainingSettings

Images = Float[Tensor, "N C H W"]


def variants_of(settings: TrainingSettings) -> tuple[str, ...]:
    """The variants that the settings of a training ask for, each once; `flip_average` is the variant ``mirror``."""
    return tuple(dict.fromkeys([*named(settings.flip_average), *settings.test_time]))


def named(variants: Sequence[str] | bool) -> tuple[str, ...]:
    """Variants by name: a checkpoint of schema 1.0 says True or False, which means with or without the mirror image."""
    if isinstance(variants, bool):
        return ("mirror",) if variants else ()
    return tuple(variants)


def variant(name: str) -> Callable[[Images], Images]:
    """The map of a variant.

    Args:
        name: ``mirror`` (left and right exchanged), ``flip_vertical``, ``rotate90`` (a quarter turn to the left, of square
            images) or ``zoom=<0.5..2>`` about the centre; below 1 the border is repeated outwards.

    Raises:
        MedaiError: there is no such variant.

    Example:
        >>> variant("zoom=1.1")(torch.rand(2, 1, 224, 224)).shape
        torch.Size([2, 1, 224, 224])
    """
    key, _, number = name.partition("=")
    fixed: dict[str, Callable[[Images], Images]] = {"mirror": mirror, "flip_vertical": flip_vertical, "rotate90": rotate90}
    if name in fixed:
        return fixed[name]
    try:
        factor = float(number)
    except ValueError:
        factor = 0.0
    if key != "zoom" or not 0.5 <= factor <= 2:
        raise MedaiError(f"there is no variant {name!r} of an image; allowed: {TEST_TIME}")
    return partial(zoom, factor=factor)


def mirror(images: Images) -> Images:
    """Left and right exchanged."""
    return images.flip(-1)


def flip_vertical(images: Images) -> Images:
    """Top and bottom exchanged."""
    return images.flip(-2)


def rotate90(images: Images) -> Images:
    """A quarter turn to the left."""
    return images.transpose(-1, -2).flip(-2)


def zoom(images: Images, factor: float) -> Images:
    """Magnify about the centre by bilinear interpolation, to the same size.

    Two products with constant matrices, exact at any factor: cutting whole pixels off and resizing could only zoom by
    what they allow (1.08 or 1.17 at 28 pixels), and not about the centre where their number is odd.
    """
    rows, columns = (_bilinear(size, factor, images) for size in images.shape[-2:])
    return rows @ images @ columns.T


def _bilinear(size: int, factor: float, like: Tensor) -> Float[Tensor, "size size"]:
    """Weights of the old pixels (columns) in the new ones (rows) along one axis."""
    place = torch.arange(size, device=like.device, dtype=torch.float32)
    centre = (size - 1) / 2
    source = ((place - centre) / factor + centre).clamp(0, size - 1)
    return (1 - (source[:, None] - place).abs()).clamp_min(0).to(like.dtype)
