"""Patients of an earlier cohort stay where they were when new studies come."""

from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Int8, Int64

from medai.core.error import MedaiError

SIDES = ("train", "validation", "test")  # where a patient was on several, the last of these holds
NEW = -1


def kept_sides(cases: pl.DataFrame, group: Int64[np.ndarray, " N"], kept: pl.DataFrame | None) -> Int8[np.ndarray, " G"]:
    """Where each patient was in an earlier cohort: the index in `SIDES`, -1 for a new one.

    Args:
        cases: `case_id` and `patient_id` (null = unknown).
        group: Each case's patient, see `patient_groups`.
        kept: `case_id`, `patient_id` and `split` of the earlier cohort; None: there is none. A patient is known by its name,
            else by one of its cases.

    Raises:
        MedaiError: nobody is known: it is not an earlier state of these data, or was made with another site's key.
    """
    sides = np.full(int(group.max()) + 1 if len(group) else 0, NEW, dtype=np.int8)
    if kept is None or kept.is_empty():
        return sides
    place = pl.col("split").replace_strict(list(SIDES), range(len(SIDES)), return_dtype=pl.Int8)
    by_patient, by_case = (
        kept.filter(pl.col(name).is_not_null()).group_by(name).agg(place.max().alias(f"{name}.side")) for name in ("patient_id", "case_id")
    )
    known = cases.select("patient_id", "case_id").join(by_patient, on="patient_id", how="left", maintain_order="left")
    known = known.join(by_case, on="case_id", how="left", maintain_order="left")
    side = known.select(pl.coalesce("patient_id.side", "case_id.side").fill_null(NEW))[:, 0].to_numpy()
    np.maximum.at(sides, group, side)
    if (sides == NEW).all():
        what = f"none of the {len(kept):,} cases of the earlier cohort is among the {len(cases):,} new ones, nor their patients"
        raise MedaiError(f"{what}; keep a cohort of the same data, made with the same site's key")
    return sides


def kept_record(cases: pl.DataFrame, group: Int64[np.ndarray, " N"], sides: Int8[np.ndarray, " G"], kept: pl.DataFrame) -> dict[str, Any]:
    """What the record says of what was kept: numbers of patients by side, and of cases that are gone."""
    found = np.bincount(sides[sides != NEW], minlength=len(SIDES)).tolist()
    gone = kept.select("case_id").join(cases.select("case_id"), on="case_id", how="anti")
    numbers = {"patients": sum(found), **dict(zip(SIDES, found, strict=True)), "new_patients": int((sides == NEW).sum())}
    return numbers | {"cases_gone": len(gone)}
