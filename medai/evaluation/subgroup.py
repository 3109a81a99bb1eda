"""What the groups say together: the worst one, the gaps between them, and how many tests were made."""

from collections.abc import Mapping, Sequence
from typing import Any

from medai.evaluation.figure import Figure
from medai.evaluation.group import Group
from medai.evaluation.interval import Intervals
from medai.evaluation.subgroup_estimate import Estimate, Lacking, estimates, in_the_large_estimate
from medai.evaluation.subgroup_gap import expected_maximum, gap_record, spreads_of
from medai.evaluation.table import LabelData

CORRECTION = "Holm"
ALSO = "Benjamini-Hochberg"
FAMILY_NOTE = (
    "All differences of all groups, labels and metrics are one family. Holm bounds the chance of any false finding, "
    "Benjamini-Hochberg the share of false ones among the findings."
)
CAUTION = (
    "The worst of many groups looks worse than it is, since chance spreads the groups: compare it with the worst that is expected "
    "if all groups were equal, and read its interval, which allows for the choice."
)

Found = dict[str, Estimate | Lacking]


def subgroups_metrics(
    rows: Mapping[str, Sequence[Mapping[str, Any]]],
    groups: Sequence[Group],
    data: Sequence[LabelData],
    thresholds: Mapping[str, float],
    intervals: Intervals,
) -> dict[str, Any]:
    """Worst group by label, gaps by column and label, and the family of tests.

    Args:
        rows: What `groups_metrics` gave for the same groups.
        groups: From `groups_of`.
        data: Known cases of each label.
        thresholds: Of the binary labels, frozen on validation.
        intervals: Patients and confidence.

    Returns:
        `worst`: {label: {metric: the group with the lowest value, its figure with an interval that is simultaneous over all groups,
        `groups` looked at, `overall`, `expected_if_equal`}}; `gaps`: {column: {label: {``"tpr"``, ``"fpr"`` (equalised odds, Hardt et
        al. 2016) and ``"calibration"`` (in the large), or ``"accuracy"``: figure, `highest`, `lowest`, ...}}}; `family`; `caution`.
        Cases of unknown group make no group of their own here.
    """
    named = [group for group in groups if not group.unknown]
    worst: dict[str, Any] = {}
    gaps: dict[str, dict[str, Any]] = {group.column: {} for group in named}
    for each in (label.ranked() for label in data):
        threshold = thresholds.get(each.label.name)
        found = [(group, estimates(each.take(group.chosen), threshold, intervals.patients, intervals.area)) for group in named]
        everywhere = estimates(each, threshold, intervals.patients, intervals.area)
        worst[each.label.name] = _worst(found, everywhere, each, intervals.confidence)
        for column, by_label in gaps.items():
            of_column = [(group, estimate) for group, estimate in found if group.column == column]
            by_label[each.label.name] = _gaps(of_column, each, intervals)
    return {"worst": worst, "gaps": gaps, "family": _family(rows, groups, data), "caution": CAUTION}


def _worst(
    found: Sequence[tuple[Group, Found]], everywhere: Mapping[str, Estimate | Lacking], data: LabelData, confidence: float
) -> dict[str, Any]:
    """By metric the group with the lowest value, where two or more have enough events."""
    record: dict[str, Any] = {}
    for metric, overall in everywhere.items():
        candidates = [(group, part[metric]) for group, part in found]
        known = [(group, part) for group, part in candidates if isinstance(part, Estimate)]
        if len(known) < 2 or isinstance(overall, Lacking):
            continue
        group, lowest = min(known, key=lambda each: each[1].value)
        simultaneous = 1 - (1 - confidence) / len(known)
        method = f"{lowest.method}, simultaneous over {len(known)} groups (Bonferroni)"
        inside = data.take(group.chosen)
        record[metric] = {
            "column": group.column, "group": group.value, "n": len(inside.rows),
            **({"events": int((inside.target == 1).sum())} if data.label.kind == "binary" else {}),
            "figure": Figure(lowest.value, *lowest.limits(simultaneous), lowest.n, method).to_dict(),
            "groups": len(known), "overall": overall.value,
            "expected_if_equal": max(0.0, overall.value - expected_maximum(spreads_of([part for _, part in known]))),
        }  # fmt: skip
    return record


def _gaps(found: Sequence[tuple[Group, Found]], data: LabelData, intervals: Intervals) -> dict[str, Any]:
    patients, confidence = intervals.patients, intervals.confidence
    if data.label.kind != "binary":
        return {"accuracy": gap_record({group.value: part["accuracy"] for group, part in found}, patients, confidence)}
    calibration = {group.value: in_the_large_estimate(data.take(group.chosen), intervals) for group, _ in found}
    return {
        "tpr": gap_record({group.value: part["sensitivity"] for group, part in found}, patients, confidence),
        "fpr": gap_record({group.value: part["specificity"] for group, part in found}, patients, confidence, of="complement"),
        "calibration": gap_record(calibration, patients, confidence),
    }


def _family(rows: Mapping[str, Sequence[Mapping[str, Any]]], groups: Sequence[Group], data: Sequence[LabelData]) -> dict[str, Any]:
    """How many differences were tested; the two of one division count once."""
    records = {(column, row["value"]): row["labels"] for column, of_column in rows.items() for row in of_column}
    tests = {
        (each.label.name, metric, group.division(each.rows))
        for group in groups
        for each in data
        for metric, figure in records[group.column, group.value][each.label.name]["difference"].items()
        if figure["p"] is not None
    }
    return {"tests": len(tests), "correction": CORRECTION, "also": ALSO, "note": FAMILY_NOTE}
