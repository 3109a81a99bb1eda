"""Likelihood ratios, F1, MCC and predictive values agree with formulas of their own, and say why where they do not exist."""

import math
from collections.abc import Callable

import numpy as np
import pytest

from medai.core.error import MedaiError
from medai.core.label import Label
from medai.evaluation.bootstrap import bootstrap
from medai.evaluation.interval import Intervals
from medai.evaluation.operating_point import (
    CORRECTED,
    SIMEL_CLUSTERED,
    at_prevalences,
    likelihood_ratio,
    measures,
    point_figures,
    point_statistic,
    predictive_values,
)
from medai.evaluation.patient import Patients
from medai.evaluation.proportion import proportion, wilson
from medai.evaluation.table import LabelData

KEY = ("x", "point")
Truth = tuple[np.ndarray, np.ndarray]


def table(tp: int, fp: int, fn: int, tn: int) -> Truth:
    """(called, truth) of four counts."""
    called = np.repeat([True, True, False, False], [tp, fp, fn, tn])
    return called, np.repeat([True, False, True, False], [tp, fp, fn, tn])


def label_data(called: np.ndarray, truth: np.ndarray) -> LabelData:
    n = len(truth)
    return LabelData(Label("x", "binary", ("no", "yes")), np.arange(n), np.where(called, 0.9, 0.1), truth.astype(np.int64))


def alone(n: int) -> Patients:
    return Patients(np.arange(n), n, 0, n)


def intervals_of(data: LabelData, patients: Patients, replicates: int = 300) -> Intervals:
    return Intervals(patients, bootstrap(patients.cluster, {KEY: point_statistic(data, 0.5)}, replicates, 0))


def test_predictive_values_at_a_prevalence_are_as_published() -> None:
    ppv, npv = predictive_values(0.9, 0.9, 0.01)
    assert ppv == pytest.approx(0.009 / 0.108, abs=1e-15) and ppv == pytest.approx(0.0833333, abs=5e-8)
    assert npv == pytest.approx(0.891 / 0.892, abs=1e-15) and npv == pytest.approx(0.9988789, abs=5e-8)
    assert math.isnan(predictive_values(0.0, 1.0, 0.1)[0]) and math.isnan(predictive_values(1.0, 0.0, 0.1)[1])


def test_the_interval_of_a_likelihood_ratio_is_simels() -> None:
    tp, fp, fn, tn = 80, 30, 20, 170
    called, truth = table(tp, fp, fn, tn)
    ratio = likelihood_ratio(called, truth)
    half = 1.959963984540054 * math.sqrt(1 / tp - 1 / (tp + fn) + 1 / fp - 1 / (fp + tn))
    value = (tp / 100) / (fp / 200)
    assert (ratio.value, ratio.low, ratio.high) == pytest.approx((value, value * math.exp(-half), value * math.exp(half)), rel=1e-12)
    negative = likelihood_ratio(~called, truth)
    half = 1.959963984540054 * math.sqrt(1 / fn - 1 / 100 + 1 / tn - 1 / 200)
    assert (negative.value, negative.low) == pytest.approx(((fn / 100) / (tn / 200), fn / 100 / (tn / 200) * math.exp(-half)), rel=1e-12)


def test_copies_of_every_case_of_a_patient_do_not_narrow_a_likelihood_ratio() -> None:
    called, truth = table(40, 15, 10, 85)
    single = likelihood_ratio(called, truth, np.arange(150))
    copied = likelihood_ratio(np.repeat(called, 4), np.repeat(truth, 4), np.repeat(np.arange(150), 4))
    assert copied.method == SIMEL_CLUSTERED
    assert (copied.low, copied.high) == pytest.approx((single.low, single.high), rel=1e-12)
    unclustered = likelihood_ratio(called, truth)
    assert math.log(single.high / single.low) == pytest.approx(math.log(unclustered.high / unclustered.low) * math.sqrt(150 / 149))


