"""Folds of a cross-validation: the development cases dealt by patient into parts that are alike.

The rarest class of all labels is dealt first, as in the iterative stratification of Sechidis, Tsoumakas and Vlahavas
(2011); but a patient brings several cases of several classes at once, so all of them weigh in where it goes.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Float64, Int64

from medai.cohort.cohort import Cohort
from medai.cohort.stratify import group_counts, patient_groups
from medai.core.draw import generator
from medai.core.error import MedaiError
from medai.core.file import hash_text

KEYS = ("fold", "folds", "seed")


def fold_of(cases: pl.DataFrame, labels: pl.DataFrame, folds: int, seed: int) -> Int64[np.ndarray, " n"]:
    """The fold of every case, from 0.

    It depends on the patients' names, their labels and the seed, not on the order of the cases. A case without a patient
    is a patient of its own.

    Args:
        cases: `case_id` and `patient_id`.
        labels: One integer column a label (null = unknown), rows as in `cases`.
        folds: Number of folds.
        seed: Same seed, same folds.

    Raises:
        MedaiError: there are fewer patients than folds.
    """
    group = patient_groups(cases)
    counts = group_counts(group, labels)
    if len(counts) < folds:
        raise MedaiError(f"folds is {folds}, but there are only {len(counts)} patients; choose fewer folds")
    order = generator(seed, 0, 0, "folds").permutation(len(counts))
    fold = np.empty(len(counts), dtype=np.int64)
    fold[order] = _deal(counts[order], folds)
    return np.asarray(fold[group])


def _deal(counts: Float64[np.ndarray, "G columns"], folds: int) -> Int64[np.ndarray, " G"]:
    """Deal groups into folds, each to where its classes are scarcest: the folds' shares of every class stay near 1 / folds.

    That is the fold in which the sum of the squared shares of all columns grows least. The last column counts cases, and
    the order of the groups breaks ties.
    """
    have = np.zeros((folds, counts.shape[1]))
    weights = counts / counts.sum(axis=0) ** 2
    fold = np.full(len(counts), -1, dtype=np.int64)
    while (fold < 0).any():
        left = counts[fold < 0].sum(axis=0)
        column = int(np.argmin(np.where(left > 0, left, np.inf)))
        members = np.flatnonzero((fold < 0) & (counts[:, column] > 0))
        for member in members[np.argsort(-counts[members, column], kind="stable")]:  # large patients first, while there is room
            growth = [math.fsum(row) for row in (have * weights[member]).tolist()]  # rounded the same on every machine
            fold[member] = growth.index(min(growth))
            have[fold[member]] += counts[member]
    return fold


def cross_validation(cohort: Cohort, fold: int, folds: int, seed: int) -> pl.DataFrame:
    """The development cases as one training of a cross-validation sees them.

    Args:
        cohort: Its own split into training and validation plays no part.
        fold: This fold is the validation split, all others are the training split.
        folds: Number of folds.
        seed: Of the folds: the same for all trainings of a cross-validation.

    Returns:
        As `Cohort.select("development", uncertain=True)` gives them, with `split` ``"validation"``, ``"train"`` or, where a case has the
        pixels of a validation case, null: it is left out of this training.

    Example:
        >>> cases = cross_validation(cohort, fold=0, folds=5, seed=0)
        >>> train, validation = (cases.filter(pl.col("split") == split) for split in ("train", "validation"))
    """
    if not 0 <= fold < folds:
        raise MedaiError(f"fold is {fold}; of {folds} folds it must lie in [0, {folds - 1}]")
    cases = cohort.select("development", uncertain=True)
    held_out = pl.Series(fold_of(cases, cases.select(label.name for label in cohort.labels), folds, seed) == fold)
    pixels = cases["pixel_hash"].filter(held_out).drop_nulls().unique()
    split = pl.when(held_out).then(pl.lit("validation")).when(~pl.col("pixel_hash").is_in(pixels.implode())).then(pl.lit("train"))
    return cases.with_columns(split=split)


def fold_record(cohort: Cohort, fold: int, folds: int, seed: int) -> dict[str, Any]:
    """What a checkpoint's record says of its fold; the digest tells which cases it held out."""
    return {"fold": fold, "folds": folds, "seed": seed, "held_out": _digest(cross_validation(cohort, fold, folds, seed))}


def recorded_fold(cohort: Cohort, record: Mapping[str, Any]) -> pl.DataFrame:
    """The development cases as the training of a recorded fold saw them; see `cross_validation`.

    Raises:
        MedaiError: this version of medai deals other folds.
    """
    cases = cross_validation(cohort, *(int(record[key]) for key in KEYS))
    if _digest(cases) != record["held_out"]:
        what = f"fold {record['fold']} of {record['folds']} of {cohort.name} holds other cases than when the run was trained"
        raise MedaiError(f"{what}; use the version of medai that trained it")
    return cases


def validation_cases(cohort: Cohort, record: Mapping[str, Any]) -> pl.DataFrame:
    """The development cases that a checkpoint was judged and frozen on.

    Args:
        cohort: Of its development.
        record: The checkpoint's record. Of a cross-validation's ensemble these are all development cases, each predicted
            then by the members that had held it out.
    """
    if record.get("thresholds", {}).get("split") == "development":
        return cohort.select("development")
    if record.get("fold"):
        return recorded_fold(cohort, record["fold"]).filter(pl.col("split") == "validation")
    return cohort.select("validation")


def _digest(cases: pl.DataFrame) -> str:
    return hash_text("\n".join(sorted(cases.filter(pl.col("split") == "validation")["case_id"])))[:16]
