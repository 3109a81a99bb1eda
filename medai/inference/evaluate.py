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
from medai.evaluation.results import Explainer, cohort_summary, write_results
from medai.evaluation.table import infer_labels, read_predictions
from medai.inference.candidate import Candidate, CheckpointCandidate, open_candidate
from medai.inference.predict import predict_cases
from medai.inference.settings import EvaluateSettings
from medai.ingest.ingest import ingest
from medai.source.build import build_source
from medai.store.shard import NativePixels

SEEN = "seen-images"  # what allow= names to score a model on images of its own development


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
    folder = Path(settings.output) if settings.output else _folder(candidate, cohort, settings.split)
    _check_output(folder)
    notes = _check_unseen(settings, candidate, cohort, cases)
    looks = _looks(cohort) if settings.split == "test" else None
    predicted = predict_cases(candidate, cohort, cases)
    thresholds = candidate.thresholds | _known(settings.thresholds, candidate.labels)
    table = predictions_table(predicted.cases, candidate.labels, predicted.outputs.probability, predicted.outputs.logit)
    evaluation = evaluate(table, candidate.labels, thresholds, seed=settings.seed, replicates=settings.replicates)
    explainer, maps = _explainer(settings, candidate)
    context = ReportContext(
        title=settings.title or f"{_title(settings.split)} of {cohort.name}",
        cohort=cohort_summary(cohort, settings.split, predicted.cases),
        model=_describe(candidate),
        split=settings.split,
        threshold_origin=_origin(settings, candidate),
        intended_use=candidate.intended_use,
        looks_at_test=_count_look(looks, candidate) if looks else None,
        created=time.strftime("%Y-%m-%d %H:%M"),
        versions=versions(),
        notes=[*notes, *_notes(predicted.refused, cohort)],
        **maps,
    )
    origin = {
        "candidate": {"kind": candidate.kind, "hash": candidate.hash},
        "cohort": {"name": cohort.name, "hash": cohort.hash},
        "split": settings.split,
        "refused": predicted.refused,
        "looks_at_test": context.looks_at_test,
    }
    write_results(folder, evaluation, context, NativePixels(cohort.path), predicted.cases, origin, explainer)
    say(evaluation.headline)
    return folder


def _evaluate_table(settings: EvaluateSettings, path: Path) -> Path:
    folder = Path(settings.output) if settings.output else path.with_name(f"{path.stem}-evaluation")
    _check_output(folder)
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
        maps_note="" if settings.saliency == "none" else "No saliency maps: a table of predictions holds no network.",
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
        if not split.get("hold_out") and split.get("test") is None:  # new cases are a test set as a whole, unless they say otherwise
            node["split"] = split | {"test": 1.0}
        return ingest(build_source(node), Path(settings.cohorts), workers=settings.workers, allow=settings.allow)
    return find_cohort(*candidate.cohort, Path(settings.cohorts))


def _check_unseen(settings: EvaluateSettings, candidate: Candidate, cohort: Cohort, cases: pl.DataFrame) -> list[str]:
    """Refuse to score a model on images that it was developed on.

    Returns:
        What the report has to say of it.
    """
    if settings.dataset is None:
        return _check_split(settings, candidate)
    try:
        own = find_cohort(*candidate.cohort, Path(settings.cohorts))
    except MedaiError:
        return ["The cohort of the model's development is not here: whether it has seen some of these images was not checked."]
    if own.hash == cohort.hash:
        return _check_split(settings, candidate)
    if own.meta.get("public") != cohort.meta.get("public") or own.meta.get("key_identity") != cohort.meta.get("key_identity"):
        unchecked = "Whether the model has seen some of these images was not checked: the two cohorts were keyed in different ways."
        say(unchecked)
        return [unchecked]
    development = own.cases().filter(pl.col("partition") == "development")["pixel_hash"]
    seen = cases["pixel_hash"].is_in(development.implode()).sum()
    if seen and SEEN not in settings.allow:
        what = f"{seen} of the {len(cases)} images are in the development set of {candidate.path}, so the figures would be too good"
        raise MedaiError(f"{what}; name other data, or override with allow=[{SEEN}]")
    return [f"{seen} of these images were in the development set of the model: the figures are too good."] if seen else []


