"""The real server in operation: tokens over workers, reload, overload, numbers, canaries."""

from __future__ import annotations

import http.client
import http.server
import json
import os
import signal
import socket
import sqlite3
import struct
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.calling_back import GRANT
from tests.support.fhir_stub import FhirStub, Line, Reply, Seen, hang
from tests.support.server import CALL, Server, free_port, running, within
from tests.support.tokens import es384, key_set, token, write_tenants
from tests.support.vignette import ROOT

needs_proc = pytest.mark.skipif(
    not Path("/proc/self/task").exists(), reason="needs /proc: run on Linux"
)

VIGNETTE = ROOT / "fixtures/vignettes/v01-b12-120-pg-ml-injection-picked-without-details"


@pytest.fixture(scope="module")
def golden() -> dict:
    return json.loads((VIGNETTE / "request.json").read_text("utf-8"))


@pytest.fixture
def quiet(envelope) -> dict:
    """A call that nothing of ours is in: cheap to answer."""
    envelope["context"]["selections"] = []
    return envelope


def with_tenants(folder: Path, text: str = "", *keys, **settings: str) -> Server:
    path = write_tenants(folder, *keys, text=text)
    return Server(folder, B12_CDS_TENANTS=str(path), **settings)


def call(server: Server, body: dict, **claims) -> int:
    aud = claims.pop("aud", f"{server.url}{CALL}")
    bearer = claims.pop("bearer", None) or token(aud=aud, **claims)
    return server.ask("POST", CALL, body, Authorization=f"Bearer {bearer}")[0]


# --- tokens over workers and restarts ---------------------------------------------------------


@pytest.mark.fault("A18")
def test_a_token_is_good_once_in_all_workers_and_after_a_restart(tmp_path, quiet):
    text = "rate_limit_per_s = 1000\nburst = 1000"
    server = with_tenants(tmp_path, text)
    try:
        once = token(aud=f"{server.url}{CALL}")
        with ThreadPoolExecutor(16) as pool:
            got = Counter(pool.map(lambda _: call(server, quiet, bearer=once), range(48)))
        assert got == {200: 1, 401: 47}
        assert call(server, quiet) == 200
    finally:
        server.stop()
    again = Server(tmp_path, port=server.port, B12_CDS_TENANTS=str(tmp_path / "tenants.toml"))
    try:
        assert call(again, quiet, bearer=once) == 401
        assert call(again, quiet) == 200
    finally:
        again.stop()


@pytest.mark.fault("A19", "K11")
def test_without_the_store_no_token_passes_and_it_is_said_soon(tmp_path, quiet):
    server = with_tenants(tmp_path)
    try:
        assert call(server, quiet) == 200
        with sqlite3.connect(tmp_path / "store.sqlite3", isolation_level=None) as lock:
            lock.execute("BEGIN EXCLUSIVE")
            started = time.monotonic()
            status, body, headers = server.ask(
                "POST", CALL, quiet, Authorization=f"Bearer {token(aud=server.url + CALL)}"
            )
            assert time.monotonic() - started < 5
            assert (status, body["resourceType"]) == (503, "OperationOutcome")
            assert int(headers["Retry-After"]) > 0
            lock.execute("ROLLBACK")
        lock.close()
        assert call(server, quiet) == 200
    finally:
        server.stop()


class _Keys(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.server.asked += 1
        time.sleep(self.server.delay)
        body = self.server.body
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def source() -> Iterator[http.server.ThreadingHTTPServer]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Keys)
    server.asked, server.status, server.delay = 0, 200, 0.0
    server.body = key_set(es384())
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def fetching(folder: Path, source, more: str = "") -> Server:
    path = folder / "tenants.toml"
    path.write_text(
        '[[tenant]]\nid = "one"\nissuer = "https://ehr.example/r4"\n'
        f'jwks_uri = "http://127.0.0.1:{source.server_port}/jwks"\n'
        f"rate_limit_per_s = 1000\nburst = 1000\n{more}\n"
    )
    return Server(folder, B12_CDS_TENANTS=str(path))


