"""The evaluation of a table of scores that somebody else made."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl

from medai.cohort.cohort import Cohort
from medai.cohort.schema import RECORD
from medai.core.environment import versions
from medai.core.error import MedaiError
from medai.core.file import hash_file
from medai.core.label import Label
from medai.core.progress import say
from medai.evaluation.frozen_point import OperatingPoints, thresholds_for
from medai.evaluation.predictions import scored_labels, with_truth
from medai.evaluation.report.context import CohortSummary, ReportContext
from medai.evaluation.results import cohort_summary, languages_of, write_results
from medai.evaluation.segmentation import evaluate_segmentation, segmentation_headline
from medai.evaluation.segmentation_results import write_segmentation_results
from medai.evaluation.segmentation_table import holds_segmentation, read_segmentation
from medai.evaluation.table import check_against, check_keys, check_predictions, infer_labels, one_class, read_predictions
from medai.evaluation.table_file import read_table
from medai.inference.figures import check_output, doubts_of, figures, frozen_points, known_thresholds
from medai.inference.looks import Looks
from medai.inference.plan import precision_record
from medai.inference.reference import compare_with_reference, open_reference, reference_notes
from medai.inference.sealed import Contender, evaluate_sealed
from medai.inference.settings import EvaluateSettings
from medai.inference.tracked import ScoredTable, track
from medai.store.shard import NativePixels

MISSING = "missing-cases"  # what allow= names to score a table that lacks cases of the cohort
ELSEWHERE = "The scores came as a table: how they were made is not known to this program."
MEASURED_ELSEWHERE = "The measures came as a table: how they were made is not known to this program."
CohortOf = Callable[[tuple[Label, ...]], Cohort]


def evaluate_table(settings: EvaluateSettings, path: Path, cohort_of: CohortOf) -> Path:
    """Score a table of predictions or of per-case segmentation measures.

    Args:
        settings: With `predictions`, and perhaps `dataset`: then the truth comes from the cohort.
        path: The table.
        cohort_of: The cohort of the settings.

    Raises:
        MedaiError: the table is faulty, or does not fit the cohort.
    """
    folder = Path(settings.output) if settings.output else path.with_name(f"{path.stem}-evaluation")
    check_output(folder, pdf=settings.pdf)
    raw = read_table(path)
    if holds_segmentation(raw):
        return _evaluate_segmentation(settings, path, folder)
    _check_cohorts(settings)
    cohort = cohort_of(()) if settings.dataset is not None or (Path(settings.cohorts) / RECORD).is_file() else None
    if settings.seal_key is not None and not (cohort and cohort.sealed and settings.split == "test"):
        what = f"seal_key= is set, and {path} is not held against a sealed test set"
        raise MedaiError(f"{what}; name its cohort with cohorts=<its folder>, or leave the key out")
    missing: tuple[str, ...] = ()
    if cohort is None:
        table = read_predictions(path)
        labels, cases, looks = infer_labels(table), None, None
    elif settings.split == "test" and cohort.sealed:
        return evaluate_sealed(settings, _contender(settings, path, raw, cohort), cohort, folder, _title(settings, path))
    else:
        cases = cohort.select(settings.split)
        scores = check_keys(raw)
        labels = scored_labels(scores, cohort.labels)
        missing = check_against(
            cases["case_id"].to_list(), scores, allow_missing=MISSING in settings.allow, name=f"the {settings.split} part of {cohort.name}"
        )
        looks = Looks.open(cohort) if settings.split == "test" else None
        table = check_predictions(with_truth(scores, cases, labels), labels)
        cases = cases.filter(pl.col("case_id").is_in(table["case_id"].implode()))
    thresholds, origin, points = _thresholds(settings, labels)
    plan = precision_record(cohort, labels) if cohort and looks else None
    reference = open_reference(settings, cohort)
    compared = reference_notes(settings, reference, cohort, cases)
    evaluation = figures(settings, table, labels, thresholds, points, plan)
    evaluation = compare_with_reference(settings, evaluation, path.stem, reference, cohort, cases)
    doubts = [*one_class(table, labels), *doubts_of(evaluation.metrics)]
    for line in doubts:
        say(line)
    notes = [ELSEWHERE, *compared, *doubts]
    if missing:
        notes.append(f"{len(missing)} cases of the cohort are not in the table and not in the figures; the first is {missing[0]}.")
    context = ReportContext(
        title=_title(settings, path),
        cohort=cohort_summary(cohort, settings.split, cases)
        if cohort and cases is not None
        else CohortSummary(path.name, analysed=len(table)),
        split=settings.split if cohort else _split_of(table),
        threshold_origin=origin,
        looks_at_test=looks.count(hash_file(path), "table") if looks else None,
        created=time.strftime("%Y-%m-%d %H:%M"),
        versions=versions(),
        notes=notes,
        maps_note="" if settings.saliency == "none" else "No saliency maps: a table of predictions holds no network.",
    )
    about: dict[str, Any] = {"candidate": {"kind": "table", "hash": hash_file(path)}, "split": context.split}
    if cohort:
        about |= {"cohort": {"name": cohort.name, "hash": cohort.hash}, "looks_at_test": context.looks_at_test}
    write_results(
        folder, evaluation, context, NativePixels(cohort.path) if cohort else None, cases, about,
        languages=languages_of(settings.language), pdf=settings.pdf,
    )  # fmt: skip
    say(evaluation.headline)
    track(settings, ScoredTable(path, hash_file(path)), evaluation.metrics, folder)
    return folder


def _check_cohorts(settings: EvaluateSettings) -> None:
    """Refuse a misspelt cohort: the table would be held against nothing, and its missing cases and the look would go uncounted."""
    named = settings.cohorts != EvaluateSettings.cohorts
    if settings.dataset is None and named and not Path(settings.cohorts).is_dir():
        what = f"cohorts={settings.cohorts} does not exist"
        raise MedaiError(f"{what}; name the cohort that has the truth, or leave cohorts= out and the table's own truth is used")


def _evaluate_segmentation(settings: EvaluateSettings, path: Path, folder: Path) -> Path:
    """A table of Dice, NSD or HD95 a case."""
    table = read_segmentation(path)
    metrics = evaluate_segmentation(table, group_by=settings.group_by, seed=settings.seed, replicates=settings.replicates)
    context = ReportContext(
        title=_title(settings, path),
        cohort=CohortSummary(path.name, analysed=len(table)),
        split=_split_of(table),
        created=time.strftime("%Y-%m-%d %H:%M"),
        versions=versions(),
        notes=[MEASURED_ELSEWHERE],
    )
    digest = hash_file(path)
    languages, origin = languages_of(settings.language), {"table": {"hash": digest}}
    write_segmentation_results(folder, table, metrics, context, origin, languages=languages, pdf=settings.pdf)
    say(segmentation_headline(metrics))
    track(settings, ScoredTable(path, digest), metrics, folder)
    return folder


def _contender(settings: EvaluateSettings, path: Path, raw: pl.DataFrame, cohort: Cohort) -> Contender:
    scores = check_keys(raw)
    labels = scored_labels(scores, cohort.labels)
    thresholds, origin, _ = _thresholds(settings, labels)
    assumed = dict.fromkeys(thresholds, 0.5)
    given = {name: value for name, value in thresholds.items() if value != 0.5}
    return Contender(hash_file(path), "table", labels, assumed, given, origin, lambda session: session.join(scores, labels))


def _title(settings: EvaluateSettings, path: Path) -> str:
    return settings.title or f"Evaluation of {path.name}"


def _thresholds(settings: EvaluateSettings, labels: tuple[Label, ...]) -> tuple[dict[str, float], str, OperatingPoints | None]:
    """Thresholds, where they come from in words, and the frozen file."""
    given, points = known_thresholds(settings, labels), frozen_points(settings)
    if points is not None:
        rest = f"; {', '.join(sorted(given))} given on the command line" if given else ""
        return thresholds_for(points, labels) | given, f"chosen on {points.origin}{rest}", points
    binary = [label.name for label in labels if label.kind == "binary"]
    assumed = [name for name in binary if name not in given]
    origin = f"0.5, since none was given for {', '.join(assumed)}" if assumed else "given on the command line"
    return dict.fromkeys(binary, 0.5) | given, origin, None


def _split_of(table: pl.DataFrame) -> str:
    splits = table["split"].drop_nulls().unique().to_list() if "split" in table.columns else []
    return str(splits[0]) if len(splits) == 1 else "as given"
