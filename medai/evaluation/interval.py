"""Which interval a figure gets: by DeLong or Wilson where cases are independent, over patients where they repeat."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64

from medai.evaluation.auroc import absent_class, auroc, auroc_figure, newcombe
from medai.evaluation.bootstrap import Key, bootstrap_figure
from medai.evaluation.figure import CONFIDENCE, Figure, missing
from medai.evaluation.patient import Patients
from medai.evaluation.proportion import proportion

CLUSTERED_AUROC = "percentile bootstrap of patients"
NEWCOMBE_PATIENTS = "Newcombe score interval on patients (all replicates are equal)"


@dataclass(frozen=True)
class Intervals:
    """All that an interval is made from.

    Attributes:
        patients: Who the cases belong to.
        draws: Bootstrap replicates (r, k) by the key of their statistic.
        confidence: Coverage.
    """

    patients: Patients
    draws: Mapping[Key, Float64[np.ndarray, "r k"]]
    confidence: float = CONFIDENCE

    def share(self, success: Bool[np.ndarray, " m"], rows: Int64[np.ndarray, " m"], empty: str = "no cases") -> Figure:
        """A proportion over the cases at `rows` of the table."""
        return proportion(success, self.patients.of(rows), self.confidence, empty=empty)

    def resampled(self, value: float, rows: Int64[np.ndarray, " m"], key: Key, column: int = 0) -> Figure:
        """A statistic with its bootstrap interval."""
        drawn = self.draws.get(key)
        replicates = None if drawn is None else drawn[:, column]
        units = self.patients.distinct(rows)
        return bootstrap_figure(value, len(rows), replicates, clustered=self.patients.repeat, patients=units, confidence=self.confidence)

    def auroc(self, score: Float[np.ndarray, " m"], target: Bool[np.ndarray, " m"], rows: Int64[np.ndarray, " m"], key: Key) -> Figure:
        """AUROC: DeLong's interval, or where patients repeat that of the bootstrap (column 0 of the draws `key`)."""
        if not self.patients.repeat:
            return auroc_figure(score, target, self.confidence)
        reason = absent_class(target)
        if reason:
            return missing(len(target), CLUSTERED_AUROC, reason)
        value = auroc(score, target).value
        figure = self.resampled(value, rows, key)
        if figure.low is None and value in (0.0, 1.0):
            counts = self.patients.distinct(rows[target]), self.patients.distinct(rows[~target])
            return Figure(value, *newcombe(value, *counts, self.confidence), len(rows), NEWCOMBE_PATIENTS)
        return figure
