"""The figures of a label: key figures, the table of all figures, and decisions against truth."""

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from medai.evaluation.evaluate import Evaluation
from medai.evaluation.report.forest import forest
from medai.evaluation.report.format import DISTANCES, cell, count, ends, figure_of, interval, number, p_value, short
from medai.evaluation.report.part import Card, Matrix, Row, Table
from medai.evaluation.report.spoken import spoken
from medai.evaluation.report.svg import interval_bar
from medai.evaluation.report.text import Words

CARDS = {
    "binary": ("auroc", "sensitivity", "specificity", "ppv", "npv", "ece"),
    "multiclass": ("accuracy", "macro_auroc", "ece", "brier"),
    "ordinal": ("accuracy", "macro_auroc", "quadratic_kappa", "mean_absolute_error"),
}
PARTS = {
    "discrimination": ("auroc", "partial_auroc", "macro_auroc", "weighted_auroc", "hand_till", "c_index", "average_precision"),
    "agreement": ("quadratic_kappa", "mean_absolute_error"),
    "at_the_threshold": (
        "sensitivity", "specificity", "ppv", "npv", "accuracy", "balanced_accuracy", "likelihood_ratio_positive",
        "likelihood_ratio_negative", "f1", "mcc", "prevalence",
    ),
    "calibration": (
        "ece", "ece_equal_mass", "mce", "brier", "brier_skill", "brier_parts", "calibration_slope", "calibration_intercept",
        "calibration_in_the_large", "spiegelhalter",
    ),
}  # fmt: skip
DECISION = "decision"  # heading of the second part where no threshold decides


def cards(evaluation: Evaluation, words: Words) -> tuple[Card, ...]:
    """The key figures: of the only label, or the means over all; none where nothing was released."""
    metrics = evaluation.metrics
    if not metrics["labels"]:
        return ()
    if not metrics["macro"]:
        record = next(iter(metrics["labels"].values()))
        return tuple(card(words[key], key, record[key], metrics["confidence"], words) for key in CARDS[record["kind"]] if key in record)
    shown = [(words[f"macro_{key}"], key, figure) for key, figure in metrics["macro"].items()]
    areas = {
        name: figure_of(record, "auroc")
        for name, record in metrics["labels"].items()
        if record["kind"] == "binary" and not record["warning"]
    }
    ranked = sorted((name for name in areas if areas[name]["value"] is not None), key=lambda name: float(areas[name]["value"]))
    marked = (("lowest_auroc", ranked[0]), ("highest_auroc", ranked[-1])) if len(ranked) > 1 else ()
    shown += [(words[text].format(label=spoken(name)), "auroc", areas[name]) for text, name in marked]
    return tuple(card(*each, metrics["confidence"], words) for each in shown)


def card(name: str, key: str, figure: Mapping[str, Any], confidence: float, words: Words) -> Card:
    """A key figure with its interval on a scale from 0 to 1, where it has one."""
    said = words.phrase(figure.get("reason", "")) if figure["value"] is None else interval(figure, key, confidence, words)
    bar = "" if key in {"mean_absolute_error", *DISTANCES} else interval_bar(figure["low"], figure["value"], figure["high"])
    return Card(name, number(figure["value"], key, words), said, Markup(bar))


def overview(evaluation: Evaluation, words: Words) -> Table:
    """A row a binary label, with the AUROC's interval drawn."""
    rows = []
    for name, record in evaluation.metrics["labels"].items():
        if record["kind"] == "binary":
            events = words["events_of"].format(events=count(record["events"], words), n=count(record["n"], words))
            others = (short(figure_of(record, key), key, words) for key in ("average_precision", "sensitivity", "specificity"))
            rows.append(
                (Row(spoken(name), (events, cell(figure_of(record, "auroc"), "auroc", words), *others)), figure_of(record, "auroc"))
            )
    columns = tuple(words[key] for key in ("label", "events", "auroc", "average_precision", "sensitivity", "specificity"))
    return forest(words["overview"], columns, rows, words["auroc"])


def figures_table(record: Mapping[str, Any], confidence: float, words: Words) -> Table:
    """All figures of a label in parts: discrimination, decisions, calibration."""
    rows: list[Row] = []
    for part, keys in PARTS.items():
        of_part = [row for key in keys if key in record for row in _rows(key, record[key], words)]
        if of_part:
            heading = part if part != "at_the_threshold" or record["kind"] == "binary" else DECISION
            rows += [Row(words[heading], ("",) * 4, kind="part"), *of_part]
    columns = (words["figure"], words["value"], words["ci"].format(confidence=confidence * 100), words["cases"], words["method"])
    return Table(words["all_figures"], columns, tuple(rows))


def matrix(classes: Sequence[str], counts: Sequence[Sequence[int | None]], threshold: float | None, words: Words) -> Matrix:
    """Counts with the share of their row; a row that holds a suppressed count has no shares."""
    rows = []
    for truth, row in enumerate(counts):
        known = [value for value in row if value is not None]
        total = max(1, sum(known)) if len(known) == len(row) else None
        cells = tuple(
            (count(value, words), None if total is None or value is None else value / total, truth == called)
            for called, value in enumerate(row)
        )
        rows.append((spoken(classes[truth]), cells))
    at = "" if threshold is None else words["at_threshold"].format(threshold=f"{threshold:.3g}")
    return Matrix(tuple(spoken(name) for name in classes), tuple(rows), words["confusion_note"].format(threshold=at))


def _rows(key: str, value: Any, words: Words) -> list[Row]:
    if key == "partial_auroc":
        found: list[Row] = []
        for each in value if isinstance(value, list) else [value]:
            if any(end is None for end in each["specificity"]):
                continue
            high, low = (f"{end:g}" for end in each["specificity"])
            found.append(figure_row(words[key].format(high=high, low=low), key, each, words))
            if isinstance(each.get("mcclish"), Mapping):
                found.append(figure_row(words["mcclish"], key, each["mcclish"], words))
        return found
    if key == "spiegelhalter":
        if not value or value.get("z") is None:
            return []
        said = words["p_value"].format(value=p_value(value["p"], words))
        return [Row(words[key], (number(value["z"], "", words), words["not_known"], count(value.get("n"), words), said))]
    if key == "brier_parts":
        if not value:
            return []
        return [
            Row(words[f"brier_{part}"], (number(value[part], "", words), words["not_known"], "", words["brier_part"]), kind="inner")
            for part in ("reliability", "resolution", "uncertainty", "within")
            if value.get(part) is not None
        ]
    return [figure_row(words[key], key, value, words)]


def figure_row(name: str, key: str, figure: Mapping[str, Any], words: Words, kind: str = "") -> Row:
    """A row of the table of all figures: the value, its interval, n, and the method."""
    method = words.phrase(figure["method"])
    said = words["because"].format(text=method, reason=words.phrase(figure["reason"])) if figure.get("reason") else method
    between = ends(figure, key, words) if figure["value"] is not None else ""
    return Row(name, (number(figure["value"], key, words), between or words["not_known"], count(figure["n"], words), said), kind=kind)
