"""The figures that models are compared by: what each is, and its statistic for one model and for two stacked ones."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool
from scipy.stats import rankdata

from medai.evaluation.agreement import agreement_statistic, c_index_statistic, expected_class
from medai.evaluation.bootstrap import Statistic, mean_statistic, rank_statistic
from medai.evaluation.calibration import squared_error
from medai.evaluation.multiclass import macro_statistic
from medai.evaluation.table import LabelData
from medai.evaluation.threshold import decide

HIGHER_IS_BETTER = {"brier": False}  # all others are better when higher
MULTICLASS_NAME = {"auroc": "macro_auroc", "average_precision": "macro_average_precision"}


@dataclass(frozen=True)
class Drawn:
    """A statistic that the bootstrap and the permutation test draw, and the metrics that its columns give.

    Attributes:
        name: Of the key.
        columns: The metric of each column.
        single: Makes the statistic of one model (data, number of rows of the table).
        stacked: Makes that of two models' outputs, stacked, over 2n rows.
    """

    name: str
    columns: tuple[str, ...]
    single: Callable[[LabelData, int], Statistic]
    stacked: Callable[[LabelData, LabelData, int], Statistic]


def drawn_for(kind: str) -> tuple[Drawn, ...]:
    """What is drawn for a kind of label."""
    if kind == "binary":
        return (_RANK, _BRIER)
    of_order = (_KAPPA, _C_INDEX) if kind == "ordinal" else ()
    return (_MACRO, _BRIER, *of_order)


def shares_for(data: LabelData, threshold: float | None) -> dict[str, tuple[Bool[np.ndarray, " m"], Bool[np.ndarray, " m"]]]:
    """The metrics that are shares of cases: which cases count, and which of them are right (both over all known cases)."""
    if data.label.kind != "binary":
        return {"accuracy": (np.ones(len(data.rows), dtype=bool), data.probability.argmax(axis=1) == data.target)}
    if threshold is None:
        return {}
    truth, called = data.target == 1, decide(data.probability, threshold)
    return {"sensitivity": (truth, called), "specificity": (~truth, ~called), "accuracy": (truth | ~truth, called == truth)}


def metrics_of(kind: str, *, thresholds: bool = True) -> tuple[str, ...]:
    """The names of the metrics of a kind of label, in the order of the report."""
    drawn = tuple(name for each in drawn_for(kind) for name in each.columns)
    if kind == "binary":
        return drawn + (("sensitivity", "specificity", "accuracy") if thresholds else ())
    return (*drawn, "accuracy")


def named_for(metric: str, kind: str) -> str:
    """The metric's name for a kind of label: ``auroc`` is ``macro_auroc`` where there are several classes."""
    return metric if kind == "binary" else MULTICLASS_NAME.get(metric, metric)


def both(first: LabelData, second: LabelData, n: int) -> LabelData:
    """The outputs of two models as those of one over 2n rows."""
    return replace(
        first,
        rows=np.concatenate([first.rows, second.rows + n]),
        probability=np.concatenate([first.probability, second.probability]),
        target=np.concatenate([first.target, second.target]),
    )


def _ranked(data: LabelData) -> LabelData:
    return replace(data, probability=np.asarray(rankdata(data.probability, axis=0), dtype=np.float64))


def _rank(data: LabelData, n: int) -> Statistic:
    return rank_statistic(data.probability, data.target == 1, data.rows)


def _macro(data: LabelData, n: int) -> Statistic:
    return macro_statistic(data)


def _brier(data: LabelData, n: int) -> Statistic:
    truth = data.target == 1 if data.label.kind == "binary" else data.target
    return mean_statistic(squared_error(data.probability, truth)[:, None], data.rows, n)


def _kappa(data: LabelData, n: int) -> Statistic:
    kappa = agreement_statistic(data.target, data.probability.argmax(axis=1), data.rows, len(data.label.classes))
    return lambda weights: kappa(weights)[:, :1]


def _c_index(data: LabelData, n: int) -> Statistic:
    return c_index_statistic(expected_class(data.probability), data.target, data.rows)


def _stacked_c_index(first: LabelData, second: LabelData, n: int) -> Statistic:
    ranks = np.concatenate([rankdata(expected_class(data.probability)) for data in (first, second)])
    return c_index_statistic(ranks, np.tile(first.target, 2), np.concatenate([first.rows, second.rows + n]))


_RANK = Drawn("rank", ("auroc", "average_precision"), _rank, lambda a, b, n: _rank(both(_ranked(a), _ranked(b), n), 2 * n))
_MACRO = Drawn("macro", ("macro_auroc", "macro_average_precision"), _macro, lambda a, b, n: _macro(both(_ranked(a), _ranked(b), n), 2 * n))
_BRIER = Drawn("brier", ("brier",), _brier, lambda a, b, n: _brier(both(a, b, n), 2 * n))
_KAPPA = Drawn("kappa", ("quadratic_kappa",), _kappa, lambda a, b, n: _kappa(both(a, b, n), 2 * n))
_C_INDEX = Drawn("c_index", ("c_index",), _c_index, _stacked_c_index)
