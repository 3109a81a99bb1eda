"""McNemar, Tango and the permutation test: published values, likelihoods maximised by search, and every swap made by hand."""

from itertools import product
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy.optimize import minimize_scalar
from scipy.stats import binomtest, rankdata

from medai.core.error import MedaiError
from medai.core.label import Label
from medai.evaluation.auroc import auroc, paired_auroc, unpaired_auroc
from medai.evaluation.bootstrap import Statistic
from medai.evaluation.comparison.mcnemar import clustered_mcnemar, mcnemar
from medai.evaluation.comparison.metric import drawn_for
from medai.evaluation.comparison.permutation import exhaustive, permutation_differences, permutation_p
from medai.evaluation.comparison.tango import PairedShare, effective_pairs, paired_share
from medai.evaluation.curve import average_precision
from medai.evaluation.table import LabelData


def stacked(first: np.ndarray, second: np.ndarray, target: np.ndarray) -> Statistic:
    """The statistic that `compare_tables` permutes: AUROC and average precision."""
    label, rows = Label("x", "binary", ("no", "yes")), np.arange(len(target))
    data = [LabelData(label, rows, score, target.astype(np.int64)) for score in (first, second)]
    return drawn_for("binary")[0].stacked(*data, len(target))


def permutation_test(
    first: np.ndarray, second: np.ndarray, target: np.ndarray, cluster: np.ndarray | None = None, *, replicates: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """Difference of two AUROCs and its p, as `compare_tables` puts them together."""
    units = np.arange(len(target)) if cluster is None else cluster
    swaps = permutation_differences({("x",): stacked(first, second, target)}, units, replicates, seed)[("x",)][:, 0]
    difference = auroc(first, target).value - auroc(second, target).value
    return difference, permutation_p(difference, swaps, exhaustive=exhaustive(units, replicates))


@pytest.fixture
def asah(shared_oracles: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    table = pl.read_csv(shared_oracles / "asah.csv")
    return (*(table[name].cast(pl.Float64).to_numpy() for name in ("wfns", "s100b")), (table["outcome"] == "Poor").to_numpy())


def test_the_one_sided_and_the_unpaired_test_are_those_of_proc(asah: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    first, second, target = asah
    assert paired_auroc(first, second, target).p_greater == pytest.approx(0.0135878911145941, abs=1e-12)
    assert paired_auroc(second, first, target).p_greater == pytest.approx(1 - 0.0135878911145941, abs=1e-12)
    result = unpaired_auroc(auroc(first, target), auroc(second, target))
    assert (result.statistic, result.p) == pytest.approx((1.43490640926908, 0.152825378808796), abs=1e-9)


def test_non_inferiority_agrees_with_the_interval(asah: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    result = paired_auroc(asah[1], asah[0], asah[2])
    assert result.p_above(result.low) == pytest.approx(0.025, abs=1e-12)
    assert result.p_above(result.low - 0.001) < 0.025 < result.p_above(result.low + 0.001)


def test_the_unpaired_test_needs_two_of_each_class_on_both_sides() -> None:
    alone = auroc(np.array([0.1, 0.2, 0.3]), np.array([False, False, True]))
    with pytest.raises(MedaiError, match="on both sides, got 1 positives and 2 negatives"):
        unpaired_auroc(alone, alone)


def test_mcnemar_has_the_published_values() -> None:
    result = mcnemar(86, 150)
    assert (round(result.chi2_corrected, 8), float(f"{result.p_corrected:.5e}")) == (16.81779661, 4.11456e-05)
    assert result.exact == pytest.approx(binomtest(86, 236).pvalue, rel=1e-12)
    small = mcnemar(1, 7)  # Fagerland, Lydersen and Laake 2013, table 1: exact 0.0703, mid-p 0.0391
    assert (round(small.exact, 4), round(small.mid_p, 4), round(small.chi2, 2), round(small.p, 4)) == (0.0703, 0.0391, 4.5, 0.0339)
    assert mcnemar(7, 1).exact == small.exact


@pytest.mark.parametrize("counts", [(0, 1), (3, 3), (2, 9), (12, 30)])
def test_exact_and_mid_p_are_sums_over_the_binomial(counts: tuple[int, int]) -> None:
    total = sum(counts)
    share = np.array([binomtest(k, total, alternative="less").pvalue for k in range(total + 1)])
    point, apart = np.diff(share, prepend=0), np.abs(2 * np.arange(total + 1) - total)
    beyond, equal = point[apart > abs(counts[0] - counts[1])].sum(), point[apart == abs(counts[0] - counts[1])].sum()
    assert mcnemar(*counts).exact == pytest.approx(beyond + equal, abs=1e-12)
    assert mcnemar(*counts).mid_p == pytest.approx(beyond + equal / 2, abs=1e-12)


def test_without_discordant_pairs_nothing_differs() -> None:
    result = mcnemar(0, 0)
    assert (result.exact, result.mid_p, result.p, result.p_corrected, result.chi2_corrected) == (1, 1, 1, 1, 0)
    with pytest.raises(MedaiError, match="counts of 0 or more"):
        mcnemar(-1, 2)


def test_clustered_mcnemar_is_mcnemars_for_single_cases_and_ignores_copies() -> None:
    difference = np.repeat([1, -1, 0], [20, 9, 40])
    z, p = clustered_mcnemar(difference, np.arange(69))
    assert (z**2, p) == pytest.approx((mcnemar(20, 9).chi2, mcnemar(20, 9).p))
    assert clustered_mcnemar(np.tile(difference, 6), np.tile(np.arange(69), 6)) == pytest.approx((z, p))
    assert clustered_mcnemar(np.zeros(5), np.arange(5)) == (0, 1)


def test_tangos_interval_has_the_published_value() -> None:
    share = PairedShare(1, 1, 7, 12)
    assert np.round(share.interval(), 5) == pytest.approx((-0.51723, -0.02600), abs=1e-12)
    assert share.difference == pytest.approx(-6 / 21)


@pytest.mark.parametrize("counts", [(1, 1, 7, 12), (43, 0, 1, 0), (0, 0, 0, 12), (30, 9, 2, 40), (0, 5, 0, 0), (2, 0, 9, 9)])
@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_at_its_ends_the_score_of_the_likelihood_is_the_quantile(counts: tuple[int, int, int, int], confidence: float) -> None:
    share = PairedShare(*counts)
    for end, sign in zip(share.interval(confidence), (1, -1), strict=True):
        if abs(end) == 1:
            assert end == np.sign(share.difference)
            continue
        assert _z_by_search(counts, end) == pytest.approx(sign * {0.9: 1.6448536, 0.95: 1.9599640}[confidence], abs=1e-4)
        assert share.p_above(end) == pytest.approx((1 - confidence) / 2 if sign > 0 else (1 + confidence) / 2, abs=1e-8)


def _z_by_search(counts: tuple[int, int, int, int], bound: float) -> float:
    """Tango's statistic with the nuisance parameter found by maximising the likelihood numerically."""
    _, first, second, _ = counts
    n, low, high = sum(counts), max(0.0, -bound), (1 - bound) / 2

    def loss(share: float) -> float:
        parts = ((first, share + bound), (second, share), (n - first - second, 1 - bound - 2 * share))
        return -sum(count * np.log(max(part, 1e-300)) for count, part in parts if count)

    best = minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": 1e-12}).x
    return float((first - second - n * bound) / np.sqrt(n * (2 * best + bound * (1 - bound))))


def test_tangos_interval_mirrors() -> None:
    low, high = PairedShare(30, 9, 2, 40).interval()
    assert PairedShare(30, 2, 9, 40).interval() == pytest.approx((-high, -low), abs=1e-10)
    assert PairedShare(30, 9, 2, 40).z() ** 2 == pytest.approx(mcnemar(9, 2).chi2)


def test_tangos_interval_covers() -> None:
    generator = np.random.default_rng(3)
    drawn = generator.multinomial(50, [0.62, 0.15, 0.08, 0.15], 4000)
    kept, times = np.unique(drawn, axis=0, return_counts=True)
    covered = [low <= 0.07 <= high for low, high in (PairedShare(*row.tolist()).interval() for row in kept)]
    assert 0.94 <= np.average(covered, weights=times) <= 0.965


def test_repeating_patients_widen_tangos_interval() -> None:
    generator = np.random.default_rng(5)
    first, second = generator.random(60) < 0.8, generator.random(60) < 0.7
    plain = paired_share(first, second).interval()
    copied = paired_share(np.tile(first, 4), np.tile(second, 4), np.tile(np.arange(60), 4))
    assert copied.difference == pytest.approx(first.mean() - second.mean())
    assert copied.n == pytest.approx(60, rel=0.02)
    assert copied.interval() == pytest.approx(plain, abs=0.01)
    assert effective_pairs(np.zeros(12), np.repeat(np.arange(3), 4)) == 3
    assert paired_share(first, second, np.arange(60)).interval() == pytest.approx(plain, abs=1e-9)


@pytest.mark.parametrize("counts", [(0, 0, 0, 0), (1, -1, 2, 3)])
def test_counts_that_are_none_are_refused(counts: tuple[int, int, int, int]) -> None:
    with pytest.raises(MedaiError, match="needs counts of 0 or more and one case"):
        PairedShare(*counts)


def test_a_bound_outside_is_refused() -> None:
    with pytest.raises(MedaiError, match="bound between -1 and 1, got -1"):
        PairedShare(1, 2, 3, 4).p_above(-1)


def test_few_patients_are_permuted_in_every_way() -> None:
    generator = np.random.default_rng(0)
    target = np.array([1, 0, 1, 0, 0, 1, 1, 0, 0, 1], dtype=bool)
    cluster = np.array([0, 0, 1, 2, 3, 3, 4, 5, 5, 6])
    first, second = np.round(generator.random((2, 10)) + 0.5 * target, 1)
    ranks = rankdata(first), rankdata(second)
    found = []
    for bits in product([False, True], repeat=7):
        swap = np.array(bits)[cluster]
        one, other = np.where(swap, ranks[1], ranks[0]), np.where(swap, ranks[0], ranks[1])
        found.append(
            (auroc(one, target).value - auroc(other, target).value, average_precision(one, target) - average_precision(other, target))
        )
    expected = np.array(found)
    drawn = permutation_differences({("x",): stacked(first, second, target)}, cluster, 128, 0)[("x",)]
    assert exhaustive(cluster, 128) and not exhaustive(cluster, 127)
    assert np.sort(drawn, axis=0) == pytest.approx(np.sort(expected, axis=0), abs=1e-12)
    difference, p = permutation_test(first, second, target, cluster, replicates=200)
    assert difference == pytest.approx(auroc(first, target).value - auroc(second, target).value)
    assert p == (np.abs(expected[:, 0]) >= abs(difference) - 1e-12).mean()


def test_random_swaps_agree_with_swaps_made_one_by_one_and_follow_the_seed(asah: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    first, second, target = asah
    difference, p = permutation_test(first, second, target, replicates=8000, seed=1)
    assert difference == pytest.approx(0.0923102981, abs=1e-9)
    one, other, generator, hits = rankdata(first), rankdata(second), np.random.default_rng(77), 0
    for _ in range(4000):
        swap = generator.random(len(target)) < 0.5
        drawn = auroc(np.where(swap, other, one), target).value - auroc(np.where(swap, one, other), target).value
        hits += abs(drawn) >= difference - 1e-12
    assert p == pytest.approx(hits / 4000, abs=0.011)  # three Monte Carlo errors of the two
    assert permutation_test(first, second, target, seed=1) == permutation_test(1e6 * first, second, target, seed=1)
    assert permutation_test(first, second, target, seed=2) != permutation_test(first, second, target, seed=1)


def test_of_equal_models_the_permutation_test_rejects_at_its_level() -> None:
    generator, p = np.random.default_rng(8), []
    for seed in range(200):
        cluster = np.repeat(np.arange(30), 2)
        target = np.repeat(generator.random(30) < 0.5, 2)
        if target.all() or not target.any():
            continue
        latent = generator.normal(size=60) + target
        first, second = latent + generator.normal(size=(2, 60))
        p.append(permutation_test(first, second, target, cluster, replicates=99, seed=seed)[1])
    assert np.mean(np.array(p) <= 0.05) < 0.1
    assert np.mean(p) == pytest.approx(0.5, abs=0.08)


def test_a_permutation_test_needs_cases() -> None:
    with pytest.raises(MedaiError, match="needs cases, got none"):
        permutation_differences({}, np.zeros(0, dtype=np.int64), 10, 0)
