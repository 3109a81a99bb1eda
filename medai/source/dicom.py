"""DICOM files and a label table."""

import json
import os
import re
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from medai.cohort.split import SplitSettings
from medai.core.error import MedaiError, Refusal
from medai.core.file import hash_file
from medai.core.label import Label
from medai.dicom.attribute import read_attributes
from medai.dicom.deidentify.burned_in import BurnedIn, Crop, judge_burned_in
from medai.dicom.parse import quiet
from medai.dicom.read import DicomImage, read_frames
from medai.dicom.series_rules import SeriesRules
from medai.dicom.stack import Judged, Stacks, frame_items, judge_studies, put_together, read_frame_table
from medai.dicom.volume import read_volume
from medai.source.archive import item_folder, list_items, open_item
from medai.source.base import (
    ALONE,
    ITEM_SCHEMA,
    PERSON_SCHEMA,
    REFUSED_SCHEMA,
    CaseRecord,
    RefusedItem,
    Scan,
    ScanContext,
    digest,
    refused_frame,
)
from medai.source.cells import split_sheet
from medai.source.images import check_pattern, match_group
from medai.source.instances import NOWHERE, Instances, open_instances
from medai.source.packed import Packed, compact
from medai.source.readers import ReaderSettings
from medai.source.table import (
    OLDEST_YEARS,
    SEXES,
    annotate,
    check_zeros,
    file_keys,
    find_table,
    match_files,
    may_mean,
    need_column,
    read_table,
    role_columns,
)
from medai.source.target import parse_targets

KEYS = {
    "patient": "patient_id", "study": "study_uid", "accession": "accession_number", "series": "series_uid", "instance": "sop_instance_uid",
}  # fmt: skip
IMAGE = ("modality", "sop_class_uid", "burned_in", "image_type", "manufacturer", "model", "rows", "columns")
TOLD = (
    "item", "study_uid", "series_uid", "sop_instance_uid", "sop_class_uid", "transfer_syntax", "modality", "photometric", "burned_in",
    "rows", "columns", "frames",
)  # fmt: skip
CASES_AT_ONCE = 2**10
SHOWN = ({"allow": True}, {"allow": True, "burned_in": "YES"})  # of public data, unless the definition says otherwise


