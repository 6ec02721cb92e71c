"""What does this process keep of the FHIR servers between calls, and what may one call take of it?

For each server a client with its connections, a circuit breaker, and a limit on the calls that
wait for it; for all of them together a fixed number of threads, and so of connections. Made when
it is first needed, which is after the server process has forked.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from time import monotonic
from typing import Final

from cds_service.breaker import Admission, Breaker
from cds_service.fhir_client import FhirClient, Resolve, resolve, tls_context
from cds_service.fhir_url import BaseUrl
from cds_service.lanes import Lanes

#: Connections of all worker processes together.
MAX_CONNECTIONS: Final = 128
#: Calls of one process that may ask one server at the same time.
CALLS_PER_SERVER: Final = 6
#: ... and those with the calls that wait for one of these places.
STANDING_PER_SERVER: Final = 8
#: Calls of one process that may ask servers or wait for a place, whatever the server. A worker has
#: more places than that: one tenant's slow EHR must leave some to the other tenants.
STANDING: Final = 10
#: How much of its time a call may wait for a place.
_PATIENCE: Final = 0.25
#: How long a call waits when it is the one to find out whether a server is back.
_PROBE_SECONDS: Final = 0.3
_MOST_SERVERS: Final = 64
_MOST_WAITING: Final = 256


@dataclass(slots=True)
class Server:
    """One FHIR server as this process knows it."""

    client: FhirClient
    breaker: Breaker
    all_standing: threading.BoundedSemaphore  # of all servers
    standing: threading.BoundedSemaphore
    calls: threading.BoundedSemaphore
    #: Does it find by `patient=Patient/1` only (True), by `patient=1` (False)? None: not seen yet.
    typed_references: bool | None = None

    @property
    def base(self) -> BaseUrl:
        return self.client.base


@dataclass(slots=True)
class Turn:
    """A call's leave to ask a server: until when it may, and how long it is worth waiting."""

    until: float
    wait_until: float


@dataclass(slots=True)
class Network:
    """All servers of one process. `workers`: how many processes there are like this one."""

    workers: int = 1
    resolve: Resolve = resolve
    new_breaker: Callable[[], Breaker] = Breaker
    _pid: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _lanes: Lanes | None = None
    _standing: threading.BoundedSemaphore = field(
        default_factory=lambda: threading.BoundedSemaphore(STANDING)
    )
    _servers: dict[tuple[BaseUrl, str | None], Server] = field(default_factory=dict)

    @property
    def threads(self) -> int:
        return max(4, min(64, MAX_CONNECTIONS // max(1, self.workers)))

    @property
    def per_server(self) -> int:
        """A quarter is left for the others when one server hangs."""
        return self.threads * 3 // 4

    def lanes(self) -> Lanes:
        with self._lock:
            self._start()
            assert self._lanes is not None  # noqa: S101  for the type checker
            return self._lanes

    def server(self, base: BaseUrl, authorities: str | None = None) -> Server:
        """Raises OSError where the system's certificate authorities cannot be read."""
        with self._lock:
            self._start()
            key = (base, authorities)
            found = self._servers.pop(key, None) or self._new(base, authorities)
            self._servers[key] = found  # the one used last is the last
            if len(self._servers) > _MOST_SERVERS:
                self._servers.pop(next(iter(self._servers))).client.close()
            return found

    def close(self) -> None:
        with self._lock:
            lanes, servers = self._lanes, list(self._servers.values())
            self._lanes, self._pid = None, 0
            self._servers.clear()
        if lanes is not None:
            lanes.close()
        for server in servers:
            server.client.close()

    def _start(self) -> None:
        if self._pid == os.getpid() and self._lanes is not None:
            return
        # Threads do not survive a fork, and connections must not be shared with the parent.
        self._pid = os.getpid()
        self._servers.clear()
        self._standing = threading.BoundedSemaphore(STANDING)
        self._lanes = Lanes(self.threads, self.per_server, _MOST_WAITING)

    def _new(self, base: BaseUrl, authorities: str | None) -> Server:
        client = FhirClient(
            base,
            tls=partial(tls_context, authorities),
            connections=self.per_server,
            resolve=self.resolve,
        )
        return Server(
            client,
            self.new_breaker(),
            all_standing=self._standing,
            standing=threading.BoundedSemaphore(STANDING_PER_SERVER),
            calls=threading.BoundedSemaphore(CALLS_PER_SERVER),
        )


@contextmanager
def turn(server: Server, until: float) -> Iterator[Turn | None]:
    """Leave to ask the server now. None: it has failed too often, or too many calls wait for it."""
    with ExitStack() as held:
        if not (_take(held, server.all_standing) and _take(held, server.standing)):
            yield None
            return
        admission = server.breaker.admit()
        if admission is Admission.NO:
            yield None
            return
        probe = admission is Admission.PROBE
        patience = 0.0 if probe else _PATIENCE * (until - monotonic())
        if not _take(held, server.calls, patience):
            yield None
            return
        soon = monotonic() + _PROBE_SECONDS if probe else until
        yield Turn(until, min(until, soon))


def _take(held: ExitStack, places: threading.BoundedSemaphore, seconds: float = 0.0) -> bool:
    """Is there a place in this time? It is held until the end of `held`."""
    if not places.acquire(timeout=max(0.0, seconds)):
        return False
    held.callback(places.release)
    return True
