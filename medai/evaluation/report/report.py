"""The report as one HTML file that needs nothing else."""

from pathlib import Path

from medai.core.file import atomic_file
from medai.evaluation.evaluate import Evaluation
from medai.evaluation.report.checklist import checklist
from medai.evaluation.report.cohort import cohort_table
from medai.evaluation.report.comparison import comparison_notes, comparison_tables
from medai.evaluation.report.context import ReportContext
from medai.evaluation.report.figures import cards, overview
from medai.evaluation.report.flow import flow_of
from medai.evaluation.report.further import precision_table, seal_facts
from medai.evaluation.report.gallery import Images, Pictures
from medai.evaluation.report.method import interval_methods, methods, references
from medai.evaluation.report.overlay import Explain
from medai.evaluation.report.page import provenance, render_page
from medai.evaluation.report.section import section
from medai.evaluation.report.sentence import abstract
from medai.evaluation.report.text import Words, words_of
from medai.evaluation.report.warning import warnings

MOST_PICTURES = ((1, 8), (4, 4), (1000, 2))  # up to so many labels, so many pictures a gallery


def write_report(
    path: Path,
    evaluation: Evaluation,
    context: ReportContext,
    images: Images | None = None,
    explain: Explain | None = None,
    *,
    language: str = "en",
    other: str = "",
) -> None:
    """Write the HTML report, atomically. It loads nothing from elsewhere: plots are inline SVG, images inline PNG.

    Args:
        path: The file to write.
        evaluation: From `evaluate`.
        context: What to say besides the figures.
        images: Gives the image (C, H, W) of a case_id, or None where it is not at hand. Asked only for the gallery.
        explain: Gives the map of a case for a label's class; None leaves the gallery without maps.
        language: ``"en"`` or ``"zh"``.
        other: File name of the same report in the other language, beside it.

    Raises:
        MedaiError: there is no such language.
    """
    html = render(evaluation, context, images, explain, language=language, other=other)
    with atomic_file(Path(path)) as temporary:
        temporary.write_text(html, encoding="utf-8")


def render(
    evaluation: Evaluation,
    context: ReportContext,
    images: Images | None = None,
    explain: Explain | None = None,
    *,
    language: str = "en",
    other: str = "",
) -> str:
    """The report as HTML text."""
    words, metrics = words_of(language), evaluation.metrics
    most = next(pictures for labels, pictures in MOST_PICTURES if len(evaluation.labels) <= labels)
    source = Pictures(images, explain)
    sections = [
        section(evaluation, label.name, most, source, words.if_assumed(label.name in context.assumed))
        for label in evaluation.labels
        if label.name in metrics["labels"]
    ]
    of_all = words.if_assumed(bool(context.assumed))
    pictures = [picture for each in sections for gallery in each.galleries for picture in gallery.pictures]
    pictured = any(picture.data for picture in pictures)
    limits = [*warnings(evaluation, context, words), *(words.phrase(note) for note in context.notes)]
    compared = metrics.get("comparison") or {}
    return render_page(
        context,
        metrics["confidence"],
        words,
        abstract=abstract(evaluation, context, limits, of_all),
        cards=cards(evaluation, words),
        flow=flow_of(metrics, context, words),
        cohort=None if metrics.get("seal") else cohort_table(evaluation.table, evaluation.labels, words),
        overview=overview(evaluation, words) if metrics["macro"] else None,
        sections=sections,
        comparison=comparison_tables(compared, words) if compared else [],
        comparison_notes=comparison_notes(compared, words) if compared else [],
        precision=precision_table(metrics.get("precision") or {}, words),
        seal=seal_facts(metrics.get("seal") or {}, words),
        methods=methods(evaluation, context, of_all),
        interval_methods=interval_methods(metrics, words),
        references=references(metrics, context),
        checklist=checklist(evaluation, context, pictured, words),
        provenance=provenance(evaluation, context, words),
        pictured=pictured,
        maps=_maps(context, words) if context.maps and any(picture.overlay for picture in pictures) else None,
        other=other,
    )


def _maps(context: ReportContext, words: Words) -> list[str]:
    """What the maps are, how to read them, and what they do not show."""
    parts = [words[f"maps_{context.maps}"], words["maps_read"], words.phrase(context.maps_note) if context.maps_note else ""]
    return [words.space.join(part for part in parts if part), words["maps_limits"]]
