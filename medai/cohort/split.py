"""Partition and split: by patient always, stratified by label.

Iterative stratification after Sechidis, Tsoumakas and Vlahavas, "On the Stratification of Multi-Label Data" (2011),
Algorithm 1, with patients in the place of samples: the rarest label first, each patient to where most of that label is wanting.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Bool, Float64, Int64

from medai.core.draw import generator
from medai.core.error import MedaiError

DEFAULT_TEST = 0.15
SOURCE_SPLITS = {
    "train": "train", "training": "train", "val": "validation", "valid": "validation", "validation": "validation", "test": "test",
}  # fmt: skip
SETTINGS = ("validation", "test", "seed", "hold_out")


@dataclass(frozen=True)
class SplitSettings:
    """How cases are split where the source does not say.

    Attributes:
        validation: Fraction of the development cases.
        test: Fraction of all cases; 1.0 makes every case a test case. None: 0.15, or none with `hold_out`.
        seed: Same seed, same split.
        hold_out: Case column to the values that make a case a test case, e.g. ``{"site": ["50"]}``.
    """

    validation: float = 0.15
    test: float | None = None
    seed: int = 0
    hold_out: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 0 <= self.validation < 1:
            raise MedaiError(f"dataset.split.validation is {self.validation}; it is a fraction of the development cases in [0, 1)")
        if self.test is not None and not 0 <= self.test <= 1:
            raise MedaiError(f"dataset.split.test is {self.test}; it is a fraction of all cases in [0, 1]")
        if self.test and self.hold_out:
            raise MedaiError("dataset.split has test and hold_out; give one of them, since both say which cases are test cases")

    @staticmethod
    def from_dict(value: Mapping[str, Any]) -> "SplitSettings":
        """Settings from the node of a data set's definition."""
        unknown = sorted(set(value) - set(SETTINGS))
        if unknown:
            raise MedaiError(f"dataset.split has the unknown key {unknown[0]!r}; allowed: {', '.join(SETTINGS)}")
        hold_out = {str(column): _texts(values) for column, values in (value.get("hold_out") or {}).items()}
        test = None if value.get("test") is None else float(value["test"])
        return SplitSettings(float(value.get("validation", 0.15)), test, int(value.get("seed", 0)), hold_out)


def _texts(values: Any) -> list[str]:
    return [str(value) for value in ([values] if isinstance(values, str | int | float) else values)]


def split_cases(cases: pl.DataFrame, labels: pl.DataFrame, settings: SplitSettings) -> tuple[pl.DataFrame, dict[str, Any]]:
    """Give every case its partition and, in development, its split.

    Args:
        cases: `case_id`, `patient_id`, `source_split` (train, validation, test or null) and the columns that `hold_out` names.
        labels: One integer column a label (null = unknown), rows as in `cases`.
        settings: See `SplitSettings`.

    Returns:
        `cases` with `partition` and `split` instead of `source_split`, and the method for the record.

    Raises:
        MedaiError: `hold_out` names an unknown column, or values that no case has.
    """
    source = cases["source_split"]
    test, method = _test_cases(cases, labels, settings)
    validation = np.zeros(len(cases), dtype=bool)
    if source.is_not_null().any() and (source == "validation").any():
        validation = (source == "validation").fill_null(False).to_numpy() & ~test
        method["validation"] = "source"
    elif settings.validation > 0 and not test.all():
        rest = np.flatnonzero(~test)
        validation[rest] = draw_groups(cases[rest], labels[rest], settings.validation, settings.seed, "split/validation")
        method["validation"] = f"fraction {settings.validation:g} of development"
    frame = cases.drop("source_split").with_columns(
        pl.Series("partition", np.where(test, "test", "development"), dtype=pl.String),
        pl.Series("split", np.where(test, "test", np.where(validation, "validation", "train")), dtype=pl.String),
    )
    return frame, method | {"seed": settings.seed, "grouped_by": "patient_id", "stratified_by": labels.columns}


