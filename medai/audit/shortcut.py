"""Shortcuts: what goes together with a label without being the disease."""

from typing import Any

import polars as pl

from medai.audit.association import Association, associate, holm
from medai.audit.describe import useful
from medai.audit.finding import WARNING, Finding
from medai.audit.metadata import METHOD, metadata_auroc
from medai.cohort.stratify import patient_groups
from medai.core.label import Label

STRONG_V = 0.2
SIGNIFICANT = 0.05  # after Holm's correction over all labels and columns
TELLING_AUROC = 0.65
ADVICE = "Report by group, balance or match the groups, and test where the groups do not tell the label."


def shortcuts(cases: pl.DataFrame, labels: list[Label], seed: int = 0) -> tuple[list[Finding], dict[str, Any]]:
    """Labels against metadata, column by column and all columns together.

    Args:
        cases: With categories (see `describe.with_categories`) and a column a label; all of one side of the border to the test set.
        labels: Their definitions.
        seed: Of permutations, folds and the bootstrap.
    """
    columns = useful(cases)
    first = one_a_patient(cases)
    found = [(label, column, associate(cases[label.name], cases[column], first, seed)) for label in labels for column in columns]
    tested = [(each, p) for each in found if (p := each[2].p) is not None]
    corrected = {id(each): value for (each, _), value in zip(tested, holm([p for _, p in tested]), strict=True)}
    rows, findings = [], []
    for each in found:
        label, column, association = each
        p = corrected.get(id(each))
        rows.append({"label": label.name, "column": column, **association.to_dict(), "p_holm": p})
        if _is_strong(association, p):
            findings.append(_finding(label, column, association, p))
    areas = metadata_auroc(cases, labels, columns, seed) if labels else []
    findings += [_telling(area, columns) for area in areas if _is_telling(area)]
    return findings, {"columns": columns, "associations": rows, "metadata_auroc": areas, "cases": len(cases)}


def shifts(cases: pl.DataFrame) -> list[dict[str, Any]]:
    """How far the test set differs from development, column by column. A held-out site differs by intention: no finding."""
    if cases["split"].n_unique() < 2 or not (cases["split"] == "test").any():
        return []
    side = pl.Series("side", (cases["split"] == "test").cast(pl.String))
    first = one_a_patient(cases)
    return [{"column": column, **associate(side, cases[column], first).to_dict()} for column in useful(cases)]


def one_a_patient(cases: pl.DataFrame) -> pl.Series:
    """True at the first case of each patient, see `patient_groups`."""
    return pl.Series(patient_groups(cases)).is_first_distinct()


def _is_strong(association: Association, p: float | None) -> bool:
    return association.v is not None and association.v >= STRONG_V and p is not None and p < SIGNIFICANT


def _finding(label: Label, column: str, association: Association, p: float | None) -> Finding:
    title = f"{_named(column)} tells {label.name} in part: Cramer's V {association.v:.2f}."
    method = f"bias-corrected Cramer's V; p by {association.method} on {association.patients:,} patients, Holm"
    details = {"label": label.name, "column": column, "v": association.v, "p_holm": p}
    return Finding(f"label-{column.replace('_', '-')}-shortcut", WARNING, title, association.n, association.n, method, ADVICE, (), details)


def _is_telling(area: dict[str, Any]) -> bool:
    return area["value"] is not None and area["low"] is not None and area["value"] >= TELLING_AUROC and area["low"] > 0.5


def _telling(area: dict[str, Any], columns: list[str]) -> Finding:
    title = f"{area['label']} {area['class']} is told from metadata alone with an AUROC of {area['value']:.2f}, without any image."
    method = f"{METHOD}; interval: {area['method']}"
    details = {name: area[name] for name in ("label", "class", "value", "low", "high")} | {"columns": columns}
    return Finding("metadata-shortcut", WARNING, title, area["n"], area["n"], method, ADVICE, (), details)


def _named(column: str) -> str:
    return column.replace("_", " ").capitalize()
