"""Networks that a training of the benchmark names by their dotted path: they write down when they are called."""

import os
import time
from pathlib import Path

from torch import Tensor, nn

from medai.model.network import resnet18

VARIABLE = "MEDAI_BENCHMARK_CALLS"  # names the file; each rank adds its number


class _Clocked(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        if self.training:
            with open(f"{os.environ[VARIABLE]}.{os.environ.get('RANK', '0')}", "a", encoding="utf-8") as stream:
                stream.write(f"{time.time()}\n")
        logit: Tensor = self.network(images)
        return logit


class Tiny(_Clocked):
    """A linear network."""

    def __init__(self, in_channels: int, out_channels: int, height: int, width: int) -> None:
        super().__init__(nn.Sequential(nn.Flatten(), nn.Linear(in_channels * height * width, out_channels)))


class ResNet18(_Clocked):
    """ResNet-18."""

    def __init__(self, in_channels: int, out_channels: int, height: int, width: int) -> None:
        super().__init__(resnet18(in_channels, out_channels, height, width))


def calls(path: Path, rank: int = 0) -> list[float]:
    """When the network of a rank was called, in seconds since the epoch; complete lines only."""
    file = Path(f"{path}.{rank}")
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    return [float(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
