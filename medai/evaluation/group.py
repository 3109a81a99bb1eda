"""Groups of cases (sites, sexes, age bands, and where they meet) that are looked at apart."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Bool, Int64

from medai.evaluation.interval import Intervals
from medai.evaluation.subgroup_difference import adjust, difference_record
from medai.evaluation.subgroup_estimate import Estimate, Lacking, estimates, figure_of, in_the_large, line_in_group
from medai.evaluation.table import LabelData

MOST_GROUPS = 50
UNKNOWN_GROUP = "unknown"
AGE_BAND = "age_band"
AGE_YEARS = "age_years"
AGE_EDGES = (18, 40, 65, 80)  # years at which a band begins
OLDEST_YEARS = 125  # above it an age is a mistake or a placeholder such as 999
CROSS = "*"
MEETS = " × "


@dataclass(frozen=True)
class Group:
    """The cases that share a value of a column, or of several.

    Attributes:
        column: E.g. ``"site"`` or ``"site*sex"``.
        value: As text; an empty one is ``"unknown"``, that of several columns is such as ``"A × F"``.
        chosen: Whether each row of the table belongs to it.
    """

    column: str
    value: str
    chosen: Bool[np.ndarray, " n"]

    @property
    def unknown(self) -> bool:
        """Whether these are the cases whose value, or one of whose values, is not known."""
        return UNKNOWN_GROUP in self.value.split(MEETS)

    def division(self, rows: Int64[np.ndarray, " m"]) -> bytes:
        """How the group divides the cases at `rows`: the same for a group and for all that is not in it."""
        chosen = self.chosen[rows]
        return np.packbits(chosen ^ chosen[:1]).tobytes()


def groups_of(table: pl.DataFrame, columns: Sequence[str]) -> tuple[tuple[Group, ...], dict[str, str]]:
    """The groups of the columns that the table has, and why a column is left out.

    Args:
        table: The predictions, or any table with a row a case.
        columns: Any column of the table; ``"age_band"``, which is made of ``age_years`` where the table has no such column; or
            several joined by a star, such as ``"site*sex"``: a group for each pair of values that occurs.

    Returns:
        The groups, column by column in the order asked for and sorted by value (`unknown` last); reasons by column.

    Example:
        >>> groups, left_out = groups_of(pl.DataFrame({"age_years": [4.0, 71.0, None]}), ["age_band", "site"])
        >>> [group.value for group in groups], left_out
        (['0-17', '65-79', 'unknown'], {'site': 'not in the table'})
    """
    groups: list[Group] = []
    left_out: dict[str, str] = {}
    for column in dict.fromkeys(columns):
        names = [name.strip() for name in column.split(CROSS)]
        parts = [_text_of(table, name) for name in names]
        absent = [(name, part) for name, part in zip(names, parts, strict=True) if isinstance(part, str)]
        if absent:
            name, reason = absent[0]
            left_out[column] = reason if len(names) == 1 else f"{name!r} is {reason}"
            continue
        text = pl.select(pl.concat_str([part for part in parts if isinstance(part, pl.Series)], separator=MEETS)).to_series()
        values = sorted(text.unique().to_list(), key=_order)
        if len(values) > MOST_GROUPS:
            advice = f"; group by {AGE_BAND!r} instead" if column == AGE_YEARS else ""
            left_out[column] = f"{len(values):,} different values, at most {MOST_GROUPS} are shown{advice}"
            continue
        groups += [Group(column, value, (text == value).to_numpy()) for value in values]
    return tuple(groups), left_out


def age_bands(age_years: pl.Series) -> pl.Series:
    """Ages as text: ``"0-17"``, ``"18-39"``, ``"40-64"``, ``"65-79"``, ``"80+"``; null where unknown or no age (below 0, above 125)."""
    years = age_years.cast(pl.Float64).fill_null(np.nan).to_numpy()
    names = [f"{low}-{high - 1}" for low, high in zip((0, *AGE_EDGES[:-1]), AGE_EDGES, strict=True)] + [f"{AGE_EDGES[-1]}+"]
    place = np.searchsorted(AGE_EDGES, years, side="right")
    known = (years >= 0) & (years <= OLDEST_YEARS)
    return pl.Series(AGE_BAND, [names[i] if of_age else None for i, of_age in zip(place, known, strict=True)], dtype=pl.String)


def groups_metrics(
    groups: Sequence[Group], data: Sequence[LabelData], thresholds: Mapping[str, float], intervals: Intervals
) -> dict[str, list[dict[str, Any]]]:
    """For each column its groups, largest first (age bands by age): n, patients, and every label's figures and differences to the rest.

    A difference is that of the group minus all other cases of the table. Its p-values are adjusted over all differences of all
    groups, labels and metrics; two tests of one and the same division (men against the rest, women against the rest) count once.

    Args:
        groups: From `groups_of`.
        data: Known cases of each label.
        thresholds: Of the binary labels, frozen on validation.
        intervals: Patients and confidence; nothing is drawn for groups, so that p-values are not bounded by the number of replicates.
    """
    data = [each.ranked() for each in data]
    record: dict[str, list[dict[str, Any]]] = {}
    tests: list[tuple[tuple[str, str, bytes], dict[str, Any]]] = []
    for group in groups:
        labels: dict[str, Any] = {}
        for each in data:
            labels[each.label.name], compared = _label_in_group(group, each, thresholds.get(each.label.name), intervals)
            tests += [((each.label.name, metric, group.division(each.rows)), figure) for metric, figure in compared.items()]
        patients = intervals.patients.distinct(group.chosen) if intervals.patients.known else None
        record.setdefault(group.column, []).append(
            {"value": group.value, "n": int(group.chosen.sum()), "patients": patients, "labels": labels}
        )
    adjust(tests)
    return in_order(record)


def in_order(record: Mapping[str, list[dict[str, Any]]]) -> dict[str, list[dict[str, Any]]]:
    """Rows of each column by size, the largest first; those of age bands as they are, by age."""
    return {column: rows if column == AGE_BAND else sorted(rows, key=_by_size) for column, rows in record.items()}


def _label_in_group(
    group: Group, data: LabelData, threshold: float | None, intervals: Intervals
) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """The label's record in the group, and the differences in it."""
    part, rest = data.take(group.chosen), data.take(~group.chosen)
    inside = estimates(part, threshold, intervals.patients, intervals.area)
    outside: Mapping[str, Estimate | Lacking] = estimates(rest, threshold, intervals.patients, intervals.area)
    record: dict[str, Any] = {"n": len(part.rows)}
    if data.label.kind == "binary":
        record["events"] = int((part.target == 1).sum())
    record |= {metric: figure_of(estimate, intervals.confidence).to_dict() for metric, estimate in inside.items()}
    if data.label.kind == "binary":
        record |= {"calibration_in_the_large": in_the_large(part, intervals).to_dict()} | line_in_group(part, intervals)
    compared = {
        metric: difference_record(estimate, outside[metric], intervals, alone=len(rest.rows) == 0) for metric, estimate in inside.items()
    }
    return record | {"difference": compared}, compared


