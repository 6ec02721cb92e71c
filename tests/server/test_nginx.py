"""The service behind nginx as it is shipped: slow, large and broken clients."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import statistics
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.support.server import CALL, Server, free_port, running
from tests.support.vignette import ROOT

NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")

pytestmark = pytest.mark.skipif(NGINX is None, reason="needs nginx: apt-get install nginx-light")

CONFIGURATION = ROOT / "deploy" / "nginx.conf"
GOLDEN = ROOT / "fixtures/vignettes/v01-b12-120-pg-ml-injection-picked-without-details"


class Front:
    """nginx on `port`, with the shipped file but for addresses, paths and TLS."""

    def __init__(self, server: Server, folder: Path) -> None:
        self.server, self.port = server, free_port()
        for name in ("body", "proxy", "fastcgi", "uwsgi", "scgi"):
            (folder / name).mkdir()
        text = CONFIGURATION.read_text("utf-8")
        changes = {
            r"pid \S+;": f"pid {folder}/pid; daemon off; user root;"
            if _is_root()
            else f"pid {folder}/pid; daemon off;",
            r"worker_rlimit_nofile .*;": "",
            r"worker_processes auto;": "worker_processes 1;",
            r"worker_connections 8192;": "worker_connections 512;",
            r"client_body_temp_path \S+;": "".join(
                f"{name}_temp_path {folder}/{path};"
                for name, path in (
                    ("client_body", "body"),
                    ("proxy", "proxy"),
                    ("fastcgi", "fastcgi"),
                    ("uwsgi", "uwsgi"),
                    ("scgi", "scgi"),
                )
            ),
            r"listen 443 ssl;": f"listen 127.0.0.1:{self.port};",
            r"server 127\.0\.0\.1:8080;": f"server 127.0.0.1:{server.port};",
            r"server_name .*;": "server_name _;",
            r"ssl_\w+ .*;": "",
            r"client_(header|body)_timeout 10s;": r"client_\1_timeout 2s;",
            r"send_timeout 10s;": "send_timeout 2s;",
        }
        for pattern, replacement in changes.items():
            text, count = re.subn(pattern, replacement, text)
            assert count, pattern
        self.file = folder / "nginx.conf"
        self.file.write_text(text)
        self.log = folder / "nginx.log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [str(NGINX), "-c", str(self.file), "-e", "stderr"], stdout=log, stderr=log
            )
        until = time.monotonic() + 10
        while time.monotonic() < until:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except ConnectionRefusedError:
                assert self.process.poll() is None, self.log.read_text()
                time.sleep(0.05)
            else:
                return
        raise AssertionError(self.log.read_text())

    def ask(self, body: dict[str, Any] | None = None, **headers: str) -> tuple[int, Any, Any]:
        return self.server.ask("POST", CALL, body, port=self.port, **headers)

    def raw(self, data: bytes, seconds: float = 10) -> bytes:
        """What comes back until the connection is closed."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=seconds) as connection:
            with suppress(OSError):  # refused before all of it was read
                connection.sendall(data)
            answer = b""
            with suppress(ConnectionResetError):
                while part := connection.recv(65536):
                    answer += part
            return answer


def _is_root() -> bool:
    return os.geteuid() == 0


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    folder = tmp_path_factory.mktemp("front")
    with running(folder) as server:
        one = Front(server, folder)
        yield one
        one.process.terminate()
        one.process.wait(timeout=10)


@pytest.fixture(scope="module")
def golden() -> dict[str, Any]:
    return json.loads((GOLDEN / "request.json").read_text("utf-8"))


SECOND = b"GET /healthz HTTP/1.1\r\n\r\n"
HEAD = b"POST " + CALL.encode() + b" HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


