"""Which regimen is this MedicationRequest?

A suggested order is recognised by its exact shape and named in the vignettes' short notation:

    TIW2     three times a week for 2 weeks, 6 doses      M1, M2, M3   every month, 2, 3 months
    ALT      every 2 days, no count, no bounds            M23          every 2-3 months
    DAILY10  daily, 10 doses in 10 days                   W4, W2       every 4 weeks, 2 weeks
                                                          BIW          twice a week

Each is 1000 microgram intramuscularly of hydroxocobalamin; " cyanocobalamin" is added for the
other product. DAILY10 is always cyanocobalamin and says so only when it is not.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from tests.support.record import RXNORM, SCT

Resource = dict[str, Any]

HYDROXOCOBALAMIN = frozenset({"5514", "317106"})
CYANOCOBALAMIN = frozenset({"11248", "309594", "2598453"})
INTRAMUSCULAR = "78421000"
SUBCUTANEOUS = "34206005"

_MICROGRAM = {"ug": Decimal(1), "mg": Decimal(1000), "g": Decimal(1_000_000)}

# frequency, period, periodMax, periodUnit, count, bounds
_SHAPES: dict[tuple[object, ...], str] = {
    (3, 1, None, "wk", 6, (2, "wk")): "TIW2",
    (1, 2, None, "d", None, None): "ALT",
    (1, 1, None, "d", 10, (10, "d")): "DAILY10",
    (1, 1, None, "mo", None, None): "M1",
    (1, 2, None, "mo", None, None): "M2",
    (1, 3, None, "mo", None, None): "M3",
    (1, 2, 3, "mo", None, None): "M23",
    (1, 4, None, "wk", None, None): "W4",
    (1, 28, None, "d", None, None): "W4",
    (1, 2, None, "wk", None, None): "W2",
    (1, 14, None, "d", None, None): "W2",
    (2, 1, None, "wk", None, None): "BIW",
}
MAINTENANCE = frozenset({"M1", "M2", "M3", "M23", "W4", "W2", "BIW"})
_UNDERSTOOD = frozenset(
    {"frequency", "period", "periodMax", "periodUnit", "count", "boundsDuration"}
)


def instruction(order: Resource) -> Resource:
    lines = order.get("dosageInstruction") or [{}]
    first: Resource = lines[0]
    return first


def dose_microgram(order: Resource) -> Decimal | None:
    """The dose in microgram; None where it is missing or not a mass."""
    rates = instruction(order).get("doseAndRate") or [{}]
    quantity = rates[0].get("doseQuantity", {})
    factor = _MICROGRAM.get(quantity.get("code", ""))
    if factor is None or "value" not in quantity:
        return None
    return Decimal(str(quantity["value"])) * factor


def route_code(order: Resource) -> str:
    """The SNOMED CT code of the route, or nothing."""
    codings = instruction(order).get("route", {}).get("coding", [])
    return next((c.get("code", "") for c in codings if c.get("system") == SCT), "")


def rxnorm_codes(order: Resource) -> frozenset[str]:
    codings = order.get("medicationCodeableConcept", {}).get("coding", [])
    return frozenset(c.get("code", "") for c in codings if c.get("system") == RXNORM)


def product(order: Resource) -> str:
    """hydroxocobalamin, cyanocobalamin, or nothing."""
    codes = rxnorm_codes(order)
    if codes & HYDROXOCOBALAMIN:
        return "hydroxocobalamin"
    return "cyanocobalamin" if codes & CYANOCOBALAMIN else ""


def schedule(order: Resource) -> str:
    """The short name of the schedule, or nothing where it is none of ours."""
    repeat = instruction(order).get("timing", {}).get("repeat", {})
    if repeat.keys() - _UNDERSTOOD:
        return ""
    bounds = repeat.get("boundsDuration")
    length = (bounds.get("value"), bounds.get("code")) if bounds else None
    shape = (
        repeat.get("frequency"),
        repeat.get("period"),
        repeat.get("periodMax"),
        repeat.get("periodUnit"),
        repeat.get("count"),
        length,
    )
    return _SHAPES.get(shape, "")


def classify(order: Resource) -> str:
    """The regimen in short notation; nothing when dose, route, product or schedule is another."""
    name = schedule(order)
    is_usual = dose_microgram(order) == 1000 and route_code(order) == INTRAMUSCULAR
    if not (name and is_usual and product(order)):
        return ""
    usual = "cyanocobalamin" if name == "DAILY10" else "hydroxocobalamin"
    return name if product(order) == usual else f"{name} {product(order)}"


def is_as_expected(actual: str, expected: str) -> bool:
    """For M2, a range up to 3 months is accepted."""
    if actual == expected:
        return True
    return expected.startswith("M2") and actual == expected.replace("M2", "M23", 1)


def phases_match(actual: tuple[str, ...], expected: tuple[str, ...]) -> bool:
    """`expected` may end in a phase marked "?", which may be left out."""
    required = [phase for phase in expected if not phase.endswith("?")]
    whole = [phase.removesuffix("?") for phase in expected]
    return any(
        len(actual) == len(wanted) and all(map(is_as_expected, actual, wanted))
        for wanted in (required, whole)
    )
