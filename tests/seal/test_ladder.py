import numpy as np
import pytest

from medai.seal.attack import ATTACKS, SealedOracle, facility
from medai.seal.ladder import Step, climb


def test_the_first_submission_is_released_rounded_to_eta() -> None:
    assert climb(None, 0.8512, 0.01) == Step(0.85, released=True)
    assert climb(None, 0.8512, 0.02) == Step(0.86, released=True)


@pytest.mark.parametrize(
    ("value", "step"), [(0.86, Step(0.85, False)), (0.8601, Step(0.86, True)), (0.84, Step(0.85, False)), (0.8849, Step(0.88, True))]
)
def test_only_more_than_eta_above_the_best_is_released(value: float, step: Step) -> None:
    assert climb(0.85, value, 0.01) == step


def test_a_best_that_was_rounded_down_is_beaten_by_eta_of_its_exact_figure() -> None:
    assert climb(0.85, 0.8612, 0.01, exact=0.8549) == Step(0.85, released=False)
    assert climb(0.85, 0.8650, 0.01, exact=0.8549) == Step(0.86, released=True)  # 86.5 steps round to the even one
    assert climb(0.20, 0.189, 0.01, exact=0.1951, higher_is_better=False) == Step(0.20, released=False)


def test_a_loss_climbs_downwards() -> None:
    assert climb(0.20, 0.189, 0.01, higher_is_better=False) == Step(0.19, released=True)
    assert climb(0.20, 0.190, 0.01, higher_is_better=False) == Step(0.20, released=False)


def test_the_ladder_agrees_with_its_definition_on_random_sequences() -> None:
    random = np.random.default_rng(0)
    for eta in (0.005, 0.01, 0.02):
        best, told = None, -np.inf
        for value in random.uniform(0.5, 0.9, 200):
            best = climb(best, float(value), eta).best
            told = np.round(value / eta) * eta if value > told + eta + 1e-12 else told
            assert best == pytest.approx(told, abs=1e-9)


@pytest.mark.parametrize(("name", "least"), [("boosting", 0.02), ("blocks", 0.02), ("hill climbing", 0.001)])
def test_an_adaptive_attack_gains_without_the_ladder_and_less_than_a_hundredth_with_it(name: str, least: float) -> None:
    truth, score = facility(4_000, 0.1, 0.85, seed=3)
    assert ATTACKS[name](SealedOracle(truth, None), score, 300, 3).gain > least
    assert ATTACKS[name](SealedOracle(truth, 0.02), score, 300, 3).gain < 0.01


def test_an_oracle_that_is_asked_once_tells_the_auroc() -> None:
    truth, score = facility(2_000, 0.2, 0.8, seed=0)
    oracle = SealedOracle(truth, None)
    assert oracle(score) == pytest.approx(0.8, abs=0.03)
    assert oracle.outcome().gain == pytest.approx(0, abs=1e-4)
