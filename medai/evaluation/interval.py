"""Which interval a figure gets: a closed form where there is a good one, else the bootstrap over patients."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64

from medai.core.error import MedaiError
from medai.evaluation.auroc import AREAS, Area, auroc_figure
from medai.evaluation.bootstrap import Jackknife, Key, bootstrap_figure
from medai.evaluation.clustered import clustered_auroc_figure
from medai.evaluation.figure import CONFIDENCE, Figure
from medai.evaluation.patient import Patients
from medai.evaluation.proportion import proportion

Kind = Literal["percentile", "bca"]
KINDS: tuple[Kind, ...] = ("percentile", "bca")


@dataclass(frozen=True)
class Intervals:
    """All that an interval is made from.

    Attributes:
        patients: Who the cases belong to.
        draws: Bootstrap replicates (r, k) by the key of their statistic.
        confidence: Coverage.
        kind: Of the bootstrap's intervals: ``"percentile"`` or ``"bca"`` (which needs the jackknife).
        jackknife: The same statistics without each patient.
        area: Of the AUROC's intervals: ``"score"`` or ``"wald"``, see `medai.evaluation.auroc.auroc_interval`.

    Raises:
        MedaiError: unknown kind, or BCa without a jackknife.

    Example:
        >>> draws, left_out = bootstrap(cluster, statistics, 2000, seed=0), jackknife(cluster, statistics, seed=0)
        >>> Intervals(patients, draws, kind="bca", jackknife=left_out).resampled(0.13, rows, ("pneumonia", "brier"))
    """

    patients: Patients
    draws: Mapping[Key, Float64[np.ndarray, "r k"]]
    confidence: float = CONFIDENCE
    kind: Kind = "percentile"
    jackknife: Jackknife | None = None
    area: Area = "score"

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise MedaiError(f"interval is {self.kind!r}; allowed: {', '.join(KINDS)}")
        if self.area not in AREAS:
            raise MedaiError(f"auroc_interval is {self.area!r}; allowed: {', '.join(AREAS)}")
        if self.kind == "bca" and self.jackknife is None and self.draws:
            raise MedaiError("BCa intervals need the jackknife of the same statistics and patients; draw it with jackknife(...)")

    def share(self, success: Bool[np.ndarray, " m"], rows: Int64[np.ndarray, " m"], empty: str = "no cases") -> Figure:
        """A proportion over the cases at `rows` of the table: Wilson, with the effective sample size where patients repeat."""
        return proportion(success, self.patients.of(rows), self.confidence, empty=empty)

    def resampled(self, value: float, rows: Int64[np.ndarray, " m"], key: Key, column: int = 0) -> Figure:
        """A statistic with its bootstrap interval.

        Args:
            value: The estimate.
            rows: (m,) of the table, that it is made of.
            key: Of its draws.
            column: Among the k of the draws.
        """
        return self.mean(value, rows, [key], column)

    def mean(self, value: float, rows: Int64[np.ndarray, " m"], keys: Sequence[Key], column: int = 0) -> Figure:
        """The mean of several statistics on the same draws, e.g. the macro AUROC."""
        return self._figure(value, rows, [(key, 1 / len(keys)) for key in keys], column)

    def difference(self, value: float, rows: Int64[np.ndarray, " m"], first: Key, second: Key, column: int = 0) -> Figure:
        """The difference of two statistics on the same draws, first minus second."""
        return self._figure(value, rows, [(first, 1.0), (second, -1.0)], column)

    def auroc(
        self, score: Float[np.ndarray, " m"], target: Bool[np.ndarray, " m"], rows: Int64[np.ndarray, " m"], key: Key | None = None
    ) -> Figure:
        """AUROC with the interval of DeLong's variance, or where patients repeat of Obuchowski's; `key` is not needed."""
        if self.patients.repeat:
            return clustered_auroc_figure(score, target, self.patients.cluster[rows], self.confidence, self.area)
        return auroc_figure(score, target, self.confidence, self.area)

    def _figure(self, value: float, rows: Int64[np.ndarray, " m"], factors: Sequence[tuple[Key, float]], column: int) -> Figure:
        stratum = self.jackknife.stratum if self.kind == "bca" and self.jackknife else None
        left_out = _combined(self.jackknife.values, factors, column) if self.kind == "bca" and self.jackknife else None
        return bootstrap_figure(
            value, len(rows), _combined(self.draws, factors, column),
            clustered=self.patients.repeat, patients=self.patients.distinct(rows), confidence=self.confidence,
            left_out=left_out, stratum=stratum,
        )  # fmt: skip


def _combined(
    draws: Mapping[Key, Float64[np.ndarray, "r k"]], factors: Sequence[tuple[Key, float]], column: int
) -> Float64[np.ndarray, " r"] | None:
    """The weighted sum of one column of several draws; None where one of them was not drawn."""
    if any(key not in draws for key, _ in factors):
        return None
    return np.asarray(sum(factor * draws[key][:, column] for key, factor in factors))
