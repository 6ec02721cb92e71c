"""What is asked of the client's FHIR server, and what becomes of the answers?"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import msgspec
import pytest

from cds_service.fetch import MAX_MEDICATIONS, Fetcher
from cds_service.fhir_network import Network
from cds_service.fhir_url import Allowed
from cds_service.hooks.request import HookRequest
from cds_service.prefetch import Prefetched, State, WrongPatient, read_prefetch
from fhir_mappers.queries import QUERIES
from regimen.facts import GapKind, Subject
from tests.support.fhir_stub import (
    Behaviour,
    FhirStub,
    Line,
    Reply,
    Seen,
    always,
    bundle,
    but_for,
    outcome,
    record,
)

Json = dict[str, Any]

PATIENT = {"resourceType": "Patient", "id": "p", "birthDate": "1950-01-01"}
GRANT = {"access_token": msgspec.Raw(b'"t"'), "token_type": msgspec.Raw(b'"Bearer"')}
B12 = {"coding": [{"system": "http://www.nlm.nih.gov/research/umls/rxnorm", "code": "11248"}]}


def about(kind: str, name: str, **more: Any) -> Json:
    return {"resourceType": kind, "id": name, "subject": {"reference": "Patient/p"}, **more}


def result(name: str) -> Json:
    code = {"coding": [{"system": "http://loinc.org", "code": "2132-9"}]}
    return about("Observation", name, status="final", code=code)


def order(name: str, reference: str, **more: Any) -> Json:
    told = {"status": "active", "intent": "order", **more}
    return about("MedicationRequest", name, medicationReference={"reference": reference}, **told)


def medication(name: str, code: Json = B12) -> Json:
    return {"resourceType": "Medication", "id": name, "code": code}


@pytest.fixture
def network() -> Iterator[Network]:
    network = Network()
    yield network
    network.close()


@pytest.fixture
def stub() -> Iterator[FhirStub]:
    with FhirStub(record([PATIENT])) as stub:
        yield stub


class Asker:
    def __init__(self, network: Network, stub: FhirStub) -> None:
        self.network, self.stub = network, stub
        self.fetcher = Fetcher(network, Allowed.of([stub.url]), deadline_ms=5000)
        self.fetches: list[Any] = []
        self.received = 0.0  # seconds from now

    def __call__(self, prefetch: Json | None = None, patient_id: str = "p") -> Prefetched:
        sent = {k: msgspec.Raw(json.dumps(v).encode()) for k, v in (prefetch or {}).items()}
        request = HookRequest(
            "order-select",
            "x",
            {},
            sent,
            self.stub.url,
            GRANT,
            received=time.monotonic() + self.received,
            fetches=self.fetches,
        )
        return self.fetcher(read_prefetch(sent, patient_id), request, patient_id)


@pytest.fixture
def ask(network: Network, stub: FhirStub) -> Asker:
    return Asker(network, stub)


def everything(**values: Any) -> Json:
    """A complete prefetch, empty but for these values."""
    return {query.key: None for query in QUERIES} | {"patient": PATIENT} | values


def kinds(found: Prefetched, subject: Subject) -> set[GapKind]:
    return {gap.kind for gap in found.gaps if gap.subject is subject}


# --- what is asked ----------------------------------------------------------------------------


def test_a_complete_prefetch_costs_nothing(ask: Asker, stub: FhirStub) -> None:
    with patch.object(Network, "server", side_effect=AssertionError):
        assert ask(everything()).states["patient"] is State.GIVEN
    assert stub.connections == 0
    assert ask.fetches == []


def test_only_what_was_not_tried_is_asked(ask: Asker, stub: FhirStub) -> None:
    delivered = everything(observations=outcome(), conditions=bundle(outcome("error")))
    for key in ("procedures", "allergies"):
        del delivered[key]
    stub.behaviour = record([about("Procedure", "1", status="not-done")])
    found = ask(delivered)
    assert sorted(stub.kinds()) == ["AllergyIntolerance", "Procedure"]
    assert found.states["observations"] is State.FAILED
    assert found.states["procedures"] is State.GIVEN
    assert found.states["allergies"] is State.EMPTY


def test_the_templates_of_discovery_are_what_is_asked(ask: Asker, stub: FhirStub) -> None:
    stub.behaviour = record([PATIENT, result("o")])
    ask()
    filled = {f"/fhir/{query.template.replace('{{context.patientId}}', 'p')}" for query in QUERIES}
    assert {seen.target for seen in stub.seen} == filled


def test_what_was_asked_is_told(ask: Asker, stub: FhirStub) -> None:
    stub.behaviour = but_for(["Condition"], always(Reply(403)), record([PATIENT, result("o")]))
    ask()
    told = {run.key: (run.outcome, run.ms > 0) for run in ask.fetches}
    assert set(told) == {query.key for query in QUERIES}
    assert told.pop("conditions") == ("status", True)
    assert set(told.values()) == {("ok", True)}


def test_no_key_of_the_clients_own_is_told(ask: Asker, stub: FhirStub) -> None:
    page = bundle(result("o1"), following=f"{stub.url}/Observation?patient=p")
    ask(everything() | {"labs of Jane Doe": page})
    assert {run.key for run in ask.fetches} == {"other"}


@pytest.mark.fault("D01")
def test_d01_nonsense_under_a_key_is_fetched(ask: Asker, stub: FhirStub) -> None:
    stub.behaviour = record([PATIENT, result("o")])
    found = ask(everything(observations="<html>"))
    assert stub.kinds() == ["Observation"]
    assert found.states["observations"] is State.GIVEN


@pytest.mark.fault("D01")
def test_d01_what_came_under_the_wrong_key_is_not_lost(ask: Asker, stub: FhirStub) -> None:
    stub.behaviour = record([PATIENT, result("o")])
    allergy = {
        "resourceType": "AllergyIntolerance",
        "id": "a",
        "patient": {"reference": "Patient/p"},
    }
    swapped = everything(observations=bundle(allergy))
    del swapped["allergies"]
    found = ask(swapped)
    assert stub.kinds() == ["Observation"]
    assert [r["id"] for r in found.resources["AllergyIntolerance"]] == ["a"]
    assert [r["id"] for r in found.resources["Observation"]] == ["o"]


@pytest.mark.fault("D05")
def test_d05_pages_of_a_renamed_key_are_followed(ask: Asker, stub: FhirStub) -> None:
    stub.behaviour = record([PATIENT, result("o2")])
    page = bundle(result("o1"), following="Observation?patient=p")
    delivered = everything(labs=page)
    del delivered["observations"]
    found = ask(delivered)
    assert stub.kinds() == ["Observation"]
    assert sorted(r["id"] for r in found.resources["Observation"]) == ["o1", "o2"]
    assert found.states["observations"] is State.GIVEN


@pytest.mark.fault("D06")
def test_d06_another_patient_is_refused(ask: Asker, stub: FhirStub) -> None:
    stub.behaviour = always(Reply(200, {**PATIENT, "id": "q"}))
    with pytest.raises(WrongPatient):
        ask()


# --- the two forms of a reference -------------------------------------------------------------


def finds_by(form: str, resources: list[Json]) -> Behaviour:
    """A server that knows the patient by one form of the reference only."""
    usual = record(resources)

    def answer(seen: Seen, line: Line) -> Reply | None:
        value = dict(seen.parameters).get("patient")
        if value is not None and value != form:
            return Reply(200, bundle())
        return usual(seen, line)

    return answer


SEARCHES = len(QUERIES) - 1


def test_a_server_that_wants_the_type_is_recognised_once(ask: Asker, stub: FhirStub) -> None:
    stub.behaviour = finds_by("Patient/p", [PATIENT, result("o")])
    found = ask()
    assert [r["id"] for r in found.resources["Observation"]] == ["o"]
    assert len(stub.seen) == len(QUERIES) + SEARCHES
    stub.seen.clear()
    assert ask().resources == found.resources
    assert len(stub.seen) == len(QUERIES)


def test_an_ordinary_server_is_asked_once(ask: Asker, stub: FhirStub) -> None:
    stub.behaviour = finds_by("p", [PATIENT, result("o")])
    ask()
    assert len(stub.seen) == len(QUERIES)
    stub.behaviour = record([PATIENT])
    ask()
    assert len(stub.seen) == 2 * len(QUERIES), "a patient without data is asked for only once too"


def test_of_a_server_unknown_yet_an_empty_record_is_asked_for_in_both_forms(
    ask: Asker, stub: FhirStub
) -> None:
    found = ask()
    assert len(stub.seen) == len(QUERIES) + SEARCHES
    assert found.states["conditions"] is State.EMPTY


def test_an_empty_record_that_could_not_be_asked_for_in_both_forms_is_not_believed(
    ask: Asker, stub: FhirStub
) -> None:
    usual = record([PATIENT])

    def fails(seen: Seen, line: Line) -> Reply | None:
        typed = dict(seen.parameters).get("patient") == "Patient/p"
        return Reply(503, outcome()) if typed else usual(seen, line)

    stub.behaviour = fails
    assert ask().states["conditions"] is State.FAILED


@pytest.mark.parametrize("status", [400, 403, 404])
def test_a_server_that_refuses_the_other_form_is_empty_all_the_same(
    ask: Asker, stub: FhirStub, status: int
) -> None:
    usual = record([PATIENT])

    def refuses(seen: Seen, line: Line) -> Reply | None:
        typed = dict(seen.parameters).get("patient") == "Patient/p"
        return Reply(status, outcome()) if typed else usual(seen, line)

    stub.behaviour = refuses
    found = ask()
    assert found.states["conditions"] is State.EMPTY
    assert not found.gaps


def test_an_odd_id_is_asked_for_in_one_form_only(ask: Asker, stub: FhirStub) -> None:
    stub.behaviour = record([{**PATIENT, "id": "p:1@x"}])
    ask(patient_id="p:1@x")
    assert len(stub.seen) == len(QUERIES)


# --- medicines --------------------------------------------------------------------------------


def test_a_medicine_that_an_order_refers_to_is_fetched(ask: Asker, stub: FhirStub) -> None:
    orders = [
        order("1", "Medication/m1"),
        order("2", f"{stub.url}/Medication/m2"),
        order("3", "Medication/m1/_history/4"),
        about("MedicationDispense", "4", medicationReference={"reference": "Medication/m3"}),
    ]
    stub.behaviour = record([PATIENT, *orders, *(medication(f"m{n}") for n in (1, 2, 3))])
    found = ask()
    assert sorted(r["id"] for r in found.resources["Medication"]) == ["m1", "m2", "m3"]
    assert stub.kinds().count("Medication") == 3
    assert found.recognised[("Medication", True)] == 3
    assert not found.gaps


def test_it_is_fetched_for_delivered_orders_too(ask: Asker, stub: FhirStub) -> None:
    stub.behaviour = record([medication("m1")])
    found = ask(everything(medicationRequests=bundle(order("1", "Medication/m1"))))
    assert stub.kinds() == ["Medication"]
    assert [r["id"] for r in found.resources["Medication"]] == ["m1"]


def test_what_was_delivered_or_is_elsewhere_is_not_fetched(ask: Asker, stub: FhirStub) -> None:
    paracetamol = {
        "coding": [{"system": "http://www.nlm.nih.gov/research/umls/rxnorm", "code": "161"}]
    }
    orders = bundle(
        order("1", "Medication/here"),
        medication("here"),
        order("2", "Medication/irrelevant"),
        medication("irrelevant", paracetamol),
        order("3", "#contained", contained=[medication("contained")]),
        order("4", "https://elsewhere.example/fhir/Medication/m"),
        order("5", f"{stub.url}x/Medication/m"),
        order("6", "urn:uuid:7"),
        order("7", "Substance/m"),
        order("8", "Medication/wrong", status="entered-in-error"),
        order("9", "Medication/concept", medicationCodeableConcept=B12),
        order("10", "Medication/.."),
    )
    found = ask(everything(medicationRequests=orders))
    assert stub.connections == 0
    assert not found.gaps


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (Reply(404), GapKind.SERVER_ERROR),
        (Reply(200, bundle()), GapKind.SERVER_ERROR),
        (Reply(200, medication("another")), GapKind.UNREADABLE),
        (Reply(200, medication("m1") | {"implicitRules": "x"}), GapKind.UNREADABLE),
    ],
)
def test_a_medicine_that_cannot_be_had_is_a_gap_of_what_refers_to_it(
    ask: Asker, stub: FhirStub, reply: Reply, kind: GapKind
) -> None:
    stub.behaviour = always(reply)
    found = ask(everything(medicationRequests=bundle(order("1", "Medication/m1"))))
    assert kinds(found, Subject.ORDERS) == {kind}
    assert found.states["medicationRequests"] is State.PARTIAL
    assert {gap.subject for gap in found.gaps} == {Subject.ORDERS}


def test_a_server_that_is_left_alone_leaves_gaps(ask: Asker, stub: FhirStub) -> None:
    stub.behaviour = always(Reply(503, outcome()))
    for _ in range(3):
        ask()
    asked = len(stub.seen)
    delivered = everything(medicationRequests=bundle(order("1", "Medication/m1")))
    del delivered["allergies"]
    found = ask(delivered)
    assert len(stub.seen) == asked
    assert ask.fetches[-1] == ("all", "not_asked", 0.0)
    assert kinds(found, Subject.ORDERS) == {GapKind.SERVER_ERROR}
    assert kinds(found, Subject.ALLERGIES) == {GapKind.SERVER_ERROR}


@pytest.mark.fault("F11")
def test_a_call_without_time_left_is_not_the_one_that_tries_a_server_out(
    ask: Asker, stub: FhirStub
) -> None:
    stub.behaviour = always(Reply(503, outcome()))
    for _ in range(3):
        ask()
    asked = len(stub.seen)
    stub.behaviour = record([PATIENT])
    base = Allowed.of([stub.url]).find(stub.url)
    assert base is not None
    breaker = ask.network.server(base).breaker
    breaker._asked_again -= 60  # the pause is over
    ask.received = -60.0
    assert kinds(ask(), Subject.CONDITIONS) == {GapKind.SERVER_ERROR}
    assert len(stub.seen) == asked
    ask.received = 0.0
    assert ask().states["conditions"] is State.EMPTY


def test_only_so_many_medicines_are_fetched_what_runs_now_first(ask: Asker, stub: FhirStub) -> None:
    over = [order(f"o{n}", f"Medication/old{n}", status="completed") for n in range(30)]
    now = [order(f"n{n}", f"Medication/new{n}") for n in range(3)]
    stub.behaviour = lambda seen, _: Reply(200, medication(seen.path.partition("/")[2]))
    found = ask(everything(medicationRequests=bundle(*over, *now)))
    names = {r["id"] for r in found.resources["Medication"]}
    assert len(stub.seen) == len(names) == MAX_MEDICATIONS
    assert {"new0", "new1", "new2"} <= names
    assert kinds(found, Subject.ORDERS) == {GapKind.TRUNCATED}


# --- the network of a process -----------------------------------------------------------------


def test_all_processes_together_open_no_more_than_128_connections() -> None:
    for workers in (1, 2, 4, 8, 32):
        assert Network(workers).threads * workers <= 128
        assert Network(workers).per_server < Network(workers).threads


def test_servers_are_kept_and_forgotten(network: Network) -> None:
    allowed = Allowed.of(["http://127.0.0.1:*"])

    def server(port: int) -> Any:
        base = allowed.find(f"http://127.0.0.1:{port}")
        assert base is not None
        return network.server(base)

    first, second = server(1), server(2)
    for port in range(3, 65):
        server(port)
    assert server(1) is first
    server(65)
    assert server(1) is first
    assert server(2) is not second


def test_two_authorities_are_two_servers(network: Network, tmp_path: Any) -> None:
    import certifi

    base = Allowed.of(["https://ehr.example"]).find("https://ehr.example")
    assert base is not None
    assert network.server(base) is not network.server(base, Path(certifi.where()).read_text())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_after_a_fork_nothing_is_shared(ask: Asker, stub: FhirStub) -> None:
    ask()
    used = stub.connections
    pid = os.fork()
    if pid == 0:  # the child: no pytest here
        status = 1
        try:
            found = ask(everything() | {"conditions": "", "patient": PATIENT})
            status = 0 if found.states["conditions"] is State.EMPTY else 2
        finally:
            os._exit(status)
    assert os.waitpid(pid, 0)[1] == 0
    assert stub.connections > used


def test_nothing_is_imported_for_a_service_that_calls_nobody() -> None:
    import subprocess

    script = (
        "import sys; from cds_service.application import create_app;"
        "from cds_service.settings import Settings; create_app(Settings());"
        "print(sorted({'cds_service.fetch', 'cds_service.fhir_client'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_a_fault_of_ours_in_a_fetch_is_a_gap_and_is_logged(
    ask: Asker, stub: FhirStub, log: Any
) -> None:
    with patch("cds_service.asking.page_of", side_effect=RuntimeError("secret of the record")):
        found = ask(everything(observations=""))
    assert kinds(found, Subject.OBSERVATIONS) == {GapKind.SERVER_ERROR}
    assert "fetch-broke" in log.getvalue()
    assert "secret" not in log.getvalue()
    assert threading.active_count() < 200
