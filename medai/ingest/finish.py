"""Split, judge and write: from the collected parts to the cohort's tables and its record."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

import medai
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
    TEST_LABELS,
)
from medai.cohort.split import SplitSettings, split_cases
from medai.cohort.write import write_record, write_table
from medai.core.error import MedaiError
from medai.core.label import Label
from medai.ingest.collect import Collected
from medai.ingest.unit import WORK
from medai.source.base import Scan, Source


def finish(source: Source, scan: Scan, collected: Collected, folder: Path, keys: Keys, allow: Sequence[str]) -> None:
    """Write the tables and, last, the record of a cohort.

    Raises:
        MedaiError: a leak without its override, or a split that cannot be made.
    """
    if not scan.labels:
        raise MedaiError(f"data set {source.name} has no labels; name the table and its columns: dataset.labels=… dataset.targets=[…]")
    values = collected.cases.select(pl.col(f"label.{label.name}").cast(_integer(label)).alias(label.name) for label in scan.labels)
    cases, method = split_cases(collected.cases, values, SplitSettings.from_dict(source.split))
    cases, leaks = exclude_leaks(cases, allow)
    cases = cases.with_columns(ordinal=pl.int_range(len(cases), dtype=pl.Int64))
    development = cases["partition"] == "development"
    write_table(folder / CASES, cases.select(pl.col(name).cast(dtype) for name, dtype in CASE_SCHEMA.items()))
    labels = _label_table(cases["case_id"], values, collected.cases, scan.label_source)
    write_table(folder / DEVELOPMENT_LABELS, labels.filter(development))
    write_table(folder / TEST_LABELS, labels.filter(~development))
    write_table(folder / SPLIT, cases.filter(development).select("case_id", "split"))
    write_table(folder / QUARANTINE, collected.quarantine)
    if cases["sop_class_uid"].is_not_null().any():
        write_table(folder / INSTANCES, cases.select(list(INSTANCE_SCHEMA)))
    counts = count(cases, collected.quarantine, labels.filter(development), scan.labels)
    made = {"counts": counts, "notes": notes(counts, leaks), "split": method} | leaks
    write_record(folder, _definition(source, scan, keys, cases) | made, keys)


def _definition(source: Source, scan: Scan, keys: Keys, cases: pl.DataFrame) -> dict[str, Any]:
    development = cases.filter(pl.col("partition") == "development")
    largest = (cases if development.is_empty() else development).select(pl.col("shape").list.first().max()).item()
    return {
        "name": source.name,
        "unit": "image",
        "labels": [label.to_dict() for label in scan.labels],
        "description": source.description,
        "source": {"kind": type(source).__name__, "labels": scan.label_source, "digest": keys.hash("digest", scan.digest)},
        "public": source.public,
        "licence": source.licence,
        "url": source.url,
        "channels": source.channels or (3 if largest == 3 else 1),
        "pipeline_version": PIPELINE_VERSION,
        "medai_version": medai.__version__,
    }


def _integer(label: Label) -> type[pl.Int8] | type[pl.Int16]:
    return pl.Int8 if len(label.classes) <= 127 else pl.Int16


def _label_table(case_ids: pl.Series, values: pl.DataFrame, found: pl.DataFrame, source: str) -> pl.DataFrame:
    columns: list[pl.Series] = [case_ids]
    for series in values:
        columns += [series, found[f"label.{series.name}.uncertain"].fill_null(False).alias(f"{series.name}.uncertain")]
    return pl.DataFrame(columns).with_columns(label_source=pl.lit(source))


def count(cases: pl.DataFrame, quarantine: pl.DataFrame, development: pl.DataFrame, labels: Sequence[Label]) -> dict[str, Any]:
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
        "quarantine": dict(reasons.iter_rows()),
        "development_labels": {label.name: _classes(development, label) for label in labels},
    }


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
