"""The summary in words."""

from collections.abc import Mapping
from typing import Any

from medai.evaluation.evaluate import Evaluation
from medai.evaluation.report.context import ReportContext
from medai.evaluation.report.format import interval, number, percent
from medai.evaluation.report.text import ENGLISH as T


def spoken(name: str) -> str:
    """A column name as words."""
    return name.replace("_", " ")


def summary(evaluation: Evaluation, context: ReportContext) -> list[str]:
    """Paragraphs: the cases, then what the model does on them."""
    metrics = evaluation.metrics
    labels: dict[str, Any] = metrics["labels"]
    paragraphs = [_cases(metrics, context)]
    if metrics["macro"]:
        paragraphs.append(" ".join(_macro(metrics, context)))
    several_binary = bool(metrics["macro"])
    for name, record in labels.items():
        if record["kind"] != "binary":
            paragraphs.append(" ".join(_multiclass(name, record, metrics["confidence"])))
        elif not several_binary:
            paragraphs += [" ".join(part) for part in _binary(evaluation, name, record, context) if part]
    return [paragraph for paragraph in paragraphs if paragraph]


def _cases(metrics: Mapping[str, Any], context: ReportContext) -> str:
    patients = T["s_patients"].format(patients=metrics["patients"]["count"]) if metrics["patients"]["known"] else ""
    parts = [T["s_cases"].format(n=metrics["cases"], split=spoken(context.split), patients=patients, cohort=context.cohort.name)]
    if len(metrics["labels"]) == 1:
        name, record = next(iter(metrics["labels"].items()))
        if record["kind"] == "binary" and record["n"]:
            share = number(record["prevalence"]["value"], "prevalence")
            parts.append(T["s_events"].format(events=record["events"], n=record["n"], share=share, label=spoken(name)))
        if record["unknown"]:
            parts.append(T["s_unknown"].format(unknown=record["unknown"], label=spoken(name)))
    return " ".join(parts)


def origin(context: ReportContext) -> str:
    """Where thresholds come from, in brackets, or nothing."""
    return T["s_origin"].format(origin=context.threshold_origin) if context.threshold_origin else ""


def _binary(evaluation: Evaluation, name: str, record: Mapping[str, Any], context: ReportContext) -> tuple[list[str], list[str]]:
    confidence, label = evaluation.metrics["confidence"], spoken(name)
    first, second = [], []
    if record["auroc"]["value"] is not None:
        value = record["auroc"]["value"]
        said = interval(record["auroc"], "auroc", confidence)
        first.append(T["s_auroc"].format(value=number(value), interval=said, label=label, share=percent(value)))
        first += _point(label, record, confidence, context)
    if record["ppv"]["value"] is not None and record["npv"]["value"] is not None:
        shares = {key: number(record[key]["value"], key) for key in ("prevalence", "ppv", "npv")}
        second.append(T["s_ppv"].format(**shares))
    if record["ece"]["value"] is not None:
        predicted = float(evaluation.table[f"probability.{name}"].filter(evaluation.table[f"target.{name}"].is_not_null()).mean())  # type: ignore[arg-type]
        error = f"{record['ece']['value'] * 100:.1f}"
        second.append(T["s_calibration"].format(ece=error, mean=percent(predicted), observed=percent(record["prevalence"]["value"])))
    return first, second


def _point(label: str, record: Mapping[str, Any], confidence: float, context: ReportContext) -> list[str]:
    counts = record["confusion"]
    said = T["s_point"].format(
        threshold=f"{record['threshold']:.3g}",
        origin=origin(context),
        found=counts["true_positive"],
        positives=record["events"],
        label=label,
        sensitivity=number(record["sensitivity"]["value"], "sensitivity"),
        sensitivity_interval=interval(record["sensitivity"], "sensitivity", confidence),
        cleared=counts["true_negative"],
        negatives=record["n"] - record["events"],
        specificity=number(record["specificity"]["value"], "specificity"),
        specificity_interval=interval(record["specificity"], "specificity", confidence),
    )
    return [said, T["s_wrong"].format(missed=counts["false_negative"], alarms=counts["false_positive"])]


def _macro(metrics: Mapping[str, Any], context: ReportContext) -> list[str]:
    confidence = metrics["confidence"]
    known = {
        name: record for name, record in metrics["labels"].items() if record["kind"] == "binary" and record["auroc"]["value"] is not None
    }
    area, precision = metrics["macro"]["auroc"], metrics["macro"]["average_precision"]
    said = [
        T["s_macro"].format(
            count=len(known),
            value=number(area["value"]),
            interval=interval(area, "auroc", confidence),
            precision=number(precision["value"]),
            precision_interval=interval(precision, "average_precision", confidence),
        )
    ]
    sure = {name: record for name, record in known.items() if not record["warning"]}
    if len(sure) < 2:
        return said
    ranked = sorted(sure, key=lambda name: sure[name]["auroc"]["value"])
    fields: dict[str, str] = {}
    for key, name in (("worst", ranked[0]), ("best", ranked[-1])):
        figure = sure[name]["auroc"]
        fields |= {key: spoken(name), f"{key}_value": number(figure["value"]), f"{key}_interval": interval(figure, "auroc", confidence)}
    return [*said, T["s_best"].format(**fields), _thresholds(sure, context)]


def _thresholds(records: Mapping[str, Mapping[str, Any]], context: ReportContext) -> str:
    ends = {}
    for figure in ("sensitivity", "specificity"):
        ranked = sorted(records, key=lambda name: records[name][figure]["value"])
        ends[figure] = [(number(records[name][figure]["value"], figure), spoken(name)) for name in (ranked[0], ranked[-1])]
    low, high = ends["sensitivity"]
    low_specificity, high_specificity = ends["specificity"]
    return T["s_thresholds"].format(
        origin=origin(context),
        lowest=low[0],
        lowest_label=low[1],
        highest=high[0],
        highest_label=high[1],
        low_specificity=low_specificity[0],
        low_specificity_label=low_specificity[1],
        high_specificity=high_specificity[0],
        high_specificity_label=high_specificity[1],
    )


def _multiclass(name: str, record: Mapping[str, Any], confidence: float) -> list[str]:
    if not record["n"]:
        return []
    counts, accuracy, area = record["confusion"], record["accuracy"], record["macro_auroc"]
    right = sum(row[index] for index, row in enumerate(counts))
    said = [
        T["s_multiclass"].format(
            label=spoken(name),
            classes=len(counts),
            right=right,
            n=record["n"],
            value=number(accuracy["value"], "accuracy"),
            interval=interval(accuracy, "accuracy", confidence),
        )
    ]
    if area["value"] is not None:
        said.append(T["s_macro_classes"].format(value=number(area["value"]), interval=interval(area, "auroc", confidence)))
    kappa, error = record.get("quadratic_kappa"), record.get("mean_absolute_error")
    if kappa and error and kappa["value"] is not None:
        between = interval(kappa, "quadratic_kappa", confidence)
        said.append(T["s_ordinal"].format(kappa=number(kappa["value"]), kappa_interval=between, error=f"{error['value']:.2f}"))
    return said + _confused(list(record["classes"]), counts)


def _confused(classes: list[str], counts: list[list[int]]) -> list[str]:
    wrong = [(count, truth, called) for truth, row in enumerate(counts) for called, count in enumerate(row) if truth != called]
    count, truth, called = max(wrong, key=lambda item: item[0])
    if count == 0:
        return []
    return [T["s_confused"].format(truth=spoken(classes[truth]), called=spoken(classes[called]), count=count, n=sum(counts[truth]))]
