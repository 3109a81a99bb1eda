"""One process at a time makes a cohort, a view or a tracking store; the others wait and then find it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from medai.core.error import MedaiError


@contextmanager
def locked(path: Path, *, refuse: str | None = None) -> Iterator[None]:
    """Hold the lock `path`, an empty hidden file that stays. It falls with its process, however that ends.

    Args:
        path: The lock's file.
        refuse: What to say when another process holds it; None waits for it.

    Raises:
        MedaiError: another process holds it, and `refuse` says so.
    """
    import fcntl

    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        if refuse is not None:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise MedaiError(refuse) from None
        with suppress(OSError):  # a file system without locks: then two processes do the same work, and the later rename loses
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
