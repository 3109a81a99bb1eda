import polars as pl
import pytest

from medai.core.error import MedaiError
from medai.source.target import order_classes, parse_targets


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
    assert _one("x", ["b", "a"]) == (("a", "b"), [1, 0])


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
    ],
)
def test_a_wrong_definition_is_told_in_one_line(targets: list[object], message: str) -> None:
    with pytest.raises(MedaiError, match=message):
        parse_targets(targets)
