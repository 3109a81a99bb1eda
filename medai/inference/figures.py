"""From a table of predictions to its figures under the settings: the part that all kinds of evaluation share."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import polars as pl

from medai.core.error import MedaiError
from medai.core.label import Label
from medai.evaluation.auroc import Area
from medai.evaluation.comparison.check import few_replicates
from medai.evaluation.evaluate import Evaluation, evaluate
from medai.evaluation.frozen_point import OperatingPoints, read_points
from medai.evaluation.interval import Kind
from medai.evaluation.precision_plan import planned_beside_reached
from medai.evaluation.report.pdf import find_browser
from medai.inference.settings import GROUP_BY, EvaluateSettings

ABSENT = "not in the table"


def figures(
    settings: EvaluateSettings, table: pl.DataFrame, labels: Sequence[Label], thresholds: Mapping[str, float],
    points: OperatingPoints | None = None, plan: Mapping[str, Any] | None = None,
) -> Evaluation:  # fmt: skip
    """Every figure of a table.

    Args:
        settings: How they are made.
        table: With the truth.
        labels: What is scored.
        thresholds: Of the binary labels.
        points: The frozen file that thresholds come from; it is recorded with the labels that use it.
        plan: What was planned, see `medai.evaluation.precision_plan.precision`; what was reached is recorded beside it.
    """
    evaluation = evaluate(
        table, labels, thresholds, seed=settings.seed, replicates=settings.replicates, group_by=settings.group_by,
        prevalences=settings.prevalences, interval=cast(Kind, settings.interval), stratify=settings.stratify,
        auroc_interval=cast(Area, settings.auroc_interval),
    )  # fmt: skip
    metrics = dict(evaluation.metrics)
    for name, record in metrics["labels"].items():
        if points is not None and record["kind"] == "binary" and name not in settings.thresholds:
            record["operating_point"] = points.record(name)
    if plan is not None:
        metrics["precision"] = planned_beside_reached(plan, metrics)
    return replace(evaluation, metrics=metrics)


def doubts_of(metrics: Mapping[str, Any]) -> list[str]:
    """What the figures themselves make doubtful, a line each.

    These are: few replicates, labels ranked upside down, and subgroups that were asked for and not made.

    Args:
        metrics: Of `figures`.
    """
    lines = few_replicates(metrics["replicates"])
    for name, record in metrics["labels"].items():
        high = record["auroc"]["high"] if record["kind"] == "binary" else None
        if high is not None and high < 0.5:
            what = f"label '{name}': the interval of the AUROC lies below 0.5, so the scores rank the cases upside down"
            lines.append(f"{what}; check the order of the classes, and which of them the truth calls 1")
    for name, reason in metrics["groups_left_out"].items():
        if name not in GROUP_BY or not reason.startswith(ABSENT):  # the usual columns may be absent, one that was asked for may not
            lines.append(f"no subgroups by '{name}': {reason}")
    return lines


def shaping(settings: EvaluateSettings, thresholds: Mapping[str, float]) -> dict[str, Any]:
    """Everything besides the model and the data that shapes the figures."""
    return {
        "seed": settings.seed, "replicates": settings.replicates, "group_by": list(settings.group_by), "thresholds": dict(thresholds),
        "prevalences": list(settings.prevalences), "interval": settings.interval, "stratify": settings.stratify,
        "auroc_interval": settings.auroc_interval,
    }  # fmt: skip


def frozen_points(settings: EvaluateSettings) -> OperatingPoints | None:
    """The frozen operating points that the settings name."""
    return read_points(Path(settings.operating_point)) if settings.operating_point else None


def known_thresholds(settings: EvaluateSettings, labels: Sequence[Label]) -> dict[str, float]:
    """Thresholds of the command line, each of a binary label that there is."""
    binary = [label.name for label in labels if label.kind == "binary"]
    for name in settings.thresholds:
        if name not in binary:
            raise MedaiError(f"thresholds.{name}: there is no such binary label; there are: {', '.join(binary) or 'none'}")
    return dict(settings.thresholds)


def check_output(folder: Path, *, pdf: bool = False) -> None:
    """Refuse before the work, and not after it, a folder that the results cannot replace, or a PDF that nothing can print."""
    if pdf:
        find_browser()
    if folder.exists() and not (folder.is_dir() and ((folder / "metrics.json").is_file() or not any(folder.iterdir()))):
        raise MedaiError(f"{folder.resolve()} exists already and holds other things; remove it or choose another output=…")
