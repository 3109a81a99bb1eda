"""Put the parts of an ingest together and join what the scan knew about them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from medai.cohort.key import Keys
from medai.cohort.schema import QUARANTINE_SCHEMA
from medai.cohort.split import SplitSettings
from medai.ingest.reason import reason
from medai.ingest.unit import PART_SCHEMA, REFUSED_PART_SCHEMA, Unit, cases_part, refused_part
from medai.source.base import Scan


@dataclass(frozen=True)
class Collected:
    """All parts together.

    Attributes:
        cases: The columns of a part, with the annotations and `source_split`, ordered as found; `case_id` is unique.
        quarantine: Everything refused.
    """

    cases: pl.DataFrame
    quarantine: pl.DataFrame


def collect(scan: Scan, units: Sequence[Unit], folder: Path, keys: Keys, settings: SplitSettings) -> Collected:
    """Put the parts together: cases and quarantine then account for everything that was found.

    Args:
        scan: Of the source.
        units: All of them are done.
        folder: The unfinished cohort.
        keys: How names enter the cohort.
        settings: Whether the source's own splits count.
    """
    parts = pl.concat([PART_SCHEMA.to_frame(), *(pl.read_parquet(cases_part(folder, unit.number)) for unit in units)])
    told = [part for part in (refused_part(folder, unit.number) for unit in units) if part.exists()]
    refused = pl.concat([REFUSED_PART_SCHEMA.to_frame(), *(pl.read_parquet(part) for part in told)])
    cases = _join(parts.sort("position"), _known(scan, keys))
    quarantine = [
        scan.refused.select(keys.names("item", scan.refused["item"]).alias("source_key"), "code", "message"),
        refused.select(list(QUARANTINE_SCHEMA)),
    ]
    for code, message, bad in _faults(settings):
        chosen = cases.select(bad.fill_null(False))[:, 0]
        quarantine.append(cases.filter(chosen).select("source_key", pl.lit(code).alias("code"), pl.lit(message).alias("message")))
        cases = cases.filter(~chosen)
    return Collected(cases, _quarantine(pl.concat(quarantine), keys))


def _known(scan: Scan, keys: Keys) -> pl.DataFrame:
    """The scan's annotations with keyed names."""
    item = keys.names("item", scan.annotations["key"]).alias("source_key")
    patient = keys.names("patient", scan.annotations["patient"]).alias("patient")
    return scan.annotations.drop("key").with_columns(item, patient)


def _join(parts: pl.DataFrame, known: pl.DataFrame) -> pl.DataFrame:
    """What the label table says of a person or a site comes before what the file says."""
    joined = parts.join(known, on="source_key", how="left", maintain_order="left", suffix=".known", validate="m:1")
    return joined.with_columns(
        patient_id=pl.coalesce("patient", "patient_id"),
        site=pl.coalesce("site.known", "site"),
        sex=pl.coalesce("sex.known", "sex"),
        age_years=pl.coalesce("age_years.known", "age_years"),
        source_split=pl.col("split"),
    )


def _faults(settings: SplitSettings) -> list[tuple[str, str, pl.Expr]]:
    """What only the whole cohort shows, in the order in which it is judged."""
    same = pl.struct("pixel_hash", "^label\\..*$").n_unique().over("case_id") > 1
    faults = [
        ("contradicting-instance", "the same instance as another file, with other pixels or labels", same),
        ("duplicate-instance", "the same instance as another file", ~pl.col("case_id").is_first_distinct()),
    ]
    if settings.test != 1.0:
        no_split = pl.col("source_split").is_not_null().any() & pl.col("source_split").is_null()
        faults.append(("no-split", "the label table does not say to which split it belongs", no_split))
    return faults


def _quarantine(frame: pl.DataFrame, keys: Keys) -> pl.DataFrame:
    frame = frame.sort("code", "source_key", "message")
    if keys.public:
        return frame
    codes = frame["code"].unique().to_list()
    return frame.with_columns(message=frame["code"].replace_strict(codes, [reason(code) for code in codes], return_dtype=pl.String))
