"""Several readers of one case: their votes, and the rule that makes one label of them.

A vote is a class index, or -1 where the reader was not sure; who did not read the case has no vote.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from medai.cohort.agreement import UNCERTAIN_VOTE
from medai.core.error import MedaiError
from medai.core.label import Label

RULES = ("majority", "consensus", "any", "median", "first")


@dataclass(frozen=True)
class ReaderSettings:
    """What becomes of several readers' votes where a target does not say it itself.

    Attributes:
        rule: ``majority``: the most frequent answer. ``consensus``: the answer of all. ``any`` (binary): positive where one
            reader says so. ``median`` (binary, ordinal): of those who are sure. ``first``: the first in the table.
    """

    rule: str = "majority"

    def __post_init__(self) -> None:
        check_rule(self.rule, "dataset.readers.rule")

    @staticmethod
    def from_dict(value: Mapping[str, Any]) -> "ReaderSettings":
        """Settings from the node of a data set's definition."""
        unknown = sorted(set(value) - {"rule"})
        if unknown:
            raise MedaiError(f"dataset.readers has the unknown key {unknown[0]!r}; allowed: rule")
        return ReaderSettings(**{key: str(text) for key, text in value.items()})


def check_rule(rule: str, who: str) -> None:
    """Refuse a rule that there is not."""
    if rule not in RULES:
        raise MedaiError(f"{who} is {rule!r}; allowed: {', '.join(RULES)}")


def check_fit(rule: str, label: Label) -> None:
    """Refuse a rule that says nothing for a label's kind."""
    fitting = {"any": ("binary",), "median": ("binary", "ordinal")}.get(rule)
    if fitting and label.kind not in fitting:
        got = f"the rule {rule!r} is for {' and '.join(fitting)} labels, and {label.name!r} is {label.kind}"
        raise MedaiError(f"{got}; give the target another rule, e.g. rule: majority")


def combine(votes: pl.Series, rule: str) -> tuple[pl.Series, pl.Series]:
    """One label of several votes.

    Uncertain is an answer like the others: two of three who are not sure make it uncertain. Where the rule finds no answer (a
    tie, readers who disagree, a median between two classes) the label is uncertain too; without any vote it is unknown.

    Args:
        votes: A list of Int16 a case, in the order of the table.
        rule: One of `RULES`.

    Returns:
        The class index (null: uncertain or unknown) and whether it is uncertain.

    Example:
        >>> combine(pl.Series([[1, 1, 0], [1, 0], [-1, 0]]), "any")[0].to_list()
        [1, 1, None]
    """
    answer = _majority(votes) if rule == "majority" else votes.to_frame("votes").select(_answer(rule).cast(pl.Int16))[:, 0]
    uncertain = (answer == UNCERTAIN_VOTE).fill_null(False)
    return answer.set(uncertain, None), uncertain


def _answer(rule: str) -> pl.Expr:
    votes = pl.col("votes")
    least, most = votes.list.min(), votes.list.max()
    if rule == "first":
        return votes.list.first()
    if rule == "consensus":
        return pl.when(least == most).then(most).when(votes.list.len() > 0).then(UNCERTAIN_VOTE)
    if rule == "any":
        return pl.when(most > 0).then(most).otherwise(least)
    sure = votes.list.filter(pl.element() != UNCERTAIN_VOTE).list.sort()
    lower = sure.list.get((sure.list.len().cast(pl.Int64) - 1) // 2, null_on_oob=True)
    upper = sure.list.get(sure.list.len() // 2, null_on_oob=True)
    return pl.when(lower == upper).then(lower).when(votes.list.len() > 0).then(UNCERTAIN_VOTE)


def _majority(votes: pl.Series) -> pl.Series:
    rows = votes.to_frame("vote").with_row_index("row").explode("vote").drop_nulls("vote")
    counts = rows.group_by("row", "vote").len()
    most = counts.filter(pl.col("len") == pl.col("len").max().over("row"))
    answers = most.group_by("row").agg(pl.when(pl.len() == 1).then(pl.col("vote").first()).otherwise(UNCERTAIN_VOTE).alias("answer"))
    every = votes.to_frame("vote").with_row_index("row").select("row")
    return every.join(answers, on="row", how="left", maintain_order="left")["answer"].cast(pl.Int16)
