"""The pictures of a sweep, as inline SVG."""

from collections.abc import Mapping, Sequence
from typing import Any

from medai.evaluation.report.svg import Plot
from medai.sweep.record import FIGURES, best_first
from medai.sweep.scale import Scale, even, number, short_names

SHADES = 5  # of the parallel lines: the better, the darker
Trial = Mapping[str, Any]


def history(result: Mapping[str, Any]) -> str:
    """Every trial's value in order, and the best so far as a stair."""
    trials = result["trials"]
    values = {trial["number"]: shown(trial, result["direction"]) for trial in trials}
    low, high = _range([value for value in values.values() if value is not None], result["direction"])
    plot = Plot((-0.5, max(len(trials) - 0.5, 0.5)), (low, high), width=660, height=270)
    _axes(plot, (-0.5, len(trials) - 0.5), (low, high), "Trial", FIGURES[result["monitor"]], whole=True)
    stair = _best_so_far(trials, result["direction"])
    if stair:
        x = [*[place for place, _ in stair for _ in (0, 1)][1:], len(trials) - 0.5]
        plot.line(x, [value for _, value in stair for _ in (0, 1)], "curve")
    for trial in trials:
        value = values[trial["number"]]
        if trial["state"] == "failed" or value is None:
            plot.note(trial["number"], low, "×", "failed", anchor="middle", shift=(0.0, -5.0))
        else:
            plot.dot(trial["number"], _clip(value, low, high), "point" if trial["state"] == "complete" else "pruned", 3.6)
    if result["best"]:
        best = result["best"]["trial"], _clip(result["best"]["value"], low, high)
        plot.dot(*best, "ring", 7.0)
    return plot.svg(f"{FIGURES[result['monitor']]} of each trial and the best so far")


def curves(result: Mapping[str, Any]) -> str:
    """The validations of every trial: those that were ended early in grey, the best strong."""
    drawn = [trial for trial in result["trials"] if trial["curve"]]
    every = [value for trial in drawn for _, value in trial["curve"]]
    low, high = _range(every, result["direction"])
    longest = max(len(trial["curve"]) for trial in drawn)
    plot = Plot((1.0, max(longest, 2)), (low, high), width=320, height=270)
    _axes(plot, (1, max(longest, 2)), (low, high), "Validation", FIGURES[result["monitor"]], whole=True)
    best = result["best"]["trial"] if result["best"] else None
    for trial in sorted(drawn, key=lambda trial: (trial["number"] == best, trial["state"] == "complete")):
        kind = "curve" if trial["number"] == best else "faint" if trial["state"] == "complete" else "ended"
        x, y = list(range(1, len(trial["curve"]) + 1)), [_clip(value, low, high) for _, value in trial["curve"]]
        plot.line(x, y, kind)
        plot.dot(x[-1], y[-1], "point" if kind == "curve" else "pruned" if kind == "ended" else "soft", 3.4 if kind == "curve" else 2.2)
    return plot.svg("Validations of every trial")


def importance(result: Mapping[str, Any]) -> str:
    """Each setting's share of the variance, as bars."""
    shares = result["importances"]
    names = short_names([dimension["key"] for dimension in result["space"]])
    plot = Plot((0.0, 1.0), (0.0, float(len(shares))), width=320, height=46 + 34 * len(shares), left=10, right=44, top=4, bottom=8)
    for row, (key, share) in enumerate(shares.items()):
        bottom = len(shares) - row - 1.0
        plot.note(0.0, bottom + 1.0, names[key], "name", shift=(0.0, 13.0))
        plot.bar(0.0, 1.0, bottom + 0.16, bottom + 0.46, "rail")
        plot.bar(0.0, share, bottom + 0.16, bottom + 0.46, "positive")
        plot.note(1.0, bottom + 0.31, f"{share:.0%}", "tick", shift=(8.0, 3.5))
    return plot.svg("Share of each setting")


