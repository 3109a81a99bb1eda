"""The comparison with another model on the same cases."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from medai.cohort.cohort import Cohort
from medai.core.error import MedaiError
from medai.core.file import hash_file, read_json
from medai.core.label import Label
from medai.evaluation.comparison.compare import compare_tables
from medai.evaluation.evaluate import Evaluation
from medai.evaluation.predictions import predictions_table, scored_labels, with_truth
from medai.evaluation.table import check_keys, check_predictions, read_predictions
from medai.evaluation.table_file import read_table
from medai.inference.candidate import Candidate, open_candidate
from medai.inference.predict import predict_cases
from medai.inference.settings import EvaluateSettings
from medai.inference.unseen import check_unseen
from medai.seal.session import SealedSession

TABLES = (".csv", ".tsv", ".parquet", ".xlsx")  # the last one for its message, which says to save it as CSV


@dataclass(frozen=True)
class Reference:
    """What is compared with.

    Attributes:
        path: As the settings name it.
        candidate: The model; None for a table of predictions.
    """

    path: Path
    candidate: Candidate | None

    @property
    def hash(self) -> str:
        """Of all bytes of the model, or of the table's file."""
        return self.candidate.hash if self.candidate else hash_file(self.path)


def open_reference(settings: EvaluateSettings, cohort: Cohort | None) -> Reference | None:
    """What the settings name as `reference`; None where they name nothing.

    Args:
        settings: Of the evaluation.
        cohort: Holds the pixels, for a reference that is a model.

    Raises:
        MedaiError: it does not exist, is neither a table nor a model, or is a model and there are no images.
    """
    if settings.reference is None:
        return None
    path = Path(settings.reference)
    if path.suffix.lower() in TABLES:
        if not path.is_file():
            raise MedaiError(f"reference={path} does not exist; name a table of predictions or a model")
        return Reference(path, None)
    if cohort is None:
        raise MedaiError(f"reference={path} is no table of predictions, and a model needs images; name a CSV or Parquet table")
    return Reference(path, open_candidate(settings.reference, runs=settings.runs))


def reference_notes(
    settings: EvaluateSettings, reference: Reference | None, cohort: Cohort | None, cases: pl.DataFrame | None
) -> list[str]:
    """Check that a reference has not seen the images, as the candidate is checked; what the report has to say of it.

    Raises:
        MedaiError: images of its development are among them, and `allow` does not say so.
    """
    if reference is None:
        return []
    if reference.candidate is None or cohort is None or cases is None:
        return ["The reference came as a table: whether its model has seen some of these images is not known to this program."]
    return check_unseen(settings, reference.candidate, cohort, cases, "reference")


def compare_with_reference(
    settings: EvaluateSettings, evaluation: Evaluation, name: str, reference: Reference | None, cohort: Cohort | None = None,
    cases: pl.DataFrame | None = None,
) -> Evaluation:  # fmt: skip
    """The evaluation with `comparison` among its metrics, where there is a reference.

    Args:
        settings: With the declared `margin`.
        evaluation: Of the model.
        name: The model's, for people.
        reference: From `open_reference`.
        cohort: Holds the pixels, for a reference that is a model.
        cases: The evaluated cases with their labels, for a reference that is a model, or a table without the truth.

    Raises:
        MedaiError: the reference has other cases, or other labels.
    """
    if reference is None:
        return evaluation
    path = reference.path
    if reference.candidate is None:
        table, thresholds = _read(path, evaluation, cases), _thresholds(settings, path, evaluation)
    else:
        assert cohort is not None
        assert cases is not None
        table, thresholds = _predicted(reference.candidate, cohort, cases), reference.candidate.thresholds
    other = path.stem if path.stem != name else f"{path.parent.name}/{path.stem}"
    known = {name: evaluation.thresholds, other: thresholds}
    compared = compare_tables(
        {name: evaluation.table, other: table}, thresholds=known, reference=other, margin=settings.margin, seed=settings.seed,
        replicates=settings.replicates, confidence=evaluation.metrics["confidence"],
    )  # fmt: skip
    return replace(evaluation, metrics=evaluation.metrics | {"comparison": compared})


def sealed_scores(reference: Reference, session: SealedSession, labels: Sequence[Label]) -> pl.DataFrame:
    """The reference's `case_id` and `probability.…` of the sealed cases, made and checked before the labels open.

    Args:
        reference: A model or a table.
        session: Of the sealed test set.
        labels: That it has to predict.

    Raises:
        MedaiError: it refuses a case, leaves cases or a label out, or has scores that are none.
    """
    try:
        if reference.candidate is not None:
            table = _predicted(reference.candidate, session.cohort, session.cases())
        else:
            table = check_keys(read_table(reference.path))
        return session.check_scores(table, labels)
    except MedaiError as error:
        raise MedaiError(str(error) if str(reference.path) in str(error) else f"the reference {reference.path}: {error}") from None


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


def _predicted(candidate: Candidate, cohort: Cohort, cases: pl.DataFrame) -> pl.DataFrame:
    predicted = predict_cases(candidate, cohort, cases)
    if predicted.refused:
        name, reason = next(iter(predicted.refused.items()))
        raise MedaiError(f"the reference {candidate.path} refuses {len(predicted.refused)} of the cases, e.g. {name}: {reason}")
    return predictions_table(predicted.cases, candidate.labels, predicted.outputs.probability, predicted.outputs.logit)
