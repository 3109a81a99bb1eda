import json
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from medai.cohort.cohort import Cohort
from medai.core.error import MedaiError
from medai.inference.candidate import open_candidate
from medai.inference.dry_run import dry_run, picture
from medai.inference.dry_run_words import CHINESE, ENGLISH, page_names
from tests.evaluation.test_report_language import ENGLISH_WORDS, HAN, fields, text_of
from tests.inference.conftest import WriteContract, WriteModel

SIGMOID = {"output": {"activation": "sigmoid"}}


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.found += [value or "" for name, value in attributes if name in ("src", "href")]


def test_a_dry_run_shows_three_cases_and_opens_no_label(
    write_model: WriteModel, write_contract: WriteContract, cohort: Cohort, tmp_path: Path
) -> None:
    for labels in (cohort.path / "labels").iterdir():
        labels.unlink()  # a dry run that opened one would fail
    candidate = open_candidate(write_model([[-3.0]]), contract=write_contract(**SIGMOID))
    page = dry_run(candidate, cohort, "test", tmp_path / "look")
    record = json.loads((tmp_path / "look/dry_run.json").read_text(encoding="utf-8"))
    assert len(record["cases"]) == 3 and record["doubts"] == [] and record["refused"] == {}
    test = cohort.splits().filter(pl.col("split") == "test")["case_id"]
    assert [case["case_id"] for case in record["cases"]] == [test[0], test[8], test[17]]
    case = record["cases"][0]
    assert case["native"].startswith("1 x 12 x 10, uint8, values") and case["given"]["shape"] == [1, 8, 8]
    mean = case["given"]["channels"][0]["mean"]
    assert case["raw"]["prob"] == pytest.approx([-3 * mean], rel=1e-5)
    assert case["probability"]["sick"] == pytest.approx(1 / (1 + np.exp(3 * mean)), rel=1e-5)
    assert case["decision"]["sick"] == ("yes" if case["probability"]["sick"] >= 0.4 else "no")
    for name, size in zip(case["pictures"], ((10, 12), (8, 8)), strict=True):
        assert Image.open(page.with_name(name)).size == size
    text = page.read_text(encoding="utf-8")
    links = _Links()
    links.feed(text)
    assert len(links.found) == 6 and all(link.startswith("data:image/png;base64,") for link in links.found)
    assert "Nothing looks wrong by its figures" in text and "the vendor&#39;s manual, 2024, section 4" in text


def test_the_picture_of_an_image_is_what_the_model_sees() -> None:
    image = np.array([[[-1.0, 0.0], [1.0, 3.0]]], np.float32)
    assert np.asarray(Image.open(BytesIO(picture(image)))).tolist() == [[0, 64], [128, 255]]
    colour = np.stack([image[0], image[0] * 0, image[0] * 0])
    assert Image.open(BytesIO(picture(colour))).mode == "RGB"


def test_a_window_of_other_units_shows_as_a_black_image(
    write_model: WriteModel, write_contract: WriteContract, cohort: Cohort, tmp_path: Path
) -> None:
    levels = {}
    for upper in (255, 65535):
        contract = write_contract(intensity={"upper": upper, "mean": [0.5], "std": [0.25]}, **SIGMOID)
        page = dry_run(open_candidate(write_model([[3.0]]), contract=contract), cohort, "test", tmp_path / "look")
        levels[upper] = np.asarray(Image.open(page.with_name("case-3-seen.png"))).max()
    assert levels[255] > 150 and levels[65535] <= 1


def test_the_page_is_written_where_the_outputs_are_not_as_the_contract_says(
    write_model: WriteModel, write_contract: WriteContract, cohort: Cohort, tmp_path: Path
) -> None:
    candidate = open_candidate(write_model([[-9.0]]), contract=write_contract())
    with pytest.raises(MedaiError, match=r"set activation: sigmoid.*; what the model was given and what it answered is in \S+dry_run.html"):
        dry_run(candidate, cohort, "test", tmp_path / "look")
    record = json.loads((tmp_path / "look/dry_run.json").read_text(encoding="utf-8"))
    assert record["cases"][0]["raw"]["prob"][0] < 0 and record["cases"][0]["probability"] == {}
    assert any("no probabilities" in doubt for doubt in record["doubts"])


@pytest.mark.parametrize("weight", [float("nan"), float("inf")])
def test_outputs_that_are_not_finite_are_told_and_shown(
    write_model: WriteModel, write_contract: WriteContract, cohort: Cohort, tmp_path: Path, weight: float
) -> None:
    candidate = open_candidate(write_model([[weight]]), contract=write_contract(**SIGMOID))
    with pytest.raises(MedaiError, match=r"'prob' is NaN or infinite for 1 of 1 image\(s\).*what it answered is in \S+dry_run.html"):
        dry_run(candidate, cohort, "test", tmp_path / "look", ("en", "zh"))
    record = json.loads((tmp_path / "look/dry_run.json").read_text(encoding="utf-8"))
    assert record["cases"][0]["raw"]["prob"] == [None] and "NaN or infinite" in record["doubts"][0]
    for name in ("dry_run.html", "dry_run.zh.html"):
        assert str(weight) in (tmp_path / "look" / name).read_text(encoding="utf-8")


