"""The parts of a series: what lies in one series but is not one stack (echoes, b-values, time points, planes, …)."""

from collections.abc import Mapping
from itertools import pairwise

import numpy as np
import polars as pl
from jaxtyping import Float, Int

from medai.dicom.geometry import DUPLICATE_MM, SPACING_LIMIT

ORIENTATION_GAP = 0.05
"""Direction cosines that differ by more belong to different planes; by less, to one stack that may be judged as mixed."""

_PIXEL_SPACING_GAP_MM = 1e-3
_ECHO_TIME_GAP_MS = 0.05
_B_VALUE_GAP = 0.5


def split_series(
    slices: pl.DataFrame, orientation: Float[np.ndarray, "N 6"], pixel_spacing: Float[np.ndarray, "N 2"]
) -> tuple[Int[np.ndarray, " N"], pl.Series]:
    """Split each series by shape, pixel spacing, plane, stack, image type, kernel, echo, b-value and sequence name.

    Args:
        slices: A row a slice: `series` (a number), and columns of `INSTANCE_SCHEMA` and `FrameGroup`.
        orientation: (0020,0037) of each.
        pixel_spacing: (0028,0030) of each, mm.

    Returns:
        The number of each slice's stack from 0, and a name for each stack: null where a series is one stack, else what tells it
        from the others, e.g. ``"b=1000"``.
    """
    series = slices["series"].to_numpy()
    plane, spacing = series, series
    for column in orientation.T:
        plane = _linked(plane, column, ORIENTATION_GAP)
    for column in pixel_spacing.T:
        spacing = _linked(spacing, column, _PIXEL_SPACING_GAP_MM)
    echo_time = _linked(series, _floats(slices["echo_time"]), _ECHO_TIME_GAP_MS)
    b_value = _linked(series, _floats(slices["b_value"]), _B_VALUE_GAP)
    keyed = slices.select(
        "series", "samples", "rows", "columns", "stack_id", "image_type", "kernel", "echo_number", "sequence_name",
        spacing=pl.Series(spacing), plane=pl.Series(plane), echo=pl.Series(echo_time), b=pl.Series(b_value),
        echo_time=pl.col("echo_time"), b_value=pl.col("b_value"), millimetres=pl.Series(pixel_spacing[:, 0]),
    ).with_row_index("row")  # fmt: skip
    keys = ["series", "samples", "rows", "columns", "spacing", "plane", "stack_id", "image_type", "kernel", "echo_number", "echo", "b"]
    stacks = (
        keyed.group_by([*keys, "sequence_name"], maintain_order=True)
        .agg("row", pl.col("echo_time", "b_value", "millimetres").first())
        .with_row_index("stack")
    )
    rows = stacks.select("stack", "row").explode("row")
    numbers = np.empty(len(slices), np.int64)
    numbers[rows["row"].to_numpy()] = rows["stack"].to_numpy()
    return numbers, _names(stacks)


def _names(stacks: pl.DataFrame) -> pl.Series:
    """What tells a stack from the others of its series; a key that adds nothing is left out."""
    plane = pl.col("plane").rank("dense").over("series")
    texts = [
        pl.format("{} x {} x {}", "rows", "columns", pl.col("samples").fill_null(1)),
        pl.format("spacing {}", pl.col("millimetres").round(3)),
        pl.format("orientation {}", plane),
        pl.format("stack {}", "stack_id"),
        pl.col("image_type"),
        pl.format("kernel {}", "kernel"),
        pl.format("echo {}", "echo_number"),
        pl.format("TE={}", pl.col("echo_time").round(3)),
        pl.format("b={}", pl.col("b_value").round(0).cast(pl.Int64)),
        pl.format("sequence {}", "sequence_name"),
    ]
    named = stacks.with_columns(many=pl.len().over("series"), name=pl.lit(""))
    for text in texts:
        named = named.with_columns(text=text.fill_null("other"))
        needed = (pl.col("name").n_unique().over("series") < pl.col("many")) & (pl.col("text").n_unique().over("series") > 1)
        joined = pl.when(pl.col("name") == "").then("text").otherwise(pl.format("{} / {}", "name", "text"))
        named = named.with_columns(name=pl.when(needed).then(joined).otherwise("name"))
    twin = pl.int_range(pl.len()).over("series", "name") + 1
    again = pl.when(pl.len().over("series", "name") > 1).then(pl.format("{} / part {}", "name", twin)).otherwise("name")
    return named.with_columns(name=again).select(pl.when(pl.col("many") > 1).then("name")).to_series()


