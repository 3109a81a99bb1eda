"""Split, judge and write: from the collected parts to the cohort's tables and its record."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

import medai
from medai.cohort.agreement import agreement, describe
from medai.cohort.cohort import Cohort
from medai.cohort.key import Keys
from medai.cohort.leak import exclude_leaks
from medai.cohort.schema import (
    CASE_SCHEMA,
    CASES,
    DEVELOPMENT_LABELS,
    INSTANCE_SCHEMA,
    INSTANCES,
    PIPELINE_VERSION,
    QUARANTINE,
    SPLIT,
    STACK_SCHEMA,
    STACKS,
    TEST_LABELS,
    shard_name,
)
from medai.cohort.split import KEPT_MOVED, SplitSettings, split_cases
from medai.cohort.write import write_pieces, write_record, write_table
from medai.core.error import MedaiError
from medai.core.label import Label
from medai.dicom.deidentify.profile import Profile
from medai.dicom.deidentify.pseudonym import is_registered
from medai.dicom.deidentify.text import clean_code_string
from medai.ingest.collect import Collected
from medai.ingest.unit import FILE_HASH, WORK
from medai.source.base import Files, Scan, Source
from medai.store.volume import volume_name

CODE_STRINGS = ("modality", "photometric_interpretation", "burned_in_annotation")
UIDS = ("sop_class_uid", "transfer_syntax")


def finish(
    source: Source, scan: Scan, collected: Collected, folder: Path, keys: Keys, allow: Sequence[str], earlier: Cohort | None = None
) -> None:
    """Write the tables and, last, the record of a cohort.

    Args:
        source: The data set's definition.
        scan: Of the source.
        collected: All parts together.
        folder: The unfinished cohort.
        keys: How names enter it.
        allow: Hard stops to override.
        earlier: A cohort whose patients keep their split.

    Raises:
        MedaiError: a leak without its override, or a split that cannot be made.
    """
    if not scan.labels:
        raise MedaiError(f"data set {source.name} has no labels; name the table and its columns: dataset.labels=… dataset.targets=[…]")
    values = collected.cases.select(pl.col(f"label.{label.name}").cast(_integer(label)).alias(label.name) for label in scan.labels)
    kept = (earlier.splits(), earlier.hash) if earlier else (None, None)
    split = SplitSettings.from_dict(source.split)
    cases, method = split_cases(collected.cases, values, split, kept[0], kept_from=kept[1], allow=allow, literal=keys.public)
    cases, leaks = exclude_leaks(cases, allow)
    if method.get("kept", {}).get("patients_not_moved"):
        leaks["allow"] = sorted({*leaks["allow"], KEPT_MOVED})
    cases = cases.with_columns(ordinal=pl.int_range(len(cases), dtype=pl.Int64))
    development = cases["partition"] == "development"
    write_table(folder / CASES, cases.select(pl.col(name).cast(dtype) for name, dtype in CASE_SCHEMA.items()))
    labels = _label_table(cases["case_id"], values, collected.cases, scan.label_source)
    write_table(folder / DEVELOPMENT_LABELS, labels.filter(development))
    write_table(folder / TEST_LABELS, labels.filter(~development))
    write_table(folder / SPLIT, cases.filter(development).select("case_id", "split"))
    write_table(folder / QUARANTINE, collected.quarantine)
    files = None
    if scan.instances is not None:
        pieces = _instances(scan.instances, cases, collected.quarantine, keys)
        files = _files(write_pieces(folder / INSTANCES, pieces, folder / WORK / "instances", "case_id"))
    if scan.stacks is not None and len(scan.stacks):
        write_table(folder / STACKS, _stacks(scan.stacks, keys))
    counts = count(cases, collected.quarantine, labels.filter(development), scan.labels, files)
    agreed = _agreements(collected.cases.filter(development), scan.labels)
    said = [describe(name, found) for name, found in agreed.items()]
    made = {"counts": counts, "notes": notes(counts, leaks) + said, "split": method, "agreement": agreed} | leaks
    write_record(folder, _definition(source, scan, keys, cases) | made, keys, _pixel_files(collected.cases))


def _definition(source: Source, scan: Scan, keys: Keys, cases: pl.DataFrame) -> dict[str, Any]:
    development = cases.filter(pl.col("partition") == "development")
    largest = (cases if development.is_empty() else development).select(pl.col("shape").list.first().max()).item()
    return {
        "name": source.name,
        "unit": _unit(cases),
        "labels": [label.to_dict() for label in scan.labels],
        "description": source.description,
        "source": {"kind": type(source).__name__, "labels": scan.label_source, "digest": keys.hash("digest", scan.digest)},
        "public": source.public,
        "licence": source.licence,
        "url": source.url,
        "split_settings": dict(source.split),
        "channels": source.channels or (3 if largest == 3 else 1),
        "pipeline_version": PIPELINE_VERSION,
        "medai_version": medai.__version__,
    }


def _pixel_files(cases: pl.DataFrame) -> dict[str, str]:
    """The hashes of the shards and volumes, which the units took as they wrote them."""
    shards = cases.filter(pl.col("shard").is_not_null()).unique("shard").select("shard", FILE_HASH)
    volumes = cases.filter(pl.col("volume").is_not_null()).select("volume", FILE_HASH)
    named = [(shard_name(number), found) for number, found in shards.iter_rows()]
    return dict(named + [(volume_name(name), found) for name, found in volumes.iter_rows()])


def _unit(cases: pl.DataFrame) -> str:
    volumes = cases["volume"].is_not_null()
    return "volume" if volumes.all() else "image or volume" if volumes.any() else "image"


def _instances(found: Files, cases: pl.DataFrame, quarantine: pl.DataFrame, keys: Keys) -> Iterator[pl.DataFrame]:
    """A row a file: the case that it is part of, or why it is part of none."""
    named = cases.select("case_id", case="source_key")
    codes = quarantine.select("source_key", "code").unique("source_key", keep="first", maintain_order=True)
    return (_keyed(piece, named, codes, keys) for piece in found.pieces())


def _keyed(found: pl.DataFrame, cases: pl.DataFrame, codes: pl.DataFrame, keys: Keys) -> pl.DataFrame:
    names = {"case": ("item", "case_item"), "source_key": ("item", "item"), "instance_id": ("instance", "sop_instance_uid")}
    names |= {"study_id": ("study", "study_uid"), "series_id": ("series", "series_uid")}
    rows = found.with_columns(keys.names(kind, found[column]).alias(name) for name, (kind, column) in names.items())
    rows = rows.join(cases, on="case", how="left", maintain_order="left")
    own = rows.join(codes, on="source_key", how="left", maintain_order="left")["code"]
    whole = rows.join(codes, left_on="case", right_on="source_key", how="left", maintain_order="left")["code"]
    rows = rows.with_columns(code=pl.when(pl.col("case_id").is_null()).then(pl.coalesce(own, whole)))
    rows = rows.rename({"photometric": "photometric_interpretation", "burned_in": "burned_in_annotation"})
    terms = Profile().terms  # people type into code strings too
    rows = rows.with_columns(_mapped(rows[name], lambda text: clean_code_string(text, terms)) for name in CODE_STRINGS)
    if not keys.public:  # a UID of the site's own may hold a date or a number
        rows = rows.with_columns(_mapped(rows[name], lambda uid: uid if is_registered(uid) else None) for name in UIDS)
    return rows.select(pl.col(name).cast(dtype) for name, dtype in INSTANCE_SCHEMA.items())


def _mapped(column: pl.Series, change: Callable[[str], str | None]) -> pl.Series:
    """Each distinct text of a column changed."""
    found = column.drop_nulls().unique().to_list()
    return column.replace_strict(found, [change(text) for text in found], default=None, return_dtype=pl.String)


def _stacks(found: pl.DataFrame, keys: Keys) -> pl.DataFrame:
    """A row a stack; in a keyed cohort without its part's name, which may quote the device."""
    named = found.with_columns(
        keys.names("study", found["study_uid"]).alias("study_id"), keys.names("series", found["series_uid"]).alias("series_id")
    )
    named = named if keys.public else named.with_columns(part=pl.lit(None, pl.String))
    return named.select(pl.col(name).cast(dtype) for name, dtype in STACK_SCHEMA.items())


