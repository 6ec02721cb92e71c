"""The order-entry page's own endpoints, and that production has none of them."""

from __future__ import annotations

import json
from datetime import date, timedelta

import pytest
from fhir.resources.R4B import get_fhir_model_class

from cds_service import demo
from cds_service.application import create_app
from cds_service.settings import Settings
from fhir_mappers.queries import prefetch_templates
from tests.browser.demo_patients import FOLDER, demo_patients, source, text_of
from tests.support import ehr
from tests.support.client import SERVICE

AS_OF = date(2026, 6, 15)
ON = date(2028, 2, 29)


@pytest.fixture
def site():
    return create_app(Settings(), clock=lambda: ON).test_client()


@pytest.mark.parametrize("path", ["/", "/demo/catalogue", "/demo/patients/alder", "/demo/explain"])
def test_production_has_no_order_entry(path):
    settings = Settings(mode="production", public_url="https://cds.example")
    client = create_app(settings).test_client()
    for answer in (client.get(path), client.post(path, json={})):
        assert answer.status_code == 404
        assert answer.get_json()["resourceType"] == "OperationOutcome"


def test_the_shipped_patients_are_those_of_the_source():
    written = {file.stem: file.read_text(encoding="utf-8") for file in FOLDER.glob("*.json")}
    assert written == {p["id"]: text_of(p) for p in demo_patients()}


def test_the_catalogue_offers_every_patient_and_product(site):
    offered = site.get("/demo/catalogue").get_json()
    assert [p["id"] for p in offered["patients"]] == [p["id"] for p in source()["patient"]]
    assert len(offered["patients"]) >= 14
    assert {"hydroxocobalamin", "cyanocobalamin", "cyanocobalamin-tablets", "cyanocobalamin-nasal",
            "folic-acid-5-mg", "folic-acid-400-microgram", "amoxicillin"} == {
        p["id"] for p in offered["products"]
    }  # fmt: skip


@pytest.mark.parametrize("patient_id", demo.patient_ids())
def test_a_patient_is_valid_and_of_today(site, patient_id):
    served = site.get(f"/demo/patients/{patient_id}").get_json()
    stored = json.loads((FOLDER / f"{patient_id}.json").read_text(encoding="utf-8"))
    assert served["asOf"] == ON.isoformat()
    assert served["resources"][0]["resourceType"] == "Patient"
    for old, new in zip(stored["resources"], served["resources"], strict=True):
        get_fhir_model_class(new["resourceType"]).model_validate(new)
        if "effectiveDateTime" in old:
            was = date.fromisoformat(old["effectiveDateTime"][:10])
            now = date.fromisoformat(new["effectiveDateTime"][:10])
            assert now - was == ON - AS_OF


@pytest.mark.parametrize("patient_id", ["nobody", "../catalogue", "alder.json"])
def test_an_unknown_patient_is_not_found(site, patient_id):
    assert site.get(f"/demo/patients/{patient_id}").status_code == 404


def hook_request(patient: dict, order: dict) -> dict:
    """As the page would call for this order."""
    person = patient["resources"][0]["id"]
    context = {"patientId": person, "userId": "Practitioner/p1"}
    return {
        "hook": "order-select",
        "hookInstance": "d1577c69-dfbe-44ad-ba6d-3e05e953b2ea",
        "context": context
        | {
            "selections": [f"MedicationRequest/{order['id']}"],
            "draftOrders": {"resourceType": "Bundle", "entry": [{"resource": order}]},
        },
        "prefetch": {
            key: ehr.answer(ehr.fill(template, context), patient["resources"])
            for key, template in prefetch_templates().items()
        },
    }


def injection(patient: dict) -> dict:
    return {
        "resourceType": "MedicationRequest",
        "id": "draft-1",
        "status": "draft",
        "intent": "order",
        "subject": {"reference": f"Patient/{patient['resources'][0]['id']}"},
        "medicationCodeableConcept": {
            "coding": [{"system": "http://www.nlm.nih.gov/research/umls/rxnorm", "code": "317106"}]
        },
    }


def test_moving_the_dates_does_not_change_the_advice():
    for day in (AS_OF, AS_OF + timedelta(days=500)):
        client = create_app(Settings(), clock=lambda day=day: day).test_client()
        patient = client.get("/demo/patients/alder").get_json()
        answer = client.post(SERVICE, json=hook_request(patient, injection(patient)))
        assert [c["source"]["topic"]["code"] for c in answer.get_json()["cards"]] == ["regimen"]


def test_an_answer_is_explained(site):
    patient = site.get("/demo/patients/alder").get_json()
    answer = site.post("/demo/explain", json=hook_request(patient, injection(patient)))
    assert answer.status_code == 200
    text = answer.get_json()["text"]
    assert "Facts found" in text
    assert "DEF confirmed" in text
    assert "FIRED regimen" in text


def test_it_is_explained_by_the_codes_and_the_protocol_that_it_was_answered_by(tmp_path):
    (tmp_path / "codes.csv").write_text(
        "valueset,system_uri,code,display\nlab-b12-total,urn:oid:1.2.3,L1,Local B12\n"
    )
    (tmp_path / "tenants.toml").write_text(
        '[[tenant]]\nid = "local"\nauth = "open"\nextra_codes = "codes.csv"\nprofile = "us"\n'
    )
    site = create_app(Settings(tenants=str(tmp_path / "tenants.toml")), clock=lambda: ON)
    client = site.test_client()
    patient = client.get("/demo/patients/alder").get_json()
    for resource in patient["resources"]:
        for coding in resource.get("code", {}).get("coding", ()):
            if coding["system"] == "http://loinc.org" and resource["resourceType"] == "Observation":
                coding.update(system="urn:oid:1.2.3", code="L1")
    call = hook_request(patient, injection(patient))
    assert client.post(SERVICE, json=call).get_json()["cards"]
    text = client.post("/demo/explain", json=call).get_json()["text"]
    assert "FIRED regimen" in text
    assert "cyanocobalamin" in text.split("Regimen\n")[1].split("Rules\n")[0]


def test_an_order_that_is_not_ours_is_explained_too(site):
    patient = site.get("/demo/patients/alder").get_json()
    order = injection(patient) | {"medicationCodeableConcept": {"text": "amoxicillin"}}
    answer = site.post("/demo/explain", json=hook_request(patient, order))
    assert "the record was not looked at" in answer.get_json()["text"]


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"{", "application/json", 400),
        (b"{}", "text/plain", 415),
        (b" " * 2000, "application/json", 413),
    ],
)
def test_what_cannot_be_explained_is_refused(body, kind, status):
    client = create_app(Settings(max_body_bytes=1024)).test_client()
    answer = client.post("/demo/explain", data=body, content_type=kind)
    assert answer.status_code == status
    assert answer.get_json()["resourceType"] == "OperationOutcome"
