"""The report of a segmentation table: what is counted, drawn and said, in both languages."""

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from medai.core.error import MedaiError
from medai.evaluation.report.context import CohortSummary, ReportContext
from medai.evaluation.report.outline import lowest_cases, outline_cards, outline_forest, outlines_overview
from medai.evaluation.report.outline_text import outline_abstract, outline_flow, outline_methods, outline_references
from medai.evaluation.report.segmentation import render_segmentation, write_segmentation_report
from medai.evaluation.report.strip import MOST_DOTS, Spread, axis_of, beyond, strip_plot
from medai.evaluation.report.svg import round_up
from medai.evaluation.report.text import EN, WORDS
from medai.evaluation.segmentation import evaluate_segmentation
from medai.evaluation.segmentation_results import write_segmentation_results
from medai.evaluation.segmentation_table import check_segmentation, measured_of
from tests.evaluation.test_report_language import ENGLISH_WORDS, text_of

CONTEXT = ReportContext("Test of livers", CohortSummary("livers"), split="test", created="2025-01-01", versions={"numpy": "2.0"})
Metrics = dict[str, Any]


def cases(n: int = 60, *, outlines: bool = True) -> pl.DataFrame:
    """Of n cases: 3 missed, 2 invented, 4 with neither outline; site B is worse."""
    generator = np.random.default_rng(1)
    site = np.where(np.arange(n) % 3 == 0, "B", "A")
    dice = np.clip(0.95 - 0.1 * (site == "B") - generator.gamma(2, 0.01, n), 0, 1)
    reference, prediction = np.ones(n, bool), np.ones(n, bool)
    prediction[:3] = reference[3:5] = reference[5:9] = prediction[5:9] = False
    neither, one = ~reference & ~prediction, reference ^ prediction
    dice[one] = 0
    hd95 = 2 + 50 * (1 - dice)
    table = {
        "case_id": [f"c{i:03}" for i in range(n)], "patient_id": [f"p{i // 2:03}" for i in range(n)], "site": site,
        "dice.liver": [None if gone else float(value) for gone, value in zip(neither, dice, strict=True)],
        "hd95.liver": [None if gone else float(value) for gone, value in zip(neither | one, hd95, strict=True)],
    }  # fmt: skip
    shown = {"reference.liver": reference.astype(int), "prediction.liver": prediction.astype(int)} if outlines else {}
    return pl.DataFrame(table | shown)


def scored(table: pl.DataFrame) -> Metrics:
    metrics = evaluate_segmentation(table, replicates=100)
    return metrics | {"labels": {}, "macro": {}}


class Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.targets: list[str] = []
        self.loaded: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            if name == "href" and (value or "").startswith("#"):
                self.targets.append((value or "")[1:])
            if name == "src" or (tag == "link" and name == "href"):
                self.loaded.append(value or "")


def test_the_page_is_whole_and_loads_nothing() -> None:
    table = cases()
    two = table.with_columns(table["dice.liver"].alias("dice.spleen"))
    for each in (table, two):
        html, links = render_segmentation(each, scored(each), CONTEXT, other="report.zh.html"), Links()
        links.feed(html)
        assert len(links.ids) == len(set(links.ids)) and set(links.targets) <= set(links.ids) and links.loaded == []
        assert ("overview" in links.targets) == (each is two) and 'href="report.zh.html"' in html
    assert "structure-2" in links.targets


@pytest.mark.parametrize("outlines", [True, False])
def test_no_english_sentence_is_left_on_the_chinese_page(outlines: bool) -> None:
    for table in (cases(outlines=outlines), cases(12, outlines=outlines), cases().select("case_id", "hd95.liver")):
        html = render_segmentation(table, scored(table), CONTEXT, language="zh")
        assert [text for text in text_of(html) if ENGLISH_WORDS.search(text)] == []


