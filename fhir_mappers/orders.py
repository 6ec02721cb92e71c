"""What does an order look like that carries out the advice?

Phases, corrections, tests and referrals become draft MedicationRequests and ServiceRequests, in
FHIR R4. An update keeps the whole draft and changes only what the advice changes. Nothing here is
active, signed, or dated ahead: signing is the prescriber's act.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from functools import lru_cache

from fhir_mappers.dosage import read_route
from fhir_mappers.elements import (
    MAX_ID,
    UCUM,
    Json,
    as_dict,
    as_list,
    canonical_unit,
    date_of,
    decimal,
    dicts,
    reference_id,
    text,
)
from fhir_mappers.medications import dosages_of
from fhir_mappers.medicines import MASS_UG, Medicine, form_in_words, read_medicines
from fhir_mappers.terminology import Code, ValueSets, canonical_system, value_sets
from fhir_mappers.validity import copied, valid_r4
from regimen import words
from regimen.facts import DoseLine, Ingredient, Order, Route, Specialty, Test
from regimen.recommendation import OWN_GROUP, CorrectDraft, Phase, PhaseName, Product
from regimen.schedule import Schedule


@dataclass(frozen=True, slots=True)
class OrderContext:
    """For whom, by whom and when: what the hook says of every order of one suggestion.

    `group_id` is a UUID, new for each suggestion.
    """

    patient_id: str
    encounter_id: str | None
    user_id: str | None
    today: date
    group_id: str


# --- a phase of a regimen ---------------------------------------------------------------------


def draft_medication_request(
    phase: Phase, *, draft: Json | None, context: OrderContext, group: Json | None = None
) -> Json:
    """The order of one phase: an update of `draft`, or without one a new order that has no id.

    `group`: the groupIdentifier it shares with the other phase (see `group_identifier`).
    """
    order = _begun("MedicationRequest", draft, context)
    sound: Json = {}
    if draft is None:
        sound = dict(_prescribed(phase, value_sets()))
    else:
        _prescribe_product(order, phase.product)
        order["dosageInstruction"] = [_dosage(phase, draft)]
        if phase.name is PhaseName.MAINTENANCE:
            _undate(order)
    group = group or group_identifier(draft, context)
    if group == _new_group(context):
        order.pop("groupIdentifier", None)
        sound["groupIdentifier"] = group
    else:
        order["groupIdentifier"] = group
    return valid_r4(order, sound)


@lru_cache(maxsize=512)  # the phases of a protocol are few
def _prescribed(phase: Phase, _: ValueSets) -> Json:
    """Product and dosage of a new order, the same for every patient: valid, and not to be changed.

    The value sets in use decide which codes it carries.
    """
    order: Json = {"resourceType": "MedicationRequest", "status": "draft", "intent": "order"}
    order["subject"] = {"reference": "Patient/any"}
    _prescribe_product(order, phase.product)
    order["dosageInstruction"] = [_dosage(phase, None)]
    valid = valid_r4(order)
    return {name: valid[name] for name in ("medicationCodeableConcept", "dosageInstruction")}


def _new_group(context: OrderContext) -> Json:
    return {"system": OWN_GROUP, "value": f"urn:uuid:{context.group_id}"}


def group_identifier(draft: Json | None, context: OrderContext) -> Json:
    """What ties the orders of one suggestion together: the draft's own group, or a new one."""
    own = as_dict((draft or {}).get("groupIdentifier"))
    if not text(own.get("value")):
        return _new_group(context)
    marked = [e for e in dicts(own.get("extension")) if text(e.get("url")) != OWN_GROUP]
    return copied({**own, "extension": [*marked, {"url": OWN_GROUP, "valueBoolean": True}]})


def _undate(order: Json) -> None:
    """Maintenance starts when the prescriber says so: no period of validity."""
    dispense = as_dict(order.get("dispenseRequest"))
    dispense.pop("validityPeriod", None)


def _dosage(phase: Phase, draft: Json | None) -> Json:
    how = _ROUTE_PHRASES.get(phase.route, words.ROUTE_WORDS[phase.route])
    return {
        **_kept_of_dosage(draft, phase.route),
        "sequence": 1,
        "text": f"{phase.product.dose_words} {how} {phase.words}",
        "timing": {"repeat": timing_repeat(phase.schedule)},
        "route": _route_concept(phase.route),
        "doseAndRate": [{"doseQuantity": _dose_quantity(phase.product)}],
    }


