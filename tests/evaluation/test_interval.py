"""Which interval a figure gets."""

import numpy as np
import pytest

from medai.core.error import MedaiError
from medai.evaluation.auroc import auroc_figure
from medai.evaluation.bootstrap import bootstrap, jackknife, mean_statistic, rank_statistic
from medai.evaluation.clustered import clustered_auroc_figure
from medai.evaluation.interval import Intervals
from medai.evaluation.patient import Patients

ROWS = np.arange(120)
CLUSTER = ROWS // 2
ALONE = Patients(ROWS, 120, 120, 0)
REPEATED = Patients(CLUSTER, 60, 60, 0)


@pytest.fixture
def scored() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    target = random.random(120) < 0.4
    return np.round(random.normal(size=120) + target, 1), target


def test_an_auroc_has_delongs_interval_and_obuchowskis_where_patients_repeat(scored: tuple[np.ndarray, np.ndarray]) -> None:
    assert Intervals(ALONE, {}).auroc(*scored, ROWS) == auroc_figure(*scored)
    assert Intervals(REPEATED, {}).auroc(*scored, ROWS, ("a", "rank")) == clustered_auroc_figure(*scored, CLUSTER)
    some = ROWS[20:]
    part = Intervals(REPEATED, {}, 0.9).auroc(scored[0][20:], scored[1][20:], some)
    assert part == clustered_auroc_figure(scored[0][20:], scored[1][20:], CLUSTER[20:], 0.9)


def test_means_and_differences_are_taken_on_the_same_draws(scored: tuple[np.ndarray, np.ndarray]) -> None:
    score, target = scored
    statistics = {("a",): rank_statistic(score, target, ROWS), ("b",): rank_statistic(-(score**2), target, ROWS)}
    draws = bootstrap(CLUSTER, statistics, 300, seed=0)
    intervals = Intervals(REPEATED, draws)
    apart = draws[("a",)][:, 1] - draws[("b",)][:, 1]
    figure = intervals.difference(0.1, ROWS, ("a",), ("b",), column=1)
    assert (figure.low, figure.high) == pytest.approx(tuple(np.quantile(apart, [0.025, 0.975])))
    middle = (draws[("a",)][:, 0] + draws[("b",)][:, 0]) / 2
    figure = intervals.mean(0.6, ROWS, [("a",), ("b",)])
    assert (figure.low, figure.high) == pytest.approx(tuple(np.quantile(middle, [0.025, 0.975])))
    assert figure.method == "percentile bootstrap of patients, 300 replicates"
    assert intervals.mean(0.6, ROWS, [("a",), ("c",)]).reason == "no replicates"


def test_the_difference_of_a_statistic_with_itself_is_without_an_interval() -> None:
    statistic = {("m",): mean_statistic(np.random.default_rng(0).random((120, 1)), ROWS, 120)}
    draws, left_out = bootstrap(CLUSTER, statistic, 100, 0), jackknife(CLUSTER, statistic, 0)
    figure = Intervals(REPEATED, draws, kind="bca", jackknife=left_out).difference(0.0, ROWS, ("m",), ("m",))
    assert (figure.low, figure.reason) == (None, "all replicates are equal")


def test_an_unknown_kind_and_a_bca_without_jackknife_are_refused() -> None:
    with pytest.raises(MedaiError, match="interval is 'bootstrap-t'; allowed: percentile, bca"):
        Intervals(ALONE, {}, kind="bootstrap-t")  # type: ignore[arg-type]
    with pytest.raises(MedaiError, match="BCa intervals need the jackknife"):
        Intervals(ALONE, {("m",): np.zeros((3, 1))}, kind="bca")
