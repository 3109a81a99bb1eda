"""Losses of a case: cross-entropy, focal, asymmetric, logit-adjusted, CORAL, or a researcher's own."""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional

from medai.core.error import MedaiError
from medai.core.label import Label
from medai.core.target import build
from medai.task.target import Mixture, Target, class_totals


class CaseLoss(nn.Module):
    """What one case costs, for each class that may be its true one.

    `medai.task.task.Loss` weighs these costs by what is known of the case. Unknown and uncertain labels, mixed images, label
    smoothing and class weights therefore work with every loss, and a loss need not know of them.

    Your own loss is a subclass, named in a configuration by its dotted path; it defines the method for the labels it takes.

    Example:
        >>> class Brier(CaseLoss):
        ...     def binary(self, labels, logit):
        ...         probability = logit.sigmoid()
        ...         return torch.stack([probability**2, (1 - probability) ** 2], dim=-1)
    """

    def prepare(self, labels: Sequence[Label], totals: Sequence[Float[Tensor, " K"]]) -> None:
        """Called once before the training: what is to be learned, and how many training cases each class has.

        Raises:
            MedaiError: the loss does not fit the labels.
        """

    def binary(self, labels: Sequence[Label], logit: Float[Tensor, "N B"]) -> Float[Tensor, "N B 2"]:
        """Costs of binary labels.

        Args:
            labels: B of them.
            logit: Log odds of the positive class.

        Returns:
            The cost if the negative, and if the positive class is the true one.
        """
        raise self._unable("binary", labels[0])

    def multiclass(self, label: Label, logit: Float[Tensor, "N K"]) -> Float[Tensor, "N K"]:
        """Costs of one multi-class or ordinal label.

        Args:
            label: The label, with K classes.
            logit: Their softmax is the probabilities; those of an ordinal label are log probabilities already.

        Returns:
            The cost for each class if it is the true one.
        """
        raise self._unable(label.kind, label)

    def _unable(self, kind: str, label: Label) -> MedaiError:
        return MedaiError(f"the loss {type(self).__name__} does not take {kind} labels, as {label.name!r} is one; try loss=cross_entropy")


class CrossEntropy(CaseLoss):
    """Minus the log probability of the true class."""

    def binary(self, labels: Sequence[Label], logit: Float[Tensor, "N B"]) -> Float[Tensor, "N B 2"]:
        return _surprise(logit)

    def multiclass(self, label: Label, logit: Float[Tensor, "N K"]) -> Float[Tensor, "N K"]:
        return -functional.log_softmax(logit, dim=1)


class Focal(CaseLoss):
    """Cross-entropy times (1 - p)^gamma, so that cases that are right already count less (Lin et al. 2017, equation 5).

    Args:
        gamma: 0 is cross-entropy.
        alpha: Weight of the positive class of binary labels, 1 - alpha that of the negative; None leaves them alike
            (`training.class_weights` balances every kind of label).
    """

    def __init__(self, gamma: float = 2.0, alpha: float | None = None) -> None:
        super().__init__()
        _within("loss.gamma", gamma, 0, 100)
        if alpha is not None:
            _within("loss.alpha", alpha, 0, 1)
        self.gamma, self.alpha = gamma, alpha

    def binary(self, labels: Sequence[Label], logit: Float[Tensor, "N B"]) -> Float[Tensor, "N B 2"]:
        surprise = _surprise(logit)
        costs = (-self.gamma * surprise.flip(-1)).exp() * surprise
        return costs if self.alpha is None else torch.stack([(1 - self.alpha) * costs[..., 0], self.alpha * costs[..., 1]], dim=-1)

    def multiclass(self, label: Label, logit: Float[Tensor, "N K"]) -> Float[Tensor, "N K"]:
        log_probability = functional.log_softmax(logit, dim=1)
        own = torch.eye(logit.shape[1], dtype=torch.bool, device=logit.device)
        log_rest = log_probability[:, None, :].masked_fill(own, -torch.inf).logsumexp(dim=2)  # log(1 - p), without cancellation
        return -(self.gamma * log_rest).exp() * log_probability


