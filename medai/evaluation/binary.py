"""The figures of a binary label."""

from typing import Any

import numpy as np

from medai.evaluation.bootstrap import Key, Statistic, mean_statistic, rank_statistic
from medai.evaluation.calibration import BINS, expected_calibration_error, maximum_calibration_error, squared_error
from medai.evaluation.curve import average_precision
from medai.evaluation.figure import Figure, missing
from medai.evaluation.interval import Intervals
from medai.evaluation.table import LabelData
from medai.evaluation.threshold import decide

FEWEST_EVENTS = 10
CALIBRATION = f"{BINS} equal-width bins, no interval"


def binary_statistics(data: LabelData, n: int) -> dict[Key, Statistic]:
    """What the bootstrap has to draw for the label, in a table of `n` rows."""
    name, truth = data.label.name, data.target == 1
    return {
        (name, "rank"): rank_statistic(data.probability, truth, data.rows),
        (name, "brier"): mean_statistic(squared_error(data.probability, truth)[:, None], data.rows, n),
    }


def binary_metrics(data: LabelData, threshold: float, n: int, intervals: Intervals) -> dict[str, Any]:
    """Everything about one binary label.

    Args:
        data: Its known cases.
        threshold: Frozen on validation.
        n: Rows of the table.
        intervals: Where intervals come from.
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
        **_calibration(data, intervals),
    }
    return record | {key: figure.to_dict() for key, figure in figures.items()} | {"warning": few(data)}


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
    if not truth.any():
        return missing(len(truth), "percentile bootstrap", "no positive cases" if len(truth) else "no cases")
    return intervals.resampled(average_precision(data.probability, truth), data.rows, (data.label.name, "rank"), 1)


def _calibration(data: LabelData, intervals: Intervals) -> dict[str, Figure]:
    n, truth = len(data.rows), data.target == 1
    if n == 0:
        return {key: missing(0, CALIBRATION, "no cases") for key in ("ece", "mce", "brier")}
    error = float(squared_error(data.probability, truth).mean())
    return {
        "ece": Figure(expected_calibration_error(data.probability, truth), None, None, n, CALIBRATION),
        "mce": Figure(maximum_calibration_error(data.probability, truth), None, None, n, CALIBRATION),
        "brier": intervals.resampled(error, data.rows, (data.label.name, "brier")),
    }


def binary_group(data: LabelData, threshold: float, intervals: Intervals, key: Key) -> dict[str, Any]:
    """A label in one group: figures only where there are enough cases of the class that they are made of.

    Args:
        data: The group's known cases.
        threshold: Frozen on validation.
        intervals: Where intervals come from.
        key: Of the group's draws.
    """
    truth = data.target == 1
    events, rest = int(truth.sum()), int((~truth).sum())
    points = operating_point(data, threshold, intervals)
    auroc = intervals.auroc(data.probability, truth, data.rows, key)
    figures = {
        "auroc": auroc if min(events, rest) >= FEWEST_EVENTS else missing(events + rest, auroc.method, "too few events"),
        "sensitivity": points["sensitivity"]
        if events >= FEWEST_EVENTS
        else missing(events, points["sensitivity"].method, "too few events"),
        "specificity": points["specificity"] if rest >= FEWEST_EVENTS else missing(rest, points["specificity"].method, "too few events"),
    }
    return {"n": events + rest, "events": events} | {key: figure.to_dict() for key, figure in figures.items()}


def group_statistics(data: LabelData) -> Statistic:
    """What the bootstrap has to draw for a label in a group."""
    return rank_statistic(data.probability, np.asarray(data.target == 1), data.rows)