def _kept_of_dosage(draft: Json | None, route: Route) -> Json:
    """What the draft's instruction says besides product, dose, route and time.

    Where the route stays the same, also how and where on the body.
    """
    own = next(iter(dicts((draft or {}).get("dosageInstruction"))), {})
    names = ["id", "extension"]
    if read_route(own.get("route")) is route:
        names += ["additionalInstruction", "site", "method"]
    return copied({name: own[name] for name in names if name in own})


def timing_repeat(schedule: Schedule) -> Json:
    """`Timing.repeat`, with bounds and count only where the schedule has them."""
    if schedule.once:
        return {"count": 1}
    repeat: Json = {}
    if schedule.bounds is not None:
        repeat["boundsDuration"] = {
            "value": _number(schedule.bounds.value),
            "unit": words.UNIT_WORDS[schedule.bounds.unit],
            "system": UCUM,
            "code": schedule.bounds.unit.value,
        }
    if schedule.count is not None:
        repeat["count"] = schedule.count
    repeat["frequency"] = _number(schedule.frequency)
    repeat["period"] = _number(schedule.period)
    if schedule.period_max is not None:
        repeat["periodMax"] = _number(schedule.period_max)
    repeat["periodUnit"] = schedule.unit.value
    return repeat


def _number(value: Decimal) -> int | Decimal:
    """2, not 2.0."""
    return int(value) if value == value.to_integral_value() else value


# --- the parts every order has ----------------------------------------------------------------


def _begun(kind: str, draft: Json | None, context: OrderContext) -> Json:
    """The draft, or an empty order, as a draft for this patient by this prescriber."""
    order: Json = copied(draft) if draft is not None else {"resourceType": kind}
    # A narrative and a reason to stop speak of the order as it was.
    for name in ("text", "doNotPerform", "_doNotPerform", "statusReason", "_status", "_intent"):
        order.pop(name, None)
    order["status"] = "draft"
    order["intent"] = "order"
    order["subject"] = {
        **as_dict(order.get("subject")),
        "reference": f"Patient/{context.patient_id}",
    }
    _fill_in_encounter(order, context)
    _fill_in_author(order, context)
    return order


def _fill_in_encounter(order: Json, context: OrderContext) -> None:
    own = as_dict(order.get("encounter"))
    if context.encounter_id and not text(own.get("reference")):
        order["encounter"] = {**own, "reference": f"Encounter/{context.encounter_id}"}


def _fill_in_author(order: Json, context: OrderContext) -> None:
    if date_of(order.get("authoredOn")) is None:
        order["authoredOn"] = context.today.isoformat()
    own = as_dict(order.get("requester"))
    who = reference_id(context.user_id)
    if not any(own.get(name) for name in ("reference", "identifier", "display")):
        order.pop("requester", None)
        if who is not None and who[0]:
            order["requester"] = {"reference": "/".join(who)}


# --- product ----------------------------------------------------------------------------------

_INJECTIONS = {
    Ingredient.HYDROXOCOBALAMIN: "drug-hydroxocobalamin-injectable-1mg",
    Ingredient.CYANOCOBALAMIN: "drug-cyanocobalamin-injectable",
}
_RXNORM = canonical_system("http://www.nlm.nih.gov/research/umls/rxnorm")


def _prescribe_product(order: Json, product: Product) -> None:
    """Names the product: in the draft's own words and codes where it is the same injection."""
    own = as_dict(order.get("medicationCodeableConcept"))
    concept = _same_injection(own, product.ingredient)
    _set_concept(order, concept or _new_concept(product))


def _set_concept(order: Json, concept: Json) -> None:
    reference = text(as_dict(order.get("medicationReference")).get("reference"))
    for name in ("medicationReference", "medication"):
        order.pop(name, None)
    order["medicationCodeableConcept"] = concept
    if reference is not None and reference.startswith("#"):
        _drop_contained(order, reference)


def _new_concept(product: Product) -> Json:
    name = f"{product.name[:1].upper()}{product.name[1:]}"
    return {
        "coding": [_coding(_clinical_drug(product.ingredient))],
        "text": f"{name} {product.dose_words}/mL solution for injection",
    }


def _clinical_drug(ingredient: Ingredient) -> Code:
    """The RxNorm clinical drug of an injection. Only RxNorm: it says nothing of preservatives."""
    return value_sets().emit(_INJECTIONS[ingredient])[0]


