"""The figures of a binary label."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from jaxtyping import Float64

from medai.evaluation.auroc import absent_class
from medai.evaluation.bootstrap import Key, Statistic, Weights, mean_statistic, rank_statistic
from medai.evaluation.calibration import BINS, brier_parts, expected_calibration_error, maximum_calibration_error, squared_error
from medai.evaluation.curve import average_precision
from medai.evaluation.decision_curve import decision_curve, decision_statistic
from medai.evaluation.figure import Figure, missing
from medai.evaluation.interval import Intervals
from medai.evaluation.operating_point import at_prevalences, point_figures, point_statistic
from medai.evaluation.table import LabelData
from medai.evaluation.threshold import decide
from medai.evaluation.weak_calibration import calibration_in_the_large, calibration_line, reliability_curve, spiegelhalter

FEWEST_EVENTS = 10
CALIBRATION = f"{BINS} equal-width bins, no interval"
EQUAL_MASS = f"{BINS} bins of equally many cases, no interval"


def binary_statistics(data: LabelData, n: int, threshold: float | None = None) -> dict[Key, Statistic]:
    """What the bootstrap has to draw for the label, in a table of `n` rows.

    Args:
        data: Its known cases.
        n: Rows of the table.
        threshold: Frozen on validation; None leaves out what needs one.
    """
    name, truth = data.label.name, data.target == 1
    statistics: dict[Key, Statistic] = {
        (name, "rank"): rank_statistic(data.probability, truth, data.rows),
        (name, "brier"): mean_statistic(squared_error(data.probability, truth)[:, None], data.rows, n),
        (name, "skill"): skill_statistic(data, n),
        (name, "decision"): decision_statistic(data),
    }
    return statistics if threshold is None else statistics | {(name, "point"): point_statistic(data, threshold)}


def skill_statistic(data: LabelData, n: int) -> Statistic:
    """The Brier skill (k = 1) under weights."""
    truth = data.target == 1
    means = mean_statistic(np.stack([squared_error(data.probability, truth), truth], axis=1), data.rows, n)

    def statistic(weights: Weights) -> Float64[np.ndarray, "b k"]:
        error, prevalence = means(weights).T
        return _skill(error, prevalence)[:, None]

    return statistic


def binary_metrics(data: LabelData, threshold: float, n: int, intervals: Intervals, prevalences: Sequence[float] = ()) -> dict[str, Any]:
    """Everything about one binary label.

    Args:
        data: Its known cases.
        threshold: Frozen on validation.
        n: Rows of the table.
        intervals: Where intervals come from.
        prevalences: At which predictive values are wanted, each between 0 and 1.

    Raises:
        MedaiError: a prevalence is not between 0 and 1.
    """
    name, truth, probability, known = data.label.name, data.target == 1, data.probability, len(data.rows)
    called = decide(probability, threshold)
    record: dict[str, Any] = {
        "kind": "binary", "n": known, "unknown": n - known, "events": int(truth.sum()), "threshold": threshold,
        "confusion": {
            "true_positive": int((called & truth).sum()), "false_positive": int((called & ~truth).sum()),
            "false_negative": int((~called & truth).sum()), "true_negative": int((~called & ~truth).sum()),
        },
    }  # fmt: skip
    figures = {
        "prevalence": intervals.share(truth, data.rows),
        "auroc": intervals.auroc(probability, truth, data.rows, (name, "rank")),
        "average_precision": _average_precision(data, intervals),
        **operating_point(data, threshold, intervals),
        **point_figures(data, threshold, intervals, (name, "point")),
        **_calibration(data, intervals),
    }
    cluster = intervals.patients.of(data.rows)
    return record | {key: figure.to_dict() for key, figure in figures.items()} | {
        "at_prevalence": at_prevalences(data, threshold, intervals, prevalences),
        "brier_parts": {**asdict(brier_parts(probability, truth)), "method": f"Murphy, {BINS} equal-width bins"} if known else {},
        "spiegelhalter": spiegelhalter(probability, truth, cluster).to_dict(),
        "reliability_curve": reliability_curve(probability, truth, cluster, intervals.confidence),
        "decision_curve": decision_curve(data, intervals, (name, "decision")),
        "warning": few(data),
    }  # fmt: skip


def few(data: LabelData) -> str:
    """``"too few events"`` where either class has fewer than ten cases, else empty."""
    events = int((data.target == 1).sum())
    return "too few events" if min(events, len(data.target) - events) < FEWEST_EVENTS else ""


def operating_point(data: LabelData, threshold: float, intervals: Intervals) -> dict[str, Figure]:
    """Sensitivity, specificity, predictive values and accuracy at the threshold."""
    truth, called, rows = data.target == 1, decide(data.probability, threshold), data.rows
    return {
        "sensitivity": intervals.share(called[truth], rows[truth], "no positive cases"),
        "specificity": intervals.share(~called[~truth], rows[~truth], "no negative cases"),
        "ppv": intervals.share(truth[called], rows[called], "no case is called positive"),
        "npv": intervals.share(~truth[~called], rows[~called], "no case is called negative"),
        "accuracy": intervals.share(called == truth, rows),
    }


def _average_precision(data: LabelData, intervals: Intervals) -> Figure:
    truth = data.target == 1
    reason = absent_class(truth)
    if reason:  # without negatives it is 1 whatever the model says
        return missing(len(truth), "percentile bootstrap", reason)
    return intervals.resampled(average_precision(data.probability, truth), data.rows, (data.label.name, "rank"), 1)


def _calibration(data: LabelData, intervals: Intervals) -> dict[str, Figure]:
    n, truth, probability = len(data.rows), data.target == 1, data.probability
    cluster, confidence = intervals.patients.of(data.rows), intervals.confidence
    slope, intercept = calibration_line(probability, truth, cluster, confidence)
    line = {
        "calibration_slope": slope, "calibration_intercept": intercept,
        "calibration_in_the_large": calibration_in_the_large(probability, truth, cluster, confidence),
    }  # fmt: skip
    if n == 0:
        return {key: missing(0, CALIBRATION, "no cases") for key in ("ece", "ece_equal_mass", "mce", "brier", "brier_skill")} | line
    name, error = data.label.name, float(squared_error(probability, truth).mean())
    skill = float(_skill(np.array(error), np.array(truth.mean())))
    return {
        "ece": Figure(expected_calibration_error(probability, truth), None, None, n, CALIBRATION),
        "ece_equal_mass": Figure(expected_calibration_error(probability, truth, mass=True), None, None, n, EQUAL_MASS),
        "mce": Figure(maximum_calibration_error(probability, truth), None, None, n, CALIBRATION),
        "brier": intervals.resampled(error, data.rows, (name, "brier")),
        "brier_skill": intervals.resampled(skill, data.rows, (name, "skill"))
        if np.isfinite(skill)
        else missing(n, "percentile bootstrap", absent_class(truth)),
    } | line


def _skill(error: Float64[np.ndarray, " *b"], prevalence: Float64[np.ndarray, " *b"]) -> Float64[np.ndarray, " *b"]:
    """1 less the Brier score over that of who always predicts the prevalence; NaN where there is one class."""
    blind = prevalence * (1 - prevalence)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(blind > 0, 1 - error / blind, np.nan))
