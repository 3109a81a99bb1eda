"""Figures at a decision threshold that are not plain shares: likelihood ratios, F1, MCC, predictive values elsewhere."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Int64

from medai.core.error import MedaiError
from medai.evaluation.auroc import absent_class
from medai.evaluation.bootstrap import Key, Statistic, Weights, summer
from medai.evaluation.figure import CONFIDENCE, Figure, missing
from medai.evaluation.interval import Intervals
from medai.evaluation.proportion import mean_of_two, normal_quantile, wilson
from medai.evaluation.table import LabelData
from medai.evaluation.threshold import decide

SIMEL = "Simel log interval"
SIMEL_CLUSTERED = "Simel log interval, variance by patient"
MERCALDO = "Mercaldo logit interval"
CORRECTED = ", 0.5 added to every cell"
MOVER = "MOVER of the Wilson intervals of sensitivity and specificity"
BOOTSTRAP = "percentile bootstrap"
DRAWN = ("f1", "mcc", "balanced_accuracy")  # the columns of `point_statistic`


@dataclass(frozen=True)
class LikelihoodRatio:
    """How much a positive (or negative) decision changes the odds of the disease.

    Attributes:
        value: Infinite where the denominator is zero; NaN where both shares are zero.
        low: Lower end of the interval.
        high: Upper end; infinite where the data set no bound.
        method: How the interval was made.
    """

    value: float
    low: float
    high: float
    method: str

    def predictive_value(self, prevalence: float) -> tuple[float, float, float]:
        """The share of diseased among those with the decision, with its interval, where `prevalence` of all are diseased.

        Bayes' theorem in odds. The interval is that of Mercaldo, Lau and Zhou (2007), since the logit of a predictive value
        is the logarithm of the likelihood ratio plus a constant.
        """
        odds = prevalence / (1 - prevalence)
        value, low, high = (1.0 if math.isinf(ratio) else ratio * odds / (1 + ratio * odds) for ratio in (self.value, self.low, self.high))
        return value, low, high


def likelihood_ratio(
    called: Bool[np.ndarray, " n"],
    truth: Bool[np.ndarray, " n"],
    cluster: Int64[np.ndarray, " n"] | None = None,
    confidence: float = CONFIDENCE,
) -> LikelihoodRatio:
    """The share of `called` among the diseased over that among the healthy, with the log interval of Simel et al. (1991).

    Its variance is 1/TP - 1/P + 1/FP - 1/N; where patients repeat, the same by the sums of each patient's parts. Where a
    count is zero, 0.5 is added to every one of the four (of patients, where they repeat) to have an interval at all.

    Args:
        called: The decision; give its opposite for the negative ratio.
        truth: Diseased or healthy, both present.
        cluster: Patient of each case where patients repeat.
        confidence: Coverage.

    Raises:
        MedaiError: a class is absent.

    Example:
        >>> truth = np.repeat([True, False], [100, 100])
        >>> called = np.concatenate([np.arange(100) < 90, np.arange(100) < 10])
        >>> likelihood_ratio(called, truth).value
        9.0
    """
    diseased, healthy = int(truth.sum()), int((~truth).sum())
    if diseased == 0 or healthy == 0:
        raise MedaiError(f"a likelihood ratio needs both classes, got {diseased} positives and {healthy} negatives")
    method = SIMEL if cluster is None else SIMEL_CLUSTERED
    sensitivity, fall_out = float(called[truth].mean()), float(called[~truth].mean())
    if sensitivity == 0 and fall_out == 0:
        return LikelihoodRatio(math.nan, math.nan, math.nan, method)
    value = math.inf if fall_out == 0 else sensitivity / fall_out
    z = normal_quantile(confidence)
    if min(sensitivity, fall_out) == 0 or max(sensitivity, fall_out) == 1:
        sizes = (diseased, healthy) if cluster is None else tuple(len(np.unique(cluster[part])) for part in (truth, ~truth))
        hits = sensitivity * sizes[0] + 0.5, fall_out * sizes[1] + 0.5
        middle = math.log(hits[0] / (sizes[0] + 1)) - math.log(hits[1] / (sizes[1] + 1))
        half = z * math.sqrt(sum(1 / hit - 1 / (size + 1) for hit, size in zip(hits, sizes, strict=True)))
        low = 0.0 if sensitivity == 0 else min(value, math.exp(middle - half))
        high = math.inf if fall_out == 0 else max(value, math.exp(middle + half))
        return LikelihoodRatio(value, low, high, method + CORRECTED)
    parts = np.where(truth, (called - sensitivity) / (diseased * sensitivity), -(called - fall_out) / (healthy * fall_out))
    variance = float(parts @ parts) if cluster is None else _between(parts, cluster)
    half = z * math.sqrt(variance)
    return LikelihoodRatio(value, value * math.exp(-half), value * math.exp(half), method)


def predictive_values(sensitivity: float, specificity: float, prevalence: float) -> tuple[float, float]:
    """PPV and NPV where `prevalence` of all cases are positive (Bayes); NaN where no case is called so.

    Example:
        >>> predictive_values(0.9, 0.9, 0.01)
        (0.0833..., 0.9988...)
    """
    true, false = prevalence * sensitivity, (1 - prevalence) * (1 - specificity)
    right, wrong = (1 - prevalence) * specificity, prevalence * (1 - sensitivity)
    return true / (true + false) if true + false else math.nan, right / (right + wrong) if right + wrong else math.nan


def check_prevalences(prevalences: Sequence[float]) -> tuple[float, ...]:
    """The prevalences at which predictive values are wanted.

    Raises:
        MedaiError: one is not between 0 and 1.
    """
    for value in prevalences:
        if not 0 < value < 1:
            raise MedaiError(f"a prevalence is {value:g}; expected a share of the people between 0 and 1, such as 0.01")
    return tuple(float(value) for value in prevalences)


def point_statistic(data: LabelData, threshold: float) -> Statistic:
    """F1, Matthews correlation and balanced accuracy (k = 3, as `DRAWN`) under weights."""
    group = 2 * decide(data.probability, threshold).astype(np.int64) + (data.target == 1)
    sums = summer(group, data.rows)

    def statistic(weights: Weights) -> Float64[np.ndarray, "b k"]:
        table, found = np.zeros((weights.shape[1], 4)), sums(weights)
        table[:, : found.shape[1]] = found
        true_negative, false_negative, false_positive, true_positive = table.T
        return measures(true_positive, false_positive, false_negative, true_negative)

    return statistic


def measures(
    true_positive: Float64[np.ndarray, " b"],
    false_positive: Float64[np.ndarray, " b"],
    false_negative: Float64[np.ndarray, " b"],
    true_negative: Float64[np.ndarray, " b"],
) -> Float64[np.ndarray, "b 3"]:
    """F1, Matthews correlation coefficient and balanced accuracy of many tables of four counts; NaN where undefined."""
    positives, negatives = true_positive + false_negative, true_negative + false_positive
    called, passed = true_positive + false_positive, true_negative + false_negative
    with np.errstate(divide="ignore", invalid="ignore"):
        f1 = 2 * true_positive / (positives + called)
        above = true_positive * true_negative - false_positive * false_negative
        mcc = above / (np.sqrt(positives * negatives) * np.sqrt(called * passed))
        balanced = (true_positive / positives + true_negative / negatives) / 2
    return np.stack([f1, mcc, balanced], axis=1)


def point_figures(data: LabelData, threshold: float, intervals: Intervals, key: Key) -> dict[str, Figure]:
    """Likelihood ratios, F1, Matthews correlation and balanced accuracy at the threshold.

    Args:
        data: The label's known cases.
        threshold: Frozen on validation.
        intervals: Where intervals come from.
        key: Of the draws of `point_statistic`.
    """
    n, ratios = len(data.rows), _ratios(data, threshold, intervals)
    figures = {
        f"likelihood_ratio_{name}": missing(n, SIMEL, absent_class(data.target == 1))
        if ratios is None
        else _ratio_figure(ratios[name], n, reasons)
        for name, *reasons in (
            ("positive", "no case is called positive", "no false positives, so it is infinite"),
            ("negative", "no case is called negative", "no true negatives, so it is infinite"),
        )
    }
    truth, called = data.target == 1, decide(data.probability, threshold)
    cells = [np.array([float(cell.sum())]) for cell in (called & truth, called & ~truth, ~called & truth, ~called & ~truth)]
    for column, (name, value) in enumerate(zip(DRAWN, measures(*cells)[0], strict=True)):
        if not math.isfinite(value):
            figures[name] = missing(n, BOOTSTRAP, absent_class(data.target == 1) or _undefined(called))
        elif name == "balanced_accuracy" and not intervals.patients.repeat:
            sides = (float(called[truth].mean()), int(truth.sum())), (float((~called[~truth]).mean()), int((~truth).sum()))
            (first, of_first), (second, of_second) = (
                (share, wilson(share * size, size, intervals.confidence)) for share, size in sides
            )  # fmt: skip
            figures[name] = Figure(float(value), *mean_of_two(first, of_first, second, of_second), n, MOVER)
        else:
            figures[name] = intervals.resampled(float(value), data.rows, key, column)
    return figures


def at_prevalences(data: LabelData, threshold: float, intervals: Intervals, prevalences: Sequence[float]) -> list[dict[str, Any]]:
    """PPV and NPV where the disease is as frequent as the user says, since that of a test set is seldom that of the clinic.

    Raises:
        MedaiError: a prevalence is not between 0 and 1.
    """
    n, ratios = len(data.rows), _ratios(data, threshold, intervals)
    rows = []
    for prevalence in check_prevalences(prevalences):
        row: dict[str, Any] = {"prevalence": prevalence}
        for name, of_ratio, reason in (
            ("ppv", "positive", "no case is called positive"),
            ("npv", "negative", "no case is called negative"),
        ):
            ratio = None if ratios is None else ratios[of_ratio]
            if ratio is None or math.isnan(ratio.value):
                figure = missing(n, MERCALDO, absent_class(data.target == 1) or reason)
            else:
                value, low, high = ratio.predictive_value(prevalence)
                if name == "npv":  # the ratio tells the share of diseased among those who are called negative
                    value, low, high = 1 - value, 1 - high, 1 - low
                figure = Figure(value, low, high, n, ratio.method.replace(SIMEL, MERCALDO))
            row[name] = figure.to_dict()
        rows.append(row)
    return rows


def _ratios(data: LabelData, threshold: float, intervals: Intervals) -> dict[str, LikelihoodRatio] | None:
    if absent_class(data.target == 1):
        return None
    truth, called, cluster = data.target == 1, decide(data.probability, threshold), intervals.patients.of(data.rows)
    return {
        "positive": likelihood_ratio(called, truth, cluster, intervals.confidence),
        "negative": likelihood_ratio(~called, truth, cluster, intervals.confidence),
    }


def _ratio_figure(ratio: LikelihoodRatio, n: int, reasons: Sequence[str]) -> Figure:
    if math.isnan(ratio.value):
        return missing(n, ratio.method, reasons[0])
    if math.isinf(ratio.value):
        return missing(n, ratio.method, reasons[1])
    return Figure(ratio.value, ratio.low, ratio.high, n, ratio.method)


def _undefined(called: Bool[np.ndarray, " n"]) -> str:
    return "no case is called negative" if called.all() else "no case is called positive"


def _between(parts: Float64[np.ndarray, " n"], cluster: Int64[np.ndarray, " n"]) -> float:
    """The variance of a sum of parts whose patients are independent."""
    _, index = np.unique(cluster, return_inverse=True)
    sums = np.bincount(index, weights=parts)
    return float(sums @ sums) * len(sums) / max(len(sums) - 1, 1)
