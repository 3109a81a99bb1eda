"""Sentences that keep a reader from believing too much."""

from collections.abc import Mapping
from typing import Any

from medai.evaluation.binary import FEWEST_EVENTS
from medai.evaluation.evaluate import Evaluation
from medai.evaluation.report.context import ReportContext
from medai.evaluation.report.format import count, figure_of, number
from medai.evaluation.report.spoken import spoken
from medai.evaluation.report.text import EN, Words

WIDE = {"auroc": 0.1, "sensitivity": 0.2, "specificity": 0.2, "macro_auroc": 0.1, "accuracy": 0.2}

REVERSED = "label '{label}': the interval of the AUROC lies below 0.5"


def warnings(evaluation: Evaluation, context: ReportContext, words: Words = EN) -> list[str]:
    """What to know before the figures are believed: too few cases, wide intervals, chance, patients, looks at the test set."""
    metrics, said = evaluation.metrics, []
    for name, record in metrics["labels"].items():
        if record["kind"] != "binary":
            said += _few_classes(spoken(name), record, words)
        elif not any(note.startswith(REVERSED.format(label=name)) for note in context.notes):  # a doubt of `medai evaluate` says it
            said += _binary(spoken(name), record, words)
    said += _wide(metrics["labels"], words)
    if not metrics["patients"]["known"] or metrics["patients"]["cases_without"]:
        said.append(words.phrase(metrics["patients"]["note"]))
    if context.looks_at_test is not None and context.looks_at_test > 1 and not metrics.get("seal"):
        said.append(words["w_looks"].format(looks=count(context.looks_at_test)))
    if context.split == "validation":
        said.append(words["w_validation"].format(split=words.split(context.split)))
    if metrics.get("seal"):
        said.append(words["seal_note"])
    return said


def _binary(label: str, record: Mapping[str, Any], words: Words) -> list[str]:
    area = figure_of(record, "auroc")
    if area["value"] is None:
        reason = words.phrase(area.get("reason", "")) or words["not_known"]
        return [words["w_absent"].format(label=label, reason=reason)]
    if record["warning"] and record["events"] is not None and record["n"] is not None:
        return [words["w_few"].format(label=label, events=count(record["events"]), rest=count(record["n"] - record["events"]))]
    if area["high"] is not None and area["high"] < 0.5:
        return [words["w_reversed"].format(label=label)]
    if area["low"] is not None and area["low"] <= 0.5:
        return [words["w_chance"].format(label=label)]
    return []


def _few_classes(label: str, record: Mapping[str, Any], words: Words) -> list[str]:
    few = [spoken(name) for name, of_class in record["classes"].items() if of_class["events"] is None or of_class["events"] < FEWEST_EVENTS]
    return [words["w_few_classes"].format(label=label, classes=words.join(few))] if few else []


def _wide(labels: Mapping[str, Mapping[str, Any]], words: Words) -> list[str]:
    """The labels with an interval that is too wide, each with the first such figure; one sentence for all."""
    found: list[dict[str, str]] = []
    for name, record in labels.items():
        if record["kind"] == "binary" and record["warning"]:
            continue  # said already
        for key, limit in WIDE.items():
            figure = record.get(key)
            if figure and figure["low"] is not None and figure["high"] - figure["low"] > limit:
                ends = {end: number(figure[end], key, words) for end in ("low", "high")}
                named = words[key] if words[key].startswith("AUROC") else words[key].lower().replace("auroc", "AUROC")
                found.append({"label": spoken(name), "figure": named, **ends})
                break
    if len(found) <= 1:
        return [words["w_wide"].format(**each) for each in found]
    return [words["w_wide_many"].format(labels=words.join([words["w_wide_each"].format(**each) for each in found]))]
