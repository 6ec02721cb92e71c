"""How many calls may stand before FHIR servers, and are there threads left for all others?"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from cds_service import server as gunicorn_server
from cds_service.fhir_network import (
    CALLS_PER_SERVER,
    STANDING,
    STANDING_PER_SERVER,
    Network,
    Server,
    turn,
)
from cds_service.fhir_url import parse_base


@pytest.fixture
def network() -> Iterator[Network]:
    one = Network()
    yield one
    one.close()


def server(network: Network, name: str) -> Server:
    base = parse_base(f"https://{name}.example/r4")
    assert base is not None
    return network.server(base)


def soon() -> float:
    return time.monotonic() + 2


def standing(at: Server, until: float, held: ExitStack) -> bool:
    return held.enter_context(turn(at, until)) is not None


def test_a_worker_has_more_threads_than_calls_that_stand_before_servers():
    threads = gunicorn_server._OPTIONS["threads"]
    assert CALLS_PER_SERVER < STANDING_PER_SERVER < STANDING < threads


@pytest.mark.fault("O18", "F22")
def test_a_slow_server_has_so_many_calls_wait_for_it_and_the_next_goes_on_without(network):
    slow, other = server(network, "slow"), server(network, "other")
    with ExitStack() as held:
        assert all(standing(slow, soon(), held) for _ in range(CALLS_PER_SERVER))
        waiting = [
            threading.Thread(target=lambda: turn(slow, soon()).__enter__())
            for _ in range(STANDING_PER_SERVER - CALLS_PER_SERVER)
        ]
        for thread in waiting:
            thread.start()
        time.sleep(0.1)
        started = time.monotonic()
        assert not standing(slow, soon(), held)
        assert time.monotonic() - started < 0.2
        # The other tenant's server can still be asked.
        assert standing(other, soon(), held)
        for thread in waiting:
            thread.join()
    with ExitStack() as held:
        assert all(standing(slow, soon(), held) for _ in range(CALLS_PER_SERVER))


@pytest.mark.fault("F28")
def test_all_slow_servers_together_leave_threads_too(network):
    with ExitStack() as held:
        servers = [server(network, f"s{number}") for number in range(STANDING + 1)]
        assert all(standing(one, soon(), held) for one in servers[:STANDING])
        assert not standing(servers[STANDING], soon(), held)
    with ExitStack() as held:
        assert standing(servers[STANDING], soon(), held)
