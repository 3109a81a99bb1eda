"""Draw whole patients so that every label's frequency is kept.

Iterative stratification after Sechidis, Tsoumakas and Vlahavas, "On the Stratification of Multi-Label Data" (2011),
Algorithm 1, with patients in the place of samples: the rarest label first, each patient to where most of that label is wanting.
"""

import numpy as np
import polars as pl
from jaxtyping import Bool, Float64, Int8, Int64

from medai.core.draw import generator


def draw_groups(
    cases: pl.DataFrame, labels: pl.DataFrame, fraction: float, seed: int, stream: str, fixed: Int8[np.ndarray, " N"] | None = None
) -> Bool[np.ndarray, " N"]:
    """Draw about `fraction` of the cases, whole patients only, with the labels' frequencies kept.

    Cases without a patient are drawn by study. The draw depends on the patients' names and labels and on the seed,
    not on the order of the cases.

    Args:
        cases: `case_id`, `patient_id` and, where there are any, `study_id`.
        labels: One integer column a label, rows as in `cases`.
        fraction: In (0, 1).
        seed: Same seed, same draw.
        stream: What is drawn.
        fixed: 1 where a case's patient is drawn already, 0 where it must not be, -1 where it is free; they count in the fraction.
    """
    group = patient_groups(cases)
    counts = group_counts(group, labels)
    side = np.full(len(counts), -1, dtype=np.int8)
    if fixed is not None:
        np.maximum.at(side, group, fixed)
    order = generator(seed, 0, 0, stream).permutation(len(counts))
    chosen = np.zeros(len(counts), dtype=bool)
    chosen[order] = stratify(counts[order], fraction, side[order])
    return np.asarray(chosen[group])


def patient_groups(cases: pl.DataFrame) -> Int64[np.ndarray, " N"]:
    """The number of each case's patient, in the order of their names; without a patient that of its study, else a group of its own."""
    kinds = [name for name in ("patient_id", "study_id", "case_id") if name in cases.columns]
    names = cases.select(pl.coalesce(pl.lit(kind[0]) + pl.col(kind) for kind in kinds))[:, 0]
    group: Int64[np.ndarray, " N"] = (names.rank("dense").cast(pl.Int64) - 1).to_numpy()
    return group


def group_counts(group: Int64[np.ndarray, " N"], labels: pl.DataFrame) -> Float64[np.ndarray, "G columns"]:
    """How often each class of each label, and any case at all (last column), occurs in each group."""
    columns = []
    for series in labels:
        for value in series.drop_nulls().unique().sort():
            columns.append(np.bincount(group, weights=(series == value).fill_null(False).to_numpy()))
    columns.append(np.bincount(group).astype(np.float64))
    return np.stack(columns, axis=1)


def stratify(
    counts: Float64[np.ndarray, "G columns"], fraction: float, fixed: Int8[np.ndarray, " G"] | None = None
) -> Bool[np.ndarray, " G"]:
    """Choose groups so that about `fraction` of every column's total is chosen.

    Args:
        counts: Occurrences by group; the last column counts cases. The order of the groups breaks ties.
        fraction: In (0, 1).
        fixed: 1 where a group is chosen already, 0 where it must not be, -1 where it is free.
    """
    totals = counts.sum(axis=0)
    share = np.array([1 - fraction, fraction])
    wanting = share[:, None] * totals
    side = np.full(len(counts), -1, dtype=np.int8) if fixed is None else fixed.copy()
    for k in (0, 1):
        wanting[k] -= counts[side == k].sum(axis=0)
    while (side < 0).any():
        left = counts[side < 0].sum(axis=0)
        column = int(np.argmin(np.where(left > 0, left, np.inf)))
        members = np.flatnonzero((side < 0) & (counts[:, column] > 0))
        members = members[np.argsort(-counts[members, column], kind="stable")]  # large patients first, while there is room for them
        side[members] = _deal(counts[members, column], wanting[:, column], share * totals[column])
        for k in (0, 1):
            wanting[k] -= counts[members[side[members] == k]].sum(axis=0)
    chosen: Bool[np.ndarray, " G"] = side == 1
    return chosen


def _deal(
    sizes: Float64[np.ndarray, " M"], wanting: Float64[np.ndarray, " 2"], target: Float64[np.ndarray, " 2"]
) -> Int64[np.ndarray, " M"]:
    """Deal the groups of one column one by one to the side that stays relatively emptier with them."""
    sides = np.empty(len(sizes), dtype=np.int64)
    (rest, drawn), (rest_target, drawn_target) = wanting.tolist(), target.tolist()
    for index, size in enumerate(sizes.tolist()):
        if (drawn - size) * rest_target > (rest - size) * drawn_target:
            sides[index], drawn = 1, drawn - size
        else:
            sides[index], rest = 0, rest - size
    return sides
