"""The Gregorian calendar in days since 1970-01-01, without the host's clock or time zones."""

from __future__ import annotations

from typing import Final

#: Days of 400 years, and from 0000-03-01 to 1970-01-01.
_ERA: Final = 146_097
_TO_1970: Final = 719_468


def days_of(year: int, month: int, day: int) -> int:
    """Days from 1970-01-01 to a date; ValueError where there is no such day."""
    y = year - (month <= 2)
    of_year = (153 * ((month + 9) % 12) + 2) // 5 + day - 1
    days = y // 400 * _ERA + y % 400 * 365 + y % 400 // 4 - y % 400 // 100 + of_year - _TO_1970
    if not 1 <= month <= 12 or date_of(days) != (year, month, day):
        raise ValueError(f"there is no {year:04}-{month:02}-{day:02}")
    return days


def date_of(days: int) -> tuple[int, int, int]:
    """Year, month and day, `days` after 1970-01-01."""
    era, of_era = divmod(days + _TO_1970, _ERA)
    year = (of_era - of_era // 1460 + of_era // 36_524 - of_era // 146_096) // 365
    of_year = of_era - (365 * year + year // 4 - year // 100)
    month = (5 * of_year + 2) // 153
    day = of_year - (153 * month + 2) // 5 + 1
    month = month + 3 if month < 10 else month - 9
    return year + 400 * era + (month <= 2), month, day
