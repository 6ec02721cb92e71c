"""What becomes of a call when the client's FHIR server, or what names it, is not as it should be?

F01 to F29 of the fault plan, each against a server on the loopback that misbehaves. "Unread" means
that the answer says what could not be read, and asserts nothing from it.
"""

from __future__ import annotations

import gzip
import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from unittest.mock import patch

import msgspec
import pytest

from cds_service.limits import WAITING
from fhir_mappers.queries import QUERIES
from tests.support.calling_back import DEADLINE_MS, GOLDEN, GRANT, TOKEN, Caller, fetching_app, held
from tests.support.fhir_stub import (
    Behaviour,
    FhirStub,
    Line,
    Reply,
    Seen,
    always,
    bundle,
    but_for,
    hang,
    outcome,
    record,
)
from tests.support.tokens import es384, key_set, token, write_tenants

RECORD = held(GOLDEN)
GOOD = record(RECORD)
PATIENT_ID = next(r["id"] for r in RECORD if r["resourceType"] == "Patient")
SHORT_MS = 400
#: What an answer may take beyond the deadline: this machine may be busy.
SLACK = 0.25


@pytest.fixture(scope="module")
def app() -> Iterator[Any]:
    with fetching_app(GOLDEN) as app:
        yield app


@pytest.fixture
def caller(app: Any) -> Caller:
    return Caller(app)


@pytest.fixture
def hurried() -> Iterator[Caller]:
    """A caller whose service has little time, and has met no server yet."""
    with fetching_app(GOLDEN, deadline_ms=SHORT_MS) as app:
        yield Caller(app)


@pytest.fixture
def stub() -> Iterator[FhirStub]:
    with FhirStub(GOOD) as stub:
        yield stub


def observation(number: int, patient: str = PATIENT_ID, value: str = "999") -> dict[str, Any]:
    return {
        "resourceType": "Observation",
        "id": f"other-{number}",
        "status": "final",
        "code": {"coding": [{"system": "http://loinc.org", "code": "2132-9"}]},
        "subject": {"reference": f"Patient/{patient}"},
        "effectiveDateTime": GOLDEN.as_of.isoformat(),
        "valueQuantity": {"value": float(value), "unit": "pg/mL"},
    }


def same(caller: Caller, stub: FhirStub, **options: Any) -> bool:
    return caller.ask(stub.url, **options).text == caller.by_prefetch().text


# --- who is called ----------------------------------------------------------------------------


def test_the_good_server_gives_the_golden_answer(caller: Caller, stub: FhirStub) -> None:
    assert same(caller, stub)
    assert len(stub.seen) == len(QUERIES)
    assert stub.tokens() == {f"Bearer {TOKEN}"}
    assert {seen.headers["accept"] for seen in stub.seen} == {"application/fhir+json"}


@pytest.mark.fault("F01")
def test_f01_a_server_that_is_not_listed_is_not_called(stub: FhirStub) -> None:
    with FhirStub(GOOD) as other, fetching_app(GOLDEN, [other.url]) as app:
        caller = Caller(app)
        root = stub.url.removesuffix("/fhir")
        for url in (stub.url, other.url + "/x", root + "/other", other.url.removesuffix("fhir")):
            assert caller.ask(url).status == 412
            complete = caller.ask(url, keep=lambda key: True)
            assert complete.text == caller.by_prefetch().text
        assert stub.connections == other.connections == 0


@pytest.mark.fault("F02", "F03", "F05")
@pytest.mark.parametrize(
    "server",
    [
        *("file:///fhir", "//127.0.0.1:{port}/fhir", "127.0.0.1:{port}/fhir", "ftp://127.0.0.1/f"),
        *("http://2130706433:{port}/fhir", "http://0x7f.1:{port}/fhir", "http://127.1:{port}/fhir"),
        *("http://[::ffff:127.0.0.1]:{port}/fhir", "http://localhost:{port}/fhir"),
        *("http://user@127.0.0.1:{port}/fhir", "http://127.0.0.1:{port}/fhir#x"),
        *("http://127.0.0.1:{port}/fhir?x=1", "http://127.0.0.1:{port}\\fhir"),
        *("http://127.0.0.1:{port}/fhir\n", "http://127.0.0.1.:{port}/fhir", " http://127.0.0.1"),
        *("http://127.0.0.1:{port}/%00", "http://127.0.0.1:0/fhir", "http://127.0.0.1:99999/fhir"),
        *(5, True, ["http://127.0.0.1:{port}/fhir"], {"url": "http://127.0.0.1:{port}/fhir"}),
    ],
    ids=str,
)
def test_f02_f03_f05_what_is_no_clean_url_is_not_called(
    caller: Caller, stub: FhirStub, server: Any
) -> None:
    url = server.replace("{port}", str(stub.port)) if isinstance(server, str) else server
    assert caller.ask(url).status == 412
    assert stub.connections == 0


