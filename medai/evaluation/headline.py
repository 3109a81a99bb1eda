"""The result in a few lines for the terminal."""

from collections.abc import Mapping
from typing import Any


def headline_of(metrics: Mapping[str, Any]) -> str:
    """One to three lines a label, from the metrics of `evaluate`; then the primary differences to another model, and the seal.

    Args:
        metrics: From `evaluate`. Figures that a sealed test set withholds are null, and are called withheld.

    Example:
        >>> print(evaluate(table, None, {"pneumonia": 0.5}).headline)
        624 cases, 624 patients
        pneumonia: 390 of 624 positive, AUROC 0.958 (0.943 to 0.973)
          at 0.5: sensitivity 0.992 (0.977 to 0.998), specificity 0.598 (0.534 to 0.659), accuracy 0.845 (0.814 to 0.871)
          average precision 0.967 (0.950 to 0.981), ECE 0.125, Brier 0.117 (0.097 to 0.138)
    """
    lines = [f"{_count(metrics['cases'])} cases, {_patients(metrics['patients'])}"]
    if metrics["macro"]:
        lines.append(
            f"mean over labels: AUROC {_text(metrics['macro']['auroc'])}, average precision {_text(metrics['macro']['average_precision'])}"
        )
    single = len(metrics["labels"]) == 1
    for name, record in metrics["labels"].items():
        lines += _binary(name, record, single) if record["kind"] == "binary" else _multiclass(name, record)
    return "\n".join([*lines, *_compared(metrics.get("comparison") or {}), *_sealed(metrics.get("seal") or {})])


def _patients(record: Mapping[str, Any]) -> str:
    return f"{_count(record['count'])} patients" if record["known"] else "patients unknown"


def _binary(name: str, record: Mapping[str, Any], single: bool) -> list[str]:
    warning = f" [{record['warning']}]" if record["warning"] else ""
    share = f"{_count(record['events'])} of {_count(record['n'])} positive"
    lines = [f"{name}: {share}, AUROC {_text(record['auroc'])}{warning}"]
    point = f"at {record['threshold']:.4g}: sensitivity {_text(record['sensitivity'])}, specificity {_text(record['specificity'])}"
    if not single:
        return [f"{lines[0]}; {point}"]
    lines.append(f"  {point}, accuracy {_text(record['accuracy'])}")
    lines.append(f"  average precision {_text(record['average_precision'])}, ECE {_text(record['ece'])}, Brier {_text(record['brier'])}")
    return lines


def _multiclass(name: str, record: Mapping[str, Any]) -> list[str]:
    lines = [f"{name}: {_count(record['n'])} cases, accuracy {_text(record['accuracy'])}, macro AUROC {_text(record['macro_auroc'])}"]
    if "quadratic_kappa" in record:
        lines.append(
            f"  quadratic kappa {_text(record['quadratic_kappa'])}, mean absolute error {_text(record['mean_absolute_error'])} classes"
        )
    return lines


def _compared(comparison: Mapping[str, Any]) -> list[str]:
    """The differences in the primary metric: of the means over labels where there are any, else of every label."""
    records = {"mean over labels": comparison["macro"]} if comparison.get("macro") else comparison.get("labels", {})
    lines = []
    for name, record in records.items():
        for each in record.get("differences", ()):
            if each.get("primary"):
                pair = f"{each['model']} minus {each['reference']}"
                lines.append(f"{name}, {each['metric']}: {pair} {_text(each)}, {each.get('verdict') or 'not judged'}")
    return lines


def _sealed(seal: Mapping[str, Any]) -> list[str]:
    if not seal:
        return []
    budget = "" if seal.get("budget") is None else f" of {seal['budget']}"
    line = f"sealed test set: attempt {_count(seal.get('attempt'))}{budget}"
    best = "" if seal.get("best") is None else f", best released {seal.get('metric', 'value')} {seal['best']:.3f}"
    return [line + best]


def _count(value: int | None) -> str:
    return "withheld" if value is None else f"{value:,}"


def _text(figure: Mapping[str, Any]) -> str:
    if figure["value"] is None:
        return f"not known ({figure.get('reason') or 'withheld'})"
    interval = "" if figure["low"] is None else f" ({figure['low']:.3f} to {figure['high']:.3f})"
    return f"{figure['value']:.3f}{interval}"
