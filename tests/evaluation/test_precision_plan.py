"""Precision and power: published values, closed forms against simulation, and the command."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from medai.cli_precision import counts_of_test, development_prevalences
from medai.cli_precision import precision as command
from medai.cohort.cohort import Cohort
from medai.cohort.schema import TEST_LABELS
from medai.core.error import MedaiError
from medai.evaluation.auroc import auroc, paired_auroc
from medai.evaluation.power import (
    auroc_half_width,
    auroc_power,
    cases_needed,
    design_effect,
    detectable_auroc,
    detectable_difference,
    hanley_mcneil_variance,
    paired_power,
    positives_needed,
    proportion_half_width,
)
from medai.evaluation.precision_plan import planned_beside_reached, precision, simulate
from medai.evaluation.proportion import wilson
from medai.ingest.ingest import ingest
from medai.source.npz import NpzSource


@pytest.mark.parametrize(("prevalence", "half"), [(0.01, 0.0217), (0.05, 0.0097), (0.1, 0.0069)])
def test_hanley_mcneil_half_widths_at_35000_cases(prevalence: float, half: float) -> None:
    assert auroc_half_width(0.9, 35_000 * prevalence, 35_000 * (1 - prevalence)) == pytest.approx(half, abs=5e-5)
    plan = precision({"x": prevalence}, 35_000)
    assert plan["labels"]["x"]["figures"]["auroc"]["half_width"] == pytest.approx(half, abs=5e-5)


def test_power_is_that_of_proc() -> None:
    assert auroc_power(0.73, 41, 72) == pytest.approx(0.9897453, abs=5e-8)
    assert positives_needed(0.8, 0.9, 3) == pytest.approx(11.53534, abs=5e-6)
    one_sided = auroc_power(0.6, 41, 72, two_sided=False)
    assert one_sided > auroc_power(0.6, 41, 72) and one_sided == pytest.approx(auroc_power(0.6, 41, 72, alpha=0.1))


def test_the_detectable_auroc_is_that_of_proc_and_more_exact() -> None:
    found = detectable_auroc(0.95, 41, 72)
    assert found == pytest.approx(0.6961054, abs=1.3e-4)  # pROC's root is searched with R's default tolerance of 1.22e-4
    assert auroc_power(found, 41, 72) == pytest.approx(0.95, abs=1e-9)


def test_power_of_a_paired_comparison_is_that_of_proc(shared_oracles: Path) -> None:
    table = pl.read_csv(shared_oracles / "asah.csv")
    truth = (table["outcome"] == "Poor").to_numpy()
    ndka, wfns = (table[name].cast(pl.Float64).to_numpy() for name in ("ndka", "wfns"))
    first, second, pair = auroc(ndka, truth), auroc(wfns, truth), paired_auroc(ndka, wfns, truth)
    power = paired_power(first.value, second.value, first.variance, second.variance, pair.covariance)
    assert power == pytest.approx(0.7131594, abs=5e-8)


def test_hanley_mcneil_is_the_variance_of_exponential_scores() -> None:
    """For scores of exponential distributions the formula is exact."""
    random = np.random.default_rng(0)
    values = []
    for _ in range(1500):
        score = np.concatenate([random.exponential(4, 20), random.exponential(1, 60)])
        values.append(auroc(score, np.arange(80) < 20).value)
    assert np.mean(values) == pytest.approx(0.8, abs=0.005)
    assert np.var(values) == pytest.approx(hanley_mcneil_variance(0.8, 20, 60), rel=0.12)


def test_the_detectable_difference_has_the_power_that_was_asked_for() -> None:
    variance, correlation = 0.0004, 0.6
    difference = detectable_difference(variance, correlation, 0.8)
    assert paired_power(0.8, 0.8 + difference, variance, variance, correlation * variance) == pytest.approx(0.8, abs=1e-9)


def test_the_number_of_cases_reaches_the_half_width_and_one_less_does_not() -> None:
    cases = cases_needed(0.85, 0.07, 0.02, effect=1.4)
    halves = [auroc_half_width(0.85, n * 0.07 / 1.4, n * 0.93 / 1.4) for n in (cases, cases - 1)]
    assert halves[0] <= 0.02 < halves[1]


def test_a_design_effect_grows_with_the_size_of_the_clusters_and_their_likeness() -> None:
    assert design_effect(np.ones(9), 0.9) == 1
    assert design_effect(np.array([4, 4]), 0.25) == 1.75
    assert design_effect(np.array([1, 7]), 0.25) == pytest.approx(1 + (50 / 8 - 1) * 0.25)
    with pytest.raises(MedaiError, match="the ICC is 1.5; expected from 0 to 1"):
        design_effect(np.ones(2), 1.5)


def test_a_proportion_is_planned_by_wilson() -> None:
    low, high = wilson(90, 100)
    assert proportion_half_width(0.9, 100) == pytest.approx((high - low) / 2)


def test_formulas_and_simulation_agree_where_cases_are_independent() -> None:
    plan = precision({"x": 0.3}, 400, auroc=0.8, sensitivity=0.85, specificity=0.7, simulations=300)
    planned, drawn = plan["labels"]["x"]["figures"], plan["labels"]["x"]["simulated"]
    for name in ("auroc", "sensitivity", "specificity"):
        assert drawn[name]["mean"] == pytest.approx(planned[name]["assumed"], abs=0.01)
        assert drawn[name]["half_width"] == pytest.approx(planned[name]["half_width"], abs=4 * drawn[name]["error"])


def test_alike_cases_of_a_patient_widen_the_simulated_interval_and_no_more_than_planned() -> None:
    sizes = np.full(60, 5)
    options: dict[str, Any] = {"auroc": 0.8, "sensitivity": 0.8, "specificity": 0.8, "simulations": 250, "seed": 1}
    alone, alike = (simulate(0.4, sizes, icc=icc, **options) for icc in (0.0, 0.9))
    planned = precision({"x": 0.4}, 300, 60, auroc=0.8, sensitivity=0.8, specificity=0.8, icc=0.9)["labels"]["x"]["figures"]
    for name in ("auroc", "sensitivity", "specificity"):
        assert alike[name]["half_width"] > 1.3 * alone[name]["half_width"]
        assert alike[name]["half_width"] < planned[name]["half_width"] + 3 * alike[name]["error"]


def test_a_simulation_is_repeated_by_its_seed() -> None:
    options: dict[str, Any] = {"auroc": 0.8, "sensitivity": 0.8, "specificity": 0.8, "icc": 0.2, "simulations": 5}
    first, again, other = (simulate(0.4, np.full(20, 2), seed=seed, **options) for seed in (0, 0, 1))
    assert first == again != other


def test_a_label_with_hardly_an_event_is_planned_with_a_warning() -> None:
    labels = precision({"rare": 0.0001, "few": 0.003}, 2_000)["labels"]
    assert labels["rare"]["figures"] == {} and "fewer than one independent case" in labels["rare"]["warning"]
    assert labels["few"]["warning"] == "too few events" and labels["few"]["figures"]["auroc"]["half_width"] > 0.1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prevalence": {"x": 1.5}}, "the prevalence of 'x' is 1.5; expected between 0 and 1"),
        ({"auroc": 0.4}, "the AUROC is 0.4; expected between 0.5 and 1"),
        ({"sensitivity": 1.0}, "the sensitivity is 1; expected between 0 and 1"),
        ({"patients": 200}, "from one patient up to one a case, got 100 cases and 200 patients"),
        ({"power": 1.0}, "the power is 1; expected between 0 and 1"),
        ({"reference": 1.0}, "the reference's AUROC is 1; expected between 0.5 and 1"),
        ({"correlation": 1.0}, "the correlation of two AUROCs is 1; expected -1 to below 1"),
        ({"simulations": 1}, "a simulation needs at least 2 test sets, got 1"),
    ],
)
def test_an_impossible_assumption_is_told_in_one_line(change: dict[str, Any], message: str) -> None:
    with pytest.raises(MedaiError, match=message):
        precision(**({"prevalence": {"x": 0.2}, "cases": 100} | change))


def test_the_plan_stands_beside_what_was_reached() -> None:
    plan = precision({"x": 0.2, "absent": 0.1}, 1000)
    figure = {"value": 0.91, "low": 0.88, "high": 0.94, "n": 990, "method": "DeLong"}
    reached = {"labels": {"x": {"n": 990, "events": 180, "auroc": figure, "sensitivity": figure | {"low": None, "high": None}}}}
    beside = planned_beside_reached(plan, reached)
    assert list(beside["labels"]) == ["x"] and json.dumps(beside)
    record = beside["labels"]["x"]
    assert (record["planned_events"], record["events"], record["n"]) == (200, 180, 990)
    assert record["figures"]["auroc"]["reached_half_width"] == pytest.approx(0.03)
    assert record["figures"]["auroc"]["planned_half_width"] == plan["labels"]["x"]["figures"]["auroc"]["half_width"]
    assert record["figures"]["sensitivity"]["reached_half_width"] is None


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    folder, random, arrays = tmp_path_factory.mktemp("cohort"), np.random.default_rng(0), {}
    for split, count in (("train", 40), ("val", 10), ("test", 30)):
        arrays[f"{split}_images"] = random.integers(0, 255, (count, 9, 9), dtype=np.uint8)
        arrays[f"{split}_labels"] = (np.arange(count, dtype=np.uint8)[:, None] % 5 == 0).astype(np.uint8)
    np.savez(folder / "set.npz", **arrays)
    target = {"name": "sick", "kind": "binary", "classes": ["no", "yes"]}
    return ingest(NpzSource("set", str(folder / "set.npz"), [target], public=True), folder / "cohorts", workers=0)


def test_a_cohort_is_planned_without_its_test_labels(cohort: Cohort, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (cohort.path / TEST_LABELS).unlink()
    assert counts_of_test(cohort) == (30, 30)
    assert development_prevalences(cohort) == {"sick": 0.2}
    assert command([str(cohort.path), "--output", str(tmp_path / "plan.json")]) == 0
    assert "30 cases of 30 patients, design effect 1.00" in capsys.readouterr().out
    plan = json.loads((tmp_path / "plan.json").read_text())
    assert plan == json.loads(json.dumps(precision({"sick": 0.2}, 30, 30)))


def test_the_command_prints_a_row_a_label(capsys: pytest.CaptureFixture[str]) -> None:
    settings = ["--cases", "600", "--patients", "300", "--prevalence", "nodule=0.1", "0.25", "--simulate", "20", "--half-width", "0.03"]
    assert command(settings) == 0
    printed = capsys.readouterr().out
    rows = {line.split("  ")[0]: line.split() for line in printed.splitlines() if line}
    expected = precision({"nodule": 0.1}, 600, 300, half_width=0.03)["labels"]["nodule"]
    assert rows["nodule"][1] == "60" and rows["nodule"][2] == f"±{expected['figures']['auroc']['half_width']:.4f}"
    assert rows["nodule"][-1] == f"{expected['cases_needed']:,}"
    assert "prevalence 0.25" in rows and printed.count("simulated") == 2


def test_the_command_tells_the_power_over_another_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert command(["--cases", "2000", "--prevalence", "nodule=0.1", "--reference", "0.87", "--power", "0.9"]) == 0
    printed = capsys.readouterr().out.splitlines()
    variances = [hanley_mcneil_variance(area, 200, 1800) for area in (0.87, 0.9)]
    power = paired_power(0.87, 0.9, *variances, 0.5 * math.sqrt(variances[0] * variances[1]))
    assert printed[-2].endswith("positives > 0.5  power over 0.87")
    assert printed[-1].split()[-2:] == [str(math.ceil(positives_needed(0.9, 0.9, 9))), f"{power:.0%}"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ([], "name a cohort, or --cases N and --prevalence P"),
        (["--cases", "9", "--prevalence", "x=y"], "--prevalence 'x=y' is no number"),
        (["--cases", "9", "--prevalence", "x=.1", "x=.2"], "names 'x' twice"),
        (["nowhere"], "the cohort nowhere does not exist"),
        (["--cases", "many"], "precision: argument --cases: invalid int value: 'many'"),
    ],
)
def test_a_wrong_command_line_is_one_line(settings: list[str], message: str) -> None:
    with pytest.raises(MedaiError, match=message):
        command(settings)


def test_a_half_width_is_the_square_root_of_the_variance() -> None:
    assert auroc_half_width(0.8, 30, 50) == pytest.approx(1.959963984540054 * math.sqrt(hanley_mcneil_variance(0.8, 30, 50)))
