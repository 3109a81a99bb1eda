"""The difference of two models in one metric, with its interval and its tests."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64

from medai.core.error import MedaiError
from medai.evaluation.auroc import DELONG, absent_class, auroc, paired_auroc
from medai.evaluation.clustered import OBUCHOWSKI, clustered_paired_auroc
from medai.evaluation.comparison.mcnemar import clustered_mcnemar, mcnemar
from medai.evaluation.comparison.permutation import permutation_p
from medai.evaluation.comparison.tango import paired_share
from medai.evaluation.figure import CONFIDENCE, Figure, missing
from medai.evaluation.interval import Intervals
from medai.evaluation.patient import Patients
from medai.evaluation.table import LabelData

ALIKE = "the models order the cases alike, or both separate the classes perfectly"
TANGO = "Tango score interval"
TANGO_CLUSTERED = "Tango score interval, effective sample size by patient"

OneSided = Callable[[float], float]


@dataclass(frozen=True)
class Difference:
    """One model minus another in one metric.

    Attributes:
        figure: The difference with its interval.
        test: Name of the test that `p` is of; empty where there is none.
        p: Two-sided; None where there is none.
        above: One-sided p of "the difference lies above a bound"; None where there is none.
        below: One-sided p of "the difference lies below a bound".
        details: Further figures of the record.
    """

    figure: Figure
    test: str = ""
    p: float | None = None
    above: OneSided | None = None
    below: OneSided | None = None
    details: dict[str, Any] = field(default_factory=dict)


def auroc_difference(first: LabelData, second: LabelData, patients: Patients, confidence: float = CONFIDENCE) -> Difference:
    """Difference of two AUROCs by DeLong, or by Obuchowski where patients repeat."""
    truth, n = first.target == 1, len(first.rows)
    method = OBUCHOWSKI if patients.repeat else DELONG
    reason = absent_class(truth)
    if reason:
        return Difference(missing(n, method, reason))
    try:
        if patients.repeat:
            result = clustered_paired_auroc(first.probability, second.probability, truth, patients.cluster[first.rows], confidence)
        else:
            result = paired_auroc(first.probability, second.probability, truth, confidence)
    except MedaiError:
        value = auroc(first.probability, truth).value - auroc(second.probability, truth).value
        return Difference(Figure(value, None, None, n, method, "fewer than two patients or cases in a class"))
    if result.error == 0 or not math.isfinite(result.error):
        return Difference(Figure(result.difference, None, None, n, method, ALIKE), method, 1.0 if result.difference == 0 else None)
    figure = Figure(result.difference, result.low, result.high, n, method)
    return Difference(figure, method, result.p, result.p_above, lambda bound: 1 - result.p_above(bound), {"z": result.z})


def share_difference(
    first: Bool[np.ndarray, " m"],
    second: Bool[np.ndarray, " m"],
    rows: np.ndarray,
    patients: Patients,
    confidence: float = CONFIDENCE,
    *,
    empty: str = "no cases",
) -> Difference:
    """Difference of two shares of the same cases: Tango's interval and McNemar's test, for patients where they repeat.

    Args:
        first: Whether the first model has the case right.
        second: Whether the second has.
        rows: Where the cases lie in the table.
        patients: Who they belong to.
        confidence: Coverage.
        empty: The reason to give where there are no cases.
    """
    n, cluster = len(rows), patients.of(rows)
    method = TANGO if cluster is None else TANGO_CLUSTERED
    if n == 0:
        return Difference(missing(0, method, empty))
    share = paired_share(first, second, cluster)
    figure = Figure(float(first.mean() - second.mean()), *share.interval(confidence), n, method)
    counts = mcnemar(int((first & ~second).sum()), int((~first & second).sum()))
    above, below = share.p_above, lambda bound: 1 - share.p_above(bound)
    if cluster is None:
        return Difference(figure, "McNemar, exact", counts.exact, above, below, {"mcnemar": counts.to_dict()})
    z, p = clustered_mcnemar(first.astype(np.int64) - second, cluster)
    discordant = {"first_only": counts.first_only, "second_only": counts.second_only}  # the exact test takes cases as independent
    return Difference(figure, "McNemar, clustered by patient", p, above, below, {"z": z, "mcnemar": discordant})


def drawn_difference(
    value: float,
    data: LabelData,
    draws: Float64[np.ndarray, " r"] | None,
    swaps: Float64[np.ndarray, " q"] | None,
    patients: Patients,
    confidence: float = CONFIDENCE,
    *,
    exhaustive: bool = False,
) -> Difference:
    """Difference of any statistic: the bootstrap's interval and the permutation test.

    Args:
        value: First minus second on the cases themselves.
        data: Of one of the models.
        draws: Differences of the bootstrap's replicates.
        swaps: Differences of the permutation test.
        patients: Who the cases belong to.
        confidence: Coverage.
        exhaustive: Whether the swaps are all there are.
    """
    key = ("difference",)
    if not math.isfinite(value):
        return Difference(missing(len(data.rows), "percentile bootstrap", "a class has no cases" if len(data.rows) else "no cases"))
    figure = Intervals(patients, {} if draws is None else {key: draws[:, None]}, confidence).resampled(value, data.rows, key)
    p = None if swaps is None else permutation_p(value, swaps[np.isfinite(swaps)], exhaustive=exhaustive)
    test = "" if swaps is None else f"permutation of {'patients' if patients.repeat else 'cases'}, {len(swaps):,} swaps"
    if draws is None or figure.low is None:
        return Difference(figure, test, p)
    defined = draws[np.isfinite(draws)]

    def beyond(reached: Bool[np.ndarray, " r"]) -> float:
        return float((reached.sum() + 1) / (len(defined) + 1))

    return Difference(figure, test, p, lambda bound: beyond(defined <= bound), lambda bound: beyond(defined >= bound))
