"""The structured abstract: objective, data, model and results in words."""

from collections.abc import Mapping
from typing import Any

from medai.evaluation.evaluate import Evaluation
from medai.evaluation.report.context import ReportContext
from medai.evaluation.report.format import count, figure_of, interval, number, percent
from medai.evaluation.report.spoken import spoken
from medai.evaluation.report.text import Words

FACTS_IN_ABSTRACT = 4
HASH = "Hash"  # stands in the provenance


def abstract(evaluation: Evaluation, context: ReportContext, limits: list[str], words: Words) -> list[tuple[str, list[str]]]:
    """Heading and paragraphs of each part; the limits are those of `warning.warnings` and the notes.

    Args:
        evaluation: From `evaluate`.
        context: The words around it.
        limits: Sentences on what to be careful of; the standing one is added.
        words: The language.
    """
    metrics = evaluation.metrics
    parts = [("objective", [_objective(evaluation, context, words)]), ("data", [cases_sentence(metrics, context, words)])]
    parts.append(("model", _model(metrics, context, words)))
    parts.append(("results", _results(evaluation, words)))
    parts.append(("limits", [*limits, words["a_one_set"]]))
    return [(key, [paragraph for paragraph in said if paragraph]) for key, said in parts if any(said)]


def origin(context: ReportContext, words: Words) -> str:
    """Where thresholds come from, in brackets, or nothing."""
    return words["s_origin"].format(origin=words.phrase(context.threshold_origin)) if context.threshold_origin else ""


def _objective(evaluation: Evaluation, context: ReportContext, words: Words) -> str:
    if context.objective:
        return context.objective
    fields = {"split": words.split(context.split), "cohort": context.cohort.name}
    if len(evaluation.labels) > 1:
        return words["a_objective_many"].format(count=len(evaluation.labels), **fields)
    label = evaluation.labels[0]
    key = "a_objective" if label.kind == "binary" else "a_objective_classes"
    return words[key].format(label=spoken(label.name), **fields)


def _model(metrics: Mapping[str, Any], context: ReportContext, words: Words) -> list[str]:
    facts = [
        words["a_fact"].format(name=words.phrase(name), value=words.phrase(value))
        for name, value in context.model.items()
        if value and name != HASH
    ]
    said = [words["a_model"].format(facts=words["a_semicolon"].join(facts[:FACTS_IN_ABSTRACT]))] if facts else [words["a_model_unknown"]]
    if any(record["kind"] == "binary" for record in metrics["labels"].values()):
        said.append(words["a_threshold"].format(origin=origin(context, words)))
    return [*([context.intended_use] if context.intended_use else []), words.space.join(said)]


def _results(evaluation: Evaluation, words: Words) -> list[str]:
    metrics = evaluation.metrics
    paragraphs = []
    if metrics["macro"]:
        paragraphs.append(words.space.join(_macro(metrics, words)))
    for name, record in metrics["labels"].items():
        if record["kind"] != "binary":
            paragraphs.append(words.space.join(_multiclass(name, record, metrics["confidence"], words)))
        elif not metrics["macro"]:
            paragraphs += [words.space.join(part) for part in _binary(evaluation, name, record, words) if part]
    paragraphs.append(_compared(metrics.get("comparison", {}), words))
    seal = metrics.get("seal", {})
    if not metrics["labels"] and seal and "comparison" not in seal:  # its conclusion is among the notes
        best = number(seal.get("best"), "", words)
        paragraphs.append(words["s_ladder"].format(metric=seal.get("metric", ""), best=best))
    return [paragraph for paragraph in paragraphs if paragraph]


def cases_sentence(metrics: Mapping[str, Any], context: ReportContext, words: Words) -> str:
    """How many cases and patients were analysed, and how many show the only label."""
    patients = metrics["patients"]
    who = words["s_patients"].format(patients=count(patients["count"], words)) if patients["known"] else ""
    split = words.split(context.split)
    parts = [words["s_cases"].format(n=count(metrics["cases"], words), split=split, patients=who, cohort=context.cohort.name)]
    if len(metrics["labels"]) == 1:
        name, record = next(iter(metrics["labels"].items()))
        if record["kind"] == "binary" and record["n"] and figure_of(record, "prevalence")["value"] is not None:
            share = number(figure_of(record, "prevalence")["value"], "prevalence", words)
            fields = {"events": count(record["events"], words), "n": count(record["n"], words), "share": share, "label": spoken(name)}
            parts.append(words["s_events"].format(**fields))
        if record["unknown"]:
            parts.append(words["s_unknown"].format(unknown=count(record["unknown"], words), label=spoken(name)))
    return words.space.join(parts)


