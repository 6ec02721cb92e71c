"""What is slow only the first time, and is therefore done before there is a first time?

The FHIR models are loaded and put together when they are first used. Here they are used once, in
the parent process, so that no prescriber waits for it and all workers share the memory. The garbage
collector is told that what is loaded now stays, and to come by less often: a call leaves next to
nothing behind that it would have to find.
"""

from __future__ import annotations

import gc
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from cds_service.hooks.request import decode_request
from cds_service.hooks.response import encode_cards

if TYPE_CHECKING:
    from cds_service.web import Runtime

# A call of nobody's: a first injection picked for a patient of whom nothing is known.
_CALL: Final = b"""{
  "hook": "order-select",
  "hookInstance": "00000000-0000-4000-8000-000000000000",
  "context": {
    "userId": "Practitioner/nobody",
    "patientId": "nobody",
    "selections": ["MedicationRequest/warm"],
    "draftOrders": {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": {
      "resourceType": "MedicationRequest", "id": "warm", "status": "draft", "intent": "order",
      "subject": {"reference": "Patient/nobody"},
      "extension": [{"url": "https://ehr.example/extension", "valueString": "kept"}],
      "medicationCodeableConcept": {"coding": [
        {"system": "http://www.nlm.nih.gov/research/umls/rxnorm", "code": "317106"}]},
      "dosageInstruction": [{
        "timing": {"repeat": {"frequency": 1, "period": 1, "periodUnit": "d"}},
        "doseAndRate": [{"doseQuantity":
          {"value": 1, "unit": "mg", "system": "http://unitsofmeasure.org", "code": "mg"}}]}]}}]}
  },
  "prefetch": {
    "patient": {"resourceType": "Patient", "id": "nobody", "birthDate": "1960-01-01"},
    "conditions": {"resourceType": "Bundle", "type": "searchset", "entry": [{"resource": {
      "resourceType": "Condition", "id": "1", "subject": {"reference": "Patient/nobody"},
      "code": {"coding": [{"system": "http://hl7.org/fhir/sid/icd-10-cm", "code": "D51.0"}]}}}]},
    "observations": null
  }
}"""

#: New objects until the collector looks at them; a call on 60 kB of record makes some thousands.
_COLLECT_AFTER: Final = (50_000, 20, 50)


def warm(runtime: Runtime) -> None:
    """Answer one made-up call, and throw the answer away. Nothing is logged, counted or fetched."""
    if runtime.services is None:
        return  # not ready, and said so
    nobody = replace(runtime.services.tenant, missing_data="card")
    services = replace(runtime.services, fetch=None, tenant=nobody)
    for service in runtime.hooks.values():
        if service.hook == "order-select":
            encode_cards(service.answer(decode_request(_CALL), services).cards)


def settle_down() -> None:
    """Before workers are forked: what is loaded stays, and is not looked through again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_COLLECT_AFTER)
