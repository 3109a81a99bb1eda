"""The machine that will train: what it is, and how fast it trains a network (measured in seconds)."""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from medai.core.environment import hardware

PIXELS_AT_ONCE = 2**20  # of a timed batch on a processor; on a GPU eight times as many
TIMED_STEPS = 3
STEPS_OF_DECADE = 20  # a speed is rounded down to one of so many values between 10 and 100, so that plans do not follow the noise


@dataclass(frozen=True)
class Machine:
    """What the training will run on.

    Attributes:
        device: ``cpu`` or ``cuda``.
        name: Of the processor or the GPU.
        threads: That torch computes with; on a GPU they do not decide.
        memory_gb: Of the GPU; None for a processor.
    """

    device: str
    name: str
    threads: int
    memory_gb: float | None = None

    @staticmethod
    def here(accelerator: str = "auto") -> "Machine":
        """This machine, as a training with this accelerator would use it."""
        import torch

        if accelerator != "cpu" and torch.cuda.is_available():
            facts = torch.cuda.get_device_properties(0)
            return Machine("cuda", facts.name, torch.get_num_threads(), round(facts.total_memory / 2**30, 1))
        return Machine("cpu", str(hardware()["processor"]), torch.get_num_threads())

    @property
    def words(self) -> str:
        """For a sentence."""
        return f"{self.name} with {self.memory_gb:g} GB" if self.memory_gb else f"{self.threads} processor threads"


@dataclass(frozen=True)
class Speed:
    """How fast a network trains.

    Attributes:
        images_per_second: Forward, backward and the step.
        mb_per_image: Of a GPU's memory; None on a processor.
    """

    images_per_second: float
    mb_per_image: float | None = None


class Stopwatch(Protocol):
    """Times a network; tests have one that only calculates."""

    def __call__(self, node: Mapping[str, Any], channels: int, height: int, width: int, outputs: int, batch_size: int) -> Speed:
        """Time the network of a configuration node on a batch."""


def measure(
    node: Mapping[str, Any], channels: int, height: int, width: int, outputs: int, batch_size: int, *, device: str = "cpu"
) -> Speed:  # fmt: skip
    """Train a network for a few steps on random images; the quickest step counts.

    On a processor its own time is measured, so that what else runs at the moment does not change the plan.

    Args:
        node: Configuration node of the network.
        channels: Of the images.
        height: In pixels.
        width: In pixels.
        outputs: Of the network.
        batch_size: Fewer images are taken where these would be slow or many.
        device: ``cpu`` or ``cuda``.
    """
    import torch

    from medai.model.network import build_network
    from medai.training.precision import choose_precision

    most = PIXELS_AT_ONCE * (8 if device == "cuda" else 1) // (height * width)
    count = max(2, min(batch_size, most))
    with torch.random.fork_rng(devices=[]):  # a plan leaves the draws of the training alone
        network = build_network(node, in_channels=channels, out_channels=outputs, height=height, width=width)
        network = network.to(device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
        images = torch.rand(count, channels, height, width, device=device).contiguous(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters(), foreach=True)
    mixed = choose_precision("auto", device) == "bf16-mixed"
    clock, share = (time.perf_counter, 1) if device == "cuda" else (time.process_time, torch.get_num_threads())
    seconds = []
    for _ in range(1 + TIMED_STEPS):  # the first one warms up
        start = clock()
        with torch.autocast(device, torch.bfloat16, enabled=mixed):
            value = network(images).float().square().mean()
        value.backward()
        optimizer.step()
        optimizer.zero_grad()
        if device == "cuda":
            torch.cuda.synchronize()
        seconds.append((clock() - start) / share)
    memory = torch.cuda.max_memory_allocated() / 2**20 / count if device == "cuda" else None
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    return Speed(_steady(count / min(seconds[1:])), memory)


def _steady(rate: float) -> float:
    return float(10 ** (math.floor(STEPS_OF_DECADE * math.log10(rate)) / STEPS_OF_DECADE))
