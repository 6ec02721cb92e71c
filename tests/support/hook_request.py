"""How does a client call order-select for this vignette?

A complete CDS Hooks request: the drafts with an extension, an identifier and a category of the
client's own, and a prefetch filled from the service's templates the way a client fills it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import date, timedelta
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from tests.support import ehr
from tests.support.record import (
    EXTENSION,
    THO,
    Resource,
    build_record,
    concept,
    medication_request,
    patient_id,
)
from tests.support.vignette import Toml, Vignette

PRACTITIONER = "Practitioner/example-prescriber"
ENCOUNTER = "example-encounter"
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}(?=$|T)")


def _draft(vignette: Vignette, facts: Toml, number: int, record: list[Resource]) -> Resource:
    if "stop" in facts:
        return _stop(facts, record)
    return {
        "resourceType": "MedicationRequest",
        "id": facts.get("id", f"draft-{number}"),
        "extension": [EXTENSION],
        "identifier": [{"system": "https://ehr.example/order", "value": f"{vignette.id}-{number}"}],
        "status": "draft",
        "category": [concept(f"{THO}/medicationrequest-category", "outpatient")],
        "subject": {"reference": f"Patient/{patient_id(vignette)}"},
        "encounter": {"reference": f"Encounter/{ENCOUNTER}"},
        "authoredOn": vignette.as_of.isoformat(),
        "requester": {"reference": PRACTITIONER},
    } | medication_request(facts)


def _stop(facts: Toml, record: list[Resource]) -> Resource:
    """The order itself, as the client would write it when the clinician stops it."""
    order = next(r for r in record if r["id"] == facts["stop"])
    changed = dict(order)
    changed["extension"] = [EXTENSION]
    changed["identifier"] = [{"system": "https://ehr.example/order", "value": order["id"]}]
    changed["category"] = [concept(f"{THO}/medicationrequest-category", "outpatient")]
    if facts.get("do_not_perform", False):
        return changed | {"doNotPerform": True}
    return changed | {"status": facts.get("status", "stopped")}


def _prefetch(
    vignette: Vignette, record: list[Resource], templates: Mapping[str, str]
) -> Iterator[tuple[str, Resource | None]]:
    context = {
        "patientId": patient_id(vignette),
        "encounterId": ENCOUNTER,
        "userId": PRACTITIONER,
    }
    for key, template in templates.items():
        query = ehr.fill(template, context)
        if re.split(r"[/?]", query)[0] in vignette.failed:
            yield (
                key,
                {
                    "resourceType": "OperationOutcome",
                    "issue": [{"severity": "error", "code": "exception"}],
                },
            )
        else:
            yield key, ehr.answer(query, record)


def order_select(vignette: Vignette, templates: Mapping[str, str]) -> dict[str, Any]:
    """The request of one vignette, with dates as written."""
    record = build_record(vignette)
    drafts = [
        _draft(vignette, facts, number, record)
        for number, facts in enumerate(vignette.orders, start=1)
    ]
    selected = [
        f"MedicationRequest/{draft['id']}"
        for draft, facts in zip(drafts, vignette.orders, strict=True)
        if facts.get("selected", True)
    ]
    request: dict[str, Any] = {
        "hook": "order-select",
        "hookInstance": str(uuid5(NAMESPACE_URL, f"https://ehr.example/{vignette.id}")),
        "context": {
            "userId": PRACTITIONER,
            "patientId": patient_id(vignette),
            "encounterId": ENCOUNTER,
            "selections": selected,
            "draftOrders": {
                "resourceType": "Bundle",
                "type": "collection",
                "entry": [{"resource": draft} for draft in drafts],
            },
        },
    }
    if vignette.prefetch == "complete":
        request["prefetch"] = dict(_prefetch(vignette, record, templates))
    return request


def shifted(value: Any, by: timedelta) -> Any:
    """The same request, every date and time in it moved by so many days."""
    if isinstance(value, dict):
        return {key: shifted(item, by) for key, item in value.items()}
    if isinstance(value, list):
        return [shifted(item, by) for item in value]
    if isinstance(value, str) and (match := _DATE.match(value)):
        moved = date.fromisoformat(match[0]) + by
        return moved.isoformat() + value[match.end() :]
    return value
