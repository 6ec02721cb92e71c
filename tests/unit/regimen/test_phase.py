"""Not loaded, loading or loaded: the boundaries of doses, days and months."""

from __future__ import annotations

import pytest

from regimen.facts import Concept, Domain, DoseGiven, Finding, Order, OrderStatus, PatientFacts
from regimen.neurology import neurology
from regimen.phase import Stage, treatment_phase
from regimen.protocol import load_protocol
from tests.unit.regimen.builders import ALT, M23, TIW2, TODAY, ago, doses, finding, order

PROTOCOL = load_protocol()
LOADED, LOADING, NOT_LOADED = Stage.LOADED, Stage.LOADING, Stage.NOT_LOADED
NUMB = finding(Concept.NEURO_FINDING, Domain.SENSORY)


def stage(
    *, given: tuple[DoseGiven, ...] = (), orders: tuple[Order, ...] = (), signs: bool = False
) -> Stage:
    findings: tuple[Finding, ...] = (NUMB,) if signs else ()
    facts = PatientFacts(as_of=TODAY, doses=given, orders=orders, findings=findings)
    return treatment_phase(facts, neurology(facts, PROTOCOL), PROTOCOL).stage


def active(schedule: object, *, start: int = 60, name: str = "running") -> Order:
    return order(schedule, status=OrderStatus.ACTIVE, start=ago(start), name=name)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (doses(), NOT_LOADED),
        (doses(30, 32, 34, 37, 39, 41), LOADED),
        (doses(30, 32, 34, 37, 39), NOT_LOADED),
        (doses(30, 35, 40, 45, 50, 57), LOADED),  # inside 28 days
        (doses(30, 35, 40, 45, 50, 58), NOT_LOADED),
        (doses(30, 32, 34, 37, 39, 41, dose="250"), NOT_LOADED),
        (doses(30, 32, 34, 37, 39, 41, dose=None), NOT_LOADED),  # a dose that is not said
        (doses(21), LOADING),
        (doses(22), NOT_LOADED),
        (doses(182, 184, 186, 189, 191, 193), LOADED),  # last on 15 December: 6 months to the day
        (doses(183, 184, 186, 189, 191, 193), NOT_LOADED),  # lapsed
    ],
)
def test_doses_given(given: tuple[DoseGiven, ...], expected: Stage) -> None:
    assert stage(given=given) is expected


@pytest.mark.parametrize(
    ("orders", "expected"),
    [
        ((active(M23),), LOADED),
        ((active(TIW2, start=5),), LOADING),
        ((active(ALT),), LOADING),
        ((order(TIW2, status=OrderStatus.COMPLETED, start=ago(60)),), LOADED),
        ((order(TIW2, status=OrderStatus.COMPLETED, start=ago(300)),), NOT_LOADED),
        ((order(TIW2, status=OrderStatus.STOPPED, start=ago(60)),), NOT_LOADED),
        ((order(M23, status=OrderStatus.STOPPED, start=ago(60)),), NOT_LOADED),
        ((order(TIW2, status=OrderStatus.ACTIVE, start=ago(60), end=ago(46)),), LOADED),
        ((order(M23, status=OrderStatus.ON_HOLD, start=ago(60)),), NOT_LOADED),
    ],
)
def test_orders_on_record(orders: tuple[Order, ...], expected: Stage) -> None:
    assert stage(orders=orders) is expected


def test_with_neurological_signs_six_doses_do_not_end_loading() -> None:
    given = doses(5, 7, 9, 11, 13, 15)
    assert stage(given=given, signs=True) is LOADING
    assert stage(given=given, orders=(active(ALT),), signs=True) is LOADING
    stopped = order(ALT, status=OrderStatus.STOPPED, start=ago(60))
    assert stage(given=given, orders=(stopped,), signs=True) is LOADED
    assert stage(given=given, orders=(active(M23),), signs=True) is LOADED


def test_a_lapsed_maintenance_is_not_loaded() -> None:
    assert stage(given=doses(250), orders=(active(M23, start=500),)) is NOT_LOADED
    assert stage(given=doses(100), orders=(active(M23, start=500),)) is LOADED


def test_loading_and_maintenance_ordered_together_are_loading_while_the_first_runs() -> None:
    pair = (active(ALT, start=10, name="loading"), active(M23, start=10, name="next"))
    assert stage(given=doses(1, 3, 5, 7, 9), orders=pair, signs=True) is LOADING
    pair = (active(TIW2, start=4, name="loading"), active(M23, start=4, name="next"))
    assert stage(given=doses(1, 4), orders=pair) is LOADING


def test_maintenance_that_begins_in_the_future_has_not_begun() -> None:
    assert stage(orders=(active(M23, start=-5),)) is NOT_LOADED
