"""The cohort's files, columns and versions: the contract between ingest and everything after it."""

from typing import Any

import polars as pl

from medai.core.error import MedaiError

SCHEMA_VERSION = "1.1"
PIPELINE_VERSION = 3  # raised when ingest computes other values, so that an old cohort is not taken for a new one

RECORD = "cohort.json"
CASES = "cases.parquet"
DEVELOPMENT_LABELS = "labels/development.parquet"
TEST_LABELS = "labels/test.parquet"
SEALED_LABELS = "labels/test.parquet.sealed"  # in its place where the test set is sealed
SEAL_FOLDER = "seal"
SEAL = f"{SEAL_FOLDER}/seal.json"
SPLIT = "splits/default.parquet"
INSTANCES = "instances.parquet"
STACKS = "stacks.parquet"
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
    "spacing_mm": pl.List(pl.Float64),  # (between slices,) between rows, between columns
    "affine": pl.List(pl.Float64),  # of a volume: 4 x 4, row by row, from (w, h, d, 1) to LPS mm
    "shape": pl.List(pl.Int32),  # C, (D,) H, W
    "dtype": pl.String,
    "window": pl.List(pl.Float64),  # centre, width, in modality values
    "pixel_min": pl.Float64,
    "pixel_max": pl.Float64,
    "age_years": pl.Float64,
    "sex": pl.String,
    "study_date": pl.Date,
    "files": pl.Int32,  # that it was read from
    "volume": pl.String,  # its name among the volumes; an image lies in a shard
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
        "instance_id": pl.String,  # the SOP instance
        "case_id": pl.String,  # null: in no case
        "code": pl.String,  # why it is in none
        "study_id": pl.String,
        "series_id": pl.String,
        "sop_class_uid": pl.String,
        "transfer_syntax": pl.String,
        "modality": pl.String,
        "photometric_interpretation": pl.String,
        "burned_in_annotation": pl.String,
        "rows": pl.Int32,
        "columns": pl.Int32,
        "frames": pl.Int32,
    }
)
STACK_SCHEMA = pl.Schema(
    {
        "study_id": pl.String,
        "series_id": pl.String,
        "part": pl.String,  # what sets the stack apart from others of its series
        "kind": pl.String,  # image, volume
        "slices": pl.Int64,
        "orientation_deviation": pl.Float64,
        "spacing_mm": pl.Float64,
        "spacing_deviation": pl.Float64,
        "duplicates": pl.Int64,
        "missing": pl.Int64,
        "jitter_mm": pl.Float64,
        "tilt_degrees": pl.Float64,
        "code": pl.String,  # why it is no case
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
