"""The result in a few lines for the terminal."""

from collections.abc import Mapping
from typing import Any


def headline_of(metrics: Mapping[str, Any]) -> str:
    """One to three lines a label, from the metrics of `evaluate`."""
    lines = [f"{metrics['cases']:,} cases, {_patients(metrics['patients'])}"]
    if metrics["macro"]:
        lines.append(
            f"mean over labels: AUROC {_text(metrics['macro']['auroc'])}, average precision {_text(metrics['macro']['average_precision'])}"
        )
    single = len(metrics["labels"]) == 1
    for name, record in metrics["labels"].items():
        lines += _binary(name, record, single) if record["kind"] == "binary" else _multiclass(name, record)
    return "\n".join(lines)


def _patients(record: Mapping[str, Any]) -> str:
    return f"{record['count']:,} patients" if record["known"] else "patients unknown"


def _binary(name: str, record: Mapping[str, Any], single: bool) -> list[str]:
    warning = f" [{record['warning']}]" if record["warning"] else ""
    lines = [f"{name}: {record['events']:,} of {record['n']:,} positive, AUROC {_text(record['auroc'])}{warning}"]
    point = f"at {record['threshold']:.4g}: sensitivity {_text(record['sensitivity'])}, specificity {_text(record['specificity'])}"
    if not single:
        return [f"{lines[0]}; {point}"]
    lines.append(f"  {point}, accuracy {_text(record['accuracy'])}")
    lines.append(f"  average precision {_text(record['average_precision'])}, ECE {_text(record['ece'])}, Brier {_text(record['brier'])}")
    return lines


def _multiclass(name: str, record: Mapping[str, Any]) -> list[str]:
    lines = [f"{name}: {record['n']:,} cases, accuracy {_text(record['accuracy'])}, macro AUROC {_text(record['macro_auroc'])}"]
    if "quadratic_kappa" in record:
        lines.append(
            f"  quadratic kappa {_text(record['quadratic_kappa'])}, mean absolute error {_text(record['mean_absolute_error'])} classes"
        )
    return lines


def _text(figure: Mapping[str, Any]) -> str:
    if figure["value"] is None:
        return f"not known ({figure['reason']})"
    interval = "" if figure["low"] is None else f" ({figure['low']:.3f} to {figure['high']:.3f})"
    return f"{figure['value']:.3f}{interval}"