def _agreements(development: pl.DataFrame, labels: Sequence[Label]) -> dict[str, Any]:
    """How far several readers agree, by label; the test labels stay closed."""
    read = development.unique("reading", maintain_order=True) if "reading" in development.columns else development
    votes = {label.name: (f"label.{label.name}.votes", label.classes) for label in labels}
    return {name: agreement(read[column].fill_null([]), classes) for name, (column, classes) in votes.items() if column in read.columns}


def _integer(label: Label) -> type[pl.Int8] | type[pl.Int16]:
    return pl.Int8 if len(label.classes) <= 127 else pl.Int16


def _label_table(case_ids: pl.Series, values: pl.DataFrame, found: pl.DataFrame, source: str) -> pl.DataFrame:
    columns: list[pl.Series] = [case_ids]
    for series in values:
        columns += [series, found[f"label.{series.name}.uncertain"].fill_null(False).alias(f"{series.name}.uncertain")]
    return pl.DataFrame(columns).with_columns(label_source=pl.lit(source))


def count(
    cases: pl.DataFrame, quarantine: pl.DataFrame, development: pl.DataFrame, labels: Sequence[Label], files: dict[str, int] | None
) -> dict[str, Any]:
    """The counts of the record. Classes are counted in development only: the test labels stay closed."""
    reasons = quarantine["code"].value_counts(sort=False).sort("code")
    return {
        "found": len(cases) + len(quarantine),
        "cases": len(cases),
        "quarantined": len(quarantine),
        "excluded": cases["exclusion"].is_not_null().sum(),
        "development": (cases["partition"] == "development").sum(),
        "train": (cases["split"] == "train").sum(),
        "validation": (cases["split"] == "validation").sum(),
        "test": (cases["split"] == "test").sum(),
        "patients": cases["patient_id"].drop_nulls().n_unique(),
        "patients_unknown": cases["patient_id"].null_count(),
        "sites": cases["site"].drop_nulls().n_unique(),
        "files": files,
        "quarantine": dict(reasons.iter_rows()),
        "development_labels": {label.name: _classes(development, label) for label in labels},
    }


