"""ROC and precision-recall points."""

import numpy as np
import pytest

from medai.core.error import MedaiError
from medai.evaluation.auroc import auroc
from medai.evaluation.curve import average_precision, precision_recall, roc

SCORE, TARGET = np.array([0.1, 0.4, 0.35, 0.8]), np.array([False, False, True, True])


def test_average_precision_is_that_of_the_textbook() -> None:
    assert average_precision(SCORE, TARGET) == pytest.approx(0.8333333333333333)


def test_average_precision_of_one_tied_score_is_the_prevalence() -> None:
    assert average_precision(np.full(10, 0.3), np.arange(10) < 3) == pytest.approx(0.3)


def test_the_roc_curve_runs_from_corner_to_corner_and_holds_the_auroc() -> None:
    generator = np.random.default_rng(0)
    score, target = np.round(generator.random(300), 2), generator.random(300) < 0.4
    curve = roc(score, target)
    assert (curve.x[0], curve.y[0], curve.x[-1], curve.y[-1]) == (0, 0, 1, 1)
    assert np.trapezoid(curve.y, curve.x) == pytest.approx(auroc(score, target).value)
    assert (np.diff(curve.threshold) < 0).all()


def test_precision_ends_at_the_prevalence() -> None:
    curve = precision_recall(SCORE, TARGET)
    assert (curve.x[-1], curve.y[-1]) == (1, 0.5)


def test_curves_of_one_class_alone_are_refused() -> None:
    with pytest.raises(MedaiError, match="needs both classes"):
        roc(SCORE, np.ones(4, dtype=bool))
    with pytest.raises(MedaiError, match="needs positives"):
        precision_recall(SCORE, np.zeros(4, dtype=bool))
