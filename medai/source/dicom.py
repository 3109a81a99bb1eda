"""DICOM files and a label table."""

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

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
from medai.dicom.stack import frame_items, group_instances, read_frame_table
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
from medai.source.instances import scan_instances
from medai.source.readers import ReaderSettings
from medai.source.table import OLDEST_YEARS, SEXES, annotate, check_zeros, find_table, match_files, need_column, read_table, role_columns
from medai.source.target import parse_targets

KEYS = {
    "patient": "patient_id", "study": "study_uid", "accession": "accession_number", "series": "series_uid", "instance": "sop_instance_uid",
}  # fmt: skip
IMAGE = ("modality", "sop_class_uid", "burned_in", "image_type", "manufacturer", "model", "rows", "columns")
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
        listing = list_items(self.path, leave_out=sheet)
        instances = scan_instances(listing, item_folder(self.path), context.cache, context.keys, context.workers, context.run)
        frames = read_frame_table(frame_items(instances, rules), partial(_open, item_folder(self.path)))
        stacks = group_instances(instances, rules, self.tilt, frames)
        cases = stacks.cases.with_columns(item="stack", files=pl.col("items").list.n_unique().cast(pl.Int32))
        cases, shown = _without_burned_in(cases, instances, policy)
        refused = [stacks.refused.select(list(REFUSED_SCHEMA)), shown]
        annotations, labels = _no_annotations(), tuple[Label, ...]()
        if sheet:
            annotations, labels, missing = self._annotations(sheet, cases, instances)
            refused.append(missing)
            if labels:
                refused.append(_unlisted(cases, annotations, self.key))
        refusals = pl.concat(refused)
        items = cases.join(refusals, on="item", how="anti", maintain_order="left")
        items = items.with_columns(mtime_ns=pl.lit(0, pl.Int64)).select(*ITEM_SCHEMA, "kind", "items", "frames", "case", "files", "hide")
        found = digest(self, listing, {"table": hash_file(sheet) if sheet else None, "sheet": split_sheet(self.labels or "")[1]})
        told = _instances(instances, cases)
        return Scan(items, labels, annotations, refusals, "table" if labels else "none", found, told, stacks.series)

    def prepare(self, scratch: Path) -> "DicomSource":
        return self

    def read(self, rows: pl.DataFrame) -> Iterator[CaseRecord | RefusedItem]:
        folder = item_folder(self.path)
        for row in rows.select("item", "kind", "items", "frames", "case", "hide").iter_rows(named=True):
            try:
                yield self._read(row, folder)
            except Refusal as refusal:
                yield RefusedItem(row["item"], refusal.code, refusal.message.replace(f"{folder}{os.sep}", ""))

    def _read(self, row: Mapping[str, Any], folder: Path) -> CaseRecord:
        opener, affine = partial(_open, folder), None
        if row["kind"] == "volume":
            volume = read_volume(row["items"], row["frames"], opener, self.tilt, read_frames)
            pixels, attributes, affine = volume.pixels, volume.attributes | {"PixelSpacing": None}, volume.affine
        else:
            frames, header = read_frames(opener(row["items"][0]), row["frames"])
            with quiet():
                pixels, attributes = frames[0], read_attributes(header)
        if row["hide"] is not None:
            pixels = Crop(tuple(tuple(region) for region in row["hide"])).apply(pixels)
        record = case_record(row["item"], DicomImage(pixels, attributes), self.site_pattern, self.site_attribute)
        if affine is None:
            return replace(record, case=row["case"])
        acquisition = dict(record.acquisition) | {"spacing_mm": [float(value) for value in volume.spacing_mm]}
        return replace(record, case=row["case"], acquisition=acquisition, affine=affine)

    def _annotations(
        self, path: Path, cases: pl.DataFrame, instances: pl.DataFrame
    ) -> tuple[pl.DataFrame, tuple[Label, ...], pl.DataFrame]:
        """What the label table says of each item, and the rows that say something of none."""
        frame = read_table(path, split_sheet(self.labels or "")[1])
        roles = role_columns(frame, self.columns, path)
        column = roles.get(self.key, self.key)
        need_column(frame, column, f"dataset.columns.{self.key}", path)
        rows, labels = annotate(frame, roles, parse_targets(self.targets), column, path, ReaderSettings.from_dict(self.readers))
        rows = rows.with_columns(patient=pl.lit(None, dtype=pl.String))  # (0010,0020) says who it is
        files = cases.select("item", file="items").explode("file").unique(maintain_order=True)
        if self.key == "file":
            rows, absent = match_files(rows, instances["item"])
            missing = refused_frame(absent, "missing-file", "the label table names this file, and it is not there")
            named = files
        else:
            named = files.join(instances.select(file="item", name=pl.col(KEYS[self.key]).str.strip_chars()), on="file", how="left")
            named = named.select("item", file="name").drop_nulls().unique(maintain_order=True)
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
        return self._with_period(joined, cases, instances), labels, missing

    def _with_period(self, annotations: pl.DataFrame, cases: pl.DataFrame, instances: pl.DataFrame) -> pl.DataFrame:
        """Whether the study's true date lies in the period that is held out."""
        period = SplitSettings.from_dict(self.split).period
        if period is None:
            return annotations
        first = cases.select(key="item", file=pl.col("items").list.first())
        dated = first.join(instances.select("study_date", file="item"), on="file", how="left", maintain_order="left")
        inside = dated.select("key", period=period.covers(dated["study_date"]))
        return annotations.join(inside, on="key", how="left", maintain_order="left")


def _open(folder: Path, item: str) -> Path | bytes:
    path = folder / item
    return path if path.is_file() else open_item(folder, item)


def _no_annotations() -> pl.DataFrame:
    return pl.DataFrame(schema={"key": pl.String, **PERSON_SCHEMA})


def _unlisted(cases: pl.DataFrame, annotations: pl.DataFrame, key: str) -> pl.DataFrame:
    absent = cases.join(annotations, left_on="item", right_on="key", how="anti", maintain_order="left")["item"]
    return refused_frame(absent, "no-label-row", f"the label table has no row for this {key}")


def _without_burned_in(cases: pl.DataFrame, instances: pl.DataFrame, policy: BurnedIn) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Cases with the regions to blacken (`hide`), and those that may show text without a rule for them."""
    first = cases.select("item", file=pl.col("items").list.first()).join(
        instances.select(*IMAGE, file="item"), on="file", how="left", maintain_order="left"
    )  # fmt: skip
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


def _instances(instances: pl.DataFrame, cases: pl.DataFrame) -> pl.DataFrame:
    """A row a file, with the item that it is part of."""
    part = cases.select(case_item="item", item="items").explode("item").unique("item", keep="first", maintain_order=True)
    return instances.join(part, on="item", how="left", maintain_order="left").select(
        "item", "case_item", "study_uid", "series_uid", "sop_instance_uid", "sop_class_uid", "transfer_syntax", "modality", "photometric",
        "burned_in", "rows", "columns", "frames",
    )  # fmt: skip


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
