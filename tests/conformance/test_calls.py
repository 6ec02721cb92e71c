"""CDS Hooks calls: what is answered, and with which status, whatever the advice is."""

from __future__ import annotations

import json

import pytest

from cds_service.errors import DataUnavailable
from cds_service.hooks.request import decode_order_select
from cds_service.hooks.response import Answer, Card, Coding, Source, Suggestion
from regimen.recommendation import Indicator

CALL = "/cds-services/b12-order-select"


def advice(request, services) -> Answer:
    decode_order_select(request.context)
    topic = Coding(code="risk", system=f"{services.public_url}/fhir/CodeSystem/card-topic")
    source = Source(label="A guideline", url="https://guideline.example", topic=topic)
    card = Card(
        summary="Test before treating",
        indicator=Indicator.INFO,
        source=source,
        suggestions=(Suggestion(label="Order the test"),),
        selection_behavior="at-most-one",
    )
    return Answer(cards=(card,))


@pytest.fixture
def adviser(make_app):
    return make_app(advice).test_client()


def refusal(response) -> tuple[int, str]:
    assert response.content_type == "application/json"
    assert response.json["resourceType"] == "OperationOutcome"
    (issue,) = response.json["issue"]
    assert issue["severity"] == "error"
    return response.status_code, issue["code"]


@pytest.mark.requirement("H2@1", "H2@74", "MDL-01", "S2-07")
def test_a_call_is_answered_200_with_cards_and_no_system_actions(adviser, envelope):
    response = adviser.post(CALL, json=envelope)
    assert response.status_code == 200
    assert response.content_type == "application/json"
    assert set(response.json) == {"cards"}
    assert len(response.json["cards"]) == 1


@pytest.mark.requirement("H2@77")
def test_nothing_to_say_is_200_with_an_empty_array(stand_in_client, envelope):
    response = stand_in_client.post(CALL, json=envelope)
    assert (response.status_code, response.data) == (200, b'{"cards":[]}')


@pytest.mark.requirement("H2@80", "H2@119", "MDL-02")
@pytest.mark.fault("H24")
def test_two_answers_share_no_uuid(adviser, envelope):
    def uuids() -> set[str]:
        (card,) = adviser.post(CALL, json=envelope).json["cards"]
        return {card["uuid"], card["suggestions"][0]["uuid"]}

    assert len(uuids() | uuids()) == 4


@pytest.mark.requirement("CRD22@found-33", "CRD2@169", "H2@214", "CI-28")
@pytest.mark.fault("H26")
def test_unknown_elements_and_extensions_change_nothing(adviser, envelope):
    extra = {"extension": {"com.example.x": {"a": 1}}, "unknown": [1]}
    noisy = envelope | extra
    noisy["context"] = envelope["context"] | extra
    noisy["prefetch"] = envelope["prefetch"] | {"unknown": "x"}
    assert summaries(adviser, noisy) == summaries(adviser, envelope)


def summaries(client, envelope) -> list[str]:
    return [card["summary"] for card in client.post(CALL, json=envelope).json["cards"]]


@pytest.mark.requirement("H2@54", "S2-06")
def test_data_that_cannot_be_had_is_412(make_app, envelope):
    def unavailable(request, services):
        raise DataUnavailable(["conditions"])

    response = make_app(unavailable).test_client().post(CALL, json=envelope)
    assert refusal(response) == (412, "incomplete")


@pytest.mark.requirement("CI-02", "CI-17", "CRD2@158", "CRD2@162")
@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"hook":}', b"{} //", b'{"a":1,}'])
def test_what_is_not_json_is_400(adviser, body):
    response = adviser.post(CALL, data=body, content_type="application/json")
    assert refusal(response)[0] == 400


@pytest.mark.requirement("CI-17", "CRD2@163", "CRD22@hook-14")
@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("hook", "required"),
        ("hookInstance", "required"),
        ("context", "required"),
        ("context.patientId", "required"),
    ],
)
def test_a_required_element_that_is_missing_is_400(adviser, envelope, path, code):
    *parents, last = path.split(".")
    place = envelope
    for part in parents:
        place = place[part]
    del place[last]
    assert refusal(adviser.post(CALL, json=envelope)) == (400, code)


@pytest.mark.requirement("CI-17")
def test_every_other_refusal_is_an_operation_outcome_too(adviser, envelope):
    unknown = adviser.post("/cds-services/none", json=envelope)
    method = adviser.get(CALL)
    media = adviser.post(CALL, data="x", content_type="text/plain")
    assert [refusal(r) for r in (unknown, method, media)] == [
        (404, "not-found"),
        (405, "not-supported"),
        (415, "not-supported"),
    ]


@pytest.mark.requirement("CI-17", "H2@76")
def test_our_own_fault_is_500_without_details(make_app, envelope):
    def broken(request, services):
        raise RuntimeError("secret of the record")

    response = make_app(broken).test_client().post(CALL, json=envelope)
    assert refusal(response) == (500, "exception")
    assert "secret" not in response.text
    assert "Traceback" not in response.text


@pytest.mark.requirement("H2@1")
@pytest.mark.fault("J08")
def test_an_answer_is_strict_json_in_utf8(adviser, envelope):
    envelope["context"]["draftOrders"]["entry"][0]["resource"]["note"] = "Ä€😀"
    data = adviser.post(CALL, data=json.dumps(envelope), content_type="application/json").data

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    json.loads(data.decode("utf-8"), parse_constant=refuse)
