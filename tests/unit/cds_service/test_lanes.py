"""Who does what at once, and what is refused?"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from unittest.mock import patch

import pytest

from cds_service.lanes import Lanes

SECONDS = 5


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    gate = threading.Event()
    yield gate
    gate.set()


def until(condition: object) -> bool:
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        if condition():  # type: ignore[operator]
            return True
        time.sleep(0.005)
    return False


def test_a_lane_takes_no_more_than_its_share(gate: threading.Event) -> None:
    lanes = Lanes(threads=4, per_lane=3, waiting=100)
    running: list[str] = []

    def stay(name: str) -> None:
        running.append(name)
        gate.wait(SECONDS)

    for _ in range(10):
        assert lanes.submit("slow", lambda: stay("slow"))
    assert lanes.submit("other", lambda: stay("other"))
    assert until(lambda: "other" in running)
    time.sleep(0.02)
    assert sorted(running) == ["other", "slow", "slow", "slow"]
    gate.set()
    assert until(lambda: len(running) == 11)
    lanes.close()


def test_a_full_queue_takes_nothing_more(gate: threading.Event) -> None:
    lanes = Lanes(threads=1, per_lane=1, waiting=2)
    started = threading.Event()

    def first() -> None:
        started.set()
        gate.wait(SECONDS)

    assert lanes.submit("a", first)
    assert started.wait(SECONDS)
    assert [lanes.submit("a", lambda: None) for _ in range(3)] == [True, True, False]
    gate.set()
    lanes.close()


def test_threads_are_started_as_needed_and_end_when_idle() -> None:
    lanes = Lanes(threads=8, per_lane=8, waiting=100, keep=0.05)
    before = set(threading.enumerate())

    def started() -> int:
        return sum(thread.name == "fetch" for thread in set(threading.enumerate()) - before)

    for _ in range(3):
        done = threading.Event()
        lanes.submit("a", done.set)
        assert done.wait(SECONDS)
    assert started() <= 2
    assert until(lambda: started() == 0)
    done = threading.Event()
    assert lanes.submit("a", done.set)
    assert done.wait(SECONDS)
    lanes.close()


def test_without_a_thread_to_be_had_it_says_no_and_goes_on_later() -> None:
    lanes = Lanes(threads=2, per_lane=2, waiting=10)
    ran: list[str] = []
    no_more = RuntimeError("can't start new thread")
    with patch.object(threading.Thread, "start", side_effect=no_more):
        assert not lanes.submit("a", lambda: ran.append("refused"))
        assert not lanes.submit("a", lambda: ran.append("refused"))
    done = threading.Event()
    assert lanes.submit("a", done.set)
    assert done.wait(SECONDS)
    assert not ran, "whoever was told no does not wait for it"
    lanes.close()


def test_nothing_is_lost_while_threads_come_and_go() -> None:
    lanes = Lanes(threads=3, per_lane=2, waiting=10_000, keep=0.0005)
    done: list[int] = []
    for number in range(600):
        assert lanes.submit(number % 3, lambda number=number: done.append(number))
        if number % 7 == 0:
            time.sleep(0.001)
    assert until(lambda: len(done) == 600)
    lanes.close()


def test_closed_lanes_take_nothing_and_leave_no_thread() -> None:
    before = threading.active_count()
    lanes = Lanes(threads=2, per_lane=2, waiting=10)
    lanes.submit("a", lambda: None)
    lanes.close()
    assert not lanes.submit("a", lambda: None)
    assert until(lambda: threading.active_count() == before)
