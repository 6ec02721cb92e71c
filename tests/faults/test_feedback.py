"""Feedback over HTTP, as clients get it wrong; and a store that fails under it."""

from __future__ import annotations

import http.client
import json
import os
import signal
import threading
import time
from datetime import UTC, datetime
from itertools import count

import pytest

from cds_service import schema
from cds_service.application import create_app
from cds_service.settings import Settings
from cds_service.store import Store
from cds_service.tenants import Tenants
from tests.support.records import card, recorded, rows
from tests.support.server import running
from tests.support.stores import tenant
from tests.unit.cds_service.test_feedback import CARD, accepted, overridden
from tests.unit.cds_service.test_records import vignette
from tests.unit.cds_service.test_store import locked

FEEDBACK = "/cds-services/b12-order-select/feedback"
CALL = "/cds-services/b12-order-select"
CANARY = "Canary-Mrs-Alder"


@pytest.fixture
def served(store_url):
    """A client of the service, and its store."""
    app = create_app(Settings(store=store_url), tenants=Tenants((tenant(),)))
    store = app.extensions["b12_cds"].store
    yield app.test_client(), store
    store.close()


def send(client, *items, path=FEEDBACK, **headers):
    return client.post(path, json={"feedback": list(items)}, headers=headers)


# --- what is answered -------------------------------------------------------------------------


@pytest.mark.fault("K01")
@pytest.mark.parametrize("number", [0, 1, 100, 10_000])
def test_items_are_kept_and_answered_200(served, number):
    client, store = served
    items = [overridden(card=f"card-{n}") for n in range(number)]
    answer = send(client, *items)
    assert (answer.status_code, answer.json) == (200, {})
    assert len(rows(store, schema.feedback)) == number


@pytest.mark.fault("K01")
def test_more_than_ten_thousand_are_too_many(served):
    client, store = served
    answer = send(client, *[overridden()] * 10_001)
    assert answer.status_code == 413
    assert answer.json["issue"][0]["expression"] == ["feedback"]
    assert rows(store, schema.feedback) == []


def test_a_body_that_is_too_long_is_413(store_url):
    app = create_app(Settings(store=store_url, max_body_bytes=2000))
    comment = {"userComment": "x" * 3000}
    assert send(app.test_client(), overridden(overrideReason=comment)).status_code == 413
    app.extensions["b12_cds"].store.close()


@pytest.mark.fault("K09")
def test_feedback_for_a_service_that_is_not_there_is_404(served):
    client, _ = served
    assert send(client, accepted(), path="/cds-services/none/feedback").status_code == 404


def test_with_a_slash_at_the_end_it_is_the_same(served):
    client, store = served
    assert send(client, accepted(), path=f"{FEEDBACK}/").status_code == 200
    assert len(rows(store, schema.feedback)) == 1


@pytest.mark.parametrize("kind", ["application/json", "application/fhir+json; charset=UTF-8"])
def test_the_media_types_are_those_of_a_hook_call(served, kind):
    client, _ = served
    body = json.dumps({"feedback": [accepted()]})
    assert client.post(FEEDBACK, data=body, content_type=kind).status_code == 200


@pytest.mark.fault("K14")
@pytest.mark.parametrize("kind", ["text/plain", "application/xml", "", "multipart/form-data"])
def test_any_other_media_type_is_415(served, kind):
    client, _ = served
    answer = client.post(FEEDBACK, data=b'{"feedback": []}', content_type=kind)
    assert answer.status_code == 415


@pytest.mark.parametrize("method", ["get", "put", "delete", "patch"])
def test_any_other_method_is_405(served, method):
    client, _ = served
    assert getattr(client, method)(FEEDBACK).status_code == 405


@pytest.mark.fault("K10")
def test_one_bad_item_refuses_all_and_is_named(served):
    client, store = served
    answer = send(client, accepted(), overridden(outcome=CANARY), overridden())
    assert answer.status_code == 400
    assert answer.json["issue"][0]["expression"] == ["feedback[1].outcome"]
    assert CANARY not in answer.text
    assert rows(store, schema.feedback) == []


