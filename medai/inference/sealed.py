"""The evaluation on a sealed test set: what may be shown of it, and nothing else."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import polars as pl

from medai.cohort.cohort import Cohort
from medai.core.environment import versions
from medai.core.error import MedaiError
from medai.core.label import Label
from medai.core.progress import say
from medai.evaluation.evaluate import Evaluation
from medai.evaluation.group import groups_of
from medai.evaluation.report.context import ReportContext
from medai.evaluation.results import languages_of, write_results
from medai.inference.figures import figures, shaping
from medai.inference.reference import Reference, open_reference, reference_notes, sealed_scores
from medai.inference.settings import EvaluateSettings
from medai.seal.conclusion import declared_margin
from medai.seal.results import comparison_sentence, sealed_headline, sealed_summary
from medai.seal.session import SealedSession
from medai.seal.suppression import public_table


@dataclass(frozen=True)
class Contender:
    """Whoever is evaluated on a sealed test set.

    Attributes:
        hash: Of all its bytes.
        kind: E.g. ``"checkpoint"`` or ``"table"``.
        labels: What it predicts.
        thresholds: That it froze on its own validation cases.
        given: For this evaluation, on the command line or in a file.
        origin: Where thresholds come from, in words.
        predict: The predictions on the sealed cases with their truth, made in this order.
        model: Facts for the report.
        intended_use: For the report.
        doubts: Further sentences for the report, asked for after the predictions.
    """

    hash: str
    kind: str
    labels: Sequence[Label]
    thresholds: Mapping[str, float]
    given: Mapping[str, float]
    origin: str
    predict: Callable[[SealedSession], pl.DataFrame]
    model: Mapping[str, str] = field(default_factory=dict)
    intended_use: str = ""
    doubts: Callable[[], Sequence[str]] = tuple


def evaluate_sealed(settings: EvaluateSettings, contender: Contender, cohort: Cohort, folder: Path, title: str) -> Path:
    """Spend an attempt on a sealed test set, and write what its terms release.

    Args:
        settings: With `seal_key`.
        contender: The model, or somebody's scores.
        cohort: Sealed.
        folder: Of the results.
        title: Of the report.

    Raises:
        MedaiError: no key or a wrong one, a spent budget, a tuned threshold, a margin that was not declared, or files that are not what
            was sealed.
    """
    if settings.seal_key is None:
        raise MedaiError(f"the test labels of {cohort.path} are sealed; give the evaluator's key with seal_key=FILE")
    with SealedSession(cohort, Path(settings.seal_key)) as session:
        frozen = session.thresholds(contender.thresholds, contender.given)
        reference, compared = _reference(settings, session)
        session.begin(contender.hash, contender.kind, shaping(settings, frozen), reference.hash if reference else None)
        if reference is None:
            evaluation = figures(settings, contender.predict(session), contender.labels, frozen)
            released = session.commit(evaluation, groups_of(evaluation.table, settings.group_by)[0])
        else:
            evaluation, released = _compare(settings, contender, reference, session)
        declared = [name for name in session.terms.thresholds if name in frozen]
        cases = session.cases()
    unscored = len(cases) - len(evaluation.table)
    context = ReportContext(
        title=title,
        cohort=sealed_summary(cohort, cases, evaluation.table),
        model=contender.model,
        threshold_origin=f"declared with the seal for {', '.join(declared)}" if declared else contender.origin,
        intended_use=contender.intended_use,
        created=time.strftime("%Y-%m-%d %H:%M"),
        versions=versions(),
        notes=[*_conclusion(released), *contender.doubts(), *compared, *_notes(cohort, unscored)],
    )
    about = {
        "candidate": {"kind": contender.kind, "hash": contender.hash}, "cohort": {"name": cohort.name, "hash": cohort.hash},
        "split": settings.split, "unscored": unscored,
    }  # fmt: skip
    shown = replace(evaluation, table=public_table(evaluation.table), metrics=released)  # nothing else of the evaluation goes further
    write_results(folder, shown, context, origin=about, languages=languages_of(settings.language), pdf=settings.pdf)
    say(sealed_headline(released))
    return folder


def _reference(settings: EvaluateSettings, session: SealedSession) -> tuple[Reference | None, list[str]]:
    """What is compared with, checked before the labels open; and what the report has to say of it."""
    if settings.reference is not None:
        declared_margin(session.terms, settings.margin)
    reference = open_reference(settings, session.cohort)
    return reference, reference_notes(settings, reference, session.cohort, session.cases())


def _compare(
    settings: EvaluateSettings, contender: Contender, reference: Reference, session: SealedSession
) -> tuple[Evaluation, dict[str, Any]]:
    """The comparison alone: no other figure is computed."""
    labels = [label for label in session.cohort.labels if label.name == session.terms.label]
    scores = sealed_scores(reference, session, labels)
    table = contender.predict(session)
    both = scores.join(table.select("case_id"), on="case_id", how="semi", maintain_order="left")
    released = session.compare(table, session.join(both, labels), seed=settings.seed, replicates=settings.replicates)
    return Evaluation(table, tuple(contender.labels), {}, {}), released


def _conclusion(released: Mapping[str, Any]) -> list[str]:
    return [comparison_sentence(released["seal"])] if "comparison" in released["seal"] else []


def _notes(cohort: Cohort, unscored: int) -> list[str]:
    """What the report has to say of the cases."""
    left = [f"{unscored} of the sealed cases were not scored, and are not in the figures."] if unscored else []
    return [*cohort.meta.get("notes", ()), *left]
