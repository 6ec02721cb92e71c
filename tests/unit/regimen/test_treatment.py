"""How much B12 is a treatment? Doses, averages and what was taken when a sample was drawn."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from regimen.facts import Answer, Ingredient, Order, OrderStatus, Route
from regimen.protocol import load_protocol
from regimen.schedule import Schedule, Unit
from regimen.treatment import average_daily_ug, enough_by_mouth, is_b12_treatment
from tests.unit.regimen.builders import M1, every, order

PROTOCOL = load_protocol("default")


def tablets(schedule: Schedule | None, dose: str | None = "1000") -> Order:
    return order(
        schedule,
        ingredient=Ingredient.CYANOCOBALAMIN,
        route=Route.ORAL,
        dose=dose,
        status=OrderStatus.ACTIVE,
    )


@pytest.mark.parametrize(
    ("schedule", "dose", "enough"),
    [
        (every("1", Unit.DAY), "1000", Answer.YES),
        (every("12", Unit.HOUR), "500", Answer.YES),
        (every("24", Unit.HOUR), "1000", Answer.YES),
        (every("2", Unit.DAY), "2000", Answer.YES),
        (every("2", Unit.DAY), "1000", Answer.NO),
        (every("1", Unit.WEEK), "1000", Answer.NO),
        (every("1", Unit.WEEK, frequency="7"), "1000", Answer.YES),
        (M1, "2000", Answer.NO),
        (every("1", Unit.DAY, period_max="2"), "1000", Answer.NO),
        (Schedule(once=True, count=1), "2000", Answer.NO),
        (None, "1000", Answer.UNKNOWN),
        (every("1", Unit.DAY), None, Answer.UNKNOWN),
    ],
)
def test_enough_by_mouth_is_an_average_a_day(
    schedule: Schedule | None, dose: str | None, enough: Answer
) -> None:
    assert enough_by_mouth(tablets(schedule, dose), PROTOCOL) is enough


def test_as_needed_is_not_known_to_be_enough() -> None:
    taken = replace(tablets(every("1", Unit.DAY)), as_needed=True)
    assert enough_by_mouth(taken, PROTOCOL) is Answer.UNKNOWN


def test_of_several_instructions_the_least_counts() -> None:
    first = tablets(every("1", Unit.DAY), "2000")
    second = tablets(every("1", Unit.WEEK))
    both = replace(first, lines=(*first.lines, *second.lines))
    assert average_daily_ug(both) == Decimal(1000) / 7
    assert average_daily_ug(replace(both, lines=(*first.lines, *tablets(None).lines))) is None


def test_an_injection_is_treatment_however_rare() -> None:
    assert is_b12_treatment(order(M1), PROTOCOL) is Answer.YES
    assert is_b12_treatment(replace(order(M1), combination=True), PROTOCOL) is Answer.NO
