"""Each loss against its formula, far out, and through the configuration."""

import math

import pytest
import torch
from torch import Tensor

from medai.core.error import MedaiError
from medai.core.label import Label
from medai.task.loss import (
    Asymmetric,
    CaseLoss,
    Coral,
    CrossEntropy,
    Focal,
    LogitAdjusted,
    blocks_of,
    build_case_loss,
    is_case_loss,
)
from medai.task.task import Head, Loss, balanced_weights

BINARY = Label("effusion", "binary", ("no", "yes"))
SECOND = Label("nodule", "binary", ("no", "yes"))
CLASSES = Label("view", "multiclass", ("ap", "pa", "lateral"))
STAGE = Label("stage", "ordinal", ("none", "mild", "moderate", "severe"))
MODULE = "medai.task.loss"


class Brier(CaseLoss):
    """As a researcher would write one."""

    def binary(self, labels: object, logit: Tensor) -> Tensor:
        probability = logit.sigmoid()
        return torch.stack([probability**2, (1 - probability) ** 2], dim=-1)


class Scalar(CaseLoss):
    """Wrong: one number for all."""

    def binary(self, labels: object, logit: Tensor) -> Tensor:
        return logit.sigmoid().mean()


def _yes(loss: CaseLoss, logit: float) -> float:
    return float(loss.binary([BINARY], torch.tensor([[logit]], dtype=torch.float64))[0, 0, 1])


def _no(loss: CaseLoss, logit: float) -> float:
    return float(loss.binary([BINARY], torch.tensor([[logit]], dtype=torch.float64))[0, 0, 0])


def _p(logit: float) -> float:
    return 1 / (1 + math.exp(-logit))


def test_cross_entropy_is_torch_s() -> None:
    torch.manual_seed(0)
    logit, target = torch.randn(20, 3), torch.randint(0, 3, (20,))
    costs = CrossEntropy().multiclass(CLASSES, logit)
    assert torch.allclose(costs[torch.arange(20), target], torch.nn.functional.cross_entropy(logit, target, reduction="none"))
    odds, truth = torch.randn(20, 1), torch.randint(0, 2, (20, 1))
    costs = CrossEntropy().binary([BINARY], odds).gather(2, truth[..., None])[..., 0]
    assert torch.allclose(costs, torch.nn.functional.binary_cross_entropy_with_logits(odds, truth.float(), reduction="none"))


@pytest.mark.parametrize("logit", [-2.0, 0.3, 4.0])
def test_focal_is_the_formula_of_its_paper(logit: float) -> None:
    p = _p(logit)
    loss = Focal(gamma=2.0, alpha=0.25)
    assert _yes(loss, logit) == pytest.approx(-0.25 * (1 - p) ** 2 * math.log(p))
    assert _no(loss, logit) == pytest.approx(-0.75 * p**2 * math.log(1 - p))


def test_focal_with_several_classes_weighs_each_by_what_is_left() -> None:
    torch.manual_seed(1)
    logit = torch.randn(30, 3, dtype=torch.float64) * 3
    p = logit.softmax(1)
    assert torch.allclose(Focal(1.7).multiclass(CLASSES, logit), -((1 - p) ** 1.7) * p.log())
    assert torch.allclose(Focal(0.0).multiclass(CLASSES, logit), CrossEntropy().multiclass(CLASSES, logit))


@pytest.mark.parametrize("logit", [-5.0, -2.0, 0.3, 4.0])
def test_asymmetric_is_the_formula_of_its_paper(logit: float) -> None:
    p = _p(logit)
    q = max(p - 0.05, 0)
    loss = Asymmetric(gamma_positive=1.0, gamma_negative=4.0, clip=0.05)
    assert _yes(loss, logit) == pytest.approx(-(1 - p) * math.log(p))
    assert _no(loss, logit) == pytest.approx(-(q**4) * math.log(1 - q), abs=1e-12)
    assert _no(Asymmetric(0, 4, clip=0), logit) == pytest.approx(-(p**4) * math.log(1 - p))
    assert _no(Asymmetric(0, 0, clip=0), logit) == pytest.approx(_no(CrossEntropy(), logit))


def test_asymmetric_refuses_exclusive_classes_before_the_training() -> None:
    target = torch.zeros(3, 2, dtype=torch.int64)
    with pytest.raises(MedaiError, match=r"Asymmetric does not take multiclass labels, as 'view' is one; try loss=cross_entropy"):
        build_case_loss({"_target_": f"{MODULE}.Asymmetric"}, [BINARY, CLASSES], target)


