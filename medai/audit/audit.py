"""Audit a finished cohort."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from medai.audit.describe import absent_classes, ages, class_counts, cross_table, missing_values, outliers, sizes, with_categories
from medai.audit.duplicate import LISTED, NearDuplicates, find_near_duplicates
from medai.audit.finding import ERROR, NOTE, REVIEW, WARNING, Finding, by_severity, plural
from medai.audit.overlap import equal_pixels, overlaps
from medai.audit.pixel import CasePixels
from medai.audit.shortcut import shifts, shortcuts
from medai.cohort.cohort import Cohort
from medai.cohort.schema import INSTANCES
from medai.core.environment import versions
from medai.core.error import MedaiError

VERSION = "1.0"


@dataclass(frozen=True)
class Audit:
    """What an audit found.

    Attributes:
        cohort: The cohort.
        findings: The gravest first.
        record: All figures, JSON-able.
        near: The near-duplicates, or None where they were not sought.
        cases: The audited cases.
    """

    cohort: Cohort
    findings: tuple[Finding, ...]
    record: dict[str, Any]
    near: NearDuplicates | None
    cases: pl.DataFrame

    @property
    def errors(self) -> tuple[Finding, ...]:
        """The findings that stop ingest and training."""
        return self.of(ERROR)

    def of(self, severity: str) -> tuple[Finding, ...]:
        """The findings of a severity."""
        return tuple(finding for finding in self.findings if finding.severity == severity)

    def to_dict(self) -> dict[str, Any]:
        """The content of audit.json."""
        return self.record


def audit_cohort(cohort: Cohort, *, test_labels: bool = False, near: bool = True, workers: int = 2, seed: int = 0) -> Audit:
    """Look for leaks, near-duplicates and shortcuts, and describe the cases.

    Args:
        cohort: A finished cohort. Excluded cases are left out, since nothing learns from them or is measured on them.
        test_labels: Open the test labels too: only where they may be read.
        near: Seek near-duplicates; each case's pixels are read once for it.
        workers: Processes that read pixels, threads that compare hashes.
        seed: Of permutations, folds and the bootstrap.

    Returns:
        The audit; `errors` says whether the cohort may be used.

    Raises:
        MedaiError: the cohort or its pixels cannot be read, or it has no cases.

    Example:
        >>> [finding.code for finding in audit_cohort(Cohort.open("cohorts/siim-1f2e3d4c")).errors]
        []
    """
    cases, instances, excluded = audited_cases(cohort, test_labels)
    if cases.is_empty():
        raise MedaiError(f"{cohort.path} has no case to audit; every one is excluded")
    labels = list(cohort.labels)
    with_labels = cases if test_labels else cases.filter(pl.col("split") != "test")
    found, names = overlaps(cases, instances)
    more, pixels = equal_pixels(cases, labels)
    counts = class_counts(with_labels, labels)
    development = with_labels.filter(pl.col("split") != "test")
    shortcut_findings, shortcut_record = shortcuts(development, labels, seed)
    duplicates = find_near_duplicates(cases, CasePixels(cohort.path), workers) if near else None
    found += [*more, *shortcut_findings, *absent_classes(counts, labels), *outliers(cases), *_notes(cohort, cases, excluded)]
    found += duplicates.findings() if duplicates else []
    findings = tuple(by_severity(found))
    record = _head(cohort, cases, excluded, findings, test_labels) | {
        "findings": [finding.to_dict() for finding in findings],
        "names": names,
        "pixels": pixels,
        "near_duplicates": _near_record(duplicates),
        "shortcuts": shortcut_record | {"of": "development", "seed": seed},
        "test_against_development": shifts(cases),
        "labels": counts,
        "site_by_label": {label.name: cross_table(with_labels, "site", label) for label in labels} if _has_sites(cases) else {},
        "ages": ages(cases),
        "missing": missing_values(cases),
        "sizes": sizes(cases),
        "versions": versions(),
    }
    return Audit(cohort, findings, record, duplicates, cases)


def audited_cases(cohort: Cohort, test_labels: bool) -> tuple[pl.DataFrame, pl.DataFrame | None, int]:
    """The cases that are used with their split, labels (null where not opened) and categories; their files; how many are excluded."""
    everything = cohort.cases()
    development = cohort.select("development")
    if test_labels:
        test = cohort.select("test")
    else:
        test = everything.filter((pl.col("partition") == "test") & pl.col("exclusion").is_null()).with_columns(split=pl.lit("test"))
    cases = pl.concat([development, test], how="diagonal_relaxed")
    path, instances = cohort.path / INSTANCES, None
    if path.is_file():
        wanted = ["case_id", "instance_id", "photometric_interpretation"]
        files = pl.read_parquet(path, columns=[name for name in wanted if name in pl.read_parquet_schema(path)])
        if "photometric_interpretation" in files.columns:
            of_case = files.filter(pl.col("case_id").is_not_null()).unique("case_id", keep="first", maintain_order=True)
            of_case = of_case.select("case_id", photometric="photometric_interpretation")
            cases = cases.join(of_case, on="case_id", how="left", maintain_order="left")
        instances = files if "instance_id" in files.columns else None
    return with_categories(cases), instances, len(everything) - len(cases)


def _head(cohort: Cohort, cases: pl.DataFrame, excluded: int, findings: Sequence[Finding], test_labels: bool) -> dict[str, Any]:
    counts = {severity: sum(finding.severity == severity for finding in findings) for severity in (ERROR, WARNING, REVIEW, NOTE)}
    splits = {split: int((cases["split"] == split).sum()) for split in ("train", "validation", "test")}
    return {
        "schema_version": VERSION,
        "cohort": {"name": cohort.name, "hash": cohort.hash, "unit": cohort.unit, "public": bool(cohort.meta.get("public"))},
        "result": "failed" if counts[ERROR] else "passed",
        "counts": counts,
        "cases": len(cases),
        "splits": splits,
        "excluded": excluded,
        "patients": cases["patient_id"].drop_nulls().n_unique(),
        "test_labels": test_labels,
    }


def _notes(cohort: Cohort, cases: pl.DataFrame, excluded: int) -> list[Finding]:
    notes = []
    unknown = cases["patient_id"].null_count()
    if unknown:
        title = f"The patient of {plural(unknown, 'case')} is unknown."
        advice = "Whether a patient lies in two splits cannot be told for them: near-duplicates are all there is to go by."
        notes.append(Finding("patient-unknown", WARNING, title, unknown, len(cases), "missing patient_id", advice))
    if excluded:
        title = f"{plural(excluded, 'case')} left out of training and of every figure, and not audited."
        codes = dict(cohort.cases()["exclusion"].drop_nulls().value_counts().sort("exclusion").iter_rows())
        notes.append(Finding("excluded", NOTE, title, excluded, len(cases) + excluded, "exclusion", "", (), codes))
    return notes


def _near_record(duplicates: NearDuplicates | None) -> dict[str, Any] | None:
    if duplicates is None:
        return None
    return duplicates.record | {"pairs": duplicates.pairs.head(LISTED).to_dicts()}


def _has_sites(cases: pl.DataFrame) -> bool:
    return bool(cases["site"].is_not_null().any())


def default_folder(cohort: Cohort) -> Path:
    """Where the command writes: beside the cohort, since what lies inside it is hashed."""
    return cohort.path.with_name(f"{cohort.path.name}.audit")
