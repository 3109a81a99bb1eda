"""How the cases' values of a measure are spread: a dot a case, and a box for the quarters."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from medai.evaluation.report.svg import Plot, round_step
from medai.evaluation.report.text import Words

MOST_DOTS = 300  # a row; of more cases every so manieth is drawn, by rank
TURN = (math.sqrt(5) - 1) / 2  # steps of the golden ratio spread dots evenly, with no random draw
ROW, SINGLE = 54, 96  # height in pixels, of one row among several, and of one alone
FAR = 1.5  # quartile distances that a whisker reaches at most (Tukey 1977)
BEYOND = 98  # percentile of the distances at which an axis that a few cases stretch is cut
STRETCH = 2.0


@dataclass(frozen=True)
class Spread:
    """One row of the plot.

    Attributes:
        name: At its left; empty where there is one row alone.
        value: Of each case; infinite where there is no distance. Without NaN.
    """

    name: str
    value: Float64[np.ndarray, " m"]


@dataclass(frozen=True)
class Axis:
    """The axis of a measure: its ends and ticks."""

    low: float
    high: float
    ticks: tuple[float, ...]


def axis_of(value: Float64[np.ndarray, " m"], *, share: bool) -> Axis:
    """An axis that holds the values: of shares from a tenth below the least up to 1, of distances from 0 up.

    Args:
        value: Of the cases; may be infinite.
        share: Whether it lies from 0 to 1.
    """
    finite = value[np.isfinite(value)]
    if share:
        low = min(0.8, math.floor(float(finite.min(initial=1.0)) * 10 + 1e-9) / 10)
        step = 0.05 if low >= 0.75 else 0.1 if low >= 0.5 else 0.2
        return Axis(low, 1.0, tuple(np.arange(1.0, low - 1e-9, -step)[::-1].round(10).tolist()))
    most = float(finite.max(initial=0.0)) or 1.0
    usual = float(np.percentile(finite, BEYOND)) if len(finite) else most
    if most > STRETCH * usual > 0:
        most = usual
    step = round_step(most)
    count = math.ceil(most / step - 1e-9)
    return Axis(0.0, step * count, tuple(step * place for place in range(count + 1)))


def beyond(value: Float64[np.ndarray, " m"], axis: Axis) -> int:
    """Cases that the axis does not reach: far ones, and those without a distance."""
    return int((value > axis.high).sum())


def strip_plot(rows: Sequence[Spread], axis: Axis, name: str, description: str, words: Words) -> str:
    """A row each: dots of the cases behind the box of the quarters, whiskers to the last case within 1.5 quartile distances.

    Args:
        rows: From top to bottom.
        axis: From `axis_of`; cases beyond it are drawn hollow at its end.
        name: Of the axis.
        description: Of the plot.
        words: The language.
    """
    tall = ROW if len(rows) > 1 else SINGLE
    plot = Plot((axis.low, axis.high), (0.0, float(len(rows))), height=len(rows) * tall + 54, left=14, right=16, top=6, bottom=48)
    plot.axes(name, "", axis.ticks, [])
    for place, row in enumerate(rows):
        _row(plot, row, len(rows) - 1.0 - place, axis, words)
    return plot.svg(description)


def _row(plot: Plot, row: Spread, base: float, axis: Axis, words: Words) -> None:
    middle, half = (base + 0.32, 0.19) if row.name else (base + 0.45, 0.24)
    if row.name:
        plot.note(axis.low, base + 0.68, row.name, "note strong")
        plot.note(axis.high, base + 0.68, words["n_cases"].format(n=f"{len(row.value):,}"), "note", anchor="end")
    if not len(row.value):
        return
    value = np.sort(row.value)
    if len(value) > MOST_DOTS:
        value = value[np.linspace(0, len(value) - 1, MOST_DOTS).round().astype(int)]
    for rank, each in enumerate(value):
        height = middle + (((rank + 1) * TURN) % 1 - 0.5) * 2 * half
        outside = each > axis.high
        plot.dot(min(float(each), axis.high), height, "case out" if outside else "case", 2.2)
    _box(plot, np.sort(row.value), middle, half * 0.62, axis)


def _box(plot: Plot, value: Float64[np.ndarray, " m"], middle: float, half: float, axis: Axis) -> None:
    """The quarters; infinite distances count as the largest."""
    first, median, third = (min(float(each), axis.high) for each in np.percentile(np.minimum(value, 1e12), [25, 50, 75]))
    reach = FAR * (third - first)
    inside = value[(value >= first - reach) & (value <= third + reach)]
    ends = (min(float(inside[0]), first), max(min(float(inside[-1]), axis.high), third)) if len(inside) else (first, third)
    plot.line([ends[0], first], [middle, middle], "whisker strong")
    plot.line([third, ends[1]], [middle, middle], "whisker strong")
    plot.bar(first, third, middle - half, middle + half, "quarters")
    plot.line([median, median], [middle - half, middle + half], "median")
