"""Which of the medicines the protocol looks at is this, in what form and strength?

Recognised by code. A text is never enough to recognise vitamin B12 or folic acid; it may tell a
combination apart, give the strength of a substance that has no product code, or name one of
the few medicines that explain something and have no code here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from decimal import Decimal

from fhir_mappers import words
from fhir_mappers.elements import (
    Json,
    as_dict,
    canonical_unit,
    codings,
    concept_text,
    contained,
    dicts,
    flag,
    has_unknown_modifier,
    is_restricted,
    quantity,
    reference_id,
    text,
)
from fhir_mappers.terminology import Code, value_sets
from regimen.facts import Comparator, Ingredient

Resolve = Callable[[str], Json | None]

_MOST_INGREDIENTS = 50
_MOST_CODINGS = 100


def nothing_else(_: str) -> Json | None:
    """A `resolve` for resources that stand alone: their references lead nowhere."""
    return None


# --- which medicine ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Medicine:
    """One ingredient of what is ordered, and what its product says of form and strength."""

    ingredient: Ingredient
    label: str
    form: str = ""  # injection, oral, sublingual, nasal, UNKNOWN_FORM; "" where none is given
    strength_ug: Decimal | None = None  # in one tablet, spray, ampoule
    strength_ug_per_ml: Decimal | None = None
    combination: bool = False
    antidote: bool = False
    preserved: bool = True
    words: str = ""


def read_medicines(resource: Json, resolve: Resolve = nothing_else) -> tuple[Medicine, ...]:
    """The ingredients we know of what a request, statement, administration or dispense is about.

    A product with vitamin B12 and folic acid is both. Where a concept and a reference are there,
    the concept counts.
    """
    concept, reference = _named_medicine(resource)
    if concept:
        return _of_concept(concept)
    target = _target(reference, resource, resolve)
    return _of_medication(target, resource, resolve) if target else ()


def _named_medicine(resource: Json) -> tuple[Json, str | None]:
    """(concept, reference) of an R4 or STU3 choice, or of the CodeableReference of R5."""
    both = as_dict(resource.get("medication"))
    concept = as_dict(resource.get("medicationCodeableConcept")) or as_dict(both.get("concept"))
    reference = as_dict(resource.get("medicationReference")) or as_dict(both.get("reference"))
    if not (dicts(concept.get("coding")) or text(concept.get("text"))):
        concept = {}
    return concept, text(reference.get("reference"))


def medication_reference(resource: Json) -> str | None:
    """What must be looked up to know the medicine; None where a concept says it."""
    concept, reference = _named_medicine(resource)
    return None if concept else reference


def is_guarded(resource: Json, resolve: Resolve = nothing_else) -> bool:
    """Is it restricted by its own label, or by that of a resource in it, or of its medicine?"""
    if "meta" in resource and is_restricted(resource):
        return True
    if "contained" in resource and any(map(is_restricted, dicts(resource["contained"]))):
        return True
    if "medicationReference" not in resource and "medication" not in resource:
        return False
    medicine = _target(_named_medicine(resource)[1], resource, resolve)
    return medicine is not None and is_restricted(medicine)


def _target(reference: str | None, container: Json, resolve: Resolve) -> Json | None:
    """What a reference leads to: contained, or found by the whole of it or by its type and id."""
    if reference is None:
        return None
    if reference.startswith("#"):
        return contained(container, reference)
    found = resolve(reference)
    named = reference_id(reference)
    if found is None and named is not None and named[0]:
        found = resolve("/".join(named))
    return found


def _of_concept(concept: object) -> tuple[Medicine, ...]:
    found: dict[Ingredient, list[tuple[str, Code]]] = {}
    for written, code in _drug_codes(concept):
        if code.value_set == "drug-b12-diagnostic-exclude":
            return ()
        ingredient = _ingredient(written, code)
        if ingredient is not None:
            found.setdefault(ingredient, []).append((written, code))
    if not found:
        return _by_words(concept)
    kept = _without_repeats(found)
    combined = len(kept) > 1 or _names_others(concept, kept)
    return tuple(
        _medicine(ingredient, found[ingredient], concept, combined=combined) for ingredient in kept
    )


def _drug_codes(concept: object) -> Iterator[tuple[str, Code]]:
    """The code as it was written, and what it means to us, coding by coding."""
    for coding in codings(concept)[:_MOST_CODINGS]:
        for code in value_sets().matches(coding.system, coding.code):
            if code.value_set.startswith(("drug-", "hcpcs-b12")):
                yield coding.code.strip().upper(), code


# ATC level 5 codes of combinations, below the group that is matched as a whole.
_ATC_COMBINATIONS = {
    "B03BA51": Ingredient.CYANOCOBALAMIN,
    "B03BA53": Ingredient.HYDROXOCOBALAMIN,
}


def _ingredient(written: str, code: Code) -> Ingredient | None:
    named = code.attributes.get("ingredient")
    if named is None:
        return None
    return _ATC_COMBINATIONS.get(written, Ingredient(str(named)))


def _without_repeats(found: Iterable[Ingredient]) -> list[Ingredient]:
    """One cobalamin for one product: a group code says no more than the substance beside it."""
    found = list(found)
    cobalamins = [one for one in found if one.is_cobalamin]
    exact = [one for one in cobalamins if one is not Ingredient.OTHER_COBALAMIN] or cobalamins
    return [one for one in found if not one.is_cobalamin or one is exact[0]]


def _medicine(
    ingredient: Ingredient,
    written: list[tuple[str, Code]],
    concept: object,
    *,
    combined: bool,
) -> Medicine:
    found = [code for _, code in written]
    attributes = [code.attributes for code in found]
    forms = {str(one["form"]) for one in attributes if one.get("form")}
    return Medicine(
        ingredient=ingredient,
        label=max(found, key=_tells).label,
        form=_one_form(forms),
        strength_ug=_one(one.get("strength_ug") for one in attributes),
        strength_ug_per_ml=_one(one.get("strength_ug_per_ml") for one in attributes)
        or (None if forms else _strength_in_words(concept)),
        combination=combined
        or any(one.get("combination") for one in attributes)
        or any(code in _ATC_COMBINATIONS for code, _ in written),
        antidote=any(one.get("antidote") for one in attributes),
        preserved=not any(one.get("preservative_free") for one in attributes),
        words=concept_text(concept),
    )


def _tells(code: Code) -> int:
    """How much a code says: a product with its strength more than a substance."""
    return sum(
        1 for key in ("strength_ug", "strength_ug_per_ml", "form") if code.attributes.get(key)
    )


def _one(values: Iterable[object]) -> Decimal | None:
    """The value on which all agree who give one."""
    given = {Decimal(str(value)) for value in values if value is not None}
    return given.pop() if len(given) == 1 else None


def _by_words(concept: object) -> tuple[Medicine, ...]:
    """Medicines that explain something and have no code here: by their name in the text."""
    named = words.DRUGS.search(concept_text(concept))
    if named is None:
        return ()
    word = named[0].casefold()
    ingredient = _BY_NAME.get(word, Ingredient.ANTIFOLATE)
    return (Medicine(ingredient=ingredient, label=word),)


_BY_NAME = {
    "colchicine": Ingredient.COLCHICINE,
    "chloramphenicol": Ingredient.CHLORAMPHENICOL,
}

_OTHER_VITAMINS = re.compile(
    r"\bmulti[- ]?vitamin|\bb[- ]complex\b|pyridox|thiamin|riboflavin|\bniacin|nicotinamide"
    r"|\bbiotin\b|pantothen|\bvitamin b ?[1267]\b|\bintrinsic factor\b|\bferrous\b",
    re.IGNORECASE,
)
_FOLATES = re.compile(r"\bfol(?:ic acid|ate)\b|folate\b", re.IGNORECASE)
_COBALAMINS = re.compile(r"cobalamin|\bb ?12\b", re.IGNORECASE)


def _names_others(concept: object, ingredients: list[Ingredient]) -> bool:
    """Does the product's name list another vitamin? ATC displays name groups, not products."""
    if not any(one.is_cobalamin or one is Ingredient.FOLIC_ACID for one in ingredients):
        return False
    named = as_dict(concept)
    products = [one for one in dicts(named.get("coding")) if "atc" not in str(one.get("system"))]
    written = concept_text({"text": named.get("text"), "coding": products})
    if _OTHER_VITAMINS.search(written):
        return True
    return bool(_FOLATES.search(written) and _COBALAMINS.search(written))


