"""Weighted statistics equal brute force on the drawn cases: exact pair counts, by patient, with ties and unknown labels."""

from fractions import Fraction

import numpy as np
import pytest

from medai.core.error import MedaiError
from medai.evaluation import weighted as module
from medai.evaluation.auroc import auroc
from medai.evaluation.bootstrap import bootstrap
from medai.evaluation.curve import average_precision
from medai.evaluation.resample import Population, drawn_counts, event_strata
from medai.evaluation.weighted import GroupSums, derived, macro, mean_statistic, rank_statistic, ratio_statistic, summer

TIGHT = 1e-12


def _pairs(score: np.ndarray, target: np.ndarray, weight: np.ndarray) -> float:
    """AUROC as the share of weighted pairs, in whole numbers: 2 for a won pair, 1 for a tied one."""
    positive, negative = score[target][:, None], score[~target]
    won = 2 * (positive > negative).astype(int) + (positive == negative)
    both = int(weight[target].sum()) * int(weight[~target].sum())
    return float(Fraction(int(weight[target] @ won @ weight[~target]), 2 * both)) if both else float("nan")


def _average_precision(score: np.ndarray, target: np.ndarray, weight: np.ndarray) -> float:
    """Sum over distinct thresholds of precision times the gain of recall, exact."""
    positives, total, before = int(weight[target].sum()), Fraction(0), 0
    if positives == 0:
        return float("nan")
    for threshold in np.unique(score)[::-1]:
        called = score >= threshold
        true, all_called = int(weight[called & target].sum()), int(weight[called].sum())
        total += Fraction((true - before) * true, max(1, all_called) * positives)
        before = true
    return float(total)


@pytest.mark.parametrize("decimals", [1, 2, 9])
@pytest.mark.parametrize("share", [0.03, 0.4, 0.97])
@pytest.mark.parametrize("stratified", [False, True])
def test_all_four_statistics_are_those_of_the_drawn_patients(decimals: int, share: float, stratified: bool) -> None:
    random = np.random.default_rng([decimals, int(100 * share)])
    n, replicates = 230, 12
    cluster = np.unique(random.integers(0, 90, n), return_inverse=True)[1]
    rows = np.sort(random.permutation(n)[:200])
    score, target = np.round(random.random(200), decimals), random.random(200) < share
    target[:2] = True, False
    event = np.zeros(n, dtype=bool)
    event[rows] = target
    strata = event_strata(cluster, event) if stratified else None
    called, error = score >= 0.3, (score - target) ** 2
    drawn = bootstrap(
        cluster,
        {
            ("rank",): rank_statistic(score, target, rows),
            ("brier",): mean_statistic(error[:, None], rows, n),
            ("sensitivity",): ratio_statistic(called & target, target, rows, n),
        },
        replicates, seed=3, strata=strata,
    )  # fmt: skip
    weights = drawn_counts(Population.of(cluster, strata), range(replicates), 3)[cluster][rows].T.astype(int)
    for row, weight in enumerate(weights):
        again = np.repeat(np.arange(200), weight)
        expected = [_pairs(score, target, weight), _average_precision(score, target, weight)]
        assert drawn[("rank",)][row] == pytest.approx(expected, abs=TIGHT, nan_ok=True)
        if 0 < target[again].sum() < len(again):
            assert expected == pytest.approx([auroc(score[again], target[again]).value, average_precision(score[again], target[again])])
        assert drawn[("brier",)][row, 0] == pytest.approx(error[again].mean(), abs=TIGHT)
        hits = (called & target)[again].sum() / target[again].sum() if target[again].any() else np.nan
        assert drawn[("sensitivity",)][row, 0] == pytest.approx(hits, abs=TIGHT, nan_ok=True)


def test_float_weights_and_patient_counts_give_the_same() -> None:
    random = np.random.default_rng(0)
    cluster, rows = np.arange(60) // 2, np.arange(60)
    score, target = np.round(random.random(60), 1), random.random(60) < 0.3
    counts = random.integers(0, 4, (30, 5)).astype(np.int16)
    statistic = rank_statistic(score, target, rows)
    by_case = statistic(counts[cluster].astype(np.float64))
    assert statistic.prepare(cluster, 30)(counts) == pytest.approx(by_case, abs=TIGHT)
    assert statistic(counts[cluster] * 0.125) == pytest.approx(by_case, abs=TIGHT)  # weights need not be whole


def test_long_tie_groups_and_large_counts_do_not_overflow_sixteen_bits() -> None:
    n = 9000  # three scores, so that groups hold thousands of cases; one patient with 4,000 of them, drawn 31 times
    random = np.random.default_rng(1)
    score, target, rows = random.integers(0, 3, n) / 2, random.random(n) < 0.5, np.arange(n)
    cluster = np.maximum(rows - 3999, 0)
    counts = random.integers(0, 3, (5001, 2)).astype(np.int16)
    counts[0] = module.MOST_DRAWN
    drawn = rank_statistic(score, target, rows).prepare(cluster, 5001)(counts)
    for column in range(2):
        weight = counts[cluster, column].astype(np.int64)
        assert drawn[column, 0] == pytest.approx(_pairs(score, target, weight), abs=TIGHT)
        assert drawn[column, 1] == pytest.approx(_average_precision(score, target, weight), abs=TIGHT)


