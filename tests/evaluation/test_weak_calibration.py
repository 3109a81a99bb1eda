"""Calibration by regression agrees with CalibrationCurves' values and with formulas of their own."""

import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from medai.evaluation.calibration import brier_parts, equal_mass, equal_width, expected_calibration_error, squared_error
from medai.evaluation.logistic import fit_logistic
from medai.evaluation.weak_calibration import (
    EQUAL,
    SEPARATED,
    WALD_CLUSTERED,
    calibration_in_the_large,
    calibration_line,
    logit_of,
    reliability_curve,
    spiegelhalter,
)


@pytest.fixture(scope="module")
def predicted(request: pytest.FixtureRequest) -> tuple[np.ndarray, np.ndarray]:
    """(probability, truth) of the logistic model of CalibrationCurves, made from its training data and scored on its test data."""
    folder: Path = request.getfixturevalue("shared_oracles")
    (design, truth), (other, target) = (
        (np.column_stack([np.ones(len(table)), table.drop("y").to_numpy()]), table["y"].to_numpy() == 1)
        for table in (pl.read_csv(folder / f"calibration_{name}data.csv") for name in ("train", "test"))
    )
    fit = fit_logistic(design, truth)
    assert fit is not None
    return 1 / (1 + np.exp(-other @ fit.coefficients)), target


