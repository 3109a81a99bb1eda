"""Heads, losses and decisions for every kind of label."""

import numpy as np
import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, one_hot

from medai.core.label import Label
from medai.task.target import mixed
from medai.task.task import UNKNOWN, Decide, Head, Loss, Target, balanced_weights

BINARY = Label("effusion", "binary", ("no", "yes"))
SECOND = Label("nodule", "binary", ("no", "yes"))
CLASSES = Label("view", "multiclass", ("ap", "pa", "lateral"))
STAGE = Label("stage", "ordinal", ("none", "mild", "moderate", "severe"))


def test_the_ordinal_head_is_the_proportional_odds_model() -> None:
    head = Head([BINARY, STAGE])
    assert head.inputs == 2
    raw = torch.randn(64, 2) * 4
    logit = head(raw)
    assert torch.equal(logit[:, :1], raw[:, :1])
    probability = logit[:, 1:].exp()
    assert torch.allclose(probability.sum(1), torch.ones(64), atol=1e-6)
    points = head.cut_points["stage"]
    cuts = torch.cat([points.first.view(1), points.first + torch.nn.functional.softplus(points.steps).cumsum(0)])
    assert torch.allclose(probability.cumsum(1)[:, :3], torch.sigmoid(cuts - raw[:, 1:]), atol=1e-5)


def test_the_ordinal_logits_stay_finite_far_out() -> None:
    logit = Head([STAGE])(torch.tensor([[-200.0], [200.0]]))
    assert torch.isfinite(logit).all()
    assert logit.argmax(1).tolist() == [0, 3]


def test_an_ordinal_label_can_be_learned() -> None:
    torch.manual_seed(0)
    x = torch.rand(400, 1)
    target = (x[:, 0] * 4).long().clamp_max(3)[:, None]
    head, scale, loss = Head([STAGE]), torch.nn.Linear(1, 1), Loss([STAGE])
    optimizer = torch.optim.Adam([*head.parameters(), *scale.parameters()], lr=0.1)
    for _ in range(300):
        optimizer.zero_grad()
        loss(head(scale(x)), target, loss.denominators(target)).backward()
        optimizer.step()
    assert (head(scale(x)).argmax(1) == target[:, 0]).float().mean() > 0.95


def test_an_unknown_label_takes_no_part_in_the_loss() -> None:
    loss = Loss([BINARY, SECOND])
    logit = torch.randn(4, 2, requires_grad=True)
    target = torch.tensor([[1, UNKNOWN], [0, UNKNOWN], [1, 1], [UNKNOWN, 0]])
    loss(logit, target, loss.denominators(target)).backward()
    assert logit.grad is not None
    assert (logit.grad[target == UNKNOWN] == 0).all()
    assert (logit.grad[target != UNKNOWN] != 0).all()


def test_parts_of_a_batch_add_up_to_the_loss_of_the_whole() -> None:
    weights = [torch.tensor([0.5, 2.0]), torch.tensor([1.0, 2.0, 3.0])]
    loss = Loss([BINARY, CLASSES], label_smoothing=0.1, class_weights=weights)
    logit = torch.randn(10, 4)
    target = torch.stack([torch.randint(-1, 2, (10,)), torch.randint(-1, 3, (10,))], 1)
    denominators = loss.denominators(target)
    parts = loss(logit[:3], target[:3], denominators) + loss(logit[3:], target[3:], denominators)
    assert float(parts) == pytest.approx(float(loss(logit, target, denominators)), abs=1e-6)
    assert torch.allclose(loss.denominators_of(loss.sums(target[:3]) + loss.sums(target[3:])), denominators)


def test_the_loss_of_a_mixture_is_the_sum_of_its_shares() -> None:
    loss = Loss([BINARY, CLASSES])
    logit, share = torch.randn(10, 4), torch.rand(10)
    first = torch.stack([torch.randint(0, 2, (10,)), torch.randint(0, 3, (10,))], 1)
    second = torch.stack([torch.randint(0, 2, (10,)), torch.randint(0, 3, (10,))], 1)
    soft = share * first[:, 0] + (1 - share) * second[:, 0]
    ways = share[:, None] * one_hot(first[:, 1], 3) + (1 - share[:, None]) * one_hot(second[:, 1], 3)
    expected = (binary_cross_entropy_with_logits(logit[:, 0], soft) + cross_entropy(logit[:, 1:], ways)) / 2
    both = mixed([Target(first)], [Target(second)], share)
    assert float(loss(logit, both, loss.denominators(both))) == pytest.approx(float(expected), rel=1e-6)
    whole = mixed([Target(first)], [Target(second)], torch.ones(10))
    assert torch.equal(loss(logit, whole, loss.denominators(whole)), loss(logit, first, loss.denominators(first)))


