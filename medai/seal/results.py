"""The results of a sealed evaluation on disk: made from what was released alone, so that nothing else can be in them.

No picture, no curve and no list of cases: a gallery of misses names cases by their truth, and every corner of a ROC curve is a case.
"""

import html
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import polars as pl

from medai.cohort.cohort import Cohort
from medai.core.file import atomic_directory
from medai.evaluation.report.context import CohortSummary, ReportContext
from medai.seal.suppression import public_table

NAMES = {
    "auroc": "AUROC", "average_precision": "Average precision", "brier": "Brier score", "ece": "ECE", "ppv": "PPV", "npv": "NPV",
    "f1": "F1", "mcc": "MCC", "macro_auroc": "Macro AUROC", "ece_equal_mass": "ECE (equal mass)", "c_index": "C-index",
    "hand_till": "Hand-Till", "partial_auroc": "Partial AUROC",
}  # fmt: skip
WITHHELD = (
    "The test set is sealed. Curves, the gallery, lists of cases and counts of fewer than 11 are withheld, with every figure that they "
    "could be worked out from; figures are rounded to four decimals."
)
STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1a2530}h1{font-size:1.6rem}"
    "h2{font-size:1.2rem;margin-top:2rem}table{border-collapse:collapse;width:100%}td,th{padding:.3rem .6rem;text-align:left;"
    "border-bottom:1px solid #d5dce2}td.n{text-align:right;font-variant-numeric:tabular-nums}.seal{background:#eef4f8;padding:1rem;"
    "border-left:4px solid #1f6f9f}.quiet{color:#5b6873}@media print{body{margin:0}h2{break-after:avoid}}"
)


def write_sealed_results(
    folder: Path, released: Mapping[str, Any], table: pl.DataFrame, context: ReportContext, origin: Mapping[str, Any] | None = None
) -> None:
    """Write `metrics.json`, `predictions.parquet` (without the truth) and `report.html`, in place of older ones.

    Args:
        folder: Made.
        released: What `SealedSession.commit` gave.
        table: The predictions; whatever tells the truth is left out of what is written.
        context: The words around it; nothing in it may come from the sealed labels.
        origin: What was scored on what, for `metrics.json`; it cannot replace what was released.
    """
    with atomic_directory(folder, replaces="metrics.json") as temporary:
        public_table(table).write_parquet(temporary / "predictions.parquet")
        text = json.dumps(dict(origin or {}) | dict(released), indent=2, ensure_ascii=False, allow_nan=False)
        (temporary / "metrics.json").write_text(text + "\n", encoding="utf-8")
        (temporary / "report.html").write_text(sealed_page(released, context), encoding="utf-8")


def sealed_headline(released: Mapping[str, Any]) -> str:
    """One or two lines for the terminal."""
    seal = released["seal"]
    best = "not known" if seal["best"] is None else f"{seal['best']:.4g}"
    spent = f"attempt {seal['attempt']} of {seal['budget']}" + (", released again" if seal["repeat"] else "")
    if seal["ladder"] is None:
        return f"sealed test set, {spent}: {seal['metric']} {best}"
    verdict = "a new best" if seal["released"] else f"not better than the best by more than {seal['ladder']:g}"
    return f"sealed test set, {spent}: {verdict}; best {seal['metric']} {best}"


def sealed_summary(cohort: Cohort, cases: pl.DataFrame, analysed: pl.DataFrame) -> CohortSummary:
    """Where the analysed cases come from, as `cohort_summary` says it, without a look at the labels.

    Args:
        cohort: A sealed one.
        cases: All sealed cases, from `SealedSession.cases`.
        analysed: Those that the candidate scored.
    """
    counts = cohort.counts
    elsewhere = counts["cases"] - counts["excluded"] - len(cases)
    patients = analysed["patient_id"].drop_nulls().n_unique() or None
    found = (counts["found"], counts["quarantined"], counts["excluded"])
    return CohortSummary(cohort.name, cohort.hash, *found, elsewhere, len(analysed), patients)


def sealed_page(released: Mapping[str, Any], context: ReportContext) -> str:
    """The report as one HTML page."""
    seal = released["seal"]
    facts = {
        "Cases": released["cases"], "Cohort": f"{context.cohort.name} ({context.cohort.hash[:16]})", "Thresholds": context.threshold_origin,
        "Created": context.created, "Ledger entry": seal["entry"], "Seal": seal["id"], **context.model,
    }  # fmt: skip
    if seal["margin"] is not None:
        facts["Declared margin"] = f"{seal['margin']:g}"
    parts = [
        f"<h1>{_text(context.title)}</h1>",
        f'<p class="seal"><strong>{_text(_sentence(sealed_headline(released)))}</strong><br>{_text(WITHHELD)}</p>',
        _table([(name, value) for name, value in facts.items() if value not in ("", None)]),
    ]
    if context.intended_use:
        parts.append(f"<h2>Intended use</h2><p>{_text(context.intended_use)}</p>")
    for name, record in released["labels"].items():
        parts += [f"<h2>{_text(name)}</h2>", _figures(record)]
        for of_class, figures in record.get("classes", {}).items():
            parts += [f"<h3>{_text(name)}: {_text(of_class)}</h3>", _figures(figures)]
    for column, rows in released["groups"].items():
        parts += [f"<h2>By {_text(column)}</h2>", _group_table(rows)]
    parts += [f'<p class="quiet">{_text(note)}</p>' for note in context.notes]
    parts.append('<p class="quiet">' + _text(", ".join(f"{name} {version}" for name, version in context.versions.items())) + "</p>")
    head = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{_text(context.title)}</title><style>{STYLE}</style>'
    return head + "\n".join(parts) + "</html>\n"


def _figures(record: Mapping[str, Any]) -> str:
    rows = [(key, record[key]) for key in ("n", "events") if key in record]
    return _table([(_name(key), "suppressed" if value is None else f"{value:,}") for key, value in rows] + list(_numbers(record)))


def _numbers(record: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for key, figure in record.items():
        if isinstance(figure, Mapping) and "value" in figure:
            yield _name(key), _number(figure)


def _group_table(rows: list[dict[str, Any]]) -> str:
    lines = [("Group", "Label", "Cases", "Events", "Figures")]
    for row in rows:
        for label, record in row["labels"].items():
            counts = ["suppressed" if value is None else f"{value:,}" for value in (row["n"], record.get("events"))]
            lines.append((row["value"], label, *counts, "; ".join(f"{name} {number}" for name, number in _numbers(record))))
    cells = [
        "<tr>" + "".join(f"<{tag}>{_text(cell)}</{tag}>" for cell in line) + "</tr>"
        for tag, line in zip(["th"] + ["td"] * len(lines), lines, strict=False)
    ]
    return f"<table>{''.join(cells)}</table>"


def _number(figure: Mapping[str, Any]) -> str:
    if figure["value"] is None:
        return str(figure.get("reason", "not known"))
    interval = "" if figure.get("low") is None else f" ({figure['low']:.3f} to {figure['high']:.3f})"
    return f"{figure['value']:.3f}{interval}"


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _name(key: str) -> str:
    return NAMES.get(key, key.replace("_", " ").capitalize() if key != "n" else "Cases with a known truth")


def _table(rows: list[tuple[str, Any]]) -> str:
    return "<table>" + "".join(f'<tr><td>{_text(name)}</td><td class="n">{_text(value)}</td></tr>' for name, value in rows) + "</table>"


def _text(value: object) -> str:
    return html.escape(str(value))
