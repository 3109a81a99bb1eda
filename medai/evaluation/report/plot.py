"""The plots of a report."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from medai.evaluation.calibration import reliability
from medai.evaluation.curve import precision_recall, roc
from medai.evaluation.report.format import figure_of, share
from medai.evaluation.report.svg import Plot, round_step, thin
from medai.evaluation.report.text import EN, Words

TICKS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
PREVALENCES = (0.001, 0.01, 0.1, 1.0)  # of the logarithmic axis
Ends = tuple[float, float]


def roc_plot(
    probability: Float[np.ndarray, " n"],
    target: Bool[np.ndarray, " n"],
    point: tuple[float, float] | None = None,
    *,
    reach: tuple[Ends, Ends] | None = None,
    band: Mapping[str, Sequence[float]] | None = None,
    words: Words = EN,
) -> str:
    """The ROC curve.

    Args:
        probability: Of the positive class.
        target: Truth, both classes present.
        point: Sensitivity and specificity at the frozen threshold.
        reach: The intervals of both.
        band: Of the curve: `x` (1 - specificity), `low`, `high`.
        words: The language.
    """
    curve, plot = roc(probability, target), Plot()
    plot.axes(words["axis_fpr"], words["axis_tpr"], TICKS, TICKS)
    plot.line([0.0, 1.0], [0.0, 1.0], "chance")
    x, y = thin(curve.x, curve.y)
    if band and len(band["x"]) > 1:
        plot.band(band["x"], band["low"], band["high"])
    else:
        plot.area(x, y, "under")
    plot.line(x, y, "curve")
    if point is not None and reach is not None:
        plot.cross(1 - point[1], point[0], (1 - reach[1][1], 1 - reach[1][0]), reach[0])
    elif point is not None:
        _operating_point(plot, 1 - point[1], point[0])
    return plot.svg(words["roc"])


def precision_recall_plot(
    probability: Float[np.ndarray, " n"],
    target: Bool[np.ndarray, " n"],
    point: tuple[float, float] | None = None,
    *,
    reach: tuple[Ends, Ends] | None = None,
    band: Mapping[str, Sequence[float]] | None = None,
    words: Words = EN,
) -> str:
    """The precision-recall curve with the prevalence that a blind guess would reach.

    Args:
        probability: Of the positive class.
        target: Truth, with positives.
        point: Sensitivity and positive predictive value at the frozen threshold.
        reach: The intervals of both.
        band: Of the curve: `x` (recall), `low`, `high`.
        words: The language.
    """
    curve, plot, prevalence = precision_recall(probability, target), Plot(), float(target.mean())
    plot.axes(words["axis_recall"], words["axis_precision"], TICKS, TICKS)
    x, y = thin(curve.x, curve.y)
    if band and len(band["x"]) > 1:
        plot.band(band["x"], band["low"], band["high"])
    else:
        plot.area(x, y, "under")
    plot.line(x, y, "curve")
    plot.line([0.0, 1.0], [prevalence, prevalence], "chance")
    if point is not None and reach is not None:
        plot.cross(*point, *reach)
    elif point is not None:
        _operating_point(plot, *point)
    return plot.svg(words["precision_recall"])


def reliability_plot(
    probability: Float[np.ndarray, " n"],
    target: Bool[np.ndarray, " n"],
    *,
    smooth: Mapping[str, Any] | None = None,
    words: Words = EN,
) -> str:
    """The reliability diagram with Wilson intervals, and below it how many cases lie in each bin.

    Args:
        probability: Of the positive class.
        target: Truth.
        smooth: A curve without bins: `x`, `y`, and perhaps its band `low`, `high`.
        words: The language.
    """
    bins, plot = reliability(probability, target), Plot((0.0, 1.0), (-0.24, 1.0))
    plot.axes(words["axis_predicted"], words["axis_observed"], TICKS, TICKS)
    plot.line([0.0, 1.0], [0.0, 1.0], "chance")
    plot.line([0.0, 1.0], [0.0, 0.0], "axis")
    largest = max(part.n for part in bins)
    for part in bins:
        plot.bar(part.low + 0.008, part.high - 0.008, -0.24, -0.24 + 0.18 * part.n / largest, "histogram")
    if smooth and smooth.get("x"):
        if smooth.get("low"):
            plot.band(smooth["x"], smooth["low"], smooth["high"])
        plot.line(smooth["x"], smooth["y"], "curve")
    else:
        plot.line([part.predicted for part in bins], [part.observed for part in bins], "thin")
    for part in bins:
        plot.line([part.predicted] * 2, [part.observed_low, part.observed_high], "whisker")
        plot.dot(part.predicted, part.observed, "point", 3.5)
    return plot.svg(words["reliability"])


def distribution_plot(
    probability: Float[np.ndarray, " n"], target: Bool[np.ndarray, " n"], threshold: float, names: tuple[str, str], words: Words = EN
) -> str:
    """How the probabilities of both classes are spread: positives above the line, negatives below, each as a share of its class."""
    edges = np.arange(21) / 20
    above, below = (np.histogram(probability[chosen], edges)[0] / max(1, chosen.sum()) for chosen in (target, ~target))
    top = max(float(above.max()), float(below.max()), 1e-9) * 1.22
    plot = Plot((0.0, 1.0), (-top, top))
    plot.axes(words["axis_probability"], words["axis_share"], TICKS, [])
    for index in range(20):
        low, high = edges[index] + 0.004, edges[index + 1] - 0.004
        plot.bar(low, high, 0.0, above[index], "positive")
        plot.bar(low, high, -below[index], 0.0, "negative")
    plot.line([0.0, 1.0], [0.0, 0.0], "axis")
    plot.line([threshold, threshold], [-top, top], "threshold")
    right = threshold < 0.6
    text = words["threshold_line"].format(value=f"{threshold:.3g}")
    plot.note(threshold, -top, text, "note", anchor="start" if right else "end", shift=(6.0 if right else -6.0, -7.0))
    side, anchor = (0.98, "end") if right else (0.02, "start")
    plot.note(side, top, names[1], "caption", anchor=anchor, shift=(0.0, 13.0))
    plot.note(side, -top, names[0], "quiet", anchor=anchor, shift=(0.0, -24.0))
    return plot.svg(words["distribution"])


def decision_plot(curve: Mapping[str, Any], threshold: float | None = None, words: Words = EN) -> str:
    """Net benefit over the threshold probability: of the model with its band, of treating all, and of treating none.

    Args:
        curve: `threshold`, `net_benefit`, `treat_all`, and perhaps `low`, `high`.
        threshold: The frozen one, drawn as an upright line.
        words: The language.
    """
    x = np.asarray(curve["threshold"], dtype=np.float64)
    benefit, everyone = (np.asarray(curve[key], dtype=np.float64) for key in ("net_benefit", "treat_all"))
    low, high = (np.asarray(curve.get(key) or curve["net_benefit"], dtype=np.float64) for key in ("low", "high"))
    step = round_step(float(max(high.max(), benefit.max(), everyone[0], 0.02)))
    top = step * math.ceil(float(max(high.max(), everyone[0], 0.02)) / step - 1e-9)
    bottom = -step
    plot = Plot((0.0, 1.0), (bottom, top), left=52)
    plot.axes(words["axis_threshold"], words["axis_benefit"], TICKS, [bottom + step * i for i in range(round((top - bottom) / step) + 1)])
    if threshold is not None:
        plot.line([threshold, threshold], [bottom, top], "threshold faint")
    plot.line([0.0, 1.0], [0.0, 0.0], "axis")
    below = np.flatnonzero(everyone < bottom)
    end = int(below[0]) if len(below) else len(x)  # where treating all leaves the plot
    if end > 1:
        plot.line(x[:end], everyone[:end], "other")
        plot.note(float(x[end - 1]), float(everyone[end - 1]), words["treat_all"], "note", anchor="start", shift=(7.0, -3.0))
    if curve.get("low"):
        plot.band(x, np.clip(low, bottom, top), np.clip(high, bottom, top))
    plot.line(x, np.clip(benefit, bottom, top), "curve")
    plot.note(1.0, 0.0, words["treat_none"], "note", anchor="end", shift=(-3.0, 13.0))
    middle = int(np.searchsorted(x, 0.62))
    middle = min(middle, len(x) - 1)
    plot.note(float(x[middle]), float(np.clip(high[middle], bottom, top)), words["curve_model"], "caption", shift=(8.0, -8.0))
    return plot.svg(words["decision_curve"])


def prevalence_plot(record: Mapping[str, Any], words: Words = EN) -> str:
    """Predictive values over the prevalence, on a logarithmic axis: lines by Bayes' theorem, dots where a prevalence was asked for.

    Args:
        record: Of a binary label, with sensitivity and specificity.
        words: The language.
    """
    sensitivity, specificity = figure_of(record, "sensitivity")["value"], figure_of(record, "specificity")["value"]
    lowest, highest = math.log10(PREVALENCES[0]), math.log10(PREVALENCES[-1])
    plot = Plot((lowest, highest), (0.0, 1.0))
    ticks = [math.log10(value) for value in PREVALENCES]
    plot.axes(words["axis_prevalence"], words["axis_right"], ticks, TICKS, x_texts=[share(value) for value in PREVALENCES])
    x = np.linspace(lowest, highest, 120)
    ill = 10**x
    positive = sensitivity * ill / np.maximum(sensitivity * ill + (1 - specificity) * (1 - ill), 1e-12)
    negative = specificity * (1 - ill) / np.maximum(specificity * (1 - ill) + (1 - sensitivity) * ill, 1e-12)
    plot.line(x, positive, "curve")
    plot.line(x, negative, "second")
    here = figure_of(record, "prevalence")["value"]
    points = [(here, record)] + [(each["prevalence"], each) for each in record.get("at_prevalence", ())]
    for prevalence, values in points:
        if prevalence and lowest <= math.log10(prevalence) <= highest:
            for key, kind in (("ppv", "point"), ("npv", "point dark")):
                _reach(plot, math.log10(prevalence), figure_of(values, key), kind)
    middle = int(np.searchsorted(positive, 0.5)) if positive[0] < 0.5 < positive[-1] else 60
    below = bool(positive[middle] < 0.75)
    shift = (8.0, 14.0) if below else (0.0, 18.0)
    plot.note(float(x[middle]), float(positive[middle]), "PPV", "caption", anchor="start", shift=shift)
    plot.note(lowest, float(negative[0]), "NPV", "quiet", shift=(8.0, 18.0))
    return plot.svg(words["predictive_values"])


def _reach(plot: Plot, x: float, figure: Mapping[str, Any], kind: str) -> None:
    if figure["value"] is not None:
        if figure["low"] is not None:
            plot.line([x, x], [figure["low"], figure["high"]], "whisker")
        plot.dot(x, figure["value"], kind, 3.5)


def _operating_point(plot: Plot, x: float, y: float) -> None:
    plot.dot(x, y, "halo", 8.0)
    plot.dot(x, y, "point", 4.5)