# --- Medication resources ---------------------------------------------------------------------


def _of_medication(medication: Json, container: Json, resolve: Resolve) -> tuple[Medicine, ...]:
    """A product by its code and by its ingredients; several active ones are a combination."""
    if medication.get("resourceType") not in (None, "Medication"):
        return ()
    if has_unknown_modifier(medication) or medication.get("status") == "entered-in-error":
        return ()
    found = {one.ingredient: one for one in _of_concept(medication.get("code"))}
    if not found and _excluded(medication.get("code")):
        return ()
    parts = [
        (part, _substance(part, container, resolve))
        for part in dicts(medication.get("ingredient"))[:_MOST_INGREDIENTS]
        if flag(part.get("isActive")) is not False
    ]
    for part, concept in parts:
        for medicine in _of_concept(concept):
            before = found.get(medicine.ingredient)
            found[medicine.ingredient] = _with_strength(before or medicine, part)
    several = len({_key(concept) for _, concept in parts} - {""}) > 1
    form = read_form(medication.get("form") or medication.get("doseForm"))
    kept = _without_repeats(found)
    return tuple(_as_product(found[one], form, several=several) for one in kept)


def _as_product(medicine: Medicine, form: str, *, several: bool) -> Medicine:
    return replace(
        medicine,
        form=_agreed(medicine.form, form),
        combination=medicine.combination or several,
    )


