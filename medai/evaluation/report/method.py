"""The methods text, from what was actually run."""

from medai.evaluation.evaluate import Evaluation
from medai.evaluation.report.context import ReportContext
from medai.evaluation.report.sentence import origin
from medai.evaluation.report.text import ENGLISH as T


def methods(evaluation: Evaluation, context: ReportContext) -> list[str]:
    """Sentences on decisions, intervals and missing truth."""
    metrics = evaluation.metrics
    kinds, repeat = {record["kind"] for record in metrics["labels"].values()}, metrics["patients"]["repeat"]
    said = [T["m_decision"].format(origin=origin(context))] if "binary" in kinds else []
    if kinds - {"binary"}:
        said.append(T["m_argmax"])
    said.append(T["m_auroc_bootstrap"] if repeat else T["m_auroc_delong"])
    if metrics["replicates"]:
        unit = T["m_patients"] if repeat else T["m_cases"]
        said.append(T["m_bootstrap"].format(unit=unit, replicates=metrics["replicates"], seed=metrics["seed"]))
    said.append(T["m_proportion"].format(cluster=T["m_cluster"] if repeat else ""))
    said.append(T["m_calibration"])
    if metrics["macro"] or kinds - {"binary"} or metrics["groups"]:
        said.append(T["m_macro"])
    if any(record["unknown"] for record in metrics["labels"].values()):
        said.append(T["m_unknown"])
    return [*said, metrics["patients"]["note"]]
