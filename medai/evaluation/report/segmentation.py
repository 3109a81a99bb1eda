"""The report of a segmentation table: the same page as that of a classification, about structures instead of labels."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from medai.core.file import atomic_file
from medai.evaluation.evaluate import Evaluation
from medai.evaluation.report.checklist import checklist
from medai.evaluation.report.cohort import cohort_table
from medai.evaluation.report.context import ReportContext
from medai.evaluation.report.outline import outline_cards, outlines_overview, overview_panels, structure_section
from medai.evaluation.report.outline_text import (
    outline_abstract,
    outline_flow,
    outline_interval_methods,
    outline_methods,
    outline_references,
)
from medai.evaluation.report.page import provenance, render_page
from medai.evaluation.report.text import words_of
from medai.evaluation.segmentation_table import check_segmentation, measured_of


def write_segmentation_report(
    path: Path, table: pl.DataFrame, metrics: Mapping[str, Any], context: ReportContext, *, language: str = "en", other: str = ""
) -> None:
    """Write the HTML report of a segmentation table, atomically; it loads nothing from elsewhere.

    Args:
        path: The file to write.
        table: A row a case, as `check_segmentation` describes.
        metrics: From `evaluate_segmentation`, of this table.
        context: What to say besides the figures.
        language: ``"en"`` or ``"zh"``.
        other: File name of the same report in the other language, beside it.

    Raises:
        MedaiError: there is no such language, or the table is faulty.
    """
    html = render_segmentation(table, metrics, context, language=language, other=other)
    with atomic_file(Path(path)) as temporary:
        temporary.write_text(html, encoding="utf-8")


def render_segmentation(
    table: pl.DataFrame, metrics: Mapping[str, Any], context: ReportContext, *, language: str = "en", other: str = ""
) -> str:
    """The report as HTML text; arguments as of `write_segmentation_report`."""
    words, table = words_of(language), check_segmentation(table).sort("case_id")
    measured = measured_of(table)
    without_labels = Evaluation(table, (), {}, {**metrics, "labels": {}, "macro": {}})
    many = len(metrics["structures"]) > 1
    return render_page(
        context,
        metrics["confidence"],
        words,
        abstract=outline_abstract(without_labels.metrics, context, words),
        cards=outline_cards(metrics, words),
        flow=outline_flow(without_labels.metrics, context, words),
        cohort=cohort_table(table, (), words),
        overview=outlines_overview(metrics, words) if many else None,
        overview_panels=overview_panels(metrics, measured, words) if many else (),
        sections=[structure_section(metrics, table, measured, name, words) for name in metrics["structures"]],
        methods=outline_methods(metrics, words),
        interval_methods=outline_interval_methods(metrics, words),
        references=outline_references(metrics),
        checklist=checklist(without_labels, context, False, words),
        provenance=provenance(without_labels, context, words),
        other=other,
    )