def test_what_looks_wrong_is_said(write_model: WriteModel, write_contract: WriteContract, cohort: Cohort, tmp_path: Path) -> None:
    contract = write_contract(intensity={"lower": 1000, "upper": 4000}, **SIGMOID)  # of CT, on 8-bit pictures
    dry_run(open_candidate(write_model([[3.0]]), contract=contract), cohort, "test", tmp_path / "look")
    doubts = " ".join(json.loads((tmp_path / "look/dry_run.json").read_text(encoding="utf-8"))["doubts"])
    for part in ("cut off", "the same answer", "as one grey level", "if the model has done so itself"):
        assert part in doubts
    decisions = open_candidate(write_model([[1000.0]]), contract=write_contract(**SIGMOID))
    dry_run(decisions, cohort, "test", tmp_path / "look")  # replaces the older one
    doubts = " ".join(json.loads((tmp_path / "look/dry_run.json").read_text(encoding="utf-8"))["doubts"])
    assert "exactly 0 or 1" in doubts


def test_refused_images_are_listed_and_others_shown(
    write_model: WriteModel, write_contract: WriteContract, cohort: Cohort, tmp_path: Path
) -> None:
    contract = write_contract(intensity={"method": "range", "upper": 200}, **SIGMOID)  # the sick ones are brighter than that
    dry_run(open_candidate(write_model([[3.0]]), contract=contract), cohort, "test", tmp_path / "look")
    record = json.loads((tmp_path / "look/dry_run.json").read_text(encoding="utf-8"))
    assert len(record["cases"]) == 3 and "this model accepts [0, 200]" in next(iter(record["refused"].values()))
    none = write_contract(intensity={"method": "range", "upper": 2}, **SIGMOID)
    with pytest.raises(MedaiError, match=r"accepts none of \d+ images tried: the image's values"):
        dry_run(open_candidate(write_model([[3.0]]), contract=none), cohort, "test", tmp_path / "look")


def test_a_folder_with_other_things_is_left_alone(
    write_model: WriteModel, write_contract: WriteContract, cohort: Cohort, tmp_path: Path
) -> None:
    (tmp_path / "look").mkdir()
    (tmp_path / "look/thesis.doc").touch()
    with pytest.raises(MedaiError, match=r"exists already and holds other things"):
        dry_run(open_candidate(write_model(), contract=write_contract()), cohort, "test", tmp_path / "look")


def test_the_page_is_in_each_language_that_is_asked_for(
    write_model: WriteModel, write_contract: WriteContract, cohort: Cohort, tmp_path: Path
) -> None:
    contract = write_contract(intensity={"lower": 1000, "upper": 4000}, **SIGMOID)  # of CT, on 8-bit pictures: with doubts
    candidate = open_candidate(write_model([[3.0]]), contract=contract)
    dry_run(candidate, cohort, "test", tmp_path / "look", ("en", "zh"))
    english, zh = ((tmp_path / "look" / name).read_text(encoding="utf-8") for name in ("dry_run.html", "dry_run.zh.html"))
    assert '<html lang="en">' in english and 'href="dry_run.zh.html">中文</a>' in english and "Look at this before you go on" in english
    assert '<html lang="zh-CN">' in zh and 'href="dry_run.html">English</a>' in zh and "继续之前请先查看" in zh and "测试病例3例" in zh
    own = str(candidate.threshold_source)  # the user's own words stay
    left = [text.replace(str(candidate.path), "").replace(own, "") for text in text_of(zh)]
    assert [text for text in left if ENGLISH_WORDS.search(text)] == []
    alone = dry_run(candidate, cohort, "test", tmp_path / "look", ("zh",))
    assert '<html lang="zh-CN">' in alone.read_text(encoding="utf-8") and not alone.with_name("dry_run.zh.html").exists()
    assert 'class="language"' not in alone.read_text(encoding="utf-8")


def test_faults_and_refusals_are_put_into_chinese(
    write_model: WriteModel, write_contract: WriteContract, cohort: Cohort, tmp_path: Path
) -> None:
    with pytest.raises(MedaiError, match="set activation: sigmoid"):
        dry_run(open_candidate(write_model([[-9.0]]), contract=write_contract()), cohort, "test", tmp_path / "look", ("zh",))
    page = (tmp_path / "look/dry_run.html").read_text(encoding="utf-8")
    assert "不是概率：若为logit，请设activation: sigmoid" in page and "which are no probabilities" not in page
    contract = write_contract(intensity={"method": "range", "upper": 200}, **SIGMOID)
    page = dry_run(open_candidate(write_model([[3.0]]), contract=contract), cohort, "test", tmp_path / "look", ("zh",)).read_text("utf-8")
    assert "该模型接受[0, 200]" in page and "this model accepts" not in page


def test_both_languages_of_the_page_have_the_same_strings_with_the_same_fields() -> None:
    assert ENGLISH.keys() == CHINESE.keys()
    for key, text in ENGLISH.items():
        assert fields(text) == fields(CHINESE[key]), key
        assert HAN.search(CHINESE[key]) or not ENGLISH_WORDS.search(text), key
    assert page_names(("zh", "en")) == {"zh": "dry_run.html", "en": "dry_run.en.html"}
    with pytest.raises(MedaiError, match="no report in the language 'fr'"):
        page_names(("fr",))
