"""Calibrations are fitted as their papers say, keep the order of the cases, and come back from JSON."""

import json

import numpy as np
import pytest

from medai.core.error import MedaiError
from medai.evaluation.calibration import expected_calibration_error, fit_temperature
from medai.evaluation.calibrator import STEEPEST, Calibrator, bounded_slope, fit_calibrator


def sigmoid(value: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-value))


def skewed(n: int = 4000, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits that are twice too large and shifted."""
    generator = np.random.default_rng(seed)
    right = generator.normal(size=n) - 1
    return 2 * right + 1.5, generator.random(n) < sigmoid(right)


@pytest.mark.parametrize("kind", ["none", "temperature", "platt", "isotonic"])
def test_a_calibration_comes_back_from_json_and_keeps_the_order(kind: str) -> None:
    logit, truth = skewed()
    calibrator = fit_calibrator(kind, logit, truth)
    assert Calibrator.from_dict(json.loads(json.dumps(calibrator.to_dict(), allow_nan=False))) == calibrator
    ordered = calibrator.apply(np.linspace(-30, 30, 500))
    assert (np.diff(ordered) >= 0).all() and np.isfinite(ordered).all()
    numbers = np.array([calibrator.temperature, calibrator.intercept, *calibrator.logits, *calibrator.probabilities])
    assert (numbers == numbers.astype(np.float32)).all()


def test_platt_finds_slope_and_shift_again_where_a_temperature_cannot() -> None:
    logit, truth = skewed(40_000)
    platt = fit_calibrator("platt", logit, truth)
    assert (platt.temperature, platt.intercept) == pytest.approx((2, -0.75), abs=0.05)
    other, target = skewed(4000, 1)
    errors = {kind: expected_calibration_error(sigmoid(fit_calibrator(kind, logit, truth).apply(other)), target)
              for kind in ("none", "temperature", "platt", "isotonic")}  # fmt: skip
    assert errors["platt"] < 0.03 and errors["isotonic"] < 0.03
    assert errors["temperature"] > 0.08 and errors["none"] > 0.08


def test_platt_solves_his_equations_with_his_targets() -> None:
    logit, truth = skewed(300)
    platt, positives, negatives = fit_calibrator("platt", logit, truth), int(truth.sum()), int((~truth).sum())
    wanted = np.where(truth, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    residual = wanted - sigmoid(platt.apply(logit))
    assert residual.sum() / 300 == pytest.approx(0, abs=1e-6) and (residual * logit).sum() / 300 == pytest.approx(0, abs=1e-5)


def test_platt_is_that_of_scikit_learn() -> None:
    calibration = pytest.importorskip("sklearn.calibration", reason="scikit-learn is not installed")
    logit, truth = skewed(500)
    model = calibration._SigmoidCalibration().fit(logit, truth.astype(int))
    assert sigmoid(fit_calibrator("platt", logit, truth).apply(logit)) == pytest.approx(model.predict(logit), abs=1e-4)


def test_platt_stays_finite_where_the_classes_are_separated_and_never_turns_the_order() -> None:
    logit = np.linspace(-3, 3, 40)
    separated = fit_calibrator("platt", logit, logit > 0)
    assert 0.05 <= separated.temperature <= 20 and np.isfinite(separated.intercept)
    reversed_ = fit_calibrator("platt", logit, logit < 0)
    assert reversed_.temperature == 20
    assert sigmoid(reversed_.apply(logit)).mean() == pytest.approx(0.5, abs=0.01)
    level = fit_calibrator("platt", np.full(40, 1.0), np.arange(40) < 10)
    assert sigmoid(level.apply(np.array([1.0]))) == pytest.approx((10 * 11 / 12 + 30 / 32) / 40, abs=1e-6)  # the mean of his targets


def test_isotonic_is_that_of_scikit_learn_but_for_certainty() -> None:
    isotonic = pytest.importorskip("sklearn.isotonic", reason="scikit-learn is not installed")
    logit, truth = skewed(700)
    logit = np.round(logit, 1)  # with ties
    model = isotonic.IsotonicRegression(out_of_bounds="clip").fit(logit.astype(np.float32), truth)
    least = 0.5 / 701
    at = np.linspace(-8, 8, 333).astype(np.float32)
    expected = np.clip(model.predict(at), least, 1 - least)
    found = sigmoid(fit_calibrator("isotonic", logit, truth).apply(at))
    inner = (model.predict(at) > least) & (model.predict(at) < 1 - least)
    assert found[inner] == pytest.approx(expected[inner], abs=2e-3)
    knots = np.unique(logit.astype(np.float32))
    assert sigmoid(fit_calibrator("isotonic", logit, truth).apply(knots)) == pytest.approx(
        np.clip(model.predict(knots), least, 1 - least), abs=1e-6
    )


def test_isotonic_pools_adjacent_violators() -> None:
    calibrator = fit_calibrator("isotonic", np.arange(6.0), np.array([0, 1, 0, 1, 0, 1]))
    least = 0.5 / 7
    assert calibrator.logits == (0, 1, 4, 5)
    assert calibrator.probabilities == pytest.approx((least, 0.5, 0.5, 1 - least))
    level = fit_calibrator("isotonic", np.arange(9.0), np.array([0, 0, 0, 1, 0, 1, 0, 1, 1]))
    assert level.logits == (0, 2, 3, 6, 7, 8)
    least = 0.5 / 10
    assert level.probabilities == pytest.approx((least, least, 0.5, 0.5, 1 - least, 1 - least))


def test_isotonic_moves_no_probability_by_more_than_the_steepest_slope() -> None:
    logit, truth = skewed()
    for scale in (1.0, 0.1, 1e-3):  # logits ever closer to one another
        calibrator = fit_calibrator("isotonic", scale * logit, truth)
        rise, run = np.diff(calibrator.probabilities), np.diff(calibrator.logits)
        assert (rise <= STEEPEST * run + 1e-7).all()
    clear = fit_calibrator("isotonic", np.array([-2.0, -1.0, 0.0, 8e-4, 1.0, 2.0]), np.array([0, 0, 0, 1, 1, 1]))
    middle = sigmoid(clear.apply(np.array([0.0, 1e-6])))
    assert np.diff(middle)[0] <= 1e-6 * STEEPEST * 1.01
    least = 0.5 / 7
    assert sigmoid(clear.apply(np.array([-1.0, 1.0]))) == pytest.approx([least, 1 - least], abs=1e-6)


def test_isotonic_with_a_bounded_slope_stays_calibrated() -> None:
    logit, truth = skewed(4000)
    other, target = skewed(4000, 1)
    found = sigmoid(fit_calibrator("isotonic", logit, truth).apply(other))
    assert expected_calibration_error(found, target) < 0.03
    assert found.mean() == pytest.approx(target.mean(), abs=0.02)
    assert sigmoid(fit_calibrator("isotonic", logit, truth).apply(logit)).mean() == pytest.approx(truth.mean(), abs=2e-3)


def test_the_bounded_curve_is_the_nearest_and_changes_nothing_that_is_not_steep() -> None:
    generator = np.random.default_rng(0)
    place, value = np.sort(generator.random(200)), np.sort(generator.random(200))
    near = bounded_slope(place, value, most=2.0)
    assert (np.diff(near) >= 0).all() and (np.diff(near) <= 2 * np.diff(place) + 1e-12).all()
    rise, run = value[None, :] - value[:, None], place[None, :] - place[:, None]
    excess = np.where(run > 0, rise - 2 * run, 0.0).max()
    assert np.abs(near - value).max() == pytest.approx(excess / 2, abs=1e-12)  # two cases too far apart cannot both be nearer
    assert np.array_equal(bounded_slope(place, value, most=1e9), value)


def test_a_temperature_is_the_one_of_the_calibration_module() -> None:
    logit, truth = skewed(500)
    calibrator = fit_calibrator("temperature", logit, truth)
    assert calibrator.temperature == np.float32(fit_temperature(logit, truth))
    classes = np.random.default_rng(0).normal(size=(200, 4))
    assert fit_calibrator("temperature", classes, classes.argmax(axis=1)).apply(classes).shape == (200, 4)


@pytest.mark.parametrize("kind", ["platt", "isotonic"])
def test_what_cannot_be_fitted_is_refused(kind: str) -> None:
    with pytest.raises(MedaiError, match=f"a {kind} calibration is for binary labels, got 3 classes; use temperature"):
        fit_calibrator(kind, np.zeros((4, 3)), np.array([0, 1, 2, 0]))
    with pytest.raises(MedaiError, match="needs both classes on validation, got 4 positives of 4"):
        fit_calibrator(kind, np.arange(4.0), np.ones(4, dtype=bool))
    with pytest.raises(MedaiError, match="one finite logit a target"):
        fit_calibrator(kind, np.array([np.nan, 1.0]), np.array([True, False]))
    with pytest.raises(MedaiError, match="one finite logit a target, got 2 logits and 3 targets"):
        fit_calibrator(kind, np.array([0.0, 1.0]), np.array([True, False, True]))


def test_nonsense_is_refused() -> None:
    with pytest.raises(MedaiError, match="calibration is 'beta'; allowed: none, temperature, platt, isotonic"):
        fit_calibrator("beta", np.arange(4.0), np.array([0, 1, 0, 1]))
    with pytest.raises(MedaiError, match="all are equal; use temperature"):
        fit_calibrator("isotonic", np.zeros(4), np.array([0, 1, 0, 1]))
    isotonic = {"kind": "isotonic", "logits": [0.0, 1.0], "probabilities": [0.1, 0.2]}
    assert Calibrator.from_dict(isotonic).kind == "isotonic"
    changes = (
        {"logits": [1.0, 0.0]},
        {"probabilities": [0.0, 0.2]},
        {"probabilities": [0.2, 0.1]},
        {"probabilities": [0.2]},
        {"logits": ["x", 1]},
    )
    lines = ({"kind": "beta"}, {}, None, *({"kind": "platt", "temperature": value} for value in ("x", -1.0, 0.0, float("nan"))))
    for value in (*lines, *(isotonic | change for change in changes)):
        with pytest.raises(MedaiError):
            Calibrator.from_dict(value)  # type: ignore[arg-type]
