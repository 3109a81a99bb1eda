"""What every training loop gets: the same network, the same batches in memory, the same optimiser, and a clock in the network."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

LOG_STEPS = 50
LEARNING_RATE = 1e-3
TINY = "tiny network, 28 px"


class Clocked(nn.Module):
    """A network that notes when it is called in training: the one clock that all loops share."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.calls: list[float] = []

    def forward(self, images: Tensor) -> Tensor:
        if self.training:
            self.calls.append(time.perf_counter())
        logit: Tensor = self.network(images)
        return logit

    def rate(self, warm: int) -> float:
        """Steps a second, after some that are not counted."""
        return (len(self.calls) - 1 - warm) / (self.calls[-1] - self.calls[warm])


@dataclass
class Problem:
    """One network and its data.

    Attributes:
        name: For people.
        make: The network, with weights from a fixed seed.
        batches: Images (N, C, H, W) and classes (N,), in memory; they are taken in turn.
        steps: How many a run takes.
        warm: How many of them are not counted.
        work: A folder for records.
        channels_last: Memory layout of weights and images.
    """

    name: str
    make: Callable[[], nn.Module]
    batches: list[tuple[Tensor, Tensor]]
    steps: int
    warm: int
    work: Path
    channels_last: bool = False

    def network(self) -> Clocked:
        """A fresh one."""
        torch.manual_seed(0)
        layout: Any = torch.channels_last if self.channels_last else torch.contiguous_format
        return Clocked(self.make().to(memory_format=layout).train())

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """The batch of a step."""
        return self.batches[step % len(self.batches)]


def optimizer(network: nn.Module) -> torch.optim.Optimizer:
    """The same for all."""
    return torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE, weight_decay=0.01)


def loss(logit: Tensor, classes: Tensor) -> Tensor:
    """The same for all: two classes, one logit."""
    return nn.functional.binary_cross_entropy_with_logits(logit[:, 0], classes.float())


def problems(quick: bool, work: Path) -> list[Problem]:
    """A tiny network, where overhead shows, ResNet-18 and DenseNet121."""
    from medai.model.network import densenet121, resnet18

    def resnet() -> nn.Module:
        return resnet18(1, 1, 28, 28)

    def densenet() -> nn.Module:
        return densenet121(1, 1, 224, 224)

    if quick:
        return [
            Problem(TINY, tiny, _data(8, 16, 28, False), 30, 5, work),
            Problem("ResNet-18, 28 px", resnet, _data(4, 2, 28, True), 3, 1, work, True),
        ]
    return [
        Problem(TINY, tiny, _data(32, 32, 28, False), 1500, 200, work),
        Problem("ResNet-18, 28 px", resnet, _data(8, 16, 28, True), 12, 2, work, True),
        Problem("DenseNet121, 224 px", densenet, _data(4, 4, 224, True), 7, 2, work, True),
    ]


def tiny() -> nn.Module:
    """Two convolutions: more than 400 steps a second."""
    convolutions = nn.Conv2d(1, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 16, 3, 2, 1), nn.ReLU()
    return nn.Sequential(*convolutions, nn.Flatten(), nn.Linear(16 * 49, 1))


def _data(count: int, batch: int, side: int, channels_last: bool) -> list[tuple[Tensor, Tensor]]:
    draws = torch.Generator().manual_seed(0)
    layout: Any = torch.channels_last if channels_last else torch.contiguous_format
    images = [torch.rand(batch, 1, side, side, generator=draws).contiguous(memory_format=layout) for _ in range(count)]
    return [(image, torch.randint(0, 2, (batch,), generator=draws)) for image in images]