def test_logit_adjustment_adds_the_log_frequencies() -> None:
    target = torch.tensor([[0, 0], [0, 0], [0, 1], [1, 2], [-1, 0]])
    loss = build_case_loss({"_target_": f"{MODULE}.LogitAdjusted", "tau": 1.5}, [BINARY, CLASSES], target)
    logit = torch.tensor([[0.4, 1.0, -1.0, 0.5]])
    assert loss.binary([BINARY], logit[:, :1])[0, 0, 1] == pytest.approx(math.log(1 + math.exp(-(0.4 + 1.5 * math.log(0.25 / 0.75)))))
    shifted = logit[:, 1:] + 1.5 * torch.tensor([3 / 5, 1 / 5, 1 / 5]).log()
    assert torch.allclose(loss.multiclass(CLASSES, logit[:, 1:]), -shifted.log_softmax(1))


def test_the_adjusted_optimum_is_the_balanced_one() -> None:
    """With frequencies alone to learn, plain cross-entropy ends at them and the adjusted loss at equal classes."""
    target = torch.tensor([0] * 70 + [1] * 20 + [2] * 10)[:, None]
    loss = Loss([CLASSES], build_case_loss({"_target_": f"{MODULE}.LogitAdjusted"}, [CLASSES], target))
    logit = torch.zeros(1, 3, requires_grad=True)
    loss(logit.expand(100, 3), target, loss.denominators(target)).backward()
    assert logit.grad is not None and torch.allclose(logit.grad, torch.zeros(1, 3), atol=1e-6)
    plain = Loss([CLASSES])
    (gradient,) = torch.autograd.grad(plain(logit.expand(100, 3), target, plain.denominators(target)), logit)
    assert torch.allclose(gradient, torch.tensor([[1 / 3 - 0.7, 1 / 3 - 0.2, 1 / 3 - 0.1]]), atol=1e-6)


def test_a_class_that_never_occurs_keeps_the_adjusted_loss_finite() -> None:
    target = torch.zeros(9, 1, dtype=torch.int64)
    case_loss = build_case_loss({"_target_": f"{MODULE}.LogitAdjusted"}, [CLASSES], target)
    loss = Loss([CLASSES], case_loss, label_smoothing=0.1)
    assert torch.isfinite(loss(torch.zeros(9, 3), target, loss.denominators(target)))


def test_logit_adjustment_without_frequencies_says_what_to_call() -> None:
    with pytest.raises(MedaiError, match="make it by medai.task.loss.build_case_loss"):
        LogitAdjusted().binary([BINARY], torch.zeros(1, 1))


def test_coral_is_the_sum_of_the_thresholds_cross_entropies() -> None:
    torch.manual_seed(2)
    head = Head([STAGE]).double()
    f = torch.randn(40, 1, dtype=torch.float64) * 4
    points = head.cut_points["stage"]
    cuts = torch.cat([points.first.view(1), points.first + torch.nn.functional.softplus(points.steps).cumsum(0)])
    costs = Coral().multiclass(STAGE, head(f))
    for grade in range(4):
        worse = (grade > torch.arange(3)).double().expand(40, 3)
        expected = torch.nn.functional.binary_cross_entropy_with_logits(f - cuts, worse, reduction="none").sum(1)
        assert torch.allclose(costs[:, grade], expected, rtol=1e-9)


def test_coral_of_one_threshold_is_cross_entropy_and_of_no_grades_is_refused() -> None:
    logit = torch.randn(5, 2)
    labels = [BINARY, SECOND]
    assert torch.equal(Coral().binary(labels, logit), CrossEntropy().binary(labels, logit))
    assert torch.allclose(Coral().multiclass(CLASSES, torch.ones(5, 3)), torch.full((5, 3), math.log(3)))
    with pytest.raises(MedaiError, match="of effusion, nodule none is one; give a target kind: ordinal"):
        build_case_loss({"_target_": f"{MODULE}.Coral"}, labels, torch.zeros(2, 2, dtype=torch.int64))


def test_coral_learns_grades() -> None:
    torch.manual_seed(0)
    x = torch.rand(400, 1)
    target = (x[:, 0] * 4).long().clamp_max(3)[:, None]
    head, scale, loss = Head([STAGE]), torch.nn.Linear(1, 1), Loss([STAGE], Coral())
    optimizer = torch.optim.Adam([*head.parameters(), *scale.parameters()], lr=0.1)
    for _ in range(300):
        optimizer.zero_grad()
        loss(head(scale(x)), target, loss.denominators(target)).backward()
        optimizer.step()
    assert (head(scale(x)).argmax(1) == target[:, 0]).float().mean() > 0.95


CASE_LOSSES = [
    CrossEntropy(), Focal(2.0, 0.25), Focal(0.3), Asymmetric(), Asymmetric(0.5, 0.5, 0.2), Asymmetric(2, 2, 0.0), LogitAdjusted(), Coral(),
]  # fmt: skip


