"""What a header scan knows of a file: one row an instance, values in the clear, in memory only.

Written to disk they would be a register of patients; `medai.source.instances` encrypts them.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

_TEXT = pl.String()
_NUMBERS = pl.List(pl.Float64)

INSTANCE_SCHEMA = pl.Schema(
    {
        "item": _TEXT,  # relative path; of an archive "name.zip!/member"
        "size": pl.Int64(),
        "mtime_ns": pl.Int64(),
        "code": _TEXT,  # why the file is no instance: not-dicom, truncated, bad-header, …; null where it is one
        "message": _TEXT,
        "digest": _TEXT,  # BLAKE2b-128 of the header bytes that were read
        "transfer_syntax": _TEXT,
        "sop_class_uid": _TEXT,
        "sop_instance_uid": _TEXT,
        "study_uid": _TEXT,
        "series_uid": _TEXT,
        "frame_of_reference_uid": _TEXT,
        "patient_id": _TEXT,
        "accession_number": _TEXT,
        "study_date": _TEXT,  # YYYYMMDD
        "acquisition_date": _TEXT,
        "birth_date": _TEXT,
        "age": _TEXT,  # (0010,1010) as it stands: "045Y"
        "sex": _TEXT,
        "modality": _TEXT,
        "manufacturer": _TEXT,
        "model": _TEXT,
        "station": _TEXT,
        "institution": _TEXT,
        "body_part": _TEXT,
        "laterality": _TEXT,  # (0020,0062), else (0020,0060)
        "view": _TEXT,
        "image_type": _TEXT,  # joined by a backslash
        "series_description": _TEXT,
        "study_description": _TEXT,
        "protocol_name": _TEXT,
        "kernel": _TEXT,
        "sequence_name": _TEXT,
        "series_number": pl.Int64(),
        "instance_number": pl.Int64(),
        "acquisition_number": pl.Int64(),
        "echo_number": pl.Int64(),
        "temporal_position": pl.Int64(),
        "frames": pl.Int64(),  # 1 where (0028,0008) is absent and there are rows
        "rows": pl.Int64(),
        "columns": pl.Int64(),
        "samples": pl.Int64(),
        "bits_allocated": pl.Int64(),
        "echo_time": pl.Float64(),  # ms
        "b_value": pl.Float64(),  # s/mm2
        "slice_thickness": pl.Float64(),  # mm
        "spacing_between_slices": pl.Float64(),  # mm
        "gantry_tilt": pl.Float64(),  # degrees
        "trigger_time": pl.Float64(),  # ms
        "window_center": pl.Float64(),
        "window_width": pl.Float64(),
        "acquisition_time": _TEXT,
        "photometric": _TEXT,
        "burned_in": _TEXT,
        "pixel_spacing": _NUMBERS,  # row, column; mm
        "imager_pixel_spacing": _NUMBERS,
        "position": _NUMBERS,  # (0020,0032), LPS mm
        "orientation": _NUMBERS,  # (0020,0037)
    }
)


def instance_frame(rows: Sequence[tuple[Any, ...]]) -> pl.DataFrame:
    """Rows in the order of INSTANCE_SCHEMA as a frame, a column at a time."""
    columns = zip(*rows, strict=True) if rows else [()] * len(INSTANCE_SCHEMA)
    return pl.DataFrame([_series(name, values, INSTANCE_SCHEMA[name]) for name, values in zip(INSTANCE_SCHEMA, columns, strict=True)])


def _series(name: str, values: Sequence[Any], dtype: Any) -> pl.Series:
    if dtype != _NUMBERS:
        return pl.Series(name, values, dtype=dtype, strict=True)
    known = [value is not None for value in values]
    if not any(known):
        return pl.Series(name, values, dtype=dtype)
    width = len(values[known.index(True)])  # equal in all rows of a column; as one array it is made ten times faster than row by row
    numbers = np.array([(0.0,) * width if value is None else value for value in values], np.float64)
    lists = pl.Series(name, numbers).arr.to_list()
    return lists if all(known) else pl.select(pl.when(pl.Series(known)).then(lists).alias(name)).to_series()
