"""Instances to cases: studies, series, stacks, each stack with a measured verdict on its geometry.

A file becomes an image, a slice of a volume, or is refused with a code; nothing is dropped. All of it works on columns;
only stacks whose positions repeat or interleave are looked at one by one.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from medai.core.error import MedaiError
from medai.dicom.judge import SEAT, chosen, judged, unique_names
from medai.dicom.route import common_columns, distinct, frame_items, frame_table, read_frame_table, routed, with_place
from medai.dicom.series_rules import SeriesRules
from medai.dicom.stack_schema import CASE_SCHEMA, FIGURES, FRAME_SCHEMA, SERIES_SCHEMA, STACK_REFUSED_SCHEMA, Stacks

__all__ = [
    "CASE_SCHEMA",
    "FRAME_SCHEMA",
    "SERIES_SCHEMA",
    "STACK_REFUSED_SCHEMA",
    "Judged",
    "Stacks",
    "frame_items",
    "frame_table",
    "group_instances",
    "judge_studies",
    "put_together",
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
    ordered = instances.sort("item").with_row_index("row")
    stacks = put_together([judge_studies(ordered, rules, tilt, frames)], rules, len(ordered))
    names = ordered["item"]
    items = pl.col("files").list.eval(pl.element().map_batches(lambda rows: names.gather(rows), return_dtype=pl.String))
    cases = stacks.cases.with_columns(items=items).select(CASE_SCHEMA.names())
    refused = stacks.refused.with_columns(item=names.gather(stacks.refused["row"])).select(STACK_REFUSED_SCHEMA.names())
    return Stacks(cases, refused, stacks.series)


@dataclass(frozen=True)
class Judged:
    """Whole studies, grouped and judged apart from the others. Files are named by `row`, their place among all instances.

    Attributes:
        stacks: A row a stack of slices with a position: `judged`'s, and its `files` (rows) and `frames` along the normal, its first
            file (`row`) and `size`.
        cases: A row an image or a mosaic: `row`, `files` and CASE_SCHEMA but `items`.
        refused: `row`, `code`, `message` of files that are in no stack.
    """

    stacks: pl.DataFrame
    cases: pl.DataFrame
    refused: pl.DataFrame


def judge_studies(instances: pl.DataFrame, rules: SeriesRules, tilt: str = "quarantine", frames: pl.DataFrame | None = None) -> Judged:
    """Group and judge the instances of some studies, each study whole; `put_together` makes one result of all of them.

    Args:
        instances: `INSTANCE_SCHEMA`, and `row`: the instance's place among all, in the order of their items, ascending.
        rules: See `group_instances`.
        tilt: See there.
        frames: See there.

    Raises:
        MedaiError: another `tilt`.
    """
    if tilt not in TILTS:
        raise MedaiError(f"dataset.tilt is {tilt!r}; allowed: {', '.join(TILTS)}")
    table = routed(instances, rules, frames if frames is not None else FRAME_SCHEMA.to_frame())
    slices, repeated = distinct(table.filter(pl.col("route") == "slice"))
    placed, single, unplaced = with_place(slices, rules)
    ordered, stacks = judged(placed, rules, tilt)
    alone = ordered.filter(pl.col("route") == "image").with_columns(frames=pl.lit(1, pl.Int64))  # one frame of its file
    images = pl.concat(common_columns(part) for part in (table.filter(pl.col("route") == "image"), single, alone))
    out = pl.concat(part.select("row", "code", "message") for part in (table.filter(pl.col("route") == "refused"), repeated, unplaced))
    mosaics = _mosaic_cases(table.filter(pl.col("route") == "mosaic"))
    files = ordered.group_by("number", maintain_order=True).agg(
        pl.col("row").alias("files"), pl.col("frame").alias("frames"), pl.col("row").min().cast(pl.Int64),
        pl.col("size").filter(pl.col("row").is_first_distinct()).sum(),
    )  # fmt: skip
    stacks = stacks.drop("item", "series", "orientation").join(files, on="number", how="left", maintain_order="left")
    return Judged(stacks, pl.concat([_image_cases(images, rules), mosaics]), out)


def put_together(parts: Sequence[Judged], rules: SeriesRules, count: int) -> Stacks:
    """One result of studies that were judged in parts; it does not depend on which study was in which part.

    Args:
        parts: Of `judge_studies`; further columns of `stacks` and `cases` are kept.
        rules: See `group_instances`.
        count: How many instances there are.

    Returns:
        Cases and refused files with `files` and `row` in place of `items` and `item`.
    """
    stacks = pl.concat(part.stacks for part in parts).sort(SEAT).with_columns(number=pl.int_range(pl.len(), dtype=pl.Int64))
    stacks = chosen(stacks, rules)
    volumes = stacks.filter(pl.col("route") == "volume").with_columns(mosaic=pl.lit(False))
    images = pl.concat(part.cases for part in parts)
    cases = pl.concat([images, volumes.select(images.columns).cast(dict(images.schema))]).sort("row", maintain_order=True)  # type: ignore[arg-type]
    cases = cases.with_columns(stack=unique_names(cases["stack"]))
    used = np.zeros(count, bool)
    used[cases["files"].list.explode().to_numpy()] = True
    out = pl.concat(part.refused for part in parts).with_columns(stack=pl.lit(None, pl.String))
    bad = stacks.filter(pl.col("route") == "refused").select("files", "code", "message", "stack").explode("files").rename({"files": "row"})
    refused = pl.concat([out, bad.select(out.columns)])
    refused = refused.filter(pl.Series(~used[refused["row"].to_numpy()], dtype=pl.Boolean)).sort("row", maintain_order=True)
    return Stacks(cases, refused.unique("row", keep="first", maintain_order=True), stacks.select(SERIES_SCHEMA.names()))


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
        part=pl.lit(None, pl.String), files=pl.concat_list("row"), frames=pl.concat_list("frames"), mosaic=pl.lit(False),
        **{name: pl.lit(None, dtype) for name, dtype in FIGURES.items()},
    ).with_columns(slices=pl.lit(1, pl.Int64)).select(*_CASE_COLUMNS)  # fmt: skip


def _mosaic_cases(mosaics: pl.DataFrame) -> pl.DataFrame:
    """Each mosaic is a volume of its own; its slices are judged when it is read."""
    return mosaics.with_columns(
        stack=pl.col("item"), case=pl.coalesce("sop_instance_uid", "item"), kind=pl.lit("volume"), part=pl.lit("mosaic"),
        files=pl.concat_list("row"), frames=pl.concat_list("frame"), mosaic=pl.lit(True),
        **{name: pl.lit(None, dtype) for name, dtype in FIGURES.items()},
    ).select(*_CASE_COLUMNS)  # fmt: skip


_CASE_COLUMNS = [
    pl.col("row").cast(pl.Int64),
    pl.col("files").cast(pl.List(pl.UInt32)),
    *(pl.col(name).cast(dtype) for name, dtype in CASE_SCHEMA.items() if name != "items"),
]
