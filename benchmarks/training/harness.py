"""What all parts share: repetitions in turns, rates, verdicts, and a record that is on disk after every figure."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from medai.core.file import write_json


@dataclass
class Part:
    """One part's run: where it works, how long it may take, and what it has found so far.

    Attributes:
        name: The letter.
        work: Folder for data sets; kept between parts.
        output: File of the record.
        quick: Tiny sizes, to see that everything runs: the figures mean nothing.
        limit_seconds: The part skips further repetitions when so much time has passed.
    """

    name: str
    work: Path
    output: Path
    quick: bool
    limit_seconds: float
    found: dict[str, Any] = field(default_factory=lambda: {"raw": {}, "medians": {}, "ratios": {}, "verdicts": [], "notes": []})
    started: float = field(default_factory=time.monotonic)

    @property
    def spent(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.started

    def say(self, text: str) -> None:
        """A progress line."""
        minutes, seconds = divmod(int(self.spent), 60)
        print(f"[{self.name} {minutes}:{seconds:02d}] {text}", file=sys.__stderr__, flush=True)

    def note(self, text: str) -> None:
        """What a reader of the record has to know."""
        self.found["notes"].append(text)
        self.say(text)
        self.save()

    def repeat(self, subjects: Mapping[str, Callable[[], float]], repetitions: int, unit: str, share: float = 1.0) -> dict[str, float]:
        """Measure the subjects in turns, so that a drift of the machine meets them all alike; give the medians.

        Args:
            subjects: Each gives one figure a call.
            repetitions: At most so many of each; fewer where the time is up, but one.
            unit: Of the figures.
            share: Of the part's time, after which no further round begins.
        """
        order = list(subjects)
        for repetition in range(repetitions):
            if repetition and self.spent > self.limit_seconds * share:
                self.note(f"time is up: {repetition} of {repetitions} repetitions of {', '.join(order)}")
                break
            for name in order if repetition % 2 == 0 else reversed(order):
                self.found["raw"].setdefault(name, []).append(subjects[name]())
                self.say(f"{name}: {self.found['raw'][name][-1]:,.1f} {unit}")
            self.save()
        medians = {name: median(self.found["raw"][name]) for name in order}
        self.found["medians"] |= medians
        self.save()
        return medians

    def verdict(self, name: str, value: float, target: float, at_least: bool = True) -> None:
        """Hold a figure against its target."""
        met = value >= target if at_least else value <= target
        self.found["ratios"][name] = value
        self.found["verdicts"].append({"what": name, "value": value, "target": f"{'>=' if at_least else '<='} {target:g}", "met": met})
        self.say(f"{'met' if met else 'NOT MET'}: {name} is {value:.3f}, target {'>=' if at_least else '<='} {target:g}")
        self.save()

    def save(self) -> None:
        """Write what is known now: a part that is stopped keeps its figures."""
        write_json(self.output, self.found | {"seconds": self.spent})


def paired_ratio(part: Part, ours: str, theirs: str) -> float:
    """Median of the ratios within each round: what slows a whole round cancels."""
    pairs = zip(part.found["raw"][ours], part.found["raw"][theirs], strict=False)
    return median(one / other for one, other in pairs)


def rate(batches: Iterator[Any], seconds: float, warm: int) -> float:
    """Images a second that an endless iterator delivers, after `warm` batches that are not counted."""
    for _ in range(warm):
        next(batches)
    start, images = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        images += len(next(batches))
    return images / (time.perf_counter() - start)


@contextmanager
def terminal() -> Iterator[None]:
    """Let this process's stderr and stdout be a terminal that nobody watches, so that every library draws its progress bar."""
    master, slave = os.openpty()
    with subprocess.Popen(["cat"], stdin=master, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as drain:
        os.close(master)
        streams = sys.stdout, sys.stderr
        screen = os.fdopen(slave, "w")
        sys.stdout = sys.stderr = screen
        try:
            yield
        finally:
            sys.stdout, sys.stderr = streams
            with suppress(OSError):
                screen.close()
            drain.terminate()