@dataclass(frozen=True)
class DicomSource:
    """DICOM files under a folder, in zip archives or named by a DICOMDIR. No extension is trusted: every file is looked at.

    Radiographs, ultrasound and the like become images; the slices of CT, MR and PET become volumes, see `series`.

    Attributes:
        name: Names the cohort.
        path: The folder, a zip archive or a DICOMDIR.
        labels: A CSV, Parquet or Excel table, here or in the folder.
        targets: Columns of the table, or mappings: name, column, kind, classes, values, meaning, readers, contains, …
        key: By what the table is joined: ``file`` (relative path, file name or its stem), ``patient`` (0010,0020),
            ``study`` (0020,000D), ``accession`` (0008,0050), ``series`` (0020,000E) or ``instance`` (0008,0018).
        columns: Role to column of the table: the key's own, and site, sex, age, split, reader.
            A column of the role's own name need not be declared.
        readers: What becomes of several readers' labels, see `medai.source.readers.ReaderSettings`.
        series: Which series are kept, and as what, see `medai.dicom.series_rules.SeriesRules`.
        tilt: Stacks that are sheared by a gantry tilt: ``quarantine``, or ``resample`` to straighten them.
        burned_in: Rules for images that may show text, see `medai.dicom.deidentify.burned_in.BurnedIn`; without one they are refused.
        site_pattern: Regular expression whose first group is the site.
        site_attribute: The attribute in which it is searched.
        public: Literal names in the cohort; else they are keyed and dates are shifted.
        licence: As the data's owner states it.
        url: Where the data come from.
        description: One sentence for people.
        split: See `SplitSettings`.
        channels: What a network should take by default; None: what the images have.
    """

    name: str
    path: str | None = None
    labels: str | None = None
    targets: list[Any] = field(default_factory=list)
    key: str = "file"
    columns: dict[str, str] = field(default_factory=dict)
    readers: dict[str, Any] = field(default_factory=dict)
    series: dict[str, Any] = field(default_factory=dict)
    tilt: str = "quarantine"
    burned_in: list[Any] = field(default_factory=list)
    site_pattern: str | None = None
    site_attribute: str = "PatientID"
    public: bool = False
    licence: str = ""
    url: str = ""
    description: str = ""
    split: dict[str, Any] = field(default_factory=dict)
    channels: int | None = None

    def scan(self, context: ScanContext = ALONE) -> Scan:
        if self.key != "file" and self.key not in KEYS:
            raise MedaiError(f"dataset.key is {self.key!r}; allowed: file, {', '.join(KEYS)}")
        if self.site_pattern is not None:
            check_pattern(self.site_pattern, "site_pattern")
        rules, policy = SeriesRules.of(self.series), BurnedIn.of(self.burned_in or (SHOWN if self.public else None))
        sheet = find_table(self.labels, item_folder(self.path))
        if self.targets and not sheet:
            raise MedaiError("dataset.targets names labels, but there is no table of them; give dataset.labels=…")
        listed = Packed.of(list_items(self.path, leave_out=sheet))
        found = digest(self, listed.frames(), {"table": hash_file(sheet) if sheet else None, "sheet": split_sheet(self.labels or "")[1]})
        instances = open_instances(listed, item_folder(self.path), context.cache, context.keys, context.workers, context.run)
        rows, labels = self._rows(sheet) if sheet else (None, tuple[Label, ...]())
        stacks = self._judged(instances, rules, rows)
        cases = stacks.cases.with_columns(item="stack")
        cases, shown = _without_burned_in(cases, policy)
        refused = [stacks.refused.select(item=listed.take(stacks.refused["row"].to_numpy())["item"], code="code", message="message"), shown]
        annotations = _no_annotations()
        if rows is not None:
            annotations, missing = self._annotations(rows, cases, listed, sheet)
            refused.append(missing)
            if labels:
                refused.append(_unlisted(cases, annotations, self.key))
        refusals = compact(pl.concat(refused))
        told = FileTable(instances, cases)
        items = cases.join(refusals, on="item", how="anti", maintain_order="left").with_columns(mtime_ns=pl.lit(0, pl.Int64))
        items = _with_slices(items, listed).with_columns(pl.col("files").list.n_unique().cast(pl.Int32))
        items = items.select(*ITEM_SCHEMA, "kind", "slices", "case", "files", "hide")
        return Scan(items, labels, annotations, refusals, "table" if labels else "none", found, told, stacks.series)

    def prepare(self, scratch: Path) -> "DicomSource":
        return self

    def read(self, rows: pl.DataFrame) -> Iterator[CaseRecord | RefusedItem]:
        folder = item_folder(self.path)
        for row in rows.select("item", "kind", "slices", "case", "hide").iter_rows(named=True):
            try:
                yield self._read(row, folder)
            except Refusal as refusal:
                yield RefusedItem(row["item"], refusal.code, refusal.message.replace(f"{folder}{os.sep}", ""))

    def _read(self, row: Mapping[str, Any], folder: Path) -> CaseRecord:
        opener, affine = partial(_open, folder), None
        items, frames = _unpacked(row["slices"])
        if row["kind"] == "volume":
            volume = read_volume(items, frames, opener, self.tilt, read_frames)
            pixels, attributes, affine = volume.pixels, volume.attributes | {"PixelSpacing": None}, volume.affine
        else:
            (pixels, *_), header = read_frames(opener(items[0]), frames)
            with quiet():
                attributes = read_attributes(header)
        if row["hide"] is not None:
            pixels = Crop(tuple(tuple(region) for region in row["hide"])).apply(pixels)
        record = case_record(row["item"], DicomImage(pixels, attributes), self.site_pattern, self.site_attribute)
        if affine is None:
            return replace(record, case=row["case"])
        acquisition = dict(record.acquisition) | {"spacing_mm": [float(value) for value in volume.spacing_mm]}
        return replace(record, case=row["case"], acquisition=acquisition, affine=affine)

    def _judged(self, instances: Instances, rules: SeriesRules, rows: pl.DataFrame | None) -> Stacks:
        """All cases, made some studies at a time. A case has `first`, what its first file says, and the `names` that the table may know."""
        opener, name = partial(_open, item_folder(self.path)), KEYS.get(self.key)
        parts = []
        for some in instances.studies():
            frames = read_frame_table(frame_items(some, rules), opener)
            judged = judge_studies(some, rules, self.tilt, frames)
            first = pl.struct(*IMAGE, "study_date").alias("first")
            names = some.select("row", first, name=pl.col(name).str.strip_chars() if name else pl.lit(None, pl.String))
            if rows is not None:
                names = names.with_columns(pl.when(may_mean(names["name"], rows["key"])).then("name"))
            stacks, cases = _with_names(judged.stacks, names), _with_names(judged.cases, names)
            parts.append(Judged(compact(stacks), compact(cases), compact(judged.refused)))
        return put_together(parts, rules, len(instances))

    def _rows(self, path: Path) -> tuple[pl.DataFrame, tuple[Label, ...]]:
        """The label table, a row a key, and the labels."""
        frame = read_table(path, split_sheet(self.labels or "")[1])
        roles = role_columns(frame, self.columns, path)
        column = roles.get(self.key, self.key)
        need_column(frame, column, f"dataset.columns.{self.key}", path)
        rows, labels = annotate(frame, roles, parse_targets(self.targets), column, path, ReaderSettings.from_dict(self.readers))
        return rows.with_columns(patient=pl.lit(None, dtype=pl.String)), labels  # (0010,0020) says who it is

    def _annotations(self, rows: pl.DataFrame, cases: pl.DataFrame, listed: Packed, path: Path | None) -> tuple[pl.DataFrame, pl.DataFrame]:
        """What the label table says of each item, and the rows that say something of none."""
        if self.key == "file":
            files = _named_files(listed, rows["key"])
            rows, absent = match_files(rows, files["item"])
            missing = refused_frame(absent, "missing-file", "the label table names this file, and it is not there")
            named = _cases_of(cases, files.join(rows, left_on="item", right_on="key", how="semi", maintain_order="left"), listed.height)
        else:
            named = cases.select("item", file="names").explode("file").drop_nulls()
            absent = rows.join(named, left_on="key", right_on="file", how="anti", maintain_order="left")["key"]
            missing = refused_frame(absent, "missing-file", f"no readable file has this {self.key}")
            rest = named.join(rows, left_on="file", right_on="key", how="anti")["file"]
            check_zeros(absent, rest, self.key)
        rows = rows.with_row_index("reading")  # a patient's readers are counted once, whatever the number of images
        joined = named.join(rows, left_on="file", right_on="key", how="inner", maintain_order="left").drop("file")
        joined = joined.unique([name for name in joined.columns if name != "reading"], keep="first", maintain_order=True)
        joined = joined.rename({"item": "key"})
        twice = joined.filter(joined["key"].is_duplicated())
        if len(twice):
            got = f"{path} says different things of the files of one volume ({twice['key'][0]})"
            raise MedaiError(f"{got}; give one row for it, or join by series, study or patient")
        return self._with_period(joined, cases), missing

    def _with_period(self, annotations: pl.DataFrame, cases: pl.DataFrame) -> pl.DataFrame:
        """Whether the study's true date lies in the period that is held out."""
        period = SplitSettings.from_dict(self.split).period
        if period is None:
            return annotations
        inside = cases.select(key="item", period=period.covers(cases["first"].struct.field("study_date")))
        return annotations.join(inside, on="key", how="left", maintain_order="left")


