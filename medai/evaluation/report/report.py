"""The report as one HTML file that needs nothing else."""

from importlib import resources
from pathlib import Path
from typing import Any

from medai.core.file import atomic_file
from medai.evaluation.evaluate import Evaluation
from medai.evaluation.report.context import ReportContext
from medai.evaluation.report.gallery import Images, Pictures
from medai.evaluation.report.method import methods
from medai.evaluation.report.overlay import Explain, legend_stops
from medai.evaluation.report.section import cards, overview, section
from medai.evaluation.report.sentence import summary
from medai.evaluation.report.text import ENGLISH
from medai.evaluation.report.warning import warnings

MOST_PICTURES = ((1, 8), (4, 4), (1000, 2))  # up to so many labels, so many pictures a gallery


def write_report(
    path: Path, evaluation: Evaluation, context: ReportContext, images: Images | None = None, explain: Explain | None = None
) -> None:
    """Write the HTML report, atomically. It loads nothing from elsewhere: plots are inline SVG, images inline PNG.

    Args:
        path: The file to write.
        evaluation: From `evaluate`.
        context: What to say besides the figures.
        images: Gives the image (C, H, W) of a case_id, or None where it is not at hand. Asked only for the gallery.
        explain: Gives the map of a case for a label's class; None leaves the gallery without maps.
    """
    html = render(evaluation, context, images, explain)
    with atomic_file(Path(path)) as temporary:
        temporary.write_text(html, encoding="utf-8")


def render(evaluation: Evaluation, context: ReportContext, images: Images | None = None, explain: Explain | None = None) -> str:
    """The report as HTML text."""
    from jinja2 import Environment, StrictUndefined

    folder = resources.files("medai.evaluation.report")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string((folder / "report.html").read_text(encoding="utf-8"))
    most = next(pictures for labels, pictures in MOST_PICTURES if len(evaluation.labels) <= labels)
    sections = [section(evaluation, label.name, most, Pictures(images, explain)) for label in evaluation.labels]
    pictures = [picture for each in sections for gallery in each.galleries for picture in gallery.pictures]
    return template.render(
        t=ENGLISH,
        style=(folder / "style.css").read_text(encoding="utf-8"),
        context=context,
        summary=summary(evaluation, context),
        warnings=warnings(evaluation, context),
        cards=cards(evaluation),
        flow=_flow(evaluation, context),
        overview=overview(evaluation) if evaluation.metrics["macro"] else None,
        sections=sections,
        pictured=any(picture.data for picture in pictures),
        maps=_maps(context) if context.maps and any(picture.overlay for picture in pictures) else None,
        legend=legend_stops(),
        methods=methods(evaluation, context),
        provenance=_provenance(evaluation, context),
    )


def _maps(context: ReportContext) -> list[str]:
    """What the maps are, how to read them, and what they do not show."""
    said = " ".join((ENGLISH[f"maps_{context.maps}"], ENGLISH["maps_read"], context.maps_note)).strip()
    return [said, ENGLISH["maps_limits"]]


def _flow(evaluation: Evaluation, context: ReportContext) -> list[tuple[str, str]]:
    cohort, patients = context.cohort, evaluation.metrics["patients"]
    steps = [("found", cohort.found), ("quarantined", cohort.quarantined), ("excluded", cohort.excluded), ("elsewhere", cohort.elsewhere)]
    steps.append(("analysed", evaluation.metrics["cases"]))
    named = f"{patients['count']:,}" if patients["known"] else ENGLISH["patients_unknown"]
    return [(ENGLISH[key], f"{count:,}") for key, count in steps if count is not None] + [(ENGLISH["patients"], named)]


def _provenance(evaluation: Evaluation, context: ReportContext) -> list[tuple[str, Any]]:
    thresholds = ", ".join(f"{name} {value:.6g}" for name, value in evaluation.thresholds.items())
    origin = f"{thresholds} ({context.threshold_origin})" if thresholds and context.threshold_origin else thresholds
    facts = [
        *context.model.items(),
        (ENGLISH["cohort"], context.cohort.name),
        (ENGLISH["cohort_hash"], context.cohort.hash),
        (ENGLISH["split"], context.split),
        (ENGLISH["threshold_origin"], origin),
        (ENGLISH["looks"], "" if context.looks_at_test is None else f"{context.looks_at_test:,}"),
        (ENGLISH["seed"], evaluation.metrics["seed"]),
        (ENGLISH["created"], context.created),
        *context.versions.items(),
    ]
    return [(name, value) for name, value in facts if value != ""]
