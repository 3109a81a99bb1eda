"""Gradient checkpointing: keep a block's input alone and compute the rest again for the gradient (Chen et al. 2016)."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from medai.core.error import MedaiError
from medai.model.layers import blocks


def enable_checkpointing(network: nn.Module) -> int:
    """Let every block of a network drop its activations and compute them again: about a third slower.

    The gradients, the random draws (dropout) and the statistics of batch norm are those of a network without it, and so are the
    names of the weights.

    Args:
        network: Changed in place. Its blocks are the elements of its `nn.Sequential` and `nn.ModuleList` lists.

    Returns:
        Number of blocks.

    Raises:
        MedaiError: the network has no list of blocks.
    """
    count = 0
    for parent, name, found in list(blocks(network)):
        sequential = isinstance(found, nn.Sequential)
        setattr(parent, name, CheckpointedSequential(found) if sequential else CheckpointedList(found.children()))
        count += sum(_is_block(part) for part in found.children())
    if not count:
        what = "training.gradient_checkpointing needs a network with blocks in an nn.Sequential or nn.ModuleList"
        raise MedaiError(f"{what}, and {type(network).__name__} has none; set it to false")
    return count


class CheckpointedSequential(nn.Sequential):
    """The parts of an `nn.Sequential` under their names, each computed again in the backward pass."""

    is_list = True

    def __init__(self, parts: nn.Module) -> None:
        super().__init__()
        for name, part in parts.named_children():
            self.add_module(name, part)

    def forward(self, input: Any) -> Any:
        for part in self._modules.values():
            assert part is not None
            input = recomputed(part, input)
        return input


class CheckpointedList(nn.ModuleList):
    """The parts of an `nn.ModuleList`, each computed again in the backward pass by whoever iterates over them and calls them."""

    is_list = True

    def __iter__(self) -> Iterator[Any]:
        return iter([partial(recomputed, part) for part in self._modules.values()])


def recomputed(part: nn.Module, *inputs: Any, **keywords: Any) -> Any:
    """Call a module; in training, without keeping the activations inside of it."""
    if not (part.training and torch.is_grad_enabled() and _is_block(part)):
        return part(*inputs, **keywords)
    if torch.compiler.is_compiling():  # traces no contexts, and writes buffers once
        return checkpoint(part, *inputs, use_reentrant=False, **keywords)
    return checkpoint(part, *inputs, use_reentrant=False, context_fn=partial(_contexts, part), **keywords)


def _is_block(part: nn.Module) -> bool:
    return bool(list(part.children()))


def _contexts(part: nn.Module) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    return nullcontext(), _copied_buffers(part)


@contextmanager
def _copied_buffers(part: nn.Module) -> Iterator[None]:
    """Batch norm would count the batch a second time when it is computed again: let it do so in copies of its statistics."""
    owners = [module for module in part.modules() if module._buffers]
    kept = [dict(module._buffers) for module in owners]
    try:
        for module, buffers in zip(owners, kept, strict=True):
            module._buffers.update({name: None if buffer is None else buffer.clone() for name, buffer in buffers.items()})
        yield
    finally:
        for module, buffers in zip(owners, kept, strict=True):
            module._buffers.update(buffers)
