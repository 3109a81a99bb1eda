"""The page that every report is: what the template places, its contents and its provenance."""

from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

import medai
from medai.evaluation.evaluate import Evaluation
from medai.evaluation.report.checklist import AUTHORS, DONE, GUIDELINES, PART, checklist_note
from medai.evaluation.report.context import ReportContext
from medai.evaluation.report.overlay import legend_stops
from medai.evaluation.report.section import Section
from medai.evaluation.report.text import Words

STYLES = ("style.css", "report.css")
LEFT_OUT: Mapping[str, Any] = {
    "cards": (), "cohort": None, "overview": None, "overview_panels": (), "comparison": (), "comparison_notes": (), "precision": None,
    "seal": (), "pictured": False, "maps": None, "other": "",
}  # fmt: skip


def render_page(context: ReportContext, confidence: float, words: Words, **parts: Any) -> str:
    """The template, filled.

    Args:
        context: The words around the figures.
        confidence: Of the intervals.
        words: The language.
        parts: What the template places: `abstract`, `flow`, `sections`, `methods`, `interval_methods`, `references`, `checklist`,
            `provenance`, and of `LEFT_OUT` what there is.
    """
    from jinja2 import Environment, StrictUndefined

    folder, filled = resources.files("medai.evaluation.report"), {**LEFT_OUT, **parts}
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string((folder / "report.html").read_text(encoding="utf-8"))
    counts = {key: sum(item.status == key for item in filled["checklist"]) for key in (DONE, PART, AUTHORS)}
    return template.render(
        t=words,
        style="".join((folder / name).read_text(encoding="utf-8") for name in STYLES),
        context=context,
        title=words.phrase(context.title),
        split=words.split(context.split),
        maps_note=words.phrase(context.maps_note) if context.maps_note else "",
        legend=legend_stops(),
        version=medai.__version__,
        confidence=f"{confidence * 100:.0f}",
        contents=_contents(filled, filled["sections"], words),
        guidelines=GUIDELINES,
        checklist_note=checklist_note(words),
        checklist_counts=words["c_counts"].format(**counts),
        **filled,
    )


def provenance(evaluation: Evaluation, context: ReportContext, words: Words) -> list[tuple[str, Any]]:
    """Model, cohort, thresholds, looks, seed and versions; what is not known is left out."""
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


def _contents(parts: Mapping[str, Any], sections: Sequence[Section], words: Words) -> list[tuple[str, str, bool]]:
    """Anchor and heading of every section, and whether it is a label's."""
    listed = [("abstract", words["summary"], False), ("flow", words["flow"], False)]
    listed += [("cohort", words["cohort_table"], False)] * bool(parts["cohort"])
    listed += [("overview", parts["overview"].heading, False)] if parts["overview"] else []
    listed += [(each.anchor, each.heading, True) for each in sections]
    for key in ("comparison", "precision", "seal"):
        listed += [(key, words[key], False)] * bool(parts[key])
    return listed + [(key, words[key], False) for key in ("methods", "checklist", "provenance")]
