"""Small plots as inline SVG.

Written by hand rather than by a plotting library: text stays text in the page's own fonts (Chinese class names too),
colours come from the style sheet, there are no ids that could collide, and a report of many labels stays small.
"""

import math
from collections.abc import Iterable, Sequence
from html import escape

import numpy as np
from jaxtyping import Float

MOST_POINTS = 400


class Plot:
    """A plot with linear axes. Data go in as data, attributes are CSS classes of style.css.

    Args:
        x: Range of the x axis.
        y: Range of the y axis.
        width: Of the drawing, in CSS pixels; it scales with the page.
        height: Of the drawing.
        left: Margin for the tick labels and the name of the y axis.
        bottom: Margin for those of the x axis.
    """

    def __init__(
        self,
        x: tuple[float, float] = (0.0, 1.0),
        y: tuple[float, float] = (0.0, 1.0),
        *,
        width: int = 320,
        height: int = 300,
        left: int = 46,
        bottom: int = 42,
        top: int = 10,
        right: int = 12,
    ) -> None:
        self._x, self._y = x, y
        self._width, self._height = width, height
        self._left, self._right = float(left), float(width - right)
        self._top, self._bottom = float(top), float(height - bottom)
        self._parts: list[str] = []

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Place of a data point in the drawing."""
        across = (x - self._x[0]) / (self._x[1] - self._x[0])
        up = (y - self._y[0]) / (self._y[1] - self._y[0])
        return self._left + across * (self._right - self._left), self._bottom - up * (self._bottom - self._top)

    def axes(
        self,
        x_name: str,
        y_name: str,
        x_ticks: Sequence[float],
        y_ticks: Sequence[float],
        *,
        percent: bool = False,
        x_texts: Sequence[str] | None = None,
    ) -> None:
        """Grid lines, tick labels (those of x may be given) and names of the axes."""
        for tick, text in zip(x_ticks, x_texts or [_tick(tick, percent) for tick in x_ticks], strict=True):
            self.line([tick, tick], self._y, "grid")
            place = self.at(tick, self._y[0])
            self._text(place[0], self._bottom + 15, text, "tick", "middle")
        for tick in y_ticks:
            self.line(self._x, [tick, tick], "grid")
            place = self.at(self._x[0], tick)
            self._text(self._left - 7, place[1] + 3.5, _tick(tick, percent), "tick", "end")
        self.line(self._x, [self._y[0]] * 2, "axis")
        self._text((self._left + self._right) / 2, float(self._height - 6), x_name, "name", "middle")
        middle = (self._top + self._bottom) / 2
        self._parts.append(
            f'<text class="name" text-anchor="middle" transform="translate(12 {middle:.1f}) rotate(-90)">{escape(y_name)}</text>'
        )

    def line(self, x: Sequence[float] | Float[np.ndarray, " k"], y: Sequence[float] | Float[np.ndarray, " k"], kind: str) -> None:
        """A line through points."""
        self._parts.append(f'<polyline class="{kind}" points="{self._points(x, y)}"/>')

    def area(self, x: Sequence[float] | Float[np.ndarray, " k"], y: Sequence[float] | Float[np.ndarray, " k"], kind: str) -> None:
        """The area below a line."""
        outline = [x[0], *x, x[-1]], [self._y[0], *y, self._y[0]]
        self._parts.append(f'<polygon class="{kind}" points="{self._points(*outline)}"/>')

    def band(
        self,
        x: Sequence[float] | Float[np.ndarray, " k"],
        low: Sequence[float] | Float[np.ndarray, " k"],
        high: Sequence[float] | Float[np.ndarray, " k"],
        kind: str = "band",
    ) -> None:
        """The area between two lines."""
        outline = [*x, *reversed(list(x))], [*low, *reversed(list(high))]
        self._parts.append(f'<polygon class="{kind}" points="{self._points(*outline)}"/>')

    def cross(self, x: float, y: float, across: tuple[float, float], up: tuple[float, float]) -> None:
        """A point with its interval on both axes."""
        self.line(list(across), [y, y], "whisker strong")
        self.line([x, x], list(up), "whisker strong")
        self.dot(x, y, "halo", 6.0)
        self.dot(x, y, "point", 4.0)

    def dot(self, x: float, y: float, kind: str, radius: float = 4.0) -> None:
        """A filled circle."""
        place = self.at(x, y)
        self._parts.append(f'<circle class="{kind}" cx="{place[0]:.1f}" cy="{place[1]:.1f}" r="{radius:.1f}"/>')

    def bar(self, low: float, high: float, bottom: float, top: float, kind: str) -> None:
        """A rectangle from (low, bottom) to (high, top)."""
        (left, lower), (right, upper) = self.at(low, bottom), self.at(high, top)
        size = f'width="{max(right - left, 0.5):.1f}" height="{max(lower - upper, 0):.1f}"'
        self._parts.append(f'<rect class="{kind}" x="{left:.1f}" y="{upper:.1f}" {size}/>')

    def note(
        self, x: float, y: float, text: str, kind: str = "note", *, anchor: str = "start", shift: tuple[float, float] = (0.0, 0.0)
    ) -> None:
        """Text at a data point, moved by `shift` pixels."""
        place = self.at(x, y)
        self._text(place[0] + shift[0], place[1] + shift[1], text, kind, anchor)

    def svg(self, description: str, *, stretched: bool = False) -> str:
        """The element, with a description for those who cannot see it; `stretched` fills whatever place it is given."""
        ratio = ' preserveAspectRatio="none"' if stretched else ""
        box = f'viewBox="0 0 {self._width} {self._height}"{ratio} role="img" aria-label="{escape(description, quote=True)}"'
        return f'<svg class="plot" {box}>{"".join(self._parts)}</svg>'

    def _text(self, x: float, y: float, text: str, kind: str, anchor: str) -> None:
        self._parts.append(f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>')

    def _points(self, x: Iterable[float], y: Iterable[float]) -> str:
        return " ".join(f"{left:.1f},{top:.1f}" for left, top in (self.at(float(a), float(b)) for a, b in zip(x, y, strict=True)))


def thin(x: Float[np.ndarray, " k"], y: Float[np.ndarray, " k"]) -> tuple[Float[np.ndarray, " m"], Float[np.ndarray, " m"]]:
    """A curve of many points with at most about 400, evenly along its length, both ends kept."""
    if len(x) <= MOST_POINTS:
        return x, y
    length = np.append(0.0, np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y))))
    step = np.floor(length / max(length[-1], 1e-12) * MOST_POINTS)
    kept = np.append(True, step[1:] != step[:-1])
    kept[-1] = True
    return x[kept], y[kept]


def interval_bar(
    low: float | None, value: float | None, high: float | None, span: tuple[float, float] = (0.0, 1.0), mark: float | None = None
) -> str:
    """One row of a forest plot: the interval as a line, the value as a dot, `mark` as a thin upright line."""
    plot = Plot(span, (0.0, 1.0), width=200, height=18, left=4, right=4, top=0, bottom=0)
    plot.line(span, [0.5, 0.5], "track")
    if mark is not None and span[0] <= mark <= span[1]:
        plot.line([mark, mark], [0.05, 0.95], "mark")
    if value is not None:
        if low is not None and high is not None:
            plot.line([max(low, span[0]), min(high, span[1])], [0.5, 0.5], "interval")
        plot.dot(min(max(value, span[0]), span[1]), 0.5, "point", 4.0)
    return plot.svg("" if value is None else f"{value:.3f}")


def scale(span: tuple[float, float]) -> str:
    """The axis below the rows of a forest plot."""
    plot = Plot(span, (0.0, 1.0), width=200, height=18, left=4, right=4, top=0, bottom=0)
    middle = (span[0] + span[1]) / 2
    plot.note(span[0], 0.25, _end(span[0]), "tick", shift=(-3.0, 0.0))
    plot.note(middle, 0.25, "0" if abs(middle) < 1e-12 else f"{middle:.2f}".removesuffix("0"), "tick", anchor="middle")
    plot.note(span[1], 0.25, _end(span[1]), "tick", anchor="end", shift=(3.0, 0.0))
    return plot.svg("")


def stacked_bar(parts: Sequence[tuple[float, str]], description: str) -> str:
    """Parts of a whole side by side, each (share, CSS class)."""
    plot, start = Plot((0.0, 1.0), (0.0, 1.0), width=400, height=16, left=0, right=0, top=0, bottom=0), 0.0
    for share, kind in parts:
        if share > 0:
            plot.bar(start, start + share, 0.0, 1.0, kind)
        start += share
    return plot.svg(description, stretched=True)


def round_step(largest: float) -> float:
    """A round distance of the ticks from 0 to a value, so that there are about five."""
    power = 10.0 ** math.floor(math.log10(largest / 4))
    return next(power * factor for factor in (1.0, 2.0, 5.0, 10.0) if largest / (power * factor) <= 5)


def round_up(largest: float) -> float:
    """The end of an axis from 0 that holds a value above it.

    Example:
        >>> round_up(17.3)
        20.0
    """
    step = round_step(largest) if largest > 0 else 1.0
    return step * max(1, math.ceil(largest / step - 1e-9))


def _end(value: float) -> str:
    """An end of a scale, in as many digits as it has."""
    text = f"{value:.1f}" if math.isclose(value * 10, round(value * 10), abs_tol=1e-9) else f"{value:.2f}"
    return text.replace("-", "\u2212")


def _tick(value: float, percent: bool) -> str:
    if percent:
        return f"{value * 100:.0f}"
    if math.isclose(value, round(value), abs_tol=1e-12):
        return f"{value:.0f}"
    text = f"{value:.1f}" if math.isclose(value * 10, round(value * 10), abs_tol=1e-9) else f"{value:.2f}"
    return text.replace("-", "\u2212")
