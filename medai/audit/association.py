"""How strongly two categories go together: bias-corrected Cramer's V and its p."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Float64, Int64

from medai.core.draw import generator

REPLICATES = 2000
FEWEST_EXPECTED = 5.0  # in a cell, below which the chi-square distribution is not trusted (Cochran 1954)


@dataclass(frozen=True)
class Association:
    """Two columns of categories.

    Attributes:
        v: Bias-corrected Cramer's V, 0 to 1 (Bergsma 2013, J Korean Stat Soc 42:323); None where a column has one value.
        p: Of no association, from one case a patient, since images of a patient are no independent witnesses.
        n: Cases in V.
        patients: Cases in p.
        method: How p was made.
    """

    v: float | None
    p: float | None
    n: int
    patients: int
    method: str

    def to_dict(self) -> dict[str, Any]:
        return {"v": self.v, "p": self.p, "n": self.n, "patients": self.patients, "method": self.method}


def associate(one: pl.Series, other: pl.Series, first_of_patient: pl.Series, seed: int = 0) -> Association:
    """The association of two columns over the cases where both are known.

    Args:
        one: Categories.
        other: Categories.
        first_of_patient: True at one case of each patient.
        seed: Of the permutations.
    """
    known = one.is_not_null() & other.is_not_null()
    left, right = codes(one.filter(known)), codes(other.filter(known))
    alone = first_of_patient.filter(known).to_numpy()
    v = cramers_v(contingency(left, right))
    if v is None:
        return Association(None, None, len(left), int(alone.sum()), "one value only")
    p, method = independence_p(left[alone], right[alone], seed)
    return Association(v, p, len(left), int(alone.sum()), method)


def codes(values: pl.Series) -> Int64[np.ndarray, " n"]:
    """Categories as 0 .. k-1 in their order; null is -1."""
    return (values.cast(pl.String).rank("dense").cast(pl.Int64).fill_null(0) - 1).to_numpy().astype(np.int64)


def contingency(one: Int64[np.ndarray, " n"], other: Int64[np.ndarray, " n"]) -> Float64[np.ndarray, "r c"]:
    """Counts of each pair of codes, without empty rows and columns."""
    if len(one) == 0:
        return np.zeros((0, 0))
    width = int(other.max()) + 1
    table = np.bincount(one * width + other, minlength=(int(one.max()) + 1) * width).reshape(-1, width).astype(np.float64)
    return np.asarray(table[table.sum(axis=1) > 0][:, table.sum(axis=0) > 0])


def cramers_v(table: Float64[np.ndarray, "r c"]) -> float | None:
    """Bias-corrected Cramer's V of a table of counts; None where it has one row or one column.

    Example:
        >>> cramers_v(np.array([[50.0, 0.0], [0.0, 50.0]]))
        1.0
    """
    rows, columns = table.shape
    n = float(table.sum())
    if min(rows, columns) < 2 or n < 2:
        return None
    phi = max(0.0, chi_square(table) / n - (rows - 1) * (columns - 1) / (n - 1))
    narrow = min(rows - (rows - 1) ** 2 / (n - 1), columns - (columns - 1) ** 2 / (n - 1)) - 1
    return min(1.0, math.sqrt(phi / narrow)) if narrow > 0 else None


def chi_square(table: Float64[np.ndarray, "r c"]) -> float:
    """Pearson's statistic, without a correction for continuity."""
    expected = np.outer(table.sum(axis=1), table.sum(axis=0)) / table.sum()
    return float(((table - expected) ** 2 / expected).sum())


def independence_p(one: Int64[np.ndarray, " n"], other: Int64[np.ndarray, " n"], seed: int = 0) -> tuple[float | None, str]:
    """P of independence and how it was made: Pearson's chi-square, or where cells are small a permutation of one column."""
    table = contingency(one, other)
    if min(table.shape) < 2:
        return None, "one value only"
    expected = np.outer(table.sum(axis=1), table.sum(axis=0)) / table.sum()
    statistic = chi_square(table)
    if expected.min() >= FEWEST_EXPECTED:
        from scipy.special import chdtrc

        return float(chdtrc((table.shape[0] - 1) * (table.shape[1] - 1), statistic)), "chi-square"
    draw = generator(seed, 0, 0, "audit/permutation")
    one, other = np.unique(one, return_inverse=True)[1], np.unique(other, return_inverse=True)[1]
    width, cells = table.shape[1], table.size
    reached = 0
    for _ in range(REPLICATES):
        drawn = np.bincount(draw.permutation(one) * width + other, minlength=cells).reshape(table.shape)
        reached += float(((drawn - expected) ** 2 / expected).sum()) >= statistic - 1e-9
    return (reached + 1) / (REPLICATES + 1), f"permutation, {REPLICATES:,} draws"


def holm(p: list[float]) -> list[float]:
    """P values corrected for their number (Holm 1979).

    Example:
        >>> holm([0.01, 0.04])
        [0.02, 0.04]
    """
    corrected, largest = [0.0] * len(p), 0.0
    for rank, place in enumerate(sorted(range(len(p)), key=lambda each: p[each])):
        largest = max(largest, min(1.0, p[place] * (len(p) - rank)))
        corrected[place] = largest
    return corrected
