"""How much of a medicine does one dosage instruction give, and which way in?

A dose that cannot be computed is unknown: an unknown unit or strength is never guessed, and a
range counts as its greater end.
"""

from __future__ import annotations

import re
from decimal import Decimal

from fhir_mappers import words
from fhir_mappers.elements import Json, as_dict, codings, dicts, quantity
from fhir_mappers.medicines import (
    MASS_UG,
    UNKNOWN_FORM,
    Medicine,
    countable,
    form_in_words,
    has_unit,
)
from fhir_mappers.terminology import value_sets
from regimen.facts import Comparator, Ingredient, Route

_MOST_LINES = 50
_MOST_CODINGS = 100
_MOST_COUNTED = 10  # a bare 1000 is an amount in a unit that was left out, not 1000 tablets


def _dose_ug(value: Json, medicine: Medicine) -> Decimal | None:
    """One dose in microgram: by mass, by volume and strength, or by number and strength."""
    amount = quantity(value)
    if amount is None or amount.comparator is not Comparator.EQUAL or amount.value <= 0:
        return None
    if amount.unit in MASS_UG:
        return amount.value * MASS_UG[amount.unit]
    if amount.unit == "mL":
        strength = medicine.strength_ug_per_ml
        return None if strength is None else amount.value * strength
    if amount.unit is not None or medicine.strength_ug is None or not countable(value):
        return None
    if not has_unit(value) and amount.value > _MOST_COUNTED:
        return None
    return amount.value * medicine.strength_ug


def dose_of(dosage: Json, medicine: Medicine) -> Decimal | None:
    """The dose of one dosage; the greatest where there is a range or several are given."""
    doses = [
        _dose_ug(one, medicine)
        for place in (*dicts(dosage.get("doseAndRate"))[:_MOST_LINES], dosage)
        for one in _quantities(place)
    ]
    return max((dose for dose in doses if dose is not None), default=None)


def _quantities(place: Json) -> list[Json]:
    """doseQuantity (R4 in doseAndRate, STU3 in dosage), doseRange, `dose` of an administration."""
    found = [as_dict(place.get(key)) for key in ("doseQuantity", "doseSimpleQuantity", "dose")]
    span = as_dict(place.get("doseRange"))
    high, low = as_dict(span.get("high")), as_dict(span.get("low"))
    if high and not has_unit(high):
        high = {**low, **high}  # the unit of a range is the same on both sides
    return [one for one in (*found, high or low) if one]


# --- routes -----------------------------------------------------------------------------------

# HL7 v2-0162 codes and common abbreviations, as the whole of what is said; then words within it.
_ROUTE_ABBREVIATIONS = {
    abbreviation: route
    for route, abbreviations in {
        Route.INTRAMUSCULAR: ("im", "imd", "intramuscular", "intramuscularly"),
        Route.SUBCUTANEOUS: ("sc", "sq", "subq", "subcut", "subcutaneous", "s/c"),
        Route.INTRAVENOUS: ("iv", "ivp", "ivpb", "ivpush", "intravenous", "infusion"),
        Route.ORAL: ("po", "oral", "orally", "by mouth", "per os", "mouth"),
        Route.SUBLINGUAL: ("sl", "sublingual", "under the tongue"),
        Route.NASAL: ("ns", "nasal", "intranasal", "nasally"),
    }.items()
    for abbreviation in abbreviations
}
_ROUTE_WORDS = re.compile(
    r"\b(?:(?P<im>intramuscular(?:ly)?|im)|(?P<sc>subcutaneous(?:ly)?|subcut|sc|subq)"
    r"|(?P<iv>intravenous(?:ly)?|iv|infusion)|(?P<po>oral(?:ly)?|by mouth|po)"
    r"|(?P<sl>sublingual(?:ly)?)|(?P<ns>intranasal(?:ly)?|nasal(?:ly)?))\b",
    re.IGNORECASE,
)
_LONGEST_ROUTE = 100

_FORM_ROUTES = {
    "injection": Route.PARENTERAL,
    "oral": Route.ORAL,
    "sublingual": Route.SUBLINGUAL,
    "nasal": Route.NASAL,
}


def read_route(concept: object) -> Route:
    """The way in: by code, else by exact words. Two ways that contradict are none."""
    found: set[Route] = set()
    for coding in codings(concept)[:_MOST_CODINGS]:
        for code in value_sets().matches(coding.system, coding.code):
            if code.fact == "route":
                found.add(Route(str(code.attributes["route"])))
    return _settled_route(found or _routes_in_words(concept))


def _routes_in_words(concept: object) -> set[Route]:
    said = [coding.code for coding in codings(concept)[:_MOST_CODINGS]]
    said += words.texts_of(concept)
    found: set[Route] = set()
    for phrase in said:
        found |= _routes_in(phrase)
    return found


def _routes_in(phrase: str) -> set[Route]:
    if len(phrase) > _LONGEST_ROUTE:
        return set()
    whole_phrase = " ".join(phrase.casefold().replace(".", "").split())
    if whole_phrase in _ROUTE_ABBREVIATIONS:
        return {_ROUTE_ABBREVIATIONS[whole_phrase]}
    kinds = {match.lastgroup for match in _ROUTE_WORDS.finditer(whole_phrase)}
    return {_ROUTE_ABBREVIATIONS[kind] for kind in kinds if kind}


def _settled_route(found: set[Route]) -> Route:
    if len(found) == 1:
        return next(iter(found))
    if found and all(route.is_parenteral for route in found):
        return Route.PARENTERAL  # "IM or SC": an injection
    return Route.UNKNOWN


def route_of(dosage: Json, medicine: Medicine, *, ordered: bool) -> Route:
    """The route that is given, else the one the product implies."""
    given = read_route(dosage.get("route"))
    if given is not Route.UNKNOWN:
        return given
    form = medicine.form if medicine.form in _FORM_ROUTES else form_in_words(medicine.words)
    if form in _FORM_ROUTES:
        return _FORM_ROUTES[form]
    if medicine.ingredient is Ingredient.HYDROXOCOBALAMIN:
        return Route.PARENTERAL  # there is no other form of it
    no_form_given = medicine.form != UNKNOWN_FORM
    if medicine.ingredient is Ingredient.CYANOCOBALAMIN and ordered and no_form_given:
        return Route.PARENTERAL  # picked as a substance; a tablet is picked as a tablet
    return Route.UNKNOWN
