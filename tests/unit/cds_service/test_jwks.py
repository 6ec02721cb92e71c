"""Key sets: what is a key, when it is fetched again, and what a failing source may do."""

from __future__ import annotations

import http.server
import json
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from cds_service import jwks, key_source
from cds_service.jwks import FetchedKeys, FetchFailed, FixedKeys, parse_key_set
from cds_service.key_source import KeySource
from tests.support.tokens import es256, es384, key_set, rs384


class Source:
    """A key set somewhere. `fails`: it does not answer. `calls`: how often it was asked."""

    def __init__(self, *keys) -> None:
        self.data = key_set(*keys)
        self.fails = False
        self.calls = 0

    def __call__(self, uri: str) -> bytes:
        self.calls += 1
        if self.fails:
            raise FetchFailed("status")
        return self.data


class Time:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Time:
    return Time()


def cached(source, clock, ttl=3600, refetch=30) -> FetchedKeys:
    return FetchedKeys("t", "uri", ttl_s=ttl, refetch_s=refetch, fetch=source, clock=clock)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"<html>",
        b"{}",
        b'{"keys": []}',
        b'{"keys": {}}',
        b'{"keys": [1]}',
        b'{"keys": "x"}',
        b"[" * 100_000,
        b"\xff",
    ],
)
@pytest.mark.fault("A20")
def test_what_is_no_key_set_is_refused(data):
    with pytest.raises(jwks.NotAKeySet):
        parse_key_set(data)


@pytest.mark.parametrize(
    ("key", "fitting"),
    [
        (es384(), {"ES384"}),
        (es256(), {"ES256"}),
        (rs384(), {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}),
    ],
)
@pytest.mark.fault("A05")
def test_a_key_fits_the_algorithms_of_its_type_and_curve(key, fitting):
    (read,) = parse_key_set(key_set(key))
    assert {a for a in (*jwks.ALGORITHMS, "HS256", "none") if read.fits(a)} == fitting


@pytest.mark.fault("A05")
def test_a_key_that_names_its_algorithm_is_for_no_other():
    (read,) = parse_key_set(json.dumps({"keys": [rs384().jwk | {"alg": "PS256"}]}).encode())
    assert read.fits("PS256")
    assert not read.fits("RS384")


@pytest.mark.parametrize(
    "change",
    [{"d": "x"}, {"kty": "oct", "k": "AAAA"}, {"kty": "OKP"}, {"x": "!"}, {"crv": "P-256"}],
)
@pytest.mark.fault("A20")
def test_private_symmetric_and_broken_keys_are_never_used(change):
    (read,) = parse_key_set(json.dumps({"keys": [es384().jwk | change]}).encode())
    assert read.public_key is None
    assert not read.fits("ES384")


@pytest.mark.fault("A20")
def test_one_id_names_one_signing_key_or_none():
    one, two = es384().jwk, es384("two").jwk
    keys = parse_key_set(
        json.dumps({"keys": [one, two, {**two, "kid": "one", "use": "enc"}]}).encode()
    )
    assert FixedKeys(keys).find("one") is not None
    double = parse_key_set(json.dumps({"keys": [one, {**two, "kid": "one"}]}).encode())
    assert FixedKeys(double).find("one") is None
    assert FixedKeys(keys).find("three") is None


def test_a_known_key_is_fetched_once(clock):
    source = Source(es384())
    keys = cached(source, clock)
    for _ in range(50):
        assert keys.find("one") is not None
    assert source.calls == 1


@pytest.mark.fault("A06")
def test_unknown_ids_cause_one_fetch_in_the_refetch_time(clock):
    source = Source(es384())
    keys = cached(source, clock)
    for number in range(200):
        assert keys.find(f"unknown-{number}") is None
    assert source.calls == 1
    clock.now += 30
    for number in range(200):
        assert keys.find(f"unknown-{number}") is None
    assert source.calls == 2