def _check_split(settings: EvaluateSettings, candidate: Candidate) -> list[str]:
    """On a model's own cohort the ingest kept the splits apart; but a cross-validation trains on validation cases, too."""
    if settings.split != "validation" or candidate.seen == "train":
        return []
    if SEEN not in settings.allow:
        what = f"{candidate.path} comes from a cross-validation, which trained on validation cases too, so the figures would be too good"
        raise MedaiError(f"{what}; those on held-out cases are in the run's validation/, or override with allow=[{SEEN}]")
    return ["The model was trained on validation cases too, in a cross-validation: the figures are too good."]


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


def _explainer(settings: EvaluateSettings, candidate: Candidate) -> tuple[Explainer | None, dict[str, str]]:
    """What makes the gallery's maps, and what the report says of them. Torch is there only with a checkpoint."""
    if settings.saliency == "none":
        return None, {}
    if not isinstance(candidate, CheckpointCandidate):
        return None, {"maps_note": f"No saliency maps: a {candidate.kind} gives no gradients; evaluate the run to see them."}
    from medai.interpretation.explain import explainer_of

    explainer, note = explainer_of(candidate.predictor, settings.saliency)
    if note:
        say(note)
    return explainer, {"maps": explainer.method if explainer else "", "maps_note": note}


def _check_output(folder: Path) -> None:
    """Refuse a folder that the results cannot replace before the work, and not after it."""
    if folder.exists() and not (folder.is_dir() and ((folder / "metrics.json").is_file() or not any(folder.iterdir()))):
        raise MedaiError(f"{folder.resolve()} exists already and holds other things; remove it or choose another output=…")


def _known(thresholds: Mapping[str, float], labels: tuple[Label, ...]) -> dict[str, float]:
    binary = [label.name for label in labels if label.kind == "binary"]
    for name in thresholds:
        if name not in binary:
            raise MedaiError(f"thresholds.{name}: there is no such binary label; there are: {', '.join(binary) or 'none'}")
    return dict(thresholds)


def _origin(settings: EvaluateSettings, candidate: Candidate) -> str:
    given = sorted(settings.thresholds)
    if len(given) == sum(label.kind == "binary" for label in candidate.labels):
        return "given on the command line"
    return f"chosen on {candidate.threshold_source}" + (f"; {', '.join(given)} given on the command line" if given else "")


def _describe(candidate: Candidate) -> dict[str, str]:
    described = {"Kind": candidate.kind, "Hash": candidate.hash[:16], "Trained on": candidate.cohort[1]}
    return {key: value for key, value in (described | candidate.facts).items() if value}


def _notes(refused: dict[str, str], cohort: Cohort) -> list[str]:
    notes = list(cohort.meta.get("notes", ()))
    if refused:
        name, reason = next(iter(refused.items()))
        notes.append(f"The model refused {len(refused)} images, which are not in the figures; the first is {name}: {reason}.")
    return notes


def _looks(cohort: Cohort) -> Path:
    """The list of looks at the cohort's test labels, beside the cohort. It is opened before the work, so that no look goes uncounted."""
    path = cohort.path.parent / "looks" / f"{cohort.name}-{cohort.hash[:16]}.jsonl"
    try:
        path.parent.mkdir(exist_ok=True)
        path.touch()
    except OSError as error:
        raise MedaiError(
            f"the list of looks at the test labels, {path}, cannot be written ({error.strerror}); use a copy of the cohort"
        ) from None
    return path


def _count_look(path: Path, candidate: Candidate) -> int:
    """Add a look; give their number."""
    look = {"time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "candidate": candidate.hash, "kind": candidate.kind}
    with open(path, "a", encoding="utf-8") as stream:
        stream.write(json.dumps(look) + "\n")
    return len(path.read_text(encoding="utf-8").splitlines())


def _folder(candidate: Candidate, cohort: Cohort, split: str) -> Path:
    base = candidate.path if candidate.kind == "checkpoint" else candidate.path.parent
    name = f"{cohort.name}-{split}-{cohort.hash[:8]}" + ("" if candidate.kind == "checkpoint" else f"-{candidate.path.stem}")
    return base / "evaluation" / name


def _split_of(table: pl.DataFrame) -> str:
    splits = table["split"].drop_nulls().unique().to_list() if "split" in table.columns else []
    return str(splits[0]) if len(splits) == 1 else "as given"


def _title(split: str) -> str:
    return {"test": "Test", "validation": "Validation", "train": "Training cases"}[split]
