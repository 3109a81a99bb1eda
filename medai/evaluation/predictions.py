"""The table of predictions, made from a model's outputs."""

from collections.abc import Sequence

import numpy as np
import polars as pl
from jaxtyping import Float

from medai.core.error import MedaiError
from medai.core.label import Label, columns_of
from medai.evaluation.table import UNKNOWN, check_keys, target_of
from medai.evaluation.table_file import hint_of_columns

GROUP_COLUMNS = ("site", "sex", "age_years", "manufacturer", "modality", "body_part", "view")


def predictions_table(
    cases: pl.DataFrame, labels: Sequence[Label], probability: Float[np.ndarray, "N P"], logit: Float[np.ndarray, "N P"] | None = None
) -> pl.DataFrame:
    """Put outputs beside the truth.

    Args:
        cases: A row a case: `case_id`, `patient_id`, `split`, columns to group by, and a class index a label (null = unknown).
        labels: In the order of the outputs.
        probability: Calibrated.
        logit: Calibrated, where known.

    Returns:
        The design's columns: `case_id`, `patient_id`, `split`, groups, then `target.…`, `probability.…`, `logit.…`.
    """
    kept = [name for name in ("case_id", "patient_id", "split", *GROUP_COLUMNS) if name in cases.columns]
    targets = [_target(cases[label.name], label) for label in labels if label.name in cases.columns]
    columns = columns_of(labels)
    scores = [pl.Series(f"probability.{name}", probability[:, place].astype(np.float64)) for place, name in enumerate(columns)]
    if logit is not None:
        scores += [pl.Series(f"logit.{name}", logit[:, place].astype(np.float64)) for place, name in enumerate(columns)]
    return cases.select(kept).with_columns(*targets, *scores)


def scored_labels(scores: pl.DataFrame, labels: Sequence[Label]) -> tuple[Label, ...]:
    """The labels of a cohort that a table of scores has probabilities of.

    Raises:
        MedaiError: it has none, or a label in part.
    """
    expected = {label: [f"probability.{name}" for name in label.columns] for label in labels}
    for label, columns in expected.items():
        absent = [name for name in columns if name not in scores.columns]
        if 0 < len(absent) < len(columns):
            raise MedaiError(f"column {absent[0]!r} is missing, though other classes of {label.name!r} are there")
    found = tuple(label for label, columns in expected.items() if set(columns) <= set(scores.columns))
    if not found:
        names = ", ".join(repr(name) for columns in expected.values() for name in columns[:3])
        raise MedaiError(f"no column of a label of the cohort; expected {names}{hint_of_columns(scores.columns)}")
    return found


def with_truth(scores: pl.DataFrame, cases: pl.DataFrame, labels: Sequence[Label]) -> pl.DataFrame:
    """Put the truth, the patients and the groups of a cohort beside someone's scores.

    Args:
        scores: `case_id` and `probability.…`; whatever else it has is kept, unless the cohort has it too.
        cases: As for `predictions_table`.
        labels: Whose truth is put beside the scores.

    Returns:
        A row for each case that both have, in the order of `cases`; see `check_against` for those that one of them lacks.

    Raises:
        MedaiError: the scores bring a truth of their own that differs from the cohort's.

    Example:
        >>> scores = read_table(Path("vendor.csv"))
        >>> with_truth(scores, cohort.select("test"), scored_labels(scores, cohort.labels))
    """
    scores = check_keys(scores)
    kept = [name for name in ("case_id", "patient_id", "split", *GROUP_COLUMNS) if name in cases.columns]
    targets = [_target(cases[label.name], label) for label in labels if label.name in cases.columns]
    truth = cases.select(kept).with_columns(pl.col("case_id").cast(pl.String), *targets)
    own = [name for name in scores.columns if name not in truth.columns or name == "case_id"]
    joined = truth.join(scores.select(own), on="case_id", how="inner", maintain_order="left", validate="1:1")
    for label in labels:
        if f"target.{label.name}" in scores.columns and label.name in cases.columns:
            _check_same(scores, joined, label)
    return joined


def _check_same(scores: pl.DataFrame, joined: pl.DataFrame, label: Label) -> None:
    theirs = joined.select("case_id").join(scores, on="case_id", how="left", maintain_order="left")
    given, known = target_of(theirs, label), target_of(joined, label)
    other = np.flatnonzero((given != known) & (given != UNKNOWN))
    if len(other):
        case, column = joined["case_id"][int(other[0])], f"target.{label.name}"
        got, expected = theirs[column][int(other[0])], joined[column][int(other[0])]
        what = f"{column} is {got!r} for case {case!r} and {expected!r} in the cohort ({len(other)} such rows)"
        raise MedaiError(f"{what}; leave the column out, and the cohort's truth is used")


def _target(index: pl.Series, label: Label) -> pl.Series:
    """0 or 1 for a binary label, else the class's name."""
    name = f"target.{label.name}"
    if label.kind == "binary":
        return index.cast(pl.Int8).alias(name)
    return index.replace_strict(list(range(len(label.classes))), list(label.classes), return_dtype=pl.String, default=None).alias(name)
