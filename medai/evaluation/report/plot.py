"""The plots of a report."""

import numpy as np
from jaxtyping import Bool, Float

from medai.evaluation.calibration import reliability
from medai.evaluation.curve import precision_recall, roc
from medai.evaluation.report.svg import Plot, thin
from medai.evaluation.report.text import ENGLISH as T

TICKS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


def roc_plot(probability: Float[np.ndarray, " n"], target: Bool[np.ndarray, " n"], point: tuple[float, float] | None = None) -> str:
    """The ROC curve.

    Args:
        probability: Of the positive class.
        target: Truth, both classes present.
        point: Sensitivity and specificity at the frozen threshold.
    """
    curve, plot = roc(probability, target), Plot()
    plot.axes(T["axis_fpr"], T["axis_tpr"], TICKS, TICKS)
    plot.line([0.0, 1.0], [0.0, 1.0], "chance")
    x, y = thin(curve.x, curve.y)
    plot.area(x, y, "under")
    plot.line(x, y, "curve")
    if point is not None:
        _operating_point(plot, 1 - point[1], point[0])
    return plot.svg(T["roc"])


def precision_recall_plot(
    probability: Float[np.ndarray, " n"], target: Bool[np.ndarray, " n"], point: tuple[float, float] | None = None
) -> str:
    """The precision-recall curve with the prevalence that a blind guess would reach.

    Args:
        probability: Of the positive class.
        target: Truth, with positives.
        point: Sensitivity and positive predictive value at the frozen threshold.
    """
    curve, plot, prevalence = precision_recall(probability, target), Plot(), float(target.mean())
    plot.axes(T["axis_recall"], T["axis_precision"], TICKS, TICKS)
    x, y = thin(curve.x, curve.y)
    plot.area(x, y, "under")
    plot.line(x, y, "curve")
    plot.line([0.0, 1.0], [prevalence, prevalence], "chance")
    if point is not None:
        _operating_point(plot, *point)
    return plot.svg(T["precision_recall"])


def reliability_plot(probability: Float[np.ndarray, " n"], target: Bool[np.ndarray, " n"]) -> str:
    """The reliability diagram with Wilson intervals, and below it how many cases lie in each bin."""
    bins, plot = reliability(probability, target), Plot((0.0, 1.0), (-0.24, 1.0))
    plot.axes(T["axis_predicted"], T["axis_observed"], TICKS, TICKS)
    plot.line([0.0, 1.0], [0.0, 1.0], "chance")
    plot.line([0.0, 1.0], [0.0, 0.0], "axis")
    largest = max(part.n for part in bins)
    for part in bins:
        plot.bar(part.low + 0.008, part.high - 0.008, -0.24, -0.24 + 0.18 * part.n / largest, "histogram")
        plot.line([part.predicted] * 2, [part.observed_low, part.observed_high], "whisker")
    plot.line([part.predicted for part in bins], [part.observed for part in bins], "thin")
    for part in bins:
        plot.dot(part.predicted, part.observed, "point", 3.5)
    return plot.svg(T["reliability"])


def distribution_plot(
    probability: Float[np.ndarray, " n"], target: Bool[np.ndarray, " n"], threshold: float, names: tuple[str, str]
) -> str:
    """How the probabilities of both classes are spread: positives above the line, negatives below, each as a share of its class."""
    edges = np.arange(21) / 20
    above, below = (np.histogram(probability[chosen], edges)[0] / max(1, chosen.sum()) for chosen in (target, ~target))
    top = max(float(above.max()), float(below.max()), 1e-9) * 1.22
    plot = Plot((0.0, 1.0), (-top, top))
    plot.axes(T["axis_probability"], T["axis_share"], TICKS, [])
    for index in range(20):
        low, high = edges[index] + 0.004, edges[index + 1] - 0.004
        plot.bar(low, high, 0.0, above[index], "positive")
        plot.bar(low, high, -below[index], 0.0, "negative")
    plot.line([0.0, 1.0], [0.0, 0.0], "axis")
    plot.line([threshold, threshold], [-top, top], "threshold")
    right = threshold < 0.6
    text = T["threshold_line"].format(value=f"{threshold:.3g}")
    plot.note(threshold, -top, text, "note", anchor="start" if right else "end", shift=(6.0 if right else -6.0, -7.0))
    side, anchor = (0.98, "end") if right else (0.02, "start")
    plot.note(side, top, names[1], "caption", anchor=anchor, shift=(0.0, 13.0))
    plot.note(side, -top, names[0], "quiet", anchor=anchor, shift=(0.0, -24.0))
    return plot.svg(T["distribution"])


def _operating_point(plot: Plot, x: float, y: float) -> None:
    plot.dot(x, y, "halo", 8.0)
    plot.dot(x, y, "point", 4.5)
