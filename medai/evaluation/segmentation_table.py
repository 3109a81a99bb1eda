"""A table of segmentation measures: read, checked, and its holes told apart."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Bool, Float64, Int64

from medai.core.error import MedaiError
from medai.evaluation.table import check_keys
from medai.evaluation.table_file import read_table

MEASURES = {"dice": "share", "nsd": "share", "hd95": "distance"}
REFERENCE, PREDICTION = "reference", "prediction"


@dataclass(frozen=True)
class Measured:
    """One measure of one structure.

    Attributes:
        structure: E.g. ``"liver"``.
        measure: ``"dice"``, ``"nsd"`` or ``"hd95"``.
        value: Of each case in the table; NaN where there is nothing to measure, infinite where there is no distance since
            one of the two outlines is empty.
    """

    structure: str
    measure: str
    value: Float64[np.ndarray, " n"]

    def rows(self, chosen: Bool[np.ndarray, " n"], *, finite: bool = False) -> Int64[np.ndarray, " m"]:
        """Places of the chosen cases that have a value."""
        return np.flatnonzero(chosen & (np.isfinite(self.value) if finite else ~np.isnan(self.value)))


def read_segmentation(path: Path) -> pl.DataFrame:
    """Read and check a table of segmentation measures; see `check_segmentation`.

    Raises:
        MedaiError: the table is not as described; the message names the file, the column and a case.
    """
    frame = read_table(Path(path), "a table of segmentation measures")
    try:
        return check_segmentation(frame)
    except MedaiError as error:
        raise MedaiError(f"{path}: {error}") from None


def check_segmentation(frame: pl.DataFrame) -> pl.DataFrame:
    """Check a table: a row a case with ``case_id``, optionally ``patient_id``, columns to group by, and measures of structures.

    ``dice.<structure>`` and ``nsd.<structure>`` lie from 0 to 1, ``hd95.<structure>`` is in mm. An empty value: nothing to
    measure. ``reference.<structure>`` and ``prediction.<structure>`` (0 or false where the outline is empty; a volume will do)
    are optional and tell a missed structure from an invented one.

    Raises:
        MedaiError: no measure, one outside its range, a case twice; the message names the column and a case.
    """
    frame = check_keys(frame)
    measures = [name for name in frame.columns if _measure_of(name)]
    if not measures:
        names = ", ".join(f"'{measure}.<structure>'" for measure in MEASURES)
        raise MedaiError(f"no column {names}; got {', '.join(frame.columns[:8])}")
    for name in measures:
        frame = _check_measure(frame, name)
    structures = structures_of(frame)
    for name in frame.columns:
        prefix, _, structure = name.partition(".")
        if prefix in (REFERENCE, PREDICTION) and structure in structures:
            present = frame[name].cast(pl.Float64, strict=False)
            _refuse(frame, present.is_null() | present.is_nan() | (present < 0), name, "0 or false where the outline is empty")
            frame = frame.with_columns((present > 0).alias(name))
    return frame


def holds_segmentation(frame: pl.DataFrame) -> bool:
    """Whether a table is one of segmentation measures: it has ``dice.…``, ``nsd.…`` or ``hd95.…``, and no ``probability.…``."""
    return any(_measure_of(name) for name in frame.columns) and not any(name.startswith("probability.") for name in frame.columns)


def structures_of(frame: pl.DataFrame) -> tuple[str, ...]:
    """The structures that the measures' columns name, in their order."""
    return tuple(dict.fromkeys(name.partition(".")[2] for name in frame.columns if _measure_of(name)))


def measured_of(table: pl.DataFrame) -> list[Measured]:
    """Every measure with its holes told apart: nothing to measure (NaN), and one outline empty (0, or an infinite distance)."""
    found = []
    for structure in structures_of(table):
        neither, one_sided = _holes(table, structure)
        for measure, kind in MEASURES.items():
            if f"{measure}.{structure}" in table.columns:
                value = _floats(table, f"{measure}.{structure}")
                value[one_sided & np.isnan(value)] = np.inf if kind == "distance" else 0.0
                value[neither] = np.nan
                found.append(Measured(structure, measure, value))
    return found