def test_a_figure_is_the_same_in_both_languages() -> None:
    table = cases()
    pages = [" ".join(text_of(render_segmentation(table, scored(table), CONTEXT, language=language))) for language in WORDS]
    numbers = [sorted(re.findall(r"\d\.\d{2,3}", page)) for page in pages]
    assert numbers[0] == numbers[1] and len(numbers[0]) > 20


def test_the_flow_goes_on_to_missed_and_invented_outlines() -> None:
    branches = outline_flow(scored(cases()), CONTEXT, EN).branches
    assert [(branch.number, [leaf[0] for leaf in branch.leaves]) for branch in branches] == [("54", ["51", "3"]), ("6", ["4", "2"])]
    unknown = outline_flow(scored(cases(outlines=False)), CONTEXT, EN)
    assert unknown.branches == () and unknown.steps[-1].leaving[0][0] == "4"


def test_the_abstract_gives_the_mean_of_shares_and_the_median_of_distances() -> None:
    metrics = scored(cases())
    parts = dict(outline_abstract(metrics, CONTEXT, EN))
    liver = metrics["structures"]["liver"]
    assert f"mean Dice {liver['dice']['mean']['value']:.3f} (95%" in parts["results"][0]
    assert f"median HD95 (mm) {liver['hd95']['median']['value']:.2f} (95%" in parts["results"][0]
    assert "Missed altogether: 3. Outlined where there is none: 2." in parts["results"][0]
    assert any("5 cases have no HD95" in said for said in parts["limits"])
    assert parts["objective"] == ["To measure how well the model outlines liver in test cases of livers."]


def test_the_worst_cases_come_first_and_say_what_was_missed() -> None:
    table = check_segmentation(cases()).sort("case_id")
    shown = lowest_cases(table, measured_of(table), {"site": []}, EN)
    assert [row.name for row in shown.rows[:5]] == ["c000", "c001", "c002", "c003", "c004"]
    assert shown.rows[0].cells == ("0.000", "no distance", "missed", "B") and shown.rows[3].cells[2] == "invented"
    values = [float(row.cells[0]) for row in shown.rows]
    assert values == sorted(values) and len(values) == 10
    distance = check_segmentation(table.select("case_id", "hd95.liver"))
    largest = lowest_cases(distance, measured_of(distance), {}, EN).rows[0].name
    assert largest == table.filter(pl.col("hd95.liver") == table["hd95.liver"].max())["case_id"][0]


def test_groups_are_drawn_with_their_difference_to_the_rest() -> None:
    metrics = scored(cases())
    drawn = outline_forest(metrics, "liver", "site", EN, last=True)
    assert [row.name for row in drawn.rows] == ["A", "B"] and drawn.columns[2] == "Mean Dice"
    group = metrics["groups"]["site"][1]["structures"]["liver"]["dice"]
    assert f"{group['difference']['mean']['value']:+.3f}".replace("-", "−") in drawn.rows[1].cells[2]
    assert drawn.rows[1].second(2).startswith("p ") and "Holm" in drawn.note
    assert outline_forest(metrics, "liver", "site", EN, last=False).note == ""


def test_a_distance_has_no_bar_of_shares_and_its_own_scale() -> None:
    table = cases().select("case_id", "site", "hd95.liver")
    metrics = scored(table)
    assert str(outline_cards(metrics, EN)[0].bar) == "" and outline_cards(metrics, EN)[0].name == "Median HD95 (mm)"
    assert "HD95" in outlines_overview(metrics, EN).columns[2]
    assert [round_up(value) for value in (0.0, 3.0, 17.3, 100.0)] == [1.0, 3.0, 20.0, 100.0]


def test_an_axis_holds_shares_up_to_one_and_is_cut_where_few_distances_stretch_it() -> None:
    assert axis_of(np.array([0.93, 0.99]), share=True).low == 0.8 and axis_of(np.array([0.0, 0.9]), share=True).low == 0.0
    distances = np.append(np.full(99, 4.0), [300.0, np.inf])
    axis = axis_of(distances, share=False)
    assert axis.high < 10 and beyond(distances, axis) == 2
    alike = axis_of(np.array([1.0, 2.0, 3.5]), share=False)
    assert alike.high >= 3.5 and beyond(np.array([1.0, 2.0, 3.5]), alike) == 0
    assert axis_of(np.array([np.inf, 0.0]), share=False).high > 0


