"""From a table of predictions to all its figures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Bool

from medai.core.error import MedaiError
from medai.core.label import Label
from medai.evaluation.auroc import Area, auroc
from medai.evaluation.binary import binary_metrics, binary_statistics
from medai.evaluation.bootstrap import Key, Statistic, bootstrap, event_strata, jackknife
from medai.evaluation.curve import average_precision
from medai.evaluation.figure import CONFIDENCE, Figure
from medai.evaluation.group import AGE_BAND, groups_metrics, groups_of
from medai.evaluation.headline import headline_of
from medai.evaluation.interval import Intervals, Kind
from medai.evaluation.multiclass import multiclass_metrics, multiclass_statistics
from medai.evaluation.partial import partial_metrics, partial_statistics
from medai.evaluation.patient import patients_of
from medai.evaluation.roc_band import band_statistics, roc_band
from medai.evaluation.subgroup import subgroups_metrics
from medai.evaluation.table import LabelData, check_predictions, infer_labels, label_data

SCHEMA = "medai.metrics/2"
GROUP_BY = ("site", "sex", AGE_BAND, "manufacturer")
STRATIFIED = "patients with an event of any label, and without"


@dataclass(frozen=True)
class Evaluation:
    """The result of `evaluate`.

    Attributes:
        table: The predictions, in order of their case_id.
        labels: What was predicted.
        thresholds: Of the binary labels, as frozen on validation.
        metrics: Every figure as {value, low, high, n, method}; JSON-able, without NaN.
    """

    table: pl.DataFrame
    labels: tuple[Label, ...]
    thresholds: dict[str, float]
    metrics: dict[str, Any]

    @property
    def headline(self) -> str:
        """A few lines for the terminal."""
        return headline_of(self.metrics)


def evaluate(
    table: pl.DataFrame,
    labels: Sequence[Label] | None,
    thresholds: Mapping[str, float],
    *,
    seed: int = 0,
    replicates: int = 2000,
    group_by: Sequence[str] = GROUP_BY,
    confidence: float = CONFIDENCE,
    prevalences: Sequence[float] = (),
    interval: Kind = "percentile",
    stratify: bool = False,
    auroc_interval: Area = "score",
) -> Evaluation:
    """Score a table of predictions.

    Args:
        table: As `read_predictions` gives it.
        labels: What to score; None for what the columns name.
        thresholds: For each binary label, frozen on validation; a case at or above it is called positive.
        seed: Of the bootstrap. Equal tables and seeds give equal figures, whatever the order of the rows.
        replicates: Of the bootstrap.
        group_by: Columns whose groups are looked at apart, and where they meet (``"site*sex"``); those that the table lacks are
            named in the metrics.
        confidence: Coverage of all intervals.
        prevalences: At which predictive values are wanted, each between 0 and 1.
        interval: Of the bootstrap: ``"percentile"`` or ``"bca"``.
        stratify: Draw patients with and without events apart, for a test set whose patients were chosen by outcome; see
            `medai.evaluation.bootstrap.event_strata`.
        auroc_interval: ``"score"``, or ``"wald"`` for DeLong's normal interval, as pROC gives it.

    Raises:
        MedaiError: the table is faulty, or a threshold is missing or outside [0, 1].

    Example:
        >>> evaluation = evaluate(read_predictions(Path("scores.csv")), None, {"pneumonia": 0.5})
        >>> evaluation.metrics["labels"]["pneumonia"]["auroc"]
        {'value': 0.98..., 'low': 0.97..., 'high': 0.99..., 'n': 624, 'method': 'DeLong, score interval'}
    """
    table = check_predictions(table, labels).sort("case_id")
    known = tuple(labels) if labels is not None else infer_labels(table)
    frozen = _thresholds(known, thresholds)
    data = [label_data(table, label) for label in known]
    patients, (groups, left_out) = patients_of(table), groups_of(table, group_by)
    strata = event_strata(patients.cluster, _events(data, len(table))) if stratify else None
    statistics = _statistics(data, frozen, len(table))
    draws = bootstrap(patients.cluster, statistics, replicates, seed, strata)
    left_out_once = jackknife(patients.cluster, statistics, seed, strata) if interval == "bca" else None
    intervals = Intervals(patients, draws, confidence, interval, left_out_once, auroc_interval)
    rows = groups_metrics(groups, data, frozen, intervals)
    metrics: dict[str, Any] = {
        "schema": SCHEMA, "cases": len(table), "patients": patients.to_dict(),
        "confidence": confidence, "seed": seed, "replicates": replicates, "interval": interval,
        "auroc_interval": auroc_interval, "strata": STRATIFIED if stratify else "",
        "labels": {each.label.name: _metrics(each, frozen, len(table), intervals, prevalences) for each in data},
        "macro": _macro(data, intervals),
        "groups": rows, "groups_left_out": left_out, "subgroups": subgroups_metrics(rows, groups, data, frozen, intervals),
    }  # fmt: skip
    return Evaluation(table, known, frozen, metrics)


def _events(data: Sequence[LabelData], n: int) -> Bool[np.ndarray, " n"]:
    """Whether a case has an event of any binary label, or is not of the first class of another one."""
    event = np.zeros(n, dtype=bool)
    for each in data:
        event[each.rows] |= each.target > 0
    return event


def _thresholds(labels: Sequence[Label], thresholds: Mapping[str, float]) -> dict[str, float]:
    frozen = {}
    for label in labels:
        if label.kind != "binary":
            continue
        if label.name not in thresholds:
            raise MedaiError(f"label {label.name!r} has no threshold; give the one frozen on validation, or 0.5 if there is none")
        frozen[label.name] = float(thresholds[label.name])
        if not 0 <= frozen[label.name] <= 1:
            raise MedaiError(f"the threshold of {label.name!r} is {thresholds[label.name]}; expected a probability from 0 to 1")
    return frozen


def _statistics(data: Sequence[LabelData], thresholds: Mapping[str, float], n: int) -> dict[Key, Statistic]:
    statistics: dict[Key, Statistic] = {}
    for each in data:
        if each.label.kind == "binary":
            statistics |= binary_statistics(each, n, thresholds[each.label.name]) | partial_statistics(each) | band_statistics(each)
        else:
            statistics |= multiclass_statistics(each, n)
    return statistics


def _metrics(
    data: LabelData, thresholds: Mapping[str, float], n: int, intervals: Intervals, prevalences: Sequence[float]
) -> dict[str, Any]:
    if data.label.kind != "binary":
        return multiclass_metrics(data, n, intervals)
    record = binary_metrics(data, thresholds[data.label.name], n, intervals, prevalences)
    return record | {"partial_auroc": partial_metrics(data, intervals), "roc_band": roc_band(data, intervals)}


def _macro(data: Sequence[LabelData], intervals: Intervals) -> dict[str, Any]:
    """Plain means over the binary labels that have both classes, where there are several."""
    scored = [each for each in data if each.label.kind == "binary" and 0 < (each.target == 1).sum() < len(each.target)]
    if len(scored) < 2:
        return {}
    rows = np.unique(np.concatenate([each.rows for each in scored]))
    keys = [(each.label.name, "rank") for each in scored]
    record = {}
    points = [(auroc(each.probability, each.target == 1).value, average_precision(each.probability, each.target == 1)) for each in scored]
    for column, key in enumerate(("auroc", "average_precision")):
        value = float(np.mean([point[column] for point in points]))
        figure = intervals.mean(value, rows, keys, column)
        method = f"mean of {len(scored)} labels, {figure.method}"
        record[key] = Figure(figure.value, figure.low, figure.high, figure.n, method, figure.reason).to_dict()
    return record