@pytest.mark.fault("A22", "A06")
def test_a_cold_key_set_is_fetched_once_a_process_whoever_calls(tmp_path, source, quiet):
    source.delay = 0.5
    server = fetching(tmp_path, source)
    try:
        with ThreadPoolExecutor(60) as pool:
            assert Counter(pool.map(lambda _: call(server, quiet), range(60))) == {200: 60}
        assert 1 <= source.asked <= 2
        stranger = es384("stranger")
        with ThreadPoolExecutor(8) as pool:
            tokens = [token(stranger, aud=f"{server.url}{CALL}") for _ in range(100)]
            got = Counter(pool.map(lambda t: call(server, quiet, bearer=t), tokens))
        assert got == {401: 100}
        assert source.asked <= 2
    finally:
        server.stop()


@pytest.mark.fault("A20", "A21")
def test_keys_change_and_sources_fail(tmp_path, source, quiet):
    server = fetching(tmp_path, source, "jwks_refetch_s = 1\njwks_ttl_s = 2")
    try:
        new = es384("two")

        def works(key) -> bool:
            """In both workers, as far as ten calls can tell."""
            tokens = [token(key, aud=f"{server.url}{CALL}") for _ in range(10)]
            return {call(server, quiet, bearer=one) for one in tokens} == {200}

        assert works(es384())
        source.body = key_set(new)
        assert within(5, lambda: works(new))
        assert within(5, lambda: call(server, quiet) == 401)
        source.status, source.body = 500, b"canary"
        time.sleep(2.5)
        assert works(new)
        assert {line.get("cause") for line in server.log() if line["event"] == "jwks-failed"} == {
            "status"
        }
        assert "canary" not in server.log_file.read_text("utf-8")
    finally:
        server.stop()


@pytest.mark.fault("A30")
def test_all_refusals_are_one_answer(tmp_path, quiet):
    server = with_tenants(tmp_path)
    try:
        refused = [
            {},
            {"Authorization": "Basic x"},
            {"Authorization": f"Bearer {token(iss='https://unknown.example')}"},
            {"Authorization": f"Bearer {token(aud='elsewhere')}"},
            {"Authorization": f"Bearer {token(es384('two'), {'kid': 'one'})}"},
            {"Authorization": "Bearer " + "x" * 14_000},
        ]
        answers = [server.ask("POST", CALL, quiet, **headers) for headers in refused]
        for status, body, headers in answers:
            assert (status, body) == (401, answers[0][1])
            assert headers["WWW-Authenticate"] == "Bearer"
            assert {**headers, "Date": ""} == {**answers[0][2], "Date": ""}
    finally:
        server.stop()


# --- reload -----------------------------------------------------------------------------------


@needs_proc
@pytest.mark.fault("O08", "O25")
def test_the_tenants_file_is_read_again_on_sighup_and_no_call_is_lost(tmp_path, quiet):
    limits = "rate_limit_per_s = 10000\nburst = 10000\n"
    server = with_tenants(tmp_path, limits)
    stop, statuses = threading.Event(), Counter()

    def keep_calling() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
        while not stop.is_set():
            bearer = token(aud=f"{server.url}{CALL}")
            headers = {"Authorization": f"Bearer {bearer}", "Content-Type": "application/json"}
            connection.request("POST", CALL, body=json.dumps(quiet), headers=headers)
            response = connection.getresponse()
            response.read()
            statuses[response.status] += 1
        connection.close()

    def all_say(status: int) -> bool:
        return {call(server, quiet) for _ in range(8)} == {status}

    callers = [threading.Thread(target=keep_calling) for _ in range(3)]
    try:
        assert all_say(200)
        for caller in callers:
            caller.start()
        write_tenants(tmp_path, text=limits + 'mode = "off"')
        server.process.send_signal(signal.SIGHUP)
        assert within(6, lambda: all_say(403))
        write_tenants(tmp_path, text=limits)
        server.process.send_signal(signal.SIGHUP)
        assert within(6, lambda: all_say(200))
        (tmp_path / "tenants.toml").write_text("canary = ")
        server.process.send_signal(signal.SIGHUP)
        assert within(6, lambda: "tenants" in server.ask("GET", "/readyz")[1])
        time.sleep(1)
        assert server.ask("GET", "/readyz")[0] == 200
        assert all_say(200)
        write_tenants(tmp_path, text=limits)
        server.process.send_signal(signal.SIGHUP)
        assert within(6, lambda: server.ask("GET", "/readyz")[1] == {"status": "ok"})
    finally:
        stop.set()
        for caller in callers:
            caller.join()
        server.stop()
    assert set(statuses) == {200, 403}
    events = Counter(line["event"] for line in server.log())
    assert events["tenants-reloaded"] == 3
    assert events["tenants-not-reloaded"] == 1
    text = server.log_file.read_text("utf-8")
    assert "B12_CDS_TENANTS: the file is not TOML" in text
    assert "canary" not in text
    assert "Traceback" not in text


