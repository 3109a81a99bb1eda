"""A metric in some of the cases, with what its variance is made of, so that two of them can be set against each other.

Each case has an influence: how far it moves the estimate. The squares of its sums over patients make the variance, the products
of two estimates' sums their covariance, which is zero unless a patient has cases in both.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64
from scipy.special import expit, logit

from medai.evaluation.auroc import (
    DELONG,
    NO_VARIANCE,
    Area,
    Auroc,
    absent_class,
    auroc,
    auroc_interval,
    freedom_of,
    has_variance,
    placements,
)
from medai.evaluation.binary import FEWEST_EVENTS
from medai.evaluation.clustered import OBUCHOWSKI, clustered_interval
from medai.evaluation.figure import CONFIDENCE, Figure, missing
from medai.evaluation.interval import Intervals
from medai.evaluation.patient import Patients
from medai.evaluation.proportion import WILSON, WILSON_CLUSTERED, effective_size, normal_quantile, wilson
from medai.evaluation.table import LabelData
from medai.evaluation.threshold import decide
from medai.evaluation.weak_calibration import calibration_in_the_large, calibration_line

FEW = "too few events"
EVENTS_FOR_LINE = 100  # of either class
FEW_FOR_LINE = f"fewer than {EVENTS_FOR_LINE} cases of a class"

Limits = Callable[[float], tuple[float, float]]


@dataclass(frozen=True)
class Estimate:
    """A metric in some of the cases.

    Attributes:
        value: The estimate.
        variance: Of the estimate, allowing for patients that repeat; 0 where the data show none.
        n: Number of cases that it is made of.
        units: Number of patients among them; of cases where no patient repeats.
        rows: Where these cases lie in the table.
        influence: How far each of them moves the estimate; they add up to 0. None where no patient repeats, since nothing is shared then.
        limits: Its interval at a confidence.
        method: How the interval is made.
        size: Effective number of cases of a proportion; None of anything else.
        source: Where the variance comes from, as a difference names it; by default `method`.
    """

    value: float
    variance: float
    n: int
    units: int
    rows: Int64[np.ndarray, " m"]
    influence: Float64[np.ndarray, " m"] | None
    limits: Limits
    method: str
    size: float | None = None
    source: str = ""


@dataclass(frozen=True)
class Lacking:
    """A metric that is not estimated, and why."""

    n: int
    method: str
    reason: str


def estimates(data: LabelData, threshold: float | None, patients: Patients, kind: Area = "score") -> dict[str, Estimate | Lacking]:
    """A label's metrics in some cases, each only where ten cases or more of the class that it is made of are there.

    Args:
        data: The known cases, e.g. of a group.
        threshold: Of a binary label, frozen on validation.
        patients: Of the whole table.
        kind: Of the AUROC's interval.

    Returns:
        ``auroc``, ``sensitivity`` and ``specificity``; of a label with several classes ``accuracy`` and ``macro_auroc``.
    """
    if data.label.kind != "binary":
        return _of_classes(data, patients)
    assert threshold is not None, "a binary label has a threshold"
    truth, called = data.target == 1, decide(data.probability, threshold)
    return {
        "auroc": auroc_estimate(data.probability, truth, data.rows, patients, kind),
        "sensitivity": proportion_estimate(called[truth], data.rows[truth], patients),
        "specificity": proportion_estimate(~called[~truth], data.rows[~truth], patients),
    }


def auroc_estimate(
    score: Float[np.ndarray, " m"],
    target: Bool[np.ndarray, " m"],
    rows: Int64[np.ndarray, " m"],
    patients: Patients,
    kind: Area = "score",
) -> Estimate | Lacking:
    """AUROC with DeLong's variance, or Obuchowski's (1997, Biometrics 53:567) where patients repeat."""
    repeat, positives = patients.repeat, int(target.sum())
    source = OBUCHOWSKI if repeat else DELONG
    if min(positives, len(rows) - positives) < FEWEST_EVENTS:
        return Lacking(len(rows), source, FEW)
    members = patients.distinct(rows[target]), patients.distinct(rows[~target])
    result, influence = _obuchowski(score, target, rows, patients, members) if repeat else (auroc(score, target), None)

    def interval(confidence: float) -> tuple[float, float, str]:
        return clustered_interval(result, members, confidence, kind) if repeat else auroc_interval(result, confidence, kind)

    method = interval(CONFIDENCE)[2]
    known = has_variance(result)
    return Estimate(
        result.value, result.variance if known else 0.0, len(rows), patients.distinct(rows), rows, influence,
        lambda confidence: interval(confidence)[:2], method, source=source if known else "",
    )  # fmt: skip


def proportion_estimate(
    success: Bool[np.ndarray, " m"], rows: Int64[np.ndarray, " m"], patients: Patients, few: str = FEW
) -> Estimate | Lacking:
    """A proportion with Wilson's interval, on the effective sample size where patients repeat."""
    cluster, n = patients.of(rows), len(rows)
    method = WILSON if cluster is None else WILSON_CLUSTERED
    if n < FEWEST_EVENTS:
        return Lacking(n, method, few)
    value, size = float(success.mean()), float(n) if cluster is None else effective_size(success, cluster)
    return Estimate(
        value, value * (1 - value) / size, n, patients.distinct(rows), rows, None if cluster is None else (success - value) / n,
        lambda confidence: wilson(value * size, size, confidence), method, size,
    )  # fmt: skip


