"""The learning rate over the steps."""

import pytest

from medai.training.schedule import schedule
from medai.training.settings import SCHEDULES


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_schedule_peaks_at_one_and_depends_on_the_step_alone(name: str) -> None:
    factor = schedule(name, 100, 0.2, 0.01)
    factors = [factor(step) for step in range(101)]
    assert max(factors) == pytest.approx(1.0)
    assert factors[:20] == sorted(factors[:20])
    assert factors[30:] == sorted(factors[30:], reverse=True)
    assert [schedule(name, 100, 0.2, 0.01)(step) for step in reversed(range(101))] == factors[::-1]


@pytest.mark.parametrize("name", ["one_cycle", "cosine", "polynomial"])
def test_a_falling_schedule_ends_where_it_is_told(name: str) -> None:
    factor = schedule(name, 100, 0.2, 0.01)
    assert factor(100) == factor(130) == pytest.approx(0.01)


def test_polynomial_falls_by_the_power_of_nnunet() -> None:
    factor = schedule("polynomial", 100, 0.0, 0.0)
    assert [factor(step) for step in (0, 50, 90)] == pytest.approx([1.0, 0.5**0.9, 0.1**0.9])


def test_step_falls_to_a_tenth_at_a_half_and_again_at_three_quarters() -> None:
    factor = schedule("step", 8, 0.0, 0.5)
    assert [factor(step) for step in range(9)] == pytest.approx([1.0] * 4 + [0.1] * 2 + [0.01] * 3)


def test_the_linear_rise_reaches_the_peak_with_its_last_step() -> None:
    factor = schedule("step", 100, 0.1, 0.0)
    assert [factor(step) for step in (0, 4, 9, 10)] == pytest.approx([0.1, 0.5, 1.0, 1.0])