def presence_of(table: pl.DataFrame, structure: str) -> dict[str, Any]:
    """How many cases have the structure, and in how many it is in one outline or none; None where the table does not say which."""
    outlines = _outlines(table, structure)
    neither, one_sided = _holes(table, structure)
    missed, invented = (int((outlines[0] & ~outlines[1]).sum()), int((outlines[1] & ~outlines[0]).sum())) if outlines else (None, None)
    return {
        "n": int((~neither).sum()), "absent_in_both": int(neither.sum()), "one_sided": int(one_sided.sum()),
        "missed": missed, "invented": invented,
    }  # fmt: skip


def _measure_of(name: str) -> str:
    """Measure that a column holds, or nothing."""
    prefix, _, structure = name.partition(".")
    return prefix if prefix in MEASURES and structure else ""


def _check_measure(frame: pl.DataFrame, name: str) -> pl.DataFrame:
    values = frame[name]
    if not values.dtype.is_numeric():
        number = values.cast(pl.Float64, strict=False)
        wrong = values.is_not_null() & number.is_null()
        _refuse(frame, wrong, name, "a number with a decimal point, or empty where there is nothing to measure")
        values = number
    values = values.cast(pl.Float64).fill_nan(None)
    if MEASURES[_measure_of(name)] == "share":
        per_cent = "; not per cent" if bool((values > 1).any()) and bool(values.drop_nulls().is_between(0, 100).all()) else ""
        _refuse(frame, (values < 0) | (values > 1), name, f"from 0 to 1, or empty where the structure is in neither outline{per_cent}")
    else:
        _refuse(frame, values < 0, name, "mm from 0 up, or empty where there is no distance")
    return frame.with_columns(values.alias(name))


def _refuse(frame: pl.DataFrame, wrong: pl.Series, name: str, expected: str) -> None:
    wrong = wrong.fill_null(False)
    if wrong.any():
        got, case = frame[name].filter(wrong)[0], frame["case_id"].filter(wrong)[0]
        raise MedaiError(f"{name} is {got!r} for case {case!r} ({int(wrong.sum())} such rows); expected {expected}")


def _outlines(table: pl.DataFrame, structure: str) -> tuple[Bool[np.ndarray, " n"], Bool[np.ndarray, " n"]] | None:
    """Whether the structure is in the reference, and in the prediction; None where the table does not say."""
    names = [f"{prefix}.{structure}" for prefix in (REFERENCE, PREDICTION)]
    return (table[names[0]].to_numpy(), table[names[1]].to_numpy()) if set(names) <= set(table.columns) else None


def _holes(table: pl.DataFrame, structure: str) -> tuple[Bool[np.ndarray, " n"], Bool[np.ndarray, " n"]]:
    """Cases with the structure in neither outline, and in one of the two: as the table says, else by the measures themselves."""
    outlines = _outlines(table, structure)
    if outlines:
        return ~outlines[0] & ~outlines[1], outlines[0] ^ outlines[1]
    shares = [_floats(table, f"{m}.{structure}") for m, kind in MEASURES.items() if kind == "share" and f"{m}.{structure}" in table.columns]
    distance = _floats(table, f"hd95.{structure}") if f"hd95.{structure}" in table.columns else np.full(len(table), np.nan)
    if not shares:
        return np.isnan(distance), np.isinf(distance)
    zero, empty = np.all([share == 0 for share in shares], axis=0), np.all([np.isnan(share) for share in shares], axis=0)
    return empty & ~np.isfinite(distance), zero & ~np.isfinite(distance)


def _floats(table: pl.DataFrame, name: str) -> Float64[np.ndarray, " n"]:
    return np.array(table[name].fill_null(np.nan).to_numpy(), dtype=np.float64)
