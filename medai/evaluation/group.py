"""Groups of cases (sites, sexes, ...) that are looked at apart."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Bool

from medai.evaluation.binary import binary_group, group_statistics
from medai.evaluation.bootstrap import Key, Statistic
from medai.evaluation.interval import Intervals
from medai.evaluation.multiclass import macro_statistic, multiclass_group
from medai.evaluation.table import LabelData

MOST_GROUPS = 50
UNKNOWN_GROUP = "unknown"


@dataclass(frozen=True)
class Group:
    """The cases that share a value of a column.

    Attributes:
        column: E.g. ``"site"``.
        value: As text; an empty one is ``"unknown"``.
        chosen: Whether each row of the table belongs to it.
    """

    column: str
    value: str
    chosen: Bool[np.ndarray, " n"]

    def draws(self, data: LabelData) -> Key:
        """Key of the label's bootstrap draws in this group."""
        return ("group", self.column, self.value, data.label.name)


def groups_of(table: pl.DataFrame, columns: Sequence[str]) -> tuple[tuple[Group, ...], dict[str, str]]:
    """The groups of the columns that the table has, and why a column is left out."""
    groups: list[Group] = []
    left_out: dict[str, str] = {}
    for column in columns:
        if column not in table.columns or table[column].null_count() == len(table):
            left_out[column] = "not in the table"
            continue
        text = table[column].cast(pl.String).fill_null(UNKNOWN_GROUP)
        values = sorted(text.unique().to_list())
        if len(values) > MOST_GROUPS:
            left_out[column] = f"{len(values):,} different values, at most {MOST_GROUPS} are shown"
            continue
        groups += [Group(column, value, (text == value).to_numpy()) for value in values]
    return tuple(groups), left_out


def groups_statistics(groups: Iterable[Group], data: Sequence[LabelData], *, repeat: bool) -> dict[Key, Statistic]:
    """What the bootstrap has to draw for all groups; binary labels need it only where patients repeat."""
    statistics: dict[Key, Statistic] = {}
    for group in groups:
        for each in data:
            if each.label.kind != "binary":
                statistics[group.draws(each)] = macro_statistic(each.take(group.chosen))
            elif repeat:
                statistics[group.draws(each)] = group_statistics(each.take(group.chosen))
    return statistics


def groups_metrics(
    groups: Iterable[Group], data: Sequence[LabelData], thresholds: Mapping[str, float], intervals: Intervals
) -> dict[str, list[dict[str, Any]]]:
    """For each column its groups, largest first: n, patients and every label's figures."""
    record: dict[str, list[dict[str, Any]]] = {}
    for group in groups:
        labels = {each.label.name: _label_in_group(group, each, thresholds, intervals) for each in data}
        patients = intervals.patients.distinct(group.chosen) if intervals.patients.known else None
        record.setdefault(group.column, []).append(
            {"value": group.value, "n": int(group.chosen.sum()), "patients": patients, "labels": labels}
        )
    return {column: sorted(rows, key=lambda row: (-row["n"], row["value"])) for column, rows in record.items()}


def _label_in_group(group: Group, data: LabelData, thresholds: Mapping[str, float], intervals: Intervals) -> dict[str, Any]:
    part, draws = data.take(group.chosen), group.draws(data)
    if data.label.kind == "binary":
        return binary_group(part, thresholds[data.label.name], intervals, draws)
    return multiclass_group(part, intervals, draws)
