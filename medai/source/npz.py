"""MedMNIST's layout: one npz file with `train_images`, `train_labels`, `val_…` and `test_…`; its own splits are kept."""

import re
import shutil
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Shaped

from medai.core.error import MedaiError
from medai.core.file import atomic_file
from medai.core.label import Label
from medai.source.base import ALONE, PERSON_SCHEMA, REFUSED_SCHEMA, CaseRecord, RefusedItem, Scan, ScanContext, digest, existing
from medai.source.target import Target, parse_targets

SPLITS = {"train": "train", "val": "validation", "test": "test"}


@dataclass(frozen=True)
class NpzSource:
    """A file in MedMNIST's layout. Column k of `*_labels` is the k-th target. It names no patients.

    Attributes:
        name: Names the cohort.
        path: The npz file.
        targets: A mapping a column: name, kind, classes, meaning.
        public: Literal names in the cohort; else they are keyed.
        licence: As the data's owner states it.
        url: Where the data come from.
        description: One sentence for people.
        split: See `SplitSettings`; `validation` is drawn only where the file has no `val_images`.
        channels: What a network should take by default; None: what the images have.
    """

    name: str
    path: str | None = None
    targets: list[Any] = field(default_factory=list)
    public: bool = True
    licence: str = ""
    url: str = ""
    description: str = ""
    split: dict[str, Any] = field(default_factory=dict)
    channels: int | None = None
    unpacked: str | None = None  # where `prepare` put the arrays

    def scan(self, context: ScanContext = ALONE) -> Scan:
        path = existing(self.path)
        headers = array_headers(path)
        splits = [split for split in SPLITS if f"{split}_images" in headers]
        if not splits:
            raise MedaiError(f"{path} is not in MedMNIST's layout: it has no train_images; its arrays: {', '.join(headers) or 'none'}")
        targets = parse_targets(self.targets)
        items = pl.concat([_items(path, split, headers) for split in splits])
        raw = np.concatenate([_labels(path, split, headers, len(targets)) for split in splits]) if targets else np.zeros((len(items), 0))
        labels, values = _apply(targets, raw, path)
        annotations = pl.DataFrame([items["item"].alias("key"), *values]).with_columns(
            pl.lit(None, dtype=dtype).alias(name) for name, dtype in PERSON_SCHEMA.items() if name != "split"
        ).with_columns(split=items["array"].replace_strict(SPLITS))  # fmt: skip
        found = digest(replace(self, unpacked=None), items, {"headers": {name: str(header) for name, header in headers.items()}})
        return Scan(items, labels, annotations, REFUSED_SCHEMA.to_frame(), "npz" if targets else "none", found)

    def prepare(self, scratch: Path) -> "NpzSource":
        """Unpack the images, so that any of them is read from a memory map: a compressed array can only be read from its start."""
        path = existing(self.path)
        for name in array_headers(path):
            target = scratch / f"{name}.npy"
            if name.endswith("_images") and not target.exists():
                _unpack(path, f"{name}.npy", target)
        return replace(self, unpacked=str(scratch))

    def read(self, rows: pl.DataFrame) -> Iterator[CaseRecord | RefusedItem]:
        folder = existing(self.unpacked, "unpacked")
        maps: dict[str, Shaped[np.ndarray, "N H W *colour"]] = {}
        for item, array, index in rows.select("item", "array", "index").iter_rows():
            if array not in maps:
                maps[array] = np.load(folder / f"{array}_images.npy", mmap_mode="r")
            picture = np.asarray(maps[array][index])
            pixels = picture[None] if picture.ndim == 2 else np.moveaxis(picture, -1, 0)
            yield CaseRecord(item, np.ascontiguousarray(pixels), item)


def _unpack(path: Path, member: str, target: Path) -> None:
    with (
        atomic_file(target) as temporary,
        zipfile.ZipFile(path) as archive,
        archive.open(member) as packed,
        open(temporary, "wb") as out,
    ):
        shutil.copyfileobj(packed, out, 1 << 20)


def array_headers(path: Path) -> dict[str, tuple[tuple[int, ...], np.dtype[Any]]]:
    """Shape and dtype of every array of an npz file, without reading the arrays.

    Raises:
        MedaiError: the file is not an npz file.
    """
    headers = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                with archive.open(name) as stream:
                    version = np.lib.format.read_magic(stream)
                    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
                    shape, _, dtype = read(stream)
                headers[name.removesuffix(".npy")] = (shape, dtype)
    except (zipfile.BadZipFile, OSError, ValueError, EOFError) as error:
        raise MedaiError(f"{path} is not a readable npz file ({error}); get it again") from None
    return headers


def _items(path: Path, split: str, headers: dict[str, tuple[tuple[int, ...], np.dtype[Any]]]) -> pl.DataFrame:
    shape, dtype = headers[f"{split}_images"]
    if len(shape) not in (3, 4) or (len(shape) == 4 and shape[-1] not in (1, 3)) or dtype.kind not in "buif":
        got = f"{path}: {split}_images has shape {shape} and dtype {dtype}"
        raise MedaiError(f"{got}; expected numbers of shape (N, H, W) or (N, H, W, 3), since volumes are not read yet")
    size = int(np.prod(shape[1:])) * dtype.itemsize
    frame = pl.select(pl.int_range(shape[0], dtype=pl.Int64).alias("index"))
    return frame.select(
        (pl.lit(f"{split}-") + pl.col("index").cast(pl.String).str.zfill(6)).alias("item"),
        pl.lit(size, dtype=pl.Int64).alias("size"), pl.lit(path.stat().st_mtime_ns, dtype=pl.Int64).alias("mtime_ns"),
        pl.lit(split).alias("array"), pl.col("index"),
    )  # fmt: skip


def _labels(path: Path, split: str, headers: dict[str, tuple[tuple[int, ...], np.dtype[Any]]], count: int) -> Shaped[np.ndarray, "N L"]:
    name = f"{split}_labels"
    if name not in headers:
        raise MedaiError(f"{path} has no {name}; its arrays: {', '.join(headers)}")
    images = headers[f"{split}_images"][0][0]
    with np.load(path, allow_pickle=False) as archive:
        labels = np.asarray(archive[name])
    labels = labels.reshape(len(labels), -1)
    if labels.shape != (images, count):
        got = f"{path}: {name} has shape {labels.shape}, but there are {images} images and {count} targets"
        raise MedaiError(f"{got}; give dataset.targets one entry a column")
    return labels


def _apply(targets: tuple[Target, ...], raw: Shaped[np.ndarray, "N L"], path: Path) -> tuple[tuple[Label, ...], list[pl.Series]]:
    labels: list[Label] = []
    values: list[pl.Series] = []
    for column, target in enumerate(targets):
        series = pl.Series(target.column, np.ascontiguousarray(raw[:, column]), nan_to_null=True)
        label = target.label(series)
        labels.append(label)
        values.extend(target.columns(series, label, re.sub(r"\s+", " ", str(path))))
    return tuple(labels), values
