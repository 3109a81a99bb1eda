"""A report on disk: its files in one or two languages, its PDF, and what is said where it cannot be printed."""

import json
import shutil
import stat
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from medai.core.error import MedaiError
from medai.core.label import Label
from medai.evaluation.evaluate import evaluate
from medai.evaluation.report.context import CohortSummary, ReportContext
from medai.evaluation.report.overlay import Explanation
from medai.evaluation.report.pdf import BROWSERS, find_browser, print_pdf
from medai.evaluation.report.report import write_report
from medai.evaluation.results import languages_of, report_names, write_results

Scored = tuple[pl.DataFrame, tuple[Label, ...], dict[str, float]]
CONTEXT = ReportContext("Lungs", CohortSummary("lungs", "9f2c", found=210, quarantined=8, excluded=0, elsewhere=0), maps="gradcam")


class Counted:
    """Pixels and maps that count how often they were asked for."""

    def __init__(self) -> None:
        self.read_count = self.explained = 0

    def read(self, shard: int, offset: int, length: int) -> np.ndarray:
        self.read_count += 1
        return np.full((1, 8, 8), offset % 200, dtype=np.uint8)

    def explain(self, pixels: np.ndarray, label: str, index: int) -> Explanation:
        self.explained += 1
        return Explanation(pixels / 255, np.zeros((8, 8)))


def fake(folder: Path, body: str) -> None:
    """A program of a chromium's name that does something else."""
    program = folder / BROWSERS[0]
    program.write_text(f"#!/bin/sh\n{body}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)


def test_two_languages_are_two_files_that_point_to_each_other(binary: Scored, tmp_path: Path) -> None:
    evaluation = evaluate(*binary, replicates=5)
    write_results(tmp_path / "both", evaluation, CONTEXT, languages=("en", "zh"), origin={"refused": {"c1": "no"}, "cases": 3})
    assert sorted(path.name for path in (tmp_path / "both").iterdir()) == [
        "metrics.json",
        "predictions.parquet",
        "report.html",
        "report.zh.html",
    ]
    english, zh = ((tmp_path / "both" / name).read_text(encoding="utf-8") for name in ("report.html", "report.zh.html"))
    assert 'href="report.zh.html"' in english and 'href="report.html"' in zh and "摘要" in zh and "Abstract" in english
    metrics = json.loads((tmp_path / "both" / "metrics.json").read_text())
    assert metrics["flow"] == {"found": 210, "quarantined": 8, "excluded": 0, "elsewhere": 0, "refused": 1, "analysed": 200}
    assert metrics["cases"] == 200 and metrics["refused"] == {"c1": "no"}
    assert "flow" not in evaluation.metrics


def test_one_language_is_report_html_whichever_it_is(binary: Scored, tmp_path: Path) -> None:
    write_results(tmp_path / "zh", evaluate(*binary, replicates=5), CONTEXT, languages=("zh",))
    assert sorted(path.name for path in (tmp_path / "zh").iterdir()) == ["metrics.json", "predictions.parquet", "report.html"]
    html = (tmp_path / "zh" / "report.html").read_text(encoding="utf-8")
    assert 'lang="zh-CN"' in html and 'class="language"' not in html


def test_names_of_files_and_settings() -> None:
    assert report_names(("zh", "en", "zh")) == {"zh": "report.html", "en": "report.en.html"}
    assert (languages_of("both"), languages_of("zh"), languages_of("en")) == (("en", "zh"), ("zh",), ("en",))
    with pytest.raises(MedaiError, match="allowed: en, zh"):
        report_names(("en", "de"))
    with pytest.raises(MedaiError, match="needs a language"):
        report_names(())


def test_a_second_language_reads_no_picture_and_makes_no_map_again(binary: Scored, tmp_path: Path) -> None:
    evaluation, counted = evaluate(*binary, replicates=5), {}
    cases = evaluation.table.select("case_id").with_columns(shard=pl.lit(0), offset=pl.int_range(pl.len()), length=pl.lit(1))
    for languages in (("en",), ("en", "zh")):
        source = Counted()
        write_results(tmp_path / "pictures", evaluation, CONTEXT, source, cases, explainer=source.explain, languages=languages)
        counted[languages] = source.read_count, source.explained
    assert counted["en",] == counted["en", "zh"] and min(counted["en",]) > 10


def test_without_a_browser_nothing_is_written_and_one_line_says_what_to_do(
    binary: Scored, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MedaiError, match="needs a chromium, and none is on the PATH; install one, or print report.html") as caught:
        write_results(tmp_path / "results", evaluate(*binary, replicates=5), CONTEXT, pdf=True)
    assert "\n" not in str(caught.value) and not (tmp_path / "results").exists()


@pytest.mark.skipif(not Path("/bin/sh").exists(), reason="needs a shell to make up a browser that fails")
def test_a_browser_that_fails_is_one_line_with_its_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    html = tmp_path / "report.html"
    html.write_text("<p>x</p>")
    fake(tmp_path, "echo 'first line' >&2; echo 'no room left' >&2; exit 3")
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    with pytest.raises(MedaiError, match=r"did not print .*report.html: no room left"):
        print_pdf(html, tmp_path / "report.pdf")
    assert not (tmp_path / "report.pdf").exists()


@pytest.mark.skipif(not any(map(shutil.which, BROWSERS)), reason="no chromium on the PATH")
def test_the_report_prints_to_pdf_in_both_languages(binary: Scored, tmp_path: Path) -> None:
    evaluation = evaluate(*binary, replicates=5)
    write_results(tmp_path / "results", evaluation, CONTEXT, languages=("en", "zh"), pdf=True)
    for name in ("report.pdf", "report.zh.pdf"):
        data = (tmp_path / "results" / name).read_bytes()
        assert data.startswith(b"%PDF-") and len(data) > 30_000
        assert b"/MediaBox [0 0 594" in data or b"/MediaBox [0 0 595" in data  # A4
    assert Path(find_browser()).name in BROWSERS


@pytest.mark.skipif(not any(map(shutil.which, BROWSERS)) or not shutil.which("pdftotext"), reason="no chromium or no pdftotext")
def test_no_page_in_print_holds_the_last_row_of_a_table_or_a_part_of_the_provenance_alone(binary: Scored, tmp_path: Path) -> None:
    table, labels, thresholds = binary
    patients = table.with_columns(pl.Series("patient_id", [f"p{number % 120}" for number in range(len(table))]))
    versions = {f"package {number}": "1.2.3" for number in range(9)}
    for lines in range(0, 30, 6):  # whatever stands before it, and so wherever the page ends
        context = replace(CONTEXT, versions=versions, intended_use="To be read by an engineer. " * 5 * lines)
        write_report(tmp_path / "report.html", evaluate(patients, labels, thresholds, replicates=5), context)
        print_pdf(tmp_path / "report.html", tmp_path / "report.pdf")
        done = subprocess.run(["pdftotext", "-layout", tmp_path / "report.pdf", "-"], capture_output=True, text=True, check=True)
        pages = [[line.strip() for line in page.splitlines() if line.strip()] for page in done.stdout.split("\f")][:-1]
        assert "Provenance" in next(page for page in pages if any(line.startswith("Cohort hash") for line in page))
        assert any("package 8" in line for line in pages[-1]) and len(pages[-1]) > 8
        assert not any(len(page) > 1 and page[0].startswith("Figure ") and "Spiegelhalter" in page[1] for page in pages)