def _files(found: tuple[int, int]) -> dict[str, int]:
    count, used = found
    return {"found": count, "in_cases": used, "in_no_case": count - used}


def _classes(development: pl.DataFrame, label: Label) -> dict[str, int]:
    values, uncertain = development[label.name], int(development[f"{label.name}.uncertain"].sum())
    found = np.bincount(values.drop_nulls().to_numpy(), minlength=len(label.classes)).tolist()
    counts = dict(zip(label.classes, found, strict=True)) | {"unknown": values.null_count() - uncertain}
    return counts | ({"uncertain": uncertain} if uncertain else {})


def notes(counts: dict[str, Any], leaks: dict[str, Any]) -> list[str]:
    """What a reader of the cohort has to know, in sentences."""
    sentences = []
    if counts["patients_unknown"]:
        who = f"Patients unknown for {counts['patients_unknown']:,} of {counts['cases']:,} cases"
        sentences.append(f"{who}: images of one patient may lie in two splits unseen.")
    for code, number in leaks["exclusions"].items():
        sentences.append(f"{number:,} development images are left out of training: {code}.")
    for override in leaks["allow"]:
        sentences.append(f"A hard stop was overridden: {override}.")
    return sentences


def publish(folder: Path, target: Path) -> None:
    """Give the complete cohort its name. After a kill a second call goes on."""
    shutil.rmtree(folder / WORK, ignore_errors=True)
    for stray in folder.rglob(".*.part"):  # what a killed process left half written
        stray.unlink()
    folder.rename(target)
