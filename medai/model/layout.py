"""Which memory layout a network can be trained in."""

from torch import nn


def takes_channels_last(module: nn.Module) -> bool:
    """False for a strided 1 x 1 convolution of few channels: its backward pass in channels_last ends torch 2.13 on a CPU with a fault."""
    convolutions = [each for each in module.modules() if isinstance(each, nn.Conv2d)]
    return not any(each.in_channels < 8 and each.kernel_size == (1, 1) and each.stride != (1, 1) for each in convolutions)