class Asymmetric(CaseLoss):
    """Binary cross-entropy that turns away from easy negatives (Ridnik et al. 2021, equations 4 to 7), for many rare findings.

    -(1 - p)^gamma_positive log p for a positive case, -q^gamma_negative log(1 - q) with q = max(p - clip, 0) for a negative
    one. Several exclusive classes have no negatives of their own: there it would be the focal loss, and is refused.

    Args:
        gamma_positive: 0 is cross-entropy, as in the paper.
        gamma_negative: Of the negative cases.
        clip: A negative case with a probability up to this one costs nothing.
    """

    def __init__(self, gamma_positive: float = 0.0, gamma_negative: float = 4.0, clip: float = 0.05) -> None:
        super().__init__()
        _within("loss.gamma_positive", gamma_positive, 0, 100)
        _within("loss.gamma_negative", gamma_negative, 0, 100)
        _within("loss.clip", clip, 0, 0.99)
        self.gamma_positive, self.gamma_negative, self.clip = gamma_positive, gamma_negative, clip

    def binary(self, labels: Sequence[Label], logit: Float[Tensor, "N B"]) -> Float[Tensor, "N B 2"]:
        log_no, log_yes = functional.logsigmoid(-logit), functional.logsigmoid(logit)
        positive = -(self.gamma_positive * log_no).exp() * log_yes
        if not self.clip:
            return torch.stack([-(self.gamma_negative * log_yes).exp() * log_no, positive], dim=-1)
        shifted = (logit.sigmoid() - self.clip).clamp_min(0)
        weight = shifted.clamp_min(1e-6) ** self.gamma_negative  # the power's slope at 0 may be infinite; the logarithm is 0 there
        return torch.stack([-weight * torch.log1p(-shifted), positive], dim=-1)


class LogitAdjusted(CaseLoss):
    """Cross-entropy of the logits plus tau times the log of the classes' frequencies (Menon et al. 2021, equation 10).

    The network then learns logits without the frequencies: the largest one makes the fewest errors averaged over the
    *classes*. Its probabilities hold where all classes are equally frequent; they are no risks in your population.

    Args:
        tau: 1 removes the frequencies, 0 is cross-entropy.
    """

    def __init__(self, tau: float = 1.0) -> None:
        super().__init__()
        _within("loss.tau", tau, 0, 100)
        self.tau = tau

    def prepare(self, labels: Sequence[Label], totals: Sequence[Float[Tensor, " K"]]) -> None:
        """Keep the logs of the frequencies. A class that no training case has counts as one case."""
        for label, total in zip(labels, totals, strict=True):
            seen = total.clamp_min(1)
            self.register_buffer(f"prior_{label.name}", (seen / seen.sum()).log())

    def binary(self, labels: Sequence[Label], logit: Float[Tensor, "N B"]) -> Float[Tensor, "N B 2"]:
        prior = torch.stack([self._prior(label, logit) for label in labels])
        return _surprise(logit + self.tau * (prior[:, 1] - prior[:, 0]))

    def multiclass(self, label: Label, logit: Float[Tensor, "N K"]) -> Float[Tensor, "N K"]:
        return -functional.log_softmax(logit + self.tau * self._prior(label, logit), dim=1)

    def _prior(self, label: Label, logit: Float[Tensor, "N *C"]) -> Float[Tensor, " K"]:
        name = f"prior_{label.name}"
        if not hasattr(self, name):
            raise MedaiError("the loss LogitAdjusted needs the frequencies of the classes; make it by medai.task.loss.build_case_loss")
        return self.get_buffer(name).to(logit.device, non_blocking=True)