@pytest.mark.fault("A21")
@pytest.mark.requirement("BP-07")
def test_a_new_key_works_within_the_refetch_time_and_a_removed_one_until_the_set_is_old(clock):
    source = Source(es384())
    keys = cached(source, clock, ttl=3600, refetch=30)
    assert keys.find("one")
    source.data = key_set(es384("two"))
    clock.now += 29
    assert keys.find("two") is None
    assert keys.find("one")
    clock.now += 1
    assert keys.find("two")
    assert keys.find("one") is None


@pytest.mark.fault("A21")
def test_an_old_set_is_fetched_again_however_long_the_refetch_time(clock):
    source = Source(es384())
    keys = cached(source, clock, ttl=1, refetch=86_400)
    assert keys.find("one")
    source.data = key_set(es384("two"))
    clock.now += 1
    assert keys.find("one") is None


@pytest.mark.fault("A20")
def test_a_failing_source_leaves_the_known_keys_for_a_day(clock, log):
    source = Source(es384())
    keys = cached(source, clock, ttl=60, refetch=30)
    assert keys.find("one")
    source.fails = True
    clock.now += 60
    assert keys.find("one")
    clock.now += 24 * 3600 - 1
    assert keys.find("one")
    clock.now += 2
    assert keys.find("one") is None
    source.fails = False
    clock.now += 30
    assert keys.find("one")
    assert '"cause":"status"' in log.getvalue()


@pytest.mark.fault("A20", "A06")
def test_a_failing_source_without_known_keys_is_asked_once_in_the_refetch_time(clock):
    source = Source(es384())
    source.fails = True
    keys = cached(source, clock)
    for _ in range(100):
        assert keys.find("one") is None
    assert source.calls == 1


@pytest.mark.parametrize(
    "data", [b"<html>", b'{"keys": []}', b'{"keys": [{"kty": "oct", "k": "AA"}]}']
)
@pytest.mark.fault("A20")
def test_a_bad_set_does_not_replace_a_good_one(clock, data):
    source = Source(es384())
    keys = cached(source, clock, ttl=60)
    assert keys.find("one")
    source.data = data
    clock.now += 61
    assert keys.find("one")
    assert source.calls == 2


@pytest.mark.fault("A22")
@pytest.mark.parametrize("fails", [False, True])
def test_all_that_wait_share_one_fetch(fails):
    class Slow(Source):
        def __call__(self, uri: str) -> bytes:
            time.sleep(0.3)
            return super().__call__(uri)

    source = Slow(es384())
    source.fails = fails
    keys = FetchedKeys("t", "uri", ttl_s=60, refetch_s=30, fetch=source)
    found: list[object] = []
    threads = [threading.Thread(target=lambda: found.append(keys.find("one"))) for _ in range(60)]
    started = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert source.calls == 1
    assert len(found) == 60
    assert all((key is None) == fails for key in found)
    assert time.monotonic() - started < 2


# --- the call itself ------------------------------------------------------------------------------


