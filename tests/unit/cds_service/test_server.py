"""The real server in a process of its own: its one line, its signals, what it says to bad HTTP."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Running:
    """A started server. `log` is filled as it writes."""

    def __init__(
        self, port: int, command: Sequence[str] = ("-m", "cds_service.server"), **settings: str
    ) -> None:
        self.port = port
        env = {k: v for k, v in os.environ.items() if not k.startswith("B12_CDS_")}
        # Not the terminal's process group: a signal is for this server alone.
        self.process = subprocess.Popen(
            [sys.executable, *command],
            cwd=ROOT,
            env=env | {"PORT": str(port), "B12_CDS_WORKERS": "2"} | settings,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.first_line = self.process.stdout.readline()

    def stop(self, sig: signal.Signals = signal.SIGTERM) -> tuple[int, str, str]:
        """Exit code, the rest of standard output, all of standard error."""
        self.process.send_signal(sig)
        out, err = self.process.communicate(timeout=20)
        return self.process.returncode, out, err

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)

    def get(self, path: str) -> int:
        connection = self.connect()
        connection.request("GET", path)
        status = connection.getresponse().status
        connection.close()
        return status

    def raw(self, data: bytes) -> bytes:
        """Everything the server answers to `data` before it closes."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as connection:
            connection.sendall(data)
            answer = b""
            while part := connection.recv(65536):
                answer += part
            return answer

    def workers(self) -> set[int]:
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return {int(pid) for pid in children.read_text().split()}


needs_proc = pytest.mark.skipif(
    not Path("/proc/self/task").exists(), reason="needs /proc: run on Linux"
)


@pytest.fixture
def server() -> Iterator[Running]:
    running = Running(free_port())
    yield running
    if running.process.poll() is None:
        running.process.kill()
    running.process.communicate()


def call(
    connection: http.client.HTTPConnection, envelope: dict, *, chunked: bool = False
) -> tuple[int, dict]:
    headers = {"Content-Type": "application/json"}
    body = json.dumps(envelope).encode()
    sent = iter([body]) if chunked else body
    connection.request("POST", "/cds-services/b12-order-select", body=sent, headers=headers)
    response = connection.getresponse()
    return response.status, json.loads(response.read())


@pytest.mark.fault("O01")
def test_it_says_where_it_is_serves_and_stops(server, envelope):
    envelope["context"]["selections"] = []
    assert server.first_line == f"b12-cds is ready at http://127.0.0.1:{server.port}\n"
    connection = server.connect()
    for _ in range(2):  # on one connection: it is kept alive
        assert call(connection, envelope) == (200, {"cards": []})
    connection.close()
    code, out, err = server.stop()
    assert (code, out) == (0, "")
    calls = [json.loads(line) for line in err.splitlines()]
    assert [line["event"] for line in calls] == ["call", "call"]


@pytest.mark.fault("O01")
@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT])
def test_a_call_in_flight_is_answered_before_it_stops(server, envelope, sig):
    envelope["context"]["selections"] = []
    body = json.dumps(envelope).encode()
    connection = server.connect()
    connection.putrequest("POST", "/cds-services/b12-order-select")
    connection.putheader("Content-Type", "application/json")
    connection.putheader("Content-Length", str(len(body)))
    connection.endheaders(body[:10])
    time.sleep(0.5)
    # As a terminal does it: the signal goes to the whole process group.
    os.killpg(server.process.pid, sig) if sig is signal.SIGINT else server.process.send_signal(sig)
    time.sleep(0.5)
    connection.send(body[10:])
    assert connection.getresponse().status == 200
    connection.close()
    out, err = server.process.communicate(timeout=20)
    assert server.process.returncode == 0
    assert "Traceback" not in out + err


@pytest.mark.fault("O01")
def test_it_stops_at_once_even_while_its_workers_start():
    for _ in range(3):
        starting = Running(free_port())
        began = time.monotonic()
        assert starting.stop()[0] == 0
        assert time.monotonic() - began < 5  # and not the whole graceful timeout


