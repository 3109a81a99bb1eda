"""medai: train, evaluate and ship imaging-diagnosis models. Importing it imports nothing heavy.

The Python API under the command line::

    medai.Cohort.open(path)                    # audited data
    medai.train(config)                        # a run
    medai.evaluate(table, labels, thresholds)  # statistics of a table of predictions
    medai.Package.load(path).predict(pixels)   # an exported model, without torch
"""

import importlib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from medai.cohort.cohort import Cohort as Cohort
    from medai.device.package import Package as Package
    from medai.evaluation.evaluate import evaluate as evaluate
    from medai.training.train import train as train

__version__ = "0.1.0"

# Polars' allocator otherwise keeps what is freed for ten seconds, and memory grows by that. It is read when Polars is loaded.
os.environ.setdefault("_RJEM_MALLOC_CONF", "dirty_decay_ms:0,muzzy_decay_ms:0")

_EXPORTS = {
    "Cohort": "medai.cohort.cohort",
    "Package": "medai.device.package",
    "evaluate": "medai.evaluation.evaluate",
    "train": "medai.training.train",
}


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module 'medai' has no attribute {name!r}")
    return getattr(importlib.import_module(_EXPORTS[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_EXPORTS])
