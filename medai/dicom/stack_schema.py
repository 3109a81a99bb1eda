"""The tables that grouping gives: cases, refused files, stacks, and frames of multi-frame files."""

from dataclasses import dataclass

import polars as pl

FIGURES = {
    "slices": pl.Int64(),
    "orientation_deviation": pl.Float64(),
    "spacing_mm": pl.Float64(),
    "spacing_deviation": pl.Float64(),
    "duplicates": pl.Int64(),
    "missing": pl.Int64(),
    "jitter_mm": pl.Float64(),
    "tilt_degrees": pl.Float64(),
}
NAMES = {"stack": pl.String(), "case": pl.String(), "kind": pl.String(), "part": pl.String()}
ORIGIN = {
    "patient_id": pl.String(),
    "study_uid": pl.String(),
    "series_uid": pl.String(),
    "sop_instance_uid": pl.String(),
    "modality": pl.String(),
    "rows": pl.Int64(),
    "columns": pl.Int64(),
    "gantry_tilt": pl.Float64(),
}

CASE_SCHEMA = pl.Schema(
    {**NAMES, "items": pl.List(pl.String), "frames": pl.List(pl.Int32), "size": pl.Int64(), "mosaic": pl.Boolean(), **ORIGIN, **FIGURES}
)
"""A row a case: `stack` is unique, `case` the literal name (SOP instance, or series with its part), `kind` image or volume;
`items` and `frames` in slice order along the normal; figures as in `Figures`, null for images and mosaics."""

SERIES_SCHEMA = pl.Schema({**NAMES, **ORIGIN, **FIGURES, "code": pl.String(), "message": pl.String()})
"""A row a stack of slices that have a position, kept or refused (`code`)."""

STACK_REFUSED_SCHEMA = pl.Schema({"item": pl.String, "code": pl.String, "message": pl.String, "stack": pl.String})
"""A row a file that is in no case."""

FRAME_SCHEMA = pl.Schema(
    {
        "item": pl.String(),
        "frame": pl.Int32(),
        "position": pl.List(pl.Float64),
        "orientation": pl.List(pl.Float64),
        "pixel_spacing": pl.List(pl.Float64),
        "slice_thickness": pl.Float64(),
        "spacing_between_slices": pl.Float64(),
        "image_type": pl.String(),
        "stack_id": pl.String(),
        "temporal_position": pl.Int64(),
        "acquisition_number": pl.Int64(),
        "echo_time": pl.Float64(),
        "b_value": pl.Float64(),
        "trigger_time": pl.Float64(),
    }
)
"""A row a frame of an enhanced multi-frame file, see `medai.dicom.multiframe.FrameGroup`."""


@dataclass(frozen=True)
class Stacks:
    """Every instance is in a case or is refused.

    Attributes:
        cases: See `CASE_SCHEMA`; in the order of their first items' names.
        refused: See `STACK_REFUSED_SCHEMA`.
        series: See `SERIES_SCHEMA`, for the audit.
    """

    cases: pl.DataFrame
    refused: pl.DataFrame
    series: pl.DataFrame