@pytest.mark.fault("O01")
def test_a_client_that_says_nothing_does_not_hold_up_the_stop(server):
    with socket.create_connection(("127.0.0.1", server.port)):
        assert server.get("/healthz") == 200
        time.sleep(0.2)
        started = time.monotonic()
        assert server.stop()[0] == 0
        assert time.monotonic() - started < 12


@needs_proc
@pytest.mark.fault("O08")
def test_hangup_renews_the_workers_and_loses_no_call(server):
    assert server.get("/healthz") == 200
    before, statuses, stop = server.workers(), [], threading.Event()

    def keep_asking() -> None:
        while not stop.is_set():
            statuses.append(server.get("/healthz"))

    asking = threading.Thread(target=keep_asking)
    asking.start()
    server.process.send_signal(signal.SIGHUP)
    deadline = time.monotonic() + 15
    while server.workers() & before and time.monotonic() < deadline:
        time.sleep(0.1)
    stop.set()
    asking.join()
    assert not server.workers() & before
    assert set(statuses) == {200}


@needs_proc
@pytest.mark.fault("O02")
def test_a_killed_worker_is_replaced(server):
    assert server.get("/healthz") == 200
    victim = server.workers().pop()
    os.kill(victim, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while (victim in server.workers() or len(server.workers()) < 2) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert len(server.workers()) == 2
    assert server.get("/readyz") == 200


BROKEN = {
    b"GET /canary\x00 HTTP/1.1\r\n\r\n": 400,
    b"nonsense canary\r\n\r\n": 400,
    b"GET / HTTP/9.9\r\nHost: canary\r\n\r\n": 400,
    b"GET / HTTP/1.1\r\ncanary header: x\r\n\r\n": 400,
    b"GET / HTTP/1.1\r\nAuthorization: Bearer " + b"canary" * 10_000 + b"\r\n\r\n": 431,
    b"GET / HTTP/1.1\r\n" + b"canary: x\r\n" * 5000 + b"\r\n": 431,
    b"GET /" + b"canary" * 2000 + b" HTTP/1.1\r\n\r\n": 414,
    b"POST / HTTP/1.1\r\nContent-Length: -5\r\n\r\n": 400,
    b"POST / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\ncanary": 400,
    b"POST / HTTP/1.1\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n": 400,
    b"POST / HTTP/1.1\r\nTransfer-Encoding: canary\r\n\r\n": 400,
}


@pytest.mark.fault("H16", "H19", "H20")
def test_broken_http_is_refused_and_not_quoted(server):
    for request_bytes, status in BROKEN.items():
        answer = server.raw(request_bytes)
        assert answer.startswith(f"HTTP/1.1 {status} ".encode()), request_bytes[:60]
        _, _, body = answer.partition(b"\r\n\r\n")
        assert json.loads(body)["resourceType"] == "OperationOutcome"
        assert b"canary" not in answer
    _, _, err = server.stop()
    assert {json.loads(line)["event"] for line in err.splitlines()} == {"refused"}
    assert "canary" not in err


@pytest.mark.fault("H19", "H25")
def test_a_long_token_and_old_http_are_fine(server):
    token = b"Authorization: Bearer " + b"x" * 9000
    answer = server.raw(b"GET /cds-services HTTP/1.0\r\n" + token + b"\r\n\r\n")
    assert answer.startswith(b"HTTP/1.0 200 OK")
    assert b"gunicorn/" not in answer


@pytest.mark.fault("H15", "H16")
def test_a_body_over_the_limit_is_refused_in_either_framing():
    server = Running(free_port(), B12_CDS_MAX_BODY_BYTES="2048")
    try:
        head = (
            b"POST /cds-services/b12-order-select HTTP/1.1\r\nConnection: close\r\n"
            b"Content-Type: application/json\r\n"
        )
        announced = server.raw(head + b"Content-Length: 100000000\r\n\r\n")
        chunk = b"%x\r\n%s\r\n" % (4096, b" " * 4096)
        chunked = server.raw(head + b"Transfer-Encoding: chunked\r\n\r\n" + chunk * 40)
        assert announced.startswith(b"HTTP/1.1 413 ")
        assert chunked.startswith(b"HTTP/1.1 413 ")
    finally:
        server.stop()


POST = (
    b"POST /cds-services/b12-order-select HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
)
IN_CHUNKS = POST + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.mark.fault("H16")
@pytest.mark.parametrize(
    "body",
    [
        b"canary\r\n{}\r\n0\r\n\r\n",
        b"-2\r\n{}\r\n0\r\n\r\n",
        b"2\r\n{}canary\r\n0\r\n\r\n",
        b"2;\x00=canary\r\n{}\r\n0\r\n\r\n",
        b"2\r\n{}\r\n0\r\ncanary header: x\r\n\r\n",
        b"2\r\n{}\r\n0\r\ncanary\r\n\r\n",
        b"f" * 5000,
    ],
)
def test_a_body_in_broken_chunks_is_refused_at_once(server, body):
    began = time.monotonic()
    answer = server.raw(IN_CHUNKS + body + b"GET /healthz HTTP/1.1\r\n\r\n")
    assert time.monotonic() - began < 4
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"HTTP/1.1") == 1
    _, _, content = answer.partition(b"\r\n\r\n")
    assert json.loads(content)["resourceType"] == "OperationOutcome"
    _, _, err = server.stop()
    assert b"canary" not in answer
    assert "canary" not in err