def _coding(code: Code) -> Json:
    return {"system": code.system, "code": code.code, "display": code.display}


def _same_injection(concept: Json, ingredient: Ingredient) -> Json | None:
    """The draft's concept with an RxNorm clinical drug first; None where it is another product."""
    drug = _clinical_drug(ingredient)
    found = read_medicines({"medicationCodeableConcept": concept})
    if len(found) != 1 or not _is_injection(found[0], ingredient, drug):
        return None
    written = dicts(concept.get("coding"))
    given = [one for one in written if _is_coding(one, drug)]
    others = [one for one in written if not _is_coding(one, drug)]
    return {
        **concept,
        "coding": [*(given[:1] or [_coding(drug)]), *others],
        "text": text(concept.get("text")) or drug.label,
    }


def _is_coding(one: Json, code: Code) -> bool:
    return canonical_system(one.get("system")) == code.system and one.get("code") == code.code


def _is_injection(medicine: Medicine, ingredient: Ingredient, drug: Code) -> bool:
    """Can it be this drug? A substance can, unless its form or strength is another."""
    if medicine.ingredient is not ingredient or medicine.combination or medicine.antidote:
        return False
    form = medicine.form or form_in_words(medicine.words)
    if medicine.strength_ug is not None or form not in ("", "injection"):
        return False
    strength = Decimal(str(drug.attributes["strength_ug_per_ml"]))
    return medicine.strength_ug_per_ml in (None, strength)


def _lead_with_rxnorm(order: Json, read: Order) -> None:
    """The product stays; a client that looks at the first coding finds an RxNorm one there."""
    concept = as_dict(order.get("medicationCodeableConcept"))
    injected = read.ingredient in _INJECTIONS and not read.combination
    if injected and not concept and any(line.route.is_parenteral for line in read.lines):
        drug = _clinical_drug(read.ingredient)
        _set_concept(order, {"coding": [_coding(drug)], "text": drug.label})
        return
    same = _same_injection(concept, read.ingredient) if injected else None
    if same is not None or concept:
        _set_concept(order, same or _rxnorm_first(concept))


def _rxnorm_first(concept: Json) -> Json:
    codings = sorted(
        dicts(concept.get("coding")),
        key=lambda one: canonical_system(one.get("system")) != _RXNORM,
    )
    return {**concept, "coding": codings} if codings else concept


def _drop_contained(order: Json, reference: str) -> None:
    """A contained Medication that nothing refers to any more may not stay (FHIR dom-3)."""
    if any(True for _ in _references_to(order, reference)):
        return
    kept = [one for one in dicts(order.get("contained")) if f"#{one.get('id')}" != reference]
    order["contained"] = kept
    if not kept:
        del order["contained"]


def _references_to(node: object, reference: str, depth: int = 0) -> Iterator[object]:
    if depth > MAX_ID // 4:
        return
    if isinstance(node, dict) and node.get("reference") == reference:
        yield node
    inside = node.values() if isinstance(node, dict) else as_list(node)
    for item in inside:
        if isinstance(item, dict | list):
            yield from _references_to(item, reference, depth + 1)


# --- route and dose ---------------------------------------------------------------------------

_ROUTE_SETS = {
    Route.INTRAMUSCULAR: "route-im",
    Route.SUBCUTANEOUS: "route-sc",
    Route.INTRAVENOUS: "route-iv-prohibited-for-cyanocobalamin",
    Route.ORAL: "route-oral",
    Route.SUBLINGUAL: "route-sublingual",
    Route.NASAL: "route-nasal",
}
_ROUTE_PHRASES = {
    Route.INTRAMUSCULAR: "by intramuscular injection",
    Route.SUBCUTANEOUS: "by subcutaneous injection",
    Route.INTRAVENOUS: "intravenously",
}
_UNIT_WORDS = {"mg": "mg", "ug": "microgram"}
_SNOMED = canonical_system("http://snomed.info/sct")


def _route_concept(route: Route) -> Json:
    codes = value_sets().emit(_ROUTE_SETS[route])
    code = next(one for one in codes if one.system == _SNOMED)
    return {"coding": [{**_coding(code), "display": code.label}], "text": code.label}


def _dose_quantity(product: Product) -> Json:
    return _amount(product.dose_value, product.dose_unit)


def _amount(value: Decimal, unit: str) -> Json:
    return {
        "value": _number(value),
        "unit": _UNIT_WORDS.get(unit, unit),
        "system": UCUM,
        "code": unit,
    }


