"""An evaluation on disk: `predictions.parquet`, `metrics.json` and `report.html` in one folder, written at once."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import polars as pl
from jaxtyping import Shaped

from medai.core.file import atomic_directory
from medai.evaluation.evaluate import Evaluation
from medai.evaluation.report.context import CohortSummary, ReportContext
from medai.evaluation.report.overlay import Explanation
from medai.evaluation.report.report import write_report

if TYPE_CHECKING:
    from medai.cohort.cohort import Cohort


class PixelStore(Protocol):
    """Where the pictures of the gallery come from."""

    def read(self, shard: int, offset: int, length: int) -> Shaped[np.ndarray, "C H W"]:
        """Native pixels of one case."""


Explainer = Callable[[Shaped[np.ndarray, "C H W"], str, int], Explanation | None]
"""Explains native pixels for a label's class (pixels, name of the label, index of the class); None where it cannot."""


def write_results(
    folder: Path,
    evaluation: Evaluation,
    context: ReportContext,
    pixels: PixelStore | None = None,
    cases: pl.DataFrame | None = None,
    origin: Mapping[str, Any] | None = None,
    explainer: Explainer | None = None,
) -> None:
    """Write an evaluation in place of an older one.

    Args:
        folder: Made.
        evaluation: What was computed.
        context: The words around it.
        pixels: Reads the pictures of the gallery; None leaves it without pictures.
        cases: Where they lie: `case_id`, `shard`, `offset`, `length`.
        origin: What was scored on what, for `metrics.json`.
        explainer: Makes the gallery's maps; None leaves it without maps.
    """
    places = None if cases is None else {row[0]: row[1:] for row in cases.select("case_id", "shard", "offset", "length").iter_rows()}

    def image(case_id: str) -> Shaped[np.ndarray, "C H W"] | None:
        return pixels.read(*places[case_id]) if pixels is not None and places is not None and case_id in places else None

    def explain(case_id: str, label: str, index: int) -> Explanation | None:
        native = image(case_id)
        return explainer(native, label, index) if explainer is not None and native is not None else None

    with atomic_directory(folder, replaces="metrics.json") as temporary:
        evaluation.table.write_parquet(temporary / "predictions.parquet")
        text = json.dumps(evaluation.metrics | dict(origin or {}), indent=2, ensure_ascii=False, allow_nan=False)
        (temporary / "metrics.json").write_text(text + "\n", encoding="utf-8")
        write_report(temporary / "report.html", evaluation, context, image, explain if explainer else None)


def cohort_summary(cohort: "Cohort", split: str, analysed: pl.DataFrame) -> CohortSummary:
    """Where the analysed cases come from, for the report: found = refused + left out + elsewhere + analysed (+ refused by the model)."""
    counts = cohort.counts
    here = len(cohort.select(split))
    return CohortSummary(
        name=cohort.name,
        hash=cohort.hash,
        found=counts["found"],
        quarantined=counts["quarantined"],
        excluded=counts["excluded"],
        elsewhere=counts["cases"] - counts["excluded"] - here,
        analysed=len(analysed),
        patients=analysed["patient_id"].drop_nulls().n_unique() or None,
    )