def _text_of(table: pl.DataFrame, name: str) -> pl.Series | str:
    """A column as text without nulls, or why there is none."""
    if name == AGE_BAND and name not in table.columns:
        if AGE_YEARS not in table.columns:
            return f"not in the table (it is made of {AGE_YEARS!r})"
        if not (table[AGE_YEARS].dtype.is_numeric() or table[AGE_YEARS].dtype == pl.Null):
            return f"not known: {AGE_YEARS!r} is no number"
        text = age_bands(table[AGE_YEARS])
        return text.fill_null(UNKNOWN_GROUP) if text.null_count() < len(text) else f"not known: {AGE_YEARS!r} is empty"
    if name not in table.columns:
        return "not in the table"
    values = table[name]
    if values.dtype.is_float():
        values = values.fill_nan(None)
    if values.dtype.is_nested():
        return "no column of single values"
    text = values.cast(pl.String).str.strip_chars()
    text = pl.select(pl.when(text != "").then(text)).to_series()
    return text.fill_null(UNKNOWN_GROUP) if text.null_count() < len(text) else "not in the table"


def _order(value: str) -> tuple[bool, str]:
    return UNKNOWN_GROUP in value.split(MEETS), value


def _by_size(row: Mapping[str, Any]) -> tuple[int, str]:
    return -row["n"], row["value"]