@pytest.mark.fault("H16")
@pytest.mark.parametrize("framing", ["length", "chunks"])
def test_a_body_that_ends_too_soon_is_refused(server, framing):
    head = IN_CHUNKS + b"9\r\n" if framing == "chunks" else POST + b"Content-Length: 9\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(head + b"{}")
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(65536).startswith(b"HTTP/1.1 400 ")


@pytest.mark.fault("H15")
def test_a_client_that_sends_all_of_it_first_reads_why_it_was_refused():
    server = Running(free_port(), B12_CDS_MAX_BODY_BYTES="2048")
    try:
        for sent in (b" " * 50_000_000, (b" " * 65536 for _ in range(400))):
            connection = server.connect()
            headers = {"Content-Type": "application/json"}
            connection.request("POST", "/cds-services/b12-order-select", body=sent, headers=headers)
            response = connection.getresponse()
            assert response.status == 413
            assert response.headers["Connection"] == "close"
            assert json.loads(response.read())["resourceType"] == "OperationOutcome"
            connection.close()
    finally:
        server.stop()


@pytest.mark.fault("H25")
def test_a_client_that_waits_for_leave_to_go_on_gets_it_once(server, envelope):
    body = json.dumps(envelope | {"context": envelope["context"] | {"selections": []}}).encode()
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(POST + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(body))
        assert connection.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(body)
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")


@pytest.mark.fault("H23")
def test_requests_sent_in_one_go_are_answered_in_order(server, envelope):
    body = json.dumps(envelope | {"context": envelope["context"] | {"selections": []}}).encode()
    call = POST + b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
    get = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    chunked = IN_CHUNKS + b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    last = b"GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    answers = server.raw(get + call + chunked + get + call + last).split(b"HTTP/1.1 200 OK\r\n")
    bodies = [answer.partition(b"\r\n\r\n")[2] for answer in answers[1:]]
    ok, cards = b'{"status":"ok"}', b'{"cards":[]}'
    assert bodies == [ok, cards, cards, ok, cards, ok]


