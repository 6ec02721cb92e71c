"""Is a referral or test that was requested already known?"""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from fhir_mappers.service_requests import read_service_request
from regimen.facts import Specialty, Test

SCT, LOINC = "http://snomed.info/sct", "http://loinc.org"


def request(system: str, code: str, **more: Any) -> dict[str, Any]:
    return {
        "resourceType": "ServiceRequest",
        "id": "s",
        "status": "active",
        "authoredOn": "2026-06-01",
        "code": {"coding": [{"system": system, "code": code}]},
        **more,
    }


CASES: dict[str, tuple[dict[str, Any], Specialty | Test | None]] = {
    "neurology": (request(SCT, "183521007"), Specialty.NEUROLOGY),
    "haematology": (request(SCT, "183567007"), Specialty.HAEMATOLOGY),
    "B12": (request(LOINC, "2132-9"), Test.SERUM_B12),
    "homocysteine": (request(LOINC, "13965-9"), Test.HOMOCYSTEINE),
    "MMA": (request(LOINC, "13964-2"), Test.MMA),
    "draft": (request(SCT, "183521007", status="draft"), Specialty.NEUROLOGY),
    "completed": (request(SCT, "183521007", status="completed"), None),
    "revoked": (request(SCT, "183521007", status="revoked"), None),
    "not to be done": (request(SCT, "183521007", doNotPerform=True), None),
    "generic referral": (request(SCT, "306206005"), None),
    "J13 nonsense": ({**request(SCT, "1"), "code": 5}, None),
}


@pytest.mark.fault("J13")
@pytest.mark.parametrize(("resource", "asked"), CASES.values(), ids=CASES.keys())
def test_what_is_asked_for(resource: dict[str, Any], asked: Specialty | Test | None) -> None:
    found = read_service_request(resource)
    assert [r.specialty or r.test for r in found] == ([asked] if asked else [])
    assert all(r.draft is (resource["status"] == "draft") for r in found)
    assert all(r.record.on == date(2026, 6, 1) for r in found)