@pytest.mark.fault("F04")
def test_f04_a_name_that_leads_here_is_not_connected_to(stub: FhirStub) -> None:
    base = f"http://ehr.example:{stub.port}/fhir"
    with fetching_app(GOLDEN, [base], deadline_ms=SHORT_MS) as app:
        network = app.extensions["b12_cds"].tenancy.services["development"].fetch.network
        asked: list[str] = []

        def resolve(host: str, port: int) -> list[str]:
            asked.append(host)
            return ["127.0.0.1", "169.254.169.254", "::1"]

        network.resolve = resolve
        assert Caller(app).ask(base).status == 412
    assert set(asked) == {"ehr.example"}
    assert stub.connections == 0


@pytest.mark.fault("F04")
def test_f04_a_name_is_resolved_once_and_that_address_is_connected_to(stub: FhirStub) -> None:
    base = f"http://localhost:{stub.port}/fhir"
    with fetching_app(GOLDEN, [base]) as app:
        network = app.extensions["b12_cds"].tenancy.services["development"].fetch.network
        resolved: list[str] = []

        def resolve(host: str, port: int) -> list[str]:
            resolved.append(host)
            return ["127.0.0.1"]

        network.resolve = resolve
        real = socket.getaddrinfo

        def numeric_only(host: Any, *args: Any, **kwargs: Any) -> Any:
            assert host == "127.0.0.1", "a name was resolved behind our back"
            return real(host, *args, **kwargs)

        with patch("socket.getaddrinfo", numeric_only):
            asked = Caller(app).ask(base)
        assert asked.text == Caller(app).by_prefetch().text
        assert resolved == ["localhost"] * stub.connections


@pytest.mark.fault("F06")
def test_f06_a_slash_at_the_end_is_the_same_server(stub: FhirStub) -> None:
    with fetching_app(GOLDEN, [stub.url]) as app:
        caller = Caller(app)
        assert caller.ask(stub.url + "/").text == caller.by_prefetch().text
        assert all("//" not in seen.target for seen in stub.seen)
        before = len(stub.seen)
        for url in (stub.url.replace("/fhir", "/FHIR"), stub.url + "?a=b"):
            assert caller.ask(url).status == 412
        assert len(stub.seen) == before


@pytest.mark.fault("F07")
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_f07_a_redirect_is_not_followed(caller: Caller, status: int) -> None:
    with FhirStub(GOOD) as elsewhere:
        moved = Reply(status, b"", {"Location": elsewhere.url + "/Condition"})
        with FhirStub(always(moved)) as stub:
            assert caller.ask(stub.url).status == 412
            assert len(stub.seen) == len(QUERIES)
        assert elsewhere.connections == 0


# --- pages ------------------------------------------------------------------------------------


def paged(stub_url: list[str], pages: int, style: str = "path") -> Behaviour:
    """The record, one resource a page, and so many empty ones after it."""

    def answer(seen: Seen, line: Line) -> Reply:
        parameters = dict(seen.parameters)
        if "page" not in parameters and "_getpages" not in parameters:
            reply = GOOD(seen, line)
            if seen.kind == "Patient" or reply is None or "entry" not in reply.body:
                return reply or Reply(404)
            kind, number = seen.kind, 0
        else:
            token = parameters.get("page") or parameters["_getpages"]
            kind, _, position = token.partition("-")
            number = int(position)
        entries = [r for r in RECORD if r["resourceType"] == kind][number : number + 1]
        following = None
        if number + 1 < pages:
            name = "page" if style == "path" else "_getpages"
            path = f"/{kind}" if style == "path" else ""
            following = f"{stub_url[0]}{path}?{name}={kind}-{number + 1}"
            if style == "relative":
                following = f"?_getpages={kind}-{number + 1}"
        return Reply(200, bundle(*entries, following=following))

    return answer


@pytest.mark.fault("F08", "F09")
@pytest.mark.parametrize("style", ["path", "getpages", "relative"])
def test_f08_pages_below_the_base_are_followed_with_the_token(caller: Caller, style: str) -> None:
    url = [""]
    with FhirStub(paged(url, 6, style)) as stub:
        url[0] = stub.url
        assert same(caller, stub)
        assert stub.tokens() == {f"Bearer {TOKEN}"}
        assert any("age" in seen.target for seen in stub.seen)


@pytest.mark.fault("F08", "F09")
def test_f08_a_first_page_that_was_delivered_is_completed(caller: Caller, stub: FhirStub) -> None:
    request = caller.request(stub.url, keep=lambda key: True)
    whole = request["prefetch"]["observations"]
    request["prefetch"]["observations"] = bundle(
        following=f"{stub.url}/Observation?patient={PATIENT_ID}"
    )
    assert whole["entry"]
    assert caller.send(request).text == caller.by_prefetch().text
    assert stub.kinds() == ["Observation"]


