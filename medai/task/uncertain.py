"""Labels that the reader was not sure of (CheXpert's -1): left out, taken for one class, or for both in part."""

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from medai.core.error import MedaiError
from medai.task.target import UNKNOWN, Target

POLICIES = ("ignore", "ones", "zeros", "soft")


def mixture(
    classes: Int64[Tensor, "N L"], uncertain: Bool[Tensor, "N L"], policy: str = "ignore", share: float = 0.7
) -> tuple[Target, ...]:
    """The targets of cases with uncertain labels (policies of Irvin et al. 2019; ``soft`` is theirs smoothed, Pham et al. 2021).

    Args:
        classes: Class indices, -1 where unknown; what they say of an uncertain label is not asked.
        uncertain: Which labels are uncertain. Only binary ones can be.
        policy: ``ignore`` takes them for unknown, ``ones`` for positive, ``zeros`` for negative, ``soft`` for both by `share`.
        share: For ``soft``: the probability that an uncertain label is positive.

    Raises:
        MedaiError: no such policy, or a share outside [0, 1].
    """
    if policy not in POLICIES:
        raise MedaiError(f"training.uncertain is {policy!r}; allowed: {', '.join(POLICIES)}")
    if not 0 <= share <= 1:
        raise MedaiError(f"training.uncertain_share is {share}; it must lie in [0, 1]")
    if policy != "soft":
        return (Target(classes.masked_fill(uncertain, {"ignore": UNKNOWN, "ones": 1, "zeros": 0}[policy])),)
    known = torch.ones(classes.shape, dtype=torch.float32, device=classes.device)
    positive: Float[Tensor, "N L"] = known.masked_fill(uncertain, share)
    rest = torch.full_like(classes, UNKNOWN).masked_fill(uncertain, 0)
    return Target(classes.masked_fill(uncertain, 1), positive), Target(rest, known.masked_fill(uncertain, 1 - share))
