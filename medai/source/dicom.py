"""DICOM files of any name in a folder, each a case, with a label table joined by file, patient, study, series or instance."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl

from medai.core.error import MedaiError, Refusal
from medai.core.file import hash_file
from medai.core.label import Label
from medai.dicom.read import DicomImage, read_dicom
from medai.source.base import PERSON_SCHEMA, REFUSED_SCHEMA, CaseRecord, RefusedItem, Scan, digest, existing, refused_frame
from medai.source.images import check_pattern, match_group
from medai.source.listing import list_files
from medai.source.table import OLDEST_YEARS, SEXES, annotate, find_table, match_files, need_column, read_table, role_columns
from medai.source.target import parse_targets

KEYS = {"file": "item", "patient": "patient", "study": "study", "series": "series", "instance": "instance"}


@dataclass(frozen=True)
class DicomSource:
    """Single-frame DICOM files under a folder. No extension is trusted: every file is looked at.

    Attributes:
        name: Names the cohort.
        path: The folder.
        labels: A CSV or Parquet table, here or in the folder.
        targets: Columns of the table, or mappings: name, column, kind, classes, values, meaning.
        key: By what the table is joined: ``file`` (relative path, file name or its stem), ``patient`` (0010,0020),
            ``study`` (0020,000D), ``series`` (0020,000E) or ``instance`` (0008,0018).
        columns: Role to column of the table: the key's own, and site, sex, age, split.
            A column of the role's own name need not be declared.
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
    site_pattern: str | None = None
    site_attribute: str = "PatientID"
    public: bool = False
    licence: str = ""
    url: str = ""
    description: str = ""
    split: dict[str, Any] = field(default_factory=dict)
    channels: int | None = None

    def scan(self) -> Scan:
        if self.key not in KEYS:
            raise MedaiError(f"dataset.key is {self.key!r}; allowed: {', '.join(KEYS)}")
        if self.site_pattern is not None:
            check_pattern(self.site_pattern, "site_pattern")
        table = find_table(self.labels, existing(self.path))
        items = list_files(self.path, leave_out=table)
        if self.targets and not table:
            raise MedaiError("dataset.targets names labels, but there is no table of them; give dataset.labels=…")
        annotations, labels, refused = self._annotations(table, items) if table else (_no_annotations(), (), REFUSED_SCHEMA.to_frame())
        rest = items.join(refused, on="item", how="anti", maintain_order="left")
        found = digest(self, items, {"table": hash_file(table) if table else None})
        return Scan(rest, labels, annotations, KEYS[self.key], refused, "table" if labels else "none", found)

    def prepare(self, scratch: Path) -> "DicomSource":
        return self

    def read(self, rows: pl.DataFrame) -> Iterator[CaseRecord | RefusedItem]:
        folder = existing(self.path)
        for item in rows["item"]:
            try:
                yield case_record(item, read_dicom(folder / item), self.site_pattern, self.site_attribute)
            except Refusal as refusal:
                yield RefusedItem(item, refusal.code, refusal.message.replace(str(folder / item), item))

    def _annotations(self, path: Path, items: pl.DataFrame) -> tuple[pl.DataFrame, tuple[Label, ...], pl.DataFrame]:
        frame = read_table(path)
        roles = role_columns(frame, self.columns, path)
        column = roles.get(self.key, self.key)
        need_column(frame, column, f"dataset.columns.{self.key}", path)
        targets = parse_targets(self.targets)
        annotations, labels = annotate(frame, roles, targets, column, path)
        annotations = annotations.with_columns(patient=pl.lit(None, dtype=pl.String))  # (0010,0020) says who it is
        if self.key != "file":
            return annotations, labels, REFUSED_SCHEMA.to_frame()
        annotations, absent = match_files(annotations, items["item"])
        refused = [refused_frame(absent, "missing-file", "the label table names this file, and it is not there")]
        if targets:
            unlisted = items.join(annotations, left_on="item", right_on="key", how="anti", maintain_order="left")["item"]
            refused.append(refused_frame(unlisted, "no-label-row", "the label table has no row for this file"))
        return annotations, labels, pl.concat(refused)


def _no_annotations() -> pl.DataFrame:
    return pl.DataFrame(schema={"key": pl.String, **PERSON_SCHEMA})


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
    instance = {
        "sop_class_uid": _text(attributes, "SOPClassUID"),
        "photometric_interpretation": _code(attributes, "PhotometricInterpretation"),
        "burned_in_annotation": _code(attributes, "BurnedInAnnotation"),
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
        instance=instance,
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
