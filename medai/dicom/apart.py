"""Decode in a process apart: a decoder that ends its process on a damaged stream then costs one frame, not the program.

One child is started at the first such frame and kept. Frames and arrays go through its pipes; it is a process of this program,
so that what comes back is as trusted as what was sent.
"""

import atexit
import os
import pickle
import select
import struct
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Shaped

if TYPE_CHECKING:
    from medai.dicom.decoder import Layout

SECONDS = 60.0  # for one frame, the start of the process included; a decoder that needs longer hangs
_LENGTH = struct.Struct("<Q")
_lock = threading.Lock()
_child: "_Child | None" = None


def decode_apart(name: str, frame: bytes, layout: "Layout") -> tuple[Shaped[np.ndarray, "H W *C"], str]:
    """`medai.dicom.decoder.decode_with` in the process apart.

    Raises:
        ValueError: the stream ended the decoder, held it up, or is damaged.
    """
    global _child
    with _lock:
        if _child is None or not _child.is_ours():
            _child = _Child()
        try:
            found, error = _child.ask((name, frame, layout))
        except (EOFError, OSError, TimeoutError):
            _child.end()
            _child = None
            raise ValueError("the stream ended the decoder or held it up") from None
    if error is not None:
        raise ValueError(error)
    return found  # type: ignore[no-any-return]


class _Child:
    def __init__(self) -> None:
        self._owner = os.getpid()
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        self._process = subprocess.Popen([sys.executable, "-m", "medai.dicom.apart"], env=environment, **pipes)
        atexit.register(self.end)

    def is_ours(self) -> bool:
        """Not the parent's, of which this process was forked."""
        return self._owner == os.getpid()

    def ask(self, question: Any) -> Any:
        assert self._process.stdin
        assert self._process.stdout
        _send(self._process.stdin, question)
        if not select.select([self._process.stdout], [], [], SECONDS)[0]:
            raise TimeoutError
        return _receive(self._process.stdout)

    def end(self) -> None:
        if self.is_ours():
            self._process.kill()
            self._process.communicate()
            atexit.unregister(self.end)


def _send(stream: Any, value: Any) -> None:
    data = pickle.dumps(value)
    stream.write(_LENGTH.pack(len(data)) + data)
    stream.flush()


def _receive(stream: Any) -> Any:
    head = stream.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        raise EOFError
    data = stream.read(_LENGTH.unpack(head)[0])
    return pickle.loads(data)  # of our own child


def _serve() -> None:
    from medai.dicom.decoder import decode_with

    questions, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a C library prints must not get among the answers
    while True:
        try:
            name, frame, layout = _receive(questions)
        except EOFError:
            return
        try:
            answer: tuple[Any, str | None] = (decode_with(name, frame, layout), None)
        except BaseException as error:  # a decoder may raise anything
            answer = (None, (str(error).strip().splitlines() or [type(error).__name__])[-1])
        _send(answers, answer)


if __name__ == "__main__":
    _serve()
