"""Adjusted p-values: worked examples, the definition by brute force, and NaN."""

from itertools import combinations

import numpy as np
import pytest

from medai.core.error import MedaiError
from medai.evaluation.multiplicity import benjamini_hochberg, holm

# Benjamini and Hochberg 1995, section 4.1: fifteen comparisons of which four are significant by their method, three by Bonferroni
PAPER = np.array([0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240, 0.4262, 0.5719, 0.6528, 0.7590, 1.0000])


def test_the_example_of_benjamini_and_hochberg() -> None:
    assert (benjamini_hochberg(PAPER) <= 0.05).sum() == 4
    assert (holm(PAPER) <= 0.05).sum() == 3
    assert benjamini_hochberg(PAPER)[3] == pytest.approx(0.0095 * 15 / 4)


def test_holm_is_the_closed_test_by_bonferroni() -> None:
    p = np.random.default_rng(1).random(6) ** 3
    for index in range(6):
        sets = [each for size in range(1, 7) for each in combinations(range(6), size) if index in each]
        closed = max(min(1.0, len(each) * p[list(each)].min()) for each in sets)
        assert holm(p)[index] == pytest.approx(closed)


def test_benjamini_hochberg_is_the_least_level_at_which_the_rule_rejects() -> None:
    p = np.random.default_rng(2).random(9) ** 2
    ranked = np.sort(p)
    for value, adjusted in zip(p, benjamini_hochberg(p), strict=True):
        least = min(min(1.0, ranked[k] * 9 / (k + 1)) for k in range(9) if ranked[k] >= value)
        assert adjusted == pytest.approx(least)


@pytest.mark.parametrize("adjust", [holm, benjamini_hochberg])
def test_order_is_kept_and_a_test_that_was_not_made_is_not_counted(adjust: object) -> None:
    assert callable(adjust)
    p = np.array([0.04, np.nan, 0.01, 0.03])
    adjusted = adjust(p)
    assert np.isnan(adjusted[1])
    assert adjusted[[0, 2, 3]].tolist() == adjust(p[[0, 2, 3]]).tolist()
    assert np.array_equal(p, [0.04, np.nan, 0.01, 0.03], equal_nan=True)
    assert adjust(np.array([0.2])).tolist() == [0.2]
    assert len(adjust(np.zeros(0))) == 0
    assert np.isnan(adjust(np.full(3, np.nan))).all()


@pytest.mark.parametrize("value", [-0.1, 1.1])
def test_what_is_no_p_value_is_refused(value: float) -> None:
    with pytest.raises(MedaiError, match="a p-value is"):
        holm(np.array([0.5, value]))
