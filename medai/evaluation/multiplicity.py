"""p-values of a family of tests, adjusted: Holm for the chance of any false finding, Benjamini-Hochberg for their share."""

import numpy as np
from jaxtyping import Float, Float64

from medai.core.error import MedaiError


def holm(p: Float[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
    """Adjusted p-values by Holm's step-down method (Holm 1979, Scand J Stat 6:65).

    To call significant what lies at or below a level keeps the chance of any false finding in the family at that level,
    however the tests depend on each other.

    Args:
        p: From 0 to 1; NaN stands for a test that could not be made, is not counted and stays NaN.

    Raises:
        MedaiError: a value lies outside [0, 1].

    Example:
        >>> holm(np.array([0.01, 0.04, 0.03])).round(10).tolist()
        [0.03, 0.06, 0.06]
    """
    known, order, ranked = _ranked(p)
    count = len(ranked)
    return _placed(p, known, order, np.maximum.accumulate(ranked * (count - np.arange(count))))


def benjamini_hochberg(p: Float[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
    """Adjusted p-values that control the false discovery rate (Benjamini and Hochberg 1995, J R Stat Soc B 57:289).

    Args:
        p: From 0 to 1; NaN stands for a test that could not be made, is not counted and stays NaN.

    Raises:
        MedaiError: a value lies outside [0, 1].

    Example:
        >>> benjamini_hochberg(np.array([0.01, 0.04, 0.03])).round(10).tolist()
        [0.03, 0.04, 0.04]
    """
    known, order, ranked = _ranked(p)
    count = len(ranked)
    return _placed(p, known, order, np.minimum.accumulate((ranked * count / np.arange(1, count + 1))[::-1])[::-1])


def _ranked(p: Float[np.ndarray, " n"]) -> tuple[np.ndarray, np.ndarray, Float64[np.ndarray, " m"]]:
    known = np.flatnonzero(~np.isnan(p))
    values = np.asarray(p, dtype=np.float64)[known]
    if ((values < 0) | (values > 1)).any():
        raise MedaiError(
            f"a p-value is {values[(values < 0) | (values > 1)][0]:g}; expected numbers from 0 to 1, or NaN where there is none"
        )
    order = np.argsort(values, kind="stable")
    return known, order, values[order]


def _placed(
    p: Float[np.ndarray, " n"], known: np.ndarray, order: np.ndarray, ranked: Float64[np.ndarray, " m"]
) -> Float64[np.ndarray, " n"]:
    adjusted = np.full(len(p), np.nan)
    adjusted[known[order]] = np.minimum(ranked, 1.0)
    return adjusted
