"""The record of a binary label holds every figure, is JSON, and stays whole where the data are poor."""

import json
from typing import Any

import numpy as np
import pytest

from medai.core.label import Label
from medai.evaluation.binary import binary_metrics, binary_statistics
from medai.evaluation.bootstrap import bootstrap
from medai.evaluation.calibration import brier
from medai.evaluation.interval import Intervals
from medai.evaluation.patient import Patients
from medai.evaluation.table import LabelData

FIGURES = (
    "prevalence", "auroc", "average_precision", "sensitivity", "specificity", "ppv", "npv", "accuracy", "likelihood_ratio_positive",
    "likelihood_ratio_negative", "f1", "mcc", "balanced_accuracy", "ece", "ece_equal_mass", "mce", "brier", "brier_skill",
    "calibration_slope", "calibration_intercept", "calibration_in_the_large",
)  # fmt: skip


def scored(probability: np.ndarray, truth: np.ndarray, patients: Patients | None = None, replicates: int = 200) -> dict[str, Any]:
    n = len(truth)
    data = LabelData(Label("x", "binary", ("no", "yes")), np.arange(n), probability, truth.astype(np.int64))
    patients = patients or Patients(np.arange(n), n, 0, n)
    draws = bootstrap(patients.cluster, binary_statistics(data, n, 0.4), replicates, 0)
    return binary_metrics(data, 0.4, n, Intervals(patients, draws), [0.01, 0.2])


def some(n: int = 300, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    truth = generator.random(n) < 0.3
    return 1 / (1 + np.exp(-generator.normal(size=n) - 1.5 * truth + 1)), truth


@pytest.mark.parametrize("repeat", [False, True])
def test_every_figure_is_there_with_its_interval_and_method(repeat: bool) -> None:
    probability, truth = some()
    record = scored(probability, truth, Patients(np.arange(300) // 2, 150, 150, 0) if repeat else None)
    json.dumps(record, allow_nan=False)
    for name in FIGURES:
        figure = record[name]
        assert figure["value"] is not None and figure["method"] and figure["n"] > 0, name
        if name not in ("ece", "ece_equal_mass", "mce"):
            assert figure["low"] <= figure["value"] <= figure["high"], name
    parts = record["brier_parts"]
    whole = parts["reliability"] - parts["resolution"] + parts["uncertainty"] + parts["within"]
    assert whole == pytest.approx(brier(probability, truth), abs=1e-14) and record["brier"]["value"] == pytest.approx(whole)
    assert record["brier_skill"]["value"] == pytest.approx(1 - whole / parts["uncertainty"])
    assert [row["prevalence"] for row in record["at_prevalence"]] == [0.01, 0.2]
    assert set(record["spiegelhalter"]) == {"z", "p", "n", "method"}
    assert len(record["decision_curve"]["low"]) == 99 and len(record["reliability_curve"]["x"]) == 50
    if repeat:
        clustered = ("sensitivity", "f1", "calibration_slope", "likelihood_ratio_positive", "balanced_accuracy", "calibration_in_the_large")
        assert all("patient" in record[name]["method"] for name in clustered)


def test_the_skill_of_a_replicate_is_that_of_its_cases() -> None:
    probability, truth = some(60)
    data = LabelData(Label("x", "binary", ("no", "yes")), np.arange(60), probability, truth.astype(np.int64))
    weights = np.random.default_rng(0).integers(0, 3, (60, 4)).astype(float)
    found = binary_statistics(data, 60)[("x", "skill")](weights)
    for column in range(4):
        again = np.repeat(np.arange(60), weights[:, column].astype(int))
        share = truth[again].mean()
        assert found[column, 0] == pytest.approx(1 - brier(probability[again], truth[again]) / (share * (1 - share)), abs=1e-12)
    one_class = weights * truth[:, None]
    assert np.isnan(binary_statistics(data, 60)[("x", "skill")](one_class)).all()


@pytest.mark.parametrize(
    ("probability", "truth"),
    [
        ([], []), ([0.3], [1]), ([0.3], [0]), ([0.1, 0.9], [0, 1]), ([0.9, 0.1], [0, 1]), ([0.5, 0.5, 0.5], [0, 1, 0]),
        ([0.0, 1.0, 0.0], [1, 0, 0]), ([0.2] * 5, [0] * 5), ([0.9] * 5, [1] * 5), ([0.0, 0.0, 1.0, 1.0], [0, 0, 1, 1]),
    ],
)  # fmt: skip
@pytest.mark.parametrize("repeat", [False, True])
@pytest.mark.parametrize("replicates", [0, 50])
def test_poor_data_give_reasons_and_never_a_crash_or_nan(probability: list[float], truth: list[int], repeat: bool, replicates: int) -> None:
    n = len(truth)
    patients = Patients(np.arange(n) // 2, (n + 1) // 2, (n + 1) // 2, 0) if repeat and n > 1 else None
    record = scored(np.array(probability), np.array(truth, dtype=bool), patients, replicates)
    json.dumps(record, allow_nan=False)
    for name in FIGURES:
        figure = record[name]
        assert (figure["value"] is None) <= bool(figure.get("reason")), name
        assert (figure["low"] is None) == (figure["high"] is None), name


def test_without_a_threshold_nothing_is_drawn_that_needs_one() -> None:
    probability, truth = some(40)
    data = LabelData(Label("x", "binary", ("no", "yes")), np.arange(40), probability, truth.astype(np.int64))
    assert set(binary_statistics(data, 40, 0.5)) - set(binary_statistics(data, 40)) == {("x", "point")}
