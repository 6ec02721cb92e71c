"""Is an age known exactly as far as the record says it?"""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from fhir_mappers.patient import Person, read_patient
from regimen.facts import Age

AS_OF = date(2026, 6, 15)


def read(**elements: Any) -> Person:
    return read_patient([{"resourceType": "Patient", "id": "p", **elements}], AS_OF)


AGES = {
    "day": ("2010-06-16", Age(date(2010, 6, 16), date(2010, 6, 16))),
    "month": ("2010-06", Age(date(2010, 6, 1), date(2010, 6, 30))),
    "year": ("2010", Age(date(2010, 1, 1), date(2010, 12, 31))),
    "this year": ("2026", Age(date(2026, 1, 1), AS_OF)),
    "today": ("2026-06-15", Age(AS_OF, AS_OF)),
    "D27 120 years": ("1906-06-15", Age(date(1906, 6, 15), date(1906, 6, 15))),
    "D27 future": ("2026-06-16", None),
    "D27 too long ago": ("1800-01-01", None),
    "J15 impossible": ("2010-02-30", None),
    "J15 year 0": ("0000", None),
    "J13 number": (2010, None),
    "absent": (None, None),
}


@pytest.mark.fault("J13", "J15", "D27")
@pytest.mark.parametrize(("born", "age"), AGES.values(), ids=AGES.keys())
def test_age(born: Any, age: Age | None) -> None:
    assert read(birthDate=born).age == age


DEAD = {
    "true": ({"deceasedBoolean": True}, True),
    "false": ({"deceasedBoolean": False}, False),
    "date": ({"deceasedDateTime": "2026-01"}, True),
    "J13 text": ({"deceasedBoolean": "true"}, False),
    "absent": ({}, False),
}


@pytest.mark.fault("J13", "D27")
@pytest.mark.parametrize(("element", "deceased"), DEAD.values(), ids=DEAD.keys())
def test_d27_deceased(element: dict[str, Any], deceased: bool) -> None:
    assert read(**element).deceased is deceased


def test_without_a_patient_nothing_is_known() -> None:
    assert read_patient([], AS_OF) == Person(age=None, deceased=False)
