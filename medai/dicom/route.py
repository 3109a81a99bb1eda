"""What each file can be before its geometry is judged: an image, a slice of a volume, a mosaic, or refused."""

from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Bool, Float

from medai.core.error import Refusal
from medai.dicom.geometry import is_placed
from medai.dicom.mosaic import is_mosaic
from medai.dicom.multiframe import MAXIMUM_FRAMES, FrameGroup, read_frame_groups
from medai.dicom.select import unselected
from medai.dicom.series_rules import SeriesRules
from medai.dicom.stack_schema import FRAME_SCHEMA, ORIGIN

VOLUME_MODALITIES = ("CT", "MR", "PT")
HAS_VOLUMES = pl.col("modality").is_in(VOLUME_MODALITIES).fill_null(False)


def frame_items(instances: pl.DataFrame, rules: SeriesRules) -> pl.Series:
    """The items whose functional groups `group_instances` needs: multi-frame files that may be volumes."""
    wanted = (pl.col("frames") > 1) & _may_be_volume(rules, enhanced=True) & pl.col("code").is_null()
    return instances.filter(wanted, unselected(instances, rules).is_null())["item"]


def frame_table(groups: Iterable[tuple[str, list[FrameGroup]]]) -> pl.DataFrame:
    """Functional groups as a table of `FRAME_SCHEMA`."""
    rows = [{"item": item, **asdict(group)} for item, found in groups for group in found]
    lists = ("position", "orientation", "pixel_spacing")
    return pl.DataFrame([{**row, **{name: row[name] and list(row[name]) for name in lists}} for row in rows], schema=FRAME_SCHEMA)


def read_frame_table(items: Iterable[str], opener: Callable[[str], Path | bytes]) -> pl.DataFrame:
    """The frames of enhanced multi-frame files; a file that cannot be read has none, and reading it will say why."""

    def groups(item: str) -> list[FrameGroup]:
        try:
            return read_frame_groups(opener(item))
        except Refusal:
            return []

    return frame_table((item, groups(item)) for item in items)


def common_columns(table: pl.DataFrame) -> pl.DataFrame:
    """The columns that images and refused files need."""
    return table.select("row", "item", "size", "frames", "frame", *ORIGIN, "code", "message", "stack")


def _may_be_volume(rules: SeriesRules, enhanced: bool = False) -> pl.Expr:
    if rules.volumes == "never":
        return pl.lit(False)
    if rules.volumes == "auto":
        return HAS_VOLUMES
    return HAS_VOLUMES | pl.col("position").is_not_null() | (pl.lit(enhanced) & (pl.col("frames") > 1))


def routed(instances: pl.DataFrame, rules: SeriesRules, frames: pl.DataFrame) -> pl.DataFrame:
    """A row a frame, with its `route`: refused, image, mosaic or slice. The instances have their number in `row`."""
    table = instances.with_columns(
        series=pl.struct("patient_id", "study_uid", pl.coalesce("series_uid", "item")),
        stack=pl.lit(None, pl.String), unselected=unselected(instances, rules), frame=pl.lit(0, pl.Int32), stack_id=pl.lit(None, pl.String),
        enhanced=pl.lit(False),
    )  # fmt: skip
    known = pl.col("item").is_in(frames["item"].unique().implode()) & _may_be_volume(rules, enhanced=True)
    several = pl.col("frames").fill_null(1) > 1
    volume = (_may_be_volume(rules) & ~several) | known
    types = table["image_type"]
    mosaic = types.is_in([text for text in types.unique().drop_nulls() if is_mosaic(text)]).fill_null(False)
    codes = {
        "code": pl.col("code").is_not_null(),
        "not-selected": pl.col("unselected").is_not_null(),
        "no-pixels": pl.col("rows").is_null() | pl.col("columns").is_null(),
        "multi-frame": several & ~known & ((rules.frames == "refuse") | (HAS_VOLUMES & (rules.volumes != "never"))),
        "too-large": pl.col("frames") > MAXIMUM_FRAMES,
        "mosaic": pl.lit(mosaic) & volume & (rules.mosaics == "refuse"),
    }
    messages = {
        "code": pl.col("message"),
        "not-selected": pl.col("unselected"),
        "no-pixels": pl.lit("(0028,0010) 'Rows' or (0028,0011) 'Columns' is absent; expected an image"),
        "multi-frame": pl.format(
            "(0028,0008) 'Number of Frames' is {}, and no functional groups say where they lie; rules.frames: first, middle or all "
            "takes them as pictures where rules.volumes is never or the modality has no volumes",
            "frames",
        ),
        "too-large": pl.format("(0028,0008) 'Number of Frames' is {}; at most {} are read", "frames", pl.lit(MAXIMUM_FRAMES)),
        "mosaic": pl.lit("a mosaic: many slices in one image; rules.mosaics: unpack takes it apart"),
    }
    code: Any = pl.when(codes["code"]).then("code")
    message: Any = pl.when(codes["code"]).then("message")
    for name in list(codes)[1:]:
        code, message = code.when(codes[name]).then(pl.lit(name)), message.when(codes[name]).then(messages[name])
    table = table.with_columns(code=code, message=message)
    route = pl.when(pl.col("code").is_not_null()).then(pl.lit("refused")).when(pl.lit(mosaic) & volume).then(pl.lit("mosaic"))
    table = table.with_columns(route=route.when(volume).then(pl.lit("slice")).otherwise(pl.lit("image")))
    return expanded(table, frames)


