"""Which cases belong to the same patient, and what that means for the intervals."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Bool, Float64, Int64

INDEPENDENT = "Every patient has one case, so the cases are independent."
UNKNOWN = "The patients are unknown: intervals treat every case as independent, and are too narrow if patients repeat."
PARTLY = "Some cases name no patient: each of them counts as a patient of its own."
CLUSTERED = "Patients repeat: intervals allow for it (bootstrap of patients; proportions by effective sample size)."


@dataclass(frozen=True)
class Patients:
    """The patients of a table.

    Attributes:
        cluster: Code of each case's patient, 0 .. count-1; a case without a patient is one of its own.
        count: Number of clusters.
        named: Patients that the table names.
        cases_without: Cases that name no patient.
    """

    cluster: Int64[np.ndarray, " n"]
    count: int
    named: int
    cases_without: int

    @property
    def known(self) -> bool:
        """Whether the table names any patient."""
        return self.named > 0

    @property
    def repeat(self) -> bool:
        """Whether some patient has several cases."""
        return self.count < len(self.cluster)

    def of(self, rows: Int64[np.ndarray, " m"]) -> Int64[np.ndarray, " m"] | None:
        """Patients of some cases, or None where every case of the table is independent."""
        return self.cluster[rows] if self.repeat else None

    def distinct(self, chosen: Int64[np.ndarray, " m"] | Bool[np.ndarray, " n"]) -> int:
        """Number of patients among some cases."""
        members = self.cluster[chosen]
        return int(np.count_nonzero(np.bincount(members))) if self.repeat else len(members)

    def totals(self, rows: Int64[np.ndarray, " m"], value: Float64[np.ndarray, " m"]) -> Float64[np.ndarray, " count"]:
        """Sums over each patient's cases; 0 for patients without any.

        Args:
            rows: Places of the cases in the table.
            value: One a case.
        """
        return np.bincount(self.cluster[rows], weights=value, minlength=self.count)

    @property
    def note(self) -> str:
        """What this means for the intervals, in a sentence."""
        if not self.known:
            return UNKNOWN
        sentence = CLUSTERED if self.repeat else INDEPENDENT
        return f"{sentence} {PARTLY}" if self.cases_without else sentence

    def to_dict(self) -> dict[str, Any]:
        """The record in the metrics."""
        return {
            "known": self.known, "count": self.named if self.known else None, "cases_without": self.cases_without,
            "repeat": self.repeat, "note": self.note,
        }  # fmt: skip


def patients_of(table: pl.DataFrame) -> Patients:
    """Read the column ``patient_id``, which may be absent or empty in places."""
    if "patient_id" not in table.columns or table["patient_id"].null_count() == len(table):
        return Patients(np.arange(len(table)), len(table), 0, len(table))
    keys = table["patient_id"].cast(pl.String)
    named = keys.n_unique() - (1 if keys.null_count() else 0)
    codes = keys.rank("dense").cast(pl.Int64).fill_null(0).to_numpy() - 1
    cluster = codes.astype(np.int64)
    alone = np.flatnonzero(cluster < 0)
    cluster[alone] = named + np.arange(len(alone))
    return Patients(cluster, named + len(alone), named, len(alone))
