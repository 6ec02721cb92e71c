"""Decision records: what is in one, that it costs the call nothing, and what is lost when."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from datetime import date

import pytest

from cds_service import metrics, schema
from cds_service.application import create_app
from cds_service.recorded import explain_card
from cds_service.records import INTERVAL_SECONDS, Recorder, write
from cds_service.settings import Settings
from cds_service.store import Store, Way, now_ms
from tests.support.records import card, decision, recorded, rows
from tests.support.vignette import ROOT
from tests.unit.cds_service.test_store import locked

CALL = "/cds-services/b12-order-select"


def wait_for(holds, seconds=10):
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until, "it did not come about"
        time.sleep(0.02)


#: The day of the vignettes that are used here.
DAY = date(2026, 6, 15)


def vignette(name: str) -> bytes:
    (folder,) = (ROOT / "fixtures" / "vignettes").glob(f"{name}-*")
    return (folder / "request.json").read_bytes()


# --- what is in one ---------------------------------------------------------------------------


def test_a_record_says_what_was_decided_and_why(store):
    shown = card("regimen", "warning")
    withheld = card("route")
    write(
        store,
        [
            decision(
                shown,
                withheld,
                gaps=[("labs", "server_error", 2)],
                withheld={withheld.uuid: "topic-off"},
            )
        ],
        {},
    )
    (kept,) = rows(store, schema.decisions)
    assert (kept["tenant"], kept["protocol"], kept["protocol_hash"]) == (
        "north",
        "default/1",
        "abc",
    )
    assert (kept["mode"], kept["status"], kept["ms"]) == ("live", 200, 4)
    assert kept["day"] == date.fromisoformat(kept["day"]).isoformat()
    assert json.loads(kept["gaps"]) == [["labs", "server_error", 2]]
    cards = {row["topic"]: row for row in rows(store, schema.cards)}
    assert cards["regimen"]["rule"] == "regimen-standard"
    assert cards["regimen"]["indicator"] == "warning"
    assert json.loads(cards["regimen"]["suggestions"]) == [shown.suggestions[0].uuid]
    assert (cards["regimen"]["withheld"], cards["route"]["withheld"]) == (None, "topic-off")


def test_a_rule_that_fired_is_told_by_its_name_and_never_by_its_summary(store):
    recorded(store)
    (evaluation,) = rows(store, schema.evaluations)
    assert json.loads(evaluation["rules"]) == [
        ["regimen", True, "regimen-standard"],
        ["dose", False, "no dose above the usual"],
    ]


def test_the_same_reasons_are_kept_once(store):
    for _ in range(3):
        recorded(store)
    recorded(store, outcomes=())
    assert len(rows(store, schema.evaluations)) == 2
    assert len(rows(store, schema.decisions)) == 4


def test_a_batch_that_is_written_twice_is_there_once(store):
    batch = [decision(card()), decision(card())]
    write(store, batch, {})
    write(store, batch, {})
    assert len(rows(store, schema.decisions)) == 2
    assert len(rows(store, schema.cards)) == 2


def test_counts_of_the_same_minute_add_up(store):
    key = (60_000, "north", "b12-order-select", "not-ours")
    write(store, [], {key: 2})
    write(store, [], {key: 3})
    (row,) = rows(store, schema.call_counts)
    assert row["count"] == 5


# --- through the service ----------------------------------------------------------------------


@pytest.fixture
def served(store_url):
    """The service on a fixed day, and what it has recorded."""
    app = create_app(Settings(store=store_url), clock=lambda: DAY)
    runtime = app.extensions["b12_cds"]

    def post(body):
        answer = app.test_client().post(CALL, data=body, content_type="application/json")
        assert runtime.recorder.flush(10)
        return answer

    yield post, runtime.store
    runtime.store.close()


def test_a_call_is_recorded_with_its_cards(served):
    post, store = served
    answer = post(vignette("v02"))
    (kept,) = rows(store, schema.decisions)
    assert kept["hook_instance"] == json.loads(vignette("v02"))["hookInstance"]
    assert kept["service"] == "b12-order-select"
    in_answer = {c["uuid"]: c["source"]["topic"]["code"] for c in answer.json["cards"]}
    assert {r["uuid"]: r["topic"] for r in rows(store, schema.cards)} == in_answer
    assert "regimen" in in_answer.values()


def test_a_call_with_nothing_to_say_is_recorded_too(served):
    post, store = served
    assert post(vignette("v05")).json == {"cards": []}
    assert len(rows(store, schema.decisions)) == 1
    assert rows(store, schema.cards) == []


def test_a_call_about_orders_that_are_not_ours_is_only_counted(served, envelope):
    post, store = served
    for _ in range(3):
        post(json.dumps(envelope))
    assert rows(store, schema.decisions) == []
    assert sum(row["count"] for row in rows(store, schema.call_counts)) == 3


def test_a_call_whose_record_could_not_be_read_is_recorded_as_such(served):
    post, store = served
    request = json.loads(vignette("v01"))
    del request["prefetch"]
    assert post(json.dumps(request)).status_code == 412
    (kept,) = rows(store, schema.decisions)
    assert kept["status"] == 412
    assert json.loads(kept["gaps"])
    assert all(kind == "unread" for _, kind, _ in json.loads(kept["gaps"]))


def test_a_call_that_is_refused_is_counted_by_its_status(served):
    post, store = served
    post(b"not json")
    assert [row["kind"] for row in rows(store, schema.call_counts)] == ["status-400"]


def test_nothing_of_a_patient_is_in_the_store(store_url, tmp_path):
    """Every text of a request is a canary but for codes and what the service must understand."""
    app = create_app(Settings(store=store_url), clock=lambda: DAY)
    runtime = app.extensions["b12_cds"]
    sent = json.loads(vignette("v02"))
    texts = {
        sent["context"]["patientId"],
        sent["context"]["userId"],
        sent["context"]["encounterId"],
        *sent["context"]["selections"],
    }
    for resource in sent["prefetch"].values():
        texts |= identifying(resource)
    assert len(texts) > 8
    app.test_client().post(CALL, data=json.dumps(sent), content_type="application/json")
    assert runtime.recorder.flush(10)
    kept = everything(runtime.store)
    assert "regimen" in kept
    assert not [text for text in texts if text in kept]
    assert "pg/mL" not in kept
    runtime.store.close()


def identifying(value) -> set[str]:
    """Ids, references, names and dates of a resource."""
    if isinstance(value, list):
        return set().union(*map(identifying, value))
    if not isinstance(value, dict):
        return set()
    own = {
        value[key]
        for key in ("id", "reference", "birthDate", "effectiveDateTime", "family", "fullUrl")
        if isinstance(value.get(key), str)
    }
    return own.union(*map(identifying, value.values()))


def everything(store: Store) -> str:
    return json.dumps([rows(store, table) for table in schema.METADATA.tables.values()])


def test_an_answer_does_not_wait_for_the_store(sqlite_store, sqlite_file):
    app = create_app(Settings(store=f"sqlite:///{sqlite_file}"), clock=lambda: DAY)
    client, runtime = app.test_client(), app.extensions["b12_cds"]
    client.post(CALL, data=vignette("v01"), content_type="application/json")
    with locked(sqlite_file):
        began = time.monotonic()
        for _ in range(20):
            answer = client.post(CALL, data=vignette("v01"), content_type="application/json")
            assert answer.json["cards"]
        assert time.monotonic() - began < 3
        assert client.get("/readyz").status_code == 503
    assert runtime.recorder.flush(10)
    assert len(rows(sqlite_store, schema.decisions)) == 21
    runtime.store.close()


def test_a_service_whose_store_is_down_from_the_start_answers_and_is_not_ready(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    app = create_app(Settings(store=f"sqlite:///{tmp_path}/file/x.sqlite3"), clock=lambda: DAY)
    client = app.test_client()
    answer = client.post(CALL, data=vignette("v01"), content_type="application/json")
    assert answer.json["cards"]
    ready = client.get("/readyz")
    assert ready.status_code == 503
    assert ready.json["resourceType"] == "OperationOutcome"
    assert ready.headers["Retry-After"]
    app.extensions["b12_cds"].recorder._queue.clear()  # or the end of the tests waits for it


# --- the queue --------------------------------------------------------------------------------


class Slow(Store):
    """A store that is down until it is told to answer."""

    def __init__(self) -> None:
        super().__init__("sqlite://")
        self.up = threading.Event()

    def transaction(self, way):
        from cds_service.errors import StoreDown

        if not self.up.is_set():
            raise StoreDown
        return super().transaction(way)


def test_records_are_written_soon_without_anyone_asking(store):
    recorder = Recorder(store)
    recorder.put(decision(card()))
    recorder.count("north", "b12-order-select", "not-ours")
    wait_for(lambda: rows(store, schema.decisions) and rows(store, schema.call_counts))


def test_what_comes_while_the_store_is_down_is_written_afterwards(log):
    store = Slow()
    recorder = Recorder(store)
    for _ in range(5):
        recorder.put(decision(card()))
    recorder.count("north", "b12-order-select", "not-ours")
    wait_for(lambda: "records-wait" in log.getvalue())
    store.up.set()
    assert recorder.flush(10)
    assert len(rows(store, schema.decisions)) == 5
    assert len(rows(store, schema.call_counts)) == 1
    assert recorder.dropped == 0
    store.close()


def test_what_waits_holds_on_to_nothing_of_the_call():
    recorder = Recorder(Slow())
    recorder.put(decision(card()))
    with recorder._lock:
        (waiting,) = recorder._queue
        recorder._queue.clear()
    values = [*waiting.decision.values(), *(v for row in waiting.cards for v in row.values())]
    assert {type(value) for value in [*values, waiting.rules]} == {str, int, type(None)}


def test_what_does_not_fit_is_dropped_counted_and_logged_once(log):
    store = Slow()
    recorder = Recorder(store, capacity=3)
    began = time.monotonic()
    for _ in range(10):
        recorder.put(decision())
    assert time.monotonic() - began < 1
    assert recorder.dropped == 7
    assert "b12_cds_records_dropped_total" in metrics.exposition().decode()
    assert not recorder.flush(0.1)
    assert log.getvalue().count("records-dropped") == 1
    store.up.set()
    assert recorder.flush(10)
    assert len(rows(store, schema.decisions)) == 3
    store.close()


def test_a_record_that_cannot_be_written_does_not_hold_up_the_others(store, log):
    recorder = Recorder(store)
    for status in (200, None, 200):
        recorder.put(decision(card(), status=status))
    recorder.count("north", "b12-order-select", "not-ours")
    assert recorder.flush(20)
    assert len(rows(store, schema.decisions)) == 2
    assert len(rows(store, schema.call_counts)) == 1
    assert recorder.dropped == 1
    assert "records-lost" in log.getvalue()
    assert "quotes" not in log.getvalue()


def test_the_thread_ends_when_nothing_comes_and_starts_again(store, monkeypatch):
    monkeypatch.setattr("cds_service.records._IDLE_ROUNDS", 0)
    recorder = Recorder(store)
    recorder.put(decision())
    wait_for(lambda: recorder._thread is None, seconds=INTERVAL_SECONDS * 40)
    recorder.put(decision())
    wait_for(lambda: len(rows(store, schema.decisions)) == 2)


def test_a_process_that_ends_writes_what_is_left(sqlite_store, sqlite_file):
    code = (
        "import sys\n"
        "from cds_service.records import Recorder\n"
        "from cds_service.store import Store\n"
        "from tests.support.records import card, decision\n"
        "recorder = Recorder(Store(sys.argv[1]))\n"
        "for _ in range(40):\n"
        "    recorder.put(decision(card()))\n"
    )
    url = f"sqlite:///{sqlite_file}"
    subprocess.run([sys.executable, "-c", code, url], cwd=ROOT, check=True, timeout=60)
    assert len(rows(sqlite_store, schema.decisions)) == 40


def test_putting_a_record_costs_a_call_next_to_nothing(store):
    recorder = Recorder(store)
    one = decision(card())
    recorder.put(one)
    began = time.perf_counter()
    for _ in range(1000):
        recorder.put(one)
    assert (time.perf_counter() - began) / 1000 < 0.002
    with recorder._lock:
        recorder._queue.clear()  # the same card a thousand times cannot be written


# --- explained afterwards ---------------------------------------------------------------------


def test_a_card_is_explained_from_its_record(store):
    shown, quiet = card("regimen", "warning"), card("route")
    recorded(store, shown, quiet, withheld={quiet.uuid: "silent"}, gaps=[("labs", "truncated", 1)])
    text = explain_card(store, shown.uuid.upper())
    assert "warning regimen, by rule regimen-standard" in text
    assert "protocol default/1, content abc" in text
    assert "FIRED regimen: regimen-standard" in text
    assert "no    dose: no dose above the usual" in text
    assert "labs: truncated (1)" in text
    assert "not shown: the client was in silent mode" in text
    assert "120 pg/mL" not in text


def test_of_a_card_without_a_record_nothing_is_said(store):
    assert explain_card(store, "5c70adca-daa7-4f9a-ac04-53275901937f") is None
    assert explain_card(store, "not a uuid") is None


def test_rules_cards_and_topics_fit_their_columns(store):
    """The protocol's own words, all of them; a longer one would be refused by PostgreSQL."""
    from regimen.protocol import PROFILES, load_protocol

    for profile in PROFILES:
        for key, text in load_protocol(profile).cards.items():
            recorded(store, card(text.topic), rules={text.topic.value: key}, at=now_ms())
    assert len(rows(store, schema.cards)) > 20
    with store.transaction(Way.READ):
        pass
