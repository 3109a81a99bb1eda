"""Learning rate over the steps, as a fraction of its peak."""

import math
from collections.abc import Callable

ONE_CYCLE_START = 1 / 25  # of the peak (Smith and Topin 2018, as in PyTorch's OneCycleLR)
POLYNOMIAL_POWER = 0.9  # nearly a straight line (Chen et al. 2018, DeepLab; Isensee et al. 2021, nnU-Net)
STEP_SHARES = (0.5, 0.75)  # of the training, where the rate falls to a tenth (He et al. 2016, section 4.2)


def schedule(name: str, steps: int, warmup: float, final: float) -> Callable[[int], float]:
    """The factor of the learning rate at a step, counted from 0: a function of the step alone.

    Args:
        name: ``one_cycle`` (cosine up, cosine down), or after a linear rise ``cosine`` (cosine down), ``polynomial`` (down in
            nearly a straight line), ``step`` (down to a tenth at a half and again at three quarters of the training) or ``constant``.
        steps: Steps of the whole training.
        warmup: Fraction of the steps over which the rate rises.
        final: Factor at the end; ``step`` and ``constant`` end where their name says.
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
        if name == "step":
            return math.pow(0.1, sum(step >= share * steps for share in STEP_SHARES))
        share = min((step - rising) / max(steps - rising, 1), 1.0)
        if name == "polynomial":
            return final + (1 - final) * math.pow(1 - share, POLYNOMIAL_POWER)
        return final + (1 - final) * (1 + math.cos(math.pi * share)) / 2

    return factor
