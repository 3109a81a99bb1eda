"""The comparison with another model on the same cases."""

from dataclasses import replace
from pathlib import Path

import polars as pl

from medai.cohort.cohort import Cohort
from medai.core.error import MedaiError
from medai.core.file import read_json
from medai.evaluation.comparison.compare import compare_tables
from medai.evaluation.evaluate import Evaluation
from medai.evaluation.predictions import predictions_table, scored_labels, with_truth
from medai.evaluation.table import check_keys, check_predictions, read_predictions
from medai.evaluation.table_file import read_table
from medai.inference.candidate import open_candidate
from medai.inference.predict import predict_cases
from medai.inference.settings import EvaluateSettings

TABLES = (".csv", ".tsv", ".parquet", ".xlsx")  # the last one for its message, which says to save it as CSV


def compare_with_reference(
    settings: EvaluateSettings, evaluation: Evaluation, name: str, cohort: Cohort | None = None, cases: pl.DataFrame | None = None
) -> Evaluation:
    """The evaluation with `comparison` among its metrics, where the settings name a reference.

    Args:
        settings: Its `reference`, a table of predictions or a candidate, and the declared `margin`.
        evaluation: Of the model.
        name: The model's, for people.
        cohort: Holds the pixels, for a reference that is a model.
        cases: The evaluated cases with their labels, for a reference that is a model, or a table without the truth.

    Raises:
        MedaiError: the reference is neither, has other cases, or other labels.
    """
    if settings.reference is None:
        return evaluation
    path = Path(settings.reference)
    if path.suffix.lower() in TABLES:
        table, thresholds = _read(path, evaluation, cases), _thresholds(settings, path, evaluation)
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


def _read(path: Path, evaluation: Evaluation, cases: pl.DataFrame | None) -> pl.DataFrame:
    """A table of scores, with the truth of the cohort where there is one."""
    if cases is None:
        return read_predictions(path)
    try:
        scores = check_keys(read_table(path))
        labels = scored_labels(scores, evaluation.labels)
        strange = scores.join(cases.select(pl.col("case_id").cast(pl.String)), on="case_id", how="anti")
        if len(strange):
            raise MedaiError(f"case {strange['case_id'][0]!r} is not among the evaluated ones ({len(strange):,} such rows); leave it out")
        return check_predictions(with_truth(scores, cases, labels), labels)
    except MedaiError as error:
        raise MedaiError(str(error) if str(path) in str(error) else f"{path}: {error}") from None


def _thresholds(settings: EvaluateSettings, path: Path, evaluation: Evaluation) -> dict[str, float]:
    """Those of a table of scores: of the evaluation that it comes from, above them those of the command line.

    A threshold that was frozen for the model says nothing of another one's scores. A table that is evaluated without any has 0.5, and so
    has the one that it is compared with.
    """
    assumed = dict.fromkeys(evaluation.thresholds, 0.5) if settings.predictions and not settings.operating_point else {}
    beside = path.with_name("metrics.json")
    record = read_json(beside) if path.name == "predictions.parquet" and beside.is_file() else {}
    labels = record.get("labels", {}) if isinstance(record, dict) else {}
    own = {name: float(each["threshold"]) for name, each in labels.items() if each.get("threshold") is not None}
    return assumed | own | settings.thresholds


def _predicted(settings: EvaluateSettings, cohort: Cohort, cases: pl.DataFrame) -> tuple[pl.DataFrame, dict[str, float]]:
    candidate = open_candidate(settings.reference or "", runs=settings.runs)
    predicted = predict_cases(candidate, cohort, cases)
    if predicted.refused:
        name, reason = next(iter(predicted.refused.items()))
        raise MedaiError(f"the reference {candidate.path} refuses {len(predicted.refused)} of the cases, e.g. {name}: {reason}")
    table = predictions_table(predicted.cases, candidate.labels, predicted.outputs.probability, predicted.outputs.logit)
    return table, candidate.thresholds
