"""Ordinary pictures: a folder a class, or a folder and a table."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import polars as pl

from medai.cohort.split import SOURCE_SPLITS
from medai.core.error import MedaiError, Refusal
from medai.core.file import hash_file
from medai.core.label import Label
from medai.core.picture import PICTURE_SUFFIXES, read_picture
from medai.source.base import ALONE, PERSON_SCHEMA, CaseRecord, RefusedItem, Scan, ScanContext, digest, existing, refused_frame
from medai.source.cells import split_sheet
from medai.source.listing import file_name, list_files
from medai.source.readers import ReaderSettings
from medai.source.table import annotate, find_table, match_files, need_column, read_table, role_columns
from medai.source.target import Target, order_classes, parse_targets

FOLDER = "class folder"  # the raw column of a folder-per-class data set
DEFAULT_LABEL = "label"
NOT_A_PICTURE = f"not a picture by its name; pictures end in {', '.join(sorted(PICTURE_SUFFIXES))}"


@dataclass(frozen=True)
class ImagesSource:
    r"""Pictures (PNG, JPEG, TIFF, BMP, npy) in a folder.

    Without a table the first folder below `path` is the class, and above it a folder `train`, `val` or `test` is the split.

    Attributes:
        name: Names the cohort.
        path: The folder.
        labels: A CSV, Parquet or Excel table, a row a file; None: a folder a class.
        targets: Columns of the table, or mappings: name, column, kind, classes, values, meaning. Without a table: one at most,
            whose `values` lead from folder names to classes.
        columns: Role to column: file, patient, site, sex, age, split. A column of the role's own name need not be declared.
        readers: What becomes of several readers' labels, see `medai.source.readers.ReaderSettings`.
        patient_pattern: Regular expression searched in the file name; its first group is the patient.
        site_pattern: Likewise for the site, searched in the path below `path`.
        public: Literal names in the cohort; else they are keyed.
        licence: As the data's owner states it.
        url: Where the data come from.
        description: One sentence for people.
        split: See `SplitSettings`.
        channels: What a network should take by default; None: what the images have.

    Example:
        >>> ImagesSource(name="cxr", path="train", patient_pattern=r"(person\d+)_").scan().labels[0].classes
        ('NORMAL', 'PNEUMONIA')
    """

    name: str
    path: str | None = None
    labels: str | None = None
    targets: list[Any] = field(default_factory=list)
    columns: dict[str, str] = field(default_factory=dict)
    readers: dict[str, Any] = field(default_factory=dict)
    patient_pattern: str | None = None
    site_pattern: str | None = None
    public: bool = False
    licence: str = ""
    url: str = ""
    description: str = ""
    split: dict[str, Any] = field(default_factory=dict)
    channels: int | None = None

    def scan(self, context: ScanContext = ALONE) -> Scan:
        folder = existing(self.path)
        table = find_table(self.labels, folder)
        items = list_files(self.path, leave_out=table)
        pictures = items["item"].str.to_lowercase().str.extract(r"(\.[^./]*)$").is_in(list(PICTURE_SUFFIXES)).fill_null(False)
        strange = refused_frame(items.filter(~pictures)["item"], "not-a-picture", NOT_A_PICTURE)
        listed, targets = items.filter(pictures), parse_targets(self.targets)
        known = self._from_table(table, listed, targets) if table else _from_folders(listed, targets, folder)
        annotations, labels, refused = known
        annotations = annotations.with_columns(
            patient=pl.coalesce("patient", _extract(annotations["key"].str.extract(r"([^/]*)$"), self.patient_pattern, "patient_pattern")),
            site=pl.coalesce("site", _extract(annotations["key"], self.site_pattern, "site_pattern")),
        )
        refused = pl.concat([strange, refused])
        rest = listed.join(refused, on="item", how="anti", maintain_order="left")
        source = "table" if table else "folder"
        extra = {"table": hash_file(table) if table else None, "sheet": split_sheet(self.labels or "")[1]}
        return Scan(rest, labels, annotations, refused, source, digest(self, items, extra))

    def _from_table(
        self, path: Path, listed: pl.DataFrame, targets: tuple[Target, ...]
    ) -> tuple[pl.DataFrame, tuple[Label, ...], pl.DataFrame]:
        frame = read_table(path, split_sheet(self.labels or "")[1])
        roles = role_columns(frame, self.columns, path)
        key = roles.get("file", "file")
        need_column(frame, key, "dataset.columns.file", path)
        annotations, labels = annotate(frame, roles, targets, key, path, ReaderSettings.from_dict(self.readers))
        annotations = annotations.with_row_index("reading")
        annotations, absent = match_files(annotations, listed["item"])
        refused = [refused_frame(absent, "missing-file", "the label table names this file, and it is not there")]
        unlisted = listed.join(annotations, left_on="item", right_on="key", how="anti", maintain_order="left")["item"]
        if targets:
            refused.append(refused_frame(unlisted, "no-label-row", "the label table has no row for this file"))
        return annotations if targets else _fill(annotations, unlisted), labels, pl.concat(refused)

    def prepare(self, scratch: Path) -> "ImagesSource":
        return self

    def read(self, rows: pl.DataFrame) -> Iterator[CaseRecord | RefusedItem]:
        folder = existing(self.path)
        for item in rows["item"]:
            path = folder / file_name(item)
            try:
                yield CaseRecord(item, read_picture(path), item)
            except Refusal as refusal:
                yield RefusedItem(item, refusal.code, refusal.message.replace(str(path), item))


def _fill(annotations: pl.DataFrame, unlisted: pl.Series) -> pl.DataFrame:
    """Files without a row stay cases when there are no targets: they get an empty one, so that patterns apply to them too."""
    return pl.concat([annotations, unlisted.alias("key").to_frame()], how="diagonal")


def _from_folders(listed: pl.DataFrame, targets: tuple[Target, ...], folder: Path) -> tuple[pl.DataFrame, tuple[Label, ...], pl.DataFrame]:
    if len(targets) > 1:
        raise MedaiError(f"a folder a class can be one target only, got {len(targets)}; give dataset.labels=… (a table) for more")
    parts = listed["item"].str.split("/")
    tops = set(parts.list.first().filter(parts.list.len() > 1).str.to_lowercase().to_list())
    depth = 1 if tops and tops <= set(SOURCE_SPLITS) else 0
    inside = parts.list.len() > depth + 1
    classes = parts.filter(inside).list.get(depth).alias(FOLDER)
    target, label = _folder_label(classes, targets, folder)
    values = target.columns(classes, label, f"{folder},")
    nothing = [pl.lit(None, dtype=dtype).alias(name) for name, dtype in PERSON_SCHEMA.items()]
    annotations = listed["item"].filter(inside).alias("key").to_frame().with_columns(*values, *nothing)
    if depth:
        tops_inside = parts.filter(inside).list.first().str.to_lowercase()
        annotations = annotations.with_columns(split=tops_inside.replace_strict(SOURCE_SPLITS, return_dtype=pl.String))
    outside = refused_frame(listed["item"].filter(~inside), "no-class-folder", "the picture lies in no class folder")
    return annotations, (label,), outside


def _folder_label(classes: pl.Series, targets: tuple[Target, ...], folder: Path) -> tuple[Target, Label]:
    """The target of a folder-per-class data set, and its label: the folders' names are the classes where nothing else is said."""
    names = order_classes(classes.unique().to_list())
    target = replace(targets[0], column=FOLDER) if targets else Target(DEFAULT_LABEL, FOLDER)
    if len(names) < 2 and not (names and (target.classes or target.values)):
        got = f"the class folder {names[0]!r} alone" if names else "no class folders"
        raise MedaiError(f"{folder} has {got}; put the images of each class in a folder of its own, or give dataset.labels=…")
    if target.classes or target.values:
        return target, target.label(classes)
    return target, Label(target.name, target.kind or ("binary" if len(names) == 2 else "multiclass"), tuple(names), target.meaning)


def _extract(names: pl.Series, pattern: str | None, key: str) -> pl.Series:
    if pattern is None:
        return pl.Series([None] * len(names), dtype=pl.String)
    check_pattern(pattern, key)
    return names.map_elements(lambda name: match_group(pattern, name), return_dtype=pl.String)


def check_pattern(pattern: str, key: str) -> None:
    """Refuse what is no regular expression with a group."""
    try:
        groups = re.compile(pattern).groups
    except re.error as error:
        raise MedaiError(f"dataset.{key} {pattern!r} is not a regular expression: {error}") from None
    if groups < 1:
        raise MedaiError(f"dataset.{key} {pattern!r} has no group; put parentheses round the part to take, e.g. '(person\\d+)_'")


def match_group(pattern: str, text: str) -> str | None:
    """The first group of `pattern` in `text`, or None."""
    match = re.search(pattern, text)
    return match.group(1) if match else None
