import re
from dataclasses import fields
from pathlib import Path

import polars as pl
import pytest
import yaml

from medai.core.error import MedaiError
from medai.dicom.deidentify.burned_in import BurnedInRule
from medai.dicom.series_rules import SeriesRules
from medai.source.readers import RULES
from medai.source.target import order_classes, parse_targets

CARD = Path(__file__).resolve().parents[2] / "datasets" / "dicom.md"


def _one(entry: object, values: list[object]) -> tuple[tuple[str, ...], list[int | None]]:
    (target,) = parse_targets([entry])
    raw = (
        pl.Series("x", values, strict=False)
        if not all(isinstance(value, str | None) for value in values)
        else pl.Series("x", values, dtype=pl.String)
    )
    label = target.label(raw)
    return label.classes, target.indices(raw, label, "table.csv").to_list()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["0", "1", "1"], [0, 1, 1]),
        (["1.0", "0.0", ""], [1, 0, None]),
        (["True", "False", "nan"], [1, 0, None]),
        (["yes", "no", " YES "], [1, 0, 1]),
        ([True, False, None], [1, 0, None]),
        (["1", "1", "1"], [1, 1, 1]),
    ],
)
def test_two_valued_columns_are_understood(values: list[object], expected: list[int | None]) -> None:
    assert _one("x", values) == (("negative", "positive"), expected)


def test_two_words_are_ordered_normal_first() -> None:
    assert _one("x", ["PNEUMONIA", "NORMAL"]) == (("NORMAL", "PNEUMONIA"), [1, 0])
    assert _one("x", ["no tumour", "a tumour"])[0] == ("no tumour", "a tumour")
    assert _one("x", ["异常", "正常"])[0] == ("正常", "异常")


@pytest.mark.parametrize(("negative", "positive"), [("Nein", "Ja"), ("non", "oui"), ("否", "是"), ("阴性", "阳性"), ("negativ", "positiv")])
def test_yes_and_no_of_other_languages_are_not_ordered_by_the_alphabet(negative: str, positive: str) -> None:
    assert _one("x", [positive, negative, None]) == (("negative", "positive"), [1, 0, None])


def test_words_of_several_hands_for_yes_and_no_are_two_classes() -> None:
    assert _one("x", ["TRUE", "no", "1", "yes", "0"]) == (("negative", "positive"), [1, 0, 1, 1, 0])


def test_two_words_that_do_not_say_which_is_negative_are_asked_for() -> None:
    with pytest.raises(MedaiError, match="holds 'Huber' and 'Meier', and nothing says which is the negative one; give"):
        _one("x", ["Meier", "Huber"])
    assert _one({"name": "x", "classes": ["Meier", "Huber"]}, ["Meier", "Huber"])[1] == [0, 1]


def test_free_text_and_numbers_of_patients_are_no_classes() -> None:
    for cells in ([f"effusion, Mrs {number}" for number in range(30)], [str(1000 + number % 20) for number in range(60)]):
        with pytest.raises(MedaiError, match=r"distinct values in \d+ rows: free text or names, it seems"):
            _one("x", cells)
    assert len(_one("x", [f"class {number % 20}" for number in range(80)])[0]) == 20


def test_three_words_are_classes_and_numbers_are_ordered_as_numbers() -> None:
    assert _one("x", ["b", "c", "a", None]) == (("a", "b", "c"), [1, 2, 0, None])
    assert order_classes(["10", "9", "1"]) == ["1", "9", "10"]


def test_values_lead_to_classes() -> None:
    entry = {"name": "x", "classes": ["low", "high"], "values": {0: "low", 1: "low", 2: "high"}}
    assert _one(entry, ["0", "2", "1"]) == (("low", "high"), [0, 1, 0])


def test_class_names_and_their_indices_are_understood() -> None:
    entry = {"name": "x", "kind": "ordinal", "classes": ["none", "mild", "severe"]}
    assert _one(entry, ["none", "2", "Mild", None]) == (("none", "mild", "severe"), [0, 2, 1, None])


def test_a_numeric_class_name_is_a_name_and_no_index() -> None:
    assert _one({"name": "x", "classes": ["1", "2", "3"]}, ["1", "3"])[1] == [0, 2]


def test_a_value_outside_its_classes_names_the_row() -> None:
    with pytest.raises(MedaiError, match=r"table.csv row 3: 'x' is 'maybe'; allowed for the label 'x': no, yes \(or 0 to 1\)"):
        _one({"name": "x", "classes": ["no", "yes"]}, ["yes", "no", "maybe"])


def test_a_constant_column_and_a_measurement_are_no_classes() -> None:
    with pytest.raises(MedaiError, match="holds the value 'a' alone"):
        _one("x", ["a", "a"])
    with pytest.raises(MedaiError, match="holds 100 distinct values"):
        _one("x", [str(number) for number in range(100)])


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        ([{"name": "x", "klass": []}], "unknown key 'klass'; allowed: name, column, kind"),
        ([{"column": "x"}], "has no name"),
        (["sex"], "'sex' is a column of the case table"),
        (["a", "a"], "names 'a' twice"),
        ([{"name": "x", "classes": ["a", "b"], "values": {"1": "c"}}], "leads to 'c', which is not one of the classes"),
        ([{"name": "x", "column": "y", "readers": ["a", "b"]}], "dataset.targets.x has column and readers; give one of them"),
        ([{"name": "x", "readers": ["a"]}], r"dataset.targets.x.readers is \['a'\]; it names two or more different columns"),
        ([{"name": "x", "readers": ["a", "a"]}], "it names two or more different columns"),
        ([{"name": "x", "contains": "y", "values": {"1": "a"}}], "has contains: it makes a label of two classes, and takes no values"),
        ([{"name": "x", "contains": "y", "classes": ["a", "b", "c"]}], "has contains: it makes a label of two classes"),
        ([{"name": "x", "values": {-1: "no", 1: "yes"}, "uncertain": -1}], "'-1' is uncertain and one of the values"),
    ],
)
def test_a_wrong_definition_is_told_in_one_line(targets: list[object], message: str) -> None:
    with pytest.raises(MedaiError, match=message):
        parse_targets(targets)