def _binary(evaluation: Evaluation, name: str, record: Mapping[str, Any], words: Words) -> tuple[list[str], list[str]]:
    confidence, label, alone = evaluation.metrics["confidence"], spoken(name), len(evaluation.metrics["labels"]) == 1
    first, second = [], []
    if figure_of(record, "auroc")["value"] is not None:
        value = figure_of(record, "auroc")["value"]
        said = interval(figure_of(record, "auroc"), "auroc", confidence, words)
        first.append(
            words["s_auroc" if alone else "s_auroc_of"].format(value=number(value), interval=said, label=label, share=percent(value))
        )
    if figure_of(record, "sensitivity")["value"] is not None and figure_of(record, "specificity")["value"] is not None:
        first += _point(label, record, confidence, words)
    if all(figure_of(record, key)["value"] is not None for key in ("ppv", "npv", "prevalence")):
        second.append(
            words["s_ppv"].format(**{key: number(figure_of(record, key)["value"], key, words) for key in ("prevalence", "ppv", "npv")})
        )
    second += _calibration(evaluation, name, record, words)
    return first, second


def _calibration(evaluation: Evaluation, name: str, record: Mapping[str, Any], words: Words) -> list[str]:
    target = f"target.{name}"
    if (
        figure_of(record, "ece")["value"] is None
        or figure_of(record, "prevalence")["value"] is None
        or target not in evaluation.table.columns
    ):
        return []
    predicted = float(evaluation.table[f"probability.{name}"].filter(evaluation.table[target].is_not_null()).mean())  # type: ignore[arg-type]
    error = f"{record['ece']['value'] * 100:.1f}"
    return [words["s_calibration"].format(ece=error, mean=percent(predicted), observed=percent(figure_of(record, "prevalence")["value"]))]


def _point(label: str, record: Mapping[str, Any], confidence: float, words: Words) -> list[str]:
    counts = record["confusion"]
    if any(value is None for value in counts.values()):
        return []
    said = words["s_point"].format(
        threshold=f"{record['threshold']:.3g}",
        found=count(counts["true_positive"]),
        positives=count(record["events"]),
        label=label,
        sensitivity=number(figure_of(record, "sensitivity")["value"], "sensitivity", words),
        sensitivity_interval=interval(figure_of(record, "sensitivity"), "sensitivity", confidence, words),
        cleared=count(counts["true_negative"]),
        negatives=count(record["n"] - record["events"]),
        specificity=number(figure_of(record, "specificity")["value"], "specificity", words),
        specificity_interval=interval(figure_of(record, "specificity"), "specificity", confidence, words),
    )
    return [said, words["s_wrong"].format(missed=count(counts["false_negative"]), alarms=count(counts["false_positive"]))]


def _macro(metrics: Mapping[str, Any], words: Words) -> list[str]:
    confidence = metrics["confidence"]
    known = {
        name: record
        for name, record in metrics["labels"].items()
        if record["kind"] == "binary" and figure_of(record, "auroc")["value"] is not None
    }
    area, precision = metrics["macro"]["auroc"], metrics["macro"]["average_precision"]
    said = [
        words["s_macro"].format(
            count=len(known),
            value=number(area["value"], "auroc", words),
            interval=interval(area, "auroc", confidence, words),
            precision=number(precision["value"], "average_precision", words),
            precision_interval=interval(precision, "average_precision", confidence, words),
        )
    ]
    sure = {name: record for name, record in known.items() if not record["warning"]}
    if len(sure) < 2:
        return said
    ranked = sorted(sure, key=lambda name: sure[name]["auroc"]["value"])
    fields: dict[str, str] = {}
    for key, name in (("worst", ranked[0]), ("best", ranked[-1])):
        figure = sure[name]["auroc"]
        between = interval(figure, "auroc", confidence, words)
        fields |= {key: spoken(name), f"{key}_value": number(figure["value"], "auroc", words), f"{key}_interval": between}
    return [*said, words["s_best"].format(**fields), *_thresholds(sure, words)]


