"""What a network learns: its outputs, their loss and their probabilities, for any mix of labels."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional

from medai.core.label import Label, slices_of

UNKNOWN = -1  # target of a case whose label is not known: it takes no part in the loss


class Head(nn.Module):
    """Raw outputs of a network to logits: one column a binary label (sigmoid), one column a class else (softmax).

    A binary or multi-class label takes its columns as they are. An ordinal label takes one output f and learns ordered
    cut points c_1 < … < c_(K-1): P(class <= k) = sigmoid(c_k - f), the proportional-odds model (McCullagh 1980). Its
    logits are the log probabilities, so that a softmax gives the probabilities back.
    """

    def __init__(self, labels: Sequence[Label]) -> None:
        super().__init__()
        self.labels = tuple(labels)
        self.cut_points = nn.ModuleDict({label.name: CutPoints(len(label.classes)) for label in labels if label.kind == "ordinal"})

    @property
    def inputs(self) -> int:
        """How many outputs the network needs."""
        return sum(1 if label.kind == "ordinal" else len(label.columns) for label in self.labels)

    def forward(self, raw: Float[Tensor, "N inputs"]) -> Float[Tensor, "N P"]:
        if not self.cut_points:
            return raw
        logits, start = [], 0
        for label in self.labels:
            width = 1 if label.kind == "ordinal" else len(label.columns)
            part = raw[:, start : start + width]
            logits.append(self.cut_points[label.name](part) if label.kind == "ordinal" else part)
            start += width
        return torch.cat(logits, dim=1)


class CutPoints(nn.Module):
    """Ordered cut points of one ordinal label; see `Head`."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.first = nn.Parameter(torch.tensor(-(classes - 2) / 2.0))
        self.steps = nn.Parameter(torch.full((classes - 2,), 0.5413))  # softplus(0.5413) = 1

    def forward(self, f: Float[Tensor, "N 1"]) -> Float[Tensor, "N K"]:
        cuts = torch.cat([self.first.view(1), self.first + functional.softplus(self.steps).cumsum(0)])
        upper = cuts - f  # (N, K-1): P(class <= k) = sigmoid(upper_k)
        gaps = cuts[1:] - cuts[:-1]
        # sigmoid(a) - sigmoid(b) = sigmoid(a) * sigmoid(-b) * (1 - exp(b - a)), in logarithms: no cancellation
        inner = functional.logsigmoid(upper[:, 1:]) + functional.logsigmoid(-upper[:, :-1]) + torch.log1p(-torch.exp(-gaps))
        return torch.cat([functional.logsigmoid(upper[:, :1]), inner, functional.logsigmoid(-upper[:, -1:])], dim=1)


class Loss:
    """Cross-entropy of every label, averaged over the known cases of each label, then over the labels.

    Args:
        labels: The labels, in the order of the outputs.
        label_smoothing: Share of the target that is spread evenly over the classes.
        class_weights: Per label, a weight for each class (2 for binary); None weights all alike.
    """

    def __init__(
        self, labels: Sequence[Label], label_smoothing: float = 0.0, class_weights: Sequence[Float[Tensor, " K"]] | None = None
    ) -> None:
        self.labels = tuple(labels)
        self.label_smoothing = label_smoothing
        self.class_weights = class_weights
        self._slices = slices_of(labels)

    def denominators(self, target: Int64[Tensor, "N L"]) -> Float[Tensor, " L"]:
        """Sum of the weights of the known cases of the *global* batch, per label. A label without any gives 1."""
        sums = [self._weights(index, target[:, index]).sum() for index in range(len(self.labels))]
        return torch.stack([torch.where(total > 0, total, torch.ones_like(total)) for total in sums])

    def __call__(self, logit: Float[Tensor, "N P"], target: Int64[Tensor, "N L"], denominators: Float[Tensor, " L"]) -> Float[Tensor, ""]:
        """The loss of (a part of) a batch; the parts of a global batch add up to the loss of the whole."""
        total = logit.new_zeros(())
        for index, label in enumerate(self.labels):
            cases = self._cases(label, logit[:, self._slices[label.name]].float(), target[:, index])
            total = total + (cases * self._weights(index, target[:, index])).sum() / denominators[index]
        return total / len(self.labels)

    def _weights(self, index: int, target: Int64[Tensor, " N"]) -> Float[Tensor, " N"]:
        known = (target != UNKNOWN).float()
        if self.class_weights is None:
            return known
        return known * self.class_weights[index].to(target.device)[target.clamp_min(0)]

    def _cases(self, label: Label, logit: Float[Tensor, "N K"], target: Int64[Tensor, " N"]) -> Float[Tensor, " N"]:
        target = target.clamp_min(0)
        if label.kind == "binary":
            soft = target.float() * (1 - self.label_smoothing) + 0.5 * self.label_smoothing
            return functional.binary_cross_entropy_with_logits(logit[:, 0], soft, reduction="none")
        return functional.cross_entropy(logit, target, reduction="none", label_smoothing=self.label_smoothing)


def balanced_weights(labels: Sequence[Label], target: Int64[Tensor, "N L"]) -> list[Float[Tensor, " K"]]:
    """Class weights inversely proportional to the class frequencies, with mean 1 over the known cases."""
    weights = []
    for index, label in enumerate(labels):
        known = target[:, index][target[:, index] != UNKNOWN]
        counts = torch.bincount(known, minlength=len(label.classes)).float()
        weights.append(torch.where(counts > 0, known.numel() / (len(label.classes) * counts.clamp_min(1)), torch.zeros(())))
    return weights


class Decide(nn.Module):
    """Calibrated probabilities and decisions: the last exported step.

    Args:
        labels: The labels, in the order of the logits.
        temperatures: Per label, what its logits are divided by (Guo et al. 2017).
        thresholds: Per binary label, the probability from which the decision is 1. Other labels decide by the largest probability.
    """

    def __init__(self, labels: Sequence[Label], temperatures: Sequence[float], thresholds: Sequence[float]) -> None:
        super().__init__()
        self.labels = tuple(labels)
        columns = [value for label, value in zip(labels, temperatures, strict=True) for _ in label.columns]
        self.register_buffer("temperature", torch.tensor([columns], dtype=torch.float32))
        self.register_buffer("threshold", torch.tensor(list(thresholds), dtype=torch.float32))
        self._slices = slices_of(labels)

    def forward(self, logit: Float[Tensor, "N P"]) -> tuple[Float[Tensor, "N P"], Float[Tensor, "N P"], Int64[Tensor, "N L"]]:
        """(probability, calibrated logit, decision)."""
        logit = logit.float() / self.get_buffer("temperature")
        threshold = self.get_buffer("threshold")
        probabilities, decisions = [], []
        for index, label in enumerate(self.labels):
            part = logit[:, self._slices[label.name]]
            probability = torch.sigmoid(part) if label.kind == "binary" else torch.softmax(part, dim=1)
            probabilities.append(probability)
            binary = label.kind == "binary"
            decisions.append((probability >= threshold[index]).to(torch.int64) if binary else probability.argmax(dim=1, keepdim=True))
        return torch.cat(probabilities, dim=1), logit, torch.cat(decisions, dim=1)
