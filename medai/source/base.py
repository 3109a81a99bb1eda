"""What a source is: it lists what there is, then reads it in pieces that any process can take."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import date
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import polars as pl
from jaxtyping import Float64, Shaped

from medai.cohort.key import Keys
from medai.core.error import MedaiError
from medai.core.file import canonical_json, hash_text
from medai.core.label import Label
from medai.core.tasks import run_tasks

ITEM_SCHEMA = pl.Schema({"item": pl.String, "size": pl.Int64, "mtime_ns": pl.Int64})
REFUSED_SCHEMA = pl.Schema({"item": pl.String, "code": pl.String, "message": pl.String})
PERSON_SCHEMA = pl.Schema({"patient": pl.String, "site": pl.String, "sex": pl.String, "age_years": pl.Float64, "split": pl.String})
NOT_CONTENT = ("path", "labels", "workers")  # settings that say where things lie, not what they are


Run = Callable[[Callable[[Any, Any], Any], Any, Sequence[Any], int], Iterator[Any]]
"""What runs tasks: `medai.core.tasks.run_tasks`, or an executor of the same form."""


PUBLIC = Keys(None)


@dataclass(frozen=True)
class ScanContext:
    """What a scan may use.

    Attributes:
        cache: A folder that outlives the scan, for what need not be read twice; None keeps nothing.
        keys: How names are kept there.
        workers: Processes.
        run: What runs the tasks.
    """

    cache: Path | None = None
    keys: Keys = PUBLIC
    workers: int = 0
    run: Run = run_tasks


ALONE = ScanContext()


@dataclass(frozen=True)
class CaseRecord:
    """One case as the source knows it, in the clear. Names are keyed before anything is written.

    Attributes:
        item: The item's name in the scan.
        pixels: Modality values in MONOCHROME2 polarity, native size: an image (C, H, W) or a volume (C, D, H, W).
        case: The literal name of the case.
        acquisition: Columns of the case table that the source can fill: `site`, `manufacturer`, `spacing_mm`, …
        affine: Of a volume, from (w, h, d, 1) to LPS mm, see `medai.dicom.volume`.
    """

    item: str
    pixels: Shaped[np.ndarray, "C *D H W"]
    case: str
    patient: str | None = None
    study: str | None = None
    series: str | None = None
    study_date: date | None = None
    acquisition: Mapping[str, Any] = field(default_factory=dict)
    affine: Float64[np.ndarray, "4 4"] | None = None


@dataclass(frozen=True)
class RefusedItem:
    """One item that is no case, with its reason."""

    item: str
    code: str
    message: str


class Files(Protocol):
    """A row a file that was found, made when it is asked for, since there may be very many."""

    def pieces(self) -> Iterator[pl.DataFrame]:
        """Some rows at a time, at least one piece: `item`, `case_item` (the item that the file is part of; null: none), and the
        columns of `instances.parquet` in the clear.
        """
        ...


@dataclass(frozen=True)
class Scan:
    """Everything that is known before a pixel is read.

    Attributes:
        items: What is to be read: `item` (unique), `size` in bytes, `mtime_ns`, and columns that the source itself needs.
        labels: Definitions of the labels.
        annotations: A row an item: `key` (the item), `label.<name>` (class index, null = unknown), `label.<name>.uncertain` (then
            the index is null), perhaps `label.<name>.votes`, `patient`, `site`, `sex`, `age_years`, `split` (train, validation,
            test; null = not said).
        refused: What needs no reading to be refused, and rows of the label table without a file: `item`, `code`, `message`.
        label_source: Where labels come from: ``"table"``, ``"folder"``, ``"npz"`` or ``"none"``.
        digest: Hash of everything that the cohort depends on.
        instances: Where an item can be several files: each file that was found. None: each item is a file.
        stacks: The measured geometry of each stack of slices, see `medai.cohort.schema.STACK_SCHEMA`, in the clear; or None.
    """

    items: pl.DataFrame
    labels: tuple[Label, ...]
    annotations: pl.DataFrame
    refused: pl.DataFrame
    label_source: str
    digest: str
    instances: "Files | None" = None
    stacks: pl.DataFrame | None = None


class Source(Protocol):
    """A data set's definition that can list and read its cases. It is picklable, and so are its rows."""

    @property
    def name(self) -> str: ...
    @property
    def public(self) -> bool: ...
    @property
    def licence(self) -> str: ...
    @property
    def url(self) -> str: ...
    @property
    def description(self) -> str: ...
    @property
    def split(self) -> Mapping[str, Any]: ...
    @property
    def channels(self) -> int | None: ...

    def scan(self, context: ScanContext = ALONE) -> Scan:
        """List what there is.

        Args:
            context: What it may use, where it is much work.

        Raises:
            MedaiError: the definition does not fit the data: the whole job stops.
        """
        ...

    def prepare(self, scratch: Path) -> "Source":
        """A source that reads quickly at random, after unpacking into `scratch` what needs it. A second call does nothing."""
        ...

    def read(self, rows: pl.DataFrame) -> Iterator[CaseRecord | RefusedItem]:
        """Read some rows of the scan's items, one after another, in order."""
        ...


def refused_frame(items: Iterable[str], code: str, message: str) -> pl.DataFrame:
    """Rows for items that are refused for one reason."""
    names = pl.Series("item", items, dtype=pl.String)
    return names.to_frame().with_columns(code=pl.lit(code), message=pl.lit(message)).cast(dict(REFUSED_SCHEMA))  # type: ignore[arg-type]


def existing(path: str | None, key: str = "dataset.path") -> Path:
    """The path of a definition, checked.

    Raises:
        MedaiError: it is not set, or nothing is there.
    """
    if path is None or str(path) == "":
        raise MedaiError(f"{key} is not set; give {key}=…")
    if not Path(path).exists():
        raise MedaiError(f"{key} {path} does not exist")
    return Path(path)


def digest(source: Any, items: pl.DataFrame | Iterable[pl.DataFrame], extra: Mapping[str, Any]) -> str:
    """Hash of a definition's settings, of the names, sizes and times of what it lists (whole, or in pieces), and of `extra`."""
    settings = {entry.name: getattr(source, entry.name) for entry in fields(source) if entry.name not in NOT_CONTENT}
    listing = sha256()
    for number, piece in enumerate([items] if isinstance(items, pl.DataFrame) else items):
        listing.update(piece.select("item", "size", "mtime_ns").write_csv(include_header=number == 0).encode())
    return hash_text(canonical_json([type(source).__name__, _plain(settings), listing.hexdigest(), dict(extra)]))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)
