from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from medai.core.error import MedaiError
from medai.source.readers import RULES, ReaderSettings, combine
from medai.source.table import annotate, role_columns
from medai.source.target import parse_targets

PATH = Path("t.csv")


def _label(votes: list[list[int]], rule: str) -> list[Any]:
    """The class, "?" for uncertain, None for unknown."""
    index, uncertain = combine(pl.Series(votes, dtype=pl.List(pl.Int16)), rule)
    assert index.dtype == pl.Int16 and not (index.is_not_null() & uncertain).any()
    return ["?" if unsure else value for value, unsure in zip(index, uncertain, strict=True)]


def test_the_most_frequent_answer_wins_and_a_tie_is_uncertain() -> None:
    votes = [[1, 1, 0], [1, 0], [0, 2, 2, 1], [0, 1, 2], [1], [], [-1, -1, 1], [1, 1, -1], [1, -1], [-1]]
    assert _label(votes, "majority") == [1, "?", 2, "?", 1, None, "?", 1, "?", "?"]


def test_consensus_wants_all() -> None:
    assert _label([[1, 1], [0, 0, 0], [1, 0], [1, -1], [-1, -1], [2], []], "consensus") == [1, 0, "?", "?", "?", 2, None]


def test_any_positive_reader_makes_it_positive() -> None:
    assert _label([[0, 1], [0, 0], [0, -1], [-1, 1], [-1], []], "any") == [1, 0, "?", 1, "?", None]


def test_the_median_is_of_those_who_are_sure_and_never_between_two_classes() -> None:
    votes = [[0, 3, 1], [1, 1, 3, 4], [0, 1], [1, 3], [2, 2, -1], [-1, -1], [], [3, 0, 0, 2, 2]]
    assert _label(votes, "median") == [1, "?", "?", "?", 2, "?", None, 2]


def test_the_first_is_the_first_who_read_it() -> None:
    assert _label([[1, 0, 0], [-1, 1], [], [0]], "first") == [1, "?", None, 0]