def mean_estimate(value: Float64[np.ndarray, " m"], rows: Int64[np.ndarray, " m"], patients: Patients) -> Estimate | Lacking:
    """The mean of a measure, with its variance between cases, or between patients where they repeat."""
    method = "means, variance between patients" if patients.repeat else "means"
    if len(rows) < FEWEST_EVENTS:
        return Lacking(len(rows), method, "too few cases")
    mean = float(value.mean())
    return _smooth(mean, (value - mean) / len(rows), rows, patients, (-math.inf, math.inf), method)


def in_the_large(data: LabelData, intervals: Intervals) -> Figure:
    """Calibration-in-the-large of a binary label in a group: above 0 where its risks are predicted too low."""
    truth = data.target == 1
    events = int(truth.sum())
    if min(events, len(truth) - events) < FEWEST_EVENTS:
        return missing(len(truth), "calibration-in-the-large", FEW)
    return calibration_in_the_large(data.probability, truth, intervals.patients.of(data.rows), intervals.confidence)


def line_in_group(data: LabelData, intervals: Intervals) -> dict[str, dict[str, Any]]:
    """Calibration slope and intercept of a binary label in a group, as they stand in the metrics.

    Below 100 cases of a class they carry a `warning`: a line through so few says little (Collins et al. 2016, Stat Med 35:214; Van
    Calster et al. 2019, BMC Med 17:230). Below ten there is no value.

    Args:
        data: The known cases of the group.
        intervals: Patients and confidence.
    """
    truth, n = data.target == 1, len(data.rows)
    fewest = min(int(truth.sum()), n - int(truth.sum()))
    names = ("calibration_slope", "calibration_intercept")
    if fewest < FEWEST_EVENTS:
        return {name: missing(n, name.replace("_", " "), FEW).to_dict() for name in names}
    line = calibration_line(data.probability, truth, intervals.patients.of(data.rows), intervals.confidence)
    flag = {"warning": FEW_FOR_LINE} if fewest < EVENTS_FOR_LINE else {}
    return {name: figure.to_dict() | flag for name, figure in zip(names, line, strict=True)}


def in_the_large_estimate(data: LabelData, intervals: Intervals) -> Estimate | Lacking:
    """Calibration-in-the-large with each case's influence: its residual over the information."""
    figure, rows = in_the_large(data, intervals), data.rows
    if figure.value is None or figure.low is None or figure.high is None:
        return Lacking(figure.n, figure.method, figure.reason)
    variance = ((figure.high - figure.low) / (2 * normal_quantile(intervals.confidence))) ** 2
    influence = None
    if intervals.patients.repeat:
        mean = expit(logit(np.clip(data.probability, NO_VARIANCE, 1 - NO_VARIANCE)) + figure.value)
        influence = ((data.target == 1) - mean) / float((mean * (1 - mean)).sum())
    limits = _normal(figure.value, variance, -math.inf, math.inf)
    return Estimate(figure.value, variance, len(rows), intervals.patients.distinct(rows), rows, influence, limits, figure.method)


def figure_of(estimate: Estimate | Lacking, confidence: float) -> Figure:
    """The estimate as a figure; without a value where there is none."""
    if isinstance(estimate, Lacking):
        return missing(estimate.n, estimate.method, estimate.reason)
    return Figure(estimate.value, *estimate.limits(confidence), estimate.n, estimate.method)


