"""Partition and split: by patient always; drawn, told by the source, or a site or a period held out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Bool, Int8, Int64

from medai.cohort.keep import NEW, SIDES, kept_record, kept_sides
from medai.cohort.period import Period
from medai.cohort.stratify import draw_groups, patient_groups
from medai.core.error import MedaiError
from medai.core.progress import say

DEFAULT_TEST = 0.15
SOURCE_SPLITS = {
    "train": "train", "training": "train", "val": "validation", "valid": "validation", "validation": "validation", "test": "test",
}  # fmt: skip
SETTINGS = ("validation", "test", "seed", "hold_out", "strata")
COLUMNS = ("site", "manufacturer", "model", "modality", "body_part", "laterality", "view", "sex", "age_years")
"""What `hold_out` and `strata` may name: what is known of a case, and no place in a file."""
NAMES = ("patient_id", "study_id", "series_id", "case_id")  # of which `hold_out` may name single ones
PERIOD = "study_date"  # the key of `hold_out` that holds a period and no values
KEPT_MOVED = "kept-patients-moved"  # the override where the settings would move a patient of the earlier cohort


@dataclass(frozen=True)
class SplitSettings:
    """How cases are split where the source does not say.

    Attributes:
        validation: Fraction of the development cases.
        test: Fraction of all cases; 1.0 makes every case a test case. None: 0.15, or none with `hold_out`.
        seed: Same seed, same split.
        hold_out: Case column to the values that make a case a test case, e.g. ``{"site": ["50"]}``.
        strata: Case columns whose values are kept in proportion beside the labels, e.g. ``("site",)``.
        period: Days whose studies are test cases, with all other cases of their patients; `hold_out.study_date` in a definition.
    """

    validation: float = 0.15
    test: float | None = None
    seed: int = 0
    hold_out: Mapping[str, Sequence[str]] = field(default_factory=dict)
    strata: tuple[str, ...] = ()
    period: Period | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.validation < 1:
            raise MedaiError(f"dataset.split.validation is {self.validation}; it is a fraction of the development cases in [0, 1)")
        if self.test is not None and not 0 <= self.test <= 1:
            raise MedaiError(f"dataset.split.test is {self.test}; it is a fraction of all cases in [0, 1]")
        if self.test and (self.hold_out or self.period):
            raise MedaiError("dataset.split has test and hold_out; give one of them, since both say which cases are test cases")
        for column in self.strata:
            _check_column(column, "strata", COLUMNS)
        for column in self.hold_out:
            _check_column(column, "hold_out", (*COLUMNS, PERIOD, *NAMES))

    @staticmethod
    def from_dict(value: Mapping[str, Any]) -> "SplitSettings":
        """Settings from the node of a data set's definition."""
        unknown = sorted(set(value) - set(SETTINGS))
        if unknown:
            raise MedaiError(f"dataset.split has the unknown key {unknown[0]!r}; allowed: {', '.join(SETTINGS)}")
        named = dict(value.get("hold_out") or {})
        period = Period.from_node(named.pop(PERIOD)) if named.get(PERIOD) else None
        hold_out = {str(column): _texts(values) for column, values in named.items()}
        test = None if value.get("test") is None else _number(value, "test")
        validation = _number(value, "validation") if "validation" in value else SplitSettings.validation
        strata = tuple(_texts(value.get("strata") or ()))
        return SplitSettings(validation, test, int(_number(value, "seed")) if "seed" in value else 0, hold_out, strata, period)


def _check_column(column: str, key: str, allowed: Sequence[str]) -> None:
    if column not in allowed:
        raise MedaiError(f"dataset.split.{key} names the column {column!r}; allowed: {', '.join(allowed)}")


def _number(value: Mapping[str, Any], key: str) -> float:
    try:
        return float(value[key])
    except (TypeError, ValueError):
        raise MedaiError(f"dataset.split.{key} is {value[key]!r}; it is a number") from None


def _texts(values: Any) -> list[str]:
    return [str(value) for value in ([values] if isinstance(values, str | int | float) else values)]


