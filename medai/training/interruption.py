"""Signals that ask a training to end: its state is saved at the end of the step."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from medai.core.error import MedaiError
from medai.core.progress import say

ASKING = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)  # a scheduler's end, Slurm's warning, Ctrl-C


class Interrupted(MedaiError):
    """The training ended because it was asked to; its state is safe.

    Attributes:
        exit_code: 128 and the signal's number, as shells have it: schedulers then know that it was not a failure.
    """

    def __init__(self, number: int, resume: str) -> None:
        super().__init__(f"the training was asked to end ({signal.Signals(number).name}) and saved its state; go on with: {resume}")
        self.exit_code = 128 + number


class Interruption:
    """Remembers the signal that came, if any.

    Attributes:
        number: Of the signal; 0 while none came.
    """

    def __init__(self) -> None:
        self.number = 0

    @contextmanager
    def watched(self) -> Iterator["Interruption"]:
        """Catch the signals while the block runs. A second Ctrl-C ends it at once."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        before = {number: signal.signal(number, self._caught) for number in ASKING}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _caught(self, number: int, _: FrameType | None) -> None:
        if number == signal.SIGINT and self.number == signal.SIGINT:
            raise KeyboardInterrupt
        if not self.number:
            say(f"{signal.Signals(number).name} came: the state is saved at the end of this step")
        self.number = number
