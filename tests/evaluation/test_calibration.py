"""Calibration figures agree with published values; a temperature is found again."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from medai.core.error import MedaiError
from medai.evaluation.auroc import auroc
from medai.evaluation.calibration import brier, expected_calibration_error, fit_temperature, maximum_calibration_error, reliability

P = np.array([0.22, 0.48, 0.49, 0.96, 0.55, 0.64, 0.78, 0.82, 0.34, 0.87])
Y = np.array([0, 1, 0, 0, 1, 1, 1, 1, 1, 0], dtype=bool)


@pytest.mark.parametrize(("bins", "ece", "mce"), [(2, 0.109, 0.1175), (5, 0.315, 0.55), (10, 0.359, 0.96)])
def test_ece_and_mce_are_as_published(bins: int, ece: float, mce: float) -> None:
    assert expected_calibration_error(P, Y, bins) == pytest.approx(ece, abs=1e-12)
    assert maximum_calibration_error(P, Y, bins) == pytest.approx(mce, abs=1e-12)


def test_probabilities_of_exactly_0_and_1_are_counted() -> None:
    parts = reliability(np.array([0.0, 1.0, 0.3]), np.array([True, False, True]), 10)
    assert [(part.low, part.n) for part in parts] == [(0.0, 1), (0.3, 1), (0.9, 1)]
    assert expected_calibration_error(np.zeros(4), np.ones(4, dtype=bool)) == 1


def test_brier_and_auroc_of_a_logistic_model_are_as_published(shared_oracles: Path) -> None:
    train, test = (pl.read_csv(shared_oracles / f"calibration_{name}data.csv") for name in ("train", "test"))
    (design, truth), (other, target) = (
        (np.column_stack([np.ones(len(table)), table.drop("y").to_numpy()]), table["y"].to_numpy()) for table in (train, test)
    )
    weight = np.zeros(design.shape[1])
    for _ in range(20):  # Newton's method
        mean = 1 / (1 + np.exp(-design @ weight))
        weight += np.linalg.solve(design.T * (mean * (1 - mean)) @ design, design.T @ (truth - mean))
    probability = 1 / (1 + np.exp(-other @ weight))
    assert auroc(probability, target == 1).value == pytest.approx(0.8142673, abs=5e-8)
    assert brier(probability, target == 1) == pytest.approx(0.1770334, abs=5e-8)


def test_brier_of_two_classes_is_twice_the_binary_score() -> None:
    assert brier(np.stack([1 - P, P], axis=1), Y.astype(np.int64)) == pytest.approx(2 * brier(P, Y))


@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
def test_a_binary_temperature_is_found_again(temperature: float) -> None:
    generator = np.random.default_rng(0)
    logit = generator.normal(size=40_000) * 2
    target = generator.random(40_000) < 1 / (1 + np.exp(-logit))
    assert fit_temperature(logit * temperature, target) == pytest.approx(temperature, rel=0.03)


def test_a_multiclass_temperature_is_found_again() -> None:
    generator = np.random.default_rng(0)
    logit = generator.normal(size=(30_000, 4)) * 2
    target = (logit + generator.gumbel(size=logit.shape)).argmax(axis=1)
    assert fit_temperature(logit * 2.5, target) == pytest.approx(2.5, rel=0.03)
    assert fit_temperature(logit[:, :2] * 2, (logit[:, 1] > logit[:, 0]).astype(np.int64)) < 0.06  # separable: the lower bound


def test_two_columns_and_their_difference_give_one_temperature() -> None:
    generator = np.random.default_rng(3)
    logit, target = generator.normal(size=500) * 3, generator.random(500) < 0.5
    columns = np.stack([np.zeros(500), logit], axis=1)
    assert fit_temperature(columns, target.astype(np.int64)) == pytest.approx(fit_temperature(logit, target), rel=1e-4)


def test_a_temperature_of_nonsense_is_refused() -> None:
    with pytest.raises(MedaiError, match="got 0 logits"):
        fit_temperature(np.array([]), np.array([], dtype=bool))
    with pytest.raises(MedaiError, match="not finite"):
        fit_temperature(np.array([np.inf, 0.0]), np.array([True, False]))
