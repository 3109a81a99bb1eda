"""Leaks between the parts of a cohort: a hard stop between development and test, a listed exclusion between training and validation."""

from collections.abc import Sequence
from typing import Any

import polars as pl

from medai.core.error import MedaiError

PATIENT_OVERLAP = "patient-overlap"
TEST_PIXELS = "test-pixels-in-development"
OVERRIDES = (PATIENT_OVERLAP, TEST_PIXELS)
NAMED = 3  # so many examples in an error


def exclude_leaks(cases: pl.DataFrame, allow: Sequence[str]) -> tuple[pl.DataFrame, dict[str, Any]]:
    """Find patients and equal pixels on both sides of a border, and stop or exclude.

    Args:
        cases: `case_id`, `patient_id`, `pixel_hash`, `partition`, `split`.
        allow: Overrides by name. With one, the leaking development (or training) cases are excluded instead of the hard stop.

    Returns:
        `cases` with `exclusion` (null = none), and the counts for the record, with the overrides that were needed.

    Raises:
        MedaiError: a patient in two parts, or test pixels in development, without the override.
    """
    development, test = pl.col("partition") == "development", pl.col("partition") == "test"
    train, validation = pl.col("split") == "train", pl.col("split") == "validation"
    patient_in_test = _shared(cases, "patient_id", development, test)
    patient_in_validation = _shared(cases, "patient_id", train, validation)
    pixels_in_test = _shared(cases, "pixel_hash", development, test)
    pixels_in_validation = _shared(cases, "pixel_hash", train, validation)
    used = [
        *_stop(cases, patient_in_test, "patient_id", PATIENT_OVERLAP, allow, "patients are in development and in test"),
        *_stop(cases, patient_in_validation, "patient_id", PATIENT_OVERLAP, allow, "patients are in training and in validation"),
        *_stop(cases, pixels_in_test, "case_id", TEST_PIXELS, allow, "development images have the pixels of a test image"),
    ]
    exclusion = (
        pl.when(patient_in_test).then(pl.lit("patient-in-test"))
        .when(pixels_in_test).then(pl.lit("test-pixels-in-development"))
        .when(patient_in_validation).then(pl.lit("patient-in-validation"))
        .when(pixels_in_validation).then(pl.lit("equal-pixels-in-validation"))
        .otherwise(pl.lit(None, dtype=pl.String))
    )  # fmt: skip
    cases = cases.with_columns(exclusion=exclusion)
    found = cases["exclusion"].drop_nulls().value_counts(sort=False).sort("exclusion")
    return cases, {"exclusions": dict(found.iter_rows()), "allow": sorted(set(used))}


def _shared(cases: pl.DataFrame, column: str, side: pl.Expr, other: pl.Expr) -> pl.Series:
    """Which cases of `side` share their value of `column` with a case of `other`."""
    values = cases.filter(other)[column].drop_nulls().unique()
    return cases.select((side & pl.col(column).is_in(values.implode())).fill_null(False).alias("shared"))["shared"]


def _stop(cases: pl.DataFrame, leaking: pl.Series, column: str, override: str, allow: Sequence[str], what: str) -> list[str]:
    names = cases.filter(leaking)[column].unique(maintain_order=True)
    if names.is_empty():
        return []
    if override not in allow:
        examples = ", ".join(names.head(NAMED)) + (", …" if len(names) > NAMED else "")
        raise MedaiError(f"{len(names)} {what} ({examples}); mend the split, or leave these cases out of training with allow=[{override}]")
    return [override]
