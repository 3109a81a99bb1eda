"""Two languages from one template: equal keys, equal fields, and no English sentence on the Chinese page."""

import re
import string
from collections.abc import Iterator, Mapping
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import numpy as np
import polars as pl
import pytest

from medai.core.error import MedaiError
from medai.core.label import Label
from medai.evaluation.evaluate import Evaluation, evaluate
from medai.evaluation.report.chinese import CHINESE
from medai.evaluation.report.context import CohortSummary, ReportContext
from medai.evaluation.report.english import ENGLISH
from medai.evaluation.report.phrase import EXACT, PATTERNS, chinese
from medai.evaluation.report.report import render
from medai.evaluation.report.text import WORDS, words_of

Scored = tuple[pl.DataFrame, tuple[Label, ...], dict[str, float]]
ENGLISH_WORDS = re.compile(r"\b[a-z]{2,}(?:[ ,;:’'-]+[a-z]{2,}){2,}\b")
HAN = re.compile(r"[\u4e00-\u9fff]")
CONTEXT = ReportContext(
    "Test of lungs",
    CohortSummary("lungs", "9f2c", found=320, quarantined=8, excluded=2, elsewhere=10),
    model={"Kind": "checkpoint", "Hash": "3fa9", "Trained on": "lungs", "Input": "224 x 224 pixels, grey"},
    threshold_origin="chosen on validation split of lungs (524 cases), rule youden",
    looks_at_test=2,
    created="2025-01-01",
    versions={"numpy": "2.0"},
    notes=(
        "3 of these images were in the development set of the model: the figures are too good.",
        "Patients unknown for 3 of 10 cases: images of one patient may lie in two splits unseen.",
        "The model refused 2 images, which are not in the figures; the first is c1: c2.",
    ),
    maps_note="No saliency maps: a package gives no gradients; evaluate the run to see them.",
)


class Text(HTMLParser):
    """The text of a page outside of what is marked as English."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []
        self._open: list[bool] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.said += [given[key] or "" for key in ("aria-label", "alt") if key in given]
        if tag not in ("meta", "img"):
            self._open.append(tag == "style" or (given.get("lang") == "en" and tag != "html"))

    def handle_endtag(self, tag: str) -> None:
        self._open.pop()

    def handle_data(self, data: str) -> None:
        if not any(self._open) and data.strip():
            self.said.append(data.strip())


def text_of(html: str) -> list[str]:
    reader = Text()
    reader.feed(html)
    return reader.said


def fields(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


def with_groups(scored: Scored) -> Scored:
    table, labels, thresholds = scored
    generator = np.random.default_rng(5)
    columns = {"sex": generator.choice(["F", "M"], len(table)), "age_years": generator.integers(1, 95, len(table))}
    return table.with_columns(**{name: pl.Series(values) for name, values in columns.items()}), labels, thresholds


def phrases(value: Any) -> Iterator[str]:
    """All methods and reasons of a record."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            if key in ("method", "reason", "test") and isinstance(item, str):
                yield item
            else:
                yield from phrases(item)
    elif isinstance(value, list):
        for item in value:
            yield from phrases(item)


@pytest.fixture(params=["binary", "multilabel", "ordinal"])
def evaluation(request: pytest.FixtureRequest) -> Evaluation:
    return evaluate(
        *with_groups(request.getfixturevalue(request.param)), replicates=30, group_by=("site", "sex", "age_band", "sex*age_band")
    )


def test_both_languages_have_the_same_strings_with_the_same_fields() -> None:
    assert ENGLISH.keys() == CHINESE.keys()
    for key, text in ENGLISH.items():
        assert fields(text) == fields(CHINESE[key]), key


def test_every_string_is_translated() -> None:
    for key, text in CHINESE.items():
        if ENGLISH_WORDS.search(ENGLISH[key]):
            assert HAN.search(text) and not ENGLISH_WORDS.search(text), key


@pytest.mark.parametrize(
    ("key", "term"),
    [
        ("s_auroc", "受试者工作特征曲线下面积"), ("m_auroc", "受试者工作特征曲线下面积"),
        ("sensitivity", "灵敏度"), ("specificity", "特异度"),
        ("ppv", "阳性预测值"), ("npv", "阴性预测值"), ("likelihood_ratio_positive", "阳性似然比"), ("ci", "置信区间"),
        ("decision_curve", "决策曲线"), ("axis_benefit", "净获益"), ("treat_all", "全部干预"), ("m_bootstrap", "自助法"),
        ("calibration", "校准度"), ("discrimination", "区分度"), ("truth", "参考标准"), ("by_group", "亚组"),
        ("false_negatives", "假阴性"), ("false_positives", "假阳性"), ("t_model", "待评价试验"), ("t_utility", "临床效用"),
        ("verdict_not shown", "差异无统计学意义"), ("non_inferiority", "非劣效界值"), ("dice", "Dice系数"), ("m_hd95", "豪斯多夫距离"),
    ],
)  # fmt: skip
def test_terms_are_those_of_chinese_medical_statistics(key: str, term: str) -> None:
    assert term in CHINESE.get(key, "")


