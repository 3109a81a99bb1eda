"""Who is drawn: whole patients, within strata, by (seed, number) alone; who is left out: everyone once."""

import numpy as np
import pytest

from medai.core.error import MedaiError
from medai.evaluation import bootstrap as module
from medai.evaluation.bootstrap import bootstrap, cluster_weights, event_strata, jackknife, mean_statistic, rank_statistic
from medai.evaluation.resample import LeaveOut, Population, drawn_counts

CLUSTER = np.array([0, 0, 1, 2, 2, 2, 3, 4])


def test_patients_with_any_event_are_a_stratum_of_their_own() -> None:
    event = np.array([False, True, False, False, False, False, True, False])
    assert event_strata(CLUSTER, event).tolist() == [1, 1, 0, 0, 0, 0, 1, 0]


def test_every_replicate_holds_as_many_patients_of_each_stratum_as_the_data() -> None:
    strata = np.array([1, 1, 0, 0, 0, 0, 1, 0])
    counts = drawn_counts(Population.of(CLUSTER, strata), range(200), seed=0)
    assert (counts[[0, 3]].sum(axis=0) == 2).all() and (counts[[1, 2, 4]].sum(axis=0) == 3).all()
    plain = drawn_counts(Population.of(CLUSTER), range(200), seed=0)
    assert (plain.sum(axis=0) == 5).all() and len(np.unique(plain[[0, 3]].sum(axis=0))) > 1
    weights = np.concatenate(list(cluster_weights(CLUSTER, 200, 0, strata)), axis=1)
    assert (weights == counts[CLUSTER]).all()


def test_a_patient_is_drawn_as_often_as_chance_has_it() -> None:
    counts = drawn_counts(Population.of(np.arange(50)), range(2000), seed=1)
    assert counts.mean() == 1
    assert counts.var() == pytest.approx(1 - 1 / 50, abs=0.02)  # binomial(50, 1/50)
    assert np.corrcoef(counts[0], counts[1])[0, 1] == pytest.approx(-1 / 49, abs=0.08)


def test_strata_that_tear_a_patient_apart_are_refused() -> None:
    with pytest.raises(MedaiError, match="patient 2 lies in two strata; give all cases of a patient the same, e.g. by event_strata"):
        Population.of(CLUSTER, np.array([0, 0, 0, 1, 1, 0, 0, 0]))
    with pytest.raises(MedaiError, match="one value a case, got 2 for 8 cases"):
        bootstrap(CLUSTER, {("m",): mean_statistic(np.ones((8, 1)), np.arange(8), 8)}, 5, 0, strata=np.zeros(2, dtype=np.int64))


def test_replicates_depend_neither_on_threads_nor_on_the_size_of_a_block(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    score, target, rows, cluster = random.random(300), random.random(300) < 0.3, np.arange(300), np.arange(300) // 2

    def own(weights: np.ndarray) -> np.ndarray:
        return (weights * score[:, None]).sum(axis=0)[:, None]

    statistics = {("rank",): rank_statistic(score, target, rows), ("own",): own}
    first = bootstrap(cluster, statistics, 150, seed=5, threads=1)
    again = bootstrap(cluster, statistics, 150, seed=5, threads=3)
    monkeypatch.setattr(module, "COLUMNS", (7, 7))
    small = bootstrap(cluster, statistics, 150, seed=5)
    for key in statistics:
        assert np.array_equal(first[key], again[key])
        assert first[key] == pytest.approx(small[key], abs=1e-12)
    assert np.array_equal(bootstrap(cluster, statistics, 40, seed=5)[("rank",)], first[("rank",)][:40])


def test_everyone_is_left_out_once_in_groups_of_like_size_within_the_strata() -> None:
    random = np.random.default_rng(0)
    strata = np.sort(random.integers(0, 2, 3000))
    leave_out = LeaveOut.of(Population.of(np.arange(3000), strata), seed=0, most=100)
    counts = leave_out.counts(range(len(leave_out.stratum)))
    assert (counts.sum(axis=1) == counts.shape[1] - 1).all()
    missing = 3000 - counts.sum(axis=0)
    assert 95 <= len(missing) <= 100 and missing.max() - missing.min() <= 2
    for code in (0, 1):
        assert (counts[strata != code][:, leave_out.stratum == code] == 1).all()
    single = LeaveOut.of(Population.of(np.arange(30)), seed=0)
    assert (single.counts(range(30)).sum(axis=0) == 29).all() and len(single.stratum) == 30


def test_the_jackknife_gives_each_mean_without_one_patient() -> None:
    value = np.random.default_rng(1).random((8, 1))
    found = jackknife(CLUSTER, {("mean",): mean_statistic(value, np.arange(8), 8)}, seed=0)
    expected = sorted(value[patient != CLUSTER].mean() for patient in range(5))
    assert sorted(found.values[("mean",)][:, 0]) == pytest.approx(expected, abs=1e-12)


def test_the_jackknife_leaves_out_within_the_strata() -> None:
    value, strata = np.random.default_rng(2).random((8, 1)), np.array([1, 1, 0, 0, 0, 0, 1, 0])
    found = jackknife(CLUSTER, {("mean",): mean_statistic(value, np.arange(8), 8)}, seed=0, strata=strata)
    for code, patients in ((0, (1, 2, 4)), (1, (0, 3))):
        expected = sorted(value[patient != CLUSTER].mean() for patient in patients)
        assert sorted(found.values[("mean",)][found.stratum == code, 0]) == pytest.approx(expected, abs=1e-12)


def test_strata_leave_out_the_chance_of_the_prevalence() -> None:
    """The spread of a Brier score is that of a mean of all cases without strata, and of means of the classes within them."""
    random = np.random.default_rng(3)
    event = random.random(1500) < 0.1
    error = np.where(event, random.normal(0.6, 0.2, 1500), random.normal(0.05, 0.03, 1500))
    rows, statistic = np.arange(1500), {("brier",): mean_statistic(error[:, None], np.arange(1500), 1500)}
    plain = bootstrap(rows, statistic, 3000, seed=0)[("brier",)].std()
    strata = bootstrap(rows, statistic, 3000, seed=0, strata=event_strata(rows, event))[("brier",)].std()
    within = sum(part.sum() * error[part].var() for part in (event, ~event))
    assert plain == pytest.approx(error.std() / np.sqrt(1500), rel=0.05)
    assert strata == pytest.approx(np.sqrt(within) / 1500, rel=0.05)
    assert strata < 0.5 * plain


def test_nothing_to_draw_gives_nothing() -> None:
    assert bootstrap(CLUSTER, {}, 10, 0) == {}
    assert bootstrap(CLUSTER, {("m",): mean_statistic(np.ones((8, 1)), np.arange(8), 8)}, 0, 0) == {}
    assert jackknife(CLUSTER, {}, 0).values == {}
