"""A process that hangs ends itself, so that whoever gave it the work can give it to another."""

import multiprocessing
import os
import threading
import time
from types import TracebackType

EXIT_CODE = 75
_SECONDS = 0.5  # between two looks


class Watchdog:
    """Ends a worker process when a piece of work takes longer than it may; in a process of nobody else's it only looks on.

    Example:
        >>> with Watchdog() as watchdog:
        ...     watchdog.allow(10.0)
    """

    def __init__(self) -> None:
        self._deadline = float("inf")
        self._done = threading.Event()

    def allow(self, seconds: float) -> None:
        """Begin a piece of work of at most so many seconds."""
        self._deadline = time.monotonic() + seconds

    def __enter__(self) -> "Watchdog":
        if multiprocessing.parent_process() is not None:
            threading.Thread(target=self._watch, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._done.set()

    def _watch(self) -> None:
        while not self._done.wait(_SECONDS):
            if time.monotonic() > self._deadline:
                os._exit(EXIT_CODE)