def test_a_plot_has_a_dot_a_case_up_to_a_limit_and_hollow_ones_beyond_the_axis() -> None:
    value = np.append(np.linspace(1, 9, 20), [np.inf, np.inf])
    axis = axis_of(value, share=False)
    svg = strip_plot([Spread("A <1>", value), Spread("none", np.array([]))], axis, "mm", "spread", EN)
    assert svg.count('class="case"') == 20 and svg.count('class="case out"') == 2 and "A &lt;1&gt;" in svg
    assert svg.count('class="median"') == 1 and "nan" not in svg and "inf" not in svg
    many = strip_plot([Spread("", np.linspace(0.5, 1, 5000))], axis_of(np.array([0.5]), share=True), "Dice", "spread", EN)
    assert many.count('class="case"') == MOST_DOTS


def test_methods_and_papers_are_of_what_was_run() -> None:
    metrics = scored(cases())
    said = " ".join(outline_methods(metrics, EN))
    assert "draws patients with replacement, 100 times" in said and "HD95 is the 95th percentile" in said and "NSD (" not in said
    papers = " ".join(outline_references(metrics))
    assert "Huttenlocher" in papers and "Nikolov" not in papers and "Holm" in papers
    alone = scored(cases().drop("site", "patient_id"))
    assert "Welch" not in " ".join(outline_methods(alone, EN)) and "Holm" not in " ".join(outline_references(alone))


def test_a_tables_own_text_is_escaped() -> None:
    table = cases().with_columns(pl.lit("<script>x</script>").alias("site")).rename({"dice.liver": "dice.<b>liver"})
    html = render_segmentation(table, scored(table), CONTEXT)
    assert "<script>" not in html and "<b>liver" not in html


def test_results_are_written_in_both_languages_or_not_at_all(tmp_path: Path) -> None:
    table, folder = cases(), tmp_path / "results"
    metrics = evaluate_segmentation(table, replicates=20)
    write_segmentation_results(folder, table, metrics, CONTEXT, {"cases": "other"}, languages=("zh", "en"))
    assert sorted(file.name for file in folder.iterdir()) == ["metrics.json", "report.en.html", "report.html"]
    assert '"cases": 60' in (folder / "metrics.json").read_text(encoding="utf-8")
    assert '<html lang="zh-CN">' in (folder / "report.html").read_text(encoding="utf-8")
    with pytest.raises(MedaiError, match="no report in the language 'fr'"):
        write_segmentation_results(tmp_path / "none", table, metrics, CONTEXT, languages=("fr",))
    assert not (tmp_path / "none").exists()
    write_segmentation_report(tmp_path / "alone.html", table, metrics, CONTEXT)
    assert "Worst cases by Dice" in (tmp_path / "alone.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "columns",
    [
        {"dice.a": [None] * 12, "dice.b": [0.9] * 12},
        {"dice.a": [0.0] * 12, "hd95.a": [None] * 12, "site": ["A", "B"] * 6},
        {"hd95.a": [0.0] * 12, "site": ["A", "B"] * 6},
        {"hd95.a": [float("inf")] * 11 + [2.0]},
        {"hd95.a": [None] * 12},
        {"dice.a": [0.1] * 12, "site": [None] * 6 + ["A"] * 6},
    ],
)
def test_a_table_with_little_in_it_has_a_page_without_nan(columns: dict[str, list[Any]]) -> None:
    table = pl.DataFrame({"case_id": [f"c{i}" for i in range(12)]} | columns)
    table = table.with_columns(pl.col(name).cast(pl.Float64) for name in columns if "." in name)
    for language in WORDS:
        body = render_segmentation(table, scored(table), CONTEXT, language=language).split("</style>")[1]
        assert not re.search(r"[\s,=\">(-](nan|inf)[\s,\"<)]", body)
