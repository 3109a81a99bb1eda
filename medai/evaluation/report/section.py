"""What the template shows for each label: plots, tables and pictures, ready to be placed."""

import math
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from medai.evaluation.auroc import absent_class
from medai.evaluation.evaluate import Evaluation
from medai.evaluation.report import plot
from medai.evaluation.report.format import interval, number
from medai.evaluation.report.gallery import Gallery, Pictures, binary_galleries, multiclass_galleries
from medai.evaluation.report.sentence import spoken
from medai.evaluation.report.svg import interval_bar, scale
from medai.evaluation.report.text import ENGLISH as T
from medai.evaluation.table import LabelData, label_data

EMPTY = Markup("")
BINARY_FIGURES = ("auroc", "average_precision", "sensitivity", "specificity", "ppv", "npv", "accuracy", "prevalence", "ece", "mce", "brier")
MULTICLASS_FIGURES = ("accuracy", "macro_auroc", "quadratic_kappa", "mean_absolute_error", "ece", "brier")
CARDS = {
    "binary": ("auroc", "sensitivity", "specificity", "ppv", "npv", "ece"),
    "multiclass": ("accuracy", "macro_auroc", "ece", "brier"),
    "ordinal": ("accuracy", "macro_auroc", "quadratic_kappa", "mean_absolute_error"),
}


@dataclass(frozen=True)
class Panel:
    """One plot with its heading, the figure that belongs to it, and the line below it."""

    heading: str
    caption: str
    note: str
    svg: Markup


@dataclass(frozen=True)
class Row:
    """One row of a forest plot or a table of figures."""

    name: str
    cells: tuple[str, ...]
    bar: Markup = EMPTY


@dataclass(frozen=True)
class Table:
    """A table; where `bar_heading` is not empty its rows carry an interval as a picture, over the axis `scale`."""

    heading: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    bar_heading: str = ""
    note: str = ""
    scale: Markup = EMPTY


@dataclass(frozen=True)
class Card:
    """A key figure."""

    name: str
    value: str
    interval: str
    bar: Markup


@dataclass(frozen=True)
class Matrix:
    """Decisions against truth: (truth, ((count, share of the row, right), ...)) for each class."""

    classes: tuple[str, ...]
    rows: tuple[tuple[str, tuple[tuple[int, float, bool], ...]], ...]
    note: str


@dataclass(frozen=True)
class Section:
    """Everything about one label."""

    heading: str
    meaning: str
    panels: tuple[Panel, ...]
    matrix: Matrix
    figures: Table
    forests: tuple[Table, ...]
    galleries: tuple[Gallery, ...]


def section(evaluation: Evaluation, name: str, most_pictures: int, source: Pictures) -> Section:
    """The section of a label; at most so many pictures a gallery."""
    label = next(each for each in evaluation.labels if each.name == name)
    record, data = evaluation.metrics["labels"][name], label_data(evaluation.table, label)
    if label.kind == "binary":
        panels, galleries = _binary_panels(data, record), binary_galleries(evaluation, data, most_pictures, source)
        counts = record["confusion"]
        table = [[counts["true_negative"], counts["false_positive"]], [counts["false_negative"], counts["true_positive"]]]
    else:
        panels, galleries = _multiclass_panels(data, record), multiclass_galleries(evaluation, data, 2 * most_pictures, source)
        table = record["confusion"]
    forests = [] if label.kind == "binary" else [_classes_forest(record, evaluation.metrics["confidence"])]
    forests += [_group_forest(evaluation, name, column) for column, rows in evaluation.metrics["groups"].items() if len(rows) > 1]
    keys = BINARY_FIGURES if label.kind == "binary" else MULTICLASS_FIGURES
    figures = _figures(record, [key for key in keys if key in record], evaluation.metrics["confidence"])
    return Section(
        spoken(name), label.meaning, panels, matrix(label.classes, table, record.get("threshold")), figures, tuple(forests), galleries
    )


