"""The report as one HTML file that needs nothing else."""

from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import medai
from medai.core.file import atomic_file
from medai.evaluation.evaluate import Evaluation
from medai.evaluation.report.checklist import AUTHORS, DONE, PART, checklist
from medai.evaluation.report.cohort import cohort_table
from medai.evaluation.report.comparison import comparison_notes, comparison_tables
from medai.evaluation.report.context import ReportContext
from medai.evaluation.report.figures import cards, overview
from medai.evaluation.report.flow import flow_of
from medai.evaluation.report.further import precision_table, seal_facts
from medai.evaluation.report.gallery import Images, Pictures
from medai.evaluation.report.method import interval_methods, methods, references
from medai.evaluation.report.overlay import Explain, legend_stops
from medai.evaluation.report.section import Section, section
from medai.evaluation.report.sentence import abstract
from medai.evaluation.report.text import Words, words_of
from medai.evaluation.report.warning import warnings

MOST_PICTURES = ((1, 8), (4, 4), (1000, 2))  # up to so many labels, so many pictures a gallery
STYLES = ("style.css", "report.css")


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
    from jinja2 import Environment, StrictUndefined

    words, metrics, folder = words_of(language), evaluation.metrics, resources.files("medai.evaluation.report")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string((folder / "report.html").read_text(encoding="utf-8"))
    most = next(pictures for labels, pictures in MOST_PICTURES if len(evaluation.labels) <= labels)
    source = Pictures(images, explain)
    sections = [section(evaluation, label.name, most, source, words) for label in evaluation.labels if label.name in metrics["labels"]]
    pictures = [picture for each in sections for gallery in each.galleries for picture in gallery.pictures]
    pictured = any(picture.data for picture in pictures)
    limits = [*warnings(evaluation, context, words), *(words.phrase(note) for note in context.notes)]
    compared, items = metrics.get("comparison") or {}, checklist(evaluation, context, pictured, words)
    parts: dict[str, Any] = {
        "abstract": abstract(evaluation, context, limits, words),
        "cards": cards(evaluation, words),
        "flow": flow_of(metrics, context, words),
        "cohort": None if metrics.get("seal") else cohort_table(evaluation.table, evaluation.labels, words),
        "overview": overview(evaluation, words) if metrics["macro"] else None,
        "sections": sections,
        "comparison": comparison_tables(compared, words) if compared else [],
        "comparison_notes": comparison_notes(compared, words) if compared else [],
        "precision": precision_table(metrics.get("precision") or {}, words),
        "seal": seal_facts(metrics.get("seal") or {}, words),
        "methods": methods(evaluation, context, words),
        "interval_methods": interval_methods(metrics, words),
        "references": references(metrics, context),
        "checklist": items,
        "checklist_counts": words["c_counts"].format(**{key: sum(item.status == key for item in items) for key in (DONE, PART, AUTHORS)}),
        "provenance": _provenance(evaluation, context, words),
    }
    return template.render(
        t=words,
        style="".join((folder / name).read_text(encoding="utf-8") for name in STYLES),
        context=context,
        title=words.phrase(context.title),
        split=words.split(context.split),
        maps_note=words.phrase(context.maps_note) if context.maps_note else "",
        other=other,
        pictured=pictured,
        maps=_maps(context, words) if context.maps and any(picture.overlay for picture in pictures) else None,
        legend=legend_stops(),
        version=medai.__version__,
        confidence=f"{metrics['confidence'] * 100:.0f}",
        contents=_contents(parts, sections, words),
        **parts,
    )


def _contents(parts: Mapping[str, Any], sections: list[Section], words: Words) -> list[tuple[str, str, bool]]:
    """Anchor and heading of every section, and whether it is a label's."""
    listed = [("abstract", words["summary"], False), ("flow", words["flow"], False)]
    listed += [("cohort", words["cohort_table"], False)] * bool(parts["cohort"])
    listed += [("overview", words["overview"], False)] * bool(parts["overview"])
    listed += [(each.anchor, each.heading, True) for each in sections]
    for key in ("comparison", "precision", "seal"):
        listed += [(key, words[key], False)] * bool(parts[key])
    return listed + [(key, words[key], False) for key in ("methods", "checklist", "provenance")]


def _maps(context: ReportContext, words: Words) -> list[str]:
    """What the maps are, how to read them, and what they do not show."""
    parts = [words[f"maps_{context.maps}"], words["maps_read"], words.phrase(context.maps_note) if context.maps_note else ""]
    return [words.space.join(part for part in parts if part), words["maps_limits"]]


def _provenance(evaluation: Evaluation, context: ReportContext, words: Words) -> list[tuple[str, Any]]:
    thresholds = words.join([f"{name} {value:.6g}" for name, value in evaluation.thresholds.items()])
    if thresholds and context.threshold_origin:
        thresholds += words["s_origin"].format(origin=words.phrase(context.threshold_origin))
    facts = [
        *((words.phrase(name), words.phrase(value)) for name, value in context.model.items()),
        (words["cohort"], context.cohort.name),
        (words["cohort_hash"], context.cohort.hash),
        (words["split"], words.split(context.split)),
        (words["threshold_origin"], thresholds),
        (words["looks"], "" if context.looks_at_test is None else f"{context.looks_at_test:,}"),
        (words["seed"], evaluation.metrics["seed"]),
        (words["created"], context.created),
        *context.versions.items(),
    ]
    return [(name, value) for name, value in facts if value != ""]
