"""How often each case is drawn."""

import numpy as np
import pytest

from medai.core.error import MedaiError
from medai.core.label import Label
from medai.task.sampling import MODES, sampling_weights
from medai.training.settings import TrainingSettings

LABELS = [Label("effusion", "binary", ("no", "yes")), Label("stage", "ordinal", ("a", "b", "c"))]
TARGET = np.array([[0, 0], [0, 0], [0, 0], [1, 2], [1, -1], [-1, -1], [-1, -1]])


def test_balanced_gives_every_combination_the_same() -> None:
    weight = sampling_weights(LABELS, TARGET, "balanced")
    assert weight.dtype == np.float64 and weight.sum() == pytest.approx(1)
    assert weight == pytest.approx([1 / 12, 1 / 12, 1 / 12, 1 / 4, 1 / 4, 1 / 8, 1 / 8])


def test_a_case_s_weight_does_not_depend_on_the_order_of_the_cases() -> None:
    order = np.random.default_rng(0).permutation(len(TARGET))
    assert (sampling_weights(LABELS, TARGET[order], "balanced") == sampling_weights(LABELS, TARGET, "balanced")[order]).all()


def test_none_gives_all_the_same_and_weight_follows_the_column() -> None:
    assert sampling_weights(LABELS, TARGET, "none") == pytest.approx(np.full(7, 1 / 7))
    column = np.array([0, 1, 1, 2, 0, 0, 4.0])
    assert sampling_weights(LABELS, TARGET, "weight", column) == pytest.approx(column / 8)


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (None, "needs a weight for each case, and the cohort has none"),
        (np.ones(3), r"weights of shape \(3,\) for 7 cases"),
        (np.array([1, -1, np.nan, 1, 1, 1, 1]), "2 of 7 cases have a weight that is negative or no number"),
        (np.zeros(7), "every case has the weight 0"),
    ],
)
def test_weights_that_cannot_be_drawn_by_are_told(column: np.ndarray | None, message: str) -> None:
    with pytest.raises(MedaiError, match=message):
        sampling_weights(LABELS, TARGET, "weight", column)


def test_the_modes_are_those_of_the_settings() -> None:
    for mode in MODES:
        TrainingSettings(sampling=mode)
    with pytest.raises(MedaiError, match="training.sampling is 'even'; allowed: none, balanced, weight"):
        sampling_weights(LABELS, TARGET, "even")
    with pytest.raises(MedaiError, match="expected a column a label"):
        sampling_weights(LABELS, TARGET[:, :1], "balanced")
