"""Does fetching work against servers that others wrote?

Medplum finds a patient's resources by `patient=Patient/1` only; HAPI gives a page at a time, with
links that lead to its base. Both must give the cards that a complete prefetch gives.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.server.conftest import TOKEN, FhirServer
from tests.support.calling_back import GRANT, Caller, fetching_app, held, vignette

# From the reports of real patients: resections, neurology, earlier treatment, allergy, surgery.
SHIPPED = ("V01", "V02", "V09", "V21", "V31", "V44", "V51", "V126", "W040", "W192", "W230")
OURS = {**GRANT, "access_token": TOKEN}
DEADLINE_MS = 10_000


@pytest.fixture(scope="module", params=["medplum", "hapi"])
def server(request: pytest.FixtureRequest) -> FhirServer:
    found: FhirServer = request.getfixturevalue(request.param)
    return found


@pytest.mark.parametrize("name", SHIPPED)
def test_the_cards_are_those_of_a_complete_prefetch(server: FhirServer, name: str) -> None:
    patient = vignette(name)
    server.load(held(patient))
    with fetching_app(patient, [server.url], deadline_ms=DEADLINE_MS) as app:
        caller = Caller(app, patient)
        delivered = caller.by_prefetch()
        assert caller.ask(server.url, grant=OURS).text == delivered.text
        half = caller.ask(server.url, grant=OURS, keep=lambda key: key in ("patient", "conditions"))
        assert half.text == delivered.text


def test_a_wrong_token_is_refused_and_said(server: FhirServer) -> None:
    patient = vignette("V01")
    with fetching_app(patient, [server.url], deadline_ms=DEADLINE_MS) as app:
        assert Caller(app, patient).ask(server.url).is_unread


def test_a_patient_the_server_does_not_have_is_not_without_deficiency(server: FhirServer) -> None:
    patient = vignette("V01")
    with fetching_app(patient, [server.url], deadline_ms=DEADLINE_MS) as app:
        asked = Caller(app, patient).ask(server.url, grant=OURS, patient_id="nobody")
        assert "regimen" not in asked.topics


def test_hapi_gives_pages_and_they_are_followed(hapi: FhirServer, log: Any) -> None:
    patient = vignette("V01")
    hapi.load(held(patient))
    many = [
        {
            "resourceType": "Observation",
            "id": f"weight-{number}",
            "status": "final",
            "code": {"coding": [{"system": "http://loinc.org", "code": "29463-7"}]},
            "subject": {
                "reference": next(r for r in held(patient) if "subject" in r)["subject"][
                    "reference"
                ]
            },
            "effectiveDateTime": "2026-01-01",
        }
        for number in range(12)
    ]
    hapi.load(many)
    with fetching_app(patient, [hapi.url], deadline_ms=DEADLINE_MS) as app:
        caller = Caller(app, patient)
        assert caller.ask(hapi.url, grant=OURS).text == caller.by_prefetch().text
