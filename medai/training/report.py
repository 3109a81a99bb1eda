"""The report on the validation split: what the figures of a training rest upon."""

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Float

from medai.cohort.cohort import Cohort
from medai.core.environment import versions
from medai.core.file import read_json, write_json
from medai.evaluation.evaluate import evaluate
from medai.evaluation.predictions import predictions_table
from medai.evaluation.report.context import ReportContext
from medai.evaluation.results import cohort_summary, write_results
from medai.interpretation.explain import explainer_of
from medai.store.shard import NativePixels
from medai.training.checkpoint import Checkpoint

REPLICATES = 1000
SALIENCY = "gradcam"  # what is slower is for medai evaluate
OPTIMISTIC = (
    "Calibration, thresholds and the epoch were chosen on these very cases: the figures are optimistic. "
    "Only a held-out test set shows what to expect."
)


def validation_report(
    cohort: Cohort,
    checkpoint: Checkpoint,
    probability: Float[np.ndarray, "N P"],
    logit: Float[np.ndarray, "N P"],
    folder: Path,
    cases: pl.DataFrame | None = None,
) -> tuple[dict[str, float], dict[str, Any]]:
    """Score the cases that a checkpoint was frozen on and write table, figures and report.

    Args:
        cohort: Where the cases are from.
        checkpoint: Calibrated and frozen.
        probability: Of each validation case.
        logit: Of each validation case.
        folder: To write to.
        cases: The validation cases with their labels; None are those of the cohort's own split.

    Returns:
        The main figures by name, for the tracking; and all of them, for the checkpoint's record.
    """
    cases = cohort.select("validation") if cases is None else cases
    table = predictions_table(cases, cohort.labels, probability, logit)
    evaluation = evaluate(table, cohort.labels, checkpoint.thresholds, replicates=REPLICATES)
    explainer, maps_note = explainer_of(checkpoint.predictor(), SALIENCY, replace=False)
    frozen, counts = checkpoint.record["thresholds"], cohort.counts
    context = ReportContext(
        title=f"{frozen.get('part', 'validation split').capitalize()} of {cohort.name}",
        cohort=replace(cohort_summary(cohort, "development", cases), elsewhere=counts["cases"] - counts["excluded"] - len(cases)),
        model=describe(checkpoint),
        split=frozen["split"],
        threshold_origin=f"chosen on these cases by the rule “{frozen['rule']}”",
        created=time.strftime("%Y-%m-%d %H:%M"),
        versions=versions(),
        notes=(checkpoint.record.get("note", OPTIMISTIC), *cohort.meta.get("notes", ())),
        maps=explainer.method if explainer else "",
        maps_note=maps_note,
    )  # fmt: skip
    about = {"cohort": {"name": cohort.name, "hash": cohort.hash}, "split": frozen["split"]}
    write_results(folder, evaluation, context, NativePixels(cohort.path), cases, about, explainer)
    return main_figures(evaluation.metrics), evaluation.metrics


def name_checkpoint(folder: Path, digest: str) -> None:
    """Record whose figures a validation's are, so that points frozen on its predictions are for that model alone.

    Args:
        folder: Of `validation_report`.
        digest: The checkpoint's hash. It covers the figures, and so is known only once they are written and it is saved.
    """
    path = folder / "metrics.json"
    write_json(path, read_json(path) | {"candidate": {"kind": "checkpoint", "hash": digest}})


def describe(checkpoint: Checkpoint) -> dict[str, str]:
    """Facts about a model, for people."""
    size, record = checkpoint.plan.resize, checkpoint.record
    return {
        "Network": network_name(checkpoint.model),
        "Parameters": f"{record.get('parameters', 0):,}",
        "Input": f"{size.height} x {size.width} pixels, {'grey' if size.channels == 1 else 'colour'}",
        "Intensity": checkpoint.plan.intensity.method,
        "Epoch": str(record.get("epoch", "")),
        "Seed": str(record.get("seed", "")),
    }


def network_name(model: Mapping[str, Any]) -> str:
    """The network of a configuration node; of an ensemble, those of its members."""
    members = model.get("members", ())
    if members:
        return f"ensemble of {len(members)}: {', '.join(dict.fromkeys(network_name(member['model']) for member in members))}"
    return str(model.get("_target_", "")).rsplit(".", 1)[-1]


def main_figures(metrics: dict[str, Any]) -> dict[str, float]:
    """AUROC and accuracy of each label, and their means where there are several labels."""
    figures = {}
    for name, label in metrics["labels"].items():
        for key, value in _flat(label):
            if key in ("auroc", "accuracy", "macro_auroc", "kappa", "sensitivity", "specificity") and value is not None:
                figures[f"{name}.{key}"] = float(value)
    for key, figure in metrics.get("macro", {}).items():
        if figure.get("value") is not None:
            figures[f"macro.{key}"] = float(figure["value"])
    return figures


def _flat(label: dict[str, Any]) -> list[tuple[str, float | None]]:
    """The figures of a label, whatever they are grouped under."""
    found = []
    for key, value in label.items():
        if isinstance(value, dict) and "value" in value:
            found.append((key, value["value"]))
        elif isinstance(value, dict) and key not in ("classes", "reliability", "curves"):
            found.extend(_flat(value))
    return found