@pytest.mark.parametrize("repeat", [1, 5])
def test_a_zero_cell_gives_a_bound_and_no_false_certainty(repeat: int) -> None:
    called, truth = (np.repeat(part, repeat) for part in table(30, 0, 10, 60))
    cluster = None if repeat == 1 else np.repeat(np.arange(100), repeat)
    ratio = likelihood_ratio(called, truth, cluster)
    half = 1.959963984540054 * math.sqrt(1 / 30.5 - 1 / 41 + 1 / 0.5 - 1 / 61)
    assert math.isinf(ratio.value) and math.isinf(ratio.high) and ratio.method.endswith(CORRECTED)
    assert ratio.low == pytest.approx((30.5 / 41) / (0.5 / 61) * math.exp(-half), rel=1e-12)
    assert ratio.predictive_value(0.3)[0] == ratio.predictive_value(0.3)[2] == 1
    assert 0.3 < ratio.predictive_value(0.3)[1] < 1
    never = likelihood_ratio(*table(0, 5, 20, 25))
    assert (never.value, never.low) == (0, 0) and 0 < never.high < math.inf
    assert math.isnan(likelihood_ratio(*table(0, 0, 20, 25)).value)
    with pytest.raises(MedaiError, match="needs both classes, got 0 positives and 7 negatives"):
        likelihood_ratio(*table(0, 3, 0, 4))


def test_the_interval_of_a_likelihood_ratio_covers() -> None:
    generator = np.random.default_rng(4)
    covered = 0
    truth = np.repeat([True, False], [60, 140])
    for _ in range(2000):
        called = generator.random(200) < np.where(truth, 0.8, 0.15)
        ratio = likelihood_ratio(called, truth)
        covered += ratio.low <= 0.8 / 0.15 <= ratio.high
    assert 0.935 <= covered / 2000 <= 0.972


def test_the_interval_at_a_prevalence_is_that_of_mercaldo() -> None:
    called, truth = table(80, 30, 20, 170)
    data = label_data(called, truth)
    (row,) = at_prevalences(data, 0.5, Intervals(alone(300), {}), [0.02])
    sensitivity, specificity = 0.8, 0.85
    ppv, npv = predictive_values(sensitivity, specificity, 0.02)
    half = 1.959963984540054 * math.sqrt((1 - sensitivity) / sensitivity / 100 + specificity / (1 - specificity) / 200)
    logit = math.log(ppv / (1 - ppv))
    assert (row["ppv"]["value"], row["npv"]["value"]) == pytest.approx((ppv, npv), abs=1e-12)
    assert row["ppv"]["low"] == pytest.approx(1 / (1 + math.exp(half - logit)), abs=1e-12)
    assert row["ppv"]["high"] == pytest.approx(1 / (1 + math.exp(-half - logit)), abs=1e-12)
    half = 1.959963984540054 * math.sqrt(sensitivity / (1 - sensitivity) / 100 + (1 - specificity) / specificity / 200)
    logit = math.log(npv / (1 - npv))
    assert row["npv"]["low"] == pytest.approx(1 / (1 + math.exp(half - logit)), abs=1e-12)
    assert row["npv"]["high"] == pytest.approx(1 / (1 + math.exp(-half - logit)), abs=1e-12)
    assert row["prevalence"] == 0.02 and "Mercaldo" in row["ppv"]["method"]


def test_at_the_data_s_own_prevalence_the_values_are_the_shares() -> None:
    called, truth = table(80, 30, 20, 170)
    (row,) = at_prevalences(label_data(called, truth), 0.5, Intervals(alone(300), {}), [100 / 300])
    assert row["ppv"]["value"] == pytest.approx(80 / 110) and row["npv"]["value"] == pytest.approx(170 / 190)


@pytest.mark.parametrize("prevalence", [0, 1, -0.1, 1.2, 5])
def test_an_impossible_prevalence_is_refused(prevalence: float) -> None:
    data = label_data(*table(8, 3, 2, 17))
    with pytest.raises(MedaiError, match="expected a share of the people between 0 and 1"):
        at_prevalences(data, 0.5, Intervals(alone(30), {}), [prevalence])


def test_f1_and_mcc_are_those_of_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
    generator = np.random.default_rng(0)
    for _ in range(20):
        called, truth = generator.random(50) < 0.4, generator.random(50) < 0.3
        cells = [np.array([float(part.sum())]) for part in (called & truth, called & ~truth, ~called & truth, ~called & ~truth)]
        expected = (
            metrics.f1_score(truth, called),
            metrics.matthews_corrcoef(truth, called),
            metrics.balanced_accuracy_score(truth, called),
        )
        assert measures(*cells)[0] == pytest.approx(expected, abs=1e-12)


def test_the_weighted_measures_are_those_of_the_repeated_cases() -> None:
    generator = np.random.default_rng(1)
    called, truth = generator.random(80) < 0.4, generator.random(80) < 0.3
    weights = generator.integers(0, 3, (80, 5)).astype(float)
    found = point_statistic(label_data(called, truth), 0.5)(weights)
    for column in range(5):
        again = np.repeat(np.arange(80), weights[:, column].astype(int))
        c, t = called[again], truth[again]
        tp, fp, fn, tn = ((c & t).sum(), (c & ~t).sum(), (~c & t).sum(), (~c & ~t).sum())
        mcc = np.corrcoef(c, t)[0, 1]  # the correlation of two truth values
        assert found[column] == pytest.approx((2 * tp / (2 * tp + fp + fn), mcc, (tp / (tp + fn) + tn / (tn + fp)) / 2), abs=1e-12)


