"""The cohort's files, columns and versions: the contract between ingest and everything after it."""

from typing import Any

import polars as pl

from medai.core.error import MedaiError

SCHEMA_VERSION = "1.0"
PIPELINE_VERSION = 1  # raised when ingest computes other values, so that an old cohort is not taken for a new one

RECORD = "cohort.json"
CASES = "cases.parquet"
DEVELOPMENT_LABELS = "labels/development.parquet"
TEST_LABELS = "labels/test.parquet"
SPLIT = "splits/default.parquet"
INSTANCES = "instances.parquet"
QUARANTINE = "quarantine.parquet"

_CASE: dict[str, Any] = {
    "ordinal": pl.Int64,
    "case_id": pl.String,
    "patient_id": pl.String,
    "study_id": pl.String,
    "series_id": pl.String,
    "partition": pl.String,
    "site": pl.String,
    "manufacturer": pl.String,
    "model": pl.String,
    "modality": pl.String,
    "body_part": pl.String,
    "laterality": pl.String,
    "view": pl.String,
    "spacing_mm": pl.List(pl.Float64),  # between rows, between columns
    "shape": pl.List(pl.Int32),  # C, H, W
    "dtype": pl.String,
    "window": pl.List(pl.Float64),  # centre, width, in modality values
    "pixel_min": pl.Float64,
    "pixel_max": pl.Float64,
    "age_years": pl.Float64,
    "sex": pl.String,
    "study_date": pl.Date,
    "shard": pl.Int32,
    "offset": pl.Int64,
    "length": pl.Int64,
    "pixel_hash": pl.String,
    "exclusion": pl.String,
    "source_key": pl.String,
}
CASE_SCHEMA = pl.Schema(_CASE)
INSTANCE_SCHEMA = pl.Schema(
    {
        "source_key": pl.String,
        "case_id": pl.String,
        "study_id": pl.String,
        "series_id": pl.String,
        "sop_class_uid": pl.String,
        "photometric_interpretation": pl.String,
        "burned_in_annotation": pl.String,
    }
)
QUARANTINE_SCHEMA = pl.Schema({"source_key": pl.String, "code": pl.String, "message": pl.String})
SPLIT_SCHEMA = pl.Schema({"case_id": pl.String, "split": pl.String})


def shard_name(shard: int) -> str:
    """The file of a shard, relative to the cohort."""
    return f"pixels/{shard:05d}.shard"


def check_version(found: object, path: object, artefact: str, own: str) -> None:
    """Refuse an artefact of a newer major schema version by name.

    Raises:
        MedaiError: the version is not a version, or its major part is newer than ours.
    """
    major = str(found).split(".", maxsplit=1)[0]
    if not major.isdigit():
        raise MedaiError(f"{path} has no schema version; it is not {artefact} of medai")
    if int(major) > int(own.split(".", maxsplit=1)[0]):
        raise MedaiError(f"{path} is {artefact} of schema {found}; this medai reads up to {own}: update medai")
