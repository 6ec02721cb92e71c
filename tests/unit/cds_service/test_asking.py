"""What is handed over when the time is up, whatever the threads are doing at that moment?"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from types import FrameType, SimpleNamespace
from typing import Any, cast
from unittest.mock import patch

import msgspec
import pytest

from cds_service.asking import Ask, Line
from cds_service.breaker import Breaker
from cds_service.fhir_client import Outcome, Reply
from cds_service.fhir_network import Network, Server, Turn

PAGE = msgspec.json.encode({"resourceType": "Bundle", "type": "searchset"})


class _Thread:
    """A network and a server of which one answer comes at the moment that the test chooses."""

    def __init__(self) -> None:
        self._may_end = threading.Event()
        self._worker = threading.Thread()

    def lanes(self) -> _Thread:
        return self

    def submit(self, _lane: object, run: Callable[[], None]) -> bool:
        self._worker = threading.Thread(target=run)
        self._worker.start()
        return True

    def get(self, *_: object) -> Reply:
        assert self._may_end.wait(10)
        return Reply(Outcome.OK, 200, PAGE)

    def end(self) -> None:
        self._may_end.set()
        self._worker.join(10)


@contextmanager
def _at_step(step: int, act: Callable[[], None]) -> Iterator[list[int]]:
    """Calls `act` before that step of what `Line.ask` does once it waits no longer."""
    steps = [0]

    def trace(frame: FrameType, event: str, _: object) -> Any:
        frame.f_trace_opcodes = True
        if event == "opcode":
            if steps[0] == step:
                sys.settrace(None)
                act()
            steps[0] += 1
        return trace

    def wait(self: Line, *args: Any) -> None:
        waits(self, *args)
        frame = sys._getframe(1)
        frame.f_trace, frame.f_trace_opcodes = trace, True
        sys.settrace(trace)

    waits, before = Line._wait, sys.gettrace()
    with patch.object(Line, "_wait", wait):
        try:
            yield steps
        finally:
            sys.settrace(before)


def _line(thread: _Thread) -> Line:
    soon = monotonic() + 0.02
    server = SimpleNamespace(base="http://ehr.example", client=thread, breaker=Breaker())
    return Line(cast(Network, thread), cast(Server, server), "token", Turn(soon, soon), [])


@pytest.mark.fault("F11")
def test_f11_an_answer_that_comes_as_the_time_is_up_is_there_as_a_whole_or_not_at_all() -> None:
    seen = set()
    for step in range(2000):
        thread = _Thread()
        line = _line(thread)
        with _at_step(step, thread.end) as steps:
            (came,) = line.ask([Ask("conditions", "http://ehr.example/Condition?x", "Bundle")])
        thread.end()
        seen.add((came.outcome, len(came.pages)))
        assert came.outcome is line.runs[0].outcome
        if steps[0] < step:
            break  # it has no more steps than that
    assert steps[0] < step
    assert {(Outcome.OK, 1), (Outcome.TIMEOUT, 0)} <= seen
    assert seen <= {(Outcome.OK, 1), (Outcome.TIMEOUT, 0), (Outcome.NOT_ASKED, 0)}