# --- corrections of a draft -------------------------------------------------------------------

_DOSES = ("doseQuantity", "doseSimpleQuantity", "doseRange", "dose")  # of other FHIR versions
_MOST = ("maxDosePerPeriod", "maxDosePerAdministration", "maxDosePerLifetime")
_RATES = ("rateRatio", "rateRange", "rateQuantity")


def correct_draft(draft: Json, order: Order, step: CorrectDraft, context: OrderContext) -> Json:
    """The draft with another product, dose or route, and nothing else.

    `order` is what was read from the draft. Its timing stays as it is, also if there is none.
    """
    corrected = _begun("MedicationRequest", draft, context)
    if step.product is not None:
        _prescribe_product(corrected, step.product)
    else:
        _lead_with_rxnorm(corrected, order)
    written = dosages_of(corrected.get("dosageInstruction")) or [{}]
    pairs = zip(written, order.lines, strict=False)
    dosages = [_corrected(dosage, line, step) for dosage, line in pairs]
    corrected["dosageInstruction"] = [dosage for dosage in dosages if dosage]
    return valid_r4(corrected)


def _corrected(dosage: Json, line: DoseLine, step: CorrectDraft) -> Json:
    dosage = _in_r4(dosage)
    product = _dose_to_write(line, step)
    if product is not None:
        for name in _MOST:
            dosage.pop(name, None)
        dosage["doseAndRate"] = [{"doseQuantity": _dose_quantity(product)}]
        line = replace(line, dose_ug=product.dose_ug)
    if step.route is not None:
        _reroute(dosage, step.route)
        line = replace(line, route=step.route)
    else:
        _code_route(dosage, line.route)
    if not dosage:
        return {}
    if product is not None or step.route is not None:
        for name in ("text", "patientInstruction"):  # spoke of the order as it was
            dosage.pop(name, None)
    said = text(dosage.get("text")) or _spoken(line, product.dose_words if product else None)
    return {"sequence": 1, **dosage, **({"text": said} if said else {})}


def _dose_to_write(line: DoseLine, step: CorrectDraft) -> Product | None:
    """The dose that is advised; for another product also the same dose, in that product's unit."""
    if step.dose is not None:
        return step.dose
    same = step.product is not None and line.dose_ug == step.product.dose_ug
    return step.product if same else None


def _in_r4(dosage: Json) -> Json:
    """The dose where R4 has it, and with a UCUM code where its unit can be known."""
    dosage = dict(dosage)
    older = {name: dosage.pop(name) for name in _DOSES if name in dosage}
    rates = [dict(one) for one in dicts(dosage.get("doseAndRate"))]
    if not rates and older:
        rates = [older]
    for rate in rates:
        amount = as_dict(rate.get("doseQuantity"))
        unit, value = canonical_unit(amount), decimal(amount.get("value"))
        if value is not None and unit in MASS_UG:
            rate["doseQuantity"] = {**amount, **_amount(value, unit)}
    if rates:
        dosage["doseAndRate"] = rates
    return dosage


def _reroute(dosage: Json, route: Route) -> None:
    dosage["route"] = _route_concept(route)
    for name in ("site", "method"):  # of the way in that was meant before
        dosage.pop(name, None)
    for rate in dicts(dosage.get("doseAndRate")):
        for name in _RATES:
            rate.pop(name, None)


def _code_route(dosage: Json, route: Route) -> None:
    """A SNOMED CT code first, for a route that was written otherwise."""
    own = as_dict(dosage.get("route"))
    if not own or route not in _ROUTE_SETS:
        return
    written = dicts(own.get("coding"))
    if not any(canonical_system(one.get("system")) == _SNOMED for one in written):
        dosage["route"] = {**own, "coding": [*_route_concept(route)["coding"], *written]}


def _spoken(line: DoseLine, dose_words: str | None = None) -> str:
    """A dosage in words: "1000 microgram by intramuscular injection every month"."""
    parts = [dose_words or (words.dose(line.dose_ug) if line.dose_ug is not None else "")]
    parts.append(_ROUTE_PHRASES.get(line.route) or words.ROUTE_WORDS.get(line.route, ""))
    parts.append(words.schedule(line.schedule) if line.schedule is not None else "")
    return " ".join(part for part in parts if part)


# --- taking back a stop -----------------------------------------------------------------------

_LIMITS = ("boundsDuration", "boundsRange", "boundsPeriod", "count", "countMax")
_MAINTENANCE_DAYS = 14  # doses at least so far apart are no loading, which ends by design