def simulated(n: int, seed: int = 0, slope: float = 1.0, shift: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    logit = 1.5 * generator.normal(size=n) - 1
    truth = generator.random(n) < 1 / (1 + np.exp(-(slope * logit + shift)))
    return 1 / (1 + np.exp(-logit)), truth


def test_slope_and_intercept_are_as_published(predicted: tuple[np.ndarray, np.ndarray]) -> None:
    probability, truth = predicted
    assert (len(truth), int(truth.sum())) == (500, 270)
    slope, _ = calibration_line(probability, truth)
    assert slope.value == pytest.approx(0.8227830, abs=5e-8)
    assert (slope.low, slope.high) == pytest.approx((0.6658, 0.9797), abs=5e-5)
    large = calibration_in_the_large(probability, truth)
    assert large.value == pytest.approx(0.2240468, abs=5e-8)
    assert (large.low, large.high) == pytest.approx((0.0034, 0.4447), abs=5e-5)


def test_a_logistic_fit_solves_its_equations_and_its_covariance_is_the_inverse_curvature() -> None:
    generator = np.random.default_rng(1)
    design = np.column_stack([np.ones(300), generator.normal(size=(300, 2))])
    truth, offset = generator.random(300) < 0.4, 0.3 * generator.normal(size=300)
    fit = fit_logistic(design, truth, offset)
    assert fit is not None

    def loss(coefficients: np.ndarray) -> float:
        predictor = design @ coefficients + offset
        return float((np.logaddexp(0, predictor) - truth * predictor).sum())

    residual = truth - 1 / (1 + np.exp(-(design @ fit.coefficients + offset)))
    assert design.T @ residual == pytest.approx(np.zeros(3), abs=1e-8)
    step, unit = 1e-3, np.eye(3)
    curvature = np.array(
        [
            [sum(a * b * loss(fit.coefficients + step * (a * unit[i] + b * unit[j])) for a in (1, -1) for b in (1, -1)) for j in range(3)]
            for i in range(3)
        ]
    ) / (4 * step**2)  # fmt: skip
    assert np.linalg.inv(curvature) == pytest.approx(fit.covariance, rel=1e-4, abs=1e-6)


def test_separated_classes_and_dependent_columns_have_no_fit() -> None:
    x = np.arange(10.0)
    assert fit_logistic(np.column_stack([np.ones(10), x]), x > 4.5) is None
    assert fit_logistic(np.column_stack([np.ones(10), np.full(10, 2.0)]), x % 2 == 0) is None
    slope, intercept = calibration_line(np.array([0.1, 0.2, 0.8, 0.9]), np.array([False, False, True, True]))
    assert (slope.value, slope.reason, intercept.reason) == (None, SEPARATED, SEPARATED)
    assert calibration_line(np.full(4, 0.3), np.array([False, False, True, True]))[0].reason == EQUAL
    assert calibration_in_the_large(np.full(4, 0.5), np.array([False, False, True, True])).value == pytest.approx(0)
    assert calibration_line(np.full(4, 0.3), np.zeros(4, dtype=bool))[0].reason == "no positive cases"
    assert calibration_in_the_large(np.array([]), np.array([], dtype=bool)).reason == "no cases"


def test_probabilities_of_exactly_0_and_1_do_not_break_the_line() -> None:
    probability, truth = simulated(400)
    probability[:3], probability[3:6] = 0, 1
    slope, intercept = calibration_line(probability, truth)
    assert np.isfinite([slope.value, slope.low, slope.high, intercept.value]).all()
    assert logit_of(np.array([0.0, 0.5, 1.0])) == pytest.approx([-18.42068, 0, 18.42068], abs=1e-5)


def test_copies_of_every_case_change_no_interval_of_patients() -> None:
    probability, truth = simulated(200)
    once = np.arange(200)
    copies = np.repeat(probability, 3), np.repeat(truth, 3), np.repeat(once, 3)
    for first, second in zip(calibration_line(probability, truth, once), calibration_line(*copies), strict=True):
        assert (second.value, second.low, second.high) == pytest.approx((first.value, first.low, first.high), abs=1e-8)
        assert second.method == WALD_CLUSTERED
    first, second = calibration_in_the_large(probability, truth, once), calibration_in_the_large(*copies)
    assert (second.low, second.high) == pytest.approx((first.low, first.high), abs=1e-8)
    assert spiegelhalter(*copies).z == pytest.approx(spiegelhalter(probability, truth, once).z)
    assert spiegelhalter(copies[0], copies[1]).z == pytest.approx(math.sqrt(3) * spiegelhalter(probability, truth).z)


def test_the_sandwich_is_that_of_a_formula_of_its_own() -> None:
    probability, truth = simulated(120)
    cluster = np.arange(120) // 3
    large = calibration_in_the_large(probability, truth, cluster)
    mean = 1 / (1 + np.exp(-(logit_of(probability) + large.value)))
    sums = [float((truth - mean)[cluster == patient].sum()) for patient in range(40)]
    error = math.sqrt(sum(value**2 for value in sums) * 40 / 39) / float((mean * (1 - mean)).sum())
    assert large.high - large.value == pytest.approx(1.959963984540054 * error, rel=1e-9)


def test_wald_s_interval_of_the_slope_covers() -> None:
    covered = sum(
        slope.low <= 0.7 <= slope.high for slope in (calibration_line(*simulated(400, seed, 0.7, 0.3))[0] for seed in range(1000))
    )
    assert 0.93 <= covered / 1000 <= 0.97


def test_spiegelhalter_s_z_is_as_its_formula_says() -> None:
    p, y = np.array([0.2, 0.7, 0.9, 0.4]), np.array([False, True, True, True])
    z = ((y - p) * (1 - 2 * p)).sum() / math.sqrt(((1 - 2 * p) ** 2 * p * (1 - p)).sum())
    found = spiegelhalter(p, y)
    assert found.z == pytest.approx(z, abs=1e-12)
    assert found.p == pytest.approx(math.erfc(abs(z) / math.sqrt(2)), abs=1e-12)
    expected = (p * (1 - p)).sum()  # the Brier score that the probabilities promise, times n
    assert np.sign(found.z) == np.sign(((p - y) ** 2).sum() - expected)


def test_spiegelhalter_s_z_is_standard_normal_where_the_probabilities_are_right() -> None:
    z = np.array([spiegelhalter(*simulated(500, seed)).z for seed in range(400)], dtype=float)
    assert abs(z.mean()) < 0.15 and z.std() == pytest.approx(1, abs=0.1)
    assert spiegelhalter(*simulated(500, 1, 0.4)).p < 0.001


@pytest.mark.parametrize("probability", [[], [0.0, 1.0, 0.5]])
def test_spiegelhalter_says_why_there_is_no_z(probability: list[float]) -> None:
    found = spiegelhalter(np.array(probability), np.zeros(len(probability), dtype=bool)).to_dict()
    assert found["z"] is None and found["p"] is None and found["reason"]


@pytest.mark.parametrize("bins", [1, 2, 5, 10, 37])
def test_the_parts_of_the_brier_score_add_up_exactly(bins: int) -> None:
    for seed in range(5):
        probability, truth = simulated(300, seed, 0.5)
        parts = brier_parts(probability, truth, bins)
        whole = parts.reliability - parts.resolution + parts.uncertainty + parts.within
        assert whole == pytest.approx(float(squared_error(probability, truth).mean()), abs=1e-14)
        assert parts.uncertainty == pytest.approx(truth.mean() * (1 - truth.mean()))
        assert min(parts.reliability, parts.resolution) >= 0


def test_without_spread_within_the_bins_murphy_s_three_parts_are_all() -> None:
    generator = np.random.default_rng(0)
    probability = generator.choice([0.05, 0.25, 0.55, 0.95], 200)
    truth = generator.random(200) < probability**2
    parts = brier_parts(probability, truth)
    assert parts.within == pytest.approx(0, abs=1e-16)
    values = [(len(truth[probability == p]), p, truth[probability == p].mean()) for p in (0.05, 0.25, 0.55, 0.95)]
    assert parts.reliability == pytest.approx(sum(n * (p - share) ** 2 for n, p, share in values) / 200)
    assert parts.resolution == pytest.approx(sum(n * (share - truth.mean()) ** 2 for n, _, share in values) / 200)


def test_bins_of_equal_mass_hold_equally_many_and_never_part_equal_probabilities() -> None:
    generator = np.random.default_rng(0)
    probability = generator.permutation(np.linspace(0, 0.2, 100))
    assert np.bincount(equal_mass(probability, 10)).tolist() == [10] * 10
    assert np.bincount(equal_mass(probability[:95], 10), minlength=10).min() >= 9
    tied = np.round(generator.random(200), 1)
    index = equal_mass(tied, 10)
    assert all(len(np.unique(index[tied == value])) == 1 for value in np.unique(tied))
    assert (np.diff(index[np.argsort(tied)]) >= 0).all() and index.max() <= 9
    assert equal_mass(np.full(7, 0.3), 10).tolist() == [5] * 7
    assert equal_width(np.array([0.0, 0.3, 0.9999, 1.0])).tolist() == [0, 3, 9, 9]


def test_the_ece_of_equal_mass_is_that_of_a_loop() -> None:
    probability, truth = simulated(200, 3, 0.4)
    order = np.argsort(probability)
    parts = np.array_split(order, 10)
    expected = sum(len(part) * abs(truth[part].mean() - probability[part].mean()) for part in parts) / 200
    assert expected_calibration_error(probability, truth, mass=True) == pytest.approx(expected, abs=1e-12)


def test_the_smooth_curve_lies_on_the_truth() -> None:
    probability, truth = simulated(20_000, 5, 0.6, 0.4)
    curve = reliability_curve(probability, truth)
    x = np.array(curve["x"])
    right = 1 / (1 + np.exp(-(0.6 * logit_of(x) + 0.4)))
    inner = (x > 0.02) & (x < 0.95)
    assert np.abs(np.array(curve["y"]) - right)[inner].max() < 0.03
    low, y, high = (np.array(curve[name]) for name in ("low", "y", "high"))
    assert ((low <= y) & (y <= high)).all() and (low >= 0).all() and (high <= 1).all()


def test_the_smooth_curve_is_straight_on_the_logit_beyond_its_outer_knots() -> None:
    generator = np.random.default_rng(0)
    logit = generator.normal(size=4000)
    probability, truth = 1 / (1 + np.exp(-logit)), generator.random(4000) < 1 / (1 + np.exp(-np.sin(2 * logit)))
    curve = reliability_curve(probability, truth)
    x, y = logit_of(np.array(curve["x"])), logit_of(np.array(curve["y"]))
    lowest, highest = np.quantile(logit, [0.05, 0.95])
    assert min((x < lowest).sum(), (x > highest).sum()) >= 5
    for outside in (x < lowest, x > highest):
        slopes = np.diff(y[outside]) / np.diff(x[outside])
        assert slopes == pytest.approx(np.full(len(slopes), slopes.mean()), abs=1e-6)
    inside = (x > lowest) & (x < highest)
    assert np.ptp(np.diff(y[inside]) / np.diff(x[inside])) > 0.5


def test_the_band_of_the_smooth_curve_covers() -> None:
    at, covered = np.array([0.1, 0.3, 0.6, 0.9]), np.zeros(4)
    right = 1 / (1 + np.exp(-(0.6 * logit_of(at) + 0.4)))
    for seed in range(400):
        curve = reliability_curve(*simulated(1500, seed, 0.6, 0.4))
        low, high = (np.interp(at, curve["x"], curve[name]) for name in ("low", "high"))
        covered += (low <= right) & (right <= high)
    assert ((covered / 400 >= 0.92) & (covered / 400 <= 0.98)).all()


def test_the_smooth_curve_needs_events_and_different_probabilities() -> None:
    probability, truth = simulated(30)
    assert reliability_curve(probability, truth)["reason"] == "too few events or different probabilities"
    assert reliability_curve(np.full(500, 0.3), np.arange(500) % 3 == 0)["y"] == []
    assert reliability_curve(probability, np.zeros(30, dtype=bool))["reason"] == "no positive cases"
