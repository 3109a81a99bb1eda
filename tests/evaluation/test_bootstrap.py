"""Weighted statistics equal those of the drawn cases; replicates depend on the seed alone."""

import numpy as np
import pytest

from medai.evaluation import bootstrap as module
from medai.evaluation.agreement import agreement_statistic, confusion, mean_absolute_error, quadratic_kappa
from medai.evaluation.auroc import auroc
from medai.evaluation.bootstrap import bootstrap, bootstrap_figure, cluster_weights, macro, mean_statistic, rank_statistic
from medai.evaluation.curve import average_precision


@pytest.mark.parametrize("decimals", [1, 6])
def test_weights_give_what_repeating_the_cases_gives(decimals: int) -> None:
    generator = np.random.default_rng(decimals)
    score, target = np.round(generator.random(150), decimals), generator.random(150) < 0.2
    rows = np.sort(generator.permutation(200)[:150])
    weights = generator.integers(0, 4, (200, 3)).astype(np.float64)
    drawn = rank_statistic(score, target, rows)(weights)
    for row, weight in zip(drawn, weights[rows].T.astype(int), strict=True):
        again, truth = np.repeat(score, weight), np.repeat(target, weight)
        assert row == pytest.approx([auroc(again, truth).value, average_precision(again, truth)], abs=1e-12)


def test_a_replicate_without_a_class_is_undefined() -> None:
    statistic = rank_statistic(np.array([0.1, 0.9]), np.array([False, True]), np.arange(2))
    assert np.isnan(statistic(np.array([[1.0], [0.0]]))).all()
    assert np.isnan(statistic(np.array([[0.0], [1.0]]))[0, 0])
    nothing = rank_statistic(np.array([0.1]), np.array([False]), np.arange(1))
    assert np.isnan(nothing(np.ones((1, 2)))).all()
    assert np.isnan(rank_statistic(np.array([]), np.array([], dtype=bool), np.array([], dtype=np.int64))(np.ones((1, 2)))).all()


def test_agreement_under_weights_is_that_of_the_repeated_cases() -> None:
    generator = np.random.default_rng(0)
    target, decision, weight = generator.integers(0, 4, 80), generator.integers(0, 4, 80), generator.integers(0, 3, 80)
    table = confusion(np.repeat(target, weight), np.repeat(decision, weight), 4)
    drawn = agreement_statistic(target, decision, np.arange(80), 4)(weight[:, None].astype(np.float64))
    assert drawn[0] == pytest.approx([float(quadratic_kappa(table)), float(mean_absolute_error(table))])


def test_quadratic_kappa_is_the_concordance_of_the_class_indices() -> None:
    assert quadratic_kappa(np.diag([5, 3, 2])) == 1
    assert quadratic_kappa(np.array([[0, 0, 4], [0, 0, 0], [4, 0, 0]])) == pytest.approx(-1)
    generator = np.random.default_rng(0)
    target, decision = generator.integers(0, 5, 300), generator.integers(0, 5, 300)
    decision = np.where(generator.random(300) < 0.5, target, decision)
    spread = target.var() + decision.var() + (target.mean() - decision.mean()) ** 2
    concordance = 2 * np.cov(target, decision, ddof=0)[0, 1] / spread  # Lin 1989
    assert quadratic_kappa(confusion(target, decision, 5)) == pytest.approx(concordance)


def test_patients_are_drawn_whole() -> None:
    patient = np.array([0, 0, 0, 1, 2, 2])
    weights = np.concatenate(list(cluster_weights(patient, 50, seed=0)), axis=1).T
    assert weights.shape == (50, 6)
    assert (weights[:, 0] == weights[:, 1]).all()
    assert (weights[:, [0, 3, 4]].sum(axis=1) == 3).all()


def test_replicates_do_not_depend_on_how_many_are_made_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    value, patient, widths = np.arange(10.0)[:, None], np.arange(10), []

    def mean(weights: np.ndarray) -> np.ndarray:
        widths.append(weights.shape[1])
        return (weights.T @ value) / weights.sum(axis=0)[:, None]

    statistics = {("own",): mean, ("fast",): mean_statistic(value, np.arange(10), 10)}
    whole = bootstrap(patient, statistics, 40, seed=1)
    assert max(widths) > 1 and whole[("own",)] == pytest.approx(whole[("fast",)], abs=1e-12)
    widths.clear()
    monkeypatch.setattr(module, "WEIGHTS_AT_ONCE", 1)
    assert (bootstrap(patient, statistics, 40, seed=1)[("own",)] == whole[("own",)]).all() and set(widths) == {1}
    assert (bootstrap(patient, statistics, 40, seed=2)[("own",)] != whole[("own",)]).any()


def test_the_interval_of_a_mean_is_about_the_normal_one() -> None:
    value = np.random.default_rng(0).normal(size=400)
    drawn = bootstrap(np.arange(400), {("mean",): mean_statistic(value[:, None], np.arange(400), 400)}, 2000, seed=0)[("mean",)]
    figure = bootstrap_figure(float(value.mean()), 400, drawn[:, 0], clustered=False, patients=400)
    half = 1.96 * value.std() / 20
    assert (figure.low, figure.high) == pytest.approx((value.mean() - half, value.mean() + half), abs=0.01)
    assert figure.method == "percentile bootstrap of cases, 2,000 replicates"


def test_the_macro_statistic_is_the_mean_on_the_same_draw() -> None:
    rows, weights = np.arange(6), np.ones((6, 1))
    first, second = (rank_statistic(np.arange(6) / 6, np.arange(6) % step == 0, rows) for step in (2, 3))
    assert macro([first, second])(weights) == pytest.approx((first(weights) + second(weights)) / 2)


@pytest.mark.parametrize(
    ("replicates", "patients", "reason"),
    [
        (np.array([np.nan, np.nan, 0.5]), 10, "too few replicates are defined"),
        (np.array([0.4, 0.5, 0.6]), 1, "one patient"),
        (np.ones(3), 10, "all replicates are equal"),
        (None, 10, "no replicates"),
    ],
)
def test_without_an_honest_interval_there_is_a_reason(replicates: np.ndarray | None, patients: int, reason: str) -> None:
    figure = bootstrap_figure(0.5, 20, replicates, clustered=True, patients=patients)
    assert (figure.value, figure.low, figure.high, figure.reason) == (0.5, None, None, reason)