def covariances(parts: Sequence[Estimate], patients: Patients) -> Float64[np.ndarray, "k k"]:
    """Variances on the diagonal, and covariances of estimates that are made of different cases: zero where no patient repeats."""
    matrix = np.diag([part.variance for part in parts])
    influences = [part.influence for part in parts if part.influence is not None]
    if len(influences) < len(parts):
        return matrix
    totals = np.stack([patients.totals(part.rows, influence) for part, influence in zip(parts, influences, strict=True)])
    shared = totals @ totals.T * _corrected(patients.distinct(np.concatenate([part.rows for part in parts])))
    return np.asarray(matrix + shared - np.diag(np.diag(shared)))


def _of_classes(data: LabelData, patients: Patients) -> dict[str, Estimate | Lacking]:
    right = data.probability.argmax(axis=1) == data.target
    return {"accuracy": proportion_estimate(right, data.rows, patients, "too few cases"), "macro_auroc": _macro_auroc(data, patients)}


def _macro_auroc(data: LabelData, patients: Patients) -> Estimate | Lacking:
    n, classes = len(data.rows), len(data.label.classes)
    sizes = np.bincount(data.target, minlength=classes)
    present = [index for index in range(classes) if not absent_class(data.target == index)]
    method = f"mean one-vs-rest AUROC of {len(present)} of {classes} classes, {OBUCHOWSKI if patients.repeat else DELONG}"
    if len(present) < 2 or sizes[sizes > 0].min() < FEWEST_EVENTS:
        return Lacking(n, method, FEW)
    parts = [_auroc_influence(data.probability[:, index], data.target == index) for index in present]
    value, influence = float(np.mean([part[0] for part in parts])), np.mean([part[1] for part in parts], axis=0)
    return _smooth(value, influence, data.rows, patients, (0.0, 1.0), method)


def _smooth(
    value: float, influence: Float64[np.ndarray, " m"], rows: Int64[np.ndarray, " m"], patients: Patients,
    bounds: tuple[float, float], method: str,
) -> Estimate | Lacking:  # fmt: skip
    """An estimate whose variance is that of the influences' sums over patients."""
    units = patients.distinct(rows)
    totals = patients.totals(rows, influence)
    variance = float(totals @ totals) * _corrected(units)
    if variance <= NO_VARIANCE:
        return Lacking(len(rows), method, "the data show no variance" if units > 1 else "one patient")
    limits = _normal(value, variance, *bounds)
    return Estimate(value, variance, len(rows), units, rows, influence if patients.repeat else None, limits, method)


def _auroc_influence(score: Float[np.ndarray, " m"], target: Bool[np.ndarray, " m"]) -> tuple[float, Float64[np.ndarray, " m"]]:
    """AUROC, and each case's placement less the AUROC over the number of its class."""
    of_positive, of_negative = placements(score, target)
    value, influence = float(of_positive.mean()), np.empty(len(score))
    influence[target], influence[~target] = (of_positive - value) / len(of_positive), (of_negative - value) / len(of_negative)
    return value, influence


def _obuchowski(
    score: Float[np.ndarray, " m"],
    target: Bool[np.ndarray, " m"],
    rows: Int64[np.ndarray, " m"],
    patients: Patients,
    members: tuple[int, int],
) -> tuple[Auroc, Float64[np.ndarray, " m"]]:
    """As `clustered_auroc`, from influences that the covariance needs anyway; the variance is 0 where a class is of one patient."""
    value, influence = _auroc_influence(score, target)
    positives, negatives = int(target.sum()), int((~target).sum())
    if min(members) < 2:
        return Auroc(value, 0.0, positives, negatives), influence
    parts = influence[target], influence[~target]
    totals = patients.totals(rows[target], parts[0]), patients.totals(rows[~target], parts[1])
    own = tuple(float(total @ total) * _corrected(count) for total, count in zip(totals, members, strict=True))
    variance = own[0] + own[1] + 2 * float(totals[0] @ totals[1]) * _corrected(patients.distinct(rows))
    alone = sum(float(part @ part) * len(part) / (len(part) - 1) for part in parts)
    freedom = freedom_of((own[0], own[1]), members)
    return Auroc(value, variance, positives, negatives, freedom, variance / alone if alone > NO_VARIANCE else 1.0), influence


def _corrected(units: int) -> float:
    return units / (units - 1) if units > 1 else 0.0


def _normal(value: float, variance: float, least: float, most: float) -> Limits:
    def limits(confidence: float) -> tuple[float, float]:
        half = normal_quantile(confidence) * math.sqrt(variance)
        return max(least, value - half), min(most, value + half)

    return limits
