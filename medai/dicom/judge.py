"""Slices to stacks with a verdict: split, ordered, measured, named."""

import numpy as np
import polars as pl
from jaxtyping import Float, Int

from medai.dicom.geometry import Figures, fault_text, measure, order_slices
from medai.dicom.part import ORIENTATION_GAP, split_passes, split_series
from medai.dicom.route import place_arrays
from medai.dicom.select import choose_one
from medai.dicom.series_rules import SeriesRules
from medai.dicom.stack_schema import FIGURES, ORIGIN

SEAT = ("late", "seat_enhanced", "seat_row", "seat_frame", "number")
"""What orders stacks: those that a split added are late, the rest goes by the first slice, plain files before enhanced ones."""


def judged(placed: pl.DataFrame, rules: SeriesRules, tilt: str) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Group slices that have a place into stacks, and judge each.

    Returns:
        The slices by stack (`number`) in the order along the normal, with its `code`, `message` and `route` (volume, image or
        refused); and a row a stack, in the order of `number`, which is that of SEAT. `chosen` has the last word on it.
    """
    placed = placed.with_columns(series=pl.col("series").rank("dense").cast(pl.Int64) - 1)
    position, orientation, spacing = place_arrays(placed)
    stack, parts = split_series(placed, orientation, spacing)
    seats = np.unique(stack, return_index=True)[1]
    parents = np.arange(len(seats))
    order = order_slices(position, orientation, stack)
    figures = measure(position[order], orientation[order], stack[order])
    split = _split_odd(placed, position, orientation, order, stack, figures, parts)
    if split is not None:
        stack, parts, parents = split
        order = order_slices(position, orientation, stack)
        figures = measure(position[order], orientation[order], stack[order])
    ordered = placed[order].with_columns(number=pl.Series(stack[order]))
    stacks = _stack_table(ordered, figures, parts, rules, tilt)
    seat = placed[seats[parents]].select(pl.col(name).alias(f"seat_{name}") for name in ("enhanced", "row", "frame"))
    stacks = stacks.hstack(seat).with_columns(late=pl.col("number") >= len(seats))
    ordered = ordered.drop("code", "message", "route").join(
        stacks.select("number", "code", "message", "route"), on="number", how="left", maintain_order="left"
    )
    return ordered, stacks


def _split_odd(
    placed: pl.DataFrame,
    position: Float[np.ndarray, "N 3"],
    orientation: Float[np.ndarray, "N 6"],
    order: Int[np.ndarray, " N"],
    stack: Int[np.ndarray, " N"],
    figures: Figures,
    parts: pl.Series,
) -> tuple[Int[np.ndarray, " N"], pl.Series, Int[np.ndarray, " K"]] | None:
    """New stack numbers and names, and of which stack each was a part: positions repeat or interleave, and something tells passes apart."""
    codes = figures.codes()
    odd = np.flatnonzero(np.isin(codes, ("duplicate-positions", "uneven-spacing", "missing-slices")))
    if not len(odd):
        return None
    tags = {
        "time": placed["temporal_position"], "acquisition": placed["acquisition_number"],
        "thickness": placed["slice_thickness"], "trigger": placed["trigger_time"],
    }  # fmt: skip
    values = {name: column.cast(pl.Float64).fill_null(float("nan")).to_numpy() for name, column in tags.items()}
    time = placed["acquisition_time"].cast(pl.Float64, strict=False).fill_null(float("nan")).to_numpy()
    instance = placed["instance_number"].cast(pl.Float64).fill_null(float("nan")).to_numpy()
    in_time = np.stack([values["time"], values["acquisition"], values["trigger"], time, instance])
    ends = np.cumsum(figures.slices)
    numbers, names, count = stack.copy(), parts.to_list(), len(parts)
    parents = list(range(count))
    for one in odd:
        rows = order[ends[one] - figures.slices[one] : ends[one]]
        normal = np.cross(orientation[rows[0], :3], orientation[rows[0], 3:])
        along = position[rows] @ normal
        rows, along = rows[np.argsort(along, kind="stable")], np.sort(along, kind="stable")
        found = split_passes(along, {name: column[rows] for name, column in values.items()}, in_time[:, rows])
        if found is None:
            continue
        passes, titles = found
        titles = [f"{names[one]} / {title}" if names[one] else title for title in titles]
        numbers[rows] = np.where(passes == 0, one, count + passes - 1)
        names[one] = titles[0]
        names += titles[1:]
        parents += [int(one)] * (len(titles) - 1)
        count += len(titles) - 1
    return numbers, pl.Series(names, dtype=pl.String), np.array(parents)


def _stack_table(ordered: pl.DataFrame, figures: Figures, parts: pl.Series, rules: SeriesRules, tilt: str) -> pl.DataFrame:
    """A row a stack: names, origin, figures, `code`, `message` and `route` (volume, image, refused)."""
    codes = figures.codes()
    if tilt == "resample":
        codes = np.where(codes == "gantry-tilt", "", codes)
    messages = [fault_text(str(code), figures, index) if code else None for index, code in enumerate(codes)]
    first = ordered.group_by("number", maintain_order=True).agg(
        "series", *(pl.col(name).first() for name in ORIGIN), pl.col("item", "orientation").first()
    )
    table = first.with_columns(
        *(pl.Series(name, getattr(figures, name)) for name in FIGURES), pl.Series("part", parts, dtype=pl.String),
        pl.Series("code", codes, dtype=pl.String), pl.Series("message", messages, dtype=pl.String), series=pl.col("series").list.first(),
    ).with_columns(code=pl.when(pl.col("code") != "").then("code"))  # fmt: skip
    table = _lone(table, rules)
    name = pl.coalesce("series_uid", "item")
    full = pl.when(pl.col("part").is_null()).then(name).otherwise(pl.format("{}/{}", name, "part"))
    return table.with_columns(case=full, kind=pl.when(pl.col("route") == "image").then(pl.lit("image")).otherwise(pl.lit("volume")))


def chosen(stacks: pl.DataFrame, rules: SeriesRules) -> pl.DataFrame:
    """All stacks of `judged` in the order of their `number`, named, and without those that `rules.slices` and `rules.choose` leave out."""
    stacks = stacks.with_columns(stack=unique_names(stacks["case"]))
    kept = stacks.filter(pl.col("route") == "volume")
    left_out = kept.select("number", chosen=choose_one(kept, rules))
    table = stacks.join(left_out, on="number", how="left", maintain_order="left")
    out = pl.col("chosen").is_not_null()
    return table.with_columns(
        code=pl.when(out).then(pl.lit("not-selected")).otherwise("code"), message=pl.coalesce("chosen", "message"),
        route=pl.when(out).then(pl.lit("refused")).otherwise("route"),
    )  # fmt: skip


def _lone(table: pl.DataFrame, rules: SeriesRules) -> pl.DataFrame:
    """What becomes of a stack of one slice: beside a larger stack of its series it is refused, else it is an image or a volume."""
    largest = table.sort("slices", "number", descending=[True, False]).unique("series", keep="first", maintain_order=True)
    largest = largest.select("series", *(pl.col(name).alias(f"most_{name}") for name in ("slices", "rows", "columns", "orientation")))
    table = table.join(largest, on="series", how="left", maintain_order="left")
    alone = (pl.col("slices") == 1) & (pl.col("most_slices") > 1)
    shape = (pl.col("rows") != pl.col("most_rows")) | (pl.col("columns") != pl.col("most_columns"))
    plane = (pl.col("orientation") - pl.col("most_orientation")).list.eval(pl.element().abs()).list.max() > ORIENTATION_GAP
    why = {
        "mixed-shape": (shape, pl.format("a slice of {} x {} in a series of {} x {}", "rows", "columns", "most_rows", "most_columns")),
        "mixed-orientation": (plane, pl.format("a single slice in another plane than the {} slices of its series", "most_slices")),
        "too-few-slices": (pl.lit(True), pl.format("a single slice apart from the {} slices of its series", "most_slices")),
    }
    code, message = pl.col("code"), pl.col("message")
    for name, (found, text) in reversed(why.items()):
        code, message = pl.when(alone & found).then(pl.lit(name)).otherwise(code), pl.when(alone & found).then(text).otherwise(message)
    table = table.with_columns(code=code, message=message)
    single = (pl.col("slices") == 1) & (rules.volumes == "auto")
    route = pl.when(pl.col("code").is_not_null()).then(pl.lit("refused")).when(single).then(pl.lit("image")).otherwise(pl.lit("volume"))
    return table.with_columns(route=route)


def unique_names(names: pl.Series) -> pl.Series:
    """Names of which each is given once: a second one of the same text gets a number."""
    again = pl.int_range(pl.len()).over("name")
    text = pl.when(again > 0).then(pl.format("{} ({})", "name", again + 1)).otherwise("name")
    return names.alias("name").to_frame().select(text).to_series()