def _excluded(concept: object) -> bool:
    codes = _drug_codes(concept)
    return any(code.value_set == "drug-b12-diagnostic-exclude" for _, code in codes)


def _substance(part: Json, container: Json, resolve: Resolve) -> Json:
    """The concept of one ingredient: written there, or the code of what it refers to."""
    item = as_dict(part.get("item"))
    concept = as_dict(part.get("itemCodeableConcept")) or as_dict(item.get("concept"))
    reference = as_dict(part.get("itemReference")) or as_dict(item.get("reference"))
    if concept:
        return concept
    # One step only: a chain of references, or a circle of them, is not followed.
    target = _target(text(reference.get("reference")), container, resolve)
    return as_dict(as_dict(target).get("code"))


_EXCIPIENTS = re.compile(
    r"^water\b|sodium chloride|benzyl alcohol|paraben|hydrochloric acid|sodium hydroxide"
    r"|stearate|cellulose|lactose|acetate|phosphate|silica",
    re.IGNORECASE,
)


def _key(concept: object) -> str:
    """Tells active substances apart, known to us or not; "" for what only carries them."""
    known = _of_concept(concept)
    if known:
        return known[0].ingredient
    written = concept_text(concept)
    if _EXCIPIENTS.search(written):
        return ""
    return next((one.code for one in codings(concept)), written.casefold())


def _with_strength(medicine: Medicine, part: Json) -> Medicine:
    """The strength of an ingredient, where the code of the product gave none."""
    if medicine.strength_ug is not None or medicine.strength_ug_per_ml is not None:
        return medicine
    ratio = as_dict(part.get("strength")) or as_dict(part.get("strengthRatio"))
    amount, per = as_dict(ratio.get("numerator")), as_dict(ratio.get("denominator"))
    micrograms = mass_ug(amount or as_dict(part.get("strengthQuantity")))
    if micrograms is None:
        return medicine
    if not per:
        return replace(medicine, strength_ug=micrograms)
    size = quantity(per)
    if size is None or size.value <= 0:
        return medicine
    if size.unit == "mL":
        return replace(medicine, strength_ug_per_ml=micrograms / size.value)
    return replace(medicine, strength_ug=micrograms / size.value) if countable(per) else medicine


# --- strengths --------------------------------------------------------------------------------

MASS_UG = {
    "g": Decimal(1_000_000),
    "mg": Decimal(1000),
    "ug": Decimal(1),
    "ng": Decimal(1) / 1000,
}