@pytest.mark.parametrize("case_loss", CASE_LOSSES, ids=lambda loss: type(loss).__name__)
def test_losses_and_gradients_stay_finite_far_out(case_loss: CaseLoss) -> None:
    labels = [BINARY, SECOND] if isinstance(case_loss, Asymmetric) else [BINARY, SECOND, CLASSES, STAGE]
    target = torch.stack([torch.arange(6) % len(label.classes) for label in labels], 1)
    case_loss.prepare([*labels, STAGE], [torch.ones(len(label.classes)) for label in [*labels, STAGE]])
    loss, head = Loss(labels, case_loss, label_smoothing=0.1), Head(labels)
    raw = torch.full((6, head.inputs), 1e4)
    raw[::2] *= -1
    raw[:, 1::2] *= -1
    raw[:2] = 0
    raw.requires_grad_()
    value = loss(head(raw), target, loss.denominators(target))
    value.backward()
    assert torch.isfinite(value) and raw.grad is not None and torch.isfinite(raw.grad).all()
    assert all(torch.isfinite(parameter.grad).all() for parameter in head.parameters() if parameter.grad is not None)


@pytest.mark.parametrize("case_loss", CASE_LOSSES, ids=lambda loss: type(loss).__name__)
def test_gradients_are_those_of_the_values(case_loss: CaseLoss) -> None:
    torch.manual_seed(3)
    case_loss.prepare([BINARY, STAGE], [torch.tensor([7.0, 3.0]), torch.ones(4)])
    logit = torch.randn(5, 1, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda value: case_loss.binary([BINARY], value), logit)
    if not isinstance(case_loss, Asymmetric):
        logit = torch.randn(5, 4, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(lambda value: case_loss.multiclass(STAGE, value), logit)


def test_blocks_take_neighbouring_binary_labels_together() -> None:
    blocks = blocks_of([BINARY, SECOND, CLASSES, STAGE, Label("third", "binary", ("no", "yes"))])
    assert [(block.places, block.columns, block.classes) for block in blocks] == [
        (slice(0, 2), slice(0, 2), 2), (slice(2, 3), slice(2, 5), 3), (slice(3, 4), slice(5, 9), 4), (slice(4, 5), slice(9, 10), 2),
    ]  # fmt: skip


def test_labels_in_blocks_cost_what_they_cost_alone() -> None:
    torch.manual_seed(4)
    labels = [BINARY, SECOND, CLASSES, STAGE]
    logit = torch.randn(12, 9)
    target = torch.stack([torch.randint(-1, len(label.classes), (12,)) for label in labels], 1)
    weights = balanced_weights(labels, target)
    together, start, alone = Loss(labels, Focal(), 0.1, weights), 0, torch.zeros(())
    for index, label in enumerate(labels):
        loss = Loss([label], Focal(), 0.1, weights[index : index + 1])
        own = target[:, index : index + 1]
        alone += loss(logit[:, start : start + len(label.columns)], own, loss.denominators(own)) / len(labels)
        start += len(label.columns)
    assert together(logit, target, together.denominators(target)) == pytest.approx(float(alone), rel=1e-6)


def test_a_loss_of_one_s_own_is_named_by_its_path_and_tried() -> None:
    from medai.core.target import build

    assert is_case_loss(Brier) and is_case_loss(Focal)
    assert not is_case_loss(CaseLoss) and not is_case_loss(torch.nn.BCEWithLogitsLoss) and not is_case_loss(torch.load)
    loss = Loss([BINARY], Brier())
    target = torch.tensor([[1], [0]])
    assert loss(torch.tensor([[0.0], [0.0]]), target, loss.denominators(target)) == 0.25
    with pytest.raises(MedaiError, match="torch.nn.BCEWithLogitsLoss is not a loss"):
        build({"_target_": "torch.nn.BCEWithLogitsLoss"}, "a loss", is_case_loss)
    with pytest.raises(MedaiError, match=r"Scalar.binary gives the shape \(\) for logits \(2, 1\); expected \(2, 1, 2\)"):
        blocks_of([BINARY])[0].losses(Scalar(), torch.zeros(2, 1))
    with pytest.raises(MedaiError, match="the loss Brier does not take ordinal labels, as 'stage' is one"):
        blocks_of([STAGE])[0].losses(Brier(), torch.zeros(2, 4))


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("Focal", {"gamma": -1}, r"loss.gamma is -1; it must lie in \[0, 100\]"),
        ("Focal", {"alpha": 2}, r"loss.alpha is 2; it must lie in \[0, 1\]"),
        ("Asymmetric", {"clip": 1}, r"loss.clip is 1; it must lie in \[0, 0.99\]"),
        ("LogitAdjusted", {"tau": math.nan}, "loss.tau is nan"),
        ("Focal", {"gama": 1}, "Focal does not take these arguments"),
        ("blocks_of", {}, "blocks_of is not a loss"),
    ],
)
def test_a_wrong_argument_is_told_in_one_line(name: str, arguments: dict[str, float], message: str) -> None:
    with pytest.raises(MedaiError, match=message):
        build_case_loss({"_target_": f"{MODULE}.{name}", **arguments}, [BINARY], torch.zeros(1, 1, dtype=torch.int64))
