"""Records on their way to MLflow: sent by a thread of their own, so that a slow or absent server holds up nothing."""

import re
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from medai.core.progress import say

FIRST_WAIT = 2.0  # seconds until a failed sending is tried again; doubled each time
LONGEST_WAIT = 30.0
SECONDS_BETWEEN_SENDINGS = 2.0  # a sending has a price, whatever it carries
MOST_METRICS = 500  # of one request; MLflow takes 1,000
PERMANENT = ("INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST", "PERMISSION_DENIED")


class Outbox:
    """Sends records in their order, and keeps what the server does not take until it does.

    Args:
        name: Of the run, for messages.
        log_batch: Sends a list of metrics.
    """

    def __init__(self, name: str, log_batch: Callable[[list[Any]], object]) -> None:
        self._name, self._log_batch = name, log_batch
        self._waiting: deque[Any] = deque()  # metrics, and calls of anything else
        self._changed = threading.Condition()
        self._hurried = 0  # how many wait for everything to be sent
        self._away_since: float | None = None  # since when the server does not answer
        threading.Thread(target=self._work, daemon=True, name="mlflow").start()

    def metrics(self, metrics: list[Any]) -> None:
        """Send metrics, some day."""
        with self._changed:
            self._waiting.extend(metrics)
            self._changed.notify_all()

    def call(self, call: Callable[[], object]) -> None:
        """Do something else, after what was put in before."""
        with self._changed:
            self._waiting.append(call)
            self._changed.notify_all()

    def flush(self, patience_seconds: float) -> int:
        """Wait until everything is sent, or the server has not answered for `patience_seconds`.

        Returns:
            How many records are still waiting.
        """
        with self._changed:
            begun = time.monotonic()
            self._hurried += 1
            self._changed.notify_all()
            while self._waiting:
                away = self._away_since
                if away is not None and time.monotonic() - max(away, begun) > patience_seconds:
                    break
                self._changed.wait(0.2)
            self._hurried -= 1
            return len(self._waiting)

    def _work(self) -> None:
        wait = FIRST_WAIT
        while True:
            with self._changed:
                while not self._waiting:
                    self._changed.wait()
                self._changed.wait_for(lambda: self._hurried, SECONDS_BETWEEN_SENDINGS)
                head = self._waiting[0]
                batch = [] if callable(head) else self._head_metrics()
            try:
                head() if callable(head) else self._log_batch(batch)
            except Exception as error:
                if getattr(error, "error_code", None) not in PERMANENT:
                    self._fail(error)
                    time.sleep(wait)
                    wait = min(2 * wait, LONGEST_WAIT)
                    continue
                say(f"MLflow refuses a record of run {self._name} ({first_line(error)}); it stays in the run's folder")
            wait = FIRST_WAIT
            self._succeed(len(batch) or 1)

    def _head_metrics(self) -> list[Any]:
        metrics: list[Any] = []
        for item in self._waiting:
            if callable(item) or len(metrics) == MOST_METRICS:
                break
            metrics.append(item)
        return metrics

    def _fail(self, error: Exception) -> None:
        if self._away_since is None:
            say(f"MLflow does not take the records of run {self._name} ({first_line(error)}); they wait, and the training goes on")
        with self._changed:
            self._away_since = self._away_since or time.monotonic()

    def _succeed(self, count: int) -> None:
        if self._away_since is not None:
            say(f"MLflow answers again; the records of run {self._name} that waited are sent")
        with self._changed:
            self._away_since = None
            for _ in range(count):
                self._waiting.popleft()
            self._changed.notify_all()


def first_line(error: Exception) -> str:
    """The first line of an error's text, or its name; of a server that is away only what the system said."""
    refused = re.search(r"\[Errno -?\d+\] [\w ]+", str(error))
    if refused:
        return f"it does not answer: {refused[0].strip()}"
    return str(error).splitlines()[0] if str(error) else type(error).__name__