def test_nothing_that_was_sent_is_logged(served, log):
    client, _ = served
    send(
        client,
        {
            "card": CANARY,
            "outcome": "overridden",
            "acceptedSuggestions": [{"id": CANARY}],
            "overrideReason": {
                "reason": {"code": CANARY, "system": CANARY, "display": CANARY},
                "userComment": CANARY,
            },
            "outcomeTimestamp": CANARY,
            CANARY: CANARY,
        },
    )
    send(client, {"card": CANARY, "outcome": CANARY})
    (first, second) = (
        json.loads(line) for line in log.getvalue().splitlines() if "feedback" in line
    )
    assert (first["status"], first["items"], first["new"], first["tenant"]) == (200, 1, 1, "north")
    assert second["status"] == 400
    assert CANARY not in log.getvalue()


def test_only_the_comment_is_kept_of_what_was_said(served):
    client, store = served
    coding = {"code": CANARY, "system": CANARY, "display": CANARY}
    send(
        client,
        {
            "card": CANARY,
            "outcome": "overridden",
            "acceptedSuggestions": [{"id": CANARY}],
            "overrideReason": {"reason": coding, "userComment": "the comment"},
            "outcomeTimestamp": CANARY,
            "extension": {"x": CANARY},
        },
    )
    kept = {name: rows(store, table) for name, table in schema.METADATA.tables.items()}
    assert kept["comments"][0]["text"] == "the comment"
    assert CANARY not in json.dumps(kept)


# --- a store that fails -----------------------------------------------------------------------


@pytest.mark.fault("K11")
def test_while_the_store_is_locked_feedback_is_503_and_hook_calls_are_answered(sqlite_file):
    app = create_app(Settings(store=f"sqlite:///{sqlite_file}"))
    client = app.test_client()
    with locked(sqlite_file):
        began = time.monotonic()
        answer = send(client, accepted())
        assert time.monotonic() - began < 5
        assert answer.status_code == 503
        assert int(answer.headers["Retry-After"]) > 0
        assert answer.json["resourceType"] == "OperationOutcome"
        began = time.monotonic()
        call = client.post(CALL, data=vignette("v01"), content_type="application/json")
        assert time.monotonic() - began < 2.5
        assert call.status_code == 200
        assert call.json["cards"]
    assert send(client, accepted()).status_code == 200
    app.extensions["b12_cds"].store.close()


@pytest.mark.fault("K11")
def test_a_full_store_refuses_feedback_and_keeps_none_of_it(sqlite_file):
    app = create_app(Settings(store=f"sqlite:///{sqlite_file}"))
    client, store = app.test_client(), app.extensions["b12_cds"].store
    assert send(client, accepted()).status_code == 200
    from cds_service.store import Way

    with store.transaction(Way.DURABLE) as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
        connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")
    big = [overridden(overrideReason={"userComment": f"{n}" * 2000}) for n in range(100)]
    assert send(client, *big).status_code == 503
    assert len(rows(store, schema.feedback)) == 1
    store.close()


@pytest.mark.fault("K11")
def test_what_was_acknowledged_survives_a_sigkill(tmp_path, sqlite_file):
    """Four clients send one item after the other; the server is killed in the midst of it."""
    numbers, acknowledged = count(), []
    with running(tmp_path, B12_CDS_STORE=f"sqlite:///{sqlite_file}") as server:

        def send_on():
            while True:
                number = next(numbers)
                item = overridden(
                    card=f"card-{number}", overrideReason={"userComment": f"n{number}"}
                )
                try:
                    status, _, _ = server.ask("POST", FEEDBACK, {"feedback": [item]})
                except (OSError, http.client.HTTPException):  # the server is gone
                    return
                if status == 200:
                    acknowledged.append(f"n{number}")

        clients = [threading.Thread(target=send_on) for _ in range(4)]
        for client in clients:
            client.start()
        until = time.monotonic() + 60
        while len(acknowledged) < 200 and time.monotonic() < until:
            time.sleep(0.01)
        kill(server)
        for client in clients:
            client.join(20)
    assert len(acknowledged) >= 200
    store = Store(f"sqlite:///{sqlite_file}")
    kept = {row["text"] for row in rows(store, schema.comments)}
    assert set(acknowledged) <= kept
    assert store.answers()
    store.close()


def kill(server):
    """End it and its workers without a word of warning."""
    for pid in (server.process.pid, *server.workers()):
        os.kill(pid, signal.SIGKILL)
    server.process.wait(20)