def test_an_unknown_partner_leaves_the_known_share_alone() -> None:
    loss = Loss([BINARY], class_weights=[torch.tensor([1.0, 3.0])])
    both = mixed([Target(torch.tensor([[1], [0]]))], [Target(torch.tensor([[UNKNOWN], [1]]))], torch.tensor([0.25, 0.5]))
    assert loss.denominators(both).tolist() == [0.25 * 3 + 0.5 * 1 + 0.5 * 3]
    value = loss(torch.tensor([[0.2], [0.7]]), both, loss.denominators(both))
    expected = (0.75 * np.log1p(np.exp(-0.2)) + 0.5 * np.log1p(np.exp(0.7)) + 1.5 * np.log1p(np.exp(-0.7))) / 2.75
    assert float(value) == pytest.approx(expected, rel=1e-6)


def test_the_loss_of_half_precision_logits_is_computed_in_single_precision() -> None:
    loss, target = Loss([CLASSES]), torch.tensor([[1], [2]])
    assert loss(torch.randn(2, 3).bfloat16(), target, loss.denominators(target)).dtype == torch.float32


def test_a_batch_without_any_known_label_has_a_loss_of_zero() -> None:
    loss = Loss([BINARY])
    target = torch.full((3, 1), UNKNOWN)
    assert loss(torch.randn(3, 1), target, loss.denominators(target)) == 0


def test_label_smoothing_agrees_with_its_definition() -> None:
    loss = Loss([BINARY], label_smoothing=0.2)
    logit, target = torch.tensor([[0.7]]), torch.tensor([[1]])
    expected = -(0.9 * np.log(1 / (1 + np.exp(-0.7))) + 0.1 * np.log(1 - 1 / (1 + np.exp(-0.7))))
    assert loss(logit, target, loss.denominators(target)).item() == pytest.approx(expected, rel=1e-6)


def test_balanced_weights_give_each_class_the_same_total() -> None:
    target = torch.tensor([[0], [0], [0], [1], [UNKNOWN]])
    (weights,) = balanced_weights([BINARY], target)
    assert weights[0] * 3 == pytest.approx(weights[1] * 1)


def test_decisions_follow_thresholds_and_largest_probabilities() -> None:
    decide = Decide([BINARY, CLASSES], temperatures=[2.0, 1.0], thresholds=[0.6, 0.5])
    logit = torch.tensor([[0.9, 0.0, 3.0, 1.0], [0.8, 2.0, 0.0, 0.0]])
    probability, calibrated, decision = decide(logit)
    assert torch.allclose(calibrated[:, 0], logit[:, 0] / 2)
    assert torch.allclose(probability[:, 0], torch.sigmoid(logit[:, 0] / 2))
    assert torch.allclose(probability[:, 1:].sum(1), torch.ones(2))
    assert decision.tolist() == [[1, 1], [0, 0]]
    assert decision.dtype == torch.int64


def test_where_every_label_is_known_the_loss_takes_a_short_way_to_the_same_value() -> None:
    labels = (Label("a", "binary", ("no", "yes")), Label("b", "multiclass", ("x", "y", "z")), Label("c", "binary", ("no", "yes")))
    drawn = torch.Generator().manual_seed(0)
    classes = torch.stack([torch.randint(0, count, (9,), generator=drawn) for count in (2, 3, 2)], dim=1)
    logit = torch.randn(9, 5, generator=drawn, requires_grad=True)
    loss = Loss(labels)
    values, gradients = [], []
    for complete in (False, True):
        target = (Target(classes, None, complete),)
        value = loss(logit[:4], (target[0].take(torch.arange(4)),), loss.denominators(target))
        (gradient,) = torch.autograd.grad(value, logit)
        values.append(value)
        gradients.append(gradient)
    assert torch.allclose(values[0], values[1], atol=1e-6)
    assert torch.allclose(gradients[0], gradients[1], atol=1e-7)
