"""Labels of several classes: weighted one-vs-rest, Hand and Till's M, and the C-index of ordered ones."""

from itertools import combinations

import numpy as np
import polars as pl
import pytest

from medai.core.error import MedaiError
from medai.core.label import Label
from medai.evaluation.agreement import c_index, c_index_statistic, expected_class
from medai.evaluation.auroc import auroc
from medai.evaluation.bootstrap import bootstrap
from medai.evaluation.interval import Intervals
from medai.evaluation.multiclass import hand_till_statistic, multiclass_metrics, multiclass_statistics, weighted_statistic
from medai.evaluation.patient import patients_of
from medai.evaluation.table import LabelData

CLASSES = ("none", "mild", "moderate", "severe")


def graded(seed: int = 0, n: int = 160, kind: str = "ordinal") -> LabelData:
    generator = np.random.default_rng(seed)
    target = generator.choice(4, n, p=[0.5, 0.25, 0.15, 0.1])
    score = np.exp(-np.abs(np.arange(4) - (target + generator.normal(size=n))[:, None]))
    probability = np.round(score / score.sum(axis=1, keepdims=True), 2)
    return LabelData(Label("grade", kind, CLASSES), np.arange(n), probability, target)


def value(statistic: object, n: int) -> float:
    assert callable(statistic)
    return float(statistic(np.ones((n, 1)))[0, 0])


def hand_till_by_pairs(data: LabelData) -> float:
    """Hand and Till 2001, equations 3 and 7, by comparing every two cases."""
    total = []
    for i, j in combinations(range(4), 2):
        for first, second in ((i, j), (j, i)):
            above = data.probability[data.target == first, first][:, None] - data.probability[data.target == second, first]
            total.append(np.mean((above > 0) + (above == 0) / 2))
    return float(np.mean(total))


def test_hand_and_tills_m_compares_every_two_classes() -> None:
    data = graded()
    assert value(hand_till_statistic(data), 160) == pytest.approx(hand_till_by_pairs(data), abs=1e-12)


def test_they_are_those_of_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    data = graded(1)
    probability = data.probability / data.probability.sum(axis=1, keepdims=True)
    data = LabelData(data.label, data.rows, probability, data.target)
    weighted = metrics.roc_auc_score(data.target, probability, multi_class="ovr", average="weighted")
    pairs = metrics.roc_auc_score(data.target, probability, multi_class="ovo", average="macro")
    assert value(weighted_statistic(data), 160) == pytest.approx(weighted, abs=1e-12)
    assert value(hand_till_statistic(data), 160) == pytest.approx(pairs, abs=1e-12)


def test_the_weighted_mean_goes_by_the_shares_of_the_classes() -> None:
    data = graded(2)
    areas = [auroc(data.probability[:, k], data.target == k).value for k in range(4)]
    assert value(weighted_statistic(data), 160) == pytest.approx(np.average(areas, weights=np.bincount(data.target)), abs=1e-12)


def test_the_c_index_counts_pairs_of_different_grades() -> None:
    data = graded(3, 70)
    score = np.round(expected_class(data.probability), 1)
    right = pairs = 0.0
    for i, j in combinations(range(70), 2):
        if data.target[i] != data.target[j]:
            pairs += 1
            order = (score[i] - score[j]) * np.sign(data.target[i] - data.target[j])
            right += 1.0 if order > 0 else 0.5 if order == 0 else 0.0
    assert c_index(score, data.target) == pytest.approx(right / pairs, abs=1e-12)
    assert c_index(-score, data.target) == pytest.approx(1 - right / pairs, abs=1e-12)
    two = np.minimum(data.target, 1)
    assert c_index(score, two) == pytest.approx(auroc(score, two == 1).value, abs=1e-12)
    with pytest.raises(MedaiError, match="needs cases of two grades, got 70 cases of 1"):
        c_index(score, np.zeros(70, dtype=np.int64))


def test_weights_are_repeated_cases() -> None:
    data = graded(4, 80)
    data = LabelData(data.label, np.arange(7, 87), data.probability, data.target)
    score = expected_class(data.probability)
    weights = np.random.default_rng(1).integers(0, 3, (95, 5)).astype(np.float64)
    drawn = {
        "weighted": weighted_statistic(data)(weights),
        "hand_till": hand_till_statistic(data)(weights),
        "c_index": c_index_statistic(score, data.target, data.rows)(weights),
    }
    for column in range(5):
        times = weights[7:87, column].astype(int)
        again = LabelData(data.label, np.arange(times.sum()), np.repeat(data.probability, times, axis=0), np.repeat(data.target, times))
        assert drawn["weighted"][column, 0] == pytest.approx(value(weighted_statistic(again), times.sum()), abs=1e-12)
        assert drawn["hand_till"][column, 0] == pytest.approx(hand_till_by_pairs(again), abs=1e-12)
        assert drawn["c_index"][column, 0] == pytest.approx(c_index(expected_class(again.probability), again.target), abs=1e-12)


def metrics(data: LabelData, n: int) -> dict[str, dict[str, object]]:
    patients = patients_of(pl.DataFrame({"case_id": [str(i) for i in range(n)]}))
    return multiclass_metrics(data, n, Intervals(patients, bootstrap(patients.cluster, multiclass_statistics(data, n), 150, 0)))


def test_the_record_has_the_figures_with_intervals() -> None:
    record = metrics(graded(5), 160)
    for key in ("weighted_auroc", "hand_till", "c_index"):
        assert record[key]["low"] < record[key]["value"] < record[key]["high"]
    assert "Hand and Till's M, 4 of 4 classes" in record["hand_till"]["method"]
    assert "c_index" not in metrics(graded(5, kind="multiclass"), 160)


@pytest.mark.parametrize("target", [[0, 0, 0], []])
def test_without_two_classes_there_is_a_reason(target: list[int]) -> None:
    data = LabelData(
        Label("grade", "ordinal", CLASSES), np.arange(len(target)), np.full((len(target), 4), 0.25), np.array(target, dtype=np.int64)
    )
    record = metrics(data, 3)
    assert {record[key]["reason"] for key in ("weighted_auroc", "hand_till", "c_index")} == {"fewer than two classes have cases"}


def test_a_class_without_cases_is_left_out_and_counted() -> None:
    data = graded(6)
    kept = data.target != 3
    data = LabelData(data.label, data.rows[kept], data.probability[kept], data.target[kept])
    record = metrics(data, 160)
    assert "3 of 4 classes" in record["weighted_auroc"]["method"] and "3 of 4 classes" in record["hand_till"]["method"]
