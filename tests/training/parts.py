"""A network and losses of a researcher's own, named by their dotted paths."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from medai.core.label import Label
from medai.task.loss import CrossEntropy


class Plain(nn.Module):
    """No batch statistics and no dropout: its gradient is the sum over the cases, however these are dealt out."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(in_channels, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 16, 3, 2, 1), nn.ReLU(),
            nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(64, out_channels),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        logit: Tensor = self.layers(x)
        return logit


class SometimesNan(CrossEntropy):
    """Not a number at some calls."""

    def __init__(self, calls: list[int]) -> None:
        super().__init__()
        self.calls, self.count = calls, -1  # the first call tries the loss

    def binary(self, labels: Sequence[Label], logit: Tensor) -> Tensor:
        self.count += 1
        return super().binary(labels, logit) * (torch.nan if self.count in self.calls else 1.0)
