"""Answers, requirement by requirement, on every vignette: what a checker of them looks at."""

from __future__ import annotations

import json
import re
import statistics
import time
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
from fhir.resources.R4B.medicationrequest import MedicationRequest
from fhir.resources.R4B.servicerequest import ServiceRequest

from tests.support.answers import Answer
from tests.support.calling_back import GOLDEN, TOKEN, Caller, fetching_app, held
from tests.support.cases import ask, made_up, request_for
from tests.support.client import app_on, ask_app
from tests.support.fhir_stub import FhirStub, record
from tests.support.vignette import all_vignettes
from tests.vignettes.generate import answer_of, request_of

Json = dict[str, Any]

#: What a supported action may carry, by the Da Vinci test kit.
ORDERS = {"MedicationRequest": MedicationRequest, "ServiceRequest": ServiceRequest}


@cache
def answers() -> tuple[Answer, ...]:
    return tuple(a for a in (answer_of(v) for v in all_vignettes()) if a.status == 200)


def cards() -> Iterator[tuple[Json, Json]]:
    """(request, card) of all answers."""
    for answer in answers():
        for card in answer.body["cards"]:
            yield answer.request, card


def suggestions() -> Iterator[tuple[Json, Json, Json]]:
    for request, card in cards():
        for suggestion in card.get("suggestions", ()):
            yield request, card, suggestion


def actions() -> Iterator[tuple[Json, Json, Json]]:
    for request, _, suggestion in suggestions():
        for action in suggestion["actions"]:
            yield request, suggestion, action


def test_there_is_enough_to_look_at():
    assert len(answers()) > 50
    assert {a["type"] for _, _, a in actions()} >= {"create", "update", "delete"}


@pytest.mark.requirement("H2@75", "MDL-01", "CI-21")
def test_an_answer_has_cards_and_nothing_acts_by_itself():
    assert all(answer.body.keys() == {"cards"} for answer in answers())


@pytest.mark.requirement("H2@83", "H2@87", "H2@88", "H2@90", "H2@105", "H2@115", "CRD2@77")
def test_every_card_has_what_a_client_shows():
    for _, card in cards():
        assert 0 < len(card["summary"]) < 140
        assert card["indicator"] in ("info", "warning", "critical")
        assert card["source"]["label"].strip()
        assert {"code", "system"} <= card["source"]["topic"].keys()
        assert card["uuid"]


@pytest.mark.requirement("H2@85", "CI-18")
def test_details_are_markdown_without_html_or_images():
    for _, card in cards():
        assert not re.search(r"(?<!\\)<[A-Za-z/!?]", card["detail"])
        assert "![" not in card["detail"]
        assert re.search(r"^\*\*.+\*\*$", card["detail"], re.MULTILINE)


@pytest.mark.requirement("H2@92", "H2@93", "H2@95", "H2@96", "cds-resp-6", "cds-resp-1", "H2@122")
def test_suggestions_say_how_many_may_be_picked():
    for _, card in cards():
        assert ("suggestions" in card) == ("selectionBehavior" in card)
        if "suggestions" in card:
            assert isinstance(card["suggestions"], list)
            assert card["selectionBehavior"] in ("at-most-one", "any")
            recommended = [s for s in card["suggestions"] if s.get("isRecommended")]
            assert card["selectionBehavior"] == "any" or len(recommended) <= 1


@pytest.mark.requirement("H2@98", "H2@100", "H2@136", "H2@216", "H2@217", "H2@218", "H2@219")
def test_override_reasons_are_codings_with_words():
    reasons = [r for _, card in cards() for r in card.get("overrideReasons", ())]
    assert reasons
    for reason in reasons:
        assert reason.keys() == {"code", "system", "display"}
        assert all(isinstance(text, str) and text.strip() for text in reason.values())


@pytest.mark.requirement("H2@103", "H2@109", "CRD2@239")
def test_links_stand_in_links_and_lead_nowhere_private():
    for request, card in cards():
        assert isinstance(card["links"], list)
        patient = request["context"]["patientId"]
        for url in (card["source"]["url"], *(link["url"] for link in card["links"])):
            assert patient not in url
            assert "?" not in url
        assert "](" not in re.sub(r"\\.", "", card["detail"])


@pytest.mark.requirement("H2@112")
def test_no_icon_is_sent():
    assert all("icon" not in card["source"] for _, card in cards())


@pytest.mark.requirement("H2@117", "H2@119", "H2@121", "H2@124", "CI-19", "CI-05", "cds-resp-7")
def test_a_suggestion_has_a_label_a_uuid_and_actions():
    for _, _, suggestion in suggestions():
        assert suggestion["label"].strip()
        assert suggestion["uuid"]
        assert suggestion.get("isRecommended", True) is True  # left out where it is not
        assert isinstance(suggestion["actions"], list)
        assert suggestion["actions"]
        assert "actionSelectionBehavior" not in suggestion


@pytest.mark.requirement("H2@127", "H2@128", "H2@130", "H2@131", "H2@132", "CI-01", "cds-resp-5")
def test_an_action_says_what_it_does_and_carries_a_valid_order():
    for request, _, action in actions():
        assert action["description"].strip()
        if action["type"] == "delete":
            continue
        resource = action["resource"]
        ORDERS[resource["resourceType"]].model_validate(resource)
        # What the CRD profiles ask beyond R4.
        assert resource["status"] == "draft"
        assert {"intent", "subject", "authoredOn"} <= resource.keys()
        known = {
            f"{e['resource']['resourceType']}/{e['resource']['id']}"
            for e in request["context"]["draftOrders"]["entry"]
        }
        if action["type"] == "update":
            assert f"{resource['resourceType']}/{resource['id']}" in known
        else:
            assert "id" not in resource