@pytest.mark.fault("F08")
@pytest.mark.parametrize(
    "link",
    [
        "{other}/Observation?page=2",
        "http://127.0.0.1:{port}/elsewhere/Observation?page=2",
        "http://127.0.0.1:{port}/fhir/../secret",
        "http://127.0.0.1:{port}/fhir/%2e%2e/secret",
        "https://127.0.0.1:{port}/fhir/Observation?page=2",
        "file:///etc/passwd",
        "//127.0.0.1:1/fhir",
        "",
    ],
)
def test_f08_a_page_elsewhere_is_not_fetched(caller: Caller, stub: FhirStub, link: str) -> None:
    with FhirStub(GOOD) as other:
        url = link.replace("{other}", other.url).replace("{port}", str(stub.port))
        page = Reply(
            200, bundle(*[r for r in RECORD if r["resourceType"] == "Observation"], following=url)
        )
        stub.behaviour = but_for(["Observation"], always(page), GOOD)
        asked = caller.ask(stub.url)
        assert asked.status == 412 or "unavailable" in asked.topics
        assert sorted(stub.kinds()) == sorted(query.resource_type for query in QUERIES)
        assert other.connections == 0


@pytest.mark.fault("F08")
@pytest.mark.parametrize("kind", ["the same page", "ever new pages"])
def test_f08_pages_without_an_end_are_left(caller: Caller, stub: FhirStub, kind: str) -> None:
    numbers = iter(range(1000))

    def endless(seen: Seen, line: Line) -> Reply:
        page = 1 if kind == "the same page" else next(numbers)
        return Reply(200, bundle(following=f"{stub.url}/Observation?page={page}"))

    stub.behaviour = but_for(["Observation"], endless, GOOD)
    asked = caller.ask(stub.url)
    assert asked.is_unread
    assert stub.kinds().count("Observation") <= 10


@pytest.mark.fault("F08")
def test_f08_no_more_than_two_thousand_resources_are_followed(
    caller: Caller, stub: FhirStub
) -> None:
    numbers = iter(range(1000))

    def heavy(seen: Seen, line: Line) -> Reply:
        number = next(numbers)
        entries = [{"resourceType": "Observation", "id": f"{number}-{i}"} for i in range(700)]
        return Reply(200, bundle(*entries, following=f"{stub.url}/Observation?page={number}"))

    stub.behaviour = but_for(["Observation"], heavy, GOOD)
    assert caller.ask(stub.url).is_unread
    assert stub.kinds().count("Observation") == 3


@pytest.mark.fault("F09")
@pytest.mark.parametrize("status", [403, 404, 410, 500])
def test_f09_a_second_page_that_fails_leaves_the_query_unread(
    caller: Caller, stub: FhirStub, status: int
) -> None:
    def second_fails(seen: Seen, line: Line) -> Reply:
        if dict(seen.parameters).get("page"):
            return Reply(status, outcome())
        return Reply(200, bundle(following=f"{stub.url}/Observation?page=2"))

    stub.behaviour = but_for(["Observation"], second_fails, GOOD)
    assert caller.ask(stub.url).is_unread


@pytest.mark.fault("F10")
def test_f10_references_to_other_hosts_are_not_fetched(caller: Caller, stub: FhirStub) -> None:
    with FhirStub(GOOD) as other:
        order = {
            "resourceType": "MedicationRequest",
            "id": "elsewhere",
            "status": "active",
            "intent": "order",
            "subject": {"reference": f"Patient/{PATIENT_ID}"},
            "medicationReference": {"reference": f"{other.url}/Medication/m1"},
        }
        stub.behaviour = record([*RECORD, order])
        assert same(caller, stub)
        assert other.connections == 0
        assert "Medication" not in stub.kinds()


# --- time -------------------------------------------------------------------------------------


def drip_head(_seen: Seen, line: Line) -> None:
    line.drip(b"HTTP/1.1 200 OK\r\n" + b"X-A: b\r\n" * 2000, 0.02)


def drip_body(_seen: Seen, line: Line) -> None:
    line.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    line.drip(b" " * 2000, 0.02)


def drip_until_closed(_seen: Seen, line: Line) -> None:
    line.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
    line.drip(b" " * 2000, 0.02)


def drip_chunks(_seen: Seen, line: Line) -> None:
    line.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    line.drip(b"1\r\n \r\n" * 400, 0.01)


