"""Instances to cases: studies, series, stacks, each stack with a measured verdict on its geometry.

A file becomes an image, a slice of a volume, or is refused with a code; nothing is dropped. All of it works on columns;
only stacks whose positions repeat or interleave are looked at one by one.
"""

import polars as pl

from medai.core.error import MedaiError
from medai.dicom.judge import judged, unique_names
from medai.dicom.route import common_columns, distinct, frame_items, frame_table, read_frame_table, routed, with_place
from medai.dicom.series_rules import SeriesRules
from medai.dicom.stack_schema import CASE_SCHEMA, FIGURES, FRAME_SCHEMA, SERIES_SCHEMA, STACK_REFUSED_SCHEMA, Stacks

__all__ = [
    "CASE_SCHEMA",
    "FRAME_SCHEMA",
    "SERIES_SCHEMA",
    "STACK_REFUSED_SCHEMA",
    "Stacks",
    "frame_items",
    "frame_table",
    "group_instances",
    "read_frame_table",
]

TILTS = ("quarantine", "resample")


def group_instances(instances: pl.DataFrame, rules: SeriesRules, tilt: str = "quarantine", frames: pl.DataFrame | None = None) -> Stacks:
    """Group instances into images and stacks, and judge each stack's geometry.

    A series is split into parts that differ in shape, pixel spacing, plane, image type, kernel, echo, b-value, sequence name or
    stack; repeated or interleaved positions into time points, acquisitions or passes. Slices are ordered by their position
    along the normal. Where a series has a stack of several slices, a slice that stays alone is refused.

    Args:
        instances: `INSTANCE_SCHEMA`.
        rules: Which series to keep, and as what.
        tilt: ``quarantine`` refuses stacks that are sheared by a gantry tilt; ``resample`` keeps them for `read_volume` to straighten.
        frames: `FRAME_SCHEMA`, of the files that `frame_items` names. Without it they are refused as ``multi-frame``.

    Returns:
        Cases, refused files (``not-selected``, ``multi-frame``, ``no-geometry``, ``mosaic``, ``duplicate-instance``,
        ``contradicting-instance``, ``too-few-slices``, ``mixed-shape``, ``mixed-orientation``, ``duplicate-positions``,
        ``missing-slices``, ``uneven-spacing``, ``jitter``, ``gantry-tilt``, and what the scan refused), and all stacks' figures.

    Raises:
        MedaiError: another `tilt`.

    Example:
        >>> group_instances(instances, SeriesRules.of({"modalities": ["CT"]})).refused["code"].value_counts()
    """
    if tilt not in TILTS:
        raise MedaiError(f"dataset.tilt is {tilt!r}; allowed: {', '.join(TILTS)}")
    table = routed(instances.sort("item"), rules, frames if frames is not None else FRAME_SCHEMA.to_frame())
    slices, repeated = distinct(table.filter(pl.col("route") == "slice"))
    placed, single, unplaced = with_place(slices, rules)
    ordered, stacks = judged(placed, rules, tilt)
    alone = ordered.filter(pl.col("route") == "image").with_columns(frames=pl.lit(1, pl.Int64))  # one frame of its file
    images = pl.concat(common_columns(part) for part in (table.filter(pl.col("route") == "image"), single, alone))
    out = (table.filter(pl.col("route") == "refused"), repeated, unplaced, ordered.filter(pl.col("route") == "refused"))
    volumes = _volume_cases(ordered.filter(pl.col("route") == "volume"), stacks)
    mosaics = _mosaic_cases(table.filter(pl.col("route") == "mosaic"))
    cases = pl.concat([_image_cases(images, rules), mosaics, volumes]).sort("row", maintain_order=True)
    cases = cases.with_columns(stack=unique_names(cases["stack"])).select(CASE_SCHEMA.names())
    return Stacks(cases, _refused(pl.concat(common_columns(part) for part in out), cases), stacks.select(SERIES_SCHEMA.names()))


def _volume_cases(slices: pl.DataFrame, stacks: pl.DataFrame) -> pl.DataFrame:
    whole = slices.group_by("number", maintain_order=True).agg(
        pl.col("item").alias("items"), pl.col("frame").alias("frames"), pl.col("row").min(),
        pl.col("size").filter(pl.col("item").is_first_distinct()).sum(),
    )  # fmt: skip
    return whole.join(stacks, on="number", how="left", maintain_order="left").with_columns(mosaic=pl.lit(False)).select(*_CASE_COLUMNS)


def _image_cases(images: pl.DataFrame, rules: SeriesRules) -> pl.DataFrame:
    """A row an image; of multi-frame files the frames that the rule names."""
    count = pl.col("frames").fill_null(1)
    chosen = {"middle": pl.concat_list((count - 1) // 2), "all": pl.int_ranges(0, count)}.get(
        rules.frames, pl.concat_list(pl.lit(0, pl.Int64))
    )
    several = pl.when(count > 1).then(chosen.cast(pl.List(pl.Int32))).otherwise(pl.concat_list("frame"))
    table = images.with_columns(frames=several).explode("frames")
    mark = pl.when(pl.len().over("item") > 1).then(pl.format("#{}", "frames")).otherwise(pl.lit(""))
    return table.with_columns(
        stack=pl.concat_str("item", mark), case=pl.concat_str(pl.coalesce("sop_instance_uid", "item"), mark), kind=pl.lit("image"),
        part=pl.lit(None, pl.String), items=pl.concat_list("item"), frames=pl.concat_list("frames"), mosaic=pl.lit(False),
        **{name: pl.lit(None, dtype) for name, dtype in FIGURES.items()},
    ).with_columns(slices=pl.lit(1, pl.Int64)).select(*_CASE_COLUMNS)  # fmt: skip


def _mosaic_cases(mosaics: pl.DataFrame) -> pl.DataFrame:
    """Each mosaic is a volume of its own; its slices are judged when it is read."""
    return mosaics.with_columns(
        stack=pl.col("item"), case=pl.coalesce("sop_instance_uid", "item"), kind=pl.lit("volume"), part=pl.lit("mosaic"),
        items=pl.concat_list("item"), frames=pl.concat_list("frame"), mosaic=pl.lit(True),
        **{name: pl.lit(None, dtype) for name, dtype in FIGURES.items()},
    ).select(*_CASE_COLUMNS)  # fmt: skip


_CASE_COLUMNS = [pl.col("row").cast(pl.Int64), *(pl.col(name).cast(dtype) for name, dtype in CASE_SCHEMA.items())]


def _refused(table: pl.DataFrame, cases: pl.DataFrame) -> pl.DataFrame:
    """A row a file that is in no case, in the order of the instances."""
    used = cases.select(pl.col("items").explode().unique())
    table = table.join(used, left_on="item", right_on="items", how="anti").sort("row", maintain_order=True)
    return table.unique("row", keep="first", maintain_order=True).select(STACK_REFUSED_SCHEMA.names())
