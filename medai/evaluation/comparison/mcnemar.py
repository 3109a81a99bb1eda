"""McNemar's test of two paired proportions, and its form for patients with several cases."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int64
from scipy.special import bdtr, chdtrc, ndtr
from scipy.stats import binom

from medai.core.error import MedaiError


@dataclass(frozen=True)
class McNemar:
    """What the discordant pairs say. All p-values are two-sided.

    Attributes:
        first_only: Cases that the first model alone has right.
        second_only: Cases that the second alone has right.
        exact: p of the exact binomial test: valid at any n, conservative.
        mid_p: p of the mid-p test (Fagerland, Lydersen and Laake 2013): close to its level at any n.
        chi2: Without correction (McNemar 1947).
        p: Of `chi2`.
        chi2_corrected: With the continuity correction (Edwards 1948).
        p_corrected: Of `chi2_corrected`.
    """

    first_only: int
    second_only: int
    exact: float
    mid_p: float
    chi2: float
    p: float
    chi2_corrected: float
    p_corrected: float

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able dict."""
        names = ("first_only", "second_only", "exact", "mid_p", "chi2", "p", "chi2_corrected", "p_corrected")
        return {name: getattr(self, name) for name in names}


def mcnemar(first_only: int, second_only: int) -> McNemar:
    """McNemar's test from the counts of the discordant pairs.

    Args:
        first_only: Cases that the first model alone has right.
        second_only: Cases that the second alone has right.

    Raises:
        MedaiError: a count is negative.

    Example:
        >>> round(mcnemar(86, 150).chi2_corrected, 8)
        16.81779661
    """
    if min(first_only, second_only) < 0:
        raise MedaiError(f"McNemar's test needs counts of 0 or more, got {first_only} and {second_only}")
    total, fewer, apart = first_only + second_only, min(first_only, second_only), abs(first_only - second_only)
    if total == 0:
        return McNemar(0, 0, 1.0, 1.0, 0.0, 1.0, 0.0, 1.0)
    exact = min(1.0, 2 * float(bdtr(fewer, total, 0.5)))
    point = float(binom.pmf(fewer, total, 0.5))
    mid = exact - point if apart else 1 - point / 2
    plain, corrected = apart**2 / total, max(apart - 1, 0) ** 2 / total
    return McNemar(first_only, second_only, exact, mid, plain, float(chdtrc(1, plain)), corrected, float(chdtrc(1, corrected)))


def clustered_mcnemar(
    difference: Float[np.ndarray, " n"] | Int64[np.ndarray, " n"], cluster: Int64[np.ndarray, " n"]
) -> tuple[float, float]:
    """McNemar's test where patients have several cases (Yang, Sun and Hardin 2010, Biom J 52:638).

    The discordance is summed within a patient first; with one case a patient it is McNemar's test without correction.

    Args:
        difference: +1 where the first model alone is right, -1 where the second alone is, else 0.
        cluster: Patient of each case.

    Returns:
        z, positive where the first is better, and the two-sided p.
    """
    sums = np.bincount(np.unique(cluster, return_inverse=True)[1], difference)
    spread = math.sqrt(float(sums @ sums))
    z = float(sums.sum()) / spread if spread else 0.0
    return z, float(2 * ndtr(-abs(z)))
