"""Several models on the same cases: their figures, the differences of each two, and what these prove."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Float64

from medai.core.label import Label
from medai.evaluation.auroc import absent_class
from medai.evaluation.bootstrap import Key, bootstrap
from medai.evaluation.comparison.check import Thresholds, check_metric, check_settings, few_replicates, frozen_thresholds
from medai.evaluation.comparison.difference import Difference, auroc_difference, drawn_difference, share_difference
from medai.evaluation.comparison.metric import HIGHER_IS_BETTER, drawn_for, named_for, shares_for
from medai.evaluation.comparison.permutation import exhaustive, permutation_differences, permutation_p
from medai.evaluation.comparison.shared import Shared, share_cases
from medai.evaluation.comparison.verdict import NonInferiority, concluded
from medai.evaluation.figure import CONFIDENCE, Figure, missing
from medai.evaluation.interval import Intervals
from medai.evaluation.table import LabelData

SCHEMA = "medai.comparison/1"
MACRO = ("auroc", "average_precision")
Draws = dict[Key, Float64[np.ndarray, "r k"]]


@dataclass(frozen=True)
class _Plan:
    """What is compared, and how.

    Attributes:
        shared: The models on the same cases.
        pairs: (model, reference) of each comparison.
        thresholds: By label, then model; a label without thresholds for all models is not there.
        metric: The primary one.
        margin: Of non-inferiority in the primary metric.
        confidence: Coverage.
        exhaustive: Whether all swaps are made.
        draws: Bootstrap replicates by (model, label, statistic).
        swaps: Differences under swaps by (model, reference, label, statistic).
        observed: The statistics on the cases themselves, keys as of `draws`.
    """

    shared: Shared
    pairs: tuple[tuple[str, str], ...]
    thresholds: Mapping[str, Mapping[str, float]]
    metric: str
    margin: float | None
    confidence: float
    exhaustive: bool
    draws: Draws
    swaps: Draws
    observed: Draws


def compare_tables(
    tables: Mapping[str, pl.DataFrame],
    labels: Sequence[Label] | None = None,
    thresholds: Thresholds | None = None,
    *,
    reference: str | None = None,
    margin: float | None = None,
    metric: str = "auroc",
    seed: int = 0,
    replicates: int = 2000,
    permutations: int | None = None,
    confidence: float = CONFIDENCE,
    common: bool = False,
) -> dict[str, Any]:
    """Compare models on the same cases.

    AUROCs differ by DeLong's test (Obuchowski's where patients repeat), shares by Tango's interval and McNemar's test, all
    other figures by the bootstrap and the permutation test of patients. The p-values of one metric over all labels and pairs
    are a family, adjusted by Holm, and by Benjamini and Hochberg.

    Args:
        tables: By the model's name, as `read_predictions` gives them.
        labels: What to compare; None for what the columns of all tables name.
        thresholds: Of the binary labels, by label, or by model and then label. A label for which a model has none is compared
            without sensitivity, specificity and accuracy.
        reference: The model that the others are compared with; None compares each two.
        margin: By how much a model may be worse than the reference in the primary metric and still count as not inferior;
            declared before the data were seen.
        metric: The primary metric.
        seed: Of the bootstrap and the permutation test.
        replicates: Of the bootstrap.
        permutations: Swaps of the permutation test; None for as many as `replicates`.
        confidence: Coverage of all intervals; verdicts are at the level 1 - confidence.
        common: Leave out cases that a table lacks; else they are refused.

    Returns:
        A JSON-able record without NaN: models, cases, notes, and for each label the models' figures and a table of differences.

    Raises:
        MedaiError: a table is faulty or contradicts another, or a name, threshold or margin is wrong.

    Example:
        >>> record = compare_tables({"old": old, "new": new}, reference="old", margin=0.05)
        >>> record["labels"]["pneumonia"]["differences"][0]["verdict"]
        'non-inferior'
    """
    swaps = replicates if permutations is None else permutations
    check_settings(tables, reference, margin, confidence, replicates, swaps)
    shared = share_cases(tables, labels, common=common)
    frozen = frozen_thresholds(shared, thresholds or {})
    check_metric(shared, frozen, metric)
    pairs = _pairs(shared.models, reference)
    cluster, singles, stacked = shared.patients.cluster, _singles(shared), _stacked(shared, pairs)
    ones = np.ones((shared.n, 1))
    plan = _Plan(
        shared, pairs, frozen, metric, margin, confidence, exhaustive(cluster, swaps),
        draws=bootstrap(cluster, singles, replicates, seed),
        swaps=permutation_differences(stacked, cluster, swaps, seed),
        observed={key: statistic(ones) for key, statistic in singles.items()},
    )  # fmt: skip
    compared = {name: _differences(plan, name) for name in shared.data}
    rows = [row for of_label in compared.values() for row in of_label]
    families = concluded(rows, confidence)
    return {
        "schema": SCHEMA, "models": list(shared.models), "reference": reference, "cases": shared.n,
        "left_out": dict(shared.left_out), "labels_left_out": list(shared.labels_left_out), "patients": shared.patients.to_dict(),
        "confidence": confidence, "seed": seed, "replicates": replicates, "permutations": swaps, "metric": metric, "margin": margin,
        "correction": {"method": "Holm", "families": families, "note": _FAMILIES},
        "notes": _notes(shared, pairs, replicates),
        "labels": {name: _record(plan, name) | {"differences": [_row(row) for row in compared[name]]} for name in shared.data},
        "macro": _macro(plan),
    }  # fmt: skip


_FAMILIES = "The p-values of one metric, over all labels and pairs of models, are a family; verdicts go by Holm's."


def _notes(shared: Shared, pairs: Sequence[tuple[str, str]], replicates: int) -> list[str]:
    """What a reader of the figures has to know first."""
    said = []
    for model, reference in pairs:
        if all(np.array_equal(each[model].probability, each[reference].probability) for each in shared.data.values()):
            said.append(f"{model} and {reference} have the same scores in every case: there is no difference to show.")
    return [*said, *few_replicates(replicates)]


def _pairs(models: Sequence[str], reference: str | None) -> tuple[tuple[str, str], ...]:
    if reference is None:
        return tuple((second, first) for first, second in combinations(models, 2))
    return tuple((model, reference) for model in models if model != reference)


def _singles(shared: Shared) -> dict[Key, Any]:
    return {
        (model, name, each.name): each.single(data, shared.n)
        for name, of_model in shared.data.items()
        for model, data in of_model.items()
        if len(data.rows)
        for each in drawn_for(data.label.kind)
    }


def _stacked(shared: Shared, pairs: Sequence[tuple[str, str]]) -> dict[Key, Any]:
    return {
        (*pair, name, each.name): each.stacked(of_model[pair[0]], of_model[pair[1]], shared.n)
        for name, of_model in shared.data.items()
        for pair in pairs
        if len(of_model[pair[0]].rows)
        for each in drawn_for(of_model[pair[0]].label.kind)
    }


@dataclass(frozen=True)
class Compared:
    """A row of the table of differences before its p-values are adjusted.

    Attributes:
        model: The one that is looked at.
        reference: The one that is taken off.
        metric: What is compared.
        primary: Whether it is the primary metric.
        difference: Model minus reference.
        non_inferiority: The test against the margin, where there is one.
        conclusion: Filled in by `concluded`: adjusted p-values and the verdict.
    """

    model: str
    reference: str
    metric: str
    primary: bool
    difference: Difference
    non_inferiority: NonInferiority | None
    conclusion: dict[str, Any]


def _differences(plan: _Plan, name: str) -> list[Compared]:
    kind = next(iter(plan.shared.data[name].values())).label.kind
    primary = named_for(plan.metric, kind)
    rows = []
    for model, reference in plan.pairs:
        for metric, difference in _of_pair(plan, name, model, reference).items():
            rows.append(_compared(plan, model, reference, metric, metric == primary, difference))
    return rows


def _compared(plan: _Plan, model: str, reference: str, metric: str, primary: bool, difference: Difference) -> Compared:
    test = None
    if plan.margin is not None and primary:
        better = HIGHER_IS_BETTER.get(metric, True)
        one_sided = difference.above if better else difference.below
        test = NonInferiority(plan.margin, None if one_sided is None else one_sided(-plan.margin if better else plan.margin))
    return Compared(model, reference, metric, primary, difference, test, {})


def _of_pair(plan: _Plan, name: str, model: str, reference: str) -> dict[str, Difference]:
    shared, found = plan.shared, {}
    first, second = shared.data[name][model], shared.data[name][reference]
    for each in drawn_for(first.label.kind):
        for column, metric in enumerate(each.columns):
            value, draws, swaps = _drawn(plan, model, reference, [name], each.name, column)
            if metric == "auroc":
                difference = auroc_difference(first, second, shared.patients, plan.confidence)
                if swaps is not None and difference.figure.value is not None:
                    difference.details["p_permutation"] = permutation_p(difference.figure.value, swaps, exhaustive=plan.exhaustive)
            else:
                difference = drawn_difference(value, first, draws, swaps, shared.patients, plan.confidence, exhaustive=plan.exhaustive)
            found[metric] = difference
    limits = plan.thresholds.get(name, {})
    shares = [shares_for(data, limits.get(which)) for which, data in ((model, first), (reference, second))]
    for metric, (counted, right) in shares[0].items():
        other = shares[1][metric][1]
        found[metric] = share_difference(
            right[counted], other[counted], first.rows[counted], shared.patients, plan.confidence, empty=_empty(metric)
        )
    return found


def _drawn(
    plan: _Plan, model: str, reference: str, names: Sequence[str], statistic: str, column: int
) -> tuple[float, Float64[np.ndarray, " r"] | None, Float64[np.ndarray, " q"] | None]:
    """Difference, its replicates and its swaps, as the mean over labels."""
    keys = [((model, name, statistic), (reference, name, statistic)) for name in names]
    if any(key not in plan.observed for pair in keys for key in pair):
        return float("nan"), None, None
    value = float(np.mean([plan.observed[one][0, column] - plan.observed[other][0, column] for one, other in keys]))
    draws = np.mean([plan.draws[one][:, column] - plan.draws[other][:, column] for one, other in keys], axis=0) if plan.draws else None
    swaps = np.mean([plan.swaps[(model, reference, name, statistic)][:, column] for name in names], axis=0) if plan.swaps else None
    return value, draws, swaps


def _record(plan: _Plan, name: str) -> dict[str, Any]:
    of_model = plan.shared.data[name]
    first = next(iter(of_model.values()))
    record: dict[str, Any] = {"kind": first.label.kind, "n": len(first.rows), "unknown": plan.shared.n - len(first.rows)}
    if first.label.kind == "binary":
        record |= {"events": int((first.target == 1).sum()), "thresholds": plan.thresholds.get(name)}
    figures = {model: _figures(plan, name, model, data) for model, data in of_model.items()}
    return record | {"models": {model: {key: figure.to_dict() for key, figure in each.items()} for model, each in figures.items()}}


def _figures(plan: _Plan, name: str, model: str, data: LabelData) -> dict[str, Figure]:
    intervals, figures = Intervals(plan.shared.patients, plan.draws, plan.confidence), {}
    for each in drawn_for(data.label.kind):
        key = (model, name, each.name)
        for column, metric in enumerate(each.columns):
            value = float(plan.observed[key][0, column]) if key in plan.observed else float("nan")
            if metric == "auroc":
                figures[metric] = intervals.auroc(data.probability, data.target == 1, data.rows, key)
            elif not np.isfinite(value):
                figures[metric] = missing(len(data.rows), "percentile bootstrap", "a class has no cases" if len(data.rows) else "no cases")
            else:
                figures[metric] = intervals.resampled(value, data.rows, key, column)
    for metric, (counted, right) in shares_for(data, plan.thresholds.get(name, {}).get(model)).items():
        figures[metric] = intervals.share(right[counted], data.rows[counted], _empty(metric))
    return figures


def _empty(metric: str) -> str:
    return {"sensitivity": "no positive cases", "specificity": "no negative cases"}.get(metric, "no cases")


def _macro(plan: _Plan) -> dict[str, Any]:
    """The plain means over the binary labels that have both classes, where there are several. They are in no family."""
    of_label = {name: next(iter(data.values())) for name, data in plan.shared.data.items()}
    names = [name for name, data in of_label.items() if data.label.kind == "binary" and not absent_class(data.target == 1)]
    if len(names) < 2:
        return {}
    rows = np.unique(np.concatenate([of_label[name].rows for name in names]))
    whole, key = LabelData(of_label[names[0]].label, rows, np.zeros(0), np.zeros(0, dtype=np.int64)), ("macro",)
    models: dict[str, Any] = {model: {} for model in plan.shared.models}
    compared = []
    for column, metric in enumerate(MACRO):
        for model in plan.shared.models:
            value = float(np.mean([plan.observed[(model, name, "rank")][0, column] for name in names]))
            means: Draws = {}
            if plan.draws:
                means[key] = np.mean([plan.draws[(model, name, "rank")][:, column : column + 1] for name in names], axis=0)
            models[model][metric] = Intervals(plan.shared.patients, means, plan.confidence).resampled(value, rows, key).to_dict()
        for model, reference in plan.pairs:
            value, draws, swaps = _drawn(plan, model, reference, names, "rank", column)
            difference = drawn_difference(value, whole, draws, swaps, plan.shared.patients, plan.confidence, exhaustive=plan.exhaustive)
            compared.append(_compared(plan, model, reference, metric, metric == plan.metric, difference))
    concluded(compared, plan.confidence)
    return {"labels": names, "n": len(rows), "models": models, "differences": [_row(row) for row in compared]}


def _row(row: Compared) -> dict[str, Any]:
    difference = row.difference
    record: dict[str, Any] = {"model": row.model, "reference": row.reference, "metric": row.metric, "primary": row.primary}
    record["higher_is_better"] = HIGHER_IS_BETTER.get(row.metric, True)
    return record | difference.figure.to_dict() | {"test": difference.test, "p": difference.p} | row.conclusion | difference.details
