"""What is known of the labels of some cases: classes with shares, so that mixed images and uncertain labels are one thing."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from medai.core.label import Label

UNKNOWN = -1  # class of a label that is not known: it takes no part in the loss


@dataclass(frozen=True)
class Target:
    """One claim about every case: its classes, and the share of the case's loss that they get.

    Several of them are a *mixture*, and a case's loss is the sum of share times loss over them.

    Attributes:
        classes: Class index of each label (N, L), -1 where unknown.
        share: From 0 to 1 (N, L); None is 1 everywhere.
        complete: Whether it is certain that no class is unknown, which saves work.
    """

    classes: Int64[Tensor, "N L"]
    share: Float[Tensor, "N L"] | None = None
    complete: bool = False

    def take(self, rows: Int64[Tensor, " n"]) -> "Target":
        """The target of some cases, in the order of `rows`."""
        return Target(self.classes[rows], None if self.share is None else self.share[rows], self.complete)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> "Target":
        """The target on another device."""
        share = None if self.share is None else self.share.to(device, non_blocking=non_blocking)
        return Target(self.classes.to(device, non_blocking=non_blocking), share, self.complete)

    def scaled(self, factor: Float[Tensor, " N"]) -> "Target":
        """The target with every case's share multiplied by its `factor`."""
        factors = factor[:, None].expand(self.classes.shape)
        return Target(self.classes, factors if self.share is None else self.share * factors)


Mixture = Sequence[Target]


def as_mixture(target: Int64[Tensor, "N L"] | Target | Mixture) -> Mixture:
    """A mixture, also of plain classes or of one target."""
    if isinstance(target, Tensor):
        return (Target(target),)
    return (target,) if isinstance(target, Target) else target


def mixed(first: Mixture, second: Mixture, share: Float[Tensor, " N"]) -> tuple[Target, ...]:
    """The targets of images that are mixed from two.

    Args:
        first: Of the images themselves.
        second: Of their partners, in the same order.
        share: Of each mixed image, how much is the first one: what `medai.augmentation.mix.Mix` returns.
    """
    return (*(target.scaled(share) for target in first), *(target.scaled(1 - share) for target in second))


def class_totals(labels: Sequence[Label], target: Int64[Tensor, "N L"] | Target | Mixture) -> list[Float[Tensor, " K"]]:
    """Per label, how many cases each class has (2 classes if binary); a share of a case counts as that share."""
    totals = []
    for index, label in enumerate(labels):
        total = torch.zeros(len(label.classes), dtype=torch.float64)
        for part in as_mixture(target):
            known = part.classes[:, index] != UNKNOWN
            share = None if part.share is None else part.share[known, index].double()
            total += torch.bincount(part.classes[known, index], share, minlength=len(label.classes))
        totals.append(total.float())
    return totals