def _open(folder: Path, item: str) -> Path | bytes:
    path = folder / item
    return path if path.is_file() else open_item(folder, item)


def _no_annotations() -> pl.DataFrame:
    return pl.DataFrame(schema={"key": pl.String, **PERSON_SCHEMA})


def _unlisted(cases: pl.DataFrame, annotations: pl.DataFrame, key: str) -> pl.DataFrame:
    absent = cases.join(annotations, left_on="item", right_on="key", how="anti", maintain_order="left")["item"]
    return refused_frame(absent, "no-label-row", f"the label table has no row for this {key}")


def _with_names(table: pl.DataFrame, names: pl.DataFrame) -> pl.DataFrame:
    """A table with `files` and, of the first one, `first`; the distinct `names` of all, in their order."""
    first = table.select(row=pl.col("files").list.first()).join(names.select("row", "first"), on="row", how="left", maintain_order="left")
    each = table.select(pl.int_range(pl.len()).alias("case"), row="files").explode("row")
    each = each.join(names.select("row", "name").drop_nulls(), on="row", how="inner", maintain_order="left").select("case", "name")
    of_case = each.unique(maintain_order=True).group_by("case", maintain_order=True).agg(names="name")
    named = table.select(pl.int_range(pl.len()).alias("case")).join(of_case, on="case", how="left", maintain_order="left")
    return table.with_columns(first["first"], named["names"])


