"""Tell from the names of cases which cohort they are of, and which splits."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from medai.cohort.cohort import Cohort
from medai.core.error import MedaiError


@dataclass(frozen=True)
class Recognised:
    """Cases of a cohort.

    Attributes:
        cohort: That has all of them.
        splits: How many are in each split: train, validation, test.
    """

    cohort: Cohort
    splits: dict[str, int]


def recognise(cases: Sequence[str], cohorts: Path | Sequence[Cohort]) -> Recognised | None:
    """Find the cohort that has all of the cases; of several one that has test cases among them. No label is read.

    Args:
        cases: Values of `case_id`.
        cohorts: The cohorts; or their folder, where what is no cohort and what cannot be read is passed over.

    Returns:
        None where no cohort has all of them.

    Example:
        >>> recognise(["val-0", "val-1"], Path("cohorts")).splits
        {'validation': 2}
    """
    wanted = pl.DataFrame({"case_id": pl.Series(cases, dtype=pl.String)})
    opened = _opened(cohorts) if isinstance(cohorts, Path) else cohorts
    found = [each for each in (_in(wanted, cohort) for cohort in opened) if each is not None]
    return next((each for each in found if "test" in each.splits), found[0] if found else None)


def _opened(folder: Path) -> list[Cohort]:
    opened = []
    for path in [folder, *sorted(folder.glob("*"))]:
        try:
            opened.append(Cohort.open(path))
        except (MedaiError, OSError):
            continue
    return opened


def _in(wanted: pl.DataFrame, cohort: Cohort) -> Recognised | None:
    try:
        known = wanted.join(cohort.splits(), on="case_id", how="inner")
    except (MedaiError, OSError):
        return None
    if len(known) < len(wanted):
        return None
    counts = known.group_by("split").len().drop_nulls().sort("split")
    return Recognised(cohort, dict(counts.iter_rows()))
