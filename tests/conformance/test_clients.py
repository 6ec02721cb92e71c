"""What real clients send is answered: the standard's example, the reference sandbox, Epic."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

EHR = Path(__file__).parents[2] / "fixtures" / "ehr"


def body(name: str) -> dict[str, Any]:
    return json.loads((EHR / f"{name}.json").read_text("utf-8"))  # type: ignore[no-any-return]


def topics(client: FlaskClient, request: dict[str, Any]) -> list[str]:
    answer = client.post("/cds-services/b12-order-select", json=request)
    assert answer.status_code == 200
    return [card["source"]["topic"]["code"] for card in answer.get_json()["cards"]]


@pytest.mark.requirement("HP-01", "HP-02")
@pytest.mark.fault("D11", "D36", "H26")
@pytest.mark.parametrize("name", ["standard-r4", "sandbox-no-drug-yet", "sandbox-dstu2"])
def test_is_quiet_without_reading_the_record(client: FlaskClient, name: str) -> None:
    """No prefetch is sent: an order that is none of ours is answered without it."""
    assert topics(client, body(name)) == []


@pytest.mark.fault("D09", "D11")
def test_reads_a_sibling_medication_behind_ids_of_190_characters(client: FlaskClient) -> None:
    """Epic: nothing of the record was sent, yet the order is a danger by itself."""
    request = body("epic-sibling-medication")
    assert len(request["context"]["selections"][0]) > 190
    assert topics(client, request) == ["ivroute", "unavailable"]


@pytest.mark.requirement("H2@132", "H2@135")
def test_echoes_long_ids_verbatim(client: FlaskClient) -> None:
    request = body("epic-sibling-medication")
    answer = client.post("/cds-services/b12-order-select", json=request).get_json()
    (suggestion,) = answer["cards"][0]["suggestions"]
    (action,) = suggestion["actions"]
    assert (action["type"], f"MedicationRequest/{action['resource']['id']}") == (
        "update",
        request["context"]["selections"][0],
    )


@pytest.mark.requirement("H2@54")
def test_cannot_judge_the_sandbox_s_tablet_without_the_record(client: FlaskClient) -> None:
    answer = client.post("/cds-services/b12-order-select", json=body("sandbox-tablet"))
    assert answer.status_code == 412
    assert answer.get_json()["resourceType"] == "OperationOutcome"


@pytest.mark.fault("D11", "J13")
def test_reads_objects_where_arrays_belong(client: FlaskClient) -> None:
    """The sandbox's tablet with a record: category and reasonCode come back as arrays."""
    request = body("sandbox-tablet")
    request["prefetch"] = {
        "patient": {"resourceType": "Patient", "id": "smart-1288992", "birthDate": "1960-02-03"},
        "conditions": {
            "resourceType": "Bundle",
            "entry": [
                {
                    "resource": {
                        "resourceType": "Condition",
                        "id": "c1",
                        "clinicalStatus": {"coding": [{"code": "active"}]},
                        "code": {
                            "coding": [{"system": "http://snomed.info/sct", "code": "84027009"}]
                        },
                        "subject": {"reference": "Patient/smart-1288992"},
                    }
                }
            ],
        },
        **dict.fromkeys(
            (
                "observations",
                "procedures",
                "medicationRequests",
                "medicationAdministrations",
                "allergies",
            )
        ),
    }
    answer = client.post("/cds-services/b12-order-select", json=request).get_json()
    (card,) = answer["cards"]
    assert card["source"]["topic"]["code"] == "route"
    resource = card["suggestions"][0]["actions"][0]["resource"]
    assert isinstance(resource["category"], list)
    assert isinstance(resource["reasonCode"], list)
