"""How often each case is drawn, where not every case is visited once an epoch."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int64

from medai.core.error import MedaiError
from medai.core.label import Label

MODES = ("none", "balanced", "weight")


def sampling_weights(
    labels: Sequence[Label], target: Int64[np.ndarray, "n L"], mode: str, weight_column: Float[np.ndarray, " n"] | None = None
) -> Float[np.ndarray, " n"]:
    """The probability of each case at every draw, with sum 1.

    Args:
        labels: The labels, in the order of the target's columns.
        target: Class indices, -1 where unknown.
        mode: ``none`` gives all cases the same, ``balanced`` gives every combination of the labels' values that occurs the same
            (unknown is a value of its own), ``weight`` follows `weight_column`.
        weight_column: For ``weight``: a weight a case.

    Raises:
        MedaiError: no such mode, or weights that are absent, negative, not finite or all 0.
    """
    if mode not in MODES:
        raise MedaiError(f"training.sampling is {mode!r}; allowed: {', '.join(MODES)}")
    if target.ndim != 2 or target.shape[1] != len(labels):
        raise MedaiError(f"the targets have the shape {target.shape}, but there are {len(labels)} labels; expected a column a label")
    if mode == "weight":
        return _checked(weight_column, len(target))
    if mode == "none":
        return np.full(len(target), 1 / max(len(target), 1))
    _, combination, count = np.unique(target, axis=0, return_inverse=True, return_counts=True)
    each: Float[np.ndarray, " n"] = 1 / (len(count) * count[combination.reshape(-1)].astype(np.float64))
    return each


def _checked(weight: Float[np.ndarray, " n"] | None, count: int) -> Float[np.ndarray, " n"]:
    if weight is None:
        raise MedaiError("training.sampling=weight needs a weight for each case, and the cohort has none; try training.sampling=balanced")
    weight = np.asarray(weight, dtype=np.float64)
    if weight.shape != (count,):
        raise MedaiError(f"there are weights of shape {weight.shape} for {count:,} cases; expected one a case")
    bad = int((~np.isfinite(weight) | (weight < 0)).sum())
    if bad:
        raise MedaiError(f"{bad:,} of {count:,} cases have a weight that is negative or no number; every case needs one of 0 or more")
    if not weight.any():
        raise MedaiError("every case has the weight 0: none could be drawn")
    return np.asarray(weight / weight.sum())
