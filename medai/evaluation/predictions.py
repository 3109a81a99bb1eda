"""The table of predictions, made from a model's outputs."""

from collections.abc import Sequence

import numpy as np
import polars as pl
from jaxtyping import Float

from medai.core.label import Label, columns_of

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


def _target(index: pl.Series, label: Label) -> pl.Series:
    """0 or 1 for a binary label, else the class's name."""
    name = f"target.{label.name}"
    if label.kind == "binary":
        return index.cast(pl.Int8).alias(name)
    return index.replace_strict(list(range(len(label.classes))), list(label.classes), return_dtype=pl.String, default=None).alias(name)