def test_a_table_that_lacks_cells_still_has_all_columns() -> None:
    data = label_data(*table(0, 0, 0, 6))
    assert point_statistic(data, 0.5)(np.ones((6, 2))).shape == (2, 3)


def test_figures_of_independent_cases() -> None:
    data = label_data(*table(80, 30, 20, 170))
    figures = point_figures(data, 0.5, intervals_of(data, alone(300)), KEY)
    assert figures["f1"].value == pytest.approx(160 / 210) and "bootstrap of cases, 300 replicates" in figures["f1"].method
    balanced, (low1, high1), (low2, high2) = figures["balanced_accuracy"], wilson(80, 100), wilson(170, 200)
    assert balanced.value == pytest.approx(0.825)
    assert balanced.low == pytest.approx(0.825 - math.hypot(0.8 - low1, 0.85 - low2) / 2)
    assert balanced.high == pytest.approx(0.825 + math.hypot(high1 - 0.8, high2 - 0.85) / 2)
    for name in ("f1", "mcc", "likelihood_ratio_positive", "likelihood_ratio_negative"):
        figure = figures[name]
        assert figure.low is not None and figure.value is not None and figure.high is not None
        assert figure.low < figure.value < figure.high


def test_figures_of_patients_who_repeat_are_wider() -> None:
    called, truth = table(40, 15, 10, 85)
    data = label_data(np.repeat(called, 4), np.repeat(truth, 4))
    patients = Patients(np.repeat(np.arange(150), 4), 150, 150, 0)
    wide = point_figures(data, 0.5, intervals_of(data, patients, 1000), KEY)
    narrow = point_figures(data, 0.5, intervals_of(data, alone(600), 1000), KEY)
    for name in wide:
        assert wide[name].value == pytest.approx(narrow[name].value)
        assert (wide[name].high - wide[name].low) / (narrow[name].high - narrow[name].low) == pytest.approx(2, rel=0.2), name
    assert "patients" in wide["balanced_accuracy"].method


@pytest.mark.parametrize(
    ("counts", "name", "reason"),
    [
        ((5, 0, 5, 10), "likelihood_ratio_positive", "no false positives, so it is infinite"),
        ((5, 10, 5, 0), "likelihood_ratio_negative", "no true negatives, so it is infinite"),
        ((0, 0, 5, 10), "likelihood_ratio_positive", "no case is called positive"),
        ((0, 0, 5, 10), "mcc", "no case is called positive"),
        ((5, 10, 0, 0), "likelihood_ratio_negative", "no case is called negative"),
        ((5, 10, 0, 0), "mcc", "no case is called negative"),
        ((0, 4, 0, 10), "balanced_accuracy", "no positive cases"),
        ((4, 0, 5, 0), "likelihood_ratio_positive", "no negative cases"),
        ((0, 0, 0, 0), "f1", "no cases"),
    ],
)
def test_a_figure_that_does_not_exist_says_why(counts: tuple[int, int, int, int], name: str, reason: str) -> None:
    data = label_data(*table(*counts))
    figure = point_figures(data, 0.5, Intervals(alone(len(data.rows)), {}), KEY)[name]
    assert (figure.value, figure.low, figure.high, figure.reason) == (None, None, None, reason)
    for row in at_prevalences(data, 0.5, Intervals(alone(len(data.rows)), {}), [0.1]):
        for value in (row["ppv"], row["npv"]):
            assert value["value"] is None or 0 <= value["low"] <= value["value"] <= value["high"] <= 1


@pytest.mark.parametrize("make", [lambda: np.zeros(20, dtype=bool), lambda: np.ones(20, dtype=bool)])
def test_the_exact_interval_is_there_for_shares(make: Callable[[], np.ndarray]) -> None:
    figure = proportion(make(), exact=True)
    assert figure.method == "Clopper-Pearson"
    assert (figure.low, figure.high) == pytest.approx((0, 0.1684335) if figure.value == 0 else (1 - 0.1684335, 1), abs=5e-8)
    clustered = proportion(make(), np.repeat(np.arange(5), 4), exact=True)
    assert clustered.method == "Clopper-Pearson, effective sample size by patient"
    assert clustered.high - clustered.low > figure.high - figure.low
