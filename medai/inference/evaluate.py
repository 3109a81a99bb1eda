"""Evaluate a candidate or a table: the only reader of held-out labels."""

import time
from pathlib import Path

import polars as pl

from medai.cohort.cohort import Cohort
from medai.cohort.find import find_cohort
from medai.cohort.schema import RECORD
from medai.core.environment import versions
from medai.core.error import MedaiError
from medai.core.label import Label
from medai.core.progress import say
from medai.evaluation.frozen_point import OperatingPoints, thresholds_for
from medai.evaluation.predictions import predictions_table
from medai.evaluation.report.context import ReportContext
from medai.evaluation.results import Explainer, cohort_summary, languages_of, write_results
from medai.evaluation.table import one_class
from medai.inference.candidate import Candidate, CheckpointCandidate, PackageCandidate, open_candidate
from medai.inference.dry_run import dry_run
from medai.inference.figures import check_output, doubts_of, figures, frozen_points, known_thresholds
from medai.inference.looks import Looks
from medai.inference.plan import precision_record
from medai.inference.predict import predict_cases
from medai.inference.reference import compare_with_reference, open_reference, reference_notes
from medai.inference.sealed import Contender, evaluate_sealed
from medai.inference.settings import EvaluateSettings
from medai.inference.table import evaluate_table
from medai.inference.tracked import track
from medai.inference.unseen import check_unseen
from medai.ingest.ingest import ingest
from medai.seal.session import SealedSession
from medai.source.build import build_source
from medai.store.shard import NativePixels


def evaluate_candidate(settings: EvaluateSettings) -> Path:
    """Score a model on a split of a cohort, or a table of predictions.

    Returns:
        The folder with `predictions.parquet`, `metrics.json` and `report.html`; of a dry run, that with `dry_run.html`.

    Raises:
        MedaiError: the candidate, the data and the labels do not fit together.
    """
    if settings.predictions:
        return evaluate_table(settings, Path(settings.predictions), lambda labels: cohort_of(settings, labels))
    candidate = open_candidate(settings.candidate or "", contract=settings.contract, runs=settings.runs)
    cohort = cohort_of(settings, candidate.labels, candidate)
    _check_labels(candidate, cohort)
    folder = Path(settings.output) if settings.output else _folder(candidate, cohort, settings)
    if settings.dry_run:
        return dry_run(candidate, cohort, settings.split, folder, languages_of(settings.language)).parent
    check_output(folder, pdf=settings.pdf)
    thresholds, points = operating_points(settings, candidate)
    title = settings.title or f"{_title(settings.split)} of {cohort.name}"
    origin = _origin(settings, candidate, points)
    if settings.split == "test" and cohort.sealed:
        unseen = check_unseen(settings, candidate, cohort, cohort.unlabelled_test())
        return evaluate_sealed(settings, _contender(candidate, cohort, thresholds, origin, unseen), cohort, folder, title)
    if settings.seal_key is not None:
        raise MedaiError(f"seal_key= is set, and the {settings.split} labels of {cohort.path} are not sealed; leave it out")
    cases = cohort.select(settings.split)
    if cases.is_empty():
        raise MedaiError(f"cohort {cohort.path} has no {settings.split} cases; choose another split=… or dataset=…")
    reference = open_reference(settings, cohort)
    notes = [*check_unseen(settings, candidate, cohort, cases), *reference_notes(settings, reference, cohort, cases)]
    plan = precision_record(cohort, candidate.labels) if settings.split == "test" else None
    looks = Looks.open(cohort) if settings.split == "test" else None
    predicted = predict_cases(candidate, cohort, cases)
    table = predictions_table(predicted.cases, candidate.labels, predicted.outputs.probability, predicted.outputs.logit)
    evaluation = figures(settings, table, candidate.labels, thresholds, points, plan)
    evaluation = compare_with_reference(settings, evaluation, candidate.path.stem, reference, cohort, predicted.cases)
    doubts = [*candidate.doubts(), *one_class(table, candidate.labels), *doubts_of(evaluation.metrics)]
    explainer, maps = _explainer(settings, candidate)
    context = ReportContext(
        title=title,
        cohort=cohort_summary(cohort, settings.split, predicted.cases),
        model=_describe(candidate),
        split=settings.split,
        threshold_origin=origin,
        intended_use=candidate.intended_use,
        looks_at_test=looks.count(candidate.hash, candidate.kind) if looks else None,
        created=time.strftime("%Y-%m-%d %H:%M"),
        versions=versions(),
        notes=[*notes, *doubts, *_notes(predicted.refused, cohort)],
        **maps,
    )
    about = {
        "candidate": {"kind": candidate.kind, "hash": candidate.hash},
        "cohort": {"name": cohort.name, "hash": cohort.hash},
        "split": settings.split,
        "refused": predicted.refused,
        "looks_at_test": context.looks_at_test,
    }
    write_results(
        folder, evaluation, context, NativePixels(cohort.path), predicted.cases, about, explainer,
        languages=languages_of(settings.language), pdf=settings.pdf,
    )  # fmt: skip
    for line in doubts:
        say(line)
    say(evaluation.headline)
    track(settings, candidate, evaluation.metrics, folder)
    return folder


