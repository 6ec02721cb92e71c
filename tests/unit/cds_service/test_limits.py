"""Rates: a bucket for each tenant, shared by all processes; and calls that waited too long."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from cds_service.errors import TooManyCalls, Unauthenticated
from cds_service.limits import WAITING, RateLimiter
from cds_service.settings import Settings
from cds_service.tenancy import make_tenancy
from cds_service.tenants import Tenant, Tenants, read_tenants
from regimen.protocol import load_protocol
from tests.support.tokens import CALL_URL, es384, token, write_tenants

ROOT = Path(__file__).parents[3]
CALL = "/cds-services/b12-order-select"


class Time:
    now = 50.0

    def __call__(self) -> float:
        return self.now


#: Three processes with four threads each: 240 calls for a bucket of 100.
PROCESSES = """
import os
from concurrent.futures import ThreadPoolExecutor
from cds_service.limits import RateLimiter
from cds_service.tenants import Tenant
one = Tenant(id="one", auth="open", rate_limit_per_s=1, burst=100)
limiter = RateLimiter([one], clock=lambda: 50.0)
for _ in range(3):
    if os.fork() == 0:
        with ThreadPoolExecutor(4) as pool:
            passed = sum(pool.map(lambda _: limiter.wait(one) == 0, range(80)))
        os.write(1, f"{passed}\\n".encode())
        os._exit(0)
for _ in range(3):
    os.wait()
"""


def tenant(rate: int | None = 10, burst: int = 5, name: str = "one") -> Tenant:
    return Tenant(id=name, auth="open", rate_limit_per_s=rate, burst=burst)


def test_a_burst_passes_and_then_the_rate():
    one, clock = tenant(rate=10, burst=5), Time()
    limiter = RateLimiter([one], clock=clock)
    assert [limiter.wait(one) for _ in range(6)] == [0] * 5 + [1]
    clock.now += 0.1
    assert [limiter.wait(one) for _ in range(2)] == [0, 1]
    clock.now += 100
    assert [limiter.wait(one) for _ in range(6)] == [0] * 5 + [1]


def test_it_says_after_how_many_seconds_to_try_again():
    slow, clock = tenant(rate=1, burst=1), Time()
    limiter = RateLimiter([slow], clock=clock)
    assert [limiter.wait(slow), limiter.wait(slow)] == [0, 1]
    clock.now += 1
    assert limiter.wait(slow) == 0


@pytest.mark.fault("O18")
def test_one_tenant_s_crowd_is_not_the_other_s():
    one, two = tenant(burst=1), tenant(burst=1, name="two")
    limiter = RateLimiter([one, two], clock=Time())
    assert [limiter.wait(one), limiter.wait(one), limiter.wait(two)] == [0, 1, 0]


def test_the_development_tenant_has_no_limit():
    free = tenant(rate=None)
    limiter = RateLimiter([free], clock=Time())
    assert {limiter.wait(free) for _ in range(1000)} == {0}


@pytest.mark.fault("O18")
def test_processes_and_threads_draw_from_one_bucket():
    done = subprocess.run(
        [sys.executable, "-c", PROCESSES], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert sum(map(int, done.stdout.split())) == 100


# --- as an answer -----------------------------------------------------------------------------


@pytest.mark.fault("K13", "O18")
def test_beyond_the_rate_it_is_429_and_says_when(make_app, envelope, tmp_path, log):
    path = write_tenants(tmp_path, text="rate_limit_per_s = 1\nburst = 2")
    client = make_app(settings=Settings(tenants=str(path))).test_client()

    def call():
        headers = {"Authorization": f"Bearer {token(es384())}"}
        return client.post(CALL, json=envelope, headers=headers)

    answers = [call() for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert answers[2].headers["Retry-After"] == "1"
    assert answers[2].json["issue"][0]["code"] == "throttled"
    assert '"rate-limited"' in log.getvalue()
    # Feedback draws from the same bucket.
    headers = {"Authorization": f"Bearer {token(es384(), aud=f'{CALL_URL}/feedback')}"}
    flood = client.post(f"{CALL}/feedback", json={"feedback": []}, headers=headers)
    assert flood.status_code == 429


@pytest.mark.fault("O12", "F28")
def test_a_call_that_waited_too_long_is_turned_away_before_it_is_read(make_app, envelope):
    def unreached(request, services):
        raise AssertionError

    client = make_app(unreached, settings=Settings(max_wait_ms=500)).test_client()
    try:
        WAITING.began(0.6)
        response = client.post(CALL, json=envelope)
        assert client.get("/healthz").status_code == 200
    finally:
        WAITING.began(0.0)
    assert response.status_code == 503
    assert response.headers["Retry-After"] == "1"
    assert response.json["resourceType"] == "OperationOutcome"


def test_open_tenants_of_a_file_are_limited_too(make_app, envelope):
    one = tenant(rate=1, burst=1)
    client = make_app(tenants=Tenants((one,))).test_client()
    assert [client.post(CALL, json=envelope).status_code for _ in range(2)] == [200, 429]


# --- before the store ---------------------------------------------------------------------------


class Memory:
    """A memory of tokens that says what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def remember_jti(self, tenant: str, jti: str, expires: float) -> bool:
        new = jti not in self.asked
        self.asked.append(jti)
        return new


@pytest.fixture
def limited(tmp_path):
    """One call a second for a tenant with tokens: its tenancy, and the memory of tokens."""
    settings = Settings(
        tenants=str(write_tenants(tmp_path, text="rate_limit_per_s = 1\nburst = 1"))
    )
    memory = Memory()
    tenants = read_tenants(settings, ["b12-order-select"])
    clock = Time()
    tenancy = make_tenancy(settings, tenants, None, load=load_protocol, memory=memory)
    limiter = RateLimiter(tenants.all, clock=clock)
    return replace(tenancy, limiter=limiter), memory, clock


def admit(tenancy, bearer: str) -> str:
    try:
        tenancy.admit(f"Bearer {bearer}", CALL_URL, "b12-order-select")
    except (TooManyCalls, Unauthenticated) as refused:
        return type(refused).__name__
    return "admitted"


@pytest.mark.fault("O18")
def test_a_call_beyond_the_rate_is_refused_before_the_store_and_its_token_stays_good(limited):
    tenancy, memory, clock = limited
    first, second = token(es384(), jti="first"), token(es384(), jti="second")
    assert admit(tenancy, first) == "admitted"
    assert admit(tenancy, second) == "TooManyCalls"
    assert memory.asked == ["first"]
    clock.now += 1
    assert admit(tenancy, second) == "admitted"


@pytest.mark.fault("A18")
def test_a_token_used_again_uses_up_no_call_of_its_tenant(limited):
    tenancy, _, clock = limited
    once = token(es384(), jti="once")
    assert admit(tenancy, once) == "admitted"
    clock.now += 1
    assert [admit(tenancy, once) for _ in range(5)] == ["Unauthenticated"] * 5
    assert admit(tenancy, token(es384(), jti="another")) == "admitted"
