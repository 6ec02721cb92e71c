"""In how many ways does a client write the same schedule, dose, unit or length?

Each group holds FHIR that means the same to a prescriber. Properties hold the answers to them
equal, and the synthetic cohort writes its orders in them.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from tests.support.timing import UCUM

Json = dict[str, Any]

GTS = "http://terminology.hl7.org/CodeSystem/v3-GTSAbbreviation"
_TWO_WEEKS = {"value": 2, "unit": "week", "system": UCUM, "code": "wk"}
_FOURTEEN_DAYS = {"value": 14, "unit": "days", "system": UCUM, "code": "d"}
_TEN_DAYS = {"value": 10, "unit": "days", "system": UCUM, "code": "d"}


def _every(period: float, unit: str, **more: object) -> Json:
    return {"repeat": {"frequency": 1, "period": period, "periodUnit": unit} | more}


def _times(frequency: int, period: int, unit: str, **more: object) -> Json:
    return {"repeat": {"frequency": frequency, "period": period, "periodUnit": unit} | more}


def _coded(code: str, **repeat: object) -> Json:
    timing: Json = {"code": {"coding": [{"system": GTS, "code": code}], "text": code}}
    return timing | ({"repeat": dict(repeat)} if repeat else {})


# By the vignettes' short names. 2 weeks are 14 days or 6 doses, 10 days are 10 doses; monthly is
# 28 to 31 days, 2 months 56 to 62, 3 months 84 to 93.
SCHEDULES: dict[str, tuple[Json, ...]] = {
    "TIW2": (
        _times(3, 1, "wk", count=6, boundsDuration=_TWO_WEEKS),
        _times(3, 1, "wk", count=6),
        _times(3, 1, "wk", boundsDuration=_TWO_WEEKS),
        _times(3, 7, "d", boundsDuration=_FOURTEEN_DAYS),
        _every(1, "d", dayOfWeek=["mon", "wed", "fri"], count=6),
        _every(1, "wk", dayOfWeek=["tue", "thu", "sat"], boundsDuration=_TWO_WEEKS),
        {"repeat": {"dayOfWeek": ["mon", "wed", "fri"], "count": 6}},
        _coded("TIW", count=6),
    ),
    "ALT": (_every(2, "d"), _every(48, "h"), _every(2.0, "d"), _coded("QOD")),
    "DAILY10": (
        _every(1, "d", count=10, boundsDuration=_TEN_DAYS),
        _every(1, "d", count=10),
        _every(1, "d", boundsDuration=_TEN_DAYS),
        _every(24, "h", count=10),
        _coded("QD", count=10),
    ),
    "M1": (
        _every(1, "mo"),
        _every(4, "wk"),
        _every(28, "d"),
        _every(30, "d"),
        {"code": {"text": "monthly"}},
    ),
    "M2": (_every(2, "mo"), _every(8, "wk"), _every(60, "d"), {"code": {"text": "every 2 months"}}),
    "M3": (
        _every(3, "mo"),
        _every(12, "wk"),
        _every(13, "wk"),
        _every(90, "d"),
        {"code": {"text": "every 12 weeks"}},
    ),
    "M23": (_every(2, "mo", periodMax=3), _every(8, "wk", periodMax=12)),
    "DAILY": (_every(1, "d"), _every(24, "h"), _coded("QD")),
    "TWICE_A_DAY": (_times(2, 1, "d"), _every(12, "h"), _coded("BID")),
}

_MASS_UNITS = (
    ("mg", "mg", Decimal(1)),
    ("microgram", "ug", Decimal(1000)),
    ("mcg", "ug", Decimal(1000)),
    ("g", "g", Decimal("0.001")),
)


def _number(value: Decimal) -> int | float:
    return int(value) if value == value.to_integral_value() else float(value)


def _quantity(value: Decimal, unit: str, code: str) -> Json:
    return {"value": _number(value), "unit": unit, "system": UCUM, "code": code}


def doses(milligrams: Decimal, *, one_mg_per_ml: bool = False) -> list[list[Json]]:
    """`doseAndRate` in every way of saying so many mg; by volume where the strength is known."""
    found = [_quantity(milligrams * factor, unit, code) for unit, code, factor in _MASS_UNITS]
    if one_mg_per_ml:
        found.append(_quantity(milligrams, "mL", "mL"))
    unit_only = {"value": _number(milligrams * 1000), "unit": "mcg"}
    same_range = {"low": found[0], "high": found[0]}
    return [
        *([{"doseQuantity": one}] for one in (*found, unit_only)),
        [{"doseRange": same_range}],
    ]


_MASS = {
    "pg/mL": Decimal(1),
    "ng/L": Decimal(1),
    "ug/L": Decimal("0.001"),
    "ng/mL": Decimal("0.001"),
    "ng/dL": Decimal("0.1"),
}
_LENGTH = {"cm": Decimal(1), "mm": Decimal(10), "m": Decimal("0.01")}
# For a quantity as the vignettes write it: the units it can be exactly rewritten in.
_SAME_UNITS = {
    "pg/mL": _MASS,
    "ng/L": _MASS,
    "pmol/L": {"pmol/L": Decimal(1), "nmol/L": Decimal("0.001")},
    "umol/L": {"umol/L": Decimal(1), "nmol/L": Decimal(1000)},
    "g/L": {"g/L": Decimal(1), "g/dL": Decimal("0.1")},
    "mmol/L": {"mmol/L": Decimal(1), "meq/L": Decimal(1)},
    "cm": _LENGTH,
    "mm": _LENGTH,
}


def same_quantities(quantity: Json) -> list[Json]:
    """The Quantity in every unit it can be exactly rewritten in, its own included."""
    unit = quantity.get("code", "")
    if unit not in _SAME_UNITS:
        return [quantity]
    table = _SAME_UNITS[unit]
    base = Decimal(str(quantity["value"])) / table[unit]
    return [
        quantity | {"value": _number(base * factor), "unit": other, "code": other}
        for other, factor in table.items()
    ]
