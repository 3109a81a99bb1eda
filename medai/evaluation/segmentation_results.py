"""The evaluation of a segmentation table on disk: `metrics.json` and the reports in one folder, written at once."""

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from medai.core.file import atomic_directory
from medai.evaluation.report.context import ReportContext
from medai.evaluation.report.pdf import find_browser
from medai.evaluation.report.segmentation import write_segmentation_report
from medai.evaluation.results import report_names, write_pages


def write_segmentation_results(
    folder: Path,
    table: pl.DataFrame,
    metrics: Mapping[str, Any],
    context: ReportContext,
    origin: Mapping[str, Any] | None = None,
    *,
    languages: Sequence[str] = ("en",),
    pdf: bool = False,
) -> None:
    """Write an evaluation in place of an older one.

    Args:
        folder: Made.
        table: A row a case, as `check_segmentation` describes.
        metrics: From `evaluate_segmentation`, of this table.
        context: The words around it.
        origin: What was scored, for `metrics.json`; it replaces no figure.
        languages: Of the report; the first is `report.html`, a further one e.g. `report.zh.html`.
        pdf: Print each report to PDF, too.

    Raises:
        MedaiError: there is no such language, or no chromium to print with; then nothing is written.
    """
    names = report_names(languages)
    if pdf:
        find_browser()
    with atomic_directory(folder, replaces="metrics.json") as temporary:
        text = json.dumps({**(origin or {}), **metrics}, indent=2, ensure_ascii=False, allow_nan=False)
        (temporary / "metrics.json").write_text(text + "\n", encoding="utf-8")
        write_pages(temporary, names, partial(write_segmentation_report, table=table, metrics=metrics, context=context), pdf=pdf)