def parallel(result: Mapping[str, Any]) -> str:
    """A line for each finished trial across its values and its outcome: the better, the darker."""
    scales = [Scale.of(dimension) for dimension in result["space"]]
    names = short_names([scale.key for scale in scales])
    ranked = best_first(result["trials"], result["direction"])
    low, high = _range([trial["value"] for trial in ranked], result["direction"])
    last = len(scales)
    plot = Plot((0.0, float(last)), (0.0, 1.0), width=1000, height=330, left=70, right=84, top=34, bottom=14)
    for rank, trial in reversed(list(enumerate(ranked))):
        shade = min(rank * SHADES // max(len(ranked), 1), SHADES - 1)
        end = (_clip(trial["value"], low, high) - low) / (high - low)
        y = [*(scale.place(trial["values"][scale.key]) for scale in scales), end]
        plot.line(list(range(last + 1)), y, "chosen" if rank == 0 else f"shade shade{shade}")
    for column, scale in enumerate(scales):
        _upright(plot, column, names[scale.key], scale.ticks())
    marks = [((value - low) / (high - low), number(value)) for value in even(low, high)]
    _upright(plot, last, FIGURES[result["monitor"]], marks)
    return plot.svg("Parallel coordinates of the finished trials")


def slice_plot(result: Mapping[str, Any], dimension: Mapping[str, Any]) -> str:
    """The outcome over one setting."""
    scale, name = Scale.of(dimension), short_names([each["key"] for each in result["space"]])[dimension["key"]]
    trials = [(trial, shown(trial, result["direction"])) for trial in result["trials"] if dimension["key"] in trial["values"]]
    low, high = _range([value for _, value in trials if value is not None], result["direction"])
    plot = Plot((0.0, 1.0), (low, high), width=320, height=230)
    for place, text in scale.ticks():
        plot.line([place, place], [low, high], "grid")
        plot.note(place, low, text, "tick", anchor="middle", shift=(0.0, 15.0))
    _axes(plot, None, (low, high), name, FIGURES[result["monitor"]])
    best = result["best"]["trial"] if result["best"] else None
    for trial, value in sorted(trials, key=lambda pair: pair[0]["state"] == "complete"):
        if value is None:
            continue
        jitter = ((trial["number"] * 0.618034) % 1 - 0.5) * 0.4 / len(scale.options) if scale.options else 0.0
        place = scale.place(trial["values"][dimension["key"]]) + jitter
        plot.dot(place, _clip(value, low, high), "point" if trial["state"] == "complete" else "pruned", 3.4)
        if trial["number"] == best:
            plot.dot(place, _clip(value, low, high), "ring", 6.6)
    return plot.svg(f"{FIGURES[result['monitor']]} over {name}")


def shown(trial: Trial, direction: str) -> float | None:
    """A trial's value, or its best validation where it did not end."""
    if trial["value"] is not None or trial["state"] == "failed":
        return None if trial["state"] == "failed" else float(trial["value"])
    return (min if direction == "minimize" else max)((value for _, value in trial["curve"]), default=None)


def _best_so_far(trials: Sequence[Trial], direction: str) -> list[tuple[int, float]]:
    stair: list[tuple[int, float]] = []
    for trial in trials:
        if trial["value"] is not None:
            better = not stair or (trial["value"] < stair[-1][1] if direction == "minimize" else trial["value"] > stair[-1][1])
            stair += [(trial["number"], trial["value"])] if better else []
    return stair


def _range(values: Sequence[float], direction: str) -> tuple[float, float]:
    """The range to draw: all values, but hopeless outliers on the bad side are cut off at the edge."""
    if not values:
        return 0.0, 1.0
    ordered = sorted(values)
    middle, low, high = ordered[len(ordered) // 2], ordered[0], ordered[-1]
    if direction == "minimize":
        high = min(high, low + 4 * max(middle - low, 1e-9)) if len(ordered) > 3 else high
    else:
        low = max(low, high - 4 * max(high - middle, 1e-9)) if len(ordered) > 3 else low
    margin = (high - low) * 0.07 or max(abs(high) * 0.05, 1e-3)
    return low - margin, high + margin


def _clip(value: float, low: float, high: float) -> float:
    return min(max(value, low), high)


def _axes(plot: Plot, x: tuple[float, float] | None, y: tuple[float, float], x_name: str, y_name: str, *, whole: bool = False) -> None:
    """Grid, tick labels and names, where `Plot.axes` would round the labels away."""
    plot.axes(x_name, y_name, [], [])
    left = 0.0 if x is None else x[0]
    for value in even(*y):
        plot.line([left, 1.0 if x is None else x[1]], [value, value], "grid")
        plot.note(left, value, number(value), "tick", anchor="end", shift=(-7.0, 3.5))
    for value in even(*x) if x else []:
        if not whole or value == int(value):
            plot.note(value, y[0], number(value), "tick", anchor="middle", shift=(0.0, 15.0))


def _upright(plot: Plot, column: float, name: str, ticks: Sequence[tuple[float, str]]) -> None:
    plot.line([column, column], [0.0, 1.0], "axis")
    plot.note(column, 1.0, name, "caption", anchor="middle", shift=(0.0, -14.0))
    for place, text in ticks:
        plot.note(column, place, text, "tick label", shift=(6.0, 3.5))