def test_one_thing_has_one_name_in_chinese() -> None:
    said = "".join(CHINESE.values()) + "".join(EXACT.values()) + "".join(form for _, form in PATTERNS)
    for other in ("误报", "密封", "真实结果", "评分区间", "百分位自助", "敏感度", "特异性", "可信区间", "净收益", "等量分箱", "p值"):
        assert other not in said, other
    assert "约登指数" in said


def test_no_english_sentence_is_left_on_the_chinese_page(evaluation: Evaluation) -> None:
    html = render(evaluation, CONTEXT, language="zh")
    assert '<html lang="zh-CN">' in html
    left = [text for text in text_of(html) if ENGLISH_WORDS.search(text)]
    assert left == []


def test_a_small_set_has_no_english_sentence_either(binary: Scored) -> None:
    table, labels, thresholds = binary
    for rows in (table.head(9), table.head(60), table.filter(pl.col("target.pneumonia") == 1)):
        html = render(evaluate(rows, labels, thresholds, replicates=20), CONTEXT, language="zh")
        assert [text for text in text_of(html) if ENGLISH_WORDS.search(text)] == []


def test_the_methods_and_reasons_of_an_evaluation_are_known_in_chinese(evaluation: Evaluation) -> None:
    said = set(phrases(evaluation.metrics))
    assert len(said) > 5
    assert [text for text in said if ENGLISH_WORDS.search(chinese(text))] == []


def test_a_figure_is_the_same_in_both_languages(binary: Scored) -> None:
    evaluation = evaluate(*binary, replicates=20)
    numbers = [sorted(re.findall(r"\d\.\d{3}", " ".join(text_of(render(evaluation, CONTEXT, language=language))))) for language in WORDS]
    assert numbers[0] == numbers[1] and len(numbers[0]) > 30


def test_phrases_are_put_into_chinese_part_by_part_and_strange_ones_are_left() -> None:
    assert chinese("percentile bootstrap of patients, 2000 replicates") == "按患者的百分位数自助法，2000次抽样"
    assert (
        chinese("mean of 14 labels, percentile bootstrap of cases, 2,000 replicates")
        == "14个标签的均值，按病例的百分位数自助法，2,000次抽样"
    )
    assert chinese("Wilson, effective sample size by patient") == "Wilson，按患者的有效样本量"
    assert chinese("Fluoroscopy of the ward, as we took it.") == "Fluoroscopy of the ward, as we took it."
    assert chinese("0.5, since none was given for 结节") == "0.5，因未给出结节的阈值"


def test_a_users_own_words_are_on_both_pages(binary: Scored) -> None:
    context = replace(CONTEXT, intended_use="A second reader at night.", title="Night shift", objective="Does it help at night?")
    for language in WORDS:
        html = render(evaluate(*binary, replicates=5), context, language=language)
        for said in ("A second reader at night.", "Night shift", "Does it help at night?"):
            assert said in html


def test_the_page_links_to_the_other_language_only_where_there_is_one(binary: Scored) -> None:
    evaluation = evaluate(*binary, replicates=5)
    assert 'href="report.zh.html">中文</a>' in render(evaluation, CONTEXT, other="report.zh.html")
    assert 'href="report.html">English</a>' in render(evaluation, CONTEXT, language="zh", other="report.html")
    assert 'class="language"' not in render(evaluation, CONTEXT)


def test_groups_and_columns_are_put_into_words() -> None:
    english, zh = words_of("en"), words_of("zh")
    assert (english.column("sex*age_band"), zh.column("sex*age_band")) == ("Sex × Age band", "性别 × 年龄段")
    assert (english.group("sex", "F"), zh.group("sex", "F"), zh.group("site", "F")) == ("female", "女", "F")
    assert zh.group("sex*age_band", "F × 18-39") == "女 × 18–39"
    assert zh.group("site", "unknown") == "未知"
    assert english.column("scanner_room") == "scanner room"


def test_an_unknown_language_is_one_clear_line() -> None:
    with pytest.raises(MedaiError, match="no report in the language 'fr'; allowed: en, zh"):
        words_of("fr")
