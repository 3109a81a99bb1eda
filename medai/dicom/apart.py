"""Decode in a process apart: a decoder that ends its process on a damaged stream then costs one frame, not the program.

One child is started at the first such frame and kept. Frames go through its pipe, arrays come back in a file that both have open
(in memory where the system has such files); it is a process of this program, so that what comes back is as trusted as what was sent.
"""

import atexit
import os
import pickle
import select
import struct
import subprocess
import sys
import tempfile
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
        self._file = _shared_file()
        command = [sys.executable, "-m", "medai.dicom.apart", str(self._file)]
        self._process = subprocess.Popen(command, env=environment, pass_fds=(self._file,), **pipes)
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
        found, error = _receive(self._process.stdout)
        if error is not None:
            return None, error
        dtype, shape, photometric = found
        array = np.empty(shape, dtype)
        if os.preadv(self._file, [_bytes_of(array)], 0) != array.nbytes:
            raise EOFError
        return (array, photometric), None

    def end(self) -> None:
        if self.is_ours():
            self._process.kill()
            self._process.communicate()
            os.close(self._file)
            atexit.unregister(self.end)


def _shared_file() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("medai")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _bytes_of(array: Shaped[np.ndarray, "..."]) -> memoryview:
    return array.reshape(-1).view(np.uint8).data


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

    file = int(sys.argv[1])
    questions, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a C library prints must not get among the answers
    while True:
        try:
            name, frame, layout = _receive(questions)
        except EOFError:
            return
        try:
            array, photometric = decode_with(name, frame, layout)
            plain = np.ascontiguousarray(array)
            os.pwritev(file, [_bytes_of(plain)], 0)
            answer: tuple[Any, str | None] = ((plain.dtype, plain.shape, photometric), None)
        except BaseException as error:  # a decoder may raise anything
            answer = (None, (str(error).strip().splitlines() or [type(error).__name__])[-1])
        _send(answers, answer)


if __name__ == "__main__":
    _serve()
