"""Net benefit agrees with dcurves' values; its replicates are those of the repeated cases."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from medai.core.label import Label
from medai.evaluation.bootstrap import bootstrap
from medai.evaluation.decision_curve import LINES, THRESHOLDS, decision_curve, decision_statistic, net_benefit, treat_all
from medai.evaluation.interval import Intervals
from medai.evaluation.patient import Patients
from medai.evaluation.table import LabelData
from medai.evaluation.threshold import decide

KEY = ("x", "decision")


def label_data(probability: np.ndarray, truth: np.ndarray, rows: np.ndarray | None = None) -> LabelData:
    rows = np.arange(len(truth)) if rows is None else rows
    return LabelData(Label("x", "binary", ("no", "yes")), rows, probability, truth.astype(np.int64))


def some(n: int = 200, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    truth = generator.random(n) < 0.3
    return np.round(1 / (1 + np.exp(-generator.normal(size=n) - 1.5 * truth + 1)), 2), truth


def alone(n: int) -> Patients:
    return Patients(np.arange(n), n, 0, n)


def test_net_benefit_is_as_published(shared_oracles: Path) -> None:
    table = pl.read_csv(shared_oracles / "dcurves_df_binary.csv")
    truth, at = table["cancer"].cast(pl.String).str.to_lowercase().to_numpy() == "true", np.array([0.05, 0.1, 0.2, 0.3])
    assert (len(truth), truth.mean()) == (750, 0.14)
    history = net_benefit(table["famhistory"].cast(pl.Float64).to_numpy(), truth, at)
    assert history == pytest.approx([0.0256140351, 0.0185185185, 0.0016666667, -0.02], abs=5e-11)
    marker = net_benefit(table["cancerpredmarker"].to_numpy(), truth, at)
    assert marker == pytest.approx([0.1055439, 0.0874074, 0.0673333, 0.0546667], abs=5e-8)
    assert treat_all(0.14, at)[1] == pytest.approx(0.0444444444, abs=5e-11)
    curve = decision_curve(label_data(table["cancerpredmarker"].to_numpy(), truth), Intervals(alone(750), {}), KEY)
    assert [curve["net_benefit"][place] for place in (4, 9, 19, 29)] == pytest.approx(marker.tolist(), abs=1e-15)


def test_net_benefit_is_that_of_a_loop_and_decides_as_everything_else_does() -> None:
    probability, truth = some()
    probability[:4] = 0, 1, 0.29, 0.57  # multiples of a hundredth, which rounding must not push below their threshold
    for place, threshold in enumerate(THRESHOLDS):
        called = decide(probability, threshold)
        expected = ((called & truth).sum() - (called & ~truth).sum() * threshold / (1 - threshold)) / len(truth)
        assert net_benefit(probability, truth)[place] == pytest.approx(expected, abs=1e-14)
    assert net_benefit(np.ones(200), truth) == pytest.approx(treat_all(float(truth.mean())))
    assert net_benefit(np.zeros(200), truth) == pytest.approx(0)


def test_weighted_net_benefit_is_that_of_the_repeated_cases() -> None:
    probability, truth = some()
    known = np.flatnonzero(np.arange(250) % 5 != 0)
    weights = np.random.default_rng(2).integers(0, 4, (250, 6)).astype(float)
    found = decision_statistic(label_data(probability, truth, known))(weights)
    for column in range(6):
        again = np.repeat(np.arange(200), weights[known, column].astype(int))
        assert found[column, :-1] == pytest.approx(net_benefit(probability[again], truth[again]), abs=1e-12)
        assert found[column, -1] == pytest.approx(truth[again].mean(), abs=1e-12)


def test_the_curve_has_bands_that_hold_it() -> None:
    probability, truth = some(400)
    data, patients = label_data(probability, truth), alone(400)
    curve = decision_curve(data, Intervals(patients, bootstrap(patients.cluster, {KEY: decision_statistic(data)}, 400, 0)), KEY)
    lines = {name: np.array(curve[name]) for name in LINES}
    assert all(len(line) == 99 for line in lines.values())
    assert (lines["low"] <= lines["net_benefit"] + 1e-12).all() and (lines["net_benefit"] <= lines["high"] + 1e-12).all()
    assert lines["standardised"] == pytest.approx(lines["net_benefit"] / truth.mean())
    assert lines["advantage"] == pytest.approx(lines["net_benefit"] - np.maximum(lines["treat_all"], 0))
    assert (lines["advantage_low"] <= lines["advantage"] + 1e-12).all()
    assert curve["n"] == 400 and curve["method"] == "percentile bootstrap of cases, 400 replicates" and "reason" not in curve
    error = 1.96 * np.sqrt(float(np.mean((_parts(probability, truth, 0.3) - curve["net_benefit"][29]) ** 2)) / 400)
    assert lines["high"][29] - lines["low"][29] == pytest.approx(2 * error, rel=0.15)


def _parts(probability: np.ndarray, truth: np.ndarray, threshold: float) -> np.ndarray:
    """Each case's part of the net benefit."""
    return (probability >= threshold) * np.where(truth, 1.0, -threshold / (1 - threshold))


def test_copies_of_a_patient_do_not_narrow_the_band() -> None:
    probability, truth = (np.repeat(part, 4) for part in some(150))
    data = label_data(probability, truth)
    widths = []
    for patients in (Patients(np.repeat(np.arange(150), 4), 150, 150, 0), alone(600)):
        draws = bootstrap(patients.cluster, {KEY: decision_statistic(data)}, 1000, 0)
        curve = decision_curve(data, Intervals(patients, draws), KEY)
        widths.append(curve["high"][19] - curve["low"][19])
    assert widths[0] / widths[1] == pytest.approx(2, rel=0.2)


@pytest.mark.parametrize(
    ("truth", "reason"), [([], "no cases"), ([0, 0], "no positive cases"), ([0, 1], "no replicates")]
)  # fmt: skip
def test_what_there_is_not_says_why(truth: list[int], reason: str) -> None:
    data = label_data(np.linspace(0.1, 0.9, len(truth)), np.array(truth, dtype=bool))
    curve = decision_curve(data, Intervals(alone(len(truth)), {}), KEY)
    assert curve["reason"] == reason and curve["low"] == curve["advantage_high"] == []
    assert len(curve["net_benefit"]) == len(curve["treat_all"]) == (99 if reason == "no replicates" else 0)
