"""How old is the patient, and alive?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from fhir_mappers import elements as el
from fhir_mappers.elements import Json
from regimen.facts import Age

_OLDEST = 130  # years; a birth before that is a slip of the keyboard


@dataclass(frozen=True, slots=True)
class Person:
    age: Age | None = None
    deceased: bool = False


def read_patient(resources: Sequence[Json], as_of: date) -> Person:
    """The Patient resource; without one, nothing is known."""
    for resource in resources:
        return Person(_age(resource, as_of), _deceased(resource))
    return Person()


def _age(resource: Json, as_of: date) -> Age | None:
    """Born on a day, or somewhere in a month or year; in the future or too long ago: not known."""
    born = el.moment(resource.get("birthDate"))
    if born is None or born.day > as_of or born.last_day.year < as_of.year - _OLDEST:
        return None
    return Age(earliest=born.day, latest=min(born.last_day, as_of))


def _deceased(resource: Json) -> bool:
    when = el.moment(resource.get("deceasedDateTime"))
    return bool(el.flag(resource.get("deceasedBoolean"))) or when is not None
