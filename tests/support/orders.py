"""Is this suggested order what the contract promises?

Every suggested MedicationRequest and ServiceRequest is valid R4, a draft, about this patient and
from this prescriber; an update is the picked draft, changed only where the advice changes it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fhir.resources.R4B.medicationrequest import MedicationRequest
from fhir.resources.R4B.servicerequest import ServiceRequest
from pydantic import ValidationError

from tests.support.record import RXNORM, SCT
from tests.support.regimens import instruction, product, rxnorm_codes
from tests.support.timing import UCUM
from tests.support.vignette import resource_table

Json = dict[str, Any]

REFERRAL_CODES = {
    "neurology": frozenset({"183521007", "308474002"}),
    "haematology": frozenset({"183567007", "307063001"}),
}
_MODELS: dict[str, Any] = {"MedicationRequest": MedicationRequest, "ServiceRequest": ServiceRequest}
_DOSE_UNITS = {"hydroxocobalamin": "mg", "cyanocobalamin": "ug"}
_TIME_UNITS = frozenset({"s", "min", "h", "d", "wk", "mo", "a"})
# What advice may change in a draft. Everything else must come back as it went in.
_MAY_CHANGE = frozenset(
    [
        "status",
        "statusReason",
        "medicationCodeableConcept",
        "medicationReference",
        "contained",
        "dosageInstruction",
        "groupIdentifier",
        "doNotPerform",
    ]
)
_MAY_BE_ADDED = frozenset({"intent", "subject", "encounter", "authoredOn", "requester"})
_MAY_CHANGE_IN_DOSAGE = frozenset({"text", "timing", "route", "doseAndRate"})


def is_medication(action: Json) -> bool:
    return bool(action.get("resource", {}).get("resourceType") == "MedicationRequest")


def orders(suggestion: Json) -> Iterator[Json]:
    """The MedicationRequests a suggestion creates or updates."""
    yield from (a["resource"] for a in suggestion.get("actions", ()) if is_medication(a))


def drafts(request: Json) -> dict[str, Json]:
    """The draft orders of the request, by reference."""
    entries = request["context"]["draftOrders"]["entry"]
    resources = [entry["resource"] for entry in entries]
    return {f"{r['resourceType']}/{r['id']}": r for r in resources}


def drafts_of(medicine: str, request: Json) -> set[str]:
    """References of the drafts whose medicine is named so in the vocabulary."""
    names = resource_table("vocabulary")["medicines"]
    codes = {entry["rxnorm"] for name, entry in names.items() if name.startswith(medicine)}
    return {ref for ref, draft in drafts(request).items() if rxnorm_codes(draft) & codes}


def service_codes(card: Json) -> frozenset[str]:
    """Every code of the ServiceRequests a card offers."""
    return frozenset(
        coding.get("code", "")
        for suggestion in card.get("suggestions", ())
        for action in suggestion.get("actions", ())
        if action.get("resource", {}).get("resourceType") == "ServiceRequest"
        for coding in action["resource"].get("code", {}).get("coding", ())
    )


def action_problems(action: Json, request: Json) -> Iterator[str]:
    """One action, by itself."""
    match action.get("type"):
        case "delete":
            yield from _delete_problems(action, request)
        case "create" | "update":
            yield from _resource_problems(action, request)
        case other:
            yield f"action type {other}"


def _delete_problems(action: Json, request: Json) -> Iterator[str]:
    if "resource" in action:
        yield "a delete carries a resource"
    if action.get("resourceId") not in request["context"]["selections"]:
        yield "a delete names no selected draft"


def _resource_problems(action: Json, request: Json) -> Iterator[str]:
    resource = action.get("resource", {})
    kind = resource.get("resourceType")
    if kind not in _MODELS:
        yield f"suggests a {kind}"
        return
    if "resourceId" in action:
        yield f"a {action['type']} carries resourceId"
    yield from _validity_problems(resource)
    yield from _common_problems(resource, request)
    if kind == "MedicationRequest":
        yield from _medication_problems(resource, is_new=action["type"] == "create")
    reference = f"{kind}/{resource.get('id', '')}"
    if action["type"] == "create":
        if reference in drafts(request):
            yield "a create takes the id of a draft"
    elif reference not in request["context"]["selections"]:
        yield "an update names no selected draft"
    else:
        yield from _kept_problems(drafts(request)[reference], resource)


def _validity_problems(resource: Json) -> Iterator[str]:
    try:
        _MODELS[resource["resourceType"]].model_validate(resource)
    except ValidationError as error:
        for problem in error.errors():
            yield f"not valid R4 at {'.'.join(map(str, problem['loc']))}: {problem['msg']}"


def _common_problems(resource: Json, request: Json) -> Iterator[str]:
    context = request["context"]
    wanted = {
        "status": "draft",
        "intent": "order",
        "subject": {"reference": f"Patient/{context['patientId']}"},
    }
    for element, value in wanted.items():
        if resource.get(element) != value:
            yield f"{element} is {resource.get(element)}"
    needed = ["authoredOn", "requester", *(["encounter"] if "encounterId" in context else [])]
    for element in needed:
        if not resource.get(element):
            yield f"no {element}"


def _medication_problems(order: Json, *, is_new: bool) -> Iterator[str]:
    concept = order.get("medicationCodeableConcept", {})
    if not concept.get("text"):
        yield "the medicine has no text"
    if (concept.get("coding") or [{}])[0].get("system") != RXNORM:
        yield "the medicine's first coding is not RxNorm"
    if len(order.get("dosageInstruction", ())) != 1:
        yield "not exactly one dosageInstruction"
    line = instruction(order)
    if not line.get("text"):
        yield "the dosageInstruction has no text"
    yield from _detail_problems(order, line, is_new=is_new)
    if is_new:
        yield from _date_problems(order, line)


def _detail_problems(order: Json, line: Json, *, is_new: bool) -> Iterator[str]:
    """Timing, route and dose: all there in a new order, each well-formed where it is there."""
    repeat = line.get("timing", {}).get("repeat")
    codings = line.get("route", {}).get("coding", [])
    rates = line.get("doseAndRate") or [{}]
    quantity = rates[0].get("doseQuantity")
    if is_new and not (repeat and codings and quantity):
        yield "a new order without timing, route or dose"
    if repeat is not None:
        yield from _timing_problems(repeat)
    if "route" in line and not any(c.get("system") == SCT and c.get("code") for c in codings):
        yield "the route has no SNOMED CT code"
    if quantity is not None and not (quantity.get("system") == UCUM and quantity.get("code")):
        yield "the dose has no UCUM code"
    if is_new and quantity and quantity.get("code") != _DOSE_UNITS.get(product(order)):
        yield f"the dose of {product(order)} is in {quantity.get('code')}"


def _timing_problems(repeat: Json) -> Iterator[str]:
    """The invariants of Timing.repeat that a model may not check."""
    if ("period" in repeat) != ("periodUnit" in repeat):
        yield "period without periodUnit, or the other way"
    if "periodMax" in repeat and not repeat["periodMax"] > repeat.get("period", 0):
        yield "periodMax without a shorter period"
    if repeat.get("periodUnit", "d") not in _TIME_UNITS:
        yield f"periodUnit {repeat['periodUnit']}"
    bounds = repeat.get("boundsDuration")
    if bounds and not (bounds.get("system") == UCUM and bounds.get("code") in _TIME_UNITS):
        yield "boundsDuration is no UCUM duration"
    if not repeat.keys() & {"frequency", "period", "count", "dayOfWeek", "when"}:
        yield "a timing that says nothing"


def _date_problems(order: Json, line: Json) -> Iterator[str]:
    """A maintenance order starts when a clinician says so."""
    timing = line.get("timing", {})
    is_dated = (
        "boundsPeriod" in timing.get("repeat", {})
        or "event" in timing
        or "validityPeriod" in order.get("dispenseRequest", {})
    )
    if is_dated:
        yield "a new order is dated"


def _as_list(value: Any) -> Any:
    """R4 wants an array where some clients send the object alone."""
    return [value] if isinstance(value, dict) else value


def _kept_problems(draft: Json, updated: Json) -> Iterator[str]:
    for element, value in draft.items():
        if element in _MAY_CHANGE:
            continue
        now = updated.get(element)
        if now != value and _as_list(now) != _as_list(value):
            yield f"the update changes {element}"
    for element in updated.keys() - draft.keys() - _MAY_CHANGE - _MAY_BE_ADDED:
        yield f"the update adds {element}"
    before, after = instruction(draft), instruction(updated)
    for element, value in before.items():
        if element not in _MAY_CHANGE_IN_DOSAGE and after.get(element) != value:
            yield f"the update changes dosageInstruction.{element}"


def group_problems(actions: list[Json]) -> Iterator[str]:
    """Loading and maintenance of one suggestion belong together."""
    groups = [a["resource"].get("groupIdentifier") for a in actions if is_medication(a)]
    if len(groups) > 1 and (not groups[0] or any(group != groups[0] for group in groups)):
        yield "its orders do not share a groupIdentifier"
