"""What a map explains: the log odds of a class, for every kind of label."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from medai.core.error import MedaiError
from medai.core.label import Label, slices_of


def evidence(logit: Float[Tensor, "N P"], labels: Sequence[Label]) -> Float[Tensor, "N P"]:
    """The log odds behind every output: what a map of that column explains.

    A logit of a softmax means nothing by itself, since a constant may be added to all of them; its log odds against the
    other classes do not change by that. Of an ordinal label every column gives the log odds of a class above the lowest,
    what speaks for a higher grade, since a middle grade has no evidence of its own: it is between two others.

    Args:
        logit: Of a classifier.
        labels: The labels, in the order of the logits.

    Example:
        >>> evidence(torch.tensor([[1.5]]), (Label("nodule", "binary", ("absent", "present")),))
        tensor([[1.5000]])
    """
    parts = []
    for label in labels:
        part = logit[:, slices_of(labels)[label.name]].float()
        if label.kind == "multiclass":
            part = torch.cat([part[:, k : k + 1] - _without(part, k).logsumexp(1, keepdim=True) for k in range(part.shape[1])], dim=1)
        elif label.kind == "ordinal":
            part = (part[:, 1:].logsumexp(1, keepdim=True) - part[:, :1]).expand_as(part)
        parts.append(part)
    return torch.cat(parts, dim=1)


def column(labels: Sequence[Label], name: str, index: int) -> int:
    """Where the evidence of a label's class lies.

    Args:
        labels: The labels, in the order of the logits.
        name: Of the label.
        index: Of the class; of a binary label it makes no difference, since its maps explain the positive class.

    Raises:
        MedaiError: there is no such label or class.
    """
    slices = slices_of(labels)
    if name not in slices:
        raise MedaiError(f"the model has no label {name!r}; it has: {', '.join(slices)}")
    label = next(label for label in labels if label.name == name)
    if not 0 <= index < len(label.classes):
        raise MedaiError(f"label {name!r} has no class {index}; it has 0 to {len(label.classes) - 1}: {', '.join(label.classes)}")
    start: int = slices[name].start
    return start + (0 if label.kind == "binary" else index)


def _without(part: Float[Tensor, "N K"], place: int) -> Float[Tensor, "N K-1"]:
    return torch.cat([part[:, :place], part[:, place + 1 :]], dim=1)