def operating_points(settings: EvaluateSettings, candidate: Candidate) -> tuple[dict[str, float], OperatingPoints | None]:
    """The thresholds: those given on the command line before those of the frozen file before the candidate's own."""
    points = frozen_points(settings)
    same = isinstance(candidate, PackageCandidate) and points is not None and points.model == candidate.checkpoint  # its own checkpoint
    frozen = thresholds_for(points, candidate.labels, model="" if same else candidate.hash) if points else {}
    return candidate.thresholds | frozen | known_thresholds(settings, candidate.labels), points


def cohort_of(settings: EvaluateSettings, labels: tuple[Label, ...], candidate: Candidate | None = None) -> Cohort:
    """The data set or the one cohort that is named, or else the cohort that the candidate was trained on."""
    if settings.dataset is not None:
        node = dict(settings.dataset)
        if not node.get("targets"):
            node["targets"] = [label.to_dict() for label in labels]
        split = dict(node.get("split") or {})
        if not split.get("hold_out") and split.get("test") is None:  # new cases are a test set as a whole, unless they say otherwise
            node["split"] = split | {"test": 1.0}
        return ingest(build_source(node), Path(settings.cohorts), workers=settings.workers, allow=settings.allow)
    if (Path(settings.cohorts) / RECORD).is_file():  # what is named goes before what the candidate remembers
        return Cohort.open(Path(settings.cohorts))
    if candidate is not None and candidate.cohort[0]:
        return find_cohort(*candidate.cohort, Path(settings.cohorts))
    what = candidate.path if candidate else settings.predictions
    raise MedaiError(f"{what} brings no cohort of its own; name the data with dataset=…, or one cohort with cohorts=<its folder>")


def _contender(candidate: Candidate, cohort: Cohort, thresholds: dict[str, float], origin: str, notes: list[str]) -> Contender:
    def predict(session: SealedSession) -> pl.DataFrame:
        predicted = predict_cases(candidate, cohort, session.cases())
        outputs = predicted.outputs
        return predictions_table(session.with_labels(predicted.cases), candidate.labels, outputs.probability, outputs.logit)

    given = {name: value for name, value in thresholds.items() if candidate.thresholds.get(name) != value}
    return Contender(
        candidate.hash, candidate.kind, candidate.labels, candidate.thresholds, given, origin, predict,
        _describe(candidate), candidate.intended_use, lambda: [*notes, *candidate.doubts()],
    )  # fmt: skip


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
        kind = {"onnx": "vendor's ONNX file", "torch": "network of someone else"}.get(candidate.kind, candidate.kind)
        return None, {"maps_note": f"No saliency maps: a {kind} gives no gradients; evaluate the run to see them."}
    from medai.interpretation.explain import explainer_of

    explainer, note = explainer_of(candidate.predictor, settings.saliency)
    if note:
        say(note)
    return explainer, {"maps": explainer.method if explainer else "", "maps_note": note}


def _origin(settings: EvaluateSettings, candidate: Candidate, points: OperatingPoints | None) -> str:
    given = sorted(settings.thresholds)
    if len(given) == sum(label.kind == "binary" for label in candidate.labels):
        return "given on the command line"
    chosen = f"chosen on {candidate.threshold_source}" if candidate.cohort[0] else candidate.threshold_source
    chosen = f"chosen on {points.origin}" if points else chosen
    return chosen + (f"; {', '.join(given)} given on the command line" if given else "")


def _describe(candidate: Candidate) -> dict[str, str]:
    described = {"Kind": candidate.kind, "Hash": candidate.hash[:16], "Trained on": candidate.cohort[1]}
    return {key: value for key, value in (described | candidate.facts).items() if value}


def _notes(refused: dict[str, str], cohort: Cohort) -> list[str]:
    notes = list(cohort.meta.get("notes", ()))
    if refused:
        name, reason = next(iter(refused.items()))
        notes.append(f"The model refused {len(refused)} images, which are not in the figures; the first is {name}: {reason}.")
    return notes


def _folder(candidate: Candidate, cohort: Cohort, settings: EvaluateSettings) -> Path:
    base = candidate.path if candidate.kind == "checkpoint" else candidate.path.parent
    name = f"{cohort.name}-{settings.split}-{cohort.hash[:8]}" + ("" if candidate.kind == "checkpoint" else f"-{candidate.path.stem}")
    return base / "evaluation" / (f"{name}-dry" if settings.dry_run else name)


def _title(split: str) -> str:
    return {"test": "Test", "validation": "Validation", "train": "Training cases"}[split]