@pytest.mark.requirement("H2@133", "H2@134", "H2@135", "cds-resp-2")
def test_a_delete_names_a_draft_of_the_call_and_nothing_more():
    deletes = [(request, a) for request, _, a in actions() if a["type"] == "delete"]
    assert deletes
    for request, action in deletes:
        assert "resource" not in action
        entries = request["context"]["draftOrders"]["entry"]
        names = {f"{e['resource']['resourceType']}/{e['resource']['id']}" for e in entries}
        assert action["resourceId"] in names


@pytest.mark.requirement("CRD2@282", "CRD2@283")
def test_an_alternative_changes_the_draft_and_never_repeats_it():
    for _, _, suggestion in suggestions():
        kinds = [action["type"] for action in suggestion["actions"]]
        assert kinds.count("update") <= 1 or "delete" not in kinds


@pytest.mark.requirement("CRD2@210", "CRD2@211", "HP-01")
def test_advice_is_about_what_was_selected():
    request = request_of(GOLDEN)
    request["context"]["selections"] = []
    answer = ask_app(app_on(GOLDEN.as_of, GOLDEN.profile), request, GOLDEN.profile)
    assert answer.body == {"cards": []}


@pytest.mark.requirement("H2@27", "CRD2@6")
def test_an_answer_takes_less_than_half_a_second():
    app, request = app_on(GOLDEN.as_of, GOLDEN.profile), request_of(GOLDEN)
    times = []
    for _ in range(20):
        started = time.perf_counter()
        ask_app(app, request, GOLDEN.profile)
        times.append(time.perf_counter() - started)
    assert statistics.median(times) < 0.5


# --- prefetch and the FHIR server -----------------------------------------------------------------


@pytest.fixture
def stub() -> Iterator[FhirStub]:
    with FhirStub(record(held(GOLDEN))) as running:
        yield running


@pytest.mark.requirement("H2@28", "H2@34", "H2@60", "H2@61", "S2-03")
def test_it_makes_no_difference_how_the_record_arrives(stub):
    with fetching_app(GOLDEN) as app:
        caller = Caller(app)
        delivered = caller.by_prefetch()
        assert stub.seen == []
        fetched = caller.ask(stub.url)
        part = caller.ask(stub.url, keep=lambda key: key == "observations")
    assert delivered.status == 200
    assert fetched.text == delivered.text
    assert part.text == delivered.text
    assert stub.seen
    sent = [{k.lower(): v for k, v in seen.headers.items()} for seen in stub.seen]
    assert all(headers["authorization"] == f"Bearer {TOKEN}" for headers in sent)


@pytest.mark.requirement("H2@52")
def test_what_the_client_could_not_read_is_not_taken_for_nothing():
    app, request = app_on(GOLDEN.as_of, GOLDEN.profile), request_of(GOLDEN)
    request["prefetch"]["observations"] = {
        "resourceType": "OperationOutcome",
        "issue": [{"severity": "error", "code": "timeout"}],
    }
    answer = ask_app(app, request, GOLDEN.profile)
    topics = [card["source"]["topic"]["code"] for card in answer.body.get("cards", ())]
    assert answer.status == 412 or "unavailable" in topics
    assert "evidence" not in topics


@pytest.mark.requirement("CRD22@found-32")
@pytest.mark.parametrize(
    "nothing", [None, {"resourceType": "Bundle", "type": "searchset", "total": 0}]
)
def test_delivered_and_empty_is_no_412(nothing):
    app, request = app_on(GOLDEN.as_of, GOLDEN.profile), request_of(GOLDEN)
    for key in request["prefetch"]:
        if key != "patient":
            request["prefetch"][key] = nothing
    assert ask_app(app, request, GOLDEN.profile).status == 200


@pytest.mark.requirement("S2-09", "H2@148")
def test_feedback_may_come_late_and_again():
    client = app_on(GOLDEN.as_of, GOLDEN.profile).test_client()
    (card, *_) = answer_of(GOLDEN).body["cards"]
    accepted = {
        "card": card["uuid"],
        "outcome": "accepted",
        "acceptedSuggestions": [{"id": card["suggestions"][0]["uuid"]}],
        "outcomeTimestamp": "2020-12-11T07:27:33.000Z",
    }
    path = "/cds-services/b12-order-select/feedback"
    for _ in range(2):
        assert client.post(path, json={"feedback": [accepted, accepted]}).status_code == 200


@pytest.mark.requirement("H2@215")
def test_an_answer_extends_nothing_so_no_name_can_clash():
    """Extensions are permitted, under names of one's own. There is none, in any answer."""
    for _, card in cards():
        own = {name: part for name, part in card.items() if name != "suggestions"}
        assert '"extension"' not in json.dumps(own)
        for suggestion in card.get("suggestions", ()):
            assert "extension" not in suggestion
            assert all("extension" not in action for action in suggestion["actions"])


@pytest.mark.requirement("CRD2@140")
def test_a_card_about_some_of_the_orders_names_them():
    """Beside an order that is none of ours: the card says which it is about."""
    orders = [{"what": "hydroxocobalamin injection"}, {"what": "metformin"}]
    record = {"results": [{"test": "B12", "value": "120 pg/mL"}]}
    answer = ask(request_for(made_up(orders, record=record)))
    assert answer.cards
    for card in answer.cards:
        assert "hydroxocobalamin" in (card["summary"] + card["detail"]).lower()
