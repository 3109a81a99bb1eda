"""A loss that is not a number: which cases were in the batch, and what to set."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

MOST_NAMES = 8  # of cases in a message


def culprits(images: Float[Tensor, "n C H W"], logit: Float[Tensor, "n P"]) -> tuple[Bool[np.ndarray, " n"] | None, str]:
    """Which cases of a batch are at fault, and how; None where all may be, as behind a batch norm.

    Args:
        images: The network's input.
        logit: Its outputs.
    """
    for tensor, words in ((images, "these images are not finite:"), (logit, "not finite are the outputs of the cases")):
        wrong = ~torch.isfinite(tensor.flatten(1)).all(dim=1).cpu().numpy()
        if wrong.any() and not wrong.all():
            return wrong, words
    return None, "the batch held the cases"


def message(value: float, step: int, epoch: int, what: str, names: Sequence[str]) -> str:
    """What a person reads; `step` and `epoch` are counted from 1."""
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return (
        f"the loss became {value} at step {step} (epoch {epoch}); {what} {', '.join(names[:MOST_NAMES])}{more}; "
        "lower training.optimizer.lr, set training.gradient_clip=1, or leave such steps out with training.on_nonfinite=skip"
    )