def _linked(group: Int[np.ndarray, " N"], values: Float[np.ndarray, " N"], gap: float) -> Int[np.ndarray, " N"]:
    """Numbers of clusters: within a group, sorted values stay together until the next is more than `gap` away; NaN is a cluster."""
    values = np.where(np.isnan(values), -np.inf, values)
    order = np.lexsort((values, group))
    with np.errstate(invalid="ignore"):
        cut = (np.diff(group[order]) != 0) | (np.diff(values[order]) > gap)
    numbers = np.empty(len(values), np.int64)
    numbers[order] = np.concatenate([[0], np.cumsum(cut)]) if len(values) else 0
    return numbers


def _floats(column: pl.Series) -> Float[np.ndarray, " N"]:
    return column.cast(pl.Float64).fill_null(float("nan")).to_numpy()


def split_passes(
    along: Float[np.ndarray, " n"],
    tags: Mapping[str, Float[np.ndarray, " n"]],
    order: Float[np.ndarray, "k n"],
) -> tuple[Int[np.ndarray, " n"], list[str]] | None:
    """Split a stack whose positions repeat or interleave into its passes, if something tells them apart.

    A tag does where it has as many values as the most frequent position has slices, no position twice for one value, and where
    it is not a mere seam: at least half of the shortest pass repeats. Without such a tag, passes are counted at each
    position in the order of time, if every position has equally many. Positions that do not repeat are split by a tag only where
    the passes overlap and each is evenly spaced.

    Args:
        along: Positions along the normal, sorted, mm.
        tags: Name to values (NaN: absent), the most telling first.
        order: What orders the slices in time, the most significant first; NaN where absent.

    Returns:
        The number of each slice's pass and the passes' names; None where nothing tells them apart.
    """
    place = np.concatenate([[0], np.cumsum(np.diff(along) > DUPLICATE_MM)])
    times = np.bincount(place)
    for name, values in tags.items():
        if np.isnan(values).any():
            continue
        distinct, number = np.unique(values, return_inverse=True)
        if len(distinct) < 2 or len(distinct) > len(along) // 2:
            continue
        repeats = times.max() > 1
        if _tells_repeats(place, times, number) if repeats else _tells_interleaved(along, number):
            return number, [f"{name} {value:g}" for value in distinct]
    if times.max() > 1 and (times == times.max()).all():
        sequence = np.lexsort((*np.nan_to_num(order[::-1], nan=-np.inf), place))
        ordered = order[:, sequence]
        same = (np.diff(place[sequence]) == 0) & ((np.diff(ordered, axis=1) == 0) | np.isnan(np.diff(ordered, axis=1))).all(axis=0)
        if not same.any():
            number = np.empty(len(along), np.int64)
            number[sequence] = np.tile(np.arange(times.max()), len(times))
            return number, [f"time {index + 1}" for index in range(times.max())]
    return None


def _tells_repeats(place: Int[np.ndarray, " n"], times: Int[np.ndarray, " p"], number: Int[np.ndarray, " n"]) -> bool:
    count = int(number.max()) + 1
    if count != times.max() or len(np.unique(place * count + number)) != len(place):
        return False
    return 2 * int((times > 1).sum()) >= int(np.bincount(number).min())


def _tells_interleaved(along: Float[np.ndarray, " n"], number: Int[np.ndarray, " n"]) -> bool:
    passes = [along[number == index] for index in range(number.max() + 1)]
    if min(map(len, passes)) < 2:
        return False
    for one in passes:
        steps = np.diff(one)
        if np.abs(steps / np.median(steps) - 1).max() > SPACING_LIMIT:
            return False
    ends = sorted((one[0], one[-1]) for one in passes)
    return all(later[0] < earlier[1] for earlier, later in pairwise(ends))