# Two decimals at most: "1.000" is a thousand in half of Europe.
_STRENGTH = re.compile(
    r"(?<![\d.,])(\d{1,5}(?:\.\d{1,2})?) ?(mg|mcg|ug|µg|μg|micrograms?|milligrams?)"
    r" ?(?:/|per|in) ?(\d{1,3}(?:\.\d{1,2})?)? ?ml\b",
    re.IGNORECASE | re.ASCII,
)

_COUNTED = frozenset(
    (
        "1",  # UCUM: no unit
        *("tablet", "tablets", "tab", "tabs", "tbl", "capsule", "capsules", "cap", "caps"),
        *("pill", "pills", "lozenge", "lozenges", "ampoule", "ampoules", "ampule", "ampules"),
        *("amp", "amps", "vial", "vials", "actuation", "actuations", "actuat", "spray", "sprays"),
        *("puff", "puffs", "each", "caplet", "caplets", "film", "films", "syringe", "syringes"),
    )
)


def _strength_in_words(concept: object) -> Decimal | None:
    """Microgram per mL in a product's name: "1 mg/mL", "1000 microgram/mL", "10 mg/2 mL"."""
    found = set()
    for match in _STRENGTH.finditer(concept_text(concept)):
        volume = Decimal(match[3] or 1)
        unit = canonical_unit({"unit": match[2]})
        if volume > 0 and unit in MASS_UG:
            found.add(Decimal(match[1]) * MASS_UG[unit] / volume)
    return found.pop() if len(found) == 1 else None


def mass_ug(value: object) -> Decimal | None:
    """A Quantity of mass in microgram; None for any other, or one that is only a bound."""
    amount = quantity(value)
    if amount is None or amount.comparator is not Comparator.EQUAL or amount.value <= 0:
        return None
    factor = MASS_UG.get(amount.unit or "")
    return None if factor is None else amount.value * factor


def countable(value: Json) -> bool:
    """Is it a number of tablets, sprays, ampoules, or of no unit at all?"""
    given = [text(value.get(key)) for key in ("code", "unit")]
    names = [word.casefold().replace("(s)", "").strip("{}[]") for word in given if word]
    return all(name in _COUNTED for name in names)


def has_unit(value: Json) -> bool:
    return any(text(value.get(key)) not in (None, "1") for key in ("code", "unit"))


# --- forms ------------------------------------------------------------------------------------

#: A form is given, in a code or a language we do not read, or two that contradict each other: the
#: product may be tablets as well as ampoules.
UNKNOWN_FORM = "unknown"


def read_form(concept: object) -> str:
    """The form of a product: by code, else by its words; "" where none is given."""
    coded = {
        str(code.attributes["form"])
        for coding in codings(concept)[:_MOST_CODINGS]
        for code in value_sets().matches(coding.system, coding.code)
        if code.value_set == "dose-form"
    }
    if coded:
        return _one_form(coded)
    said = form_in_words(concept_text(concept))
    return said or (UNKNOWN_FORM if codings(concept) or concept_text(concept) else "")


def _one_form(forms: Iterable[str]) -> str:
    """The form on which all agree who know it."""
    forms = set(forms)
    return forms.pop() if len(forms) == 1 else (UNKNOWN_FORM if forms else "")


def _agreed(product: str, form: str) -> str:
    """The form by the product's code, which says more ("sublingual" of a tablet), unless one of
    the two is an injection and the other is not."""
    said = [one for one in (product, form) if one not in ("", UNKNOWN_FORM)]
    if not said:
        return product or form
    injected = {one == "injection" for one in said}
    return UNKNOWN_FORM if len(injected) > 1 else said[0]


_FORM_WORDS = (
    ("sublingual", re.compile(r"\bsublingual", re.I)),
    ("nasal", re.compile(r"\bnasal|\bintranasal|\bnose\b", re.I)),
    ("injection", re.compile(r"\binject|\bampoule|\bampule|\bvial|\bintramuscular", re.I)),
    ("oral", re.compile(r"\btablet|\btabs?\b|\bcapsule|\bcaplet|\blozenge|\boral\b|\bchew", re.I)),
)


def form_in_words(said: str) -> str:
    """The form that a product's name says, or ""."""
    return next((form for form, pattern in _FORM_WORDS if pattern.search(said)), "")