def expanded(table: pl.DataFrame, frames: pl.DataFrame) -> pl.DataFrame:
    """Enhanced files: a row a frame, with what its functional groups say."""
    enhanced = (pl.col("route") == "slice") & pl.col("item").is_in(frames["item"].unique().implode())
    if frames.is_empty() or not table.select(enhanced.any()).item():
        return table
    joined = table.filter(enhanced).join(frames, on="item", suffix="_of_frame", maintain_order="left_right")
    place = ("frame", "position", "orientation", "pixel_spacing")  # the header's are the first frame's
    joined = joined.with_columns(
        pl.col(f"{name}_of_frame").alias(name) if name in place else pl.coalesce(f"{name}_of_frame", name).alias(name)
        for name in FRAME_SCHEMA.names()[1:]
    ).with_columns(instance_number=pl.col("frame").cast(pl.Int64), enhanced=pl.lit(True))
    return pl.concat([table.filter(~enhanced), joined.select(table.columns)])


def distinct(slices: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Slices of distinct instances, and files that repeat an instance: a copy is no second slice."""
    named = slices.with_columns(
        first=pl.when(pl.col("sop_instance_uid").is_not_null()).then(pl.col("item").first().over("series", "sop_instance_uid")),
        same=pl.all_horizontal(
            pl.col(name).eq_missing(pl.col(name).first().over("series", "sop_instance_uid")) for name in ("position", "rows", "columns")
        ),
    )
    again = (pl.col("item") != pl.col("first")).fill_null(False)
    code = pl.when("same").then(pl.lit("duplicate-instance")).otherwise(pl.lit("contradicting-instance"))
    text = pl.when("same").then(pl.lit("the same (0008,0018) 'SOP Instance UID' as another file of the series"))
    message = text.otherwise(pl.lit("the (0008,0018) 'SOP Instance UID' of another file of the series, in another place or size"))
    repeats = named.filter(again).with_columns(code=code, message=message)
    return named.filter(~again).drop("first", "same"), repeats.drop("first", "same")


def with_place(slices: pl.DataFrame, rules: SeriesRules) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Slices that have a place; those that are images, since their series is one picture without a place; and refused ones."""
    placed = pl.Series(_is_placed(slices), dtype=pl.Boolean)
    single = (pl.len().over("series") == 1) & (rules.volumes == "auto") & (pl.col("frames").fill_null(1) == 1)
    table = slices.with_columns(placed=placed, single=single)
    text = "(0020,0032), (0020,0037) or (0028,0030), where a slice lies, is absent or makes no sense; rules.volumes: never takes pictures"
    unplaced = table.filter(~pl.col("placed") & ~pl.col("single")).with_columns(code=pl.lit("no-geometry"), message=pl.lit(text))
    return table.filter("placed"), table.filter(~pl.col("placed") & pl.col("single")), unplaced


def _is_placed(slices: pl.DataFrame) -> Bool[np.ndarray, " N"]:
    """Whether position, orientation and spacing are there and make sense."""
    complete = slices.select(
        (pl.col("position").list.len() == 3) & (pl.col("orientation").list.len() == 6) & (pl.col("pixel_spacing").list.len() == 2)
    ).to_series().fill_null(False)  # fmt: skip
    placed = complete.to_numpy().copy()
    placed[placed] = is_placed(*place_arrays(slices.filter(complete)))
    return placed


def place_arrays(slices: pl.DataFrame) -> tuple[Float[np.ndarray, "N 3"], Float[np.ndarray, "N 6"], Float[np.ndarray, "N 2"]]:
    return tuple(  # type: ignore[return-value]  # three, one a column
        slices[name].list.explode().to_numpy().reshape(-1, size)
        for name, size in (("position", 3), ("orientation", 6), ("pixel_spacing", 2))
    )