@pytest.mark.parametrize("rule", RULES)
def test_each_rule_agrees_with_plain_python_on_random_votes(rule: str) -> None:
    random = np.random.default_rng(len(rule))
    votes = [random.integers(-1, 2, random.integers(0, 6)).tolist() for _ in range(500)]

    def plain(row: list[int]) -> Any:
        if not row:
            return None
        sure = sorted(value for value in row if value >= 0)
        common = Counter(row).most_common()
        answers = {
            "first": row[0],
            "consensus": row[0] if len(set(row)) == 1 else -1,
            "any": 1 if 1 in row else -1 if -1 in row else 0,
            "median": sure[len(sure) // 2] if sure and sure[len(sure) // 2] == sure[(len(sure) - 1) // 2] else -1,
            "majority": common[0][0] if len(common) == 1 or common[0][1] > common[1][1] else -1,
        }
        return "?" if answers[rule] == -1 else answers[rule]

    assert _label(votes, rule) == [plain(row) for row in votes]


def test_a_wrong_rule_is_told() -> None:
    with pytest.raises(MedaiError, match="dataset.readers.rule is 'vote'; allowed: majority, consensus, any, median, first"):
        ReaderSettings.from_dict({"rule": "vote"})
    with pytest.raises(MedaiError, match="dataset.readers has the unknown key 'least'; allowed: rule"):
        ReaderSettings.from_dict({"least": 2})
    with pytest.raises(MedaiError, match=r"dataset.targets.x.rule is 'most'; allowed"):
        parse_targets([{"name": "x", "rule": "most"}])
    assert ReaderSettings.from_dict({}) == ReaderSettings("majority")


LONG = pl.DataFrame(
    {
        "study": ["s1", "s1", "s1", "s2", "s2", "s3", "s4"],
        "radiologist": ["A", "B", "C", "B", "A", "A", "B"],
        "nodule": ["1", "1", "0", "1", "0", "-1", ""],
        "grade": ["0", "2", "2", "1", "1", "2", "0"],
        "site": ["x", "", "x", "y", "y", None, "z"],
    }
)
GRADE = {"name": "grade", "kind": "ordinal", "classes": ["none", "mild", "severe"], "rule": "median"}


def _annotate(frame: pl.DataFrame, targets: list[Any], rule: str = "majority", **columns: str) -> pl.DataFrame:
    return annotate(frame, role_columns(frame, columns, PATH), parse_targets(targets), "study", PATH, ReaderSettings(rule))[0]


def test_a_row_a_reader_becomes_a_row_a_key_that_keeps_the_votes() -> None:
    table = _annotate(LONG, ["nodule", GRADE], reader="radiologist")
    assert table["key"].to_list() == ["s1", "s2", "s3", "s4"] and table["site"].to_list() == ["x", "y", None, "z"]
    assert table["label.nodule"].to_list() == [1, None, None, None]
    assert table["label.nodule.uncertain"].to_list() == [False, True, True, False]
    assert table["label.nodule.votes"].to_list() == [[1, 1, 0], [1, 0], [-1], []]
    assert table["label.grade"].to_list() == [2, 1, 2, 0] and table["label.grade.votes"].dtype == pl.List(pl.Int16)


def test_the_data_set_s_rule_holds_where_a_target_has_none() -> None:
    assert _annotate(LONG, ["nodule", GRADE], rule="first", reader="radiologist")["label.nodule"].to_list() == [1, 1, None, None]
    assert _annotate(LONG, ["nodule", GRADE], rule="any", reader="radiologist")["label.nodule"].to_list() == [1, 1, None, None]


def test_columns_of_readers_say_the_same_as_rows_of_readers() -> None:
    wide = pl.DataFrame(
        {"study": ["s1", "s2", "s3", "s4"], "r1": ["1", "1", "-1", ""], "r2": ["1", "0", None, "nan"], "r3": ["0", "", "", ""]}
    )
    table = _annotate(wide, [{"name": "nodule", "readers": ["r1", "r2", "r3"]}])
    columns = ["key", "label.nodule", "label.nodule.uncertain", "label.nodule.votes"]
    assert table.select(columns).equals(_annotate(LONG, ["nodule"], reader="radiologist").select(columns))


def test_readers_in_columns_and_rows_at_once_have_all_their_votes() -> None:
    frame = pl.DataFrame({"study": ["s", "s"], "reader": ["A", "B"], "r1": ["1", "0"], "r2": ["1", ""]})
    table = _annotate(frame, [{"name": "x", "readers": ["r1", "r2"]}])
    assert table["label.x.votes"].to_list() == [[1, 1, 0]] and table["label.x"].to_list() == [1]


def test_one_reader_s_answer_is_the_label_whatever_the_rule() -> None:
    frame = pl.DataFrame({"study": ["a", "b", "c"], "reader": ["A", "A", "B"], "x": ["1", "0", "-1"]})
    for rule in RULES:
        table = _annotate(frame, ["x"], rule=rule)
        assert table["label.x"].to_list() == [1, 0, None] and table["label.x.uncertain"].to_list() == [False, False, True]


def test_what_one_reader_says_twice_must_be_the_same() -> None:
    frame = pl.DataFrame({"study": ["a", "a", "a"], "reader": ["A", "A", "B"], "x": ["1", "1", "0"]})
    assert _annotate(frame, ["x"])["label.x.votes"].to_list() == [[1, 0]]
    with pytest.raises(MedaiError, match="several rows that differ for study = 'a' and the reader 'A'; give one row for each reader"):
        _annotate(frame.with_columns(x=pl.Series(["1", "0", "0"])), ["x"])


def test_readers_may_differ_in_labels_and_in_nothing_else() -> None:
    with pytest.raises(MedaiError, match="the rows of study = 's1' differ in site; only the readers' labels may differ"):
        _annotate(LONG.with_columns(site=pl.Series(["x", "y", "", "", "", "", ""])), ["nodule"], reader="radiologist")


def test_without_a_reader_s_column_differing_rows_say_how_to_name_it() -> None:
    with pytest.raises(MedaiError, match="name the column of the reader"):
        _annotate(LONG.drop("site"), ["nodule"])


def test_a_rule_that_does_not_fit_the_label_is_refused() -> None:
    with pytest.raises(MedaiError, match="the rule 'any' is for binary labels, and 'grade' is ordinal; give the target another rule"):
        _annotate(LONG, [{**GRADE, "rule": None}], rule="any", reader="radiologist")
    with pytest.raises(MedaiError, match="the rule 'median' is for binary and ordinal labels, and 'grade' is multiclass"):
        _annotate(LONG, [{**GRADE, "kind": "multiclass"}], reader="radiologist")


def test_a_value_that_is_none_names_the_reader_s_column_and_row() -> None:
    frame = pl.DataFrame({"study": ["a", "b"], "r1": ["1", "0"], "r2": ["0", "maybe"]})
    with pytest.raises(MedaiError, match=r"t.csv row 3: 'r2' is 'maybe'; allowed for the label 'x'"):
        _annotate(frame, [{"name": "x", "readers": ["r1", "r2"], "classes": ["no", "yes"]}])
    with pytest.raises(MedaiError, match=r"t.csv has no column 'r3' \(target 'x'\)"):
        _annotate(frame, [{"name": "x", "readers": ["r1", "r3"]}])
