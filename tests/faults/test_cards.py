"""Answers: what hostile or strange records may do to a card, and what every card must be."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from cds_service.hooks.response import Answer, Card, Coding, Source
from regimen.recommendation import Indicator
from tests.faults.conftest import decision
from tests.support.response_check import check_response

HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "[x](javascript:alert(1))",
    "![](http://evil.example/p?x=1)",
    "<details open ontoggle=alert(1)>",
    "| a | b |\n|---|---|\n| c | d |",
    "](http://evil.example)",
    "`code` **bold** _it_ ~~x~~ # h",
    "&lt;script&gt;&#60;img&#62;",
    "\u202eoverride\u2066",
    "a" * 1000,
    "😀" * 400,
    "e\u0301" * 400,
]


def with_texts(body: Any, text: str) -> Any:
    """Every display and text of a record, and of the order, replaced."""
    if isinstance(body, dict):
        return {
            key: text
            if key in ("display", "text") and isinstance(part, str)
            else with_texts(part, text)
            for key, part in body.items()
        }
    return [with_texts(part, text) for part in body] if isinstance(body, list) else body


@pytest.mark.fault("C01", "C02", "C03", "J10")
@pytest.mark.parametrize("text", HOSTILE)
def test_a_text_of_a_record_is_never_markup(ask, golden, text):
    response = ask(with_texts(golden, text))
    assert response.status_code == 200
    check_response(response.data)
    for card in response.json["cards"]:
        assert not re.search(r"(?<!\\)<[A-Za-z/!]", card.get("detail", ""))
        assert not re.search(r"(?<!\\)!?\[[^\]]*(?<!\\)\]\(", card.get("detail", ""))
        labels = [card["summary"], *(s["label"] for s in card.get("suggestions", ()))]
        assert all(len(label) < 300 for label in labels)


@pytest.mark.fault("C04", "C05", "C08", "C15")
def test_every_card_is_complete_and_nothing_in_it_is_blank(ask, golden):
    (card,) = ask(golden).json["cards"]
    assert card["source"]["topic"].keys() == {"code", "system", "display"}
    assert all(reason.keys() == {"code", "system", "display"} for reason in card["overrideReasons"])
    for link in card["links"]:
        assert link["type"] == "absolute"
        assert link["url"].startswith(("https://", "http://127.0.0.1:8080/"))

    def walk(value: Any) -> None:
        assert value not in (None, "", [], {})
        for part in value.values() if isinstance(value, dict) else value:
            if isinstance(part, (dict, list)):
                walk(part)

    walk({key: part for key, part in card.items() if key != "suggestions"})


@pytest.mark.fault("C06")
def test_a_new_order_is_a_draft_about_the_patient_and_names_nobody(ask, golden):
    response = ask(golden)
    patient = golden["context"]["patientId"]
    actions = [
        action
        for card in response.json["cards"]
        for suggestion in card["suggestions"]
        for action in suggestion["actions"]
    ]
    assert actions
    for action in actions:
        resource = action["resource"]
        assert (resource["status"], resource["intent"]) == ("draft", "order")
        assert resource["subject"]["reference"] == f"Patient/{patient}"
        assert ("id" in resource) == (action["type"] == "update")


@pytest.mark.fault("C12", "C06")
def test_no_name_number_or_birth_date_of_the_patient_is_in_an_answer(ask, golden):
    patient = golden["prefetch"]["patient"]
    patient |= {
        "name": [{"family": "Canaryfamily", "given": ["Canarygiven"], "text": "Mrs Canarytext"}],
        "identifier": [{"system": "urn:mrn", "value": "canary-mrn-4711"}],
        "telecom": [{"system": "phone", "value": "canary-phone"}],
        "birthDate": "1951-03-07",
    }
    response = ask(golden)
    assert response.json["cards"]
    assert "canary" not in response.text.lower()
    assert "1951" not in response.text


@pytest.mark.fault("C07")
def test_only_drafts_of_the_call_are_changed_or_removed(ask, golden):
    drafts = {
        f"{entry['resource']['resourceType']}/{entry['resource']['id']}"
        for entry in golden["context"]["draftOrders"]["entry"]
    }
    for card in ask(golden).json["cards"]:
        for suggestion in card["suggestions"]:
            for action in suggestion["actions"]:
                if action["type"] == "update":
                    resource = action["resource"]
                    assert f"{resource['resourceType']}/{resource['id']}" in drafts
                if action["type"] == "delete":
                    assert action["resourceId"] in drafts


@pytest.mark.fault("C10")
def test_the_same_call_gets_the_same_words(ask, golden, golden_decision):
    assert decision(ask(golden).json) == golden_decision


@pytest.mark.fault("J08")
def test_what_cannot_be_written_as_text_does_not_break_the_answer(ask, golden):
    body = json.dumps(golden).replace('"text": "', '"text": "\\ud800')
    response = ask(body.encode())
    assert response.status_code in (200, 400)
    response.data.decode("utf-8")


@pytest.mark.fault("C13")
def test_a_card_that_cannot_be_written_is_an_error_with_an_alarm_and_never_silence(
    make_app, envelope, log
):
    """The last step fails. An empty answer would say "looked, nothing to add"."""

    def answer(request: Any, services: Any) -> Answer:
        return Answer(cards=(_card("canary \ud800"),))

    app = make_app(answer)
    app.config["TESTING"] = False
    app.config["PROPAGATE_EXCEPTIONS"] = False
    response = app.test_client().post("/cds-services/b12-order-select", json=envelope)
    assert response.status_code == 500
    assert response.json["resourceType"] == "OperationOutcome"
    assert "canary" not in response.text + log.getvalue()
    (line,) = [json.loads(one) for one in log.getvalue().splitlines() if '"call"' in one]
    assert (line["level"], line["status"]) == ("error", 500)
    assert line["error_id"] in response.text


def _card(summary: str) -> Card:
    topic = Coding(code="regimen", system="https://x/fhir/CodeSystem/card-topic", display="x")
    source = Source(label="label", topic=topic)
    return Card(summary=summary, indicator=Indicator.INFO, source=source)
