"""Is it worth asking this server now, or has it just failed again and again?

A circuit breaker: open after so many calls in a row that got nothing, then one call at a time is
let through to see whether the server is back. Pure but for the clock it is given.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from enum import Enum, auto
from typing import Final

FAILURES: Final = 3
PAUSE: Final = 5.0


class Admission(Enum):
    YES = auto()
    PROBE = auto()  # the one that finds out: it should not be waited for as long as others
    NO = auto()


class Breaker:
    def __init__(
        self,
        *,
        failures: int = FAILURES,
        pause: float = PAUSE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._most, self._pause, self._clock = failures, pause, clock
        self._lock = threading.Lock()
        self._failures = 0
        self._asked_again = 0.0  # when the circuit opened, or was last tried

    def admit(self) -> Admission:
        with self._lock:
            if self._failures < self._most:
                return Admission.YES
            if self._clock() - self._asked_again < self._pause:
                return Admission.NO
            self._asked_again = self._clock()
            return Admission.PROBE

    def succeeded(self) -> None:
        with self._lock:
            self._failures = 0

    def failed(self) -> None:
        with self._lock:
            self._failures += 1
            self._asked_again = self._clock()


class Tally:
    """What one call of several fetches says of the server: well if any is answered well."""

    def __init__(self, breaker: Breaker) -> None:
        self._breaker = breaker
        self._lock = threading.Lock()
        self._outstanding = 0
        self._well = self._unwell = False

    def expect(self, fetches: int) -> None:
        with self._lock:
            self._outstanding += fetches

    def ended(self, well: bool | None) -> None:
        """One of the fetches is over. None: it says nothing about the server."""
        with self._lock:
            self._outstanding -= 1
            self._well |= well is True
            self._unwell |= well is False
            failed = self._outstanding == 0 and self._unwell and not self._well
        if well:
            self._breaker.succeeded()
        elif failed:
            self._breaker.failed()
