"""Sentences that keep a reader from believing too much."""

from collections.abc import Mapping
from typing import Any

from medai.evaluation.binary import FEWEST_EVENTS
from medai.evaluation.evaluate import Evaluation
from medai.evaluation.report.context import ReportContext
from medai.evaluation.report.format import number
from medai.evaluation.report.sentence import spoken
from medai.evaluation.report.text import ENGLISH as T

WIDE = {"auroc": 0.1, "sensitivity": 0.2, "specificity": 0.2, "macro_auroc": 0.1, "accuracy": 0.2}


def warnings(evaluation: Evaluation, context: ReportContext) -> list[str]:
    """What to know before the figures are believed: too few cases, wide intervals, chance, patients, looks at the test set."""
    metrics, said = evaluation.metrics, []
    for name, record in metrics["labels"].items():
        said += _binary(spoken(name), record) if record["kind"] == "binary" else _few_classes(spoken(name), record)
    said += _wide(metrics["labels"])
    if not metrics["patients"]["known"] or metrics["patients"]["cases_without"]:
        said.append(metrics["patients"]["note"])
    if context.looks_at_test is not None and context.looks_at_test > 1:
        said.append(T["w_looks"].format(looks=context.looks_at_test))
    if context.split == "validation":
        said.append(T["w_validation"].format(split=context.split))
    return said


def _binary(label: str, record: Mapping[str, Any]) -> list[str]:
    area = record["auroc"]
    if area["value"] is None:
        return [T["w_absent"].format(label=label, reason=area["reason"])]
    if record["warning"]:
        return [T["w_few"].format(label=label, events=record["events"], rest=record["n"] - record["events"])]
    if area["low"] is not None and area["low"] <= 0.5:
        return [T["w_chance"].format(label=label)]
    return []


def _few_classes(label: str, record: Mapping[str, Any]) -> list[str]:
    few = [spoken(name) for name, of_class in record["classes"].items() if of_class["events"] < FEWEST_EVENTS]
    return [T["w_few_classes"].format(label=label, classes=", ".join(few))] if few else []


def _wide(labels: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The labels with an interval that is too wide, each with the first such figure; one sentence for all."""
    found: list[dict[str, str]] = []
    for name, record in labels.items():
        if record["kind"] == "binary" and record["warning"]:
            continue  # said already
        for key, limit in WIDE.items():
            figure = record.get(key)
            if figure and figure["low"] is not None and figure["high"] - figure["low"] > limit:
                ends = {end: number(figure[end], key) for end in ("low", "high")}
                found.append({"label": spoken(name), "figure": T[key].lower().replace("auroc", "AUROC"), **ends})
                break
    if len(found) <= 1:
        return [T["w_wide"].format(**each) for each in found]
    return [T["w_wide_many"].format(labels=", ".join(T["w_wide_each"].format(**each) for each in found))]
