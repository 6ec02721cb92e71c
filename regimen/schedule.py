"""How often a dose is given: one type for every way FHIR and people have of saying it.

Intervals are compared as days between doses, on average; months and years by their mean length.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum


class Unit(StrEnum):
    """UCUM units of time, as FHIR `Timing.repeat.periodUnit` spells them."""

    SECOND = "s"
    MINUTE = "min"
    HOUR = "h"
    DAY = "d"
    WEEK = "wk"
    MONTH = "mo"
    YEAR = "a"


DAYS: dict[Unit, Decimal] = {
    Unit.SECOND: Decimal(1) / 86400,
    Unit.MINUTE: Decimal(1) / 1440,
    Unit.HOUR: Decimal(1) / 24,
    Unit.DAY: Decimal(1),
    Unit.WEEK: Decimal(7),
    Unit.MONTH: Decimal("30.4375"),
    Unit.YEAR: Decimal("365.25"),
}


@dataclass(frozen=True, slots=True)
class Duration:
    """A length of time: 2 wk, 10 d."""

    value: Decimal
    unit: Unit

    @property
    def days(self) -> Decimal:
        return self.value * DAYS[self.unit]


@dataclass(frozen=True, slots=True)
class Schedule:
    """`frequency` doses every `period` (to `period_max`) `unit`, for `bounds` or `count` doses.

    `once`: a single dose, no interval. An open-ended schedule has neither bounds nor count.
    """

    frequency: Decimal = Decimal(1)
    period: Decimal = Decimal(1)
    unit: Unit = Unit.DAY
    period_max: Decimal | None = None
    count: int | None = None
    bounds: Duration | None = None
    once: bool = False

    @property
    def interval_days(self) -> Decimal:
        """Mean days between doses, at the shorter end of a range."""
        return self.period * DAYS[self.unit] / self.frequency

    @property
    def longest_interval_days(self) -> Decimal:
        """Mean days between doses, at the longer end of a range."""
        return (self.period_max or self.period) * DAYS[self.unit] / self.frequency

    @property
    def open_ended(self) -> bool:
        return not self.once and self.count is None and self.bounds is None

    @property
    def length_days(self) -> Decimal | None:
        """How long the course lasts, by its bounds or else by its doses; None when open-ended."""
        if self.bounds is not None:
            return self.bounds.days
        if self.count is not None:
            return self.count * self.interval_days
        return None
