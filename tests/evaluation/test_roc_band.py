import numpy as np
import pytest

from medai.core.label import Label
from medai.evaluation.bootstrap import bootstrap
from medai.evaluation.curve import roc
from medai.evaluation.interval import Intervals
from medai.evaluation.patient import Patients
from medai.evaluation.roc_band import LEVELS, RATES, _levels, band_key, band_statistics, roc_band
from medai.evaluation.table import LabelData

LABEL = Label("sick", "binary", ("no", "yes"))


def _data(n: int, seed: int = 0) -> LabelData:
    random = np.random.default_rng(seed)
    truth = (random.random(n) < 0.4).astype(np.int64)
    score = 1 / (1 + np.exp(-(random.normal(size=n) + 1.5 * truth)))
    return LabelData(LABEL, np.arange(n), score, truth)


def _intervals(data: LabelData, replicates: int) -> Intervals:
    n = len(data.rows)
    patients = Patients(np.arange(n), n, n, 0)
    return Intervals(patients, bootstrap(patients.cluster, band_statistics(data), replicates, seed=0))


def test_a_replicate_is_the_curve_of_the_cases_that_were_drawn() -> None:
    data = _data(60)
    statistic = band_statistics(data)[band_key("sick")]
    counts = np.random.default_rng(1).integers(0, 3, (60, 4)).astype(np.float64)
    for column, heights in zip(counts.T, statistic(counts), strict=True):
        drawn = np.repeat(np.arange(60), column.astype(int))
        curve = roc(data.probability[drawn], data.target[drawn] == 1)
        highest = [np.max(curve.y[curve.x <= rate + 1e-12]) for rate in RATES]  # between two corners the line may only rise further
        assert (heights >= np.array(highest) - 1e-9).all() and heights[-1] == pytest.approx(1)
        # on the corners' own rates it is the curve itself
        on = np.isin(RATES.round(12), curve.x.round(12))
        assert heights[on] == pytest.approx(np.array(highest)[on])


def test_the_band_lies_around_the_curve_and_narrows_with_cases() -> None:
    widths = []
    for n in (100, 1600):
        data = _data(n)
        band = roc_band(data, _intervals(data, 400))
        curve = roc(data.probability, data.target == 1)
        height = np.interp(band["x"], curve.x, curve.y)
        assert (np.array(band["low"]) <= height + 0.02).all() and (np.array(band["high"]) >= height - 0.02).all()
        assert band["n"] == n and "400 replicates" in band["method"]
        widths.append(float(np.mean(np.array(band["high"]) - np.array(band["low"]))))
    assert widths[1] < 0.4 * widths[0]


def test_there_is_no_band_without_draws_or_with_one_class() -> None:
    data = _data(50)
    assert roc_band(data, Intervals(Patients(np.arange(50), 50, 50, 0), {})) == {}
    alone = LabelData(LABEL, data.rows, data.probability, np.ones(50, dtype=np.int64))
    assert roc_band(alone, _intervals(alone, 20)) == {}


def test_levels_keep_the_order_and_the_ties() -> None:
    score = np.random.default_rng(0).normal(size=5_000).round(3)
    levels = _levels(score)
    order = np.argsort(score, kind="stable")
    assert (np.diff(levels[order]) >= 0).all() and len(np.unique(levels)) <= LEVELS
    assert (levels[order][1:][np.diff(score[order]) == 0] == levels[order][:-1][np.diff(score[order]) == 0]).all()
    few = _levels(score[:500])
    assert len(np.unique(few)) == len(np.unique(score[:500]))
