"""Which synthetic patients and medicines does the order-entry page offer?

Each patient is a file of FHIR R4 resources written as of one day. When served, every date is moved
by as many days as have passed since, so that a result that was five days old still is. None of
them exists: names, numbers and dates are made up.
"""

from __future__ import annotations

import re
from datetime import date, timedelta
from decimal import Decimal
from functools import lru_cache
from importlib import resources
from typing import Any, Final

import msgspec

from fhir_mappers.elements import Json

_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}(?=$|T)")
_DECODER: Final = msgspec.json.Decoder(Json, float_hook=Decimal)


class UnknownPatient(LookupError):
    """No synthetic patient has this id."""


def catalogue() -> Json:
    """What the page's form offers: patients, products, units, routes, frequencies, durations."""
    patients = [
        {key: patient[key] for key in ("id", "name", "group", "title", "shows")}
        for patient in _patients().values()
    ]
    return {"patients": patients, **_choices()}


def patient(patient_id: str, today: date) -> Json:
    """One patient as of today. Raises UnknownPatient."""
    stored = _patients().get(patient_id)
    if stored is None:
        raise UnknownPatient
    as_of = date.fromisoformat(stored["asOf"])
    moved: Json = _moved(stored, today - as_of)
    return moved


def patient_ids() -> tuple[str, ...]:
    return tuple(_patients())


@lru_cache(maxsize=1)
def _choices() -> Json:
    return _read("catalogue.json")


@lru_cache(maxsize=1)
def _patients() -> dict[str, Json]:
    """By id, in the order the page lists them."""
    folder = resources.files(__name__).joinpath("patients")
    read = [_DECODER.decode(file.read_bytes()) for file in folder.iterdir() if _is_json(file.name)]
    return {entry["id"]: entry for entry in sorted(read, key=lambda entry: int(entry["order"]))}


def _is_json(name: str) -> bool:
    return name.endswith(".json")


def _read(name: str) -> Json:
    return _DECODER.decode(resources.files(__name__).joinpath(name).read_bytes())


def _moved(value: Any, by: timedelta) -> Any:
    """The same JSON with every date and time in it moved by so many days."""
    if isinstance(value, dict):
        return {key: _moved(item, by) for key, item in value.items()}
    if isinstance(value, list):
        return [_moved(item, by) for item in value]
    if isinstance(value, str) and (match := _DATE.match(value)):
        day = date.fromisoformat(match[0]) + by
        return day.isoformat() + value[match.end() :]
    return value
