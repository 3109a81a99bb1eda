from datetime import date

import polars as pl
import pytest

from medai.cohort.period import Period
from medai.core.error import MedaiError


def test_both_ends_are_included_and_what_has_no_date_is_unknown() -> None:
    period = Period.from_node({"from": "2023-01-01", "to": date(2023, 12, 31)})
    dates = ["20221231", "20230101", "2023.12.31", "2024-01-01", "", None, "2023", "20231345", "20230615120000"]
    assert period.covers(pl.Series(dates)).to_list() == [False, True, True, False, None, None, None, None, True]
    assert period.covers(pl.Series([date(2023, 5, 1), None, date(2024, 1, 1)])).to_list() == [True, None, False]
    assert period.to_dict() == {"from": "2023-01-01", "to": "2023-12-31"}


def test_an_end_may_be_open() -> None:
    dates = pl.Series([date(1999, 1, 1), date(2023, 1, 1), date(2050, 1, 1)])
    assert Period.from_node({"from": "2023-01-01"}).covers(dates).to_list() == [False, True, True]
    assert Period.from_node({"to": "2023-01-01"}).covers(dates).to_list() == [True, True, False]
    assert Period.from_node({"to": "20230101"}).to_dict() == {"to": "2023-01-01"}


@pytest.mark.parametrize(
    ("node", "message"),
    [
        ({}, "has neither from nor to; give one"),
        ({"from": "2024-01-01", "to": "2023-01-01"}, "runs from 2024-01-01 to 2023-01-01; from must not be after to"),
        ({"from": "spring"}, "hold_out.study_date.from is 'spring'; it is a day, e.g. 2023-01-31"),
        ({"form": "2023-01-01"}, "give a period, e.g. {from: 2023-01-01, to: 2023-12-31}"),
        (["2023-01-01"], "give a period"),
    ],
)
def test_a_wrong_period_is_told_in_one_line(node: object, message: str) -> None:
    with pytest.raises(MedaiError, match=message):
        Period.from_node(node)
