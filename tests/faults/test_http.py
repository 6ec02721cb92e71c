"""HTTP, seen from a client: what the protocol of the web may do to a call, and must not."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.faults.conftest import decision
from tests.support.client import SERVICE


def without(body: dict[str, Any], path: str) -> dict[str, Any]:
    *parents, last = path.split(".")
    place = body
    for parent in parents:
        place = place[parent]
    place.pop(last, None)
    return body


def changed(body: dict[str, Any], path: str, value: object) -> dict[str, Any]:
    *parents, last = path.split(".")
    place = body
    for parent in parents:
        place = place[parent]
    place[last] = value
    return body


@pytest.mark.fault("H04")
@pytest.mark.parametrize("hook", ["order-sign", "patient-view", "canary", "", 5, None, ["x"]])
def test_another_hook(ask, golden, hook):
    assert ask(changed(golden, "hook", hook)).status_code == 400


@pytest.mark.fault("H05")
@pytest.mark.parametrize("instance", [None, 5, ["canary"], {}])
def test_no_hook_instance(ask, golden, instance):
    assert ask(changed(golden, "hookInstance", instance)).status_code == 400
    assert ask(without(golden, "hookInstance")).status_code == 400


@pytest.mark.fault("H05", "H24")
@pytest.mark.parametrize(
    "instance",
    [
        "",
        "canary",
        "D1577C69-DFBE-44AD-BA6D-3E05E953B2EA",
        "urn:uuid:d1577c69-dfbe-44ad",
        "é" * 9000,
    ],
)
def test_an_odd_hook_instance(ask, golden, golden_decision, instance):
    body = changed(golden, "hookInstance", instance)
    assert decision(ask(body).json) == golden_decision
    assert decision(ask(body).json) == golden_decision


@pytest.mark.fault("H06")
@pytest.mark.parametrize("context", [None, [], "canary", 5, {}, [{"patientId": "canary"}]])
def test_no_context(ask, golden, context):
    assert ask(changed(golden, "context", context)).status_code == 400


@pytest.mark.fault("H06")
@pytest.mark.parametrize("patient", [None, "", " ", 5, ["canary"], {"id": "canary"}, True])
def test_no_patient(ask, golden, patient):
    assert ask(changed(golden, "context.patientId", patient)).status_code == 400


@pytest.mark.fault("H07", "H08")
@pytest.mark.parametrize("name", ["userId", "encounterId"])
@pytest.mark.parametrize(
    "value", [None, "", "Patient/1", "bare-id", 5, [], {}, "PractitionerRole/1"]
)
def test_user_and_encounter_in_any_form(ask, golden, golden_decision, name, value):
    response = ask(changed(golden, f"context.{name}", value))
    topics = [card["source"]["topic"]["code"] for card in response.json["cards"]]
    assert topics == [card["source"]["topic"]["code"] for card in golden_decision]
    assert response.status_code == 200


NO_ORDERS: list[object] = [
    None,
    {},
    [],
    "canary",
    5,
    {"entry": None},
    {"entry": []},
    {"entry": [{}]},
]


@pytest.mark.fault("H09")
@pytest.mark.parametrize("orders", NO_ORDERS)
def test_no_orders(ask, golden, orders):
    response = ask(changed(golden, "context.draftOrders", orders))
    assert response.status_code == 400 or response.json == {"cards": []}


@pytest.mark.fault("H09")
def test_a_bundle_without_its_type(ask, golden, golden_decision):
    golden["context"]["draftOrders"].pop("type", None)
    assert decision(ask(golden).json) == golden_decision


SELECTIONS: dict[str, Callable[[list[str]], Any]] = {
    "twice": lambda known: known * 2,
    "and a dangling one": lambda known: [*known, "MedicationRequest/canary"],
    "absolute": lambda known: [f"https://ehr.example/r4/{one}" for one in known],
}


@pytest.mark.fault("H10")
@pytest.mark.parametrize("form", SELECTIONS)
def test_selections_in_other_forms(ask, golden, golden_decision, form):
    context = golden["context"]
    context["selections"] = SELECTIONS[form](context["selections"])
    assert decision(ask(golden).json) == golden_decision


@pytest.mark.fault("H10")
@pytest.mark.parametrize("value", [None, [], ["MedicationRequest/canary"], [5], "canary", {}])
def test_selections_that_select_nothing(ask, golden, value):
    response = ask(changed(golden, "context.selections", value))
    assert response.json == {"cards": []}


@pytest.mark.fault("H11")
def test_a_thousand_drafts(ask, golden, golden_decision):
    other = {
        "resourceType": "MedicationRequest",
        "status": "draft",
        "intent": "order",
        "medicationCodeableConcept": {"text": "Something else"},
    }
    entries = golden["context"]["draftOrders"]["entry"]
    entries[:0] = [{"resource": {**other, "id": f"other-{n}"}} for n in range(999)]
    started = time.monotonic()
    assert decision(ask(golden).json) == golden_decision
    assert time.monotonic() - started < 3


@pytest.mark.fault("H14")
@pytest.mark.parametrize("body", [b"", b" ", b"null", b"[]", b'"canary"', b"0", b"true", b"{}"])
def test_bodies_that_say_nothing(ask, body):
    assert ask(body).status_code == 400


@pytest.mark.fault("H17")
@pytest.mark.parametrize("coding", ["gzip", "br", "deflate", "gzip, gzip", "zstd", "canary"])
def test_an_encoded_body(ask, coding):
    response = ask(b"\x1f\x8b\x08canary", headers={"Content-Encoding": coding})
    assert response.status_code == 415


@pytest.mark.fault("H24")
def test_many_at_once_get_the_same_and_no_uuid_twice(service, golden, golden_decision):
    def one(_: int) -> Any:
        return service.test_client().post(SERVICE, json=golden).json

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(one, range(40)))
    assert all(decision(answer) == golden_decision for answer in answers)
    uuids = [card["uuid"] for answer in answers for card in answer["cards"]]
    uuids += [s["uuid"] for a in answers for c in a["cards"] for s in c.get("suggestions", ())]
    assert len(uuids) == len(set(uuids))


@pytest.mark.fault("H26")
def test_unknown_elements_everywhere(ask, golden, golden_decision):
    def salted(value: Any) -> Any:
        if isinstance(value, dict):
            extra = {"com.epic.canary": {"x": [1, None]}, "_canary": "x"}
            return {key: salted(part) for key, part in value.items()} | extra
        return [salted(item) for item in value] if isinstance(value, list) else value

    body = golden | {"extension": {"com.epic.cdshooks.request.bpa-trigger-action": "18"}}
    body = {k: v if k == "prefetch" else salted(v) for k, v in body.items()} | {"canary": [{}]}
    answer = ask(body).json
    topics = [(card["source"]["topic"]["code"], card["indicator"]) for card in answer["cards"]]
    assert topics == [(c["source"]["topic"]["code"], c["indicator"]) for c in golden_decision]


@pytest.mark.fault("H28")
@pytest.mark.parametrize("query", ["a=b", "a=b&a=%00", "%ff", "x" * 4000, "hook=canary"])
def test_a_query_changes_nothing(ask, golden, golden_decision, query):
    assert decision(ask(golden, query_string=query).json) == golden_decision


@pytest.mark.fault("H20", "H22")
def test_no_header_decides_where_an_answer_points(ask, golden, golden_decision):
    headers = {
        "Host": "canary.example",
        "X-Forwarded-Host": "canary.example",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-For": "203.0.113.7",
        "Forwarded": "host=canary.example",
        "X-HTTP-Method-Override": "DELETE",
    }
    response = ask(golden, headers=headers)
    assert decision(response.json) == golden_decision
    assert "canary" not in response.text + json.dumps(dict(response.headers))


@pytest.mark.fault("C14")
def test_the_headers_of_an_answer(ask, golden):
    headers = ask(golden).headers
    assert headers["Content-Type"] == "application/json"
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "Server" not in headers
