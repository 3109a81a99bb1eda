"""What a network learns: its outputs, their loss and their probabilities, for any mix of labels."""

from collections.abc import Mapping, Sequence
from functools import reduce

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional

from medai.core.label import Label, slices_of
from medai.evaluation.calibrator import Calibrator
from medai.task.calibrate import Calibrate
from medai.task.loss import CaseLoss, CrossEntropy, blocks_of
from medai.task.target import UNKNOWN, Mixture, Target, as_mixture, class_totals

__all__ = ["UNKNOWN", "CutPoints", "Decide", "Head", "Loss", "Target", "balanced_weights"]


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


class Loss(nn.Module):
    """The loss of every label, averaged over the known cases of each label, then over the labels.

    Args:
        labels: The labels, in the order of the outputs.
        case_loss: What one case costs; None is cross-entropy.
        label_smoothing: Share of a case that is spread evenly over the classes.
        class_weights: Per label, a weight for each class (2 for binary); None weights all alike.

    Example:
        >>> loss = Loss(labels, build_case_loss(settings.loss, labels, target))
        >>> loss(logit, target, loss.denominators(target)).backward()
    """

    def __init__(
        self,
        labels: Sequence[Label],
        case_loss: CaseLoss | None = None,
        label_smoothing: float = 0.0,
        class_weights: Sequence[Float[Tensor, " K"]] | None = None,
    ) -> None:
        super().__init__()
        self.labels = tuple(labels)
        self.case_loss = CrossEntropy() if case_loss is None else case_loss
        self._blocks = blocks_of(labels)
        self._plain = type(self.case_loss) is CrossEntropy and not label_smoothing and class_weights is None
        weights = class_weights or [torch.ones(len(label.classes)) for label in labels]
        for number, block in enumerate(self._blocks):
            rows = block.classes + 1  # the first one, of zeros, is that of an unknown label: its index is -1
            weight = functional.pad(torch.stack([*weights[block.places]]).float(), (1, 0)).reshape(-1, 1)
            spread = torch.eye(block.classes) * (1 - label_smoothing) + label_smoothing / block.classes
            self.register_buffer(f"first_row_{number}", torch.arange(1, 1 + rows * len(block.labels), rows))
            self.register_buffer(f"weight_{number}", weight)
            self.register_buffer(f"truth_{number}", weight * functional.pad(spread, (0, 0, 1, 0)).repeat(len(block.labels), 1))

    def sums(self, target: Int64[Tensor, "N L"] | Target | Mixture) -> Float[Tensor, " L"]:
        """Per label, the sum of share times class weight over the known cases. Those of the parts of a batch add up."""
        short = self._short(target)
        if short is not None:
            return torch.full((len(self.labels),), float(len(short)))
        return torch.cat([self._look_up("weight", number, target).sum(dim=(0, 2)) for number in range(len(self._blocks))])

    def denominators(self, target: Int64[Tensor, "N L"] | Target | Mixture) -> Float[Tensor, " L"]:
        """What each label's loss is divided by: `sums` of the *global* batch. A label without any known case gives 1."""
        return self.denominators_of(self.sums(target))

    @staticmethod
    def denominators_of(sums: Float[Tensor, " L"]) -> Float[Tensor, " L"]:
        """The same from the sums, where they were added up over parts or ranks."""
        return torch.where(sums > 0, sums, torch.ones_like(sums))

    def forward(
        self, logit: Float[Tensor, "N P"], target: Int64[Tensor, "N L"] | Target | Mixture, denominators: Float[Tensor, " L"]
    ) -> Float[Tensor, ""]:
        """The loss of (a part of) a batch; the parts of a global batch add up to the loss of the whole."""
        logit = logit if logit.dtype == torch.float64 else logit.float()
        short = self._short(target)
        if short is not None:
            return self._plain_sum(logit, short) / (denominators[0] * len(self.labels))  # known labels have one denominator
        factors = 1 / (denominators * len(self.labels))
        totals = []
        for number, block in enumerate(self._blocks):
            truth = self._look_up("truth", number, target) * factors[block.places, None]
            totals.append((block.losses(self.case_loss, logit) * truth).sum())
        return reduce(torch.add, totals)

    def _short(self, target: Int64[Tensor, "N L"] | Target | Mixture) -> Int64[Tensor, "N L"] | None:
        """The classes, where every label is known and counts alike: then torch's own cross-entropy is the loss."""
        if not self._plain or isinstance(target, Tensor):
            return None
        mixture = as_mixture(target)
        return mixture[0].classes if len(mixture) == 1 and mixture[0].complete and mixture[0].share is None else None

    def _plain_sum(self, logit: Float[Tensor, "N P"], classes: Int64[Tensor, "N L"]) -> Float[Tensor, ""]:
        costs = []
        for block in self._blocks:
            part, truth = logit[:, block.columns], classes[:, block.places]
            if block.labels[0].kind == "binary":
                costs.append(functional.binary_cross_entropy_with_logits(part, truth.to(part.dtype), reduction="sum"))
            else:
                costs.append(functional.cross_entropy(part, truth[:, 0], reduction="sum"))
        return reduce(torch.add, costs)

    def _look_up(self, table: str, number: int, target: Int64[Tensor, "N L"] | Target | Mixture) -> Float[Tensor, "N B K"]:
        """How much a block's labels (``weight``, K = 1) or each of their classes (``truth``) count, for every case."""
        places, counts = self._blocks[number].places, []
        for part in as_mixture(target):
            device = part.classes.device
            row = part.classes[:, places] + self.get_buffer(f"first_row_{number}").to(device, non_blocking=True)
            found = functional.embedding(row, self.get_buffer(f"{table}_{number}").to(device, non_blocking=True))
            counts.append(found if part.share is None else found * part.share[:, places, None])
        return reduce(torch.add, counts)


