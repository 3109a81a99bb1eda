"""Groups: any column, age bands, intersections, and what is said where there is none."""

import numpy as np
import polars as pl
import pytest

from medai.evaluation.group import age_bands, groups_of


def table(**columns: list[object]) -> pl.DataFrame:
    n = len(next(iter(columns.values())))
    return pl.DataFrame({"case_id": [f"c{i}" for i in range(n)], **columns}, strict=False)


def sizes(frame: pl.DataFrame, *columns: str) -> dict[str, int]:
    return {group.value: int(group.chosen.sum()) for group in groups_of(frame, columns)[0]}


def test_ages_fall_into_bands_that_begin_at_their_first_year() -> None:
    ages = pl.Series([0, 17.99, 18, 39.9, 40, 64, 65, 79.9, 80, 125, 126, 999, -1, None, float("nan")], strict=False)
    expected = ["0-17", "0-17", "18-39", "18-39", "40-64", "40-64", "65-79", "65-79", "80+", "80+"] + [None] * 5
    assert age_bands(ages).to_list() == expected


def test_age_bands_are_made_of_age_years_and_unknown_ages_come_last() -> None:
    frame = table(age_years=[90, 3, None, 999, 50])
    assert sizes(frame, "age_band") == {"0-17": 1, "40-64": 1, "80+": 1, "unknown": 2}
    assert list(sizes(frame, "age_band"))[-1] == "unknown"


def test_a_column_of_age_bands_of_ones_own_is_taken_as_it_is() -> None:
    assert sizes(table(age_years=[3, 90], age_band=["child", "old"]), "age_band") == {"child": 1, "old": 1}


def test_intersections_hold_the_pairs_that_occur_and_divide_the_table() -> None:
    frame = table(site=["A", "A", "B", "B", None], sex=["F", "M", "F", "F", "M"], age_years=[5, 5, 70, 70, 70])
    assert sizes(frame, "site*sex") == {"A × F": 1, "A × M": 1, "B × F": 2, "unknown × M": 1}
    assert sizes(frame, "site * sex") == sizes(frame, "site*sex")
    groups, _ = groups_of(frame, ["site*sex*age_band"])
    assert np.sum([group.chosen for group in groups], axis=0).tolist() == [1] * 5
    assert [group.unknown for group in groups] == [False, False, False, True]


@pytest.mark.parametrize(
    ("column", "values", "expected"),
    [
        ("flag", [True, False, None], {"false": 1, "true": 1, "unknown": 1}),
        ("year", [2020, 2021, 2020], {"2020": 2, "2021": 1}),
        ("site", [" A", "A ", ""], {"A": 2, "unknown": 1}),
        ("share", [0.5, float("nan"), 0.5], {"0.5": 2, "unknown": 1}),
    ],
)
def test_any_column_makes_groups(column: str, values: list[object], expected: dict[str, int]) -> None:
    assert sizes(table(**{column: values}), column) == expected


@pytest.mark.parametrize(
    ("column", "reason"),
    [
        ("scanner", "not in the table"),
        ("empty", "not in the table"),
        ("site*scanner", "'scanner' is not in the table"),
        ("age_band", "not known: 'age_years' is no number"),
        ("number", "60 different values, at most 50 are shown"),
        ("number*site", "60 different values, at most 50 are shown"),
        ("pair", "no column of single values"),
    ],
)
def test_why_a_column_is_left_out(column: str, reason: str) -> None:
    n = 60
    frame = table(site=["A"] * n, empty=[None] * n, number=list(range(n)), age_years=["045Y"] * n, pair=[[1, 2]] * n)
    groups, left_out = groups_of(frame, [column])
    assert groups == ()
    assert left_out == {column: reason}


def test_ages_of_too_many_values_point_to_the_bands() -> None:
    assert "group by 'age_band' instead" in groups_of(table(age_years=list(range(60))), ["age_years"])[1]["age_years"]
    assert "made of 'age_years'" in groups_of(table(site=["A"]), ["age_band"])[1]["age_band"]
    assert groups_of(table(age_years=[None, None]), ["age_band"])[1] == {"age_band": "not known: 'age_years' is empty"}


def test_a_column_named_twice_counts_once() -> None:
    assert len(groups_of(table(site=["A", "B"]), ["site", "site"])[0]) == 2
