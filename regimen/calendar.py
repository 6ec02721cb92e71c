"""Calendar arithmetic on whole days: months back, and whether something is recent enough."""

from __future__ import annotations

from calendar import monthrange
from datetime import date, timedelta


def months_before(day: date, months: int) -> date:
    """The same day of the month, `months` earlier; the last day of a shorter month."""
    index = day.year * 12 + day.month - 1 - months
    if index < 12:
        return date.min
    year, month = divmod(index, 12)
    return date(year, month + 1, min(day.day, monthrange(year, month + 1)[1]))


def months_after(day: date, months: int) -> date:
    """The same day of the month, `months` later. Raises ValueError beyond the calendar."""
    return months_before(day, -months)


def within_months(on: date | None, as_of: date, months: int) -> bool:
    """Is `on` known, and not longer ago than that? The boundary day counts."""
    return on is not None and on >= months_before(as_of, months)


def within_days(on: date | None, as_of: date, days: int) -> bool:
    """Is `on` known, and not longer ago than that? The boundary day counts."""
    return on is not None and on >= as_of - timedelta(days=days)


def years_between(born: date, as_of: date) -> int:
    """Completed years; a 29 February birthday falls on 1 March in other years."""
    return as_of.year - born.year - ((as_of.month, as_of.day) < (born.month, born.day))
