"""What a test set buys, reckoned before its labels are opened."""

from collections.abc import Sequence
from typing import Any

import polars as pl

from medai.cohort.cohort import Cohort
from medai.core.label import Label
from medai.evaluation.precision_plan import precision


def precision_record(cohort: Cohort, labels: Sequence[Label]) -> dict[str, Any] | None:
    """The plan of the cohort's test set: prevalences of development, counts of the test cases; no test label is read.

    Returns:
        As `medai.evaluation.precision_plan.precision`; None where there is no development case to take a prevalence from.
    """
    test = cohort.cases().filter((pl.col("partition") == "test") & pl.col("exclusion").is_null())
    development = cohort.select("development")
    shares = {
        label.name: development[label.name].mean() for label in labels if label.kind == "binary" and label.name in development.columns
    }
    prevalence = {name: float(share) for name, share in shares.items() if isinstance(share, float) and 0 < share < 1}
    if not prevalence or test.is_empty():
        return None
    named = test["patient_id"].drop_nulls().n_unique()
    return precision(prevalence, len(test), named + test["patient_id"].null_count())
