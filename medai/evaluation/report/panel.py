"""The plots of a label, each with its heading and the line below it."""

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from medai.evaluation.auroc import absent_class
from medai.evaluation.report import plot
from medai.evaluation.report.format import figure_of, number, share
from medai.evaluation.report.part import Panel
from medai.evaluation.report.spoken import spoken
from medai.evaluation.report.text import Words
from medai.evaluation.table import LabelData


def binary_panels(data: LabelData, record: Mapping[str, Any], confidence: float, words: Words) -> tuple[Panel, ...]:
    """ROC, precision and recall, reliability, decision curve and the distribution of probabilities."""
    probability, truth = data.probability, data.target == 1
    if len(truth) == 0:
        return ()
    panels = []
    if not absent_class(truth):
        band = record.get("roc_band")
        note = words["roc_note"].format(band=words["band_note"].format(confidence=confidence * 100) if band else "")
        point, reach = _point(record, "sensitivity", "specificity")
        svg = plot.roc_plot(probability, truth, point, reach=reach, band=band, words=words)
        panels.append(_panel("roc", record, "auroc", note, svg, words))
    if truth.any():
        point, reach = _point(record, "sensitivity", "ppv")
        svg = plot.precision_recall_plot(probability, truth, point, reach=reach, band=record.get("pr_band"), words=words)
        note = words["precision_recall_note"].format(value=number(figure_of(record, "prevalence")["value"], "prevalence", words))
        panels.append(_panel("precision_recall", record, "average_precision", note, svg, words))
    smooth = record.get("reliability_curve")
    said = words["curve_note"] if smooth and smooth.get("x") else ""
    note = words["reliability_note"].format(confidence=95, curve=said)
    panels.append(_panel("reliability", record, "ece", note, plot.reliability_plot(probability, truth, smooth=smooth, words=words), words))
    panels += decision_panels(record, confidence, words)
    panels += prevalence_panels(record, words)
    names = spoken(data.label.classes[0]), spoken(data.label.classes[1])
    svg = plot.distribution_plot(probability, truth, record["threshold"], names, words)
    return (*panels, Panel(words["distribution"], "", words["distribution_note"], Markup(svg)))


def decision_panels(record: Mapping[str, Any], confidence: float, words: Words) -> list[Panel]:
    """The decision curve where it was computed; it is made of figures alone, and of no single case."""
    curve = record.get("decision_curve")
    if not curve or not curve.get("threshold") or any(value is None for value in curve["net_benefit"]):
        return []
    band = words["band_note"].format(confidence=confidence * 100) if curve.get("low") else ""
    parts = [words["decision_note"], _useful(curve, words)]
    return [
        Panel(words["decision_curve"], "", words.space.join(parts) + band, Markup(plot.decision_plot(curve, record["threshold"], words)))
    ]


def prevalence_panels(record: Mapping[str, Any], words: Words) -> list[Panel]:
    """Predictive values over the prevalence, where both classes were there to measure them."""
    if figure_of(record, "sensitivity")["value"] is None or figure_of(record, "specificity")["value"] is None:
        return []
    return [Panel(words["predictive_values"], "", words["predictive_note"], Markup(plot.prevalence_plot(record, words)))]


def multiclass_panels(data: LabelData, record: Mapping[str, Any], words: Words) -> tuple[Panel, ...]:
    """A ROC curve of each class against the rest, and the reliability of the highest probability."""
    panels = []
    for index, (name, of_class) in enumerate(record["classes"].items()):
        truth = data.target == index
        if not absent_class(truth):
            caption = f"{words['auroc']} {number(of_class['auroc']['value'], 'auroc', words)}"
            svg = plot.roc_plot(data.probability[:, index], truth, words=words)
            panels.append(Panel(spoken(name), caption, words["roc_rest_note"], Markup(svg)))
    if len(data.rows):
        top, right = data.probability.max(axis=1), data.probability.argmax(axis=1) == data.target
        svg = plot.reliability_plot(top, right, words=words)
        panels.append(_panel("reliability", record, "ece", words["reliability_top_note"], svg, words))
    return tuple(panels)


def _point(
    record: Mapping[str, Any], first: str, second: str
) -> tuple[tuple[float, float] | None, tuple[tuple[float, float], tuple[float, float]] | None]:
    """The frozen threshold's point in a plot, and the intervals of both its figures."""
    figures = figure_of(record, first), figure_of(record, second)
    if any(figure["value"] is None for figure in figures):
        return None, None
    point = figures[0]["value"], figures[1]["value"]
    if any(figure["low"] is None for figure in figures):
        return point, None
    return point, ((figures[0]["low"], figures[0]["high"]), (figures[1]["low"], figures[1]["high"]))


def _panel(heading: str, record: Mapping[str, Any], key: str, note: str, svg: str, words: Words) -> Panel:
    short = words.get(f"{key}_short", words[key])
    return Panel(words[heading], f"{short} {number(figure_of(record, key)['value'], key, words)}", note, Markup(svg))


def _useful(curve: Mapping[str, Any], words: Words) -> str:
    """Between which thresholds the model is better than treating all and treating none; with gaps, its longest stretch."""
    better = [benefit > max(everyone, 0.0) + 1e-12 for benefit, everyone in zip(curve["net_benefit"], curve["treat_all"], strict=True)]
    longest, start = (0, 0), 0
    for place, good in enumerate([*better, False]):
        if not good:
            longest = max(longest, (place - start, start), key=lambda item: item[0])
            start = place + 1
    length, start = longest
    if length < 2:
        return words["decision_nowhere"]
    low, high = curve["threshold"][start], curve["threshold"][start + length - 1]
    return words["decision_range"].format(low=share(low), high=share(high))
