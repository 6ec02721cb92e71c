"""Which referrals and tests have been requested already?"""

from __future__ import annotations

from datetime import date

from fhir_mappers import elements as el
from fhir_mappers.elements import Json
from fhir_mappers.orders import TESTS
from fhir_mappers.terminology import settle, value_sets
from regimen.facts import RecordRef, RequestOnFile, Specialty, Test

_OPEN = frozenset({"active", "draft"})

_SPECIALTIES = {
    "sr-referral-neurology": Specialty.NEUROLOGY,
    "sr-referral-haematology": Specialty.HAEMATOLOGY,
}
_TESTS = {
    "sr-serum-b12": Test.SERUM_B12,
    "lab-b12-total": Test.SERUM_B12,
    "lab-holotranscobalamin": Test.ACTIVE_B12,
    "sr-mma": Test.MMA,
    "lab-mma": Test.MMA,
    "sr-homocysteine": Test.HOMOCYSTEINE,
    "lab-homocysteine": Test.HOMOCYSTEINE,
    "lab-folate": Test.FOLATE,
    "sr-fbc": Test.FBC,
    "lab-fbc-panel": Test.FBC,
    "sr-potassium": Test.POTASSIUM,
    "lab-potassium": Test.POTASSIUM,
    "sr-intrinsic-factor-ab": Test.IF_ANTIBODY,
    "lab-intrinsic-factor-ab": Test.IF_ANTIBODY,
}


def read_service_request(resource: Json) -> tuple[RequestOnFile, ...]:
    """What one ServiceRequest asks for, if it still stands; one entry a referral or test."""
    status = (el.text(resource.get("status")) or "").lower()
    if status not in _OPEN or el.flag(resource.get("doNotPerform")):
        return ()
    codes = settle(value_sets().matches_concept(el.as_dict(resource.get("code"))))
    found: dict[tuple[Specialty | None, Test | None], RequestOnFile] = {}
    on = el.date_of(resource.get("authoredOn"))
    for code in codes:
        asked = (_SPECIALTIES.get(code.value_set), _TESTS.get(code.value_set))
        if asked != (None, None):
            record = RecordRef(el.resource_ref(resource), on, code.label)
            found.setdefault(asked, RequestOnFile(record, *asked, draft=status == "draft"))
    if not found:
        found.update(_by_our_text(resource, on, draft=status == "draft"))
    return tuple(found.values())


def _by_our_text(
    resource: Json, on: date | None, *, draft: bool
) -> dict[tuple[Specialty | None, Test | None], RequestOnFile]:
    """The tests that we order by text, since no order code for them could be verified."""
    name = el.text(el.as_dict(resource.get("code")).get("text"))
    record = RecordRef(el.resource_ref(resource), on, name or "")
    return {
        (None, test): RequestOnFile(record, test=test, draft=draft)
        for test, (value_set, text) in TESTS.items()
        if value_set is None and text == name
    }
