"""Does an order conform, in any equivalent encoding? The windows of E.2, from both sides."""

from __future__ import annotations

import pytest

from regimen.facts import (
    Concept,
    Domain,
    Finding,
    Ingredient,
    Order,
    OrderStatus,
    PatientFacts,
    Route,
)
from regimen.protocol import load_protocol
from regimen.recommend import recommend
from regimen.recommendation import Indicator, Topic
from regimen.schedule import Schedule, Unit
from tests.unit.regimen.builders import M23, TIW2, TODAY, ago, every, finding, lab, order

PROTOCOL = load_protocol()
DAY, HOUR, WEEK, MONTH, YEAR = Unit.DAY, Unit.HOUR, Unit.WEEK, Unit.MONTH, Unit.YEAR
NUMB = finding(Concept.NEURO_FINDING, Domain.SENSORY)
PERNICIOUS = finding(Concept.PERNICIOUS_ANAEMIA, onset=ago(800))
RUNNING = order(M23, status=OrderStatus.ACTIVE, start=ago(100), name="running")


def regimen_indicator(
    picked: Order, *findings: Finding, record: tuple[Order, ...] = ()
) -> Indicator | None:
    facts = PatientFacts(
        as_of=TODAY, labs=(lab(),), findings=findings, orders=record, session=(picked,)
    )
    cards = recommend(facts, PROTOCOL)
    return next((r.indicator for r in cards if r.topic is Topic.REGIMEN), None)


def loading(schedule: Schedule, *findings: Finding) -> Indicator | None:
    return regimen_indicator(order(schedule), *findings)


def renewal(
    schedule: Schedule, ingredient: Ingredient = Ingredient.HYDROXOCOBALAMIN
) -> Indicator | None:
    picked = order(schedule, ingredient=ingredient, continues=("MedicationRequest/running",))
    return regimen_indicator(picked, PERNICIOUS, record=(RUNNING,))


INFO, WARNING = Indicator.INFO, Indicator.WARNING


@pytest.mark.fault("D15")
@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (TIW2, None),
        (every("7", DAY, frequency="3", bounds=("14", DAY)), None),
        (every("1", WEEK, frequency="3", count=6), None),
        (every("1", WEEK, frequency="3", bounds=("2", WEEK)), None),
        (every("1", WEEK, frequency="3"), INFO),  # no end
        (every("1", WEEK, frequency="3", bounds=("4", WEEK)), INFO),
        (every("1", WEEK, frequency="3", count=3), INFO),
        (every("2", DAY, bounds=("2", WEEK)), INFO),  # more often, a day apart: no alarm
        (every("1", DAY, bounds=("2", WEEK)), INFO),
        (every("1", WEEK, bounds=("4", WEEK)), INFO),
        (every("12", HOUR, bounds=("2", WEEK)), WARNING),
        (every("8", HOUR), WARNING),
    ],
)
def test_loading_without_signs(schedule: Schedule, expected: Indicator | None) -> None:
    """D15"""
    assert loading(schedule) is expected


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (every("2", DAY), None),
        (every("48", HOUR), None),
        (every("44", HOUR), None),
        (every("52", HOUR), None),
        (TIW2, WARNING),
        (every("2", DAY, bounds=("2", WEEK)), WARNING),  # must not end by itself
        (every("2", DAY, count=7), WARNING),
        (every("1", DAY), INFO),  # more often than the protocol
        (every("3", DAY), WARNING),
        (every("12", HOUR), WARNING),
    ],
)
def test_loading_with_signs(schedule: Schedule, expected: Indicator | None) -> None:
    assert loading(schedule, NUMB) is expected


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (M23, None),
        (every("12", WEEK), None),
        (every("13", WEEK), None),
        (every("93", DAY), None),
        (every("94", DAY), WARNING),
        (every("4", MONTH), WARNING),
        (every("2", MONTH), None),
        (every("1", MONTH), None),  # more frequent is fine
        (every("1", YEAR, frequency="4"), None),
        (every("14", DAY), None),
        (every("13", DAY), INFO),
        (every("1", WEEK), INFO),
        (every("12", HOUR), WARNING),
    ],
)
def test_maintenance(schedule: Schedule, expected: Indicator | None) -> None:
    assert renewal(schedule) is expected


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (every("1", MONTH), None),
        (every("4", WEEK), None),
        (every("31", DAY), None),
        (every("42", DAY), None),  # more often than the protocol
        (every("55", DAY), None),
        (every("56", DAY), WARNING),
        (every("3", MONTH), WARNING),
    ],
)
def test_cyanocobalamin_maintenance_is_monthly(
    schedule: Schedule, expected: Indicator | None
) -> None:
    assert renewal(schedule, Ingredient.CYANOCOBALAMIN) is expected


@pytest.mark.fault("D14")
@pytest.mark.parametrize(
    ("dose", "expected"),
    [("1000", None), (None, None), ("999", INFO), ("100", INFO), ("99", WARNING), ("1", WARNING)],
)
def test_dose(dose: str | None, expected: Indicator | None) -> None:
    """D14"""
    assert regimen_indicator(order(TIW2, dose=dose)) is expected


@pytest.mark.parametrize(
    ("ingredient", "route", "expected"),
    [
        (Ingredient.HYDROXOCOBALAMIN, Route.INTRAMUSCULAR, None),
        (Ingredient.HYDROXOCOBALAMIN, Route.PARENTERAL, None),
        (Ingredient.HYDROXOCOBALAMIN, Route.UNKNOWN, None),
        (Ingredient.HYDROXOCOBALAMIN, Route.SUBCUTANEOUS, INFO),
        (Ingredient.CYANOCOBALAMIN, Route.SUBCUTANEOUS, INFO),  # for the product only
        (Ingredient.HYDROXOCOBALAMIN, Route.INTRAVENOUS, None),  # the IV card says it
    ],
)
def test_product_and_route(
    ingredient: Ingredient, route: Route, expected: Indicator | None
) -> None:
    assert regimen_indicator(order(TIW2, ingredient=ingredient, route=route)) is expected