def _named_files(listed: Packed, keys: pl.Series) -> pl.DataFrame:
    """Files that a table of file names may mean: `row` and `item`."""
    found, start = [], 0
    for frame in listed.frames():
        item = frame["item"]
        name, stem = item.str.extract(r"([^/]*)$"), item.str.extract(r"([^/]*?)(?:\.[^./]*)?$")
        chosen = may_mean(item, file_keys(keys)) | may_mean(name, file_keys(keys)) | may_mean(stem, file_keys(keys))
        rows = frame.select(pl.int_range(start, start + pl.len(), dtype=pl.UInt32).alias("row"), "item")
        found.append(compact(rows.filter(chosen)))
        start += frame.height
    return pl.concat(found)


def _cases_of(cases: pl.DataFrame, files: pl.DataFrame, count: int) -> pl.DataFrame:
    """The names of the `files` that each case has: `item`, `file`; in the order of the cases and of their slices."""
    wanted = np.zeros(count, bool)
    wanted[files["row"].to_numpy()] = True
    found = []
    for some in cases.select("item", row="files").iter_slices(CASES_AT_ONCE):
        each = some.explode("row")
        found.append(each.filter(pl.Series(wanted[each["row"].to_numpy()])))
    each = pl.concat([pl.DataFrame(schema={"item": pl.String, "row": pl.UInt32}), *found])
    named = each.join(files.select("row", file="item"), on="row", how="left", maintain_order="left").select("item", "file")
    return named.unique(maintain_order=True)


def _with_slices(cases: pl.DataFrame, listed: Packed) -> pl.DataFrame:
    """Cases with their `slices`: files and frames, packed; see `_unpacked`."""
    packed: list[bytes] = []
    for some in cases.select("files", "frames").iter_slices(CASES_AT_ONCE):
        names = listed.take(some["files"].list.explode().to_numpy())["item"]
        start = 0
        for frames in some["frames"]:
            items = names[start : start + len(frames)].to_list()
            packed.append(zlib.compress(json.dumps([items, frames.to_list()], ensure_ascii=False).encode(), 1))
            start += len(frames)
    return cases.with_columns(pl.Series("slices", packed, dtype=pl.Binary))


def _unpacked(slices: bytes) -> tuple[list[str], list[int]]:
    items, frames = json.loads(zlib.decompress(slices))
    return items, frames