def stall_in_the_body(_seen: Seen, line: Line) -> None:
    line.send(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"resourceType"')
    line.wait_for_end()


def endless_continue(_seen: Seen, line: Line) -> None:
    while line.send(b"HTTP/1.1 100 Continue\r\n\r\n") and line.sleep(0.01):
        pass


SLOW: dict[str, Behaviour] = {
    "no answer": hang,
    "header dripped": drip_head,
    "body dripped": drip_body,
    "body without a length dripped": drip_until_closed,
    "chunks dripped": drip_chunks,
    "body stalled": stall_in_the_body,
    "100 Continue for ever": endless_continue,
}


@pytest.mark.fault("F11")
@pytest.mark.parametrize("behaviour", SLOW.values(), ids=SLOW.keys())
def test_f11_the_deadline_holds(hurried: Caller, stub: FhirStub, behaviour: Behaviour) -> None:
    stub.behaviour = behaviour
    asked = hurried.ask(stub.url)
    assert asked.is_unread
    assert SHORT_MS / 1000 * 0.9 < asked.seconds < SHORT_MS / 1000 + SLACK


@pytest.mark.fault("F11", "A20")
def test_f11_what_it_takes_to_know_the_client_is_inside_the_deadline(
    stub: FhirStub, tmp_path: Path
) -> None:
    def key_source(_seen: Seen, line: Line) -> Reply:
        line.sleep(DEADLINE_MS / 1000 * 0.8)
        return Reply(200, key_set(es384()))

    stub.behaviour = hang
    with FhirStub(key_source) as keys:
        path = write_tenants(tmp_path, text=f'fhir_servers = ["{stub.url}"]')
        told = path.read_text().replace('jwks_file = "keys.json"', f'jwks_uri = "{keys.url}"')
        path.write_text(told + f"deadline_ms = {DEADLINE_MS}\n")
        with fetching_app(GOLDEN, tenants=str(path)) as app:
            asked = Caller(app).ask(stub.url, headers={"Authorization": f"Bearer {token()}"})
    assert asked.is_unread
    assert stub.seen, "the rest of the time was used"
    assert DEADLINE_MS / 1000 * 0.9 < asked.seconds < DEADLINE_MS / 1000 + SLACK


@pytest.mark.fault("F11", "F28")
def test_f11_what_a_call_waited_for_a_thread_is_inside_the_deadline(
    hurried: Caller, stub: FhirStub, log: Any
) -> None:
    stub.behaviour = hang
    try:
        WAITING.began(SHORT_MS / 1000 / 2)
        asked = hurried.ask(stub.url)
    finally:
        WAITING.began(0.0)
    assert asked.is_unread
    assert SHORT_MS / 1000 * 0.4 < asked.seconds < SHORT_MS / 1000 * 0.9
    (told,) = [line for line in map(json.loads, log.getvalue().splitlines()) if "ms" in line]
    assert told["ms"] >= SHORT_MS * 0.9, "the client waited that long, whoever held it up"


@pytest.mark.fault("F11")
def test_f11_the_deadline_holds_when_nobody_accepts(hurried: Caller) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as deaf:
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}/fhir"
        waiting = [socket.socket() for _ in range(3)]
        for one in waiting:  # fill the queue: further connections get no answer at all
            one.settimeout(0)
            one.connect_ex(deaf.getsockname())
        asked = hurried.ask(url)
        for one in waiting:
            one.close()
    assert asked.is_unread
    assert asked.seconds < SHORT_MS / 1000 + SLACK


@pytest.mark.fault("F11")
def test_f11_what_came_in_time_is_used_and_the_rest_is_named(
    hurried: Caller, stub: FhirStub
) -> None:
    stub.behaviour = but_for(["FamilyMemberHistory", "ServiceRequest"], hang, GOOD)
    asked = hurried.ask(stub.url)
    assert asked.status == 200
    assert "regimen" in asked.topics


@pytest.mark.fault("F11")
def test_f11_all_reads_run_side_by_side(caller: Caller, stub: FhirStub) -> None:
    stub.behaviour = record(RECORD, delay=0.4)
    asked = caller.ask(stub.url)
    assert asked.text == caller.by_prefetch().text
    assert asked.seconds < 0.4 + 0.4


def test_five_missing_queries_take_one_round_trip(caller: Caller, stub: FhirStub) -> None:
    missing = ("patient", "conditions", "observations", "procedures", "medicationRequests")
    caller.ask(stub.url)  # connections are open
    stub.behaviour = record(RECORD, delay=0.1)
    before = len(stub.seen)
    asked = caller.ask(stub.url, keep=lambda key: key not in missing)
    assert asked.text == caller.by_prefetch().text
    assert len(stub.seen) - before == len(missing)
    assert asked.seconds < 0.1 + 0.15


# --- answers ----------------------------------------------------------------------------------


