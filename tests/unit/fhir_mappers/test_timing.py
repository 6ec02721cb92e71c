"""One schedule, however it is written (D15); what is not said, or cannot be, is unknown."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fhir_mappers.elements import Json
from fhir_mappers.timing import read_schedule
from regimen.schedule import Duration, Schedule, Unit


def every(frequency: object, period: object, unit: str, **more: object) -> Schedule:
    return Schedule(
        frequency=Decimal(str(frequency)),
        period=Decimal(str(period)),
        unit=Unit(unit),
        **more,  # type: ignore[arg-type]
    )


def days(value: int) -> Duration:
    return Duration(Decimal(value), Unit.DAY)


THREE_A_WEEK = every(3, 1, "wk")
WEEKDAYS = ["mon", "wed", "fri"]


@pytest.mark.fault("D15")
@pytest.mark.parametrize(
    ("timing", "schedule"),
    [
        ({"repeat": {"frequency": 3, "period": 1, "periodUnit": "wk"}}, THREE_A_WEEK),
        ({"repeat": {"frequency": 3, "period": 7, "periodUnit": "d"}}, every(3, 7, "d")),
        ({"repeat": {"frequency": 3, "periodUnit": "wk"}}, THREE_A_WEEK),
        ({"repeat": {"dayOfWeek": WEEKDAYS}}, THREE_A_WEEK),
        ({"repeat": {"dayOfWeek": [*WEEKDAYS, "wed"]}}, THREE_A_WEEK),
        ({"repeat": {"dayOfWeek": WEEKDAYS, "period": 1, "periodUnit": "d"}}, THREE_A_WEEK),
        (
            {"repeat": {"dayOfWeek": WEEKDAYS, "frequency": 1, "period": 1, "periodUnit": "wk"}},
            THREE_A_WEEK,
        ),
        (
            {"repeat": {"dayOfWeek": WEEKDAYS, "frequency": 3, "period": 1, "periodUnit": "wk"}},
            THREE_A_WEEK,
        ),
        ({"repeat": {"dayOfWeek": WEEKDAYS, "timeOfDay": ["09:00:00"]}}, THREE_A_WEEK),
        ({"code": {"text": "three times a week"}}, THREE_A_WEEK),
        ({"code": {"coding": [{"code": "TIW"}]}}, THREE_A_WEEK),
        ({"repeat": {"dayOfWeek": "mon"}}, every(1, 1, "wk")),
        ({"repeat": {"dayOfWeek": ["mon"], "period": 1, "periodUnit": "mo"}}, every(1, 1, "mo")),
        ({"repeat": {"period": 2, "periodUnit": "d"}}, every(1, 2, "d")),
        ({"repeat": {"frequency": 1, "period": 48, "periodUnit": "h"}}, every(1, 48, "h")),
        ({"code": {"coding": [{"code": "QOD"}]}}, every(1, 2, "d")),
        ({"code": {"text": "Q2D"}}, every(1, 2, "d")),
        ({"code": {"text": "on alternate days"}}, every(1, 2, "d")),
        ({"code": {"coding": [{"code": "QD", "display": "daily"}]}}, every(1, 1, "d")),
        ({"code": {"coding": [{"code": "X1", "display": "QD"}, {"code": "B.I.D."}]}}, None),
        ({"code": {"coding": [{"code": "BID"}]}}, every(2, 1, "d")),
        ({"code": {"coding": [{"code": "TID"}]}}, every(3, 1, "d")),
        ({"code": {"coding": [{"code": "QID"}]}}, every(4, 1, "d")),
        ({"code": {"coding": [{"code": "Q12H"}]}}, every(1, 12, "h")),
        ({"code": {"coding": [{"code": "WK", "display": "weekly"}]}}, every(1, 1, "wk")),
        ({"code": {"text": "Q2W"}}, every(1, 2, "wk")),
        ({"code": {"text": "every 12 weeks"}}, every(1, 12, "wk")),
        ({"code": {"text": "Every three months"}}, every(1, 3, "mo")),
        ({"code": {"coding": [{"code": "MO"}]}}, every(1, 1, "mo")),
        ({"code": {"text": "monthly"}}, every(1, 1, "mo")),
        ({"code": {"text": "biweekly"}}, None),
        ({"repeat": {"timeOfDay": ["08:00:00", "20:00:00"]}}, every(2, 1, "d")),
        ({"repeat": {"when": ["MORN"]}}, every(1, 1, "d")),
        ({"repeat": {"when": ["PC"]}}, None),
        (
            {"repeat": {"frequency": 1, "period": 2, "periodMax": 3, "periodUnit": "mo"}},
            every(1, 2, "mo", period_max=Decimal(3)),
        ),
        (
            {"repeat": {"frequency": 1, "frequencyMax": 2, "period": 1, "periodUnit": "mo"}},
            every(2, 1, "mo", period_max=Decimal(2)),
        ),
        (
            {"repeat": {"frequency": 1, "period": Decimal("2.0"), "periodUnit": "wk"}},
            every(1, 2, "wk"),
        ),
    ],
)
def test_d15_how_often(timing: Json, schedule: Schedule | None) -> None:
    assert read_schedule(timing) == schedule


DAILY: Json = {"frequency": 1, "period": 1, "periodUnit": "d"}


@pytest.mark.fault("D15")
def test_d15_an_end_without_a_beginning_is_measured_from_the_day_of_the_order() -> None:
    timing = {"repeat": DAILY | {"boundsPeriod": {"end": "2026-06-10"}}}
    assert read_schedule(timing, date(2026, 6, 1)) == every(1, 1, "d", bounds=days(10))
    assert read_schedule(timing, date(2026, 6, 11)) is None
    own = {"repeat": DAILY | {"boundsPeriod": {"start": "2026-06-06", "end": "2026-06-10"}}}
    assert read_schedule(own, date(2026, 6, 1)) == every(1, 1, "d", bounds=days(5))


@pytest.mark.fault("D15")
@pytest.mark.parametrize(
    ("limits", "count", "bounds"),
    [
        ({}, None, None),
        ({"count": 10}, 10, None),
        ({"count": 6, "countMax": 10}, 10, None),
        ({"boundsDuration": {"value": 2, "code": "wk"}}, None, Duration(Decimal(2), Unit.WEEK)),
        ({"boundsDuration": {"value": 10, "unit": "days"}}, None, days(10)),
        ({"boundsPeriod": {"start": "2026-06-01", "end": "2026-06-10"}}, None, days(10)),
        (
            {"boundsPeriod": {"start": "2026-06-01T09:00:00Z", "end": "2026-06-10T09:00:00Z"}},
            None,
            days(10),
        ),
        ({"boundsPeriod": {"start": "2026-06-01"}}, None, None),
        (
            {"boundsRange": {"low": {"value": 7, "code": "d"}, "high": {"value": 10, "code": "d"}}},
            None,
            days(10),
        ),
    ],
)
def test_d15_for_how_long(limits: Json, count: int | None, bounds: Duration | None) -> None:
    assert read_schedule({"repeat": DAILY | limits}) == every(1, 1, "d", count=count, bounds=bounds)


@pytest.mark.fault("D15")
def test_d15_the_limits_hold_for_a_schedule_that_only_a_code_says() -> None:
    timing = {
        "code": {"text": "TIW"},
        "repeat": {"count": 6, "boundsDuration": {"value": 14, "code": "d"}},
    }
    assert read_schedule(timing) == every(3, 1, "wk", count=6, bounds=days(14))


@pytest.mark.fault("D15")
def test_d15_repeat_wins_over_a_code() -> None:
    assert read_schedule({"repeat": DAILY, "code": {"text": "MO"}}) == every(1, 1, "d")


@pytest.mark.fault("D15")
@pytest.mark.parametrize(
    "timing",
    [
        {"repeat": {"count": 1}},
        {"repeat": DAILY | {"count": 1}},
        {"event": ["2026-06-15"]},
        {"event": ["2026-06-15T09:00:00Z", "2026-06-15T09:00:00Z"]},
        {"code": {"text": "once"}},
        {"code": {"coding": [{"code": "STAT"}]}},
    ],
)
def test_d15_a_single_dose(timing: Json) -> None:
    found = read_schedule(timing)
    assert found is not None
    assert found.once


@pytest.mark.fault("D15")
def test_d15_a_list_of_times_is_a_course() -> None:
    assert read_schedule({"event": ["2026-06-05", "2026-06-01", "2026-06-03"]}) == every(
        1, 2, "d", count=3
    )
    weekly = ["2026-06-01", "2026-06-03", "2026-06-05", "2026-06-08", "2026-06-10", "2026-06-12"]
    assert read_schedule({"event": weekly}) == every(3, 1, "wk", count=6)


@pytest.mark.fault("D15")
@pytest.mark.parametrize(
    "timing",
    [
        None,
        {},
        "daily",
        [],
        {"repeat": {}},
        {"repeat": {"frequency": 3}},
        {"repeat": {"count": 6}},
        {"repeat": {"frequency": 1, "period": 0, "periodUnit": "d"}},
        {"repeat": {"frequency": 1, "period": -2, "periodUnit": "d"}},
        {"repeat": {"frequency": 0, "period": 1, "periodUnit": "d"}},
        {"repeat": {"frequency": -1, "period": 1, "periodUnit": "d"}},
        {"repeat": {"frequency": 1, "period": 99999, "periodUnit": "a"}},
        {"repeat": {"frequency": 10**9, "period": 1, "periodUnit": "d"}},
        {"repeat": {"frequency": 1, "period": 1, "periodUnit": "fortnight"}},
        {"repeat": {"frequency": 1, "period": "1", "periodUnit": "d"}},
        {"repeat": {"frequency": 1, "period": 3, "periodMax": 2, "periodUnit": "mo"}},
        {
            "repeat": {
                "frequency": 2,
                "dayOfWeek": ["mon", "wed", "fri"],
                "period": 1,
                "periodUnit": "wk",
            }
        },
        {"repeat": DAILY | {"boundsDuration": {"value": 2}}},
        {"repeat": DAILY | {"boundsPeriod": {"start": "2026-06-10", "end": "2026-06-01"}}},
        {"repeat": DAILY | {"count": -1}},
        {"code": {"text": "as the patient likes"}},
        {"code": {"text": "q" * 100_000}},
        {"event": ["yesterday"]},
        {"event": [{}, None, 3]},
    ],
)
def test_d15_what_is_not_said_or_cannot_be_is_unknown(timing: object) -> None:
    assert read_schedule(timing) is None


JSON_VALUES = st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.decimals()
NAMES = st.sampled_from(
    [
        *("frequency", "frequencyMax", "period", "periodMax", "periodUnit", "count", "countMax"),
        *("dayOfWeek", "timeOfDay", "when", "boundsDuration", "boundsPeriod", "boundsRange"),
    ]
)
VALUES = (
    JSON_VALUES
    | st.lists(JSON_VALUES, max_size=3)
    | st.dictionaries(
        st.sampled_from(["value", "unit", "code", "start", "end", "high"]), JSON_VALUES, max_size=3
    )
)


@settings(deadline=None)  # the first example loads what the others use
@given(st.dictionaries(NAMES, VALUES, max_size=8), VALUES, VALUES)
def test_any_repeat_is_read_or_unknown_and_never_absurd(
    repeat: Json, code: object, event: object
) -> None:
    found = read_schedule({"repeat": repeat, "code": code, "event": event})
    assert found is None or found.once or 0 < found.interval_days <= found.longest_interval_days
