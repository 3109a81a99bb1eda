"""Means and medians of per-case segmentation measures, with the bootstrap and the groups of every other figure."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Bool, Float64, Int64

from medai.evaluation.binary import FEWEST_EVENTS
from medai.evaluation.bootstrap import Key, Statistic, Weights, bootstrap, mean_statistic
from medai.evaluation.figure import CONFIDENCE, Figure, missing
from medai.evaluation.group import AGE_BAND, Group, groups_of, in_order
from medai.evaluation.interval import Intervals
from medai.evaluation.patient import patients_of
from medai.evaluation.segmentation_table import MEASURES, Measured, check_segmentation, measured_of, presence_of, structures_of
from medai.evaluation.subgroup import ALSO, CORRECTION, FAMILY_NOTE
from medai.evaluation.subgroup_difference import adjust, difference_record
from medai.evaluation.subgroup_estimate import mean_estimate

SCHEMA = "medai.segmentation/1"
NAMES = {"dice": "Dice", "nsd": "NSD", "hd95": "HD95 in mm"}
FEW = "too few cases"
BOOTSTRAP = "percentile bootstrap"


def evaluate_segmentation(
    table: pl.DataFrame,
    *,
    group_by: Sequence[str] = ("site", "sex", AGE_BAND, "manufacturer"),
    seed: int = 0,
    replicates: int = 2000,
    confidence: float = CONFIDENCE,
) -> dict[str, Any]:
    """Means and medians of all measures of all structures, in all cases and in groups.

    A case where the structure is in neither outline has nothing to measure and is left out and counted. Where it is in one of
    the two, Dice and NSD are 0, and there is no distance: such a case counts as infinite in the median of HD95, and is left out of
    the mean, which says how many are.

    Args:
        table: As `check_segmentation` describes.
        group_by: Columns, ``"age_band"``, and intersections such as ``"site*sex"``.
        seed: Of the bootstrap.
        replicates: Of the bootstrap over patients.
        confidence: Coverage.

    Returns:
        JSON-able metrics: `structures`: {structure: {`n`, `absent_in_both`, `one_sided`, `missed`, `invented`, and for each
        measure `mean`, `median`, `undefined`, `infinite`}}; `groups` with the difference of each group's mean to all other cases.

    Raises:
        MedaiError: the table is faulty.

    Example:
        >>> table = pl.DataFrame({"case_id": ["a", "b", "c"], "dice.liver": [0.9, 0.96, 0.93]})
        >>> evaluate_segmentation(table)["structures"]["liver"]["dice"]["mean"]["value"]
        0.93
    """
    table = check_segmentation(table).sort("case_id")
    everything = np.ones(len(table), dtype=bool)
    measured = measured_of(table)
    patients, (groups, left_out) = patients_of(table), groups_of(table, group_by)
    statistics: dict[Key, Statistic] = {}
    for each in measured:
        statistics |= _statistics(each, everything, None)
        for group in groups:
            statistics |= _statistics(each, group.chosen, group)
    intervals = Intervals(patients, bootstrap(patients.cluster, statistics, replicates, seed), confidence)
    structures = {name: presence_of(table, name) for name in structures_of(table)}
    for each in measured:
        structures[each.structure][each.measure] = _summary(each, everything, None, intervals)
    rows, tests = _groups(groups, measured, intervals)
    family = {"tests": tests, "correction": CORRECTION, "also": ALSO, "note": FAMILY_NOTE}
    return {
        "schema": SCHEMA, "cases": len(table), "patients": patients.to_dict(), "confidence": confidence, "seed": seed,
        "replicates": replicates, "structures": structures, "groups": rows, "groups_left_out": left_out, "family": family,
    }  # fmt: skip


def segmentation_headline(metrics: Mapping[str, Any]) -> str:
    """A few lines for the terminal: each structure's means, and how many outlines were missed."""
    lines = [f"{metrics['cases']:,} cases"]
    for name, record in metrics["structures"].items():
        parts = [f"{NAMES[measure]} {_text(record[measure]['mean'])}" for measure in MEASURES if measure in record]
        one_sided = f", {record['one_sided']:,} with one outline empty" if record["one_sided"] else ""
        lines.append(f"{name}: {record['n']:,} cases, mean {', '.join(parts)}{one_sided}")
    return "\n".join(lines)


def median_statistic(value: Float64[np.ndarray, " m"], rows: Int64[np.ndarray, " m"]) -> Statistic:
    """The median (k = 1) under weights: that of the cases, each repeated as often as its weight says.

    Args:
        value: Of the known cases; may be infinite.
        rows: Where they lie among all n.
    """
    order = np.argsort(value, kind="stable")
    ranked, places = np.append(value[order], np.nan), rows[order]

    def statistic(weights: Weights) -> Float64[np.ndarray, "b 1"]:
        below = np.cumsum(weights[places], axis=0)
        half = below[-1:] / 2 if len(places) else np.zeros((1, weights.shape[1]))
        lower, upper = (below < half).sum(axis=0), (below <= half).sum(axis=0)
        middle = np.where(half[0] > 0, (ranked[lower] + ranked[np.minimum(upper, len(places))]) / 2, np.nan)
        return np.asarray(middle[:, None])

    return statistic


