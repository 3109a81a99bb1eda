"""The report is one file that asks for nothing else, says what it has to, and survives poor data."""

import base64
import io
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from medai.core.label import Label
from medai.evaluation.evaluate import evaluate
from medai.evaluation.report.context import CohortSummary, ReportContext
from medai.evaluation.report.gallery import png, window
from medai.evaluation.report.report import render, write_report
from medai.evaluation.report.svg import MOST_POINTS, thin
from medai.evaluation.report.text import ENGLISH, words_of
from medai.evaluation.report.warning import warnings

Scored = tuple[pl.DataFrame, tuple[Label, ...], dict[str, float]]
CONTEXT = ReportContext(
    "Pneumonia <on> radiographs & more",
    CohortSummary("胸片", "9f2c", found=212, quarantined=8, excluded=4, analysed=200),
    model={"Network": "resnet18"},
    threshold_origin="largest Youden index on validation",
    looks_at_test=3,
    created="2025-01-01",
    notes=("A note of the user.",),
)


class Reader(HTMLParser):
    """Collects tags, attributes and text, and checks that every element is closed."""

    VOID = frozenset({"meta", "img", "br", "link", "input"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text.append(data)


def read(html: str) -> Reader:
    reader = Reader()
    reader.feed(html)
    assert reader.open == []
    return reader


def picture(case_id: str) -> np.ndarray | None:
    seed = int(case_id[1:])
    return None if seed % 5 == 0 else np.random.default_rng(seed).integers(0, 4096, (1, 40, 30)).astype(np.uint16)


def test_the_report_is_one_file_that_loads_nothing(binary: Scored, multilabel: Scored, ordinal: Scored, tmp_path: Path) -> None:
    for name, scored in {"binary": binary, "multilabel": multilabel, "ordinal": ordinal}.items():
        write_report(tmp_path / f"{name}.html", evaluate(*scored, replicates=20), CONTEXT, picture)
        html = (tmp_path / f"{name}.html").read_text(encoding="utf-8")
        reader = read(html)
        assert not re.search(r"https?:|//[a-z]|@import|url\(", html.split("base64")[0])
        for tag, attribute, value in reader.attributes:
            assert tag not in ("script", "link", "iframe", "object")
            assert attribute != "href" or value.startswith("#")
            assert attribute != "src" or value.startswith("data:image/png;base64,")
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["binary.html", "multilabel.html", "ordinal.html"]


def test_words_come_with_their_figures_and_the_users_text_is_escaped(binary: Scored) -> None:
    evaluation = evaluate(*binary, replicates=20)
    html = render(evaluation, CONTEXT)
    text = " ".join(read(html).text)
    record = evaluation.metrics["labels"]["pneumonia"]
    assert "<on>" not in html
    assert "Pneumonia <on> radiographs & more" in text
    for said in (
        f"The AUROC is {record['auroc']['value']:.3f}",
        f"it finds {record['confusion']['true_positive']} of {record['events']} cases with pneumonia",
        "(largest Youden index on validation)",
        "looked at 3 times",
        "The patients are unknown",
        "A note of the user.",
        "DeLong",
        "212",
    ):
        assert said in text


def test_a_small_set_is_called_too_small_for_a_claim(binary: Scored) -> None:
    table, labels, thresholds = binary
    small = warnings(evaluate(table.head(12), labels, thresholds, replicates=20), CONTEXT)
    middling = warnings(evaluate(table.head(60), labels, thresholds, replicates=20), CONTEXT)
    large = warnings(evaluate(pl.concat([table.with_columns(pl.col("case_id") + str(i)) for i in range(5)]), labels, thresholds), CONTEXT)
    assert any("positive and" in sentence and "too small for a claim" in sentence for sentence in small)
    assert any("interval of the" in sentence and "too small for a claim" in sentence for sentence in middling)
    assert not any("too small" in sentence for sentence in large)


def test_an_uninformative_model_is_not_called_better_than_chance(binary: Scored) -> None:
    table, labels, thresholds = binary
    noise = table.with_columns(pl.Series("probability.pneumonia", np.random.default_rng(1).random(len(table))))
    said = " ".join(warnings(evaluate(noise, labels, thresholds, replicates=20), CONTEXT))
    assert "not shown to be better than chance" in said


def test_a_model_that_ranks_upside_down_is_told_so(binary: Scored) -> None:
    table, labels, thresholds = binary
    turned = table.with_columns((1 - pl.col("probability.pneumonia")).alias("probability.pneumonia"))
    for language, reversed_, chance in (
        ("en", "ranks the cases upside down", "better than chance"),
        ("zh", "排序是颠倒的", "优于随机判定"),
    ):
        said = " ".join(warnings(evaluate(turned, labels, thresholds, replicates=20), CONTEXT, words_of(language)))
        assert reversed_ in said and chance not in said
    noted = replace(
        CONTEXT, notes=["label 'pneumonia': the interval of the AUROC lies below 0.5, so the scores rank the cases upside down"]
    )
    assert "pneumonia" not in " ".join(warnings(evaluate(turned, labels, thresholds, replicates=20), noted))  # the note says it


def test_a_threshold_that_was_assumed_is_not_called_frozen(binary: Scored, multilabel: Scored) -> None:
    origin = "0.5, since none was given for pneumonia"
    for language, frozen, assumed in (("en", "frozen", "At the assumed threshold"), ("zh", "固定阈值", "假定阈值下")):
        evaluation = evaluate(*binary, replicates=20)
        text = " ".join(read(render(evaluation, replace(CONTEXT, threshold_origin=origin), language=language)).text)
        assert assumed in text and "Thresholds were frozen" not in text and "已固定" not in text
        assert frozen not in text.replace("Not every threshold was frozen before", "")
        text = " ".join(read(render(evaluation, CONTEXT, language=language)).text)
        assert frozen in text and assumed not in text
    text = " ".join(read(render(evaluate(*multilabel, replicates=20), replace(CONTEXT, threshold_origin="chosen; " + origin))).text)
    assert "At the assumed thresholds sensitivity" in text and "At the frozen threshold " in text  # those of the labels were given


def test_the_labels_with_an_assumed_threshold_are_read_from_its_origin() -> None:
    for origin, names in (
        ("largest Youden index on validation", set()),
        ("0.5, since none was given for a, b", {"a", "b"}),
        ("the manual; 0.5, since none was given for b; b given on the command line", set()),
        ("chosen on validation split of x (20 cases), rule youden; 0.5 assumed for a, c (one class only there)", {"a", "c"}),
    ):
        assert replace(CONTEXT, threshold_origin=origin).assumed == names


def test_with_several_labels_the_abstract_names_that_of_each_auroc(binary: Scored, ordinal: Scored) -> None:
    (table, labels, thresholds), (others, grades, _) = binary, ordinal
    both = table.join(others, on="case_id")
    evaluation = evaluate(both, (*labels, *grades), thresholds, replicates=20)
    for language, named in (("en", "The AUROC for pneumonia is 0."), ("zh", "pneumonia的受试者工作特征曲线下面积")):
        assert named in " ".join(read(render(evaluation, CONTEXT, language=language)).text)
    assert "The AUROC is 0." in " ".join(read(render(evaluate(*binary, replicates=20), CONTEXT)).text)


def test_the_worst_errors_are_shown_worst_first(binary: Scored) -> None:
    table, labels, thresholds = binary
    html = render(evaluate(table, labels, thresholds, replicates=5), CONTEXT, picture)
    missed = table.filter((pl.col("target.pneumonia") == 1) & (pl.col("probability.pneumonia") < 0.5)).sort("probability.pneumonia")
    shown = re.findall(r'class="id" title="(c\d+)"', html)
    assert shown[: min(8, len(missed))] == missed["case_id"].to_list()[:8]
    assert html.count(ENGLISH["no_image"]) == sum(picture(case_id) is None for case_id in shown)


@pytest.mark.parametrize("target", [[1, 1, 1], [0, 0, 0], [None, None, None], [0, 1, None]])
def test_poor_data_still_give_a_report(target: list[int | None]) -> None:
    table = pl.DataFrame({"case_id": ["c1", "c2", "c3"], "probability.x": [0.0, 1.0, 0.5]})
    table = table.with_columns(pl.Series("target.x", target, dtype=pl.Int64))
    read(render(evaluate(table, None, {"x": 0.5}, replicates=10), CONTEXT, picture))


def test_grades_that_are_all_unknown_still_give_a_report(ordinal: Scored) -> None:
    table, labels, thresholds = ordinal
    unknown = table.head(4).with_columns(pl.Series("target.grade", [None] * 4, dtype=pl.String))
    read(render(evaluate(unknown, labels, thresholds, replicates=5), CONTEXT))


def test_long_keys_are_cut_short_but_kept_in_full_behind(binary: Scored) -> None:
    table, labels, thresholds = binary
    keyed = table.with_columns(case_id=pl.concat_str(pl.lit("f" * 40), pl.col("case_id")))
    html = render(evaluate(keyed, labels, thresholds, replicates=5), CONTEXT)
    assert re.search(r'title="f{40}c\d+">f{12}\u2026<', html)


@pytest.mark.parametrize(("dtype", "channels"), [(np.uint8, 1), (np.int16, 1), (np.uint16, 3), (np.float32, 1), (np.uint8, 3)])
def test_images_of_any_kind_become_small_pngs(dtype: type, channels: int) -> None:
    image = (np.random.default_rng(0).random((channels, 500, 400)) * 200).astype(dtype)
    picture = Image.open(io.BytesIO(base64.b64decode(png(image).removeprefix("data:image/png;base64,"))))
    assert max(picture.size) == 288
    assert picture.mode == ("RGB" if channels == 3 else "L")


def test_the_window_uses_the_whole_grey_scale_and_a_flat_image_is_no_error() -> None:
    image = np.linspace(-1000, 3000, 10_000, dtype=np.float32).reshape(1, 100, 100)
    assert (window(image).min(), window(image).max()) == (0, 255)
    assert window(np.full((1, 4, 4), 7, dtype=np.int16)).max() == 0
    assert window(np.full((1, 2, 2), np.nan, dtype=np.float32)).max() == 0


def test_long_curves_are_thinned_and_keep_their_ends() -> None:
    x = np.linspace(0, 1, 35_000)
    thinned = thin(x, np.sqrt(x))
    assert len(thinned[0]) <= MOST_POINTS + 2
    assert (thinned[0][0], thinned[0][-1], thinned[1][-1]) == (0, 1, 1)
