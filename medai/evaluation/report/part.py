"""What the template places: tables, plots, key figures, decisions."""

from dataclasses import dataclass

from markupsafe import Markup

EMPTY = Markup("")


@dataclass(frozen=True)
class Panel:
    """One plot with its heading, the figure that belongs to it, and the line below it."""

    heading: str
    caption: str
    note: str
    svg: Markup


@dataclass(frozen=True)
class Row:
    """One row of a table.

    Attributes:
        name: Its heading.
        cells: The other cells.
        bar: A drawing, in tables that have one.
        kind: CSS class: ``"part"`` for a heading over rows, ``"inner"`` for a row below one.
        below: Small second lines of cells, by their place.
    """

    name: str
    cells: tuple[str, ...]
    bar: Markup = EMPTY
    kind: str = ""
    below: tuple[tuple[int, str], ...] = ()

    def second(self, place: int) -> str:
        """The small second line of a cell, or nothing."""
        return dict(self.below).get(place, "")


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        heading: Above it.
        columns: Headings, that of the names first.
        rows: Its rows.
        bar_heading: Where it is not empty the rows carry a drawing, in the third column.
        note: Below it.
        scale: The axis of the drawings.
        kind: CSS class.
    """

    heading: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    bar_heading: str = ""
    note: str = ""
    scale: Markup = EMPTY
    kind: str = "figures"


@dataclass(frozen=True)
class Card:
    """A key figure."""

    name: str
    value: str
    interval: str
    bar: Markup


@dataclass(frozen=True)
class Matrix:
    """Decisions against truth: (truth, ((count, share of the row or None, right), ...)) for each class."""

    classes: tuple[str, ...]
    rows: tuple[tuple[str, tuple[tuple[str, float | None, bool], ...]], ...]
    note: str
