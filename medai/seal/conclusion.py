"""What a comparison on sealed labels releases: the declared conclusion, and with the Ladder nothing but that.

A submitter may choose both models, so a difference can be made to tell whatever a figure can. It is therefore an attempt of its own that
releases no figure of either model, with fewer decimals than the primary figure: it takes no more values than that does.

With the Ladder even one word an attempt would be too much, since nothing would bound what many attempts add up to. There the first
comparison fixes the reference, and a conclusion is told only where it is stronger than the strongest before, as a figure is. As there
are three, that happens twice at most, and any number k of attempts is told apart in fewer than (k + 2)**2 ways. A superior model must
also be better by more than eta, since a change of a few cases can be "significant" at any size.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from medai.core.error import MedaiError
from medai.core.label import Label
from medai.seal.terms import Terms

if TYPE_CHECKING:
    import polars as pl

NOT_SHOWN, NON_INFERIOR, SUPERIOR = STRENGTH = ("not shown", "non-inferior", "superior")
COMPARED = ("auroc", "macro_auroc", "average_precision", "brier")  # a difference of shares is a count of discordant cases
DIGITS = 3  # decimals: a difference takes twice as many values as a figure, and shall tell less


@dataclass(frozen=True)
class Conclusion:
    """A candidate against a reference, in the primary metric.

    Attributes:
        verdict: ``"not shown"``, ``"non-inferior"`` or ``"superior"``; None where it is withheld.
        value: Candidate minus reference.
        low: Lower end of its interval.
        high: Upper end.
        n: Cases.
        method: Of the interval.
    """

    verdict: str | None
    value: float | None
    low: float | None
    high: float | None
    n: int
    method: str

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def check_comparable(terms: Terms) -> None:
    """Refuse a margin of a metric whose differences are not released.

    Raises:
        MedaiError: the metric is no such one.
    """
    if terms.margin is not None and terms.metric not in COMPARED:
        what = f"a margin is declared for {terms.primary}, and a difference of it would count discordant cases"
        raise MedaiError(f"{what}: leave --margin out, or take one of {', '.join(COMPARED)}")


def declared_margin(terms: Terms, given: float | None) -> float:
    """The margin of a comparison: the declared one.

    Args:
        terms: Of the seal.
        given: On the command line; None for the declared one.

    Raises:
        MedaiError: none was declared, another one is given, or differences of the metric are not released.
    """
    if terms.margin is not None and terms.metric not in COMPARED:
        raise MedaiError(f"a difference of {terms.primary} would count discordant cases, so no model can be compared; leave reference= out")
    if terms.margin is None:
        raise MedaiError("no margin was declared when the test set was sealed, so no model can be compared; leave reference= out")
    if given is not None and given != terms.margin:
        raise MedaiError(f"margin={given:g} is not the margin that was declared with the seal, {terms.margin:g}; leave it out")
    return terms.margin


def conclude(
    candidate: "pl.DataFrame", reference: "pl.DataFrame", label: Label, terms: Terms, *, seed: int = 0, replicates: int = 2000
) -> Conclusion:
    """Compare two models on the same sealed cases.

    The interval is rounded outward, and the verdict follows from the rounded one, so that it tells nothing that the interval does not:
    superior where the whole interval is on the better side of zero, non-inferior where it is on the better side of the margin.

    Args:
        candidate: Its predictions with the truth.
        reference: Its predictions on the same cases, with the truth.
        label: Of the primary metric.
        terms: Of the seal, with a margin.
        seed: Of the bootstrap, where the interval is one.
        replicates: Of the bootstrap.
    """
    from medai.evaluation.comparison.compare import compare_tables

    metric = "auroc" if terms.metric == "macro_auroc" else terms.metric
    compared = compare_tables(
        {"candidate": candidate, "reference": reference}, [label], reference="reference", margin=terms.margin, metric=metric, seed=seed,
        replicates=replicates, permutations=0,
    )  # fmt: skip
    (row,) = [each for each in compared["labels"][label.name]["differences"] if each["primary"]]
    value, low, high = _rounded(row["value"], round), _rounded(row["low"], math.floor), _rounded(row["high"], math.ceil)
    return Conclusion(_verdict(low, high, terms), value, low, high, row["n"], row["method"])


def climb_conclusions(told: Sequence[str | None], conclusion: Conclusion, eta: float, *, higher_is_better: bool = True) -> str:
    """What a Ladder tells: the strongest conclusion so far, this one included.

    Args:
        told: After each earlier comparison.
        conclusion: Of this one.
        eta: Step of the Ladder, which a superior model has to be better by.
        higher_is_better: False for a loss.
    """
    gain = (conclusion.value or 0.0) * (1 if higher_is_better else -1)
    verdict = NON_INFERIOR if conclusion.verdict == SUPERIOR and gain <= eta else conclusion.verdict
    return max((each for each in (*told, verdict, NOT_SHOWN) if each is not None), key=STRENGTH.index)


def _verdict(low: float | None, high: float | None, terms: Terms) -> str:
    if low is None or high is None or terms.margin is None:
        return NOT_SHOWN
    worst = low if terms.higher_is_better else -high
    return SUPERIOR if worst > 0 else NON_INFERIOR if worst > -terms.margin else NOT_SHOWN


def _rounded(value: float | None, to: Any) -> float | None:
    return None if value is None else round(to(round(value * 10**DIGITS, 9)) / 10**DIGITS, DIGITS)
