"""The partial AUROC is that of pROC, that of the curve itself, and the same under weights as on repeated cases."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from medai.core.error import MedaiError
from medai.core.label import Label
from medai.evaluation.auroc import auroc
from medai.evaluation.bootstrap import bootstrap
from medai.evaluation.curve import roc, roc_statistic, sensitivity_at
from medai.evaluation.interval import Intervals
from medai.evaluation.partial import BELOW, partial_auroc, partial_metrics, partial_statistic, partial_statistics
from medai.evaluation.patient import patients_of
from medai.evaluation.table import LabelData

LABEL = Label("x", "binary", ("no", "yes"))


def tied(seed: int, n: int = 150) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    target = generator.random(n) < 0.4
    return np.round(generator.normal(size=n) + target, 1), target


def by_trapezoids(score: np.ndarray, target: np.ndarray, low: float, high: float) -> float:
    """The area under the curve between two false-positive rates, from its points."""
    curve = roc(score, target)
    inside = (curve.x > low) & (curve.x < high)
    ends = sensitivity_at(curve, np.array([low, high]))
    first = ends[0] if low > 0 else curve.y[curve.x == 0].max()
    last = np.interp(high, curve.x, curve.y) if not (curve.x == high).any() else curve.y[curve.x == high].min()
    x, y = np.r_[low, curve.x[inside], high], np.r_[first, curve.y[inside], last]
    return float(np.sum(np.diff(x) * (y[1:] + y[:-1]) / 2))


@pytest.mark.parametrize(("focus", "expected"), [("specificity", 0.0334417344173442), ("sensitivity", 0.0400999322493225)])
def test_the_partial_areas_of_asah_are_those_of_proc(shared_oracles: Path, focus: str, expected: float) -> None:
    table = pl.read_csv(shared_oracles / "asah.csv")
    score, target = table["wfns"].cast(pl.Float64).to_numpy(), (table["outcome"] == "Poor").to_numpy()
    assert partial_auroc(score, target, focus) == pytest.approx(expected, abs=1e-12)
    assert partial_auroc(score, target, focus, (0.9, 1)) == partial_auroc(score, target, focus, (1, 0.9))


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("between", [(1.0, 0.9), (0.95, 0.7), (0.33, 0.31), (1.0, 0.0)])
def test_it_is_the_area_under_the_points_of_the_curve(seed: int, between: tuple[float, float]) -> None:
    score, target = tied(seed)
    expected = by_trapezoids(score, target, 1 - max(between), 1 - min(between))
    assert partial_auroc(score, target, between=between) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("focus", ["specificity", "sensitivity"])
def test_the_parts_add_up_to_the_whole(focus: str) -> None:
    score, target = tied(3)
    parts = sum(partial_auroc(score, target, focus, pair) for pair in ((0, 0.17), (0.17, 0.6), (0.6, 1)))
    assert parts == pytest.approx(auroc(score, target).value, abs=1e-12)
    assert partial_auroc(score, target, focus, (0, 1), corrected=True) == pytest.approx(auroc(score, target).value, abs=1e-12)


def test_mcclishs_correction_is_half_on_the_diagonal_one_at_the_top_and_nothing_below() -> None:
    target = np.array([True, False] * 20)
    assert partial_auroc(np.zeros(40), target, corrected=True) == pytest.approx(0.5)
    assert partial_auroc(target.astype(float), target, between=(1, 0.8), corrected=True) == pytest.approx(1)
    assert np.isnan(partial_auroc(-target.astype(float), target, corrected=True))


@pytest.mark.parametrize("focus", ["specificity", "sensitivity"])
def test_weights_are_repeated_cases(focus: str) -> None:
    score, target = tied(5, 80)
    weights = np.random.default_rng(0).integers(0, 4, (90, 6)).astype(np.float64)
    rows = np.arange(5, 85)
    drawn = partial_statistic(score, target, rows, focus, (0.95, 0.6))(weights)
    heights = roc_statistic(score, target, rows, np.linspace(0, 1, 13))(weights)
    for column in range(6):
        times = weights[rows, column].astype(int)
        repeated = np.repeat(score, times), np.repeat(target, times)
        assert drawn[column, 0] == pytest.approx(partial_auroc(*repeated, focus, (0.95, 0.6)), abs=1e-12)
        assert drawn[column, 1] == pytest.approx(partial_auroc(*repeated, focus, (0.95, 0.6), corrected=True), abs=1e-12, nan_ok=True)
        assert heights[column] == pytest.approx(sensitivity_at(roc(*repeated), np.linspace(0, 1, 13)), abs=1e-12)


def test_a_replicate_without_a_class_is_undefined() -> None:
    score, target = np.array([0.1, 0.2, 0.3]), np.array([False, True, False])
    weights = np.array([[1.0, 0, 1], [0, 1, 1], [1, 0, 1]])
    assert np.isnan(partial_statistic(score, target, np.arange(3))(weights)[:2]).all()
    assert np.isnan(roc_statistic(score, target, np.arange(3), np.array([0.5]))(weights)[:2]).all()
    assert np.isnan(partial_statistic(score, target | True, np.arange(3))(weights)).all()
    assert np.isnan(partial_statistic(score, target & False, np.arange(3))(weights)).all()


def data_of(score: np.ndarray, target: np.ndarray) -> tuple[LabelData, Intervals]:
    data = LabelData(LABEL, np.arange(len(score)), score, target.astype(np.int64))
    patients = patients_of(pl.DataFrame({"case_id": [str(i) for i in range(len(score))]}))
    return data, Intervals(patients, bootstrap(patients.cluster, partial_statistics(data), 200, 0))


def test_the_record_has_both_figures_with_intervals() -> None:
    score, target = tied(1)
    record = partial_metrics(*data_of(score, target))
    assert (record["focus"], record["specificity"]) == ("specificity", [1, 0.9])
    assert record["value"] == partial_auroc(score, target)
    assert record["mcclish"]["value"] == partial_auroc(score, target, corrected=True)
    for figure in (record, record["mcclish"]):
        assert figure["low"] < figure["value"] < figure["high"]
    assert record["mcclish"]["method"].startswith("McClish")


def test_what_is_not_defined_has_a_reason() -> None:
    score, target = tied(1)
    assert partial_metrics(*data_of(-score - 3.0 * target, target))["mcclish"]["reason"] == BELOW
    alone = partial_metrics(*data_of(score, target | True))
    assert (alone["value"], alone["reason"], alone["mcclish"]["reason"]) == (None, "no negative cases", "no negative cases")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("accuracy", (1, 0.9)), "focus of a partial AUROC is 'accuracy'; allowed: specificity, sensitivity"),
        (("specificity", (0.9, 0.9)), "between two different specificities from 0 to 1, got 0.9 and 0.9"),
        (("sensitivity", (1.2, 0.9)), "between two different sensitivities from 0 to 1"),
    ],
)
def test_a_range_that_is_none_is_refused(arguments: tuple[str, tuple[float, float]], message: str) -> None:
    with pytest.raises(MedaiError, match=message):
        partial_auroc(*tied(0), *arguments)


def test_one_class_alone_is_refused() -> None:
    with pytest.raises(MedaiError, match="needs both classes, got 2 positives and 0 negatives"):
        partial_auroc(np.array([0.1, 0.2]), np.array([True, True]))