@pytest.mark.fault("O07", "A31")
@pytest.mark.parametrize(
    ("settings", "text", "named"),
    [
        ({}, 'mode = "canary"', "tenant one: mode"),
        ({"B12_CDS_MODE": "production"}, "", "B12_CDS_PUBLIC_URL"),
        (
            {"B12_CDS_MODE": "production", "B12_CDS_PUBLIC_URL": "https://x.example"},
            'fhir_servers = ["http://127.0.0.1:8000/canary"]',
            "tenant one: fhir_servers",
        ),
    ],
)
def test_what_cannot_be_run_ends_the_start_with_one_sentence(tmp_path, settings, text, named):
    server = with_tenants(tmp_path, text, **settings)
    assert server.process.wait(timeout=30) == 2
    server.stop()
    (line,) = server.log_file.read_text("utf-8").splitlines()
    assert named in line
    assert "canary" not in line


# --- production -------------------------------------------------------------------------------


@pytest.mark.fault("A28", "H27", "O15")
def test_production(tmp_path, golden):
    port = free_port()
    server = with_tenants(
        tmp_path,
        B12_CDS_MODE="production",
        B12_CDS_PUBLIC_URL="https://cds.example/b12",
        B12_CDS_METRICS_PORT=str(port),
    )
    try:
        aud = f"https://cds.example/b12{CALL}"
        bearer = token(aud=aud)
        status, body, _ = server.ask("POST", CALL, golden, Authorization=f"Bearer {bearer}")
        assert status == 200
        systems = {card["source"]["topic"]["system"] for card in body["cards"]}
        assert systems == {"https://cds.example/b12/fhir/CodeSystem/card-topic"}
        assert call(server, golden, aud=f"{server.url}{CALL}") == 401
        assert server.ask("GET", "/")[0] == 404
        assert server.ask("GET", "/metrics")[0] == 404
        name = (
            'b12_cds_calls_total{mode="live",service="b12-order-select",status="200",tenant="one"}'
        )
        before = number(server, name, port)
        assert before == 1
        for _ in range(20):
            assert call(server, golden, aud=aud) == 200
        assert number(server, name, port) == 21
        assert server.ask("GET", "/cds-services", port=port)[0] == 404
    finally:
        assert server.stop() == 0


def number(server: Server, name: str, port: int) -> float:
    """A number, over all workers."""
    status, text, _ = server.ask("GET", "/metrics", port=port)
    assert status == 200
    return sum(
        float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(name)
    )


@needs_proc
@pytest.mark.fault("O02", "O15")
def test_what_a_killed_worker_counted_stays_counted(tmp_path, quiet):
    with running(tmp_path) as server:
        name = "b12_cds_calls_total"
        for _ in range(10):
            assert server.ask("POST", CALL, quiet)[0] == 200
        os.kill(server.workers().pop(), signal.SIGKILL)
        assert within(10, lambda: len(server.workers()) == 2)
        assert server.ask("POST", CALL, quiet)[0] == 200
        assert number(server, name, server.port) == 11


@pytest.mark.fault("O06")
@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "Pacific/Pago_Pago"])
def test_no_time_zone_or_locale_changes_an_answer(tmp_path, golden, zone):
    with running(tmp_path, TZ="UTC") as here, running(tmp_path, TZ=zone, LC_ALL="C") as there:
        expected, answered = (one.ask("POST", CALL, golden)[1] for one in (here, there))
    for cards in (expected["cards"], answered["cards"]):
        assert cards
    assert [c["detail"] for c in expected["cards"]] == [c["detail"] for c in answered["cards"]]


# --- start, connections, forks ----------------------------------------------------------------


@pytest.mark.fault("O13")
def test_it_is_ready_soon_and_the_first_call_is_no_slower_than_its_deadline(tmp_path, golden):
    started = time.monotonic()
    with running(tmp_path) as server:
        assert server.first_line
        assert time.monotonic() - started < 10  # two cores that others use as well
        started = time.monotonic()
        assert server.ask("POST", CALL, golden)[1]["cards"]
        assert time.monotonic() - started < 2