@pytest.mark.fault("F12")
@pytest.mark.parametrize("status", [204, 400, 401, 403, 404, 406, 410, 429, 500, 502, 503, 504])
def test_f12_an_error_status_is_no_data_and_is_not_asked_again(
    caller: Caller, stub: FhirStub, status: int
) -> None:
    stub.behaviour = always(Reply(status, outcome(), {"Retry-After": "7"}))
    asked = caller.ask(stub.url)
    assert asked.is_unread
    assert asked.seconds < 1
    assert len(stub.seen) == len(QUERIES)


@pytest.mark.fault("F12")
def test_f12_one_type_that_fails_leaves_the_others(caller: Caller, stub: FhirStub) -> None:
    stub.behaviour = but_for(["FamilyMemberHistory"], always(Reply(403, outcome())), GOOD)
    asked = caller.ask(stub.url)
    assert asked.status == 200
    assert "regimen" in asked.topics
    stub.behaviour = but_for(["Observation"], always(Reply(403, outcome())), GOOD)
    assert caller.ask(stub.url).is_unread


WRONG: dict[str, Any] = {
    "html": b"<html>Sign in</html>",
    "nothing": b"",
    "null": b"null",
    "array": b"[]",
    "text": b'"x"',
    "empty object": b"{}",
    "xml": b"<Bundle xmlns='http://hl7.org/fhir'/>",
    "OperationOutcome": outcome(),
    "a patient": {"resourceType": "Patient", "id": PATIENT_ID},
    "a result": observation(1),
    "a Bundle of nothing but an error": bundle(outcome("fatal")),
    "not UTF-8": b'{"resourceType":"Bundle","x":"\xff"}',
    "cut off": b'{"resourceType":"Bundle","entry":[',
    "entry is a text": {"resourceType": "Bundle", "entry": "x"},
    "two documents": b'{"resourceType":"Bundle"}{}',
}


@pytest.mark.fault("F13")
@pytest.mark.parametrize("body", WRONG.values(), ids=WRONG.keys())
def test_f13_200_with_something_else_is_unread(caller: Caller, stub: FhirStub, body: Any) -> None:
    stub.behaviour = but_for(["Observation"], always(Reply(200, body)), GOOD)
    assert caller.ask(stub.url).is_unread


def endless_body(_seen: Seen, line: Line) -> None:
    line.send(b'HTTP/1.1 200 OK\r\n\r\n{"resourceType":"Bundle","x":"')
    sent = 0
    while sent < 64 << 20 and line.send(b"x" * (1 << 20)):
        sent += 1 << 20


def lying_length(_seen: Seen, line: Line) -> None:
    line.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n{")
    endless_body(_seen, line)


def bomb(_seen: Seen, line: Line) -> None:
    small = gzip.compress(b" " * (256 << 20), 1)
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(small)}\r\n\r\n"
    line.send(head.encode() + small)


@pytest.mark.fault("F14")
@pytest.mark.parametrize("behaviour", [endless_body, lying_length, bomb])
def test_f14_an_answer_without_measure_is_unread(
    caller: Caller, stub: FhirStub, behaviour: Behaviour
) -> None:
    stub.behaviour = but_for(["Observation"], behaviour, GOOD)
    asked = caller.ask(stub.url)
    assert asked.is_unread
    assert asked.seconds < DEADLINE_MS / 1000 + 2 * SLACK


@pytest.mark.fault("F14")
def test_f14_a_gzipped_answer_is_read(caller: Caller, stub: FhirStub) -> None:
    def zipped(seen: Seen, line: Line) -> Reply:
        reply = GOOD(seen, line)
        assert reply is not None
        body = gzip.compress(json.dumps(reply.body).encode())
        return Reply(reply.status, body, {"Content-Encoding": "gzip"})

    stub.behaviour = zipped
    assert same(caller, stub)


# --- the token --------------------------------------------------------------------------------


UNUSABLE: dict[str, Any] = {
    "none": None,
    "not an object": "Bearer x",
    "list": [GRANT],
    "empty": {},
    "no token": {**GRANT, "access_token": None},
    "empty token": {**GRANT, "access_token": ""},
    "token is a number": {**GRANT, "access_token": 5},
    "line break": {**GRANT, "access_token": "a\r\nX-Evil: 1"},
    "space": {**GRANT, "access_token": "a b"},
    "not ASCII": {**GRANT, "access_token": "tökén"},
    "endless": {**GRANT, "access_token": "a" * 100_000},
    "no type": {k: v for k, v in GRANT.items() if k != "token_type"},
    "other type": {**GRANT, "token_type": "MAC"},
    "expired": {**GRANT, "expires_in": 0},
    "long expired": {**GRANT, "expires_in": -300},
    "expiry is a text": {**GRANT, "expires_in": "300"},
    "expiry is a boolean": {**GRANT, "expires_in": True},
    "expiry is a list": {**GRANT, "expires_in": [300]},
}


