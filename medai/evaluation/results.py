"""An evaluation on disk: `predictions.parquet`, `metrics.json` and `report.html` in one folder, written at once."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import polars as pl
from jaxtyping import Shaped

from medai.core.error import MedaiError
from medai.core.file import atomic_directory
from medai.evaluation.evaluate import Evaluation
from medai.evaluation.report.context import CohortSummary, ReportContext
from medai.evaluation.report.flow import flow_record
from medai.evaluation.report.gallery import Images
from medai.evaluation.report.overlay import Explain, Explanation
from medai.evaluation.report.pdf import find_browser, print_pdf
from medai.evaluation.report.report import write_report
from medai.evaluation.report.text import words_of

if TYPE_CHECKING:
    from medai.cohort.cohort import Cohort


MOST_IMAGES = 256  # kept while the second language is written


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
    *,
    languages: Sequence[str] = ("en",),
    pdf: bool = False,
) -> None:
    """Write an evaluation in place of an older one.

    Args:
        folder: Made.
        evaluation: What was computed.
        context: The words around it.
        pixels: Reads the pictures of the gallery; None leaves it without pictures.
        cases: Where they lie: `case_id`, `shard`, `offset`, `length`.
        origin: What was scored on what, for `metrics.json`; it replaces no figure. Its `refused` (what the model refused, by name) is
            counted in the flow.
        explainer: Makes the gallery's maps; None leaves it without maps.
        languages: Of the report; the first is `report.html`, a further one e.g. `report.zh.html`.
        pdf: Print each report to PDF, too.

    Raises:
        MedaiError: there is no such language, or no chromium to print with; then nothing is written.
    """
    names = report_names(languages)
    if pdf:
        find_browser()
    image, explain = _pictures(pixels, cases, explainer)
    refused = (origin or {}).get("refused")
    flow = flow_record(context.cohort, evaluation.metrics["cases"], None if refused is None else len(refused))
    evaluation = replace(evaluation, metrics=evaluation.metrics | {"flow": evaluation.metrics.get("flow", flow)})
    with atomic_directory(folder, replaces="metrics.json") as temporary:
        evaluation.table.write_parquet(temporary / "predictions.parquet")
        told = {key: value for key, value in (origin or {}).items() if key not in evaluation.metrics}
        text = json.dumps(evaluation.metrics | told, indent=2, ensure_ascii=False, allow_nan=False)
        (temporary / "metrics.json").write_text(text + "\n", encoding="utf-8")
        write = partial(write_report, evaluation=evaluation, context=context, images=image, explain=explain)
        write_pages(temporary, names, write, pdf=pdf)


def write_pages(folder: Path, names: Mapping[str, str], write: Callable[..., None], *, pdf: bool) -> None:
    """Write a report in each language, linked to the other one, and print it.

    Args:
        folder: Where.
        names: Language -> file, from `report_names`.
        write: Called with the file, `language=` and `other=` (the file of the other language, or empty).
        pdf: Print each to PDF, too.
    """
    for language, name in names.items():
        other = next((each for each in names.values() if each != name), "")
        write(folder / name, language=language, other=other)
        if pdf:
            print_pdf(folder / name, (folder / name).with_suffix(".pdf"))


def report_names(languages: Sequence[str]) -> dict[str, str]:
    """The file of each language, the first without its code.

    Raises:
        MedaiError: there is no such language, or none at all.

    Example:
        >>> report_names(("en", "zh"))
        {'en': 'report.html', 'zh': 'report.zh.html'}
    """
    if not languages:
        raise MedaiError("a report needs a language; name en, zh or both")
    codes = [words_of(language).code for language in dict.fromkeys(languages)]
    return {code: "report.html" if place == 0 else f"report.{code}.html" for place, code in enumerate(codes)}


def languages_of(setting: str) -> tuple[str, ...]:
    """The languages of the setting ``en``, ``zh`` or ``both``."""
    return ("en", "zh") if setting == "both" else (setting,)


def _pictures(pixels: PixelStore | None, cases: pl.DataFrame | None, explainer: Explainer | None) -> tuple[Images, Explain | None]:
    """The image of a case, and its map, each read once for all languages."""
    places = None if cases is None else {row[0]: row[1:] for row in cases.select("case_id", "shard", "offset", "length").iter_rows()}

    @lru_cache(maxsize=MOST_IMAGES)
    def image(case_id: str) -> Shaped[np.ndarray, "C H W"] | None:
        return pixels.read(*places[case_id]) if pixels is not None and places is not None and case_id in places else None

    @lru_cache(maxsize=MOST_IMAGES)
    def explain(case_id: str, label: str, index: int) -> Explanation | None:
        native = image(case_id)
        return explainer(native, label, index) if explainer is not None and native is not None else None

    return image, explain if explainer else None


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
