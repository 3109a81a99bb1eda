"""Averages of the weights: exponential (Polyak and Juditsky 1992) or equal (SWA, Izmailov et al. 2018)."""

import copy
from typing import Any

import torch
from torch import Tensor, nn


class AveragedWeights:
    """A copy of a module whose weights and batch statistics follow it.

    Args:
        module: The module that is trained.
        decay: Share that the average keeps at each update, reached after about ``10 / (1 - decay)`` updates;
            None averages all updates equally. (SWA's extra pass for the batch statistics is left out: these are averaged too.)
    """

    def __init__(self, module: nn.Module, decay: float | None) -> None:
        self.module: Any = copy.deepcopy(module).eval().requires_grad_(False)
        self.decay = decay
        self.step = 0
        self._pairs = self._pair(module)

    @torch.no_grad()
    def update(self) -> None:
        """Follow the module by one step."""
        kept = self.step / (self.step + 1) if self.decay is None else min(self.decay, (1 + self.step) / (10 + self.step))
        self.step += 1
        averaged, current, counters = self._pairs
        torch._foreach_lerp_(averaged, current, 1 - kept)
        for mine, theirs in counters:
            mine.copy_(theirs)

    def state_dict(self) -> dict[str, Any]:
        return {"module": self.module.state_dict(), "step": self.step}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.module.load_state_dict(state["module"])
        self.step = state["step"]

    def _pair(self, module: nn.Module) -> tuple[list[Tensor], list[Tensor], list[tuple[Tensor, Tensor]]]:
        pairs = list(zip(self.module.state_dict().values(), module.state_dict().values(), strict=True))
        floats = [(mine, theirs) for mine, theirs in pairs if mine.is_floating_point()]
        return [mine for mine, _ in floats], [theirs for _, theirs in floats], [pair for pair in pairs if not pair[0].is_floating_point()]