class Slow:
    """Clients that hold on to what they can: the head, the body, the reading, their side."""

    def __init__(self, port: int) -> None:
        self.port = port

    def connect(self) -> socket.socket:
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        connection.settimeout(20)
        connection.connect(("127.0.0.1", self.port))
        return connection

    def idle(self) -> socket.socket:
        return self.connect()

    def head(self) -> socket.socket:
        return self._sending(POST[:40])

    def body(self) -> socket.socket:
        return self._sending(POST + b"Content-Length: 100000\r\n\r\n{")

    def chunks(self) -> socket.socket:
        return self._sending(IN_CHUNKS + b"ff\r\n{")

    def leave(self) -> socket.socket:
        return self._sending(POST + b"Expect: 100-continue\r\nContent-Length: 100000\r\n\r\n")

    def reading(self) -> socket.socket:
        return self._sending(b"GET /about/protocol HTTP/1.1\r\nHost: x\r\n\r\n" * 80)

    def refused(self) -> socket.socket:
        return self._sending(b"nonsense\r\n\r\n")

    def unwanted(self) -> socket.socket:
        return self._sending(POST + b"Content-Length: 999999999\r\n\r\n{")

    def _sending(self, data: bytes) -> socket.socket:
        connection = self.connect()
        connection.sendall(data)
        return connection


KINDS = ("idle", "head", "body", "chunks", "leave", "reading", "refused", "unwanted")


@pytest.mark.fault("H18")
@pytest.mark.parametrize("kinds", [("head", "body", "reading"), KINDS], ids=["18", "160"])
def test_slow_clients_hold_up_nobody(server, envelope, kinds):
    envelope["context"]["selections"] = []
    slow = Slow(server.port)
    with ExitStack() as held:
        for kind in kinds * (6 if len(kinds) == 3 else 20):
            held.enter_context(getattr(slow, kind)())
        time.sleep(0.3)
        times = []
        for _ in range(40):
            began = time.monotonic()
            connection = server.connect()
            assert call(connection, envelope) == (200, {"cards": []})
            connection.close()
            times.append(time.monotonic() - began)
        # Nor does what slow clients announce keep out what others send.
        connection = server.connect()
        long = envelope | {"extension": {"x": "x" * 200_000}}
        assert call(connection, long) == (200, {"cards": []})
        assert call(connection, envelope, chunked=True) == (200, {"cards": []})
        connection.close()
    assert sorted(times)[37] < 0.5
    _, _, err = server.stop()
    assert "Traceback" not in err


@needs_proc
@pytest.mark.fault("O03", "H15")
def test_a_connection_that_is_kept_keeps_no_body(envelope):
    envelope["context"]["selections"] = []
    long = envelope | {"extension": {"x": "x" * 10_000_000}}
    server = Running(free_port(), B12_CDS_WORKERS="1")
    try:
        assert server.get("/healthz") == 200
        (worker,) = server.workers()
        with ExitStack() as held:
            sizes = []
            for _ in range(12):
                connection = held.enter_context(closing(server.connect()))
                assert call(connection, long) == (200, {"cards": []})
                sizes.append(resident_mb(worker))
            assert sizes[-1] - sizes[1] < 40, sizes
            # What nobody read was read all the same, so the connection can be used again.
            connection = held.enter_context(closing(server.connect()))
            for _ in range(2):
                connection.request("POST", "/nowhere", body=b" " * 300_000)
                response = connection.getresponse()
                assert response.status == 404
                response.read()
    finally:
        server.stop()


@pytest.mark.fault("H15")
def test_more_long_bodies_than_a_worker_keeps_are_told_to_come_back():
    server = Running(free_port(), B12_CDS_WORKERS="1", B12_CDS_MAX_BODY_BYTES="8000000")
    try:
        with ExitStack() as held:
            for _ in range(8):
                slow = held.enter_context(socket.create_connection(("127.0.0.1", server.port)))
                slow.sendall(POST + b"Content-Length: 8000000\r\n\r\n" + b" " * 7_999_999)
            time.sleep(0.5)
            body = b" " * 7_500_000
            answer = server.raw(POST + b"Content-Length: %d\r\n\r\n" % len(body) + body)
            assert answer.startswith(b"HTTP/1.1 503 ")
            assert b"Retry-After: 1" in answer
        assert b'cause="overload"' in server.raw(b"GET /metrics HTTP/1.0\r\n\r\n")
    finally:
        server.stop()