def test_patients_drawn_more_often_than_sixteen_bits_allow_are_counted_in_more() -> None:
    from medai.evaluation.bootstrap import Plan

    score, target, rows = np.zeros(3000), np.arange(3000) % 2 == 0, np.arange(3000)
    population = Population.of(np.zeros(3000, dtype=np.int64))
    plan = Plan(
        population, {("rank",): rank_statistic(score + target, target, rows), ("sum",): mean_statistic(score[:, None] + 1, rows, 3000)}
    )
    rank, mean = plan(np.array([[2000]], dtype=np.int16))
    assert (rank == 1).all() and (mean == 1).all()


def test_running_sums_of_groups_are_cumulative_sums() -> None:
    random = np.random.default_rng(2)
    size = np.array([1, 5000, 3, 1024, 1025])
    patient, counts = random.integers(0, 40, size.sum()), random.integers(0, 9, (40, 3)).astype(np.int16)
    sums = GroupSums(patient, size, 40)
    expected = np.cumsum(counts[patient].astype(np.int64), axis=0)[np.cumsum(size) - 1].T
    assert (sums.running(sums.parts(counts)) == expected).all()
    assert sums.parts(counts).max() <= 9 * 1024


def test_ratios_share_columns_and_are_undefined_without_a_denominator() -> None:
    rows, truth, called = np.arange(4), np.array([True, False, False, True]), np.array([True, True, False, False])
    pair = ratio_statistic(np.stack([called & truth, ~called & ~truth], 1), np.stack([truth, ~truth], 1), rows, 4)
    weights = np.array([[1.0, 0.0], [2.0, 1.0], [1.0, 3.0], [0.0, 0.0]])
    assert pair(weights) == pytest.approx(np.array([[1, 1 / 3], [np.nan, 0.75]]), nan_ok=True)
    drawn = bootstrap(np.arange(4), {("a",): pair, ("b",): ratio_statistic(called & truth, truth, rows, 4)}, 30, seed=0)
    assert np.array_equal(drawn[("a",)][:, :1], drawn[("b",)], equal_nan=True)
    assert np.isnan(drawn[("a",)][:, 0]).any()


def test_a_ratio_of_unequal_parts_is_refused() -> None:
    with pytest.raises(MedaiError, match=r"parts of equal shape and their rows below 3, got \(2, 1\), \(3, 1\)"):
        ratio_statistic(np.ones(2), np.ones(3), np.arange(2), 3)
    with pytest.raises(MedaiError, match="rows up to 2"):
        mean_statistic(np.ones((3, 1)), np.arange(3), 2)


def test_a_macro_of_own_and_fast_statistics_is_their_mean_on_the_same_draw() -> None:
    random = np.random.default_rng(4)
    value, cluster = random.random((40, 1)), np.arange(40) // 2
    fast = mean_statistic(value, np.arange(40), 40)

    def own(weights: np.ndarray) -> np.ndarray:
        return (weights.T @ value) / weights.sum(axis=0)[:, None] + 1

    drawn = bootstrap(cluster, {("macro",): macro([fast, own]), ("fast",): fast}, 50, seed=0)
    assert drawn[("macro",)] == pytest.approx(drawn[("fast",)] + 0.5, abs=TIGHT)


def test_sums_by_group_are_those_of_the_drawn_cases_and_empty_groups_stay_empty() -> None:
    random = np.random.default_rng(5)
    group, rows, cluster = random.choice([0, 2, 5], 4000), np.sort(random.permutation(4500)[:4000]), np.arange(4500) // 3
    drawn = bootstrap(cluster, {("sums",): summer(group, rows)}, 10, seed=0)[("sums",)]
    weights = drawn_counts(Population.of(cluster), range(10), 0)[cluster][rows]
    assert drawn.shape == (10, 6)
    for code in range(6):
        assert (drawn[:, code] == weights[group == code].sum(axis=0)).all()
    assert (summer(group, rows)(drawn_counts(Population.of(cluster), range(10), 0)[cluster].astype(float)) == drawn).all()
    nothing = np.zeros(0, dtype=np.int64)
    assert bootstrap(cluster, {("none",): summer(nothing, nothing)}, 3, seed=0)[("none",)].shape == (3, 0)


def test_a_derived_statistic_equals_a_function_of_float_weights() -> None:
    random = np.random.default_rng(6)
    truth, called, rows, cluster = random.random(200) < 0.3, random.random(200) < 0.4, np.arange(200), np.arange(200) // 2
    sums = summer(2 * called.astype(np.int64) + truth, rows)

    def f1(found: np.ndarray) -> np.ndarray:
        return 2 * found[:, 3:] / (2 * found[:, 3] + found[:, 1] + found[:, 2])[:, None]

    drawn = bootstrap(cluster, {("fast",): derived([sums], f1), ("own",): lambda weights: f1(sums(weights))}, 60, seed=0)
    assert drawn[("fast",)] == pytest.approx(drawn[("own",)], abs=TIGHT)
    again = np.repeat(rows, drawn_counts(Population.of(cluster), [7], 0)[cluster, 0])
    both = (truth & called)[again].sum()
    assert drawn[("fast",)][7, 0] == pytest.approx(2 * both / (truth[again].sum() + called[again].sum()), abs=TIGHT)
