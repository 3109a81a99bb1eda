"""Who was studied: age, sex, sites and devices of the cases, and how many have each finding (STARD 2015, item 20)."""

from collections.abc import Sequence

import numpy as np
import polars as pl

from medai.core.label import Label
from medai.evaluation.report.format import percent
from medai.evaluation.report.part import Row, Table
from medai.evaluation.report.spoken import spoken
from medai.evaluation.report.text import Words
from medai.evaluation.table import UNKNOWN, target_of

COLUMNS = ("sex", "site", "manufacturer", "modality", "body_part", "view")
MOST_VALUES = 8


def cohort_table(table: pl.DataFrame, labels: Sequence[Label], words: Words) -> Table:
    """A row a characteristic, a column for all cases and, with one binary label, one each for those with and without it.

    Args:
        table: The predictions.
        labels: Which of its truths to show.
        words: The language.
    """
    parts: list[tuple[str, pl.DataFrame]] = [(words["all_cases"], table)]
    unknown = 0
    single = len(labels) == 1 and labels[0].kind == "binary"
    if single:
        target, name = target_of(table, labels[0]), spoken(labels[0].name)
        parts += [(words[f"column_{key}"].format(label=name), table.filter(target == code)) for key, code in (("with", 1), ("without", 0))]
        unknown = int((target == UNKNOWN).sum())
    frames = [frame for _, frame in parts]
    rows = [Row(words["cases"], tuple(f"{len(frame):,}" for frame in frames))]
    if "patient_id" in table.columns and table["patient_id"].null_count() < len(table):
        rows.append(Row(words["patients_row"], tuple(f"{frame['patient_id'].drop_nulls().n_unique():,}" for frame in frames)))
    rows += _age(frames, words)
    for column in COLUMNS:
        rows += _categories(column, frames, words)
    if not single:
        rows += _truths(table, labels, words)
    note = words["cohort_note"].format(unknown=words["cohort_note_unknown"] if unknown else "").strip()
    return Table(words["cohort_table"], (words["characteristic"], *(name for name, _ in parts)), tuple(rows), note=note, kind="cohort")


def _age(frames: Sequence[pl.DataFrame], words: Words) -> list[Row]:
    if "age_years" not in frames[0].columns or not frames[0]["age_years"].dtype.is_numeric():
        return []
    ages = [frame["age_years"].cast(pl.Float64).drop_nulls().drop_nans().to_numpy() for frame in frames]
    if not len(ages[0]):
        return []
    middle, ends = [], []
    for age in ages:
        quartiles = np.percentile(age, (25, 50, 75)) if len(age) else None
        middle.append(words["not_known"] if quartiles is None else f"{quartiles[1]:.0f} ({quartiles[0]:.0f}\u2013{quartiles[2]:.0f})")
        ends.append(f"{age.min():.0f}\u2013{age.max():.0f}" if len(age) else words["not_known"])
    rows = [Row(words["age_years"], tuple(middle)), Row(words["age_range"], tuple(ends))]
    absent = [len(frame) - len(age) for frame, age in zip(frames, ages, strict=True)]
    return rows + (
        [Row(words["missing"], tuple(_share(n, len(f)) for n, f in zip(absent, frames, strict=True)), kind="inner")] * bool(absent[0])
    )


def _categories(column: str, frames: Sequence[pl.DataFrame], words: Words) -> list[Row]:
    """The values of a column, commonest first; a column with one value alone says nothing of groups but where the cases are from."""
    whole = frames[0]
    if column not in whole.columns or whole[column].null_count() == len(whole):
        return []
    texts = [frame[column].cast(pl.String) for frame in frames]
    sizes = texts[0].drop_nulls().value_counts().sort(["count", column], descending=[True, False])
    values = sizes[column].to_list()
    shown, rest = (values, []) if len(values) <= MOST_VALUES else (values[: MOST_VALUES - 1], values[MOST_VALUES - 1 :])
    rows = [Row(words.column(column), ("",) * len(frames), kind="part")]
    for value in shown:
        cells = tuple(_share(int((text == value).sum()), len(text)) for text in texts)
        rows.append(Row(words.group(column, value), cells, kind="inner"))
    if rest:
        cells = tuple(_share(int(text.is_in(rest).sum()), len(text)) for text in texts)
        rows.append(Row(words["others"].format(count=len(rest)), cells, kind="inner"))
    if texts[0].null_count():
        rows.append(Row(words["missing"], tuple(_share(text.null_count(), len(text)) for text in texts), kind="inner"))
    return rows


def _truths(table: pl.DataFrame, labels: Sequence[Label], words: Words) -> list[Row]:
    """How many cases have each finding, or are of each class."""
    rows: list[Row] = []
    binary = [label for label in labels if label.kind == "binary"]
    if binary:
        rows.append(Row(words["findings"], ("",), kind="part"))
        for label in binary:
            target = target_of(table, label)
            rows.append(Row(spoken(label.name), (_share(int((target == 1).sum()), int((target != UNKNOWN).sum())),), kind="inner"))
    for label in labels:
        if label.kind != "binary":
            target = target_of(table, label)
            rows.append(Row(spoken(label.name), ("",), kind="part"))
            known = int((target != UNKNOWN).sum())
            rows += [Row(spoken(each), (_share(int((target == i).sum()), known),), kind="inner") for i, each in enumerate(label.classes)]
    return rows


def _share(number: int, whole: int) -> str:
    return f"{number:,} ({percent(number / whole)})" if whole else f"{number:,}"