def balanced_weights(labels: Sequence[Label], target: Int64[Tensor, "N L"] | Target | Mixture) -> list[Float[Tensor, " K"]]:
    """Class weights inversely proportional to the class frequencies, with mean 1 over the known cases."""
    totals = class_totals(labels, target)
    return [torch.where(total > 0, total.sum() / (len(total) * total.clamp_min(1e-6)), torch.zeros(())) for total in totals]


class Decide(nn.Module):
    """Calibrated probabilities and decisions: the last exported step.

    Args:
        labels: The labels, in the order of the logits.
        temperatures: Per label, what its logits are divided by (Guo et al. 2017).
        thresholds: Per binary label, the probability from which the decision is 1. Other labels decide by the largest probability.
        calibrators: By label name, in the place of its temperature: Platt's line or an isotonic curve.
    """

    def __init__(
        self,
        labels: Sequence[Label],
        temperatures: Sequence[float],
        thresholds: Sequence[float],
        calibrators: Mapping[str, Calibrator] | None = None,
    ) -> None:
        super().__init__()
        self.labels = tuple(labels)
        divided = {label.name: Calibrator("temperature", value) for label, value in zip(labels, temperatures, strict=True)}
        self.calibrate = Calibrate(labels, divided | dict(calibrators or {}))
        self.register_buffer("threshold", torch.tensor(list(thresholds), dtype=torch.float32))
        self._slices = slices_of(labels)

    def forward(self, logit: Float[Tensor, "N P"]) -> tuple[Float[Tensor, "N P"], Float[Tensor, "N P"], Int64[Tensor, "N L"]]:
        """(probability, calibrated logit, decision)."""
        logit = self.calibrate(logit)
        threshold = self.get_buffer("threshold")
        probabilities, decisions = [], []
        for index, label in enumerate(self.labels):
            part = logit[:, self._slices[label.name]]
            probability = torch.sigmoid(part) if label.kind == "binary" else torch.softmax(part, dim=1)
            probabilities.append(probability)
            binary = label.kind == "binary"
            decisions.append((probability >= threshold[index]).to(torch.int64) if binary else probability.argmax(dim=1, keepdim=True))
        return torch.cat(probabilities, dim=1), logit, torch.cat(decisions, dim=1)
