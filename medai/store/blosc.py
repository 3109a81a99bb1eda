"""Blosc2 without the BLOSC_* variables of the surroundings: they win over the arguments, and change the bytes."""

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def own_settings() -> Iterator[None]:
    """Hide the variables (BLOSC_NTHREADS, BLOSC_CLEVEL, ...) while something is compressed."""
    hidden = {name: os.environ.pop(name) for name in [*os.environ] if name.startswith("BLOSC_")}
    try:
        yield
    finally:
        os.environ.update(hidden)
