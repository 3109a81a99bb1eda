"""AUROC agrees with pROC, counts ties half, and does not break where a class is absent or perfect."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy.special import ndtri

from medai.core.error import MedaiError
from medai.evaluation.auroc import (
    AREAS,
    DELONG,
    NEWCOMBE,
    PRIOR,
    auroc,
    auroc_figure,
    auroc_interval,
    newcombe,
    paired_auroc,
    placements,
    score_interval,
)
from medai.evaluation.power import hanley_mcneil_variance

MARKERS = {
    "wfns": (0.823678861788618, 0.00146991470882363, 0.7485348878, 0.8988228358),
    "ndka": (0.611957994579946, 0.0031908105493913, 0.501244999271703, 0.722670989888189),
    "s100b": (0.731368563686, 0.00266868245717244, 0.6301182118, 0.8326189156),
}
PAIRS = {
    ("wfns", "s100b"): (2.20898359144091, 0.0271757822291882, 0.0104061769564846, 0.174214419249478, 0.00119615567376754),
    ("wfns", "ndka"): (2.79777591868904, 0.00514557970691098, 0.0634011709339876, 0.360040563483357, -0.000532967856762438),
    ("ndka", "s100b"): (-1.39077002573558, 0.164295175223054, -0.287691744634191, 0.0488706064228094, -0.000756164938056579),
}


@pytest.fixture
def asah(shared_oracles: Path) -> pl.DataFrame:
    return pl.read_csv(shared_oracles / "asah.csv")


def columns(table: pl.DataFrame, name: str) -> tuple[np.ndarray, np.ndarray]:
    return table[name].cast(pl.Float64).to_numpy(), (table["outcome"] == "Poor").to_numpy()


@pytest.mark.parametrize("marker", MARKERS)
def test_auroc_variance_and_interval_are_those_of_proc(asah: pl.DataFrame, marker: str) -> None:
    value, variance, low, high = MARKERS[marker]
    result = auroc(*columns(asah, marker))
    interval = auroc_interval(result, kind="wald")
    assert (result.value, result.variance) == pytest.approx((value, variance), abs=1e-11)
    assert (result.positives, result.negatives) == (41, 72)
    assert interval[:2] == pytest.approx((low, high), abs=1e-9)
    assert interval[2] == DELONG


def test_the_interval_of_a_subset_is_that_of_proc(asah: pl.DataFrame) -> None:
    figure = auroc_figure(*columns(asah.filter(pl.col("gender") == "Female"), "ndka"), kind="wald")
    assert (figure.low, figure.value, figure.high) == pytest.approx((0.5261398281, 0.6671428571, 0.8081458862), abs=1e-9)


@pytest.mark.parametrize("pair", PAIRS)
def test_the_paired_test_is_that_of_proc(asah: pl.DataFrame, pair: tuple[str, str]) -> None:
    target = columns(asah, "wfns")[1]
    result = paired_auroc(columns(asah, pair[0])[0], columns(asah, pair[1])[0], target)
    assert (result.z, result.p, result.low, result.high, result.covariance) == pytest.approx(PAIRS[pair], abs=1e-9)


def test_ties_count_half() -> None:
    generator = np.random.default_rng(1)
    score, target = np.round(generator.random(200), 1), generator.random(200) < 0.3
    above = score[target][:, None] > score[~target]
    tied = score[target][:, None] == score[~target]
    assert auroc(score, target).value == pytest.approx((above + tied / 2).mean(), abs=1e-12)
    of_positive, of_negative = placements(score, target)
    assert of_positive == pytest.approx((above + tied / 2).mean(axis=1))
    assert of_negative == pytest.approx((above + tied / 2).mean(axis=0))
    variance = of_positive.var(ddof=1) / target.sum() + of_negative.var(ddof=1) / (~target).sum()
    assert auroc(score, target).variance == pytest.approx(variance, abs=1e-14)


@pytest.mark.parametrize(("score", "expected"), [([0.1, 0.2, 0.8, 0.9], 1.0), ([0.9, 0.8, 0.2, 0.1], 0.0), ([0.5] * 4, 0.5)])
def test_without_variance_the_score_interval_stays_wide(score: list[float], expected: float) -> None:
    figure = auroc_figure(np.array(score), np.array([False, False, True, True]))
    assert figure.value == expected
    assert figure.method == NEWCOMBE
    assert figure.low is not None
    assert figure.high is not None
    assert 0 <= figure.low <= expected <= figure.high <= 1
    assert figure.high - figure.low > 0.4


def test_newcombes_interval_is_symmetric_and_shrinks() -> None:
    low, high = newcombe(0.9, 30, 50)
    mirrored = newcombe(0.1, 30, 50)
    assert (1 - high, 1 - low) == pytest.approx(mirrored, abs=1e-9)
    assert newcombe(1.0, 300, 300)[0] > newcombe(1.0, 30, 30)[0] > 0.85


def test_one_case_of_a_class_has_an_interval_too() -> None:
    figure = auroc_figure(np.array([0.2, 0.4, 0.3]), np.array([False, False, True]))
    assert (figure.value, figure.method) == (0.5, NEWCOMBE)


@pytest.mark.parametrize(
    ("target", "reason"), [([True, True], "no negative cases"), ([False, False], "no positive cases"), ([], "no cases")]
)
def test_an_absent_class_gives_a_reason_instead_of_a_number(target: list[bool], reason: str) -> None:
    figure = auroc_figure(np.linspace(0, 1, len(target)), np.array(target, dtype=bool))
    assert (figure.value, figure.low, figure.high, figure.reason) == (None, None, None, reason)


def test_auroc_of_one_class_alone_is_refused() -> None:
    with pytest.raises(MedaiError, match="needs both classes, got 2 positives and 0 negatives"):
        auroc(np.array([0.1, 0.2]), np.array([True, True]))


def test_a_score_compared_with_itself_differs_by_nothing() -> None:
    score, target = np.linspace(0, 1, 20), np.arange(20) % 3 == 0
    result = paired_auroc(score, score, target)
    assert (result.difference, result.z, result.p) == (0, 0, 1)


def binormal(random: np.random.Generator, area: float, positives: int, negatives: int) -> tuple[np.ndarray, np.ndarray]:
    target = np.arange(positives + negatives) < positives
    return random.standard_normal(len(target)) + np.sqrt(2) * ndtri(area) * target, target


@pytest.mark.parametrize(("area", "positives", "negatives"), [(0.95, 20, 380), (0.98, 36, 36), (0.8, 10, 30)])
def test_the_score_interval_covers_where_delongs_does_not(area: float, positives: int, negatives: int) -> None:
    random, covered = np.random.default_rng(5), {"score": 0, "wald": 0}
    for _ in range(2000):
        result = auroc(*binormal(random, area, positives, negatives))
        for kind in AREAS:
            low, high, _ = auroc_interval(result, kind=kind)
            covered[kind] += low <= area <= high
    assert 0.93 <= covered["score"] / 2000 <= 0.98 and covered["wald"] / 2000 < 0.925  # Monte Carlo error 0.005


def test_the_ends_of_the_score_interval_are_just_not_rejected() -> None:
    result = auroc(*binormal(np.random.default_rng(0), 0.9, 30, 60))
    scale = (result.freedom * result.variance / hanley_mcneil_variance(result.value, 30, 60) + PRIOR) / (result.freedom + PRIOR)
    low, high = score_interval(result)
    for end in (low, high):
        assert abs(end - result.value) / np.sqrt(scale * hanley_mcneil_variance(end, 30, 60)) == pytest.approx(1.959964, abs=1e-5)
    assert result.value - low > high - result.value


def test_with_many_cases_both_intervals_are_one() -> None:
    result = auroc(*binormal(np.random.default_rng(0), 0.8, 20_000, 20_000))
    assert auroc_interval(result)[:2] == pytest.approx(auroc_interval(result, kind="wald")[:2], abs=2e-4)
