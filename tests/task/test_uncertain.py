"""What the policies make of labels that the reader was not sure of."""

import numpy as np
import pytest
import torch

from medai.core.error import MedaiError
from medai.core.label import Label
from medai.task.target import UNKNOWN, Target, class_totals
from medai.task.task import Loss
from medai.task.uncertain import POLICIES, mixture
from medai.training.settings import TrainingSettings

LABELS = [Label("effusion", "binary", ("no", "yes")), Label("view", "multiclass", ("ap", "pa", "lateral"))]
CLASSES = torch.tensor([[1, 2], [UNKNOWN, 0], [UNKNOWN, UNKNOWN]])
UNCERTAIN = torch.tensor([[False, False], [True, False], [False, False]])


@pytest.mark.parametrize(("policy", "value"), [("ignore", UNKNOWN), ("ones", 1), ("zeros", 0)])
def test_an_uncertain_label_becomes_one_value(policy: str, value: int) -> None:
    (target,) = mixture(CLASSES, UNCERTAIN, policy)
    assert target.classes.tolist() == [[1, 2], [value, 0], [UNKNOWN, UNKNOWN]] and target.share is None


def test_a_soft_label_costs_the_cross_entropy_of_its_share() -> None:
    target = mixture(CLASSES, UNCERTAIN, "soft", 0.7)
    loss = Loss(LABELS)
    assert loss.denominators(target).tolist() == pytest.approx([2, 2])
    logit = torch.tensor([[20.0, -99, -99, 99], [0.4, 99, -99, -99], [3, 1, 2, 3]])
    expected = 0.7 * np.log1p(np.exp(-0.4)) + 0.3 * np.log1p(np.exp(0.4))
    assert float(loss(logit, target, loss.denominators(target))) == pytest.approx(expected / 2 / 2, rel=1e-6)


def test_certain_labels_are_the_same_under_every_policy() -> None:
    nothing = torch.zeros_like(UNCERTAIN)
    values = []
    for policy in POLICIES:
        target, loss = mixture(CLASSES, nothing, policy), Loss(LABELS)
        values.append(float(loss(torch.ones(3, 4), target, loss.denominators(target))))
    assert len(set(values)) == 1


def test_shares_count_as_shares_of_a_case() -> None:
    totals = class_totals(LABELS, mixture(CLASSES, UNCERTAIN, "soft", 0.7))
    assert totals[0].tolist() == pytest.approx([0.3, 1.7]) and totals[1].tolist() == [1, 0, 1]


def test_rows_of_a_target_keep_their_shares() -> None:
    target = Target(CLASSES, torch.tensor([[1.0, 1], [0.7, 1], [1, 1]])).take(torch.tensor([1, 0]))
    assert target.classes.tolist() == [[UNKNOWN, 0], [1, 2]] and target.share is not None and target.share[0, 0] == pytest.approx(0.7)
    assert target.scaled(torch.tensor([0.5, 1])).share == pytest.approx(torch.tensor([[0.35, 0.5], [1, 1]]))


def test_the_policies_are_those_of_the_settings() -> None:
    for policy in POLICIES:
        TrainingSettings(uncertain=policy)
    with pytest.raises(MedaiError, match="training.uncertain is 'maybe'; allowed: ignore, ones, zeros, soft"):
        mixture(CLASSES, UNCERTAIN, "maybe")
    with pytest.raises(MedaiError, match="training.uncertain_share is 2"):
        mixture(CLASSES, UNCERTAIN, "soft", 2)
