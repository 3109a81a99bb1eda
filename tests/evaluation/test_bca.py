"""BCa: against the published formula, scipy's implementation, and its transformation property."""

import numpy as np
import pytest
from scipy import stats

from medai.evaluation.bca import acceleration, bca_interval
from medai.evaluation.bootstrap import bootstrap, bootstrap_figure, jackknife, mean_statistic
from medai.evaluation.interval import Intervals
from medai.evaluation.patient import Patients


def test_the_interval_is_that_of_scipy_on_the_same_replicates() -> None:
    random = np.random.default_rng(0)
    data = random.exponential(size=40)
    seen = stats.bootstrap((data,), np.var, n_resamples=3000, method="BCa", rng=np.random.default_rng(1))
    left_out = np.array([np.var(np.delete(data, i)) for i in range(40)])
    own = bca_interval(float(np.var(data)), seen.bootstrap_distribution, left_out)
    assert own is not None
    assert (own.low, own.high) == pytest.approx((seen.confidence_interval.low, seen.confidence_interval.high), abs=2e-3)
    percentile = np.quantile(seen.bootstrap_distribution, [0.025, 0.975])
    assert abs(own.high - percentile[1]) > 0.05  # so that the test can fail


def test_the_acceleration_of_a_mean_is_its_skewness_over_six_root_n() -> None:
    value = np.random.default_rng(2).exponential(size=60)
    left_out = (value.sum() - value) / 59
    assert acceleration(left_out) == pytest.approx(stats.skew(value) / (6 * np.sqrt(60)), abs=1e-12)
    assert np.isnan(acceleration(np.array([1.0, np.nan, 2.0])))
    assert acceleration(np.full(5, 2.0)) == 0


def test_strata_are_centred_on_their_own_and_scaled_by_their_size() -> None:
    random = np.random.default_rng(3)
    left_out, stratum = random.random(12), np.repeat([4, 9], [5, 7])
    influence = np.concatenate([(left_out[:5].mean() - left_out[:5]) * 4 / 5, (left_out[5:].mean() - left_out[5:]) * 6 / 7])
    assert acceleration(left_out, stratum) == pytest.approx((influence**3).sum() / (6 * (influence**2).sum() ** 1.5), abs=1e-14)


def test_random_groups_of_patients_estimate_the_same_acceleration() -> None:
    value = np.random.default_rng(4).exponential(size=(4000, 1)) ** 2
    statistic = {("mean",): mean_statistic(value, np.arange(4000), 4000)}
    grouped = jackknife(np.arange(4000), statistic, seed=0)
    exact = (value.sum() - value[:, 0]) / 3999
    assert len(grouped.stratum) == 500
    assert acceleration(grouped.values[("mean",)][:, 0], grouped.stratum) == pytest.approx(acceleration(exact), abs=0.002)


def test_a_monotone_transformation_carries_the_interval_along() -> None:
    random = np.random.default_rng(5)
    replicates, left_out = random.gamma(3, size=1999), random.gamma(3, size=30)
    plain = bca_interval(2.5, replicates, left_out)
    twice = bca_interval(5.0, 2 * replicates, 2 * left_out)
    assert plain is not None and twice is not None
    assert (twice.low, twice.high) == pytest.approx((2 * plain.low, 2 * plain.high))
    assert twice.acceleration == pytest.approx(plain.acceleration)


def test_where_all_replicates_lie_on_one_side_there_is_none_and_the_figure_says_so() -> None:
    replicates, left_out = np.linspace(0.5, 0.6, 99), np.linspace(0.4, 0.5, 9)
    assert bca_interval(0.7, replicates, left_out) is None
    assert bca_interval(0.55, np.array([np.nan]), left_out) is None
    figure = bootstrap_figure(0.7, 20, replicates, clustered=False, patients=20, left_out=left_out)
    assert figure.method == "percentile bootstrap of cases, 99 replicates; BCa is undefined here" and figure.low is not None
    corrected = bootstrap_figure(0.56, 20, replicates, clustered=True, patients=20, left_out=left_out)
    assert corrected.method == "BCa bootstrap of patients, 99 replicates"


def test_ties_with_the_estimate_are_counted_half() -> None:
    found = bca_interval(0.5, np.repeat([0.4, 0.5, 0.6], [10, 80, 10]) + 1e-17, np.arange(5.0))
    assert found is not None and found.bias == pytest.approx(0, abs=1e-12)


def test_intervals_of_a_whole_evaluation_use_the_jackknife() -> None:
    value = np.random.default_rng(6).exponential(size=(80, 1))
    cluster, rows = np.arange(80) // 2, np.arange(80)
    statistic = {("mean",): mean_statistic(value, rows, 80)}
    draws, left_out = bootstrap(cluster, statistic, 1500, seed=0), jackknife(cluster, statistic, seed=0)
    patients = Patients(cluster, 40, 40, 0)
    plain = Intervals(patients, draws).resampled(float(value.mean()), rows, ("mean",))
    corrected = Intervals(patients, draws, kind="bca", jackknife=left_out).resampled(float(value.mean()), rows, ("mean",))
    assert corrected.method == "BCa bootstrap of patients, 1,500 replicates"
    assert plain.low is not None and corrected.low is not None and corrected.high is not None and plain.high is not None
    assert corrected.low > plain.low and corrected.high > plain.high  # the mean of a skewed value
