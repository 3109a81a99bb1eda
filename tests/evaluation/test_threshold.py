"""Thresholds do what their rule says, lie between scores, and are refused where the data cannot carry them."""

import numpy as np
import pytest

from medai.core.error import MedaiError
from medai.evaluation.rule import parse_rule
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


@pytest.mark.parametrize(
    "rule",
    [
        "best",
        "sensitivity",
        "sensitivity=2",
        "specificity=x",
        "1.5",
        "youden=1",
        "accuracy=0.5",
        "nan",
        "1_0",
        "cost=1:2",
        "cost=1@0.1",
        "cost=1:2:3@0.1",
        "cost=0:1@0.1",
        "cost=1:-2@0.1",
        "cost=a:b@0.1",
        "cost=1:2@0",
        "cost=1:2@1",
        "ppv=0.5",
        "ppv=2@0.1",
        "ppv=x@0.1",
        "ppv=0.5@nan",
        "cost=1:inf@0.1",
        "number=0.5",
    ],
)
def test_an_unknown_rule_is_refused(rule: str) -> None:
    with pytest.raises(MedaiError, match=r"unknown threshold rule .*allowed: youden, accuracy"):
        choose(np.array([0.1, 0.9]), np.array([0, 1]), rule)


@pytest.mark.parametrize("rule", ["youden", "sensitivity=0.9", "cost=1:5@0.1", "ppv=0.5@0.1"])
def test_a_missing_class_is_refused(rule: str) -> None:
    with pytest.raises(MedaiError, match="needs both classes on validation, got 0 positives and 2 negatives"):
        choose(np.array([0.1, 0.9]), np.array([0, 0]), rule)


def _noisy(seed: int = 0, n: int = 400) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    target = generator.random(n) < 0.3
    return np.round(1 / (1 + np.exp(-generator.normal(size=n) - 1.5 * target + 0.7)), 2), target


def _rates(probability: np.ndarray, target: np.ndarray, threshold: float) -> tuple[float, float]:
    called = decide(probability, threshold)
    return float(called[target].mean()), float(called[~target].mean())


@pytest.mark.parametrize(("costs", "prevalence"), [((1, 1), 0.5), ((1, 20), 0.01), ((3, 1), 0.3), ((0.5, 40), 0.002)])
def test_the_cost_rule_finds_the_least_expected_cost(costs: tuple[float, float], prevalence: float) -> None:
    probability, target = _noisy()

    def cost(threshold: float) -> float:
        sensitivity, fall_out = _rates(probability, target, threshold)
        return prevalence * (1 - sensitivity) * costs[1] + (1 - prevalence) * fall_out * costs[0]

    chosen = choose(probability, target, f"cost={costs[0]}:{costs[1]}@{prevalence}")
    assert cost(chosen) == pytest.approx(min(cost(cut) for cut in np.append(np.unique(probability), 1.0)), abs=1e-12)


def test_equal_costs_at_even_odds_are_youden() -> None:
    for seed in range(20):
        probability, target = _noisy(seed)
        assert choose(probability, target, "cost=1:1@0.5") == choose(probability, target, "youden")


def test_dearer_misses_and_a_commoner_disease_lower_the_threshold() -> None:
    probability, target = _noisy()
    by_cost = [choose(probability, target, f"cost=1:{cost}@0.1") for cost in (1, 5, 20, 100)]
    by_prevalence = [choose(probability, target, f"cost=1:5@{share}") for share in (0.01, 0.1, 0.5, 0.9)]
    assert by_cost == sorted(by_cost, reverse=True) and by_cost[0] > by_cost[-1]
    assert by_prevalence == sorted(by_prevalence, reverse=True) and by_prevalence[0] > by_prevalence[-1]


@pytest.mark.parametrize(("wanted", "prevalence"), [(0.3, 0.05), (0.5, 0.3), (0.1, 0.01), (0.0, 0.01)])
def test_the_ppv_rule_takes_the_lowest_threshold_that_reaches_it(wanted: float, prevalence: float) -> None:
    probability, target = _noisy()

    def ppv(threshold: float) -> float:
        sensitivity, fall_out = _rates(probability, target, threshold)
        called = prevalence * sensitivity + (1 - prevalence) * fall_out
        return prevalence * sensitivity / called if called else 0.0

    chosen = choose(probability, target, f"ppv={wanted}@{prevalence}")
    assert ppv(chosen) >= wanted
    assert all(
        ppv(cut) < wanted
        for cut in np.unique(probability)
        if cut < chosen and not (decide(probability, cut) == decide(probability, chosen)).all()
    )


def test_a_ppv_out_of_reach_is_refused_with_the_largest_there_is() -> None:
    probability, target = np.array([0.2, 0.4, 0.6, 0.8]), np.array([1, 0, 1, 0])
    with pytest.raises(
        MedaiError, match=r"no threshold has a positive predictive value of 0.9 at a prevalence of 0.1: the largest is 0.1; ask for less"
    ):
        choose(probability, target, "ppv=0.9@0.1")


def test_rules_are_parsed_once_for_all() -> None:
    assert parse_rule("cost=1:20@0.01").wanted == pytest.approx(0.05)
    assert (parse_rule("ppv=0.3@0.02").wanted, parse_rule("ppv=0.3@0.02").prevalence) == (0.3, 0.02)
    assert parse_rule("sensitivity=.95").wanted == 0.95 and parse_rule("1e-3").wanted == 0.001
