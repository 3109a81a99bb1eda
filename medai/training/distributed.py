"""The ranks of one training: started by torchrun, each with its part of the global batch."""

import os
import pickle
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import PrefixStore, TCPStore  # type: ignore[attr-defined]

T = TypeVar("T")
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Group:
    """All ranks of a training; alone it is rank 0 of 1, and nothing below communicates.

    Attributes:
        rank: Of this process.
        size: Number of processes.
        device: What this process computes on.
    """

    rank: int = 0
    size: int = 1
    device: torch.device = CPU

    @property
    def first(self) -> bool:
        """Whether this process writes the files."""
        return self.rank == 0

    def part(self, count: int) -> range:
        """The places of a batch of `count` that fall to this rank: contiguous, sizes differ by one at most."""
        start, stop = (count * index // self.size for index in (self.rank, self.rank + 1))
        return range(start, stop)

    def any(self, *flags: bool) -> tuple[bool, ...]:
        """Of each flag, whether it is set on any rank."""
        if self.size == 1:
            return flags
        values = torch.tensor([int(flag) for flag in flags])
        with _let_go(values):
            dist.all_reduce(values, dist.ReduceOp.MAX)
        return tuple(bool(value) for value in values)

    def sum(self, values: Tensor) -> Tensor:
        """The sum over the ranks."""
        if self.size > 1:
            with _let_go(values):
                dist.all_reduce(values)
        return values

    def broadcast(self, value: T) -> T:
        """The first rank's value, on every rank."""
        if self.size == 1:
            return value
        data = _bytes(value) if self.first else torch.empty(0, dtype=torch.uint8)
        length = torch.tensor(len(data))
        with _let_go(length):
            dist.broadcast(length, 0)
        data = data if self.first else torch.empty(int(length), dtype=torch.uint8)
        with _let_go(data):
            dist.broadcast(data, 0)
        return value if self.first else _value(data)

    def gather(self, value: T) -> list[T]:
        """The values of all ranks in their order, on the first rank; elsewhere an empty list."""
        if self.size == 1:
            return [value]
        data = _bytes(value)
        lengths = torch.zeros(self.size, dtype=torch.int64)
        lengths[self.rank] = len(data)
        self.sum(lengths)
        data = torch.nn.functional.pad(data, (0, int(lengths.max()) - len(data)))  # all ranks send as much
        boxes = [torch.empty_like(data) for _ in lengths] if self.first else []
        with _let_go(data, *boxes):
            dist.gather(data, boxes or None)
        return [_value(box[:length]) for box, length in zip(boxes, lengths.tolist(), strict=False)]

    def copy_from_first(self, tensors: list[Tensor]) -> None:
        """Overwrite tensors with those of the first rank."""
        if self.size > 1:
            for tensor in tensors:
                with _let_go(tensor):
                    dist.broadcast(tensor, 0)


@contextmanager
def _let_go(*tensors: Tensor) -> Iterator[None]:
    """End a collective only when gloo's threads have dropped its tensors.

    A collective returns before its thread drops them, which needs Python's lock; and a thread that asks for the lock while the
    interpreter ends, or while the group's end waits for the thread, aborts the process or hangs it.
    """
    before = [sys.getrefcount(tensor) for tensor in tensors]
    yield
    while [sys.getrefcount(tensor) for tensor in tensors] > before:  # no count falls below what it was
        time.sleep(1e-4)


def _bytes(value: Any) -> Tensor:
    return torch.frombuffer(bytearray(pickle.dumps(value)), dtype=torch.uint8)


def _value(data: Tensor) -> Any:
    return pickle.loads(data.numpy().tobytes())


ALONE = Group()


def ranks() -> tuple[int, int]:
    """Rank and number of ranks as torchrun says, before any connection: (0, 1) where it was not used."""
    return int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))


def restarts() -> int:
    """How often torchrun has started this training anew."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0))


@contextmanager
def connected(accelerator: str, timeout_seconds: float) -> Iterator[Group]:
    """Join the other ranks, if torchrun has started several.

    Args:
        accelerator: ``auto``, ``cpu`` or ``cuda``.
        timeout_seconds: A rank that waits longer for another one fails.
    """
    rank, size = ranks()
    device = _device(accelerator)
    if size == 1:
        yield Group(device=device)
        return
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, rank=rank, world_size=size, timeout=timedelta(seconds=timeout_seconds), store=_store(size))
    try:
        yield Group(rank, size, device)
    finally:
        dist.destroy_process_group()


def _store(size: int) -> Any:
    """Torchrun's store, where a restarted training does not find the addresses of the ranks that have died; None without torchrun."""
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return None
    store = TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), size, is_master=False)
    return PrefixStore(f"medai/{restarts()}", store)


def _device(accelerator: str) -> torch.device:
    if accelerator == "cpu" or not torch.cuda.is_available():
        return CPU
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
    torch.cuda.set_device(device)
    return device
