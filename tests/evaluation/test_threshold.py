"""Thresholds do what their rule says, lie between scores, and are refused where the data cannot carry them."""

import numpy as np
import pytest

from medai.core.error import MedaiError
from medai.evaluation.threshold import choose, decide


def test_the_threshold_lies_midway_between_neighbours() -> None:
    assert choose(np.array([0.1, 0.2, 0.8, 0.9]), np.array([0, 0, 1, 1]), "youden") == 0.5
    assert choose(np.array([0.1, 0.2, 0.8, 0.9]), np.array([0, 0, 1, 1]), "accuracy") == 0.5


def test_rules_reach_what_they_promise_and_no_more_than_needed() -> None:
    generator = np.random.default_rng(0)
    target = generator.random(500) < 0.3
    probability = np.round(1 / (1 + np.exp(-generator.normal(size=500) - target)), 2)
    cuts = np.unique(np.append(probability, 1.0))

    def sensitivity(threshold: float) -> float:
        return float(decide(probability[target], threshold).mean())

    def specificity(threshold: float) -> float:
        return float((~decide(probability[~target], threshold)).mean())

    chosen = choose(probability, target, "sensitivity=0.95")
    assert sensitivity(chosen) >= 0.95
    assert all(sensitivity(cut) < 0.95 for cut in cuts[cuts > chosen][1:])
    chosen = choose(probability, target, "specificity=0.9")
    assert specificity(chosen) >= 0.9
    assert all(specificity(cut) < 0.9 for cut in cuts[cuts < chosen])
    best = max(sensitivity(cut) + specificity(cut) for cut in cuts)
    chosen = choose(probability, target, "youden")
    assert sensitivity(chosen) + specificity(chosen) == pytest.approx(best)
    right = max(float((decide(probability, cut) == target).mean()) for cut in cuts)
    assert (decide(probability, choose(probability, target, "accuracy")) == target).mean() == pytest.approx(right)


def test_of_equally_good_places_the_widest_gap_is_taken_then_the_lower() -> None:
    assert choose(np.array([0.1, 0.3, 0.5, 0.8]), np.array([0, 1, 0, 1])) == pytest.approx(0.65)
    assert choose(np.array([0.1, 0.3, 0.5, 0.7]), np.array([0, 1, 0, 1])) == pytest.approx(0.2)


def test_the_order_of_the_cases_does_not_matter() -> None:
    generator = np.random.default_rng(2)
    probability, target = np.round(generator.random(100), 1), generator.random(100) < 0.5
    order = generator.permutation(100)
    assert choose(probability, target) == choose(probability[order], target[order])


def test_full_sensitivity_and_specificity_are_possible() -> None:
    probability, target = np.array([0.2, 0.6, 0.4, 0.9]), np.array([0, 0, 1, 1])
    assert choose(probability, target, "sensitivity=1") == pytest.approx(0.3)
    assert choose(probability, target, "specificity=1") == pytest.approx(0.75)


def test_tied_scores_still_give_a_threshold_in_range() -> None:
    for value in (0.0, 0.5, 1.0):
        assert 0 <= choose(np.full(4, value), np.array([0, 1, 0, 1])) <= 1


def test_neighbours_without_room_between_them_are_still_separated() -> None:
    low = 0.5
    high = np.nextafter(low, 1)
    threshold = choose(np.array([low, high]), np.array([0, 1]))
    assert decide(np.array([low, high]), threshold).tolist() == [False, True]


def test_a_number_is_taken_as_it_is() -> None:
    assert choose(np.array([]), np.array([], dtype=bool), "0.25") == 0.25


@pytest.mark.parametrize("rule", ["best", "sensitivity", "sensitivity=2", "specificity=x", "1.5", "youden=1", "accuracy=0.5", "nan"])
def test_an_unknown_rule_is_refused(rule: str) -> None:
    with pytest.raises(MedaiError, match=r"unknown threshold rule .*allowed: youden, accuracy"):
        choose(np.array([0.1, 0.9]), np.array([0, 1]), rule)


@pytest.mark.parametrize("rule", ["youden", "sensitivity=0.9"])
def test_a_missing_class_is_refused(rule: str) -> None:
    with pytest.raises(MedaiError, match="needs both classes on validation, got 0 positives and 2 negatives"):
        choose(np.array([0.1, 0.9]), np.array([0, 0]), rule)
