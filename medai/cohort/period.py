"""A span of study dates, by which a test set is held out in time."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import polars as pl

from medai.core.error import MedaiError


@dataclass(frozen=True)
class Period:
    """Days from `first` to `last`, both included; None leaves an end open.

    Dates in a keyed cohort are shifted, so only the source, which knows the true ones, can say what lies in a period.
    """

    first: date | None = None
    last: date | None = None

    def __post_init__(self) -> None:
        if self.first is None and self.last is None:
            raise MedaiError("dataset.split.hold_out.study_date has neither from nor to; give one, e.g. {from: 2023-01-01}")
        if self.first and self.last and self.first > self.last:
            raise MedaiError(f"dataset.split.hold_out.study_date runs from {self.first} to {self.last}; from must not be after to")

    @staticmethod
    def from_node(node: Any) -> "Period":
        """A period from its node: ``{from: 2023-01-01, to: 2023-12-31}``."""
        if not isinstance(node, Mapping) or set(node) - {"from", "to"}:
            raise MedaiError(f"dataset.split.hold_out.study_date is {node}; give a period, e.g. {{from: 2023-01-01, to: 2023-12-31}}")
        return Period(_day(node.get("from"), "from"), _day(node.get("to"), "to"))

    def covers(self, dates: pl.Series) -> pl.Series:
        """Whether each date lies in the period; null where there is none that can be read.

        Args:
            dates: `Date`, or text as of DICOM's DA (``20230131``, PS3.5 6.2) or ISO 8601.

        Example:
            >>> Period(first=date(2023, 1, 1)).covers(pl.Series(["20221231", "20230101", None])).to_list()
            [False, True, None]
        """
        if dates.dtype != pl.Date:
            digits = dates.cast(pl.String).str.strip_chars().str.replace_all(r"[-.]", "").str.head(8)
            dates = digits.str.to_date("%Y%m%d", strict=False)
        inside = pl.repeat(True, len(dates), eager=True)
        if self.first:
            inside &= dates >= self.first
        if self.last:
            inside &= dates <= self.last
        return inside.set(dates.is_null(), None).alias("period")

    def to_dict(self) -> dict[str, str]:
        ends = {"from": self.first, "to": self.last}
        return {key: day.isoformat() for key, day in ends.items() if day}


def _day(value: Any, key: str) -> date | None:
    if value is None or (isinstance(value, date) and not isinstance(value, datetime)):
        return value
    try:
        return date.fromisoformat(str(value)[:10])
    except ValueError:
        raise MedaiError(f"dataset.split.hold_out.study_date.{key} is {value!r}; it is a day, e.g. 2023-01-31") from None
