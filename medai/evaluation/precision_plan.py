"""What interval widths and what power a test set of a given size buys, before its labels are opened."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Int64
from scipy.special import ndtri

from medai.core.draw import generator
from medai.core.error import MedaiError
from medai.evaluation.auroc import auroc as area_under
from medai.evaluation.figure import CONFIDENCE
from medai.evaluation.power import (
    auroc_half_width,
    auroc_power,
    between,
    cases_needed,
    design_effect,
    detectable_auroc,
    detectable_difference,
    hanley_mcneil_variance,
    paired_power,
    positives_needed,
    proportion_half_width,
)
from medai.evaluation.proportion import normal_quantile

SCHEMA = "medai.precision/1"
FIGURES = ("auroc", "sensitivity", "specificity")
HANLEY_MCNEIL = "Hanley and McNeil 1982"
EXPECTED_WILSON = "Wilson at the assumed value"
FEWEST_EVENTS = 10


def simulate(
    prevalence: float, cases_of_patient: Int64[np.ndarray, " p"], *, auroc: float, sensitivity: float, specificity: float, icc: float,
    simulations: int, seed: int, confidence: float = CONFIDENCE,
) -> dict[str, dict[str, float]]:  # fmt: skip
    """The half-widths that repeating the study would show: the spread of the estimates over simulated test sets.

    Scores are binormal with equal variances. Truth and score of a case share a normal part with the patient's other cases
    (`icc` of the latent truth's variance, and of the score's within a class).

    Args:
        prevalence: Share of positives, between 0 and 1.
        cases_of_patient: (p,) number of cases of each patient.
        auroc: The true area, between 0 and 1.
        sensitivity: The true sensitivity at one threshold.
        specificity: The true specificity at another.
        icc: How alike cases of a patient are, from 0 to 1.
        simulations: Test sets to draw, at least 2.
        seed: Of the draws.
        confidence: Coverage.

    Returns:
        By figure `mean`, `half_width`, and `error`, the half-width's Monte Carlo standard error; figures that fewer than two
        simulations define are left out.
    """
    if simulations < 2:
        raise MedaiError(f"a simulation needs at least 2 test sets, got {simulations}")
    for name, share in (
        ("the prevalence", prevalence),
        ("the AUROC", auroc),
        ("the sensitivity", sensitivity),
        ("the specificity", specificity),
    ):
        between(share, name)
    patient = np.repeat(np.arange(len(cases_of_patient)), cases_of_patient)
    apart = float(ndtri(auroc)) * math.sqrt(2)
    cut, at_sensitivity, at_specificity = float(ndtri(prevalence)), apart - float(ndtri(sensitivity)), float(ndtri(specificity))
    drawn = np.full((simulations, len(FIGURES)), np.nan)
    for row in range(simulations):
        random = generator(seed, 0, row, "precision")
        shared, own = random.standard_normal((2, len(cases_of_patient))), random.standard_normal((2, len(patient)))
        latent, score = math.sqrt(icc) * shared[:, patient] + math.sqrt(1 - icc) * own
        truth = latent < cut
        if 0 < truth.sum() < len(truth):
            score = score + apart * truth
            called = score[truth] >= at_sensitivity
            drawn[row] = area_under(score, truth).value, called.mean(), (score[~truth] < at_specificity).mean()
    half = normal_quantile(confidence)
    found = {}
    for column, name in enumerate(FIGURES):
        values = drawn[np.isfinite(drawn[:, column]), column]
        if len(values) >= 2:
            width = half * float(values.std(ddof=1))
            found[name] = {"mean": float(values.mean()), "half_width": width, "error": width / math.sqrt(2 * (len(values) - 1))}
    return found


def precision(
    prevalence: Mapping[str, float], cases: int, patients: int | None = None, *,
    auroc: float = 0.9, sensitivity: float = 0.9, specificity: float = 0.9, icc: float = 0.5, correlation: float = 0.5,
    power: float = 0.8, half_width: float | None = None, reference: float | None = None,
    confidence: float = CONFIDENCE, simulations: int = 0, seed: int = 0,
) -> dict[str, Any]:  # fmt: skip
    """The plan of a test set: half-widths and power of each label, from counts and assumptions alone.

    Args:
        prevalence: Assumed share of positives by label, between 0 and 1.
        cases: Cases of the test set.
        patients: Its patients; None where each has one case. Their cases are spread evenly.
        auroc: Assumed area, above 0.5.
        sensitivity: Assumed sensitivity.
        specificity: Assumed specificity.
        icc: How alike cases of a patient are.
        correlation: Between the AUROCs of two models on the same cases.
        power: For which the smallest detectable AUROC and difference are given.
        half_width: Of the AUROC, for which the number of cases is given.
        reference: AUROC of another model on the same cases; the power to tell the assumed one from it is given.
        confidence: Coverage of the intervals; tests have the size 1 - confidence.
        simulations: Test sets to simulate a label; 0 for none.
        seed: Of the simulation.

    Returns:
        A JSON-able record: `labels.<name>.figures.<figure>` has `assumed`, `half_width` and `method`.

    Raises:
        MedaiError: an assumption is out of its range, or there are more patients than cases.

    Example:
        >>> precision({"effusion": 0.05}, 35_000)["labels"]["effusion"]["figures"]["auroc"]["half_width"]
        0.0097...
    """
    if cases < 1 or not 1 <= (cases if patients is None else patients) <= cases:
        raise MedaiError(f"a plan needs cases, and from one patient up to one a case, got {cases} cases and {patients} patients")
    between(auroc, "the AUROC", 0.5, 1)
    if reference is not None:
        between(reference, "the reference's AUROC", 0.5, 1)
    for name, share in (("the sensitivity", sensitivity), ("the specificity", specificity), ("the confidence", confidence)):
        between(share, name)
    count = cases if patients is None else patients
    sizes = np.full(count, cases // count) + (np.arange(count) < cases % count)
    effect = design_effect(sizes, icc)
    assumed = {"auroc": auroc, "sensitivity": sensitivity, "specificity": specificity}
    labels = {}
    for number, (name, share) in enumerate(prevalence.items()):
        between(share, f"the prevalence of {name!r}")
        record = _label(share, cases, effect, assumed, correlation, power, confidence)
        if reference is not None and record["figures"]:
            record["power_above_reference"] = _power_above(reference, auroc, record, effect, correlation, 1 - confidence)
        if half_width is not None:
            record["cases_needed"] = cases_needed(auroc, share, half_width, effect, confidence)
        if simulations:
            drawn = simulate(share, sizes, **assumed, icc=icc, simulations=simulations, seed=seed + number, confidence=confidence)
            record["simulated"] = drawn
        labels[name] = record
    return {
        "schema": SCHEMA, "cases": cases, "patients": patients, "icc": icc, "design_effect": effect, "confidence": confidence,
        "power": power, "correlation": correlation, "half_width": half_width, "reference": reference,
        "simulations": simulations, "seed": seed, "labels": labels,
    }  # fmt: skip


def _label(
    share: float, cases: int, effect: float, assumed: Mapping[str, float], correlation: float, power: float, confidence: float
) -> dict[str, Any]:
    events = cases * share
    positives, negatives = events / effect, (cases - events) / effect
    record: dict[str, Any] = {"prevalence": share, "events": round(events), "rest": round(cases - events), "figures": {}}
    if min(positives, negatives) < 1:
        return record | {"warning": "fewer than one independent case of a class is expected"}
    alpha, auc = 1 - confidence, assumed["auroc"]
    widths = {
        "auroc": (auroc_half_width(auc, positives, negatives, confidence), HANLEY_MCNEIL),
        "sensitivity": (proportion_half_width(assumed["sensitivity"], positives, confidence), EXPECTED_WILSON),
        "specificity": (proportion_half_width(assumed["specificity"], negatives, confidence), EXPECTED_WILSON),
    }
    record["figures"] = {
        name: {"assumed": assumed[name], "half_width": width, "method": method} for name, (width, method) in widths.items()
    }
    variance = hanley_mcneil_variance(auc, positives, negatives)
    try:
        detectable: float | None = detectable_auroc(power, positives, negatives, alpha=alpha)
    except MedaiError:
        detectable = None
    difference = detectable_difference(variance, correlation, power, alpha=alpha)
    few = "too few events" if min(events, cases - events) < FEWEST_EVENTS else ""
    return record | {
        "power_above_chance": auroc_power(auc, positives, negatives, alpha=alpha),
        "positives_above_chance": math.ceil(positives_needed(auc, power, negatives / positives, alpha=alpha) * effect),
        "detectable_auroc": detectable,
        "detectable_difference": difference,
        "warning": few,
    }


def _power_above(reference: float, auc: float, record: Mapping[str, Any], effect: float, correlation: float, alpha: float) -> float:
    """The power to tell two models on the same cases apart, where Hanley and McNeil give both variances."""
    sizes = record["events"] / effect, record["rest"] / effect
    null, other = (hanley_mcneil_variance(area, *sizes) for area in (reference, auc))
    return paired_power(reference, auc, null, other, correlation * math.sqrt(null * other), alpha=alpha)


def planned_beside_reached(plan: Mapping[str, Any], metrics: Mapping[str, Any]) -> dict[str, Any]:
    """The plan's half-widths beside those that the evaluation reached, for the record `precision` of the metrics.

    Args:
        plan: As `precision` gives it.
        metrics: Of an evaluation.

    Returns:
        For each label of both its planned and its actual events, and for each figure `assumed`, `value`, `planned_half_width`,
        `reached_half_width` (None where there is no interval) and `method`, that of the plan.
    """
    labels = {}
    for name, planned in plan["labels"].items():
        reached = metrics["labels"].get(name)
        if reached is None:
            continue
        figures = {key: _beside(figure, reached[key]) for key, figure in planned["figures"].items() if key in reached}
        labels[name] = {"n": reached["n"], "planned_events": planned["events"], "events": reached.get("events"), "figures": figures}
    return {"confidence": plan["confidence"], "cases": plan["cases"], "design_effect": plan["design_effect"], "labels": labels}


def _beside(planned: Mapping[str, Any], reached: Mapping[str, Any]) -> dict[str, Any]:
    ends = reached["low"], reached["high"]
    return {
        "assumed": planned["assumed"], "value": reached["value"], "planned_half_width": planned["half_width"],
        "reached_half_width": None if None in ends else (ends[1] - ends[0]) / 2, "method": planned["method"],
    }  # fmt: skip