@pytest.mark.fault("F16")
@pytest.mark.parametrize("grant", UNUSABLE.values(), ids=UNUSABLE.keys())
def test_f16_without_a_usable_token_nobody_is_called(
    caller: Caller, stub: FhirStub, grant: Any
) -> None:
    assert caller.ask(stub.url, grant=grant).status == 412
    assert stub.connections == 0


@pytest.mark.fault("F16")
@pytest.mark.parametrize(
    "grant",
    [
        {**GRANT, "token_type": "bEARER"},
        {**GRANT, "access_token": "a" * 9000},
        {**GRANT, "access_token": "~!=:;'\""},
        {**GRANT, "expires_in": 0.5},
        {**GRANT, "expires_in": None, "patient": None},
        {k: v for k, v in GRANT.items() if k not in ("expires_in", "scope")},
        {**GRANT, "patient": PATIENT_ID, "subject": "cds-service"},
    ],
    ids=["case", "9 kB", "signs", "half a second", "null", "no expiry", "patient"],
)
def test_f16_odd_but_usable_tokens_are_used(caller: Caller, stub: FhirStub, grant: Any) -> None:
    assert same(caller, stub, grant=grant)
    assert stub.tokens() == {f"Bearer {grant['access_token']}"}


@pytest.mark.fault("F17")
@pytest.mark.parametrize(
    "patient_id",
    [
        *(
            "../Practitioner/1",
            "1&_has=x",
            "1?x=y",
            "%2F",
            "%2e%2e",
            "..",
            ".",
            "a b",
            "a/b",
            "a#b",
        ),
        *("1,2", "1|2", "a\\b", "ä€😀", "1%00", "\u0000", "a\r\nX: y", "{{context.userId}}", "'"),
        *("x" * 64, "A-1.b_c", "e" * 190, "x" * 10_000),
    ],
)
def test_f17_an_id_never_changes_a_query(caller: Caller, stub: FhirStub, patient_id: str) -> None:
    stub.behaviour = always(Reply(200, bundle()))
    caller.ask(stub.url, patient_id=patient_id)
    for seen in stub.seen:
        assert set(seen.headers) <= {
            "host",
            "accept",
            "accept-encoding",
            "authorization",
            "user-agent",
            "connection",
        }
        if seen.kind == "Patient":
            assert seen.path == f"Patient/{patient_id}"
            assert not seen.parameters
        else:
            assert "/" not in seen.path
            assert set(dict(seen.parameters)) <= {"patient", "_sort"}
            assert dict(seen.parameters)["patient"] in (patient_id, f"Patient/{patient_id}")


@pytest.mark.fault("F17")
@pytest.mark.parametrize("patient_id", ["a b", "A-1.b_c", "e" * 190, "p:1@x", "ü"])
def test_f17_odd_ids_are_found(caller: Caller, stub: FhirStub, patient_id: str) -> None:
    text = json.dumps(RECORD).replace(PATIENT_ID, patient_id)
    stub.behaviour = record(json.loads(text))
    assert "regimen" in caller.ask(stub.url, patient_id=patient_id).topics


@pytest.mark.fault("F18")
@pytest.mark.parametrize(
    "patient", ["somebody", "", 5, ["x"], {"reference": f"Patient/{PATIENT_ID}"}]
)
def test_f18_a_token_for_somebody_else_is_not_used(
    caller: Caller, stub: FhirStub, patient: Any
) -> None:
    assert caller.ask(stub.url, grant={**GRANT, "patient": patient}).status == 412
    assert stub.connections == 0


# --- what comes is judged again ---------------------------------------------------------------


@pytest.mark.fault("F19", "F20", "F21")
def test_f19_f20_a_server_that_ignores_the_search_changes_nothing(
    caller: Caller, stub: FhirStub
) -> None:
    strangers = [observation(n, patient="somebody", value="10") for n in range(3)]

    def everything(seen: Seen, line: Line) -> Reply | None:
        if seen.kind == "Patient":
            return GOOD(seen, line)
        all_of_it = [r for r in [*strangers, *RECORD] if r["resourceType"] == seen.kind]
        return Reply(200, bundle(*all_of_it, total=0))

    stub.behaviour = everything
    assert same(caller, stub)


@pytest.mark.fault("F20")
def test_f20_another_patient_is_refused(caller: Caller, stub: FhirStub) -> None:
    stranger = Reply(200, {"resourceType": "Patient", "id": "somebody", "birthDate": "1950-01-01"})
    stub.behaviour = but_for(["Patient"], always(stranger), GOOD)
    assert caller.ask(stub.url).status == 412


@pytest.mark.fault("F21")
def test_f21_totals_and_counts_are_not_believed(caller: Caller, stub: FhirStub) -> None:
    def lying(seen: Seen, line: Line) -> Reply | None:
        reply = GOOD(seen, line)
        if reply is not None and isinstance(reply.body, dict) and "total" in reply.body:
            reply.body["total"] = 7_000_000
        return reply

    stub.behaviour = lying
    assert same(caller, stub)


