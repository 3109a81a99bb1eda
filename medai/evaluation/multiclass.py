"""The figures of a label with three or more classes, ordered or not."""

from typing import Any

import numpy as np
from jaxtyping import Float64

from medai.evaluation.agreement import (
    agreement_statistic,
    c_index,
    c_index_statistic,
    confusion,
    expected_class,
    mean_absolute_error,
    quadratic_kappa,
)
from medai.evaluation.auroc import absent_class, auroc
from medai.evaluation.binary import CALIBRATION, FEWEST_EVENTS
from medai.evaluation.bootstrap import Key, Statistic, Weights, derived, macro, mean_statistic, rank_statistic, summer
from medai.evaluation.calibration import expected_calibration_error, squared_error
from medai.evaluation.curve import average_precision
from medai.evaluation.figure import Figure, missing
from medai.evaluation.interval import Intervals
from medai.evaluation.table import LabelData


def multiclass_statistics(data: LabelData, n: int) -> dict[Key, Statistic]:
    """What the bootstrap has to draw for the label, in a table of `n` rows."""
    name = data.label.name
    statistics: dict[Key, Statistic] = {
        (name, of_class, "rank"): rank_statistic(data.probability[:, index], data.target == index, data.rows)
        for index, of_class in enumerate(data.label.classes)
    }
    statistics[(name, "macro")] = macro_statistic(data)
    statistics[(name, "weighted")] = weighted_statistic(data)
    statistics[(name, "hand_till")] = hand_till_statistic(data)
    statistics[(name, "brier")] = mean_statistic(squared_error(data.probability, data.target)[:, None], data.rows, n)
    if data.label.kind == "ordinal" and len(data.rows):
        statistics[(name, "agreement")] = agreement_statistic(
            data.target, data.probability.argmax(axis=1), data.rows, len(data.label.classes)
        )
        statistics[(name, "c_index")] = c_index_statistic(expected_class(data.probability), data.target, data.rows)
    return statistics


def macro_statistic(data: LabelData) -> Statistic:
    """The mean one-vs-rest AUROC and average precision of the classes that are there."""
    ranks = [rank_statistic(data.probability[:, index], data.target == index, data.rows) for index in _present(data)]
    return macro(ranks) if ranks else lambda weights: np.full((weights.shape[1], 2), np.nan)


def weighted_statistic(data: LabelData) -> Statistic:
    """The mean one-vs-rest AUROC (k = 1), each class weighted by its share of the cases (Provost and Domingos 2001)."""
    present = _present(data)
    if not present:
        return _undefined
    ranks = [rank_statistic(data.probability[:, index], data.target == index, data.rows) for index in present]
    sum_classes = summer(np.searchsorted(present, data.target), data.rows)

    def finish(sizes: Float64[np.ndarray, "b c"], *drawn: Float64[np.ndarray, "b k"]) -> Float64[np.ndarray, "b k"]:
        areas = np.stack([each[:, 0] for each in drawn], axis=1)
        used = np.where(sizes > 0, areas, 0.0)  # a class that was not drawn has no weight
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray((used * sizes).sum(axis=1) / sizes.sum(axis=1))[:, None]

    return derived([sum_classes, *ranks], finish)


def hand_till_statistic(data: LabelData) -> Statistic:
    """Hand and Till's M (k = 1): the mean over ordered pairs of classes of the AUROC of the first against the second.

    It does not depend on how frequent the classes are (Hand and Till 2001, Mach Learn 45:171, equation 7). Pairs of classes
    that have cases are counted.
    """
    present = _present(data)
    parts = []
    for first in present:
        for second in present:
            if first != second:
                pair = np.isin(data.target, (first, second))
                parts.append(rank_statistic(data.probability[pair, first], data.target[pair] == first, data.rows[pair]))
    if not parts:
        return _undefined
    return derived([macro(parts)], lambda mean: mean[:, :1])


def _undefined(weights: Weights) -> Float64[np.ndarray, "b k"]:
    return np.full((weights.shape[1], 1), np.nan)