@pytest.mark.fault("H23")
def test_clients_that_hurry_or_leave_harm_nobody(tmp_path, golden):
    """Two calls in one go; and clients that are gone before, during and after their call."""
    body = json.dumps(golden).encode()
    head = f"POST {CALL} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    whole = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
    last = f"{head}Connection: close\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
    with running(tmp_path) as server:
        expected = [c["summary"] for c in server.ask("POST", CALL, golden)[1]["cards"]]
        answers = b""
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as both:
            both.sendall(whole + last)
            while part := both.recv(65536):
                answers += part
        assert answers.count(b"HTTP/1.1 200 OK") == 2
        assert answers.count(expected[0].encode()) == 2
        for part in (b"", whole[:20], whole[: len(whole) // 2], whole):
            for _ in range(10):
                with socket.create_connection(("127.0.0.1", server.port), timeout=10) as gone:
                    gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    gone.sendall(part)
        for _ in range(10):
            cards = server.ask("POST", CALL, golden)[1]["cards"]
            assert [c["summary"] for c in cards] == expected
        assert not server.workers() or len(server.workers()) == 2
    assert all("Traceback" not in json.dumps(line) for line in server.log())  # each line is whole


def descriptors(pid: int) -> dict[str, str]:
    """The sockets and files of a process, by what they lead to."""
    found = {}
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            found[str(link.readlink())] = link.name
        except FileNotFoundError:  # closed since
            continue
    return found


@needs_proc
@pytest.mark.fault("O22")
def test_workers_share_no_connection_with_each_other_or_their_parent(tmp_path, source, golden):
    """Key sets, a FHIR server and the store were all in use. What they share is the open port."""
    body = {name: part for name, part in golden.items() if name != "prefetch"}
    body["fhirAuthorization"] = GRANT

    def empty(seen: Seen, line: Line) -> Reply:
        return Reply(200, {"resourceType": "Bundle", "type": "searchset"})

    with FhirStub(empty) as stub:
        body["fhirServer"] = stub.url
        server = fetching(tmp_path, source, f'fhir_servers = ["{stub.url}"]')
        try:
            with ThreadPoolExecutor(12) as pool:
                assert set(pool.map(lambda _: call(server, body), range(60))) <= {200, 412}
            assert stub.connections > 2
            assert source.asked == 2, "each worker has keys of its own"
            parent, *workers = (
                descriptors(pid) for pid in (server.process.pid, *sorted(server.workers()))
            )
        finally:
            server.stop()
    sockets = [{name for name in one if name.startswith("socket:")} for one in (parent, *workers)]
    assert all(len(one) > 1 for one in sockets[1:]), "connections are open in both workers"
    (port,) = sockets[1] & sockets[2]
    assert sockets[0] == {port}
    assert not [name for name in parent if "store.sqlite3" in name]


# --- overload ---------------------------------------------------------------------------------


@pytest.mark.fault("O12")
def test_a_crowd_is_answered_or_told_to_come_back_and_leaves_nothing_behind(tmp_path, golden):
    with running(tmp_path, B12_CDS_MAX_WAIT_MS="300") as server:
        with ThreadPoolExecutor(240) as pool:
            answers = list(pool.map(lambda _: server.ask("POST", CALL, golden), range(240)))
        statuses = Counter(status for status, _, _ in answers)
        assert set(statuses) <= {200, 503}
        assert statuses[200] > 0
        for status, body, headers in answers:
            if status == 503:
                assert headers["Retry-After"] == "1"
                assert body["resourceType"] == "OperationOutcome"
            else:
                assert body["cards"]
        time.sleep(0.5)
        started = time.monotonic()
        assert server.ask("POST", CALL, golden)[0] == 200
        assert time.monotonic() - started < 2


@needs_proc
@pytest.mark.fault("O23")
def test_it_recovers_when_file_descriptors_ran_out(tmp_path, quiet):
    limited = (
        "import resource, runpy\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (60, 60))\n"
        "runpy.run_module('cds_service.server', run_name='__main__')\n"
    )
    port = free_port()
    log = tmp_path / "log"
    env = {k: v for k, v in os.environ.items() if not k.startswith("B12_CDS_")}
    with log.open("w") as err:
        process = subprocess.Popen(
            [sys.executable, "-c", limited],
            cwd=ROOT,
            env=env | {"PORT": str(port), "B12_CDS_WORKERS": "1", "B12_CDS_STORE": "sqlite://"},
            stdout=subprocess.PIPE,
            stderr=err,
            text=True,
            start_new_session=True,
        )
    try:
        process.stdout.readline()
        crowd = [http.client.HTTPConnection("127.0.0.1", port, timeout=20) for _ in range(100)]
        for connection in crowd:
            connection.connect()
        time.sleep(1)
        for connection in crowd:
            connection.close()
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=12)
        body = json.dumps(quiet)
        connection.request("POST", CALL, body=body, headers={"Content-Type": "application/json"})
        response = connection.getresponse()
        response.read()
        assert response.status == 200
        connection.close()
    finally:
        process.terminate()
        process.communicate(timeout=20)
    events = Counter(json.loads(line)["event"] for line in log.read_text("utf-8").splitlines())
    assert events["no-file-descriptors"] > 0


# --- canaries ---------------------------------------------------------------------------------


def salted(value: object) -> object:
    """Every text of a request with a canary in it, but for what makes it a request of ours."""
    kept = ("MedicationRequest/", "http", "urn:", "Patient", "2", "1")
    if isinstance(value, dict):
        keep = {"resourceType", "code", "status", "intent", "id", "reference", "hook", "unit"}
        return {k: v if k in keep else salted(v) for k, v in value.items()} | {
            "canaryKey": "canary-value"
        }
    if isinstance(value, list):
        return [salted(item) for item in value]
    if isinstance(value, str) and not value.startswith(kept):
        return f"canary {value}"
    return value


@pytest.mark.fault("O16", "F29", "J09")
def test_nothing_of_a_request_is_in_logs_numbers_errors_or_the_store(tmp_path, golden):
    server = with_tenants(tmp_path)
    patient = golden["context"]["patientId"]
    try:
        request = salted(golden)
        request["context"] |= {"patientId": patient, "userId": "Practitioner/canary-user"}
        request["hookInstance"] = "canary\n{}"
        request["fhirServer"] = "https://canary.example/r4"
        request["fhirAuthorization"] = {"access_token": "canary-token", "token_type": "Bearer"}
        answers = []
        for body in (request, request | {"hook": "canary-hook"}, request | {"context": "canary"}):
            bearer = token(aud=f"{server.url}{CALL}", sub="canary", fhirUser="canary")
            answers.append(server.ask("POST", CALL, body, Authorization=f"Bearer {bearer}"))
        answers.append(server.ask("POST", f"{CALL}/canary?canary=1", request))
        answers.append(
            server.ask("POST", CALL, request, Authorization="Bearer canary.canary.canary")
        )
        assert [status for status, _, _ in answers] == [200, 400, 400, 404, 401]
        assert "canary" not in json.dumps([body for _, body, _ in answers[1:]])
        assert "canary" not in server.ask("GET", "/metrics")[1]
        assert patient not in server.ask("GET", "/metrics")[1]
    finally:
        server.stop()
    log = server.log_file.read_text("utf-8")
    assert "canary" not in log
    assert patient not in log
    for file in tmp_path.glob("store.sqlite3*"):
        content = file.read_bytes()
        assert b"canary" not in content
        assert patient.encode() not in content


@pytest.mark.fault("F11", "F28")
def test_a_burst_of_calls_to_a_server_that_hangs_ends_at_one_deadline(tmp_path, golden):
    golden.pop("prefetch")
    golden["fhirAuthorization"] = {"access_token": "t", "token_type": "Bearer"}
    settings = {"B12_CDS_WORKERS": "1", "B12_CDS_DEADLINE_MS": "1500"}
    settings["B12_CDS_FHIR_SERVERS"] = "http://127.0.0.1:*"
    with FhirStub(hang) as stub, running(tmp_path, **settings) as server:
        golden["fhirServer"] = stub.url
        server.ask("GET", "/readyz")

        def call(_: int) -> tuple[int, float]:
            began = time.monotonic()
            return server.ask("POST", CALL, golden)[0], time.monotonic() - began

        with ThreadPoolExecutor(24) as pool:
            answers = list(pool.map(call, range(24)))
    assert {status for status, _ in answers} == {412}
    # Three times as many as there are threads; the second and third lot have no time left.
    assert max(seconds for _, seconds in answers) < 2.5