def keep_order(draft: Json, order: Order, context: OrderContext) -> Json:
    """The order as it was before it was stopped: a draft again, and without an end."""
    kept = _begun("MedicationRequest", draft, context)
    _lead_with_rxnorm(kept, order)
    _undate(kept)
    written = dosages_of(kept.get("dosageInstruction"))
    pairs = zip(written, order.lines, strict=False)
    dosages = [_without_end(dosage, line) for dosage, line in pairs]
    if dosages:
        kept["dosageInstruction"] = dosages
    return valid_r4(kept)


def _without_end(dosage: Json, line: DoseLine) -> Json:
    dosage = _in_r4(dosage)
    _code_route(dosage, line.route)
    repeat = as_dict(as_dict(dosage.get("timing")).get("repeat"))
    schedule = line.schedule
    loading = schedule is not None and schedule.interval_days < _MAINTENANCE_DAYS
    ends = [name for name in _LIMITS if name in repeat]
    if schedule is not None and ends and not loading:
        for name in ends:
            del repeat[name]
        dosage.pop("text", None)
        line = replace(line, schedule=replace(schedule, bounds=None, count=None))
    said = text(dosage.get("text")) or _spoken(line)
    return {"sequence": 1, **dosage, **({"text": said} if said else {})}


# --- tests and referrals ----------------------------------------------------------------------

_REFERRALS = {
    Specialty.NEUROLOGY: ("sr-referral-neurology", "Referral to neurology"),
    Specialty.HAEMATOLOGY: ("sr-referral-haematology", "Referral to haematology"),
}

# Without a code there is no order code that could be verified: text only.
TESTS: dict[Test, tuple[str | None, str]] = {
    Test.SERUM_B12: ("sr-serum-b12", "Serum vitamin B12"),
    Test.ACTIVE_B12: (None, "Active vitamin B12 (holotranscobalamin)"),
    Test.MMA: ("sr-mma", "Methylmalonic acid"),
    Test.HOMOCYSTEINE: ("sr-homocysteine", "Plasma homocysteine"),
    Test.FOLATE: (None, "Serum folate"),
    Test.FBC: ("sr-fbc", "Full blood count"),
    Test.POTASSIUM: ("sr-potassium", "Serum potassium"),
    Test.IF_ANTIBODY: ("sr-intrinsic-factor-ab", "Intrinsic factor antibody"),
}


def referral_request(specialty: Specialty, context: OrderContext, *, urgent: bool = True) -> Json:
    """A new ServiceRequest for advice or a visit."""
    value_set, name = _REFERRALS[specialty]
    request = _begun("ServiceRequest", None, context)
    return valid_r4(request, _requested(name, value_set, None, value_sets(), urgent=urgent))


def lab_request(
    test: Test,
    context: OrderContext,
    *,
    urgent: bool = False,
    every_months: int | None = None,
    note: str = "",
) -> Json:
    """A new ServiceRequest for a laboratory test, once or repeated every so many months."""
    value_set, name = TESTS[test]
    request = _begun("ServiceRequest", None, context)
    if note:
        request["note"] = [{"text": note}]
    return valid_r4(request, _requested(name, value_set, every_months, value_sets(), urgent=urgent))


@lru_cache(maxsize=512)
def _requested(
    name: str, value_set: str | None, every_months: int | None, sets: ValueSets, *, urgent: bool
) -> Json:
    """What is requested, the same for every patient: valid, and not to be changed."""
    code: Json = {"text": name}
    if value_set is not None:
        code["coding"] = _one_of_each_system(sets.emit(value_set))
    request: Json = {"resourceType": "ServiceRequest", "status": "draft", "intent": "order"}
    request |= {"subject": {"reference": "Patient/any"}, "code": code}
    if urgent:
        request["priority"] = "urgent"
    if every_months is not None:
        repeat = {"frequency": 1, "period": every_months, "periodUnit": "mo"}
        request["occurrenceTiming"] = {"repeat": repeat}
    valid = valid_r4(request)
    return {n: valid[n] for n in ("code", "priority", "occurrenceTiming") if n in valid}


def _one_of_each_system(codes: tuple[Code, ...]) -> list[Json]:
    """One code a system, LOINC first: two of one system would be two orders."""
    first: dict[str, Json] = {}
    for code in codes:
        first.setdefault(code.system, _coding(code))
    return list(first.values())