def multiclass_metrics(data: LabelData, n: int, intervals: Intervals) -> dict[str, Any]:
    """Everything about one multi-class or ordinal label. The decision is the class with the highest probability.

    Args:
        data: Its known cases.
        n: Rows of the table.
        intervals: Where intervals come from.
    """
    name, known, decision = data.label.name, len(data.rows), data.probability.argmax(axis=1)
    counts = confusion(data.target, decision, len(data.label.classes))
    figures = {
        "accuracy": intervals.share(decision == data.target, data.rows),
        "macro_auroc": macro_auroc(data, intervals, (name, "macro")),
        "weighted_auroc": _over_classes(
            weighted_statistic(data), data, intervals, (name, "weighted"), "one-vs-rest AUROC weighted by the classes' shares"
        ),
        "hand_till": _over_classes(hand_till_statistic(data), data, intervals, (name, "hand_till"), "Hand and Till's M"),
        **_calibration(data, intervals),
    }
    if data.label.kind == "ordinal":
        figures["quadratic_kappa"] = _agreement(float(quadratic_kappa(counts)), data, intervals, 0)
        figures["mean_absolute_error"] = _agreement(float(mean_absolute_error(counts)), data, intervals, 1)
        figures["c_index"] = _c_index(data, intervals)
    record: dict[str, Any] = {
        "kind": data.label.kind, "n": known, "unknown": n - known, "confusion": counts.tolist(),
        "classes": {of_class: _one_against_rest(data, index, intervals) for index, of_class in enumerate(data.label.classes)},
    }  # fmt: skip
    fewest = int(np.bincount(data.target, minlength=len(data.label.classes)).min())
    return (
        record
        | {key: figure.to_dict() for key, figure in figures.items()}
        | {"warning": "too few events" if fewest < FEWEST_EVENTS else ""}
    )


def macro_auroc(data: LabelData, intervals: Intervals, key: Key) -> Figure:
    """The plain mean of the classes' one-vs-rest AUROCs; classes without cases are left out and counted in the method."""
    present = _present(data)
    if not present:
        return missing(len(data.rows), "mean one-vs-rest AUROC", "fewer than two classes have cases")
    value = float(np.mean([auroc(data.probability[:, index], data.target == index).value for index in present]))
    figure = intervals.resampled(value, data.rows, key)
    method = f"mean one-vs-rest AUROC of {len(present)} of {len(data.label.classes)} classes, {figure.method}"
    return Figure(figure.value, figure.low, figure.high, figure.n, method, figure.reason)


def _over_classes(statistic: Statistic, data: LabelData, intervals: Intervals, key: Key, name: str) -> Figure:
    n, present = len(data.rows), _present(data)
    if not present:
        return missing(n, name, "fewer than two classes have cases")
    weights = np.zeros((int(data.rows.max()) + 1, 1))
    weights[data.rows] = 1
    figure = intervals.resampled(float(statistic(weights)[0, 0]), data.rows, key)
    method = f"{name}, {len(present)} of {len(data.label.classes)} classes, {figure.method}"
    return Figure(figure.value, figure.low, figure.high, figure.n, method, figure.reason)


def _c_index(data: LabelData, intervals: Intervals) -> Figure:
    if len(np.unique(data.target)) < 2:
        return missing(len(data.rows), "C-index", "fewer than two classes have cases")
    figure = intervals.resampled(c_index(expected_class(data.probability), data.target), data.rows, (data.label.name, "c_index"))
    return Figure(figure.value, figure.low, figure.high, figure.n, f"C-index of the expected class, {figure.method}", figure.reason)


def _present(data: LabelData) -> list[int]:
    return [index for index in range(len(data.label.classes)) if not absent_class(data.target == index)]


def _one_against_rest(data: LabelData, index: int, intervals: Intervals) -> dict[str, Any]:
    key = (data.label.name, data.label.classes[index], "rank")
    truth, score, called = data.target == index, data.probability[:, index], data.probability.argmax(axis=1) == index
    figures = {
        "auroc": intervals.auroc(score, truth, data.rows, key),
        "average_precision": intervals.resampled(average_precision(score, truth), data.rows, key, 1)
        if truth.any()
        else missing(len(truth), "percentile bootstrap", "no positive cases"),
        "sensitivity": intervals.share(called[truth], data.rows[truth], "no cases of the class"),
        "ppv": intervals.share(truth[called], data.rows[called], "no case is called so"),
    }
    return {"events": int(truth.sum())} | {key: figure.to_dict() for key, figure in figures.items()}


def _agreement(value: float, data: LabelData, intervals: Intervals, column: int) -> Figure:
    if not np.isfinite(value):
        return missing(len(data.rows), "percentile bootstrap", "fewer than two classes have cases" if len(data.rows) else "no cases")
    return intervals.resampled(value, data.rows, (data.label.name, "agreement"), column)


def _calibration(data: LabelData, intervals: Intervals) -> dict[str, Figure]:
    n = len(data.rows)
    if n == 0:
        return {key: missing(0, CALIBRATION, "no cases") for key in ("ece", "brier")}
    top, right = data.probability.max(axis=1), data.probability.argmax(axis=1) == data.target
    error = float(squared_error(data.probability, data.target).mean())
    return {
        "ece": Figure(expected_calibration_error(top, right), None, None, n, f"of the highest probability, {CALIBRATION}"),
        "brier": intervals.resampled(error, data.rows, (data.label.name, "brier")),
    }