def _without_burned_in(cases: pl.DataFrame, policy: BurnedIn) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Cases with the regions to blacken (`hide`), and those that may show text without a rule for them."""
    first = cases.select("item", "first").unnest("first").select("item", *IMAGE)
    kinds = first.select(IMAGE).unique(maintain_order=True)
    judged: list[tuple[Any, ...]] = []
    for kind in kinds.iter_rows(named=True):
        try:
            crop = judge_burned_in(**{"policy": policy, **kind})
            judged.append((None, None, [list(region) for region in crop.hide] if crop else None))
        except Refusal as refusal:
            judged.append((refusal.code, refusal.message, None))
    schema: dict[str, Any] = {"code": pl.String, "message": pl.String, "hide": pl.List(pl.List(pl.Int64))}
    verdicts = pl.concat([kinds, pl.DataFrame(judged, schema=schema, orient="row")], how="horizontal")
    verdict = first.join(verdicts, on=IMAGE, how="left", nulls_equal=True, maintain_order="left")
    refused = verdict.filter(pl.col("code").is_not_null()).select(list(REFUSED_SCHEMA))
    return cases.with_columns(verdict["hide"]), refused


class FileTable:
    """`Scan.instances`: a row a file, with the item that it is part of. The rows are made when they are asked for."""

    def __init__(self, instances: Instances, cases: pl.DataFrame) -> None:
        self._instances, self._names = instances, cases["item"]
        self._case = np.full(len(instances), NOWHERE, np.uint32)
        files = cases["files"]
        numbers = np.repeat(np.arange(len(cases), dtype=np.uint32), files.list.len().to_numpy())
        self._case[files.list.explode().to_numpy()[::-1]] = numbers[::-1]  # of several cases of a file the first

    def pieces(self) -> Iterator[pl.DataFrame]:
        for rows, some in self._instances.pieces(TOLD):
            numbers = pl.Series(self._case[rows])
            case = self._names.gather(numbers.set(numbers == NOWHERE, 0)) if len(self._names) else pl.Series([None], dtype=pl.String)
            yield some.with_columns(case_item=pl.when(numbers != NOWHERE).then(case))


def case_record(item: str, image: DicomImage, site_pattern: str | None, site_attribute: str) -> CaseRecord:
    """A case from a DICOM file's pixels and attributes. Free text stays behind."""
    attributes = image.attributes
    site = match_group(site_pattern, _text(attributes, site_attribute) or "") if site_pattern else None
    age = attributes.get("PatientAgeYears")
    centre, width = _first(attributes.get("WindowCenter")), _first(attributes.get("WindowWidth"))
    spacing = attributes.get("PixelSpacing") or attributes.get("ImagerPixelSpacing")
    acquisition = {
        "site": site,
        "manufacturer": _text(attributes, "Manufacturer"),
        "model": _text(attributes, "ManufacturerModelName"),
        "modality": _code(attributes, "Modality"),
        "body_part": _code(attributes, "BodyPartExamined"),
        "laterality": _code(attributes, "ImageLaterality") or _code(attributes, "Laterality"),
        "view": _code(attributes, "ViewPosition"),
        "spacing_mm": [float(value) for value in spacing] if spacing else None,
        "window": [centre, width] if centre is not None and width is not None else None,
        "age_years": None if age is None else min(float(age), OLDEST_YEARS),
        "sex": SEXES.get((_text(attributes, "PatientSex") or "").lower()),
    }
    return CaseRecord(
        item=item,
        pixels=image.pixels,
        case=_text(attributes, "SOPInstanceUID") or item,
        patient=_text(attributes, "PatientID"),
        study=_text(attributes, "StudyInstanceUID"),
        series=_text(attributes, "SeriesInstanceUID"),
        study_date=_date(attributes.get("StudyDate")),
        acquisition=acquisition,
    )


def _text(attributes: Mapping[str, Any], keyword: str) -> str | None:
    value = attributes.get(keyword)
    return str(value).strip() or None if value is not None else None


def _code(attributes: Mapping[str, Any], keyword: str) -> str | None:
    """A value of CS (PS3.5 6.2); anything else there is free text and stays behind."""
    text = (_text(attributes, keyword) or "").upper()
    return text if re.fullmatch(r"[A-Z0-9_ ]{1,16}", text) else None


def _first(value: Any) -> float | None:
    if isinstance(value, list | tuple):
        value = value[0] if value else None
    return None if value is None else float(value)


def _date(value: Any) -> date | None:
    if isinstance(value, date):
        return value
    digits = str(value or "").replace("-", "").replace(".", "")[:8]
    try:
        return date(int(digits[:4]), int(digits[4:6]), int(digits[6:8]))
    except ValueError:
        return None
