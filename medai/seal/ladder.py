"""The Ladder (Blum and Hardt 2015, ICML, "The Ladder: a reliable leaderboard for machine learning competitions", figure 1).

A submission is told something new only where it beats the best released figure by more than eta, and then it is told the figure
rounded to a multiple of eta. Everything else hears the best figure again, so that most submissions teach next to nothing.

Beyond the paper, the exact figure behind the best release, which nobody is told, has to be beaten by eta as well: a figure that was
rounded down would otherwise be beaten by half of eta.
"""

from dataclasses import dataclass

TOLERANCE = 1e-12  # of sums of decimal fractions: 0.85 + 0.01 is not above 0.86


@dataclass(frozen=True)
class Step:
    """What a submission is told.

    Attributes:
        best: The best figure released so far, this submission included, as a multiple of eta.
        released: Whether it is this submission's.
    """

    best: float
    released: bool


def climb(best: float | None, value: float, eta: float, exact: float | None = None, *, higher_is_better: bool = True) -> Step:
    """One step of the Ladder.

    Args:
        best: The best figure released before; None for the first submission, which is always released.
        value: The submission's figure on the sealed cases.
        eta: Step size.
        exact: The figure behind `best`, before it was rounded; None leaves the paper's rule.
        higher_is_better: False for a loss.

    Example:
        >>> climb(0.85, 0.8612, 0.01), climb(0.86, 0.8699, 0.01)
        (Step(best=0.86, released=True), Step(best=0.86, released=False))
    """
    sign = 1 if higher_is_better else -1
    gain = min((sign * (value - known) for known in (best, exact) if known is not None), default=0.0)
    if best is None or gain > eta + TOLERANCE:
        return Step(round(round(value / eta) * eta, 10), released=True)
    return Step(best, released=False)
