"""How is a client's key set fetched from the address configured for it?

By the same client as a record, with the same care: `cds_service.fhir_client`.
"""

from __future__ import annotations

from contextlib import closing
from functools import partial
from queue import Empty, SimpleQueue
from threading import Thread
from time import monotonic
from typing import Final

from cds_service.fhir_client import Allowance, Client, Lifeline, Outcome, Reply, tls_context
from cds_service.fhir_url import below, parse_base
from cds_service.jwks import FetchFailed

MAX_BYTES: Final = 1024 * 1024
SECONDS: Final = 2.0

_HEADERS: Final = {"Accept": "application/json"}

#: Words for the log. What is not here was no answer at all.
_WHY: Final = {
    Outcome.REFUSED: "address",
    Outcome.TIMEOUT: "too-slow",
    Outcome.STATUS: "status",
    Outcome.TOO_LONG: "too-large",
}


class KeySource:
    """Where key sets of one tenant are fetched."""

    def __init__(self, authorities: str | None = None) -> None:
        """`authorities`: trusted besides the system's, as PEM.

        A public address and one behind the hospital's authority both work; whom a tenant trusts
        with its records, it may trust with its keys.
        """
        self._tls = partial(tls_context, authorities, and_system=True)
        self._thread: Thread | None = None

    def __call__(self, uri: str) -> bytes:
        """GET `uri`, within SECONDS and MAX_BYTES whatever the other side does.

        Raises FetchFailed. For the tenant's one fetch at a time: see `cds_service.jwks`.
        """
        if self._thread is not None and self._thread.is_alive():
            raise FetchFailed("too-slow")  # the one before still waits for a name to be resolved
        lifeline = Lifeline(monotonic() + SECONDS)
        replies: SimpleQueue[Reply] = SimpleQueue()
        client = self._client(uri)
        work = partial(_work, client, uri, lifeline, replies)
        self._thread = Thread(target=work, name="jwks", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:  # the machine has no more
            client.close()
            raise FetchFailed("no-thread") from None
        try:
            reply = replies.get(timeout=SECONDS)
        except Empty:
            raise FetchFailed("too-slow") from None
        finally:
            lifeline.cut()
        if reply.outcome is not Outcome.OK:
            raise FetchFailed(_WHY.get(reply.outcome, "unreachable"))
        return reply.body

    def _client(self, uri: str) -> Client:
        base = parse_base(uri)
        if base is None:
            raise FetchFailed("address")
        try:
            return Client(base, tls=self._tls, connections=1, max_bytes=MAX_BYTES)
        except OSError:
            raise FetchFailed("no-authorities") from None


def _work(client: Client, uri: str, lifeline: Lifeline, replies: SimpleQueue[Reply]) -> None:
    url = below(client.base, uri) or uri
    with closing(client):
        replies.put(client.fetch(url, _HEADERS, lifeline, Allowance(MAX_BYTES)))
