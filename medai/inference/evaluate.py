"""Evaluate a candidate or a table: the only reader of held-out labels."""

import json
import time
from collections.abc import Mapping
from pathlib import Path

import polars as pl

from medai.cohort.cohort import Cohort
from medai.cohort.find import find_cohort
from medai.core.environment import versions
from medai.core.error import MedaiError
from medai.core.label import Label
from medai.core.progress import say
from medai.evaluation.evaluate import evaluate
from medai.evaluation.predictions import predictions_table
from medai.evaluation.report.context import CohortSummary, ReportContext
from medai.evaluation.results import cohort_summary, write_results
from medai.evaluation.table import infer_labels, read_predictions
from medai.inference.candidate import Candidate, open_candidate
from medai.inference.predict import predict_cases
from medai.inference.settings import EvaluateSettings
from medai.ingest.ingest import ingest
from medai.source.build import build_source
from medai.store.shard import NativePixels


def evaluate_candidate(settings: EvaluateSettings) -> Path:
    """Score a model on a split of a cohort, or a table of predictions.

    Returns:
        The folder with `predictions.parquet`, `metrics.json` and `report.html`.

    Raises:
        MedaiError: the candidate, the data and the labels do not fit together.
    """
    if settings.predictions:
        return _evaluate_table(settings, Path(settings.predictions))
    candidate = open_candidate(Path(settings.candidate or ""))
    cohort = _cohort(settings, candidate)
    _check_labels(candidate, cohort)
    cases = cohort.select(settings.split)
    if cases.is_empty():
        raise MedaiError(f"cohort {cohort.path} has no {settings.split} cases; choose another split=… or dataset=…")
    predicted = predict_cases(candidate, cohort, cases)
    thresholds = candidate.thresholds | _known(settings.thresholds, candidate.labels)
    table = predictions_table(predicted.cases, candidate.labels, predicted.outputs.probability, predicted.outputs.logit)
    evaluation = evaluate(table, candidate.labels, thresholds, seed=settings.seed, replicates=settings.replicates)
    context = ReportContext(
        title=settings.title or f"{_title(settings.split)} of {cohort.name}",
        cohort=cohort_summary(cohort, settings.split, predicted.cases),
        model=_describe(candidate),
        split=settings.split,
        threshold_origin=_origin(settings, candidate),
        intended_use=candidate.intended_use,
        looks_at_test=_count_look(cohort, candidate) if settings.split == "test" else None,
        created=time.strftime("%Y-%m-%d %H:%M"),
        versions=versions(),
        notes=_notes(predicted.refused, cohort),
    )
    folder = Path(settings.output) if settings.output else _folder(candidate, cohort, settings.split)
    origin = {
        "candidate": {"kind": candidate.kind, "hash": candidate.hash},
        "cohort": {"name": cohort.name, "hash": cohort.hash},
        "split": settings.split,
        "refused": predicted.refused,
        "looks_at_test": context.looks_at_test,
    }
    write_results(folder, evaluation, context, NativePixels(cohort.path), predicted.cases, origin)
    say(evaluation.headline)
    return folder


def _evaluate_table(settings: EvaluateSettings, path: Path) -> Path:
    table = read_predictions(path)
    labels = infer_labels(table)
    binary = [label.name for label in labels if label.kind == "binary"]
    thresholds = dict.fromkeys(binary, 0.5) | _known(settings.thresholds, labels)
    evaluation = evaluate(table, labels, thresholds, seed=settings.seed, replicates=settings.replicates)
    assumed = [name for name in binary if name not in settings.thresholds]
    context = ReportContext(
        title=settings.title or f"Evaluation of {path.name}",
        cohort=CohortSummary(path.name, analysed=len(table)),
        split=_split_of(table),
        threshold_origin=f"0.5, since none was given for {', '.join(assumed)}" if assumed else "given on the command line",
        created=time.strftime("%Y-%m-%d %H:%M"),
        versions=versions(),
        notes=("The scores came as a table: how they were made is not known to this program.",),
    )
    folder = Path(settings.output) if settings.output else path.with_name(f"{path.stem}-evaluation")
    write_results(folder, evaluation, context)
    say(evaluation.headline)
    return folder


def _cohort(settings: EvaluateSettings, candidate: Candidate) -> Cohort:
    """The cohort that is named, or the one that the candidate was trained on."""
    if settings.dataset is not None:
        node = dict(settings.dataset)
        if not node.get("targets"):
            node["targets"] = [label.to_dict() for label in candidate.labels]
        split = dict(node.get("split") or {})
        if not split.get("hold_out"):  # a folder of new cases is a test set as a whole
            node["split"] = split | {"test": 1.0, "validation": 0.0}
        return ingest(build_source(node), Path(settings.cohorts), workers=settings.workers, allow=settings.allow)
    return find_cohort(*candidate.cohort, Path(settings.cohorts))


def _check_labels(candidate: Candidate, cohort: Cohort) -> None:
    known = {label.name: label for label in cohort.labels}
    for label in candidate.labels:
        if label.name not in known:
            raise MedaiError(
                f"{candidate.path} predicts {label.name!r}; the cohort {cohort.name} has the labels {', '.join(known) or 'none'}"
            )
        if known[label.name].classes != label.classes:
            classes = f"{list(label.classes)} in the model, {list(known[label.name].classes)} in the cohort"
            raise MedaiError(f"label {label.name!r} has other classes: {classes}; map them with dataset.targets")


def _known(thresholds: Mapping[str, float], labels: tuple[Label, ...]) -> dict[str, float]:
    binary = [label.name for label in labels if label.kind == "binary"]
    for name in thresholds:
        if name not in binary:
            raise MedaiError(f"thresholds.{name}: there is no such binary label; there are: {', '.join(binary) or 'none'}")
    return dict(thresholds)


def _origin(settings: EvaluateSettings, candidate: Candidate) -> str:
    if settings.thresholds:
        return "given on the command line"
    return f"chosen on {candidate.threshold_source}"


def _describe(candidate: Candidate) -> dict[str, str]:
    described = {"Kind": candidate.kind, "Hash": candidate.hash[:16], "Trained on": candidate.cohort[1]}
    return {key: value for key, value in (described | candidate.facts).items() if value}


def _notes(refused: dict[str, str], cohort: Cohort) -> list[str]:
    notes = list(cohort.meta.get("notes", ()))
    if refused:
        name, reason = next(iter(refused.items()))
        notes.append(f"The model refused {len(refused)} images, which are not in the figures; the first is {name}: {reason}.")
    return notes


def _count_look(cohort: Cohort, candidate: Candidate) -> int:
    """Add a line to the cohort's list of looks at its test labels, beside the cohort; give their number."""
    path = cohort.path.with_name(f"{cohort.path.name}.looks.jsonl")
    look = {"time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "candidate": candidate.hash, "kind": candidate.kind}
    with open(path, "a", encoding="utf-8") as stream:
        stream.write(json.dumps(look) + "\n")
    return len(path.read_text(encoding="utf-8").splitlines())


def _folder(candidate: Candidate, cohort: Cohort, split: str) -> Path:
    base = candidate.path if candidate.kind == "checkpoint" else candidate.path.parent
    name = f"{cohort.name}-{split}" + ("" if candidate.kind == "checkpoint" else f"-{candidate.path.stem}")
    return base / "evaluation" / name


def _split_of(table: pl.DataFrame) -> str:
    splits = table["split"].drop_nulls().unique().to_list() if "split" in table.columns else []
    return str(splits[0]) if len(splits) == 1 else "as given"


def _title(split: str) -> str:
    return {"test": "Test", "validation": "Validation", "train": "Training cases"}[split]
