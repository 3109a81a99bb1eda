"""What is said of a sealed evaluation, from what was released and from what lies open."""

from collections.abc import Mapping
from typing import Any

import polars as pl

from medai.cohort.cohort import Cohort
from medai.evaluation.report.context import CohortSummary


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
