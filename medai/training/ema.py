"""Exponential moving average of the weights (Polyak and Juditsky 1992), with a warm-up of the decay."""

import copy
from typing import Any

import torch
from torch import nn


class AveragedWeights:
    """A copy of a module whose weights and batch statistics follow it slowly.

    Args:
        module: The module that is trained.
        decay: Share that the average keeps at each step, reached after about ``10 / (1 - decay)`` steps.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.module: Any = copy.deepcopy(module).eval().requires_grad_(False)
        self.decay = decay
        self.step = 0

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Follow `module` by one step."""
        decay = min(self.decay, (1 + self.step) / (10 + self.step))
        self.step += 1
        averaged, current = [], []
        for mine, theirs in zip(self.module.state_dict().values(), module.state_dict().values(), strict=True):
            if mine.is_floating_point():
                averaged.append(mine)
                current.append(theirs)
            else:
                mine.copy_(theirs)
        torch._foreach_lerp_(averaged, current, 1 - decay)