# --- many calls -------------------------------------------------------------------------------


@pytest.mark.fault("F22")
def test_f22_a_server_that_hangs_does_not_slow_another(caller: Caller, stub: FhirStub) -> None:
    with FhirStub(hang) as slow, ThreadPoolExecutor(6) as crowd:
        waiting = [crowd.submit(caller.ask, slow.url) for _ in range(6)]
        time.sleep(0.1)
        for _ in range(3):
            asked = caller.ask(stub.url)
            assert asked.text == caller.by_prefetch().text
            assert asked.seconds < DEADLINE_MS / 1000 * 0.8
        assert all(call.result().status == 412 for call in waiting)
        assert all(call.result().seconds < DEADLINE_MS / 1000 + 2 * SLACK for call in waiting)


@pytest.mark.fault("F23")
@pytest.mark.parametrize("failure", [hang, always(Reply(503, outcome()))], ids=["hangs", "503"])
def test_f23_a_server_that_is_down_is_left_alone_and_found_again(
    stub: FhirStub, failure: Behaviour
) -> None:
    with fetching_app(GOLDEN, deadline_ms=SHORT_MS) as app:
        caller = Caller(app)
        network = app.extensions["b12_cds"].tenancy.services["development"].fetch.network
        _quick_breakers(network)
        stub.behaviour = failure
        for _ in range(4):
            assert caller.ask(stub.url).is_unread
        time.sleep(0.05)  # what was cut off has been noted
        before = len(stub.seen)
        assert caller.ask(stub.url).is_unread
        assert caller.ask(stub.url).seconds < 0.2
        assert len(stub.seen) == before, "an open circuit calls nobody"
        stub.behaviour = GOOD
        time.sleep(0.7)  # the pause
        assert caller.ask(stub.url).text == caller.by_prefetch().text


@pytest.mark.fault("F23")
def test_f23_finding_out_whether_it_is_back_holds_nobody_up(stub: FhirStub) -> None:
    with fetching_app(GOLDEN, deadline_ms=1000) as app:
        caller = Caller(app)
        network = app.extensions["b12_cds"].tenancy.services["development"].fetch.network
        _quick_breakers(network)
        stub.behaviour = always(Reply(503, outcome()))
        for _ in range(3):
            caller.ask(stub.url)
        time.sleep(0.7)
        stub.behaviour = record(RECORD, delay=0.5)  # slow, but well
        probe = caller.ask(stub.url)
        assert probe.is_unread
        assert probe.seconds < 0.5
        time.sleep(0.5)
        assert caller.ask(stub.url).text == caller.by_prefetch().text


def _quick_breakers(network: Any) -> None:
    from functools import partial

    from cds_service.breaker import Breaker

    network.new_breaker = partial(Breaker, pause=0.6)


@pytest.mark.fault("F24")
def test_f24_a_kept_connection_that_was_closed_is_replaced(caller: Caller, stub: FhirStub) -> None:
    served: Counter[int] = Counter()

    def once_each(seen: Seen, line: Line) -> Reply | None:
        served[seen.connection] += 1
        if served[seen.connection] > 1:
            return None  # closed on the second request, without a word
        return GOOD(seen, line)

    stub.behaviour = once_each
    for _ in range(3):
        assert same(caller, stub)


@pytest.mark.fault("F24")
def test_f24_it_is_tried_once_more_and_not_for_ever(caller: Caller, stub: FhirStub) -> None:
    def resets(seen: Seen, line: Line) -> None:
        line.reset()

    stub.behaviour = resets
    assert caller.ask(stub.url).is_unread
    assert len(stub.seen) <= 2 * len(QUERIES)


@pytest.mark.fault("F24")
@pytest.mark.parametrize("length", [b"Content-Length: 5000\r\n", b"Transfer-Encoding: chunked\r\n"])
def test_f24_an_answer_cut_short_is_unread_and_not_asked_again(
    caller: Caller, stub: FhirStub, length: bytes
) -> None:
    def cut_short(seen: Seen, line: Line) -> None:
        line.send(b"HTTP/1.1 200 OK\r\n" + length + b'\r\n{"resourceType":"Bundle"}')

    stub.behaviour = but_for(["Observation"], cut_short, GOOD)
    assert caller.ask(stub.url).is_unread
    assert stub.kinds().count("Observation") == 1


