"""From the parts of an ingest to the cohort: join, number, split, judge, write."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

import medai
from medai.cohort.key import Keys
from medai.cohort.leak import exclude_leaks
from medai.cohort.schema import (
    CASE_SCHEMA, CASES, DEVELOPMENT_LABELS, INSTANCE_SCHEMA, INSTANCES, PIPELINE_VERSION, QUARANTINE, QUARANTINE_SCHEMA, SPLIT, TEST_LABELS,
)  # fmt: skip
from medai.cohort.split import SplitSettings, split_cases
from medai.cohort.write import write_record, write_table
from medai.core.error import MedaiError
from medai.core.label import Label
from medai.ingest.reason import reason
from medai.ingest.unit import Unit, cases_part, refused_part
from medai.source.base import Scan, Source


@dataclass(frozen=True)
class Collected:
    """All parts together.

    Attributes:
        cases: The columns of a part, the annotations joined, ordered as found, `case_id` unique.
        quarantine: Everything refused.
    """

    cases: pl.DataFrame
    quarantine: pl.DataFrame


def collect(scan: Scan, units: Sequence[Unit], folder: Path, keys: Keys, settings: SplitSettings) -> Collected:
    """Put the parts together and join what the scan knew.

    Raises:
        MedaiError: no case is left.
    """
    cases = pl.concat([pl.read_parquet(cases_part(folder, unit.number)) for unit in units]).sort("position")
    refused = pl.concat([pl.read_parquet(refused_part(folder, unit.number)) for unit in units]).sort("position")
    known = scan.annotations.with_columns(join_key=keys.names(scan.key, scan.annotations["key"]), patient=keys.names("patient", scan.annotations["patient"])).drop("key")
    unmatched = known.join(cases, on="join_key", how="anti", maintain_order="left")["join_key"] if scan.key != "item" else pl.Series("join_key", [], dtype=pl.String)
    quarantine = [
        scan.refused.select(keys.names("item", scan.refused["item"]).alias("source_key"), "code", "message"),
        refused.drop("position"),
        unmatched.alias("source_key").to_frame().with_columns(code=pl.lit("missing-file"), message=pl.lit(f"no readable file has this {scan.key}")),
    ]
    cases = cases.join(known, on="join_key", how="left", maintain_order="left", suffix=".known").with_columns(
        patient_id=pl.coalesce("patient", "patient_id"), site=pl.coalesce("site.known", "site"), sex=pl.coalesce("sex.known", "sex"),
        age_years=pl.coalesce("age_years.known", "age_years"), source_split=pl.col("split"),
    )  # fmt: skip
    first = cases["case_id"].is_first_distinct()
    quarantine.append(_refuse(cases.filter(~first), "duplicate-instance", "the same instance as another file"))
    cases = cases.filter(first)
    if settings.test != 1.0 and cases["source_split"].is_not_null().any():
        quarantine.append(_refuse(cases.filter(pl.col("source_split").is_null()), "no-split", "the label table gives no split"))
        cases = cases.filter(pl.col("source_split").is_not_null())
    return Collected(cases, _quarantine(pl.concat(quarantine), keys))


def _refuse(cases: pl.DataFrame, code: str, message: str) -> pl.DataFrame:
    return cases.select("source_key", code=pl.lit(code), message=pl.lit(message))


def _quarantine(frame: pl.DataFrame, keys: Keys) -> pl.DataFrame:
    frame = frame.select(list(QUARANTINE_SCHEMA)).cast(dict(QUARANTINE_SCHEMA)).sort("code", "source_key")  # type: ignore[arg-type]
    if keys.public:
        return frame
    codes = frame["code"].unique().to_list()
    return frame.with_columns(message=frame["code"].replace_strict(codes, [reason(code) for code in codes], return_dtype=pl.String))


def finish(source: Source, scan: Scan, collected: Collected, folder: Path, keys: Keys, allow: Sequence[str]) -> None:
    """Write the tables and the record of a cohort.

    Raises:
        MedaiError: a leak without its override, or a split that cannot be made.
    """
    labels = [label.name for label in scan.labels]
    values = collected.cases.select(pl.col(f"label.{label.name}").cast(_integer(label)).alias(label.name) for label in scan.labels)
    cases, method = split_cases(collected.cases, values, SplitSettings.from_dict(source.split))
    cases, leaks = exclude_leaks(cases, allow)
    cases = cases.with_row_index("ordinal").with_columns(pl.col("ordinal").cast(pl.Int64))
    write_table(folder / CASES, cases.select(list(CASE_SCHEMA)).cast(dict(CASE_SCHEMA)))  # type: ignore[arg-type]
    table = pl.concat([cases.select("case_id"), _with_uncertain(values)], how="horizontal").with_columns(label_source=pl.lit(scan.label_source))
    test = cases["partition"] == "test"
    write_table(folder / DEVELOPMENT_LABELS, table.filter(~test))
    write_table(folder / TEST_LABELS, table.filter(test))
    write_table(folder / SPLIT, cases.filter(~test).select("case_id", "split"))
    if cases["sop_class_uid"].is_not_null().any():
        write_table(folder / INSTANCES, cases.select(list(INSTANCE_SCHEMA)))
    write_table(folder / QUARANTINE, collected.quarantine)
    counts = count(cases, collected.quarantine, values.filter(~test), scan.labels)
    record = {
        "name": source.name, "unit": "image", "labels": [label.to_dict() for label in scan.labels], "description": source.description,
        "source": {"kind": type(source).__name__, "labels": scan.label_source, "digest": keys.hash("digest", scan.digest)},
        "public": source.public, "licence": source.licence, "url": source.url, "channels": source.channels or int(cases["shape"].list.first().max() or 1),  # type: ignore[arg-type]
        "counts": counts, "notes": notes(counts, leaks), "split": method, "exclusions": leaks["exclusions"], "allow": leaks["allow"],
        "pipeline_version": PIPELINE_VERSION, "medai_version": medai.__version__,
    }  # fmt: skip
    assert set(labels) == set(values.columns)
    write_record(folder, record, keys)


def _integer(label: Label) -> type[pl.Int8] | type[pl.Int16]:
    return pl.Int8 if len(label.classes) <= 127 else pl.Int16


def _with_uncertain(values: pl.DataFrame) -> pl.DataFrame:
    columns: list[Any] = []
    for name in values.columns:
        columns += [pl.col(name), pl.lit(False).alias(f"{name}.uncertain")]
    return values.select(columns) if columns else values


def count(cases: pl.DataFrame, quarantine: pl.DataFrame, development: pl.DataFrame, labels: Sequence[Label]) -> dict[str, Any]:
    """The counts of the record. Classes are counted in development only: the test labels stay closed."""
    reasons = quarantine["code"].value_counts(sort=False).sort("code")
    splits = {split: int((cases["split"] == split).sum()) for split in ("train", "validation", "test")}
    return {
        "found": len(cases) + len(quarantine), "cases": len(cases), "quarantined": len(quarantine), "excluded": int(cases["exclusion"].is_not_null().sum()),
        "development": int((cases["partition"] == "development").sum()), **splits,
        "patients": cases["patient_id"].drop_nulls().n_unique(), "patients_unknown": cases["patient_id"].null_count(),
        "sites": cases["site"].drop_nulls().n_unique(), "quarantine": dict(reasons.iter_rows()),
        "development_labels": {label.name: _classes(development[label.name], label) for label in labels},
    }  # fmt: skip


def _classes(values: pl.Series, label: Label) -> dict[str, int]:
    found = np.bincount(values.drop_nulls().to_numpy(), minlength=len(label.classes)).tolist()
    return dict(zip(label.classes, found, strict=True)) | {"unknown": values.null_count()}


def notes(counts: dict[str, Any], leaks: dict[str, Any]) -> list[str]:
    """What a reader of the cohort has to know, in sentences."""
    sentences = []
    if counts["patients_unknown"]:
        sentences.append(f"Patients unknown for {counts['patients_unknown']:,} of {counts['cases']:,} cases: images of one patient may lie in two splits unseen.")
    for code, number in leaks["exclusions"].items():
        sentences.append(f"{number:,} training images are left out: {code}." if code == "equal-pixels-in-validation" else f"{number:,} development images are left out: {code}.")
    for override in leaks["allow"]:
        sentences.append(f"A hard stop was overridden: {override}.")
    return sentences


def publish(folder: Path, target: Path) -> None:
    """Give the complete cohort its name. A second call after a kill goes on."""
    from medai.ingest.unit import WORK

    shutil.rmtree(folder / WORK, ignore_errors=True)
    folder.rename(target)


def tidy(folder: Path, units: Sequence[Unit]) -> None:
    """Remove what a killed process left half written."""
    for stray in folder.rglob(".*.part"):
        stray.unlink()


def no_case(source: Source, quarantine: pl.DataFrame) -> MedaiError:
    """The error of a cohort without a case."""
    reasons = ", ".join(f"{number} {code}" for code, number in quarantine["code"].value_counts(sort=True).iter_rows())
    return MedaiError(f"{source.name}: no case could be read from {getattr(source, 'path', None)} ({reasons or 'nothing found'}); check dataset.path and dataset.labels")