def cards(evaluation: Evaluation) -> tuple[Card, ...]:
    """The key figures: of the only label, or the means over all."""
    metrics = evaluation.metrics
    if not metrics["macro"]:
        record = next(iter(metrics["labels"].values()))
        return tuple(card(T[key], key, record[key], metrics["confidence"]) for key in CARDS[record["kind"]])
    shown = [(T[f"macro_{key}"], key, figure) for key, figure in metrics["macro"].items()]
    areas = {name: record["auroc"] for name, record in metrics["labels"].items() if record["kind"] == "binary" and not record["warning"]}
    ranked = sorted(areas, key=lambda name: float(areas[name]["value"]))
    ends = (("lowest_auroc", ranked[0]), ("highest_auroc", ranked[-1])) if len(ranked) > 1 else ()
    shown += [(T[text].format(label=spoken(name)), "auroc", areas[name]) for text, name in ends]
    return tuple(card(*each, metrics["confidence"]) for each in shown)


def card(name: str, key: str, figure: dict[str, Any], confidence: float) -> Card:
    """A key figure with its interval on a scale from 0 to 1."""
    said = figure.get("reason", "") if figure["value"] is None else interval(figure, key, confidence)
    bar = "" if key == "mean_absolute_error" else interval_bar(figure["low"], figure["value"], figure["high"])
    return Card(name, number(figure["value"], key), said, Markup(bar))


def overview(evaluation: Evaluation) -> Table:
    """A row a binary label, with the AUROC's interval drawn."""
    confidence, rows = evaluation.metrics["confidence"], []
    for name, record in evaluation.metrics["labels"].items():
        if record["kind"] == "binary":
            events = T["events_of"].format(events=record["events"], n=record["n"])
            others = (short(record[key], key) for key in ("average_precision", "sensitivity", "specificity"))
            rows.append((Row(spoken(name), (events, _cell(record["auroc"], "auroc", confidence), *others)), record["auroc"]))
    columns = (T["label"], T["events"], T["auroc"], T["average_precision"], T["sensitivity"], T["specificity"])
    return _forest(T["overview"], columns, rows, "auroc", None)


def matrix(classes: tuple[str, ...], counts: list[list[int]], threshold: float | None) -> Matrix:
    """Counts with the share of their row."""
    rows = []
    for truth, row in enumerate(counts):
        total = max(1, sum(row))
        rows.append((spoken(classes[truth]), tuple((count, count / total, truth == called) for called, count in enumerate(row))))
    at = "" if threshold is None else T["at_threshold"].format(threshold=f"{threshold:.3g}")
    return Matrix(tuple(spoken(name) for name in classes), tuple(rows), T["confusion_note"].format(threshold=at))


def short(figure: dict[str, Any], key: str) -> str:
    """The value alone, or why there is none."""
    return figure["reason"] if figure["value"] is None else number(figure["value"], key)


def _binary_panels(data: LabelData, record: dict[str, Any]) -> tuple[Panel, ...]:
    probability, truth = data.probability, data.target == 1
    if len(truth) == 0:
        return ()
    sensitivity, specificity, positive = (record[key]["value"] for key in ("sensitivity", "specificity", "ppv"))
    panels = []
    if not absent_class(truth):
        svg = plot.roc_plot(probability, truth, (sensitivity, specificity))
        panels.append(_panel("roc", record, "auroc", T["roc_note"], svg))
    if truth.any():
        svg = plot.precision_recall_plot(probability, truth, None if positive is None else (sensitivity, positive))
        note = T["precision_recall_note"].format(value=number(record["prevalence"]["value"], "prevalence"))
        panels.append(_panel("precision_recall", record, "average_precision", note, svg))
    panels.append(_panel("reliability", record, "ece", T["reliability_note"], plot.reliability_plot(probability, truth)))
    names = spoken(data.label.classes[0]), spoken(data.label.classes[1])
    svg = plot.distribution_plot(probability, truth, record["threshold"], names)
    return (*panels, Panel(T["distribution"], "", T["distribution_note"], Markup(svg)))