class Coral(CaseLoss):
    """Ordinal labels: the sum of the binary cross-entropies of "worse than grade k", k = 1 … K-1 (Cao et al. 2020, equation 4).

    CORAL is the proportional-odds model of `medai.task.task.Head`, one output and K-1 biases (its cut points), under another
    loss. Cross-entropy asks for the likelihood of the true grade; this sum also counts how many grades an error is off.
    The paper leaves the biases free and proves that the best ones are ordered; the head's always are, so that the
    probabilities of the grades are never negative, and the model is exported like any other. Binary labels have one
    threshold, for which the sum is their cross-entropy; multi-class labels get cross-entropy, too.
    """

    def prepare(self, labels: Sequence[Label], totals: Sequence[Float[Tensor, " K"]]) -> None:
        if all(label.kind != "ordinal" for label in labels):
            names = ", ".join(label.name for label in labels)
            raise MedaiError(f"the loss Coral is for ordinal labels, and of {names} none is one; give a target kind: ordinal")

    def binary(self, labels: Sequence[Label], logit: Float[Tensor, "N B"]) -> Float[Tensor, "N B 2"]:
        return _surprise(logit)

    def multiclass(self, label: Label, logit: Float[Tensor, "N K"]) -> Float[Tensor, "N K"]:
        log_probability = functional.log_softmax(logit, dim=1)
        if label.kind != "ordinal":
            return -log_probability
        cuts = range(1, logit.shape[1])
        up_to = torch.stack([log_probability[:, :cut].logsumexp(dim=1) for cut in cuts], dim=1)  # (N, K-1): log P(class < cut)
        above = torch.stack([log_probability[:, cut:].logsumexp(dim=1) for cut in cuts], dim=1)
        nothing = above.new_zeros(len(above), 1)
        passed = torch.cat([nothing, above.cumsum(1)], dim=1)  # thresholds that the true class lies above
        missed = torch.cat([up_to.flip(1).cumsum(1).flip(1), nothing], dim=1)  # those that it does not reach
        return -(passed + missed)


@dataclass(frozen=True)
class Block:
    """Labels whose losses are computed at once: neighbouring binary ones, or one with several classes.

    Attributes:
        labels: B of them.
        places: Where they lie among the labels.
        columns: Where their logits lie among the outputs.
        classes: How many each of them has: 2 if binary.
    """

    labels: tuple[Label, ...]
    places: slice
    columns: slice
    classes: int

    def losses(self, case_loss: CaseLoss, logit: Float[Tensor, "N P"]) -> Float[Tensor, "N B K"]:
        """The costs of the block's labels for each of their classes, from the logits of all labels.

        Raises:
            MedaiError: the loss does not take such a label, or gives another shape.
        """
        part, binary = logit[:, self.columns], self.labels[0].kind == "binary"
        costs = case_loss.binary(self.labels, part) if binary else case_loss.multiclass(self.labels[0], part)
        expected = (len(part), len(self.labels), 2) if binary else (len(part), self.classes)
        if tuple(costs.shape) != expected:
            method = f"{type(case_loss).__name__}.{'binary' if binary else 'multiclass'}"
            raise MedaiError(f"{method} gives the shape {tuple(costs.shape)} for logits {tuple(part.shape)}; expected {expected}")
        return costs if binary else costs[:, None, :]


def blocks_of(labels: Sequence[Label]) -> tuple[Block, ...]:
    """Blocks of labels, in the order of the outputs."""
    blocks, place, column = [], 0, 0
    for _, run in groupby(enumerate(labels), lambda entry: -1 if entry[1].kind == "binary" else entry[0]):
        members = tuple(label for _, label in run)
        width = sum(len(label.columns) for label in members)
        blocks.append(Block(members, slice(place, place + len(members)), slice(column, column + width), len(members[0].classes)))
        place, column = place + len(members), column + width
    return tuple(blocks)


def is_case_loss(target: Any) -> bool:
    """Whether a configuration may name `target` as the loss: a subclass of `CaseLoss`."""
    return inspect.isclass(target) and issubclass(target, CaseLoss) and target is not CaseLoss


def build_case_loss(node: Mapping[str, Any], labels: Sequence[Label], target: Int64[Tensor, "N L"] | Target | Mixture) -> CaseLoss:
    """The loss that a configuration names, told what is to be learned and tried on it.

    Args:
        node: The settings' `loss`.
        labels: In the order of the outputs.
        target: Of the training split.

    Raises:
        MedaiError: the node names no loss, or one that does not fit the labels.
    """
    loss: CaseLoss = build(node, "a loss", is_case_loss)
    loss.prepare(labels, class_totals(labels, target))
    for block in blocks_of(labels):
        block.losses(loss, torch.zeros(2, block.columns.stop))
    return loss


def _surprise(logit: Float[Tensor, "*N"]) -> Float[Tensor, "*N 2"]:
    """Minus the log probabilities of the negative and the positive class, from the log odds."""
    return functional.softplus(torch.stack([logit, -logit], dim=-1), threshold=40)


def _within(key: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise MedaiError(f"{key} is {value}; it must lie in [{low}, {high}]")
