"""The comparison with another model on the same cases."""

from dataclasses import replace
from pathlib import Path

import polars as pl

from medai.cohort.cohort import Cohort
from medai.core.error import MedaiError
from medai.evaluation.comparison.compare import compare_tables
from medai.evaluation.evaluate import Evaluation
from medai.evaluation.predictions import predictions_table
from medai.evaluation.table import read_predictions
from medai.inference.candidate import open_candidate
from medai.inference.predict import predict_cases
from medai.inference.settings import EvaluateSettings

TABLES = (".csv", ".tsv", ".parquet", ".xlsx")


def compare_with_reference(
    settings: EvaluateSettings, evaluation: Evaluation, name: str, cohort: Cohort | None = None, cases: pl.DataFrame | None = None
) -> Evaluation:
    """The evaluation with `comparison` among its metrics, where the settings name a reference.

    Args:
        settings: Its `reference`, a table of predictions or a candidate, and the declared `margin`.
        evaluation: Of the model.
        name: The model's, for people.
        cohort: Holds the pixels, for a reference that is a model.
        cases: The evaluated cases with their labels, for a reference that is a model.

    Raises:
        MedaiError: the reference is neither, has other cases, or other labels.
    """
    if settings.reference is None:
        return evaluation
    path = Path(settings.reference)
    if path.suffix.lower() in TABLES:
        table, thresholds = read_predictions(path), dict(evaluation.thresholds)
    elif cohort is None or cases is None:
        raise MedaiError(f"reference={path} is no table of predictions, and a model needs images; name a CSV or Parquet table")
    else:
        table, thresholds = _predicted(settings, cohort, cases)
    other = path.stem if path.stem != name else f"{path.parent.name}/{path.stem}"
    known = {name: evaluation.thresholds, other: thresholds}
    compared = compare_tables(
        {name: evaluation.table, other: table}, thresholds=known, reference=other, margin=settings.margin, seed=settings.seed,
        replicates=settings.replicates, confidence=evaluation.metrics["confidence"],
    )  # fmt: skip
    return replace(evaluation, metrics=evaluation.metrics | {"comparison": compared})


def _predicted(settings: EvaluateSettings, cohort: Cohort, cases: pl.DataFrame) -> tuple[pl.DataFrame, dict[str, float]]:
    candidate = open_candidate(settings.reference or "", runs=settings.runs)
    predicted = predict_cases(candidate, cohort, cases)
    if predicted.refused:
        name, reason = next(iter(predicted.refused.items()))
        raise MedaiError(f"the reference {candidate.path} refuses {len(predicted.refused)} of the cases, e.g. {name}: {reason}")
    table = predictions_table(predicted.cases, candidate.labels, predicted.outputs.probability, predicted.outputs.logit)
    return table, candidate.thresholds