def _uncertain(entry: object, values: list[str]) -> tuple[list[int | None], list[bool]]:
    (target,) = parse_targets([entry])
    raw = pl.Series("x", values, dtype=pl.String)
    indices, uncertain = target.columns(raw, target.label(raw), "table.csv")
    assert (indices.name, uncertain.name) == ("label.x", "label.x.uncertain")
    return indices.to_list(), uncertain.to_list()


@pytest.mark.parametrize("entry", ["x", {"name": "x", "classes": ["no", "yes"]}, {"name": "x", "values": {0: "no", 1: "yes"}}])
def test_minus_one_in_a_binary_column_is_uncertain_and_no_class(entry: object) -> None:
    values = ["1.0", "-1.0", "", "0.0", "-1"]
    assert _uncertain(entry, values) == ([1, None, None, 0, None], [False, True, False, False, True])
    (target,) = parse_targets([entry])
    assert target.label(pl.Series("x", values)).kind == "binary"


def test_minus_one_stays_a_class_where_it_is_named_or_one_of_several() -> None:
    assert _uncertain({"name": "x", "values": {-1: "no", 1: "yes"}}, ["-1", "1"]) == ([0, 1], [False, False])
    (target,) = parse_targets(["x"])
    raw = pl.Series("x", ["-1", "0", "1", "2"])
    assert set(target.label(raw).classes) == {"-1", "0", "1", "2"} and _uncertain("x", raw.to_list())[1] == [False] * 4
    with pytest.raises(MedaiError, match=r"row 2: 'x' is '-1'; allowed for the label 'x': a, b, c"):
        _uncertain({"name": "x", "classes": ["a", "b", "c"]}, ["0", "-1"])


def test_minus_one_beside_one_class_alone_must_be_told() -> None:
    with pytest.raises(MedaiError, match=r"'x' holds -1 and 1 alone: -1 may be a class or mean uncertain; give the target classes"):
        _uncertain("x", ["-1", "1", ""])
    assert _uncertain({"name": "x", "classes": ["negative", "positive"]}, ["-1", "1", ""])[1] == [True, False, False]


def test_what_means_uncertain_can_be_named() -> None:
    entry = {"name": "x", "kind": "ordinal", "classes": ["a", "b", "c"], "uncertain": [-1, "?"]}
    assert _uncertain(entry, ["0", "-1", "?", "c", ""]) == ([0, None, None, 2, None], [False, True, True, False, False])
    assert _uncertain({"name": "x", "uncertain": "U"}, ["1", "u", "0"]) == ([1, None, 0], [False, True, False])
    (target,) = parse_targets([{"name": "x", "uncertain": "?"}])
    assert target.label(pl.Series("x", ["b", "?", "a", "c"])).classes == ("a", "b", "c")


def test_minus_one_where_it_means_nothing_yet_says_how_to_make_it_uncertain() -> None:
    with pytest.raises(MedaiError, match="allowed for the label 'x': a, b, c .*; if it means not sure, say uncertain: -1"):
        _uncertain({"name": "x", "classes": ["a", "b", "c"]}, ["0", "-1"])


def test_a_finding_is_looked_for_in_a_cell_that_lists_several() -> None:
    cells = ["Effusion|Mass", " mass ", "No Finding", "", None, "Pleural_Effusion", "Hernia | EFFUSION"]
    entry = {"name": "e", "column": "x", "contains": "Effusion"}
    assert _one(entry, cells) == (("negative", "positive"), [1, 0, 0, None, None, 0, 1])
    assert _one({"name": "m", "contains": "b", "separator": ";", "classes": ["absent", "present"]}, ["a;b", "a|b"]) == (
        ("absent", "present"),
        [1, 0],
    )


def test_a_finding_that_no_cell_lists_is_a_slip_unless_the_classes_are_given() -> None:
    with pytest.raises(MedaiError, match="no cell of 'x' contains 'Efusion'; they hold: effusion, mass; if none is meant to, give"):
        _one({"name": "x", "contains": "Efusion"}, ["Effusion|Mass", "Mass"])
    assert _one({"name": "x", "contains": "Hernia", "classes": ["negative", "positive"]}, ["Mass"])[1] == [0]


def test_the_card_s_forms_of_a_target_and_rules_are_those_of_the_code() -> None:
    text = CARD.read_text(encoding="utf-8")
    forms, rules = text.partition("## Labels")[2].partition("## Several readers")[::2]
    (multi,) = parse_targets([yaml.safe_load(re.findall(r"`(\{name: effusion.*?\})`", forms)[0])])
    assert (multi.column, multi.contains, multi.separator) == ("Finding Labels", "Effusion", "|")
    targets = parse_targets([yaml.safe_load(form) for form in re.findall(r"^\| `(.*?)` \|", forms, re.MULTILINE)])
    assert [target.name for target in targets] == ["pneumonia", "grade", "sex_label", "effusion", "nodule"]
    assert tuple(re.findall(r"^\| `(\w+)`", rules, re.MULTILINE)) == RULES


def test_the_card_documents_every_rule_of_series_and_burned_in_text() -> None:
    text = CARD.read_text(encoding="utf-8")
    for rules in (SeriesRules, BurnedInRule):
        for entry in fields(rules):
            assert f"`{entry.name}" in text, entry.name