@pytest.mark.fault("F25")
def test_f25_a_slow_or_failing_resolver_is_inside_the_deadline() -> None:
    base = "http://ehr.example:9/fhir"
    with fetching_app(GOLDEN, [base], deadline_ms=SHORT_MS) as app:
        network = app.extensions["b12_cds"].tenancy.services["development"].fetch.network
        ended = threading.Event()

        def slow(host: str, port: int) -> list[str]:
            ended.wait(5)
            return []

        network.resolve = slow
        asked = Caller(app).ask(base)
        ended.set()
        assert asked.is_unread
        assert asked.seconds < SHORT_MS / 1000 + SLACK

        def failing(host: str, port: int) -> list[str]:
            raise socket.gaierror(socket.EAI_NONAME, "no such name")

        network.close()
        network.resolve = failing
        asked = Caller(app).ask(base)
        assert asked.is_unread
        assert asked.seconds < SLACK


@pytest.mark.fault("F26")
def test_f26_proxies_and_netrc_of_the_environment_are_ignored(
    stub: FhirStub, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password secret\n")
    netrc.chmod(0o600)
    with FhirStub(GOOD) as proxy, fetching_app(GOLDEN) as app:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "HTTPS_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        monkeypatch.setenv("NETRC", str(netrc))
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        assert same(Caller(app), stub)
        assert proxy.connections == 0
        assert stub.tokens() == {f"Bearer {TOKEN}"}


@pytest.mark.fault("F27")
def test_f27_a_cookie_is_never_sent_back(caller: Caller, stub: FhirStub) -> None:
    def baked(seen: Seen, line: Line) -> Reply | None:
        reply = GOOD(seen, line)
        assert reply is not None
        return Reply(reply.status, reply.body, {"Set-Cookie": "session=1; Path=/"})

    stub.behaviour = baked
    caller.ask(stub.url)
    caller.ask(stub.url, grant={**GRANT, "access_token": "another"})
    assert all("cookie" not in seen.headers for seen in stub.seen)
    assert stub.tokens() == {f"Bearer {TOKEN}", "Bearer another"}


@pytest.mark.fault("F28")
def test_f28_sixty_calls_at_once_are_answered_and_forgotten(caller: Caller, stub: FhirStub) -> None:
    stub.behaviour = record(RECORD, delay=0.05)
    golden = caller.by_prefetch().text
    with ThreadPoolExecutor(60) as crowd:
        calls = [crowd.submit(caller.ask, stub.url) for _ in range(60)]
        answers = [call.result() for call in calls]
    assert {asked.status for asked in answers} <= {200, 412}
    assert all(asked.text == golden or asked.is_unread for asked in answers)
    assert any(asked.text == golden for asked in answers)
    assert stub.most_at_once <= 128 // 4, "more than this process may open"
    stub.behaviour = GOOD
    assert caller.ask(stub.url).text == golden


CANARIES = (TOKEN, PATIENT_ID, "canary-body", "canary-header")


@pytest.mark.fault("F29")
@pytest.mark.parametrize("behaviour", ["good", "resets", "refuses", "nonsense", "html", "bad head"])
def test_f29_the_token_is_in_no_log_and_no_answer(
    caller: Caller, stub: FhirStub, log: Any, behaviour: str
) -> None:
    stub.behaviour = {
        "good": GOOD,
        "resets": lambda seen, line: line.reset(),
        "refuses": always(Reply(401, {"resourceType": "OperationOutcome", "text": "canary-body"})),
        "nonsense": always(Reply(200, bundle({"resourceType": 5, "id": "canary-body"}))),
        "html": always(Reply(200, b"<p>canary-body", {"X-A": "canary-header"})),
        "bad head": lambda seen, line: _say(line, b"canary-header: canary-body\x00\r\n\r\n"),
    }[behaviour]
    asked = caller.ask(stub.url)
    assert stub.seen, "nobody was called"
    written = log.getvalue()
    assert "fetches" in written
    assert not [canary for canary in CANARIES if canary in written]
    assert TOKEN not in asked.text
    assert "canary-" not in asked.text.replace(PATIENT_ID, "").replace(TOKEN, "")


def _say(line: Line, data: bytes) -> None:
    line.send(data)


@pytest.mark.fault("F29")
def test_f29_nothing_that_holds_the_token_shows_it() -> None:
    from cds_service.asking import Line as Asking
    from cds_service.fhir_client import FhirClient, Outcome
    from cds_service.fhir_client import Reply as Got
    from cds_service.fhir_network import Network, Turn
    from cds_service.fhir_url import parse_base
    from cds_service.hooks.request import HookRequest

    base = parse_base("http://127.0.0.1:9/fhir")
    assert base is not None
    network = Network()
    line = Asking(network, network.server(base), TOKEN, Turn(1.0, 1.0), [])
    given = {"access_token": msgspec.Raw(json.dumps(TOKEN).encode())}
    request = HookRequest("order-select", "x", {}, fhir_authorization=given)
    held_by = [line, request, FhirClient(base), Got(Outcome.OK, 200, TOKEN.encode())]
    assert all(TOKEN not in repr(one) for one in held_by)
    network.close()
