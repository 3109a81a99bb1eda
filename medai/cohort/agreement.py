"""How far several readers agree: Fleiss' kappa with its standard error, and the share of agreeing pairs.

Kappa is that of Fleiss, "Measuring Nominal Scale Agreement Among Many Raters" (1971), for cases with different numbers of
readers in the form of Gwet, "Large-Sample Variance of Fleiss Generalized Kappa" (2021), from where the standard error is: it
linearises kappa over the cases, needs no hypothesis of chance agreement (as that of Fleiss, Nee and Landis 1979 does), and so
gives an interval. Cases are taken as independent of each other.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Float64, Int64

UNCERTAIN_VOTE = -1
QUANTILE_95 = 1.959963984540054  # of the standard normal distribution, at 0.975
DIGITS = 6  # in the record: the same on every machine


def agreement(votes: pl.Series, classes: Sequence[str]) -> dict[str, Any]:
    """The agreement of the readers of one label. Every row of `votes` must be read independently, so give a row a key of the table.

    Args:
        votes: A list a case: class indices and -1 (uncertain) in any order, without those who did not read it.
        classes: Names of the classes. Uncertain is an answer of its own beside them: to leave it out would flatter the readers.

    Returns:
        `cases` with at least two votes, over which all the rest is computed; `single`, the cases with one vote alone;
        `votes` and how many of them are `uncertain`; the least and the largest number of votes a case (`readers`);
        `unanimous`, the percentage of cases in which all agree; `percent_agreement`, the percentage of agreeing pairs of
        votes, averaged over the cases; `kappa`, its `standard_error` and 95 % `interval`. What cannot be computed is None.

    Example:
        >>> agreement(pl.Series([[0, 0], [1, 1], [0, 1], [1, 1]]), ["negative", "positive"])["kappa"]
        0.466667
    """
    case, answer, count = _counts(votes)
    number = np.bincount(case, weights=count, minlength=len(votes))
    read = number >= 2
    inside = read[case]
    case, answer, count = (np.cumsum(read) - 1)[case[inside]], answer[inside], count[inside]
    number = number[read]
    found: dict[str, Any] = {
        "cases": len(number),
        "single": int((votes.list.len() == 1).sum()),
        "votes": int(number.sum()),
        "uncertain": int(count[answer == UNCERTAIN_VOTE].sum()),
        "readers": [int(number.min()), int(number.max())] if len(number) else None,
    }
    nothing: dict[str, Any] = dict.fromkeys(("unanimous", "percent_agreement", "kappa", "standard_error", "interval"))
    return found | nothing | (_statistics(case, answer, count, number, len(classes)) if len(number) else {})


def _counts(votes: pl.Series) -> tuple[Int64[np.ndarray, " V"], Int64[np.ndarray, " V"], Float64[np.ndarray, " V"]]:
    """Case, answer and how many gave it; sorted, so that sums are rounded the same every time."""
    long = votes.cast(pl.List(pl.Int64)).alias("answer").to_frame().with_row_index("case").explode("answer").drop_nulls("answer")
    counts = long.group_by("case", "answer").len().sort("case", "answer")
    return counts["case"].to_numpy().astype(np.int64), counts["answer"].to_numpy(), counts["len"].to_numpy().astype(np.float64)


def _statistics(
    case: Int64[np.ndarray, " V"], answer: Int64[np.ndarray, " V"], count: Float64[np.ndarray, " V"], number: Float64[np.ndarray, " N"],
    classes: int,
) -> dict[str, Any]:  # fmt: skip
    cases = len(number)
    observed = np.bincount(case, weights=count * (count - 1), minlength=cases) / (number * (number - 1))
    share = count / number[case]
    prevalence = np.bincount(answer - UNCERTAIN_VOTE, weights=share, minlength=classes + 1) / cases
    chance = float((prevalence**2).sum())
    percent = {"unanimous": round(100 * float((observed == 1).mean()), DIGITS)}
    percent["percent_agreement"] = round(100 * float(observed.mean()), DIGITS)
    if (prevalence > 0).sum() < 2:  # one answer alone: chance explains everything
        return percent
    kappa = (float(observed.mean()) - chance) / (1 - chance)
    expected = np.bincount(case, weights=prevalence[answer - UNCERTAIN_VOTE] * share, minlength=cases)
    linear = ((observed - chance) - 2 * (1 - kappa) * (expected - chance)) / (1 - chance)
    found: dict[str, Any] = percent | {"kappa": round(kappa, DIGITS)}
    if cases < 2:
        return found
    error = float(np.sqrt(((linear - kappa) ** 2).sum() / (cases * (cases - 1))))
    interval = [round(float(np.clip(kappa + side * QUANTILE_95 * error, -1, 1)), DIGITS) for side in (-1, 1)]
    return found | {"standard_error": round(error, DIGITS), "interval": interval}


def describe(name: str, found: dict[str, Any]) -> str:
    """One sentence on the agreement of a label's readers, for people."""
    if not found["cases"]:
        return f"{name}: no case has two readers, so their agreement is not known."
    low, high = found["readers"]
    readers = f"{low}" if low == high else f"{low} to {high}"
    kappa = "not defined (one answer alone)" if found["kappa"] is None else f"{found['kappa']:.2f}"
    interval = "" if found["interval"] is None else f" (95 % interval {found['interval'][0]:.2f} to {found['interval'][1]:.2f})"
    pairs = f"{found['percent_agreement']:.1f} % of pairs agree"
    return f"{name}: {readers} readers a case, {found['cases']:,} cases, {pairs}, Fleiss' kappa {kappa}{interval}."