def _test_cases(cases: pl.DataFrame, labels: pl.DataFrame, settings: SplitSettings) -> tuple[Bool[np.ndarray, " N"], dict[str, Any]]:
    source = cases["source_split"]
    if source.is_not_null().any():
        return (source == "test").fill_null(False).to_numpy(), {"test": "source"}
    if settings.test == 1.0:
        return np.ones(len(cases), dtype=bool), {"test": "every case"}
    if settings.hold_out:
        named = {column: list(values) for column, values in settings.hold_out.items()}
        return _held_out(cases, settings.hold_out), {"test": "hold_out", "hold_out": named}
    fraction = DEFAULT_TEST if settings.test is None else settings.test
    if fraction == 0:
        return np.zeros(len(cases), dtype=bool), {"test": "none"}
    return draw_groups(cases, labels, fraction, settings.seed, "split/test"), {"test": f"fraction {fraction:g} of all cases"}


def _held_out(cases: pl.DataFrame, hold_out: Mapping[str, Sequence[str]]) -> Bool[np.ndarray, " N"]:
    chosen = np.zeros(len(cases), dtype=bool)
    for column, values in hold_out.items():
        if column not in cases.columns or cases[column].dtype.is_nested():
            known = [name for name in cases.columns if not cases[name].dtype.is_nested()]
            raise MedaiError(f"dataset.split.hold_out names the column {column!r}; the cases have: {', '.join(known)}")
        texts = cases[column].cast(pl.String)
        absent = sorted(set(values) - set(texts.drop_nulls().unique()))
        if absent:
            there = texts.drop_nulls().unique().sort().head(20).to_list()
            what = f"dataset.split.hold_out.{column} is {absent[0]!r}, which no case has"
            raise MedaiError(f"{what}; the values are: {', '.join(there) or 'none'}")
        chosen |= texts.is_in(list(values)).fill_null(False).to_numpy()
    return chosen


def draw_groups(cases: pl.DataFrame, labels: pl.DataFrame, fraction: float, seed: int, stream: str) -> Bool[np.ndarray, " N"]:
    """Draw about `fraction` of the cases, whole patients only, with the labels' frequencies kept.

    A case without a patient is a group of its own. The draw depends on the patients' names and labels and on the seed,
    not on the order of the cases.
    """
    group = patient_groups(cases)
    counts = group_counts(group, labels)
    order = generator(seed, 0, 0, stream).permutation(len(counts))
    chosen = np.zeros(len(counts), dtype=bool)
    chosen[order] = stratify(counts[order], fraction)
    return np.asarray(chosen[group])


def patient_groups(cases: pl.DataFrame) -> Int64[np.ndarray, " N"]:
    """The number of each case's patient; a case without a patient is a group of its own."""
    names = cases.select(pl.coalesce(pl.lit("p") + pl.col("patient_id"), pl.lit("c") + pl.col("case_id")))[:, 0]
    group: Int64[np.ndarray, " N"] = np.unique(names.to_numpy().astype(str), return_inverse=True)[1]
    return group


def group_counts(group: Int64[np.ndarray, " N"], labels: pl.DataFrame) -> Float64[np.ndarray, "G columns"]:
    """How often each class of each label, and any case at all (last column), occurs in each group."""
    columns = []
    for series in labels:
        for value in series.drop_nulls().unique().sort():
            columns.append(np.bincount(group, weights=(series == value).fill_null(False).to_numpy()))
    columns.append(np.bincount(group).astype(np.float64))
    return np.stack(columns, axis=1)


def stratify(counts: Float64[np.ndarray, "G columns"], fraction: float) -> Bool[np.ndarray, " G"]:
    """Choose groups so that about `fraction` of every column's total is chosen.

    Args:
        counts: Occurrences by group; the last column counts cases. The order of the groups breaks ties.
        fraction: In (0, 1).
    """
    totals = counts.sum(axis=0)
    share = np.array([1 - fraction, fraction])
    wanting = share[:, None] * totals
    side = np.full(len(counts), -1, dtype=np.int8)
    while (side < 0).any():
        left = counts[side < 0].sum(axis=0)
        column = int(np.argmin(np.where(left > 0, left, np.inf)))
        members = np.flatnonzero((side < 0) & (counts[:, column] > 0))
        members = members[np.argsort(-counts[members, column], kind="stable")]  # large patients first, while there is room for them
        side[members] = _deal(counts[members, column], wanting[:, column], share * totals[column])
        for k in (0, 1):
            wanting[k] -= counts[members[side[members] == k]].sum(axis=0)
    return np.equal(side, 1)


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
