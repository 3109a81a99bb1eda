"""The layer that Grad-CAM looks at: the last one whose outputs still have a place in the image, found by running the network."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor, nn

from medai.core.error import MedaiError

SMALLEST_MAP = 4  # positions a side; fewer say nothing about where


@dataclass(frozen=True)
class Layer:
    """A layer, by its dotted name, whose output is a map of the image, (N, C, rows, columns)."""

    name: str
    rows: int
    columns: int


@dataclass
class _Run:
    """What the modules of a network gave: maps by name, in the order of the last time that each ran, and where tokens went in."""

    maps: dict[str, Tensor] = field(default_factory=dict)
    tokens: list[str] = field(default_factory=list)


def find_layer(network: nn.Module, image: Float[Tensor, "1 C H W"], smallest: int = SMALLEST_MAP) -> Layer:
    """The last layer with a map in the shape of the image, of at least `smallest` positions a side, on which the outputs depend.

    A vision transformer is refused. It has a map, the embedding of its patches, but everything is decided after it; and of
    its last block's tokens, put back in their places, Grad-CAM was seen to light up all but the square that decided the class.

    Args:
        network: Images to outputs (1, P), in evaluation mode.
        image: Any image of the network's input that gives outputs other than zero.
        smallest: Positions a side.

    Raises:
        MedaiError: there is no such layer, or the network gives no gradient.
    """
    with torch.enable_grad(), _observed(network) as run:
        outputs = network(image.clone().requires_grad_().clone())  # a first layer may work in place, which no leaf allows
    if not outputs.requires_grad:
        raise MedaiError("the network gives no gradient: it computes its outputs without autograd")
    if run.tokens:
        raise MedaiError(f"the network decides by tokens ({run.tokens[0]}), not by a map of the image")
    maps = {name: output for name, output in run.maps.items() if output.requires_grad and _alike(output.shape, image.shape)}
    large = {name: output for name, output in maps.items() if min(output.shape[2:]) >= smallest}
    gradients = torch.autograd.grad(outputs.float().square().sum(), list(large.values()), allow_unused=True) if large else ()
    for (name, output), gradient in reversed(list(zip(large.items(), gradients, strict=True))):
        if gradient is not None and bool(gradient.any()):
            return Layer(name, output.shape[2], output.shape[3])
    raise MedaiError(f"the network has no layer with a map of at least {smallest} x {smallest} positions that its outputs depend on")


@contextmanager
def _observed(network: nn.Module) -> Iterator[_Run]:
    """Note what every module gives while the network runs."""
    run = _Run()

    def note(module: nn.Module, inputs: tuple[object, ...], output: object, name: str) -> Tensor | None:
        run.maps.pop(name, None)
        given = inputs[0] if inputs and isinstance(inputs[0], Tensor) else None
        if given is not None and given.ndim == 3 and next(module.parameters(), None) is not None:
            run.tokens.append(name)
        if not isinstance(output, Tensor) or output.ndim != 4 or output.shape[0] != 1 or _grew(given, output):
            return None
        run.maps[name] = output
        return output.clone()  # so that an in-place step after it does not reach what was noted

    hooks = []
    for name, module in network.named_modules():
        hooks.append(module.register_forward_hook(lambda module, inputs, output, name=name: note(module, inputs, output, name)))
    try:
        yield run
    finally:
        for hook in hooks:
            hook.remove()


def _grew(given: Tensor | None, output: Tensor) -> bool:
    """Whether a map has more positions than what it was made from: one that was padded has lost its places."""
    return given is not None and given.ndim == 4 and given.shape[2:].numel() < output.shape[2:].numel()


def _alike(of_map: torch.Size, of_image: torch.Size) -> bool:
    """Whether a map has the proportions of the image, but for rounding to whole positions."""
    (rows, columns), (height, width) = of_map[2:], of_image[2:]
    return rows <= height and columns <= width and abs(rows * width - columns * height) < height + width
