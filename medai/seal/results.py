"""What is said of a sealed evaluation, from what was released and from what lies open."""

from collections.abc import Mapping
from typing import Any

import polars as pl

from medai.cohort.cohort import Cohort
from medai.evaluation.report.context import CohortSummary


def sealed_headline(released: Mapping[str, Any]) -> str:
    """One or two lines for the terminal."""
    seal = released["seal"]
    if "comparison" in seal:
        return _compared(seal)
    best = "not known" if seal["best"] is None else f"{seal['best']:.4g}"
    spent = _spent(seal)
    if seal["ladder"] is None:
        return f"sealed test set, {spent}: {seal['metric']} {best}"
    verdict = "a new best" if seal["released"] else f"not better than the best by more than {seal['ladder']:g}"
    return f"sealed test set, {spent}: {verdict}; best {seal['metric']} {best}"


def comparison_sentence(seal: Mapping[str, Any]) -> str:
    """The conclusion of a comparison, for the terminal and the report."""
    told = seal["comparison"]
    against = f"the reference {told['reference'][:16]} in {told['metric']}, margin {told['margin']:g}"
    if told["verdict"] is None:
        return f"Compared with {against}: withheld, a class has fewer than 11 persons."
    if seal["ladder"] is not None:
        return f"Compared with {against}: {told['verdict']} is the strongest conclusion of any candidate so far."
    interval = "" if told["low"] is None else f" ({told['low']:+.3f} to {told['high']:+.3f})"
    return f"Compared with {against}: {told['verdict']}, difference {told['value']:+.3f}{interval}."


def _compared(seal: Mapping[str, Any]) -> str:
    sentence = comparison_sentence(seal)
    new = "" if seal["ladder"] is None else " It is new." if seal["released"] else " It was told before."
    return f"sealed test set, {_spent(seal)}: {sentence[0].lower()}{sentence[1:]}{new}"


def _spent(seal: Mapping[str, Any]) -> str:
    return f"attempt {seal['attempt']} of {seal['budget']}" + (", released again" if seal["repeat"] else "")


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
