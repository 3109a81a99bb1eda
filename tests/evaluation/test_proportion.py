"""Intervals of proportions agree with published values."""

import numpy as np
import pytest

from medai.evaluation.proportion import WILSON_CLUSTERED, clopper_pearson, effective_size, proportion, wilson


def test_wilson_and_clopper_pearson_are_as_published() -> None:
    assert wilson(81, 263) == pytest.approx((0.2552885, 0.3662096), abs=5e-8)
    assert clopper_pearson(81, 263) == pytest.approx((0.2527367, 0.3676219), abs=5e-8)


def test_none_of_twenty_still_has_an_upper_bound() -> None:
    assert wilson(0, 20) == pytest.approx((0, 0.1611252), abs=5e-8)
    assert clopper_pearson(0, 20) == pytest.approx((0, 0.1684335), abs=5e-8)


def test_all_of_twenty_mirrors_none_of_twenty() -> None:
    assert wilson(20, 20)[0] == pytest.approx(1 - wilson(0, 20)[1])
    assert wilson(20, 20)[1] == 1
    assert clopper_pearson(20, 20) == pytest.approx((1 - 0.1684335, 1), abs=5e-8)


def test_a_proportion_of_no_cases_has_a_reason() -> None:
    figure = proportion(np.array([], dtype=bool), empty="no positive cases")
    assert (figure.value, figure.n, figure.reason) == (None, 0, "no positive cases")


def test_copies_of_an_image_are_worth_one_image() -> None:
    success, patient = np.arange(40) % 4 == 0, np.arange(40)
    copied = proportion(np.repeat(success, 5), np.repeat(patient, 5))
    alone = proportion(success)
    assert copied.method == WILSON_CLUSTERED
    assert copied.value == alone.value
    assert effective_size(np.repeat(success, 5), np.repeat(patient, 5)) == pytest.approx(39)  # 40 patients, variance with n - 1
    assert (copied.low, copied.high) == pytest.approx((alone.low, alone.high), abs=0.003)


def test_patients_whose_images_are_all_right_count_once() -> None:
    assert effective_size(np.ones(12, dtype=bool), np.repeat(np.arange(4), 3)) == 4
    assert effective_size(np.array([True, False]), np.zeros(2, dtype=np.int64)) == 1
