"""The pixels of a cohort's cases, for the audit: whole, and as thumbnails."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Num, UInt8

from medai.audit.phash import SIDE, signature
from medai.core.progress import progress
from medai.core.tasks import run_tasks
from medai.store.shard import NativePixels
from medai.store.volume import VolumePixels

PLACE = ("shard", "offset", "length", "volume")
CASES_PER_TASK = 128


@dataclass(frozen=True)
class CasePixels:
    """Reads cases by their rows; it travels to worker processes.

    Args:
        cohort: The cohort's folder.
    """

    cohort: Path

    def read(self, row: Mapping[str, Any]) -> Num[np.ndarray, "C *DHW"]:
        """Modality values (C, H, W), or (C, D, H, W) of a volume.

        Raises:
            MedaiError: they are missing or damaged.
        """
        if row.get("volume") is not None:
            return VolumePixels(self.cohort).read(row["volume"])
        return NativePixels(self.cohort).read(row["shard"], row["offset"], row["length"])


def thumbnails(source: CasePixels, cases: pl.DataFrame, workers: int = 2) -> UInt8[np.ndarray, "N 32 32"]:
    """The thumbnails of some cases, in their order; every case's pixels are read once."""
    rows = cases.select(name for name in PLACE if name in cases.columns)
    tasks = [(start, rows[start : start + CASES_PER_TASK]) for start in range(0, len(rows), CASES_PER_TASK)]
    found = np.zeros((len(rows), SIDE, SIDE), np.uint8)
    few = len(rows) < 4 * CASES_PER_TASK  # done sooner than processes have started
    with progress("Audit: look at", len(rows)) as bar:
        for start, some in run_tasks(_thumbnails, source, tasks, 0 if few else workers):
            found[start : start + len(some)] = some
            bar.advance(len(some))
    return found


def _thumbnails(source: CasePixels, task: tuple[int, pl.DataFrame]) -> tuple[int, UInt8[np.ndarray, "n 32 32"]]:
    start, rows = task
    return start, np.stack([signature(source.read(row)).thumbnail for row in rows.iter_rows(named=True)])
