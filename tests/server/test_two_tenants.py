"""Two tenants on one server: can the noise of one be heard by the other?

The noise is made by a process of its own at a rate of its own, so that what it costs to make is not
taken for what it does to the service. Calls with and without it are made in turn, and the best of a
few rounds counts for each: what else runs on the machine only ever adds.
"""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.calling_back import GRANT
from tests.support.fhir_stub import FhirStub, Line, Reply, Seen
from tests.support.server import CALL, Server
from tests.support.tokens import token, write_tenants
from tests.support.vignette import ROOT

GOLDEN = ROOT / "fixtures/vignettes/v01-b12-120-pg-ml-injection-picked-without-details"
NOISY = "https://noisy.example/r4"
MOST = 4 / 3  # times the 95th percentile without noise
CALLS = 60
ROUNDS = range(3, 10)  # at least so many, and no more than that

# argv: port, path, calls a second, callers. Standard input: the body, then a token a line, then an
# empty line; it ends when that is closed and prints how often each status came.
NOISE = """
import http.client, json, sys, threading, time
from collections import Counter
port, path, rate, callers = int(sys.argv[1]), sys.argv[2], float(sys.argv[3]), int(sys.argv[4])
body, tokens = sys.stdin.readline(), []
while (line := sys.stdin.readline().strip()):
    tokens.append(line)
begun, done, counts, lock = time.monotonic(), threading.Event(), Counter(), threading.Lock()
def some(first):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    for number in range(first, len(tokens), callers):
        if done.wait(max(0.0, begun + number / rate - time.monotonic())):
            return
        headers = {"Content-Type": "application/json", "Authorization": "Bearer " + tokens[number]}
        connection.request("POST", path, body, headers)
        response = connection.getresponse()
        response.read()
        with lock:
            counts[response.status] += 1
threads = [threading.Thread(target=some, args=(n,)) for n in range(callers)]
for thread in threads:
    thread.start()
sys.stdin.read()
done.set()
for thread in threads:
    thread.join()
print(json.dumps(counts))
"""


def two_tenants(folder: Path, noisy: str) -> Server:
    """One tenant that is limited by nothing and, with the lines `noisy`, the one that is loud."""
    free = "rate_limit_per_s = 10000\nburst = 10000"
    loud = f'[[tenant]]\nid = "noisy"\nissuer = "{NOISY}"\njwks_file = "keys.json"\n{noisy}\n'
    return Server(folder, B12_CDS_TENANTS=str(write_tenants(folder, text=free, more=loud)))


@contextmanager
def noise(
    server: Server, body: dict, per_second: int, callers: int, heard: Counter[str]
) -> Iterator[None]:
    tokens = [token(aud=server.url + CALL, iss=NOISY) for _ in range(per_second * 5)]
    command = [sys.executable, "-c", NOISE, str(server.port), CALL, str(per_second), str(callers)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        process.stdin.write("\n".join([json.dumps(body), *tokens, "", ""]))
        process.stdin.flush()
        time.sleep(0.7)  # its burst is over
        try:
            yield
        finally:
            out, _ = process.communicate()
            heard.update(json.loads(out))


def p95_ms(server: Server, body: str) -> float:
    """Of one call after the other, each on a connection of its own: any worker may take it."""
    tokens = [token(aud=server.url + CALL) for _ in range(CALLS)]
    taken = []
    for one in tokens:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {one}"}
        started = time.perf_counter()
        connection.request("POST", CALL, body, headers)
        response = connection.getresponse()
        answer = json.loads(response.read())
        taken.append((time.perf_counter() - started) * 1000)
        connection.close()
        assert response.status == 200
        assert answer["cards"]
    return sorted(taken)[int(len(taken) * 0.95)]


def heard_by_the_other(server: Server, make_noise: Callable[[], object]) -> str:
    """ "" if it is not; else how much."""
    body = (GOLDEN / "request.json").read_text("utf-8")
    p95_ms(server, body)
    alone, beside = [], []
    for number in range(ROUNDS.stop):
        alone.append(p95_ms(server, body))
        with make_noise():
            beside.append(p95_ms(server, body))
        if number + 1 >= ROUNDS.start and min(beside) <= MOST * min(alone):
            return ""
    return f"{min(alone):.1f} ms alone, {min(beside):.1f} ms beside the noise"


def with_a_long_record(body: dict) -> dict:
    """Dear to answer, and as cheap to refuse as any."""
    (result, *_) = body["prefetch"]["observations"]["entry"]
    body["prefetch"]["observations"]["entry"] = [
        {"resource": result["resource"] | {"id": f"result-{number}"}} for number in range(300)
    ]
    return body


@pytest.mark.fault("O18")
def test_a_tenant_far_beyond_its_rate_does_not_slow_the_other(tmp_path):
    body = with_a_long_record(json.loads((GOLDEN / "request.json").read_text("utf-8")))
    heard: Counter[str] = Counter()
    server = two_tenants(tmp_path, "rate_limit_per_s = 1\nburst = 1")
    try:
        slower = heard_by_the_other(server, lambda: noise(server, body, 25, 8, heard))
    finally:
        server.stop()
    assert slower == ""
    assert set(heard) == {"200", "429"}
    assert heard["429"] > 5 * heard["200"]


def slow(seen: Seen, line: Line) -> Reply:
    """An EHR that answers, but not before a prescriber has lost patience."""
    line.sleep(1.7)
    if "?" in seen.target:
        return Reply(200, {"resourceType": "Bundle", "type": "searchset"})
    return Reply(404, {"resourceType": "OperationOutcome"})


@pytest.mark.fault("O18", "F22")
def test_a_tenant_whose_ehr_is_slow_does_not_slow_the_other(tmp_path):
    body = json.loads((GOLDEN / "request.json").read_text("utf-8"))
    del body["prefetch"]
    body["fhirAuthorization"] = GRANT
    heard: Counter[str] = Counter()
    with FhirStub(slow) as stub:
        body["fhirServer"] = stub.url
        server = two_tenants(tmp_path, f'rate_limit_per_s = 1000\nfhir_servers = ["{stub.url}"]')
        try:
            slower = heard_by_the_other(server, lambda: noise(server, body, 20, 60, heard))
        finally:
            server.stop()
        assert stub.seen
    assert slower == ""
    assert set(heard) == {"412"}