@pytest.mark.fault("O25", "O24")
def test_a_switch_is_in_force_on_all_workers_and_records_go_on(tmp_path, sqlite_file):
    url = f"sqlite:///{sqlite_file}"
    call = json.loads(vignette("v105"))
    with running(tmp_path, B12_CDS_STORE=url, B12_CDS_WORKERS="3") as server:
        topics = asked(server, call)
        assert topics
        other = next((topic for topic in topics if topic != "dose"), None)
        store = Store(url)
        for topic in topics:
            store.set_switch("development", topic, off=True, by="a test")
        time.sleep(5)
        for _ in range(12):  # whichever worker answers
            left = asked(server, call)
            assert "dose" in left  # critical, and a danger
            assert other not in left
        for topic in topics:
            store.set_switch("development", topic, off=False, by="a test")
        time.sleep(5)
        assert asked(server, call) == topics
    # Ended gracefully: every call is recorded, with all its cards.
    decided = rows(store, schema.decisions)
    assert len(decided) == 14
    assert len(rows(store, schema.cards)) == 14 * len(topics)
    store.close()


def asked(server, call) -> list[str]:
    _, answer, _ = server.ask("POST", CALL, call)  # a new connection: any worker may take it
    return [c["source"]["topic"]["code"] for c in answer["cards"]]


# --- who ----------------------------------------------------------------------------------------


@pytest.mark.fault("O24")
def test_a_silent_tenant_gets_no_cards_and_has_the_same_records(store_url):
    def served(mode):
        app = create_app(
            Settings(store=store_url),
            tenants=Tenants((tenant(mode, mode=mode),)),
            clock=lambda: datetime(2026, 6, 15, tzinfo=UTC).date(),
        )
        runtime = app.extensions["b12_cds"]
        answer = app.test_client().post(CALL, data=vignette("v02"), content_type="application/json")
        assert runtime.recorder.flush(10)
        runtime.store.close()
        return answer

    assert served("live").json["cards"]
    assert (served("silent").status_code, served("silent").json) == (200, {"cards": []})
    store = Store(store_url)
    by_tenant = {"live": set(), "silent": set()}
    for row in rows(store, schema.cards):
        by_tenant[row["tenant"]].add((row["topic"], row["indicator"], row["rule"]))
    assert by_tenant["live"] == by_tenant["silent"] != set()
    assert {row["withheld"] for row in rows(store, schema.cards)} == {None, "silent"}
    store.close()


@pytest.mark.fault("O24", "D01")
@pytest.mark.parametrize(
    ("who", "mode", "status"),
    [
        ({"mode": "silent"}, "silent", 200),
        ({"rollout_percent": 0}, "roll-out", 200),
        ({}, "live", 412),
        ({"rollout_percent": 100}, "live", 412),
    ],
)
def test_who_only_listens_is_not_told_either_that_the_record_could_not_be_read(
    store_url, who, mode, status
):
    """The client is told nothing; the record says what a live client would have been told."""
    app = create_app(Settings(store=store_url), tenants=Tenants((tenant(**who),)))
    runtime = app.extensions["b12_cds"]
    request = json.loads(vignette("v01"))
    del request["prefetch"]
    answer = app.test_client().post(CALL, json=request)
    assert answer.status_code == status
    assert status == 412 or answer.json == {"cards": []}
    assert runtime.recorder.flush(10)
    (kept,) = rows(runtime.store, schema.decisions)
    assert (kept["status"], kept["mode"]) == (412, mode)
    assert {kind for _, kind, _ in json.loads(kept["gaps"])} == {"unread"}
    runtime.store.close()


def test_a_tenant_that_is_off_is_403_for_calls_and_feedback(store_url):
    app = create_app(Settings(store=store_url), tenants=Tenants((tenant(mode="off"),)))
    client = app.test_client()
    call = client.post(CALL, data=vignette("v01"), content_type="application/json")
    assert call.status_code == 403
    assert send(client, accepted()).status_code == 403
    app.extensions["b12_cds"].store.close()


@pytest.mark.fault("K03")
def test_a_card_is_joined_with_feedback_of_its_own_tenant_only(served):
    client, store = served
    (mine,), (theirs,) = recorded(store, card()), recorded(store, card(), tenant="south")
    send(client, overridden(card=mine.uuid), overridden(card=theirs.uuid), overridden(card=CARD))
    assert len(rows(store, schema.feedback)) == 3
    from cds_service.dashboard.numbers import Question, read_numbers

    found = read_numbers(store, Question(today=datetime.now(UTC).date()))
    assert found.by("tenant")["north"].overridden == 1
    assert found.by("tenant")["south"].overridden == 0
    assert found.unmatched == 2