def split_cases(
    cases: pl.DataFrame, labels: pl.DataFrame, settings: SplitSettings, kept: pl.DataFrame | None = None, *, kept_from: str | None = None,
    allow: Sequence[str] = (), literal: bool = False,
) -> tuple[pl.DataFrame, dict[str, Any]]:  # fmt: skip
    """Give every case its partition and, in development, its split.

    Args:
        cases: `case_id`, `patient_id`, `source_split` (train, validation, test or null), the columns that `hold_out` and `strata`
            name, and where a period is held out `period`: whether the case's true date lies in it (null = no date), as
            `Period.covers` tells it to the source. It is left out of what is returned.
        labels: One integer column a label (null = unknown), rows as in `cases`.
        settings: See `SplitSettings`.
        kept: `case_id`, `patient_id` and `split` (train, validation, test) of an earlier cohort. Its patients stay where they
            were, whatever the seed and the fractions; the others are drawn so that the whole comes near the fractions.
        kept_from: The hash of the earlier cohort, for the record.
        allow: With `KEPT_MOVED`, kept patients stay where they were although the settings name them, and are counted.
        literal: Whether the period's dates may stand in the record. Beside shifted dates they would tell by how much these
            are shifted, so only those of public data may.

    Returns:
        `cases` with `partition` and `split` instead of `source_split` and `period`, and the method for the record.

    Raises:
        MedaiError: `hold_out` or `strata` names an unknown column, `hold_out` a value that no case has, a period is held out of
            cases without dates, or the settings move patients of the earlier cohort.
    """
    group = patient_groups(cases)
    sides = kept_sides(cases, group, kept)
    told, method = _told(cases, group, settings, literal)
    moved = _check_moved(cases, group, sides, told, allow)
    strata = labels.with_columns(_stratum(cases, column) for column in settings.strata)
    test, how = _test_cases(cases, strata, settings, told, sides[group])
    validation, more = _validation_cases(cases, strata, settings, test, sides[group])
    frame = cases.drop("source_split", *({"period"} & set(cases.columns))).with_columns(
        pl.Series("partition", np.where(test, "test", "development"), dtype=pl.String),
        pl.Series("split", np.where(test, "test", np.where(validation, "validation", "train")), dtype=pl.String),
    )
    method = how | method | more | {"seed": settings.seed, "grouped_by": "patient_id", "stratified_by": [*labels.columns, *settings.strata]}
    _tell_empty(frame, method)
    if kept is not None:
        method["kept"] = {"cohort": kept_from, **kept_record(cases, group, sides, kept), "patients_not_moved": moved}
    return frame, method


def _tell_empty(cases: pl.DataFrame, method: Mapping[str, Any]) -> None:
    """Say where a draw of whole patients left a split without a case; a split that is not drawn is as the user wants it."""
    empty = [name for name in ("validation", "test") if str(method.get(name, "")).startswith("fraction") and name not in cases["split"]]
    if empty:
        patients = int(patient_groups(cases).max()) + 1 if len(cases) else 0
        what = f"{' and '.join(empty)} {'have' if len(empty) > 1 else 'has'} 0 cases, since whole patients are drawn"
        advice = " ".join(f"dataset.split.{name}={2 / max(patients, 4):.2g}" for name in empty)
        say(f"the split: {what} and there are {patients:,}; add patients, or draw more of them, e.g. {advice}")


def _told(
    cases: pl.DataFrame, group: Int64[np.ndarray, " N"], settings: SplitSettings, literal: bool
) -> tuple[Bool[np.ndarray, " N"] | None, dict[str, Any]]:
    """The test cases where the source or the settings name them, without a draw; None where they do not."""
    source = cases["source_split"]
    if source.is_not_null().any():
        return (source == "test").fill_null(False).to_numpy(), {"test": "source"}
    if settings.test == 1.0:
        return np.ones(len(cases), dtype=bool), {"test": "every case"}
    if not settings.hold_out and settings.period is None:
        return None, {}
    chosen = _held_out(cases, settings.hold_out)
    named: dict[str, Any] = {column: list(values) for column, values in settings.hold_out.items()}
    method: dict[str, Any] = {"test": "hold_out", "hold_out": named}
    if settings.period is not None:
        inside = _in_period(cases)
        chosen |= np.isin(group, group[inside])
        named[PERIOD] = settings.period.to_dict() if literal else "a period"
        method["undated"] = cases["period"].null_count()
    return chosen, method


def _in_period(cases: pl.DataFrame) -> Bool[np.ndarray, " N"]:
    if "period" not in cases.columns or cases["period"].is_null().all():
        raise MedaiError(f"dataset.split.hold_out.{PERIOD} names a period, but no case has a date; hold out by another column")
    inside = cases["period"].fill_null(False).to_numpy()
    if not inside.any():
        raise MedaiError(f"dataset.split.hold_out.{PERIOD} names a period in which no case lies; check its from and to")
    return inside