def _certificate(key_file: Path) -> bytes:
    """A certificate of its own making, its key in `key_file`."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "cds.hospital.example")])
    now = datetime.now(UTC)
    key_file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name)
    builder = builder.public_key(key.public_key()).serial_number(1)
    builder = builder.not_valid_before(now).not_valid_after(now + timedelta(days=1))
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


@pytest.mark.fault("O20")
def test_the_shipped_file_is_accepted_with_tls(tmp_path):
    certificate, key = tmp_path / "c.pem", tmp_path / "k.pem"
    certificate.write_bytes(_certificate(key))
    text = CONFIGURATION.read_text("utf-8")
    text = text.replace("<certificate.pem>", str(certificate)).replace("<key.pem>", str(key))
    text = text.replace("<cds.hospital.example>", "cds.hospital.example")
    text = text.replace("/run/nginx.pid", f"{tmp_path}/pid")
    file = tmp_path / "nginx.conf"
    file.write_text(text)
    done = subprocess.run(
        [str(NGINX), "-t", "-c", str(file)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.fault("O20", "H25")
def test_calls_pass_as_they_are(front, golden):
    direct = front.server.ask("POST", CALL, golden)
    status, body, headers = front.ask(golden)
    assert (status, direct[0]) == (200, 200)
    assert [c["summary"] for c in body["cards"]] == [c["summary"] for c in direct[1]["cards"]]
    assert headers["Cache-Control"] == "no-store"
    assert "nginx/" not in headers.get("Server", "")
    expect = HEAD + b"Expect: 100-continue\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}"
    assert b" 400 " in front.raw(expect)


@pytest.mark.fault("H15")
@pytest.mark.parametrize("length", ["17000000", "99999999999"])
def test_an_announced_giant_is_refused_unread(front, length):
    answer = front.raw(HEAD + b"Content-Length: " + length.encode() + b"\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"OperationOutcome" in answer


@pytest.mark.fault("H15")
def test_a_chunked_giant_is_refused(front):
    chunk = b"%x\r\n%s\r\n" % (1 << 20, b" " * (1 << 20))
    head = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
    answer = front.raw(head + chunk * 18 + b"0\r\n\r\n")
    assert b" 413 " in answer.split(b"\r\n")[0]


@pytest.mark.fault("H16")
@pytest.mark.parametrize(
    "framing",
    [
        b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
        b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + SECOND,
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + SECOND,
        b"Content-Length: -1\r\n\r\n",
        b"Content-Length: 1e1\r\n\r\n0123456789",
    ],
)
def test_contradictory_framing_is_never_two_requests(front, framing):
    answer = front.raw(HEAD + b"Connection: close\r\n" + framing, seconds=5)
    assert answer.count(b"HTTP/1.1 ") <= 1
    assert b'"status"' not in answer
    assert not answer or answer.split(b" ")[1][:1] in (b"4", b"5")
    assert front.server.ask("GET", "/healthz", port=front.port)[0] == 200


@pytest.mark.fault("H19", "H20")
def test_headers_have_a_size(front, golden):
    assert front.ask(golden, Authorization="Bearer " + "x" * 9000)[0] == 200
    for odd in ({"X-A": "x" * 64_000}, {f"X-{n}": "x" * 500 for n in range(1000)}):
        lines = "".join(f"{name}: {value}\r\n" for name, value in odd.items()).encode()
        answer = front.raw(b"GET /cds-services HTTP/1.1\r\nHost: x\r\n" + lines + b"\r\n")
        assert not answer or answer.split(b" ")[1] in (b"400", b"431", b"494")
    long = front.raw(b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n")
    assert not long or long.split(b" ")[1] in (b"400", b"414")


@pytest.mark.fault("H20", "H22")
def test_a_forged_host_or_forwarding_changes_nothing(front, golden):
    headers = {"Host": "evil.example", "X-Forwarded-Host": "evil.example", "X-Forwarded-For": "1"}
    status, body, answered = front.ask(golden, **headers)
    assert status == 200
    assert "evil" not in json.dumps(body) + json.dumps(answered)


@pytest.mark.fault("H27")
def test_the_numbers_are_not_to_be_had(front):
    assert front.server.ask("GET", "/metrics", port=front.port)[0] == 404


def median_ms(front: Front, golden: dict[str, Any], times: int = 20) -> float:
    taken = []
    for _ in range(times):
        started = time.perf_counter()
        assert front.ask(golden)[0] == 200
        taken.append((time.perf_counter() - started) * 1000)
    return statistics.median(taken)


@pytest.mark.fault("H18")
@pytest.mark.parametrize("kind", ["headers", "body", "reading"])
def test_a_hundred_slow_clients_slow_nobody(front, golden, kind):
    """More than the service has threads; without nginx it would answer nobody."""
    before = median_ms(front, golden)
    opening = {
        "headers": b"POST / HTTP/1.1\r\nHost: x\r\nX-",
        "body": HEAD + b"Content-Length: 100000\r\n\r\n{",
        "reading": HEAD + b"Content-Length: 2\r\n\r\n{}",
    }[kind]
    slow = [socket.create_connection(("127.0.0.1", front.port), timeout=10) for _ in range(100)]
    try:
        for connection in slow:
            connection.sendall(opening)
        assert median_ms(front, golden) < 5 * before + 50
        # And after a while they are gone.
        if kind != "reading":
            time.sleep(3)
            slow[0].settimeout(5)
            try:
                slow[0].recv(65536)  # an answer, or nothing
                assert slow[0].recv(65536) == b""
            except ConnectionResetError:
                pass
    finally:
        for connection in slow:
            connection.close()


@pytest.mark.fault("O20")
def test_many_clients_at_once_are_answered(front, golden):
    with ThreadPoolExecutor(60) as pool:
        statuses = set(pool.map(lambda _: front.ask(golden)[0], range(120)))
    assert statuses <= {200, 503}
    assert 200 in statuses


@pytest.mark.fault("O20")
def test_a_service_that_is_down_is_said_as_everything_else(tmp_path):
    class Nobody:
        port = free_port()

    front = Front(Nobody(), tmp_path)
    try:
        answer = front.raw(b"GET /cds-services HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"OperationOutcome" in answer
        assert b"Retry-After" in answer
    finally:
        front.process.terminate()
        front.process.wait(timeout=10)