def resident_mb(process: int) -> int:
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) // 1024


IMPATIENT = (
    "import sys; from cds_service import connections as c; from cds_service.server import main; "
    "c.HEAD_SECONDS = 1.0; c.REQUEST_SECONDS = 2.0; c.ANSWER_SECONDS = 1.0; c.END_SECONDS = 1.0; "
    "sys.exit(main())"
)


def sockets_of(process: int) -> int:
    links = [str(file.readlink()) for file in Path(f"/proc/{process}/fd").iterdir()]
    return sum(link.startswith("socket:") for link in links)


@needs_proc
@pytest.mark.fault("H18")
def test_a_slow_client_is_told_so_and_let_go():
    server = Running(free_port(), ("-c", IMPATIENT), B12_CDS_WORKERS="1")
    slow = Slow(server.port)
    try:
        assert server.get("/healthz") == 200
        (worker,) = server.workers()
        time.sleep(0.5)
        before, idle = sockets_of(worker), slow.idle()
        for kind, status in [("head", 408), ("body", 408), ("chunks", 408), ("refused", 400)]:
            with getattr(slow, kind)() as connection:
                answer = connection.recv(65536)
                assert answer.startswith(b"HTTP/1.1 %d " % status), kind
                assert b"OperationOutcome" in answer
                assert connection.recv(65536) == b""
        assert idle.recv(1) == b""  # nothing was asked: nothing is said
        idle.close()
        with slow.reading(), slow.unwanted():
            deadline = time.monotonic() + 8
            # Both are let go although neither of them closes.
            time.sleep(0.5)
            while sockets_of(worker) > before and time.monotonic() < deadline:
                time.sleep(0.1)
            assert sockets_of(worker) == before
        drip = slow.connect()
        began = time.monotonic()
        with drip, suppress(OSError):  # whichever way it is cut off
            while time.monotonic() - began < 10:
                drip.sendall(b"G")
                time.sleep(0.1)
        assert time.monotonic() - began < 5
    finally:
        server.stop()


@pytest.mark.fault("O07")
@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"PORT": "taken"}, "PORT"),
        ({"B12_CDS_METRICS_PORT": "taken"}, "B12_CDS_METRICS_PORT"),
        ({"B12_CDS_METRICS_PORT": "own"}, "B12_CDS_METRICS_PORT"),
        ({"HOST": "256.1.1.1"}, "HOST"),
        ({"HOST": "192.0.2.1"}, "HOST"),
        ({"HOST": "no host"}, "HOST"),
        ({"HOST": "::2"}, "HOST"),
        ({"HOST": "x" * 300}, "HOST"),
    ],
)
def test_where_it_cannot_listen_it_says_so_in_one_sentence_at_once(settings, key):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        own = free_port()
        ports = {"taken": str(taken.getsockname()[1]), "own": str(own)}
        given = {name: ports.get(value, value) for name, value in settings.items()}
        refused = Running(own, **given)
        began = time.monotonic()
        out, err = refused.process.communicate(timeout=30)
    assert time.monotonic() - began < 3
    assert refused.process.returncode == 2
    assert refused.first_line + out == ""
    (line,) = err.splitlines()
    assert line.startswith(f"b12-cds: {key}: ")
    assert "Traceback" not in err


@pytest.mark.fault("O07")
def test_settings_that_cannot_be_used_end_the_start_with_one_sentence_each():
    refused = Running(free_port(), B12_CDS_PROTOCOL="secret", B12_CDS_TYPO="secret")
    _, err = refused.process.communicate(timeout=30)
    assert refused.process.returncode == 2
    assert sorted(line.split(":")[1].strip() for line in err.splitlines()) == [
        "B12_CDS_PROTOCOL",
        "B12_CDS_TYPO",
    ]
    assert "secret" not in err
