"""Views: the images of a cohort at one shape, raw in one file, gathered a batch at a time from a memory map."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Int64, Shaped, UInt64

from medai.cohort.schema import check_version
from medai.core.error import MedaiError
from medai.core.file import read_json

VIEW_SCHEMA_VERSION = "1.1"
VIEW_RECORD = "view.json"
VIEW_PIXELS = "pixels.raw"
VIEW_CHECKSUMS = "checksums.raw"  # of each row, uint64
SMALLEST_RANGE = 64  # integers of a smaller range lose too much when a resized value is rounded to one


def checksums(images: Shaped[np.ndarray, "n C H W"]) -> UInt64[np.ndarray, " n"]:
    """A checksum of each image's bytes: its words of 64 bits, each times an odd number of its own, added up modulo 2^64.

    A changed word always changes it. CRC-32 takes six times as long.
    """
    rows = np.ascontiguousarray(images).reshape(len(images), -1).view(np.uint8)
    if rows.shape[1] % 8:
        rows = np.pad(rows, ((0, 0), (0, -rows.shape[1] % 8)))
    words = rows.view("<u8")
    factors = np.arange(words.shape[1], dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15) | np.uint64(1)
    sums: UInt64[np.ndarray, " n"] = np.einsum("ij,j->i", words, factors)
    return sums


@dataclass(frozen=True)
class Encoding:
    """How values are stored: value = stored * scale + offset.

    Attributes:
        dtype: ``"uint8"``, ``"int16"`` or ``"uint16"``.
        scale: In modality values.
        offset: In modality values.
    """

    dtype: str
    scale: float = 1.0
    offset: float = 0.0

    @staticmethod
    def choose(low: float, high: float, integers: bool) -> "Encoding":
        """The smallest exact integer type for values in [low, high], else 65,536 equal steps.

        Example:
            >>> Encoding.choose(-1024, 3071, integers=True)
            Encoding(dtype='int16', scale=1.0, offset=0.0)
        """
        if integers and high - low >= SMALLEST_RANGE:
            for dtype in ("uint8", "int16", "uint16"):
                if np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max:
                    return Encoding(dtype)
        return Encoding("uint16", (high - low) / 65535 or 1.0, low)

    def encode(self, values: Shaped[np.ndarray, "..."]) -> Shaped[np.ndarray, "..."]:
        """Round values to what is stored; values outside the type's range are clipped."""
        limits = np.iinfo(self.dtype)
        stored = values if (self.scale, self.offset) == (1.0, 0.0) else (values.astype(np.float64) - self.offset) / self.scale
        return np.clip(np.rint(stored), limits.min, limits.max).astype(self.dtype)

    def decode(self, stored: Shaped[np.ndarray, "..."]) -> Shaped[np.ndarray, "..."]:
        """Modality values (float32) of stored ones."""
        return (stored.astype(np.float64) * self.scale + self.offset).astype(np.float32)


class Damaged(MedaiError):
    """A row of a view is not what was written.

    Attributes:
        row: Its number.
    """

    def __init__(self, path: Path, row: int) -> None:
        super().__init__(f"row {row} of {path} was changed on the disk (its checksum differs); remove {path}, it is made again when needed")
        self.row = row


@dataclass
class View:
    """A view on disk. It opens its file when first read, once in each process, and holds each row against its checksum the first time.

    Attributes:
        path: The view's folder.
        meta: `view.json`.

    Example:
        >>> view = View.open(cohort.path / "views" / plan.hash)
        >>> view.gather(np.array([7, 0, 7])).shape
        (3, 1, 224, 224)
    """

    path: Path
    meta: dict[str, Any] = field(repr=False)
    _map: np.memmap[Any, Any] | None = field(default=None, repr=False, compare=False)
    _checksums: np.memmap[Any, Any] | None = field(default=None, repr=False, compare=False)
    _unchecked: Bool[np.ndarray, " N"] | None = field(default=None, repr=False, compare=False)

    @staticmethod
    def open(path: Path | str) -> "View":
        """Open a view.

        Raises:
            MedaiError: there is none, or its files have another size than its record says.
        """
        path = Path(path)
        meta = read_json(path / VIEW_RECORD)
        check_version(meta.get("schema_version"), path, "a view", VIEW_SCHEMA_VERSION)
        view = View(path, meta)
        for name, expected in ((VIEW_PIXELS, int(np.prod(view.shape)) * view.dtype.itemsize), (VIEW_CHECKSUMS, 8 * view.shape[0])):
            found = (path / name).stat().st_size if (path / name).is_file() else 0
            if found != expected:
                raise MedaiError(f"{path / name} has {found} bytes, expected {expected}; remove {path}, it is made again when needed")
        return view

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(N, C, H, W)."""
        count, channels, height, width = self.meta["shape"]
        return count, channels, height, width

    @property
    def encoding(self) -> Encoding:
        return Encoding(self.meta["dtype"], self.meta["scale"], self.meta["offset"])

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the stored values."""
        dtype: np.dtype[Any] = np.dtype(self.meta["dtype"])
        return dtype

    @property
    def scale(self) -> float:
        """Of what is stored: value = stored * scale + offset."""
        return float(self.meta["scale"])

    @property
    def offset(self) -> float:
        """Of what is stored: value = stored * scale + offset."""
        return float(self.meta["offset"])

    @property
    def ordinals(self) -> Int64[np.ndarray, " N"]:
        """The case of each row: every case of the cohort is in, in the cohort's order."""
        return np.arange(self.shape[0])

    def gather(self, rows: Int64[np.ndarray, " n"]) -> Shaped[np.ndarray, "n C H W"]:
        """Copy rows out of the view, as stored.

        Args:
            rows: Row numbers in any order, repetitions allowed.

        Raises:
            Damaged: a row is not what was written.
        """
        if self._map is None or self._unchecked is None:
            self._map = np.memmap(self.path / VIEW_PIXELS, dtype=self.dtype, mode="r", shape=self.shape)
            self._checksums = np.memmap(self.path / VIEW_CHECKSUMS, dtype=np.uint64, mode="r", shape=self.shape[:1])
            self._unchecked = np.ones(self.shape[0], dtype=bool)
        stored = np.asarray(self._map[rows])
        fresh = self._unchecked[rows]
        if fresh.all():
            self._check(rows, stored)
        elif fresh.any():
            self._check(rows[fresh], stored[fresh])
        return stored

    def _check(self, rows: Int64[np.ndarray, " n"], stored: Shaped[np.ndarray, "n C H W"]) -> None:
        assert self._checksums is not None
        assert self._unchecked is not None
        wrong = rows[checksums(stored) != self._checksums[rows]]
        if len(wrong):
            raise Damaged(self.path, int(wrong[0]))
        self._unchecked[rows] = False

    def __getstate__(self) -> dict[str, Any]:
        own = {"_map": None, "_checksums": None, "_unchecked": None}  # each process maps the files itself
        return {"path": self.path, "meta": self.meta} | own