def _text(figure: Mapping[str, Any]) -> str:
    if figure["value"] is None:
        return f"not known ({figure['reason']})"
    interval = "" if figure["low"] is None else f" ({figure['low']:.3f} to {figure['high']:.3f})"
    return f"{figure['value']:.3f}{interval}"


def _key(each: Measured, what: str, group: Group | None) -> Key:
    """Of the bootstrap draws."""
    return (each.structure, each.measure, what, *((group.column, group.value) if group else ()))


def _statistics(each: Measured, chosen: Bool[np.ndarray, " n"], group: Group | None) -> dict[Key, Statistic]:
    known, finite = each.rows(chosen), each.rows(chosen, finite=True)
    if group is not None and len(finite) < FEWEST_EVENTS:
        return {}
    return {
        _key(each, "mean", group): mean_statistic(each.value[finite][:, None], finite, len(each.value)),
        _key(each, "median", group): median_statistic(each.value[known], known),
    }


def _summary(each: Measured, chosen: Bool[np.ndarray, " n"], group: Group | None, intervals: Intervals) -> dict[str, Any]:
    known, finite = each.rows(chosen), each.rows(chosen, finite=True)
    undefined, infinite = int(chosen.sum()) - len(known), len(known) - len(finite)
    if len(finite) == 0 or (group is not None and len(finite) < FEWEST_EVENTS):
        reason = FEW if group is not None and int(chosen.sum()) else "no case has a value"
        record = {what: missing(len(known), BOOTSTRAP, reason).to_dict() for what in ("mean", "median")}
        return record | {"undefined": undefined, "infinite": infinite}
    mean = intervals.resampled(float(each.value[finite].mean()), finite, _key(each, "mean", group))
    record = {"mean": mean.to_dict(), "median": _median(each, known, group, intervals).to_dict()}
    return record | {"undefined": undefined, "infinite": infinite}


def _median(each: Measured, known: Int64[np.ndarray, " m"], group: Group | None, intervals: Intervals) -> Figure:
    """The median; where infinite distances reach it or its interval, there is no number for that."""
    key = _key(each, "median", group)
    value = float(np.median(each.value[known]))
    if not np.isfinite(value):
        return missing(len(known), BOOTSTRAP, "half of the cases or more have no distance, since one outline is empty")
    drawn = intervals.draws.get(key)
    if drawn is None or not np.isinf(drawn).any():
        return intervals.resampled(value, known, key)
    tail = 0.5 - intervals.confidence / 2
    low, high = np.quantile(drawn[~np.isnan(drawn)], [tail, 1 - tail], method="inverted_cdf")
    method, reason = f"{BOOTSTRAP}, {len(drawn):,} replicates", "the upper end is not bounded: one outline is empty in too many cases"
    if not np.isfinite(high):
        return Figure(value, None, None, len(known), method, reason)
    return Figure(value, float(low), float(high), len(known), method)


def _groups(groups: Sequence[Group], measured: Sequence[Measured], intervals: Intervals) -> tuple[dict[str, list[dict[str, Any]]], int]:
    """By column the groups with means, medians and the differences of means to all other cases; and the number of tests."""
    record: dict[str, list[dict[str, Any]]] = {}
    tests: list[tuple[tuple[str, str, bytes], dict[str, Any]]] = []
    for group in groups:
        structures: dict[str, dict[str, Any]] = {}
        for each in measured:
            compared = _difference(each, group, intervals)
            tests.append(((each.structure, each.measure, group.division(each.rows(np.ones_like(group.chosen), finite=True))), compared))
            summary: Mapping[str, Any] = _summary(each, group.chosen, group, intervals)
            structures.setdefault(each.structure, {})[each.measure] = {**summary, "difference": {"mean": compared}}
        patients = intervals.patients.distinct(group.chosen) if intervals.patients.known else None
        row = {"value": group.value, "n": int(group.chosen.sum()), "patients": patients, "structures": structures}
        record.setdefault(group.column, []).append(row)
    count = adjust(tests)
    return in_order(record), count


def _difference(each: Measured, group: Group, intervals: Intervals) -> dict[str, Any]:
    parts = [each.rows(chosen, finite=True) for chosen in (group.chosen, ~group.chosen)]
    inside, outside = (mean_estimate(each.value[rows], rows, intervals.patients) for rows in parts)
    return difference_record(inside, outside, intervals, alone=len(parts[1]) == 0)
