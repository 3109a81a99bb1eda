"""Learning rate over the steps, as a fraction of its peak."""

import math
from collections.abc import Callable

ONE_CYCLE_START = 1 / 25  # of the peak (Smith and Topin 2018, as in PyTorch's OneCycleLR)


def schedule(name: str, steps: int, warmup: float, final: float) -> Callable[[int], float]:
    """The factor of the learning rate at a step.

    Args:
        name: ``one_cycle`` (cosine up, cosine down), ``cosine`` (linear up, cosine down) or ``constant``.
        steps: Steps of the whole training.
        warmup: Fraction of the steps over which the rate rises.
        final: Factor at the end.
    """
    rising = max(int(warmup * steps), 1 if name == "one_cycle" else 0)

    def factor(step: int) -> float:
        if step < rising:
            share = (step + 1) / rising
            if name == "one_cycle":
                return ONE_CYCLE_START + (1 - ONE_CYCLE_START) * (1 - math.cos(math.pi * share)) / 2
            return share
        if name == "constant":
            return 1.0
        share = min((step - rising) / max(steps - rising, 1), 1.0)
        return final + (1 - final) * (1 + math.cos(math.pi * share)) / 2

    return factor
