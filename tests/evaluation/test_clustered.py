"""Obuchowski's variance is that of her formulas, DeLong's where patients have one case, and right where they have several."""

import numpy as np
import pytest
from scipy.special import logit, ndtr, stdtrit

from medai.core.error import MedaiError
from medai.evaluation.auroc import auroc, auroc_figure, paired_auroc
from medai.evaluation.bootstrap import bootstrap, rank_statistic
from medai.evaluation.clustered import (
    NEWCOMBE_PATIENTS,
    OBUCHOWSKI_LOGIT,
    OBUCHOWSKI_SCORE,
    clustered_auroc,
    clustered_auroc_figure,
    clustered_paired_auroc,
)

Simulated = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def simulate(generator: np.random.Generator, patients: int = 60, alike: float = 0.7) -> Simulated:
    """Two scores and the truth of patients with one to four cases, both classes in some patients: (first, second, target, cluster)."""
    cluster = np.repeat(np.arange(patients), generator.integers(1, 5, patients))
    ill = generator.random(patients) < 0.6
    target = ill[cluster] & (generator.random(len(cluster)) < 0.7)
    own = generator.normal(size=patients)[cluster] * np.sqrt(alike)
    scores = [np.round(own + np.sqrt(1 - alike) * generator.normal(size=len(cluster)) + shift * target, 1) for shift in (1.2, 0.8)]
    return scores[0], scores[1], target, cluster


def covariance_by_loops(scores: tuple[np.ndarray, np.ndarray], target: np.ndarray, cluster: np.ndarray) -> float:
    """Obuchowski (1997), section 2, written out case by case."""
    positive, negative = np.flatnonzero(target), np.flatnonzero(~target)
    patients, sums = np.unique(cluster), []
    for score in scores:
        v10 = {i: np.mean([(score[i] > score[j]) + 0.5 * (score[i] == score[j]) for j in negative]) for i in positive}
        v01 = {j: np.mean([(score[i] > score[j]) + 0.5 * (score[i] == score[j]) for i in positive]) for j in negative}
        area = np.mean(list(v10.values()))
        x = [sum(v10[i] for i in positive if cluster[i] == p) - area * sum(cluster[i] == p for i in positive) for p in patients]
        y = [sum(v01[j] for j in negative if cluster[j] == p) - area * sum(cluster[j] == p for j in negative) for p in patients]
        sums.append((np.array(x), np.array(y)))
    m, n, total = len(positive), len(negative), len(patients)
    i10, i01 = len(np.unique(cluster[positive])), len(np.unique(cluster[negative]))
    s10 = i10 / ((i10 - 1) * m) * sums[0][0] @ sums[1][0]
    s01 = i01 / ((i01 - 1) * n) * sums[0][1] @ sums[1][1]
    s11, s11_turned = total / (total - 1) * sums[0][0] @ sums[1][1], total / (total - 1) * sums[1][0] @ sums[0][1]
    return s10 / m + s01 / n + s11 / (m * n) + s11_turned / (m * n)


@pytest.mark.parametrize("seed", range(4))
def test_variance_and_covariance_are_those_of_the_formulas(seed: int) -> None:
    first, second, target, cluster = simulate(np.random.default_rng(seed), 20)
    result = clustered_auroc(first, target, cluster * 7 - 3)
    assert result.value == pytest.approx(auroc(first, target).value, abs=1e-12)
    assert result.variance == pytest.approx(covariance_by_loops((first, first), target, cluster), abs=1e-12)
    paired = clustered_paired_auroc(first, second, target, cluster)
    expected = [covariance_by_loops(pair, target, cluster) for pair in ((first, first), (second, second), (first, second))]
    assert paired.covariance == pytest.approx(expected[2], abs=1e-12)
    assert paired.error**2 == pytest.approx(expected[0] + expected[1] - 2 * expected[2], abs=1e-12)


def test_with_one_case_a_patient_it_is_delong() -> None:
    first, second, target, _ = simulate(np.random.default_rng(9))
    alone = np.random.default_rng(0).permutation(len(target))
    assert clustered_auroc(first, target, alone).variance == pytest.approx(auroc(first, target).variance, abs=1e-14)
    one, other = clustered_paired_auroc(first, second, target, alone), paired_auroc(first, second, target)
    assert (one.z, one.p, one.low, one.high, one.covariance) == pytest.approx(
        (other.z, other.p, other.low, other.high, other.covariance), abs=1e-10
    )