def _check_moved(
    cases: pl.DataFrame, group: Int64[np.ndarray, " N"], sides: Int8[np.ndarray, " G"], told: Bool[np.ndarray, " N"] | None,
    allow: Sequence[str],
) -> int:  # fmt: skip
    """How many kept patients the settings or the source would move; a hard stop without the override."""
    side, source = sides[group], cases["source_split"]
    wrong = np.zeros(len(cases), dtype=bool) if told is None else told & (side != SIDES.index("test"))
    if source.is_not_null().any():
        wanted = source.replace_strict(list(SIDES), range(len(SIDES)), default=NEW, return_dtype=pl.Int8).fill_null(NEW).to_numpy()
        wrong |= (wanted != NEW) & (wanted != side)
    count = len(np.unique(group[wrong & (side != NEW)]))
    if count and KEPT_MOVED not in allow:
        what = f"{count:,} patients of the earlier cohort would change their split by the table's split column or dataset.split"
        raise MedaiError(f"{what}; drop the earlier cohort for a new split, or let them stay where they were with allow=[{KEPT_MOVED}]")
    return count


def _stratum(cases: pl.DataFrame, column: str) -> pl.Series:
    """A case column as integers in the order of its values."""
    _need_case_column(cases, column, "strata")
    return (cases[column].cast(pl.String).rank("dense") - 1).cast(pl.Int32).alias(f"stratum.{column}")


def _test_cases(
    cases: pl.DataFrame, labels: pl.DataFrame, settings: SplitSettings, told: Bool[np.ndarray, " N"] | None, side: Int8[np.ndarray, " N"]
) -> tuple[Bool[np.ndarray, " N"], dict[str, Any]]:
    before = side == SIDES.index("test")
    if told is not None:
        return before | (told & (side == NEW)), {}
    fraction = DEFAULT_TEST if settings.test is None else settings.test
    if fraction == 0:
        return before, {"test": "none"}
    fixed = np.where(side == NEW, NEW, before).astype(np.int8)
    return draw_groups(cases, labels, fraction, settings.seed, "split/test", fixed), {"test": f"fraction {fraction:g} of all cases"}


def _validation_cases(
    cases: pl.DataFrame, labels: pl.DataFrame, settings: SplitSettings, test: Bool[np.ndarray, " N"], side: Int8[np.ndarray, " N"]
) -> tuple[Bool[np.ndarray, " N"], dict[str, Any]]:
    before = (side == SIDES.index("validation")) & ~test
    source = cases["source_split"]
    if (source == "validation").any():
        return before | ((source == "validation").fill_null(False).to_numpy() & ~test & (side == NEW)), {"validation": "source"}
    if settings.validation == 0 or test.all():
        return before, {}
    rest = np.flatnonzero(~test)
    fixed = np.where(side == NEW, NEW, before).astype(np.int8)[rest]
    validation = np.zeros(len(cases), dtype=bool)
    validation[rest] = draw_groups(cases[rest], labels[rest], settings.validation, settings.seed, "split/validation", fixed)
    return validation, {"validation": f"fraction {settings.validation:g} of development"}


def _need_case_column(cases: pl.DataFrame, column: str, key: str) -> None:
    if column not in cases.columns or cases[column].dtype.is_nested():
        known = [name for name in COLUMNS if name in cases.columns]
        raise MedaiError(f"dataset.split.{key} names the column {column!r}; the cases have: {', '.join(known) or 'none of the allowed'}")


def _held_out(cases: pl.DataFrame, hold_out: Mapping[str, Sequence[str]]) -> Bool[np.ndarray, " N"]:
    chosen = np.zeros(len(cases), dtype=bool)
    for column, values in hold_out.items():
        _need_case_column(cases, column, "hold_out")
        texts = cases[column].cast(pl.String)
        absent = sorted(set(values) - set(texts.drop_nulls().unique()))
        if absent:
            there = texts.drop_nulls().unique().sort().head(20).to_list()
            what = f"dataset.split.hold_out.{column} is {absent[0]!r}, which no case has"
            raise MedaiError(f"{what}; the values are: {', '.join(there) or 'none'}")
        chosen |= texts.is_in(list(values)).fill_null(False).to_numpy()
    return chosen