def _multiclass_panels(data: LabelData, record: dict[str, Any]) -> tuple[Panel, ...]:
    panels = []
    for index, (name, of_class) in enumerate(record["classes"].items()):
        truth = data.target == index
        if not absent_class(truth):
            caption = f"{T['auroc']} {number(of_class['auroc']['value'])}"
            panels.append(Panel(spoken(name), caption, T["roc_rest_note"], Markup(plot.roc_plot(data.probability[:, index], truth))))
    if len(data.rows):
        top, right = data.probability.max(axis=1), data.probability.argmax(axis=1) == data.target
        panels.append(_panel("reliability", record, "ece", T["reliability_top_note"], plot.reliability_plot(top, right)))
    return tuple(panels)


def _panel(heading: str, record: dict[str, Any], key: str, note: str, svg: str) -> Panel:
    return Panel(T[heading], f"{T[key]} {number(record[key]['value'])}", note, Markup(svg))


def _figures(record: dict[str, Any], keys: list[str], confidence: float) -> Table:
    rows = []
    for key in keys:
        figure = record[key]
        between = T["not_known"]
        if figure["low"] is not None:
            between = f"{number(figure['low'], key).removesuffix('%')}\u2013{number(figure['high'], key)}"
        said = f"{figure['method']} ({figure['reason']})" if figure.get("reason") else figure["method"]
        rows.append(Row(T[key], (number(figure["value"], key), between, f"{figure['n']:,}", said)))
    columns = (T["figure"], T["value"], T["ci"].format(confidence=confidence * 100), T["cases"], T["method"])
    return Table(T["all_figures"], columns, tuple(rows))


def _group_forest(evaluation: Evaluation, name: str, column: str) -> Table:
    record, confidence = evaluation.metrics["labels"][name], evaluation.metrics["confidence"]
    binary = record["kind"] == "binary"
    key = "auroc" if binary else "accuracy"
    others = ("sensitivity", "specificity") if binary else ("macro_auroc",)
    groups = [(row["value"], row["labels"][name]) for row in evaluation.metrics["groups"][column]]
    rows = []
    for value, group in groups:
        size = T["events_of"].format(events=group["events"], n=group["n"]) if binary else f"{group['n']:,}"
        cells = (size, _cell(group[key], key, confidence), *(short(group[other], other) for other in others))
        rows.append((Row(value, cells), group[key]))
    columns = (spoken(column).capitalize(), T["events"] if binary else T["cases"], T[key], *(T[other] for other in others))
    return _forest(T["by_group"].format(column=spoken(column)), columns, rows, key, record[key]["value"], T["group_note"])


def _classes_forest(record: dict[str, Any], confidence: float) -> Table:
    rows = []
    for name, of_class in record["classes"].items():
        cells = (
            _cell(of_class["auroc"], "auroc", confidence),
            *(short(of_class[key], key) for key in ("average_precision", "sensitivity", "ppv")),
        )
        rows.append((Row(spoken(name), (f"{of_class['events']:,}", *cells)), of_class["auroc"]))
    columns = (T["class"], T["cases"], T["auroc"], T["average_precision"], T["sensitivity"], T["ppv_short"])
    return _forest(T["by_group"].format(column=T["class"].lower()), columns, rows, "auroc", record["macro_auroc"]["value"], T["class_note"])


def _cell(figure: dict[str, Any], key: str, confidence: float) -> str:
    if figure["value"] is None or figure["low"] is None:
        return short(figure, key)
    low = number(figure["low"], key).removesuffix("%")
    return f"{number(figure['value'], key)} ({low}\u2013{number(figure['high'], key)})"


def _forest(
    heading: str, columns: tuple[str, ...], rows: list[tuple[Row, dict[str, Any]]], key: str, mark: float | None, note: str = ""
) -> Table:
    """A table whose rows carry their figure's interval on one common scale."""
    ends = [figure["value"] if figure["low"] is None else figure["low"] for _, figure in rows if figure["value"] is not None]
    span = (min(0.9, math.floor(min(ends, default=0.0) * 10 + 1e-9) / 10), 1.0)
    drawn = tuple(
        Row(row.name, row.cells, Markup(interval_bar(figure["low"], figure["value"], figure["high"], span, mark))) for row, figure in rows
    )
    return Table(heading, columns, drawn, T[key], note, Markup(scale(span)))
