"""The methods text, from what was actually run: which figures are there, and by which method each got its interval."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from medai.evaluation.evaluate import Evaluation
from medai.evaluation.report.context import ReportContext
from medai.evaluation.report.format import count
from medai.evaluation.report.sentence import origin
from medai.evaluation.report.text import Words

PAPERS = {
    "delong": "DeLong ER, DeLong DM, Clarke-Pearson DL. Biometrics 1988;44:837\u2013845.",
    "hanley": "Hanley JA, McNeil BJ. Radiology 1982;143:29\u201336.",
    "obuchowski": "Obuchowski NA. Biometrics 1997;53:567\u2013578.",
    "newcombe": "Newcombe RG. Stat Med 2006;25:559\u2013573.",
    "wilson": "Wilson EB. J Am Stat Assoc 1927;22:209\u2013212.",
    "effective": "Rao JNK, Scott AJ. Biometrics 1992;48:577\u2013585.",
    "bootstrap": "Efron B, Tibshirani RJ. An Introduction to the Bootstrap. Chapman & Hall, 1993.",
    "bca": "Efron B. J Am Stat Assoc 1987;82:171\u2013185.",
    "simel": "Simel DL, Samsa GP, Matchar DB. J Clin Epidemiol 1991;44:763\u2013770.",
    "mcclish": "McClish DK. Med Decis Making 1989;9:190\u2013195.",
    "hand_till": "Hand DJ, Till RJ. Mach Learn 2001;45:171\u2013186.",
    "kappa": "Cohen J. Psychol Bull 1968;70:213\u2013220.",
    "ece": "Naeini MP, Cooper GF, Hauskrecht M. AAAI 2015:2901\u20132907.",
    "murphy": "Murphy AH. J Appl Meteorol 1973;12:595\u2013600.",
    "slope": "Cox DR. Biometrika 1958;45:562\u2013565.",
    "spiegelhalter": "Spiegelhalter DJ. Stat Med 1986;5:421\u2013433.",
    "decision": "Vickers AJ, Elkin EB. Med Decis Making 2006;26:565\u2013574.",
    "frequencies": "Gigerenzer G, Gaissmaier W, Kurz-Milcke E, Schwartz LM, Woloshin S. Psychol Sci Public Interest 2007;8:53\u201396.",
    "mercaldo": "Mercaldo ND, Lau KF, Zhou XH. Stat Med 2007;26:2170\u20132183.",
    "mover": "Zou GY, Donner A. Stat Med 2008;27:1693\u20131702.",
    "spline": "Harrell FE. Regression Modeling Strategies. 2nd ed. Springer, 2015.",
    "mcnemar": "McNemar Q. Psychometrika 1947;12:153\u2013157.",
    "tango": "Tango T. Stat Med 1998;17:891\u2013908.",
    "holm": "Holm S. Scand J Stat 1979;6:65\u201370.",
    "gaps": "Hardt M, Price E, Srebro N. NeurIPS 2016:3315\u20133323.",
    "ladder": "Blum A, Hardt M. ICML 2015:1006\u20131014.",
    "gradcam": "Selvaraju RR, Cogswell M, Das A, et al. ICCV 2017:618\u2013626.",
    "integrated_gradients": "Sundararajan M, Taly A, Yan Q. ICML 2017:3319\u20133328.",
}
MARKS = {
    "delong": "DeLong", "hanley": ", score interval", "obuchowski": "Obuchowski", "newcombe": "Newcombe",
    "wilson": "Wilson", "effective": "effective sample size",
    "bootstrap": "bootstrap", "bca": "BCa", "simel": "Simel",
    "mercaldo": "Mercaldo", "mover": "MOVER",
}  # fmt: skip
KEYS = {
    "mcclish": "partial_auroc", "hand_till": "hand_till", "kappa": "quadratic_kappa", "ece": "ece", "murphy": "brier_parts",
    "slope": "calibration_slope", "spiegelhalter": "spiegelhalter", "decision": "decision_curve",
    "spline": "reliability_curve",
}  # fmt: skip


def methods(evaluation: Evaluation, context: ReportContext, words: Words) -> list[str]:
    """Sentences on decisions, intervals, groups and missing truth.

    Args:
        evaluation: From `evaluate`.
        context: The words around it.
        words: The language.
    """
    metrics = evaluation.metrics
    kinds, marks = {label.kind for label in evaluation.labels}, methods_marks(metrics)
    repeat, keys = metrics["patients"]["repeat"], figure_keys(metrics)
    said = []
    if "binary" in kinds:
        said.append(words["m_decision_here" if context.split == "validation" else "m_decision"].format(origin=origin(context, words)))
    said += [words["m_argmax"]] * bool(kinds - {"binary"}) + [words["m_auroc"]]
    said += [words[f"m_{key}"] for key in ("delong", "obuchowski", "hanley") if key in marks]
    if "wilson" in marks:
        said.append(words["m_wilson"].format(cluster=words["m_cluster"] if "effective" in marks else ""))
    if "bootstrap" in marks and metrics["replicates"]:
        unit = words["m_patients"] if repeat else words["m_cases"]
        said.append(words["m_bootstrap"].format(unit=unit, replicates=count(metrics["replicates"]), seed=metrics["seed"]))
        said += [words["m_strata"]] * bool(metrics.get("strata")) + [words["m_bca"]] * ("bca" in marks)
    for sentence, key in (
        ("m_likelihood", "likelihood_ratio_positive"), ("m_prevalence", "at_prevalence"), ("m_ece", "ece"), ("m_murphy", "brier_parts"),
        ("m_slope", "calibration_slope"), ("m_spiegelhalter", "spiegelhalter"), ("m_decision_curve", "decision_curve"),
    ):  # fmt: skip
        said += [words[sentence]] * (key in keys)
    said += _groups(metrics, words) + [words["m_comparison"]] * bool(metrics.get("comparison"))
    if metrics["macro"] or kinds - {"binary"}:
        said.append(words["m_macro"])
    if any(record["unknown"] for record in metrics["labels"].values()):
        said.append(words["m_unknown"])
    return [*said, words.phrase(metrics["patients"]["note"])]


def interval_methods(metrics: Mapping[str, Any], words: Words) -> list[tuple[str, str]]:
    """Each method that made an interval, and the figures that it made, from the records themselves."""
    found: dict[str, list[str]] = {}
    for key, figure in _figures(metrics):
        if figure.get("low") is not None and key in words.table:
            method = re.sub(r"^mean of \d+ labels, |^mean one-vs-rest AUROC of \d+ of \d+ classes, ", "", figure["method"])
            named = words["partial_short"] if key == "partial_auroc" else words[key]
            if named not in found.setdefault(method, []):
                found[method].append(named)
    return [(words.phrase(method), words.join(figures)) for method, figures in found.items()]


def references(metrics: Mapping[str, Any], context: ReportContext) -> list[str]:
    """The papers behind what was run, and no others."""
    keys, marks = figure_keys(metrics), methods_marks(metrics)
    used = marks | {paper for paper, key in KEYS.items() if key in keys}
    used |= {"frequencies"} if any(record.get("kind") == "binary" for record in metrics["labels"].values()) else set()
    used |= {"gaps"} if metrics.get("subgroups", {}).get("gaps") else set()
    family, correction = metrics.get("subgroups", {}).get("family", {}), (metrics.get("comparison") or {}).get("correction", {})
    corrections = f"{family.get('correction', '')} {correction.get('method', '')}"
    used |= {"holm"} if "Holm" in corrections else set()
    compared = str(metrics.get("comparison") or "")
    used |= {paper for paper, mark in (("mcnemar", "McNemar"), ("tango", "Tango")) if mark in compared}
    used |= {"ladder"} if metrics.get("seal", {}).get("ladder") is not None else set()
    used |= {context.maps} if context.maps else set()
    return [paper for key, paper in PAPERS.items() if key in used]


def figure_keys(metrics: Mapping[str, Any]) -> set[str]:
    """Names of what the labels' records hold; what is empty is not there."""
    return {key for record in metrics["labels"].values() for key, value in record.items() if value not in (None, {}, [])}


def methods_marks(metrics: Mapping[str, Any]) -> set[str]:
    """Which of the known methods made an interval here."""
    said = " ".join(figure["method"] for _, figure in _figures(metrics) if figure.get("low") is not None)
    return {key for key, mark in MARKS.items() if mark in said}


def _figures(metrics: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every figure of the labels, their classes, the means and the groups, by its key."""
    for record in [*metrics["labels"].values(), metrics["macro"]]:
        yield from _of(record)
        for inner in [*record.get("classes", {}).values(), *record.get("at_prevalence", ())]:
            yield from _of(inner)
    for rows in metrics["groups"].values():
        for row in rows:
            for record in row["labels"].values():
                yield from _of(record)


def _of(record: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for key, value in record.items():
        if isinstance(value, Mapping) and "value" in value and "method" in value:
            yield key, value


def _groups(metrics: Mapping[str, Any], words: Words) -> list[str]:
    family = metrics.get("subgroups", {}).get("family")
    if family and family.get("tests"):
        return [words["m_subgroups"].format(tests=count(family["tests"], words), correction=family["correction"])]
    return [words["m_subgroups_plain"]] if metrics["groups"] else []