def test_copies_of_the_cases_of_a_patient_add_nothing() -> None:
    first, _, target, _ = simulate(np.random.default_rng(2))
    cluster = np.arange(len(target))
    copied = clustered_auroc(np.tile(first, 5), np.tile(target, 5), np.tile(cluster, 5))
    assert copied.variance == pytest.approx(auroc(first, target).variance, abs=1e-14)
    assert auroc(np.tile(first, 5), np.tile(target, 5)).variance < copied.variance / 4


def test_over_many_studies_it_is_the_variance_of_the_estimates_and_the_interval_covers() -> None:
    generator = np.random.default_rng(4)
    truth = float(ndtr(1.2 / np.sqrt(2)))
    studies = [(first, target, cluster) for first, _, target, cluster in (simulate(generator, 80) for _ in range(1500))]
    results = [clustered_auroc(*study) for study in studies]
    values, variances = np.array([result.value for result in results]), np.array([result.variance for result in results])
    assert variances.mean() == pytest.approx(values.var(ddof=1), rel=0.1)
    assert np.mean([auroc(first, target).variance for first, target, _ in studies]) < 0.8 * values.var(ddof=1)
    figures = [clustered_auroc_figure(*study) for study in studies]
    covered = np.mean([figure.low <= truth <= figure.high for figure in figures if figure.low is not None and figure.high is not None])
    assert 0.93 <= covered <= 0.97  # Monte Carlo error 0.006
    assert np.mean(np.abs(values - truth) <= 1.959964 * np.sqrt(variances)) < covered  # the plain normal interval


def test_it_agrees_with_the_bootstrap_of_patients() -> None:
    first, second, target, cluster = simulate(np.random.default_rng(11), 300)
    statistics = {(name,): rank_statistic(score, target, np.arange(len(target))) for name, score in (("a", first), ("b", second))}
    draws = bootstrap(cluster, statistics, 1500, 0)
    assert np.sqrt(clustered_auroc(first, target, cluster).variance) == pytest.approx(draws[("a",)][:, 0].std(), rel=0.08)
    error = clustered_paired_auroc(first, second, target, cluster).error
    assert error == pytest.approx((draws[("a",)][:, 0] - draws[("b",)][:, 0]).std(), rel=0.08)


def test_the_figure_names_its_method_and_stays_wide_when_the_variance_is_zero() -> None:
    first, _, target, cluster = simulate(np.random.default_rng(3))
    figure = clustered_auroc_figure(first, target, cluster)
    assert figure.method == OBUCHOWSKI_SCORE
    assert figure.low is not None and figure.high is not None and figure.low < figure.value < figure.high
    wald = clustered_auroc_figure(first, target, cluster, kind="wald")
    assert wald.method == OBUCHOWSKI_LOGIT and wald.low is not None and wald.high is not None
    result, freedom = clustered_auroc(first, target, cluster), min(len(set(cluster[target])), len(set(cluster[~target]))) - 1
    half = stdtrit(freedom, 0.975) * np.sqrt(result.variance) / (result.value * (1 - result.value))
    assert logit([wald.low, wald.high]) == pytest.approx(logit(result.value) + np.array([-half, half]))
    perfect = clustered_auroc_figure(target.astype(float), target, cluster)
    assert (perfect.value, perfect.high, perfect.method) == (1, 1, NEWCOMBE_PATIENTS)
    independent = auroc_figure(target.astype(float), target)
    assert perfect.low is not None and independent.low is not None and perfect.low < independent.low < 1


@pytest.mark.parametrize(
    ("target", "reason"), [([True, True], "no negative cases"), ([False, False], "no positive cases"), ([], "no cases")]
)
def test_an_absent_class_gives_a_reason(target: list[bool], reason: str) -> None:
    cases = np.arange(len(target))
    assert clustered_auroc_figure(cases / 2, np.array(target, dtype=bool), cases).reason == reason


def test_one_patient_in_a_class_has_an_interval_but_no_comparison() -> None:
    score, target, cluster = np.array([0.1, 0.4, 0.3, 0.6]), np.array([False, False, True, True]), np.array([0, 1, 2, 2])
    assert np.isnan(clustered_auroc(score, target, cluster).variance)
    assert clustered_auroc_figure(score, target, cluster).method == NEWCOMBE_PATIENTS
    with pytest.raises(MedaiError, match="two patients with cases of each class, got 1"):
        clustered_paired_auroc(score, -score, target, cluster)
    with pytest.raises(MedaiError, match="needs both classes, got 0 positives"):
        clustered_auroc(score, ~target & target, cluster)


def test_a_score_compared_with_itself_differs_by_nothing() -> None:
    first, _, target, cluster = simulate(np.random.default_rng(5))
    result = clustered_paired_auroc(first, 3 * first, target, cluster)
    assert (result.difference, result.error, result.z, result.p) == (0, 0, 0, 1)
