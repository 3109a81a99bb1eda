"""Progress of long work: a bar with rate and time left on a terminal, plain lines in a log file."""

import sys
import time
from collections.abc import Iterable, Iterator, Sized
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

T = TypeVar("T")
SECONDS_BETWEEN_LINES = 10.0
SECONDS_BETWEEN_DRAWINGS = 0.1
_quiet = False


class Progress(Protocol):
    """What long work reports to."""

    def advance(self, count: int = 1, note: str = "") -> None:
        """`count` more are done; `note` is shown behind the figures, e.g. ``"loss 0.31"``."""


def quiet(silent: bool) -> None:
    """Whether this process keeps silent: of several ranks, one speaks."""
    global _quiet
    _quiet = silent


def say(message: str) -> None:
    """Tell the user something, on stderr, so that stdout stays for results."""
    if not _quiet:
        print(message, file=sys.stderr, flush=True)


@contextmanager
def progress(description: str, total: int | None, unit: str = "cases") -> Iterator[Progress]:
    """Show the progress of `total` pieces of work.

    Example:
        >>> with progress("Ingest", 1000) as bar:
        ...     bar.advance(10)
    """
    if sys.stderr.isatty() and not _quiet:
        try:
            with _bar(description, total, unit) as bar:
                yield bar
            return
        except ModuleNotFoundError as error:  # the device runtime comes without rich
            if error.name != "rich":
                raise
    lines = _Lines(description, total, unit)
    yield lines
    lines.close()


def track(items: Iterable[T], description: str, total: int | None = None, unit: str = "cases") -> Iterator[T]:
    """Iterate over `items` and show the progress."""
    if total is None and isinstance(items, Sized):
        total = len(items)
    with progress(description, total, unit) as bar:
        for item in items:
            yield item
            bar.advance()


@contextmanager
def _bar(description: str, total: int | None, unit: str) -> Iterator[Progress]:
    from rich import progress as rich_progress
    from rich.console import Console

    columns: list[Any] = [
        rich_progress.TextColumn("{task.description}"),
        rich_progress.BarColumn(),
        rich_progress.MofNCompleteColumn(),
        rich_progress.TextColumn("{task.fields[rate]}"),
        rich_progress.TimeRemainingColumn(),
        rich_progress.TextColumn("{task.fields[note]}"),
    ]
    with rich_progress.Progress(*columns, console=Console(stderr=True)) as bars:
        bar = _RichBar(bars, bars.add_task(description, total=total, rate="", note=""), unit)
        yield bar
        bar.close()


class _RichBar:
    def __init__(self, bars: Any, task: Any, unit: str) -> None:
        self._bars, self._task, self._unit = bars, task, unit
        self._count, self._note, self._drawn = 0, "", 0.0

    def advance(self, count: int = 1, note: str = "") -> None:
        self._count, self._note = self._count + count, note or self._note
        now = time.monotonic()
        if now - self._drawn >= SECONDS_BETWEEN_DRAWINGS:
            self._drawn = now
            self._draw()

    def close(self) -> None:
        """Show what was not shown yet."""
        self._draw()

    def _draw(self) -> None:
        count, note, self._count = self._count, self._note, 0
        speed = self._bars.tasks[self._task].speed
        fields = {"rate": f"{speed:,.{0 if speed >= 10 else 1}f} {self._unit}/s" if speed else ""} | ({"note": note} if note else {})
        self._bars.update(self._task, advance=count, **fields)


class _Lines:
    def __init__(self, description: str, total: int | None, unit: str) -> None:
        self._description, self._total, self._unit = description, total, unit
        self._start = self._last = time.monotonic()
        self._done, self._note = 0, ""

    def advance(self, count: int = 1, note: str = "") -> None:
        self._done += count
        self._note = note or self._note
        if time.monotonic() - self._last >= SECONDS_BETWEEN_LINES:
            self._last = time.monotonic()
            self._print()

    def close(self) -> None:
        self._print()

    def _print(self) -> None:
        seconds = max(time.monotonic() - self._start, 1e-9)
        rate = self._done / seconds
        of = f" of {self._total:,}" if self._total else ""
        line = f"{self._description}: {self._done:,}{of} {self._unit}, {rate:,.1f}/s"
        if self._total and rate and self._done < self._total:
            line += f", {(self._total - self._done) / rate:,.0f} s left"
        say(line + (f", {self._note}" if self._note else ""))
