"""The difference of two paired proportions: Tango's score interval and test, for independent and for clustered cases."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int64
from scipy.optimize import brentq
from scipy.special import ndtr

from medai.core.error import MedaiError
from medai.evaluation.figure import CONFIDENCE
from medai.evaluation.proportion import normal_quantile

Count = float | int


@dataclass(frozen=True)
class PairedShare:
    """Two truth values a case, counted; counts may be fractions where they stand for an effective sample size.

    Attributes:
        both: Cases that both models have right.
        first_only: That the first alone has right.
        second_only: That the second alone has right.
        neither: That none has right.
    """

    both: Count
    first_only: Count
    second_only: Count
    neither: Count

    def __post_init__(self) -> None:
        counts = (self.both, self.first_only, self.second_only, self.neither)
        if min(counts) < 0 or sum(counts) <= 0:
            raise MedaiError(f"the comparison of two paired proportions needs counts of 0 or more and one case, got {counts}")

    @property
    def n(self) -> Count:
        """Number of cases."""
        return self.both + self.first_only + self.second_only + self.neither

    @property
    def difference(self) -> float:
        """The first proportion minus the second."""
        return float((self.first_only - self.second_only) / self.n)

    def interval(self, confidence: float = CONFIDENCE) -> tuple[float, float]:
        """Tango's score interval of the difference (Tango 1998, Stat Med 17:891); it holds at small n and with no discordant pair.

        Example:
            >>> PairedShare(1, 1, 7, 12).interval()
            (-0.5172..., -0.0260...)
        """
        z2, tiny = normal_quantile(confidence) ** 2, 1e-12

        def excess(bound: float) -> float:
            return (self.n * (self.difference - bound)) ** 2 - z2 * self._variance(bound)

        low = -1.0 if self.difference <= tiny - 1 else float(brentq(excess, -1.0, self.difference - tiny, xtol=1e-14))
        high = 1.0 if self.difference >= 1 - tiny else float(brentq(excess, self.difference + tiny, 1.0, xtol=1e-14))
        return low, high

    def z(self, bound: float = 0.0) -> float:
        """Tango's score statistic of a difference equal to `bound`; at 0 it is McNemar's without correction.

        Raises:
            MedaiError: `bound` is not between -1 and 1.
        """
        if not -1 < bound < 1:
            raise MedaiError(f"a difference of proportions is tested against a bound between -1 and 1, got {bound}")
        excess, variance = self.n * (self.difference - bound), self._variance(bound)
        if variance <= 0:
            return math.copysign(math.inf, excess) if excess else 0.0
        return float(excess / math.sqrt(variance))

    def p_above(self, bound: float = 0.0) -> float:
        """One-sided p-value of "the difference lies above `bound`"; with minus a margin the test of non-inferiority."""
        return float(ndtr(-self.z(bound)))

    def _variance(self, bound: float) -> float:
        """Of n times the difference, where its true value is `bound` and the rest fits the counts best."""
        second = 2 * self.n
        first = (second - self.first_only + self.second_only) * bound - self.first_only - self.second_only
        constant = -self.second_only * bound * (1 - bound)
        share = (math.sqrt(max(0.0, first * first - 4 * second * constant)) - first) / (2 * second)
        return float(self.n * (2 * share + bound * (1 - bound)))


def paired_share(
    first: Bool[np.ndarray, " n"], second: Bool[np.ndarray, " n"], cluster: Int64[np.ndarray, " n"] | None = None
) -> PairedShare:
    """Count two truth values a case.

    Args:
        first: Whether the first model has the case right.
        second: Whether the second has.
        cluster: Patient of each case where patients repeat: the counts are then scaled to the effective sample size of the
            difference (as Rao and Scott 1992 do for one proportion), so that Tango's interval allows for it.

    Raises:
        MedaiError: there are no cases.
    """
    counts = [int((one & other).sum()) for one in (first, ~first) for other in (second, ~second)]
    if cluster is None:
        return PairedShare(*counts)
    scale = effective_pairs(first.astype(np.float64) - second, cluster) / max(len(first), 1)
    return PairedShare(*(count * scale for count in counts))


def effective_pairs(difference: np.ndarray, cluster: Int64[np.ndarray, " n"]) -> float:
    """How many independent pairs `n` clustered ones are worth, at most n: from the variance of their mean between patients."""
    _, index = np.unique(cluster, return_inverse=True)
    size = np.bincount(index).astype(np.float64)
    n, clusters = float(size.sum()), len(size)
    if clusters < 2:
        return float(clusters)
    mean = float(difference.mean())
    between = clusters / (clusters - 1) * float(((np.bincount(index, difference) - mean * size) ** 2).sum()) / n**2
    independent = float(difference.var(ddof=1)) / n
    if independent == 0:  # no pair differs from another: nothing tells how alike the cases of a patient are, so count patients
        return float(clusters)
    return n / max(1.0, between / independent)
