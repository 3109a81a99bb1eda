"""Groups and classes side by side, their intervals drawn on one scale."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from medai.evaluation.report.format import cell, count, difference, figure_of, number, p_value, short
from medai.evaluation.report.part import Row, Table
from medai.evaluation.report.spoken import spoken
from medai.evaluation.report.svg import interval_bar, scale
from medai.evaluation.report.text import Words

Drawn = tuple[Row, Mapping[str, Any]]
MEASURES = {"tpr": "tpr", "fpr": "fpr", "calibration": "", "accuracy": "accuracy"}


def forest(
    heading: str, columns: tuple[str, ...], rows: Sequence[Drawn], bar_heading: str, mark: float | None = None, note: str = ""
) -> Table:
    """A table whose rows carry their figure's interval on one common scale up to 1."""
    low = [figure["value"] if figure["low"] is None else figure["low"] for _, figure in rows if figure["value"] is not None]
    span = (min(0.9, math.floor(min(low, default=0.0) * 10 + 1e-9) / 10), 1.0)
    return drawn(Table(heading, columns, (), bar_heading, note, kind="forest"), rows, span, mark)


def differences(
    heading: str, columns: tuple[str, ...], rows: Sequence[Drawn], bar_heading: str, note: str = "", margin: float | None = None
) -> Table:
    """A table whose rows carry a difference's interval on one scale around zero, which is marked."""
    reach = [abs(figure[end]) for _, figure in rows for end in ("low", "value", "high") if figure[end] is not None]
    widest = max([*reach, margin or 0.0], default=0.0)
    step = next(step for step in (0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, math.inf) if widest <= step)
    span = (-step, step) if math.isfinite(step) else (-math.ceil(widest), math.ceil(widest))
    return drawn(Table(heading, columns, (), bar_heading, note, kind="forest"), rows, (float(span[0]), float(span[1])), 0.0)


def drawn(table: Table, rows: Sequence[Drawn], span: tuple[float, float], mark: float | None) -> Table:
    """The table with its rows' bars."""
    bars = tuple(
        Row(row.name, row.cells, Markup(interval_bar(figure["low"], figure["value"], figure["high"], span, mark)), row.kind, row.below)
        for row, figure in rows
    )
    return Table(table.heading, table.columns, bars, table.bar_heading, table.note, Markup(scale(span)), table.kind)


def group_forest(metrics: Mapping[str, Any], name: str, column: str, words: Words) -> Table:
    """The groups of a column for a label: the figure drawn, its difference to all other cases, and the other figures."""
    record = metrics["labels"][name]
    binary = record["kind"] == "binary"
    key, others = ("auroc", ("sensitivity", "specificity")) if binary else ("accuracy", ("macro_auroc",))
    groups = [(row["value"], row["labels"][name]) for row in metrics["groups"][column]]
    compared = any(group.get("difference", {}).get(key) for _, group in groups)
    rows = []
    for value, group in groups:
        n = count(group["n"], words)
        size = words["events_of"].format(events=count(group["events"], words), n=n) if binary else n
        cells = [size, cell(figure_of(group, key), key, words)]
        below: list[tuple[int, str]] = []
        if compared:
            rest = group.get("difference", {}).get(key)
            cells.append(words["not_known"] if not rest else difference(rest, key, words))
            if rest and rest.get("p_holm") is not None:
                below.append((2, words["p_value"].format(value=p_value(rest["p_holm"], words))))
        cells += [short(figure_of(group, other), other, words) for other in others]
        rows.append((Row(words.group(column, value), tuple(cells), below=tuple(below)), figure_of(group, key)))
    middle = (words["difference"],) if compared else ()
    columns = (
        words.column(column),
        words["events"] if binary else words["cases"],
        words[key],
        *middle,
        *(words[other] for other in others),
    )
    notes = [words["group_note"]]
    family = metrics.get("subgroups", {}).get("family")
    if compared and family:
        fields = {"key": words[key], "tests": count(family["tests"], words), "correction": family["correction"]}
        notes.append(words["group_difference_note"].format(**fields))
    heading = words["by_group"].format(column=words.column(column).lower() if words.code == "en" else words.column(column))
    return forest(heading, columns, rows, words[key], figure_of(record, key)["value"], words.space.join(notes))


def classes_forest(record: Mapping[str, Any], words: Words) -> Table:
    """Each class of a label against the rest."""
    rows = []
    for name, of_class in record["classes"].items():
        others = (short(figure_of(of_class, key), key, words) for key in ("average_precision", "sensitivity", "ppv"))
        cells = (count(of_class["events"], words), cell(figure_of(of_class, "auroc"), "auroc", words), *others)
        rows.append((Row(spoken(name), cells), figure_of(of_class, "auroc")))
    columns = tuple(words[key] for key in ("class", "cases", "auroc", "average_precision", "sensitivity", "ppv_short"))
    return forest(words["class_heading"], columns, rows, words["auroc"], figure_of(record, "macro_auroc")["value"], words["class_note"])


def gaps_table(metrics: Mapping[str, Any], name: str, words: Words) -> Table | None:
    """The largest differences between the groups of each column, for a label."""
    rows: list[Row] = []
    for column, labels in metrics.get("subgroups", {}).get("gaps", {}).items():
        found = [(measure, figure) for measure, figure in labels.get(name, {}).items() if f"gap_{measure}" in words.table]
        if not any(figure["value"] is not None for _, figure in found):
            continue
        rows.append(Row(words.column(column), ("",) * 3, kind="part"))
        for measure, figure in found:
            rows.append(Row(words[f"gap_{measure}"], _gap_cells(measure, column, figure, words), kind="inner"))
    if not rows:
        return None
    columns = (words["figure"], words["gap"], words["gap_ends"], words["gap_expected"])
    return Table(words["gaps"], columns, tuple(rows), note=words["gaps_note"])


def worst_groups(metrics: Mapping[str, Any], name: str, words: Words) -> list[str]:
    """Which group fares worst, in words, and how bad the worst of so many would look by chance."""
    said = []
    for key, worst in metrics.get("subgroups", {}).get("worst", {}).get(name, {}).items():
        if key not in words.table or worst["figure"]["value"] is None:
            continue
        fields = {
            "figure": words[key],
            "group": words.group(worst["column"], worst["group"]),
            "column": words.column(worst["column"]),
            "value": cell(worst["figure"], key, words),
            "overall": number(worst.get("overall"), key, words),
        }
        sentence = words["worst_of"].format(**fields)
        if worst.get("expected_if_equal") is not None:
            expected = number(worst["expected_if_equal"], key, words)
            sentence += words.space + words["worst_expected"].format(groups=count(worst["groups"], words), expected=expected)
        said.append(sentence)
    return said


def _gap_cells(measure: str, column: str, figure: Mapping[str, Any], words: Words) -> tuple[str, str, str]:
    key = MEASURES[measure]
    if figure["value"] is None:
        return short(figure, key, words), "", ""
    ends = ""
    if figure.get("highest") is not None and figure.get("lowest") is not None:
        named = {end: words.group(column, str(figure[end])) for end in ("highest", "lowest")}
        ends = words["gap_between"].format(**named)
    expected = figure.get("expected_if_equal")
    said = "" if expected is None else number(expected, key, words)
    return cell(figure, key, words), ends, said
