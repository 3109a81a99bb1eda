"""How stages are timed: each once a batch, the median of the batches, after what a first batch costs."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import TypeVar

import torch

T = TypeVar("T")
WARM_BATCHES = 2  # that are not counted: first touches of memory, choice of algorithms, compiling
FEWEST_BATCHES = 3


@dataclass(frozen=True)
class Stage:
    """One stage of the way of a batch.

    Attributes:
        name: In plain words.
        seconds: A batch; the median.
        place: ``"worker"`` for what worker processes do where there are any, else ``"device"``.
    """

    name: str
    seconds: float
    place: str


@dataclass
class Stopwatch:
    """Times stages by name and waits for the device after each.

    Args:
        device: What is computed on.

    Example:
        >>> watch = Stopwatch(torch.device("cpu"))
        >>> total = watch.time("sum", lambda: torch.ones(1000).sum())
    """

    device: torch.device
    laps: dict[str, list[float]] = field(default_factory=dict)

    def time(self, name: str, work: Callable[[], T]) -> T:
        """Do the work, and keep how long it took."""
        settle(self.device)
        start = time.perf_counter()
        result = work()
        settle(self.device)
        self.laps.setdefault(name, []).append(time.perf_counter() - start)
        return result

    def stages(self, place: str, names: Sequence[str] | None = None) -> list[Stage]:
        """The stages so far, in the order in which they first came."""
        chosen = [name for name in self.laps if names is None or name in names]
        return [Stage(name, median(self.laps[name][WARM_BATCHES:] or self.laps[name]), place) for name in chosen]


def settle(device: torch.device) -> None:
    """Wait until a GPU has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def enough(started: float, batches: int, seconds: float) -> bool:
    """Whether a measurement may end: its time is over, and it has seen the fewest batches that make a figure."""
    return batches >= WARM_BATCHES + FEWEST_BATCHES and time.perf_counter() - started > seconds
