"""What a table of differences proves: p-values adjusted by family, and a verdict in a word."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from jaxtyping import Float64

from medai.evaluation.comparison.difference import Difference
from medai.evaluation.comparison.metric import HIGHER_IS_BETTER
from medai.evaluation.multiplicity import benjamini_hochberg, holm

BETTER, WORSE, NON_INFERIOR, NOT_SHOWN, NOT_KNOWN = "better", "worse", "non-inferior", "not shown", "not known"


@dataclass(frozen=True)
class NonInferiority:
    """The test of a model against a margin.

    Attributes:
        margin: By how much it may be worse.
        p: One-sided, of "it is worse by less than the margin"; None where there is no test.
    """

    margin: float
    p: float | None


class Row(Protocol):
    """A comparison of two models in a metric; `conclusion` is filled in."""

    @property
    def metric(self) -> str: ...
    @property
    def difference(self) -> Difference: ...
    @property
    def non_inferiority(self) -> NonInferiority | None: ...
    @property
    def conclusion(self) -> dict[str, Any]: ...


def concluded(rows: Sequence[Row], confidence: float) -> dict[str, int]:
    """Adjust the p-values within each metric and fill in what is concluded.

    A difference is called at the level 1 - confidence by Holm's two-sided p. Non-inferiority is one-sided, at half that level,
    so that of one comparison it agrees with the interval: the worse end of it lies within the margin.

    Args:
        rows: Of all labels and pairs of models.
        confidence: Of the intervals.

    Returns:
        The number of tests in each metric's family.
    """
    level, families = 1 - confidence, {}
    for metric in dict.fromkeys(row.metric for row in rows):
        family = [row for row in rows if row.metric == metric]
        p = _numbers([row.difference.p for row in family])
        families[metric] = int(np.isfinite(p).sum())
        by_holm, by_rate = holm(p), benjamini_hochberg(p)
        margins = holm(_numbers([row.non_inferiority.p if row.non_inferiority else None for row in family]))
        for index, row in enumerate(family):
            row.conclusion.update(p_holm=_known(by_holm[index]), p_bh=_known(by_rate[index]))
            if row.difference.above is not None:
                row.conclusion["p_one_sided"] = _one_sided(row)
            within = False
            if row.non_inferiority is not None:
                adjusted = _known(margins[index])
                within = adjusted is not None and adjusted <= level / 2
                told = {"margin": row.non_inferiority.margin, "p": row.non_inferiority.p, "p_holm": adjusted, "shown": within}
                row.conclusion["non_inferiority"] = told
            row.conclusion["verdict"] = _verdict(row, by_holm[index] <= level, within)
    return families


def _verdict(row: Row, differs: bool, within: bool) -> str:
    value = row.difference.figure.value
    if value is None or row.difference.p is None:
        return NON_INFERIOR if within else NOT_KNOWN
    gain = value if HIGHER_IS_BETTER.get(row.metric, True) else -value
    if differs and gain > 0:
        return BETTER
    if within:
        return NON_INFERIOR
    return WORSE if differs and gain < 0 else NOT_SHOWN


def _one_sided(row: Row) -> float | None:
    side = row.difference.above if HIGHER_IS_BETTER.get(row.metric, True) else row.difference.below
    return None if side is None else side(0.0)


def _numbers(values: Sequence[float | None]) -> Float64[np.ndarray, " n"]:
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