def _thresholds(records: Mapping[str, Mapping[str, Any]], words: Words) -> list[str]:
    ends = {}
    for figure in ("sensitivity", "specificity"):
        known = [name for name in records if records[name][figure]["value"] is not None]
        if not known:
            return []
        ranked = sorted(known, key=lambda name: records[name][figure]["value"])
        ends[figure] = [(number(records[name][figure]["value"], figure, words), spoken(name)) for name in (ranked[0], ranked[-1])]
    low, high = ends["sensitivity"]
    low_specificity, high_specificity = ends["specificity"]
    fields = {"lowest": low[0], "lowest_label": low[1], "highest": high[0], "highest_label": high[1]}
    fields |= {"low_specificity": low_specificity[0], "low_specificity_label": low_specificity[1]}
    fields |= {"high_specificity": high_specificity[0], "high_specificity_label": high_specificity[1]}
    return [words["s_thresholds"].format(**fields)]


def _multiclass(name: str, record: Mapping[str, Any], confidence: float, words: Words) -> list[str]:
    counts, accuracy, area = record["confusion"], figure_of(record, "accuracy"), figure_of(record, "macro_auroc")
    if not record["n"] or accuracy["value"] is None:
        return []
    said = []
    if all(value is not None for row in counts for value in row):
        right = sum(row[index] for index, row in enumerate(counts))
        fields = {"label": spoken(name), "classes": len(counts), "right": count(right), "n": count(record["n"])}
        between = interval(accuracy, "accuracy", confidence, words)
        said.append(words["s_multiclass"].format(value=number(accuracy["value"], "accuracy", words), interval=between, **fields))
    if area["value"] is not None:
        between = interval(area, "auroc", confidence, words)
        said.append(words["s_macro_classes"].format(value=number(area["value"], "auroc", words), interval=between))
    kappa, error = record.get("quadratic_kappa"), record.get("mean_absolute_error")
    if kappa and error and kappa["value"] is not None and error["value"] is not None:
        between = interval(kappa, "quadratic_kappa", confidence, words)
        value = number(kappa["value"], "quadratic_kappa", words)
        said.append(words["s_ordinal"].format(kappa=value, kappa_interval=between, error=f"{error['value']:.2f}"))
    return said + _confused(list(record["classes"]), counts, words)


def _confused(classes: list[str], counts: list[list[int | None]], words: Words) -> list[str]:
    wrong = [(value or 0, truth, called) for truth, row in enumerate(counts) for called, value in enumerate(row) if truth != called]
    most, truth, called = max(wrong, key=lambda item: item[0])
    if most == 0 or any(value is None for value in counts[truth]):
        return []
    whole = sum(value or 0 for value in counts[truth])
    fields = {"truth": spoken(classes[truth]), "called": spoken(classes[called]), "count": count(most), "n": count(whole)}
    return [words["s_confused"].format(**fields)]


def _compared(comparison: Mapping[str, Any], words: Words) -> str:
    """The primary differences of a comparison, in words."""
    said = []
    records = [(words["mean_labels"], comparison["macro"])] if comparison.get("macro") else list(comparison.get("labels", {}).items())
    for name, record in records:
        for each in record.get("differences", ()):
            if each.get("primary") and each["value"] is not None and each.get("verdict") and comparison.get("reference"):
                verdict = words.get(f"verdict_{each['verdict']}", each["verdict"])
                between = interval(each, "", comparison["confidence"], words)
                fields = {"model": each["model"], "reference": each["reference"], "metric": words.get(each["metric"], each["metric"])}
                fields |= {"label": spoken(name), "value": f"{each['value']:+.3f}".replace("-", "\u2212"), "interval": between}
                said.append(words["s_compared"].format(verdict=verdict, **fields))
    return words.space.join(said)
