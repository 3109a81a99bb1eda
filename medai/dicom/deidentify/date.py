"""Dates moved by a person's secret number of days, and ages that no longer single out the old."""

import calendar
import re
from datetime import date, timedelta

OLDEST_YEARS = 90
"""An age of 90 years or more is told as this (45 CFR 164.514(b)(2)(i)(C): ages over 89 in one class)."""

_DATE = re.compile(r"(\d{4})[.:/-]?(\d{2})[.:/-]?(\d{2})")
_DATETIME = re.compile(r"(\d{4})(\d{2})?(\d{2})?(\d{2}(?:\d{2}(?:\d{2}(?:\.\d{1,6})?)?)?)?([+-]\d{4})?")
_TIME = re.compile(r"\d{2}(?::?\d{2}(?::?\d{2}(?:\.\d{1,6})?)?)?")
_DAYS = {"D": 1.0, "W": 7.0, "M": 365.25 / 12, "Y": 365.25}


def shift_date(text: str, days_back: int) -> str | None:
    """A DA (PS3.5 6.2) moved into the past; None where it is no date or leaves the calendar.

    Example:
        >>> shift_date("20240301", 1)
        '20240229'
    """
    match = _DATE.fullmatch(text.strip())
    shifted = _shift(match[1], match[2], match[3], days_back) if match else None
    return f"{shifted:%Y%m%d}".zfill(8) if shifted else None


def shift_datetime(text: str, days_back: int) -> str | None:
    """A DT (PS3.5 6.2) moved into the past; the time of day, the offset from UTC and the precision stay.

    A value without a day (or month) is moved from its last day, so that the order of two dates is never turned by more than
    the precision that they have.

    Example:
        >>> shift_datetime("20240301120000.5+0800", 1)
        '20240229120000.5+0800'
    """
    match = _DATETIME.fullmatch(text.strip())
    if match is None or (match[4] and not match[3]):
        return None
    shifted = _shift(match[1], match[2], match[3], days_back)
    if shifted is None:
        return None
    digits = f"{shifted:%Y%m%d}".zfill(8)
    kept = digits[: 8 if match[3] else 6 if match[2] else 4]
    return kept + (match[4] or "") + (match[5] or "")


def _shift(year: str, month: str | None, day: str | None, days_back: int) -> date | None:
    try:
        number = int(month or 12)
        last = calendar.monthrange(int(year), number)[1]
        return date(int(year), number, int(day or last)) - timedelta(days=days_back)
    except (ValueError, OverflowError, calendar.IllegalMonthError):
        return None


def is_time(text: str) -> bool:
    """Whether a TM is one, and not a text in its place."""
    return _TIME.fullmatch(text.strip()) is not None


def cap_age(text: str) -> str | None:
    """An AS (PS3.5 6.2) of at most 90 years; None where it is no age.

    Example:
        >>> cap_age("093Y"), cap_age("012M")
        ('090Y', '012M')
    """
    match = re.fullmatch(r"(\d{1,3})([DWMY])", text.strip().upper())
    if match is None:
        return None
    years = int(match[1]) * _DAYS[match[2]] / _DAYS["Y"]
    return f"{OLDEST_YEARS:03}Y" if years >= OLDEST_YEARS else f"{int(match[1]):03}{match[2]}"


def age_between(birth: str, study: str) -> str | None:
    """The age at the study as AS, capped; None where it cannot be told."""
    first, last = _DATE.fullmatch(birth.strip()), _DATE.fullmatch(study.strip())
    start = _shift(first[1], first[2], first[3], 0) if first else None
    end = _shift(last[1], last[2], last[3], 0) if last else None
    if start is None or end is None or not 0 <= (end - start).days < 150 * _DAYS["Y"]:
        return None
    days = (end - start).days
    if days >= 2 * _DAYS["Y"]:
        return f"{min(int(days / _DAYS['Y']), OLDEST_YEARS):03}Y"
    return f"{int(days / _DAYS['M']):03}M" if days >= 60 else f"{days:03}D"