class _Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.server.asked.append(dict(self.headers))
        self.server.answer(self)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def source() -> Iterator[http.server.ThreadingHTTPServer]:
    """A server on the loopback; `answer(handler)` is what it does, `asked` what it was sent."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Answer)
    server.asked = []
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def url(server) -> str:
    return f"http://127.0.0.1:{server.server_port}/jwks"


def sends(status: int, body: bytes, **headers: str):
    def answer(handler) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def test_a_key_set_is_fetched_without_proxy_or_netrc(source, monkeypatch, tmp_path):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login canary password canary\n")
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    source.answer = sends(200, key_set(es384()))
    assert KeySource()(url(source)) == key_set(es384())
    assert "Authorization" not in source.asked[0]


@pytest.mark.fault("A20")
def test_a_redirect_is_not_followed(source):
    source.answer = sends(302, b"", Location=url(source) + "/elsewhere")
    with pytest.raises(FetchFailed, match="status"):
        KeySource()(url(source))
    assert len(source.asked) == 1


@pytest.mark.fault("A20")
@pytest.mark.parametrize("status", [204, 404, 500])
def test_anything_but_200_is_a_failure(source, status):
    source.answer = sends(status, b"" if status == 204 else key_set(es384()))
    with pytest.raises(FetchFailed, match="status"):
        KeySource()(url(source))


@pytest.mark.fault("A20")
def test_a_huge_answer_is_cut_off(source):
    def endless(handler) -> None:
        handler.send_response(200)
        handler.end_headers()
        try:
            while True:
                handler.wfile.write(b" " * 65536)
        except OSError:
            pass

    source.answer = endless
    with pytest.raises(FetchFailed, match="too-large"):
        KeySource()(url(source))


@pytest.mark.fault("A20")
@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\n", b""])
def test_a_slow_answer_is_not_waited_for(head):
    """Byte by byte, in the body, in the headers, or nothing at all."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        stop = threading.Event()

        def drip() -> None:
            connection, _ = server.accept()
            with connection:
                connection.sendall(head)
                while not stop.wait(0.1):
                    if head:
                        connection.sendall(b"x")

        thread = threading.Thread(target=drip)
        thread.start()
        started = time.monotonic()
        with pytest.raises(FetchFailed, match="too-slow"):
            KeySource()(f"http://127.0.0.1:{server.getsockname()[1]}/")
        assert time.monotonic() - started < 3
        stop.set()
        thread.join()


@pytest.mark.fault("A20")
def test_a_source_that_drips_keeps_no_thread(source):
    ended = threading.Event()

    def drip(handler) -> None:
        handler.send_response(200)
        handler.end_headers()
        try:
            for _ in range(100):
                handler.wfile.write(b" ")
                time.sleep(0.1)
        except OSError:
            ended.set()

    source.answer = drip
    with pytest.raises(FetchFailed, match="too-slow"):
        KeySource()(url(source))
    assert ended.wait(1), "it was not hung up on"
    assert not [thread for thread in threading.enumerate() if thread.name == "jwks"]


@pytest.mark.fault("A20", "A22")
def test_who_knows_the_key_does_not_wait_for_a_source_that_hangs(clock):
    hangs, goes_on = threading.Event(), threading.Event()

    class Hanging(Source):
        def __call__(self, uri: str) -> bytes:
            if self.calls:
                hangs.set()
                assert goes_on.wait(10)
            return super().__call__(uri)

    keys = cached(Hanging(es384()), clock, ttl=60)
    assert keys.find("one")
    clock.now += 60
    one = threading.Thread(target=keys.find, args=("one",))
    one.start()
    assert hangs.wait(10)
    started = time.monotonic()
    assert keys.find("one"), "by the set there is"
    assert time.monotonic() - started < 1
    goes_on.set()
    one.join(10)


@pytest.mark.fault("A20")
def test_without_a_thread_to_be_had_nothing_is_fetched(monkeypatch):
    def start(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    with pytest.raises(FetchFailed, match="no-thread"):
        KeySource()("http://127.0.0.1:9/")


@pytest.mark.fault("A20", "F25")
def test_a_resolver_that_hangs_holds_one_thread_and_nobody(monkeypatch):
    answers, asked = threading.Event(), []

    def getaddrinfo(host, *_: object, **__: object):
        asked.append(host)
        answers.wait(10)
        raise socket.gaierror

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    monkeypatch.setattr(key_source, "SECONDS", 0.1)
    source = KeySource()
    for _ in range(5):
        started = time.monotonic()
        with pytest.raises(FetchFailed, match="too-slow"):
            source("http://ehr.example/jwks")
        assert time.monotonic() - started < 1
    assert asked == ["ehr.example"]
    answers.set()
    source._thread.join(10)
    with pytest.raises(FetchFailed, match="unreachable"):
        source("http://ehr.example/jwks")


@pytest.mark.fault("A20")
def test_nobody_there_is_a_failure():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(FetchFailed, match="unreachable"):
        KeySource()(f"http://127.0.0.1:{port}/")
