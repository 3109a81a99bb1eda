"""Draws are pure functions of (seed, epoch, position, stream)."""

import numpy as np
import pytest

from medai.core.draw import draw_seed, epoch_order, generator


def test_a_draw_is_the_same_again() -> None:
    assert draw_seed(1, 2, 3, "augmentation") == draw_seed(1, 2, 3, "augmentation")
    assert generator(1, 2, 3, "x").random() == generator(1, 2, 3, "x").random()


@pytest.mark.parametrize("other", [(0, 2, 3, "s"), (1, 0, 3, "s"), (1, 2, 0, "s"), (1, 2, 3, "t"), (12, 3, 3, "s")])
def test_every_part_of_the_key_changes_the_draw(other: tuple[int, int, int, str]) -> None:
    assert draw_seed(1, 2, 3, "s") != draw_seed(*other)


def test_an_epoch_visits_every_case_once_in_its_own_order() -> None:
    first, second = epoch_order(1000, 7, 0), epoch_order(1000, 7, 1)
    assert sorted(first) == list(range(1000))
    assert not np.array_equal(first, second)
    assert np.array_equal(first, epoch_order(1000, 7, 0))
