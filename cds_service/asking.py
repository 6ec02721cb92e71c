"""What can be asked of a FHIR server side by side before the time is up?

A round: several queries at once, each with its further pages. Whoever waits leaves at the deadline
and cuts off what is not there by then.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Final

import msgspec

from cds_service import logs
from cds_service.breaker import Tally
from cds_service.fhir_client import Allowance, Lifeline, Outcome, Reply
from cds_service.fhir_network import Network, Server, Turn
from cds_service.fhir_url import below
from cds_service.hooks.request import FetchRun
from cds_service.prefetch import FAILED, Page, page_of

MAX_PAGES: Final = 10
MAX_RESOURCES: Final = 2000
MAX_TOTAL_BYTES: Final = 32 * 1024 * 1024


@dataclass(slots=True)
class Ask:
    """One query, or one resource, and what has come of it so far."""

    name: str  # of the log: ours, never a key of the client's
    url: str
    kind: str  # what must come: a Bundle, or the type of the resource
    most_pages: int = MAX_PAGES
    pages: list[msgspec.Raw] = field(default_factory=list)
    outcome: Outcome = Outcome.TIMEOUT
    refused: bool = False  # the server is well and does not answer this
    ms: float = 0.0

    @property
    def run(self) -> FetchRun:
        return FetchRun(self.name, self.outcome, self.ms)

    @property
    def answer(self) -> list[msgspec.Raw]:
        """The pages; after those a failure, if more should have come."""
        pages = list(self.pages)
        return pages if self.outcome is Outcome.OK else [*pages, FAILED]


@dataclass(slots=True)
class Line:
    """One call's use of a server."""

    network: Network
    server: Server
    token: str = field(repr=False)
    turn: Turn
    runs: list[FetchRun]  # added to, round by round
    patience: float = float("inf")  # seconds for one request, within the turn
    _allowance: Allowance = field(default_factory=lambda: Allowance(MAX_TOTAL_BYTES))
    _tally: Tally = field(init=False)

    def __post_init__(self) -> None:
        self._tally = Tally(self.server.breaker)

    def ask(self, asks: Sequence[Ask]) -> list[Ask]:
        """Asks all side by side. Returns when all are answered, or it is time to go.

        What is returned changes no more, whatever the threads still do.
        """
        done: SimpleQueue[int] = SimpleQueue()
        running: dict[int, Lifeline] = {}
        self._tally.expect(len(asks))
        for number, ask in enumerate(asks):
            lifeline = Lifeline(self.turn.until, self.patience)
            if self._start(ask, lifeline, partial(done.put, number)):
                running[number] = lifeline
        self._wait(done, running)
        answered = [replace(ask, pages=list(ask.pages)) for ask in asks]
        self._leave(running)
        self.runs += [ask.run for ask in answered]
        return answered

    def _start(self, ask: Ask, lifeline: Lifeline, done: Callable[[], None]) -> bool:
        """False: there is no time left, or too much is waiting already."""
        run = partial(self._run, ask, lifeline, done)
        late = monotonic() >= self.turn.wait_until
        if not late and self.network.lanes().submit(self.server.base, run):
            return True
        ask.outcome = Outcome.NOT_ASKED
        self._tally.ended(None)
        return False

    def _wait(self, done: SimpleQueue[int], running: dict[int, Lifeline]) -> None:
        while running and (left := self.turn.wait_until - monotonic()) > 0:
            try:
                del running[done.get(timeout=left)]
            except Empty:
                return

    def _leave(self, running: dict[int, Lifeline]) -> None:
        """End what is not there: at once, or at the deadline if the server is being tried out."""
        left = self.turn.until - monotonic()
        if running and left > 0:
            later = threading.Timer(left, _cut, [list(running.values())])
            later.daemon = True
            later.start()
        else:
            _cut(running.values())

    def _run(self, ask: Ask, lifeline: Lifeline, done: Callable[[], None]) -> None:
        started = monotonic()
        well: bool | None = None
        try:
            well = self._follow(ask, lifeline)
        except Exception as error:  # noqa: BLE001  our own fault; the thread must live on
            ask.outcome = Outcome.INVALID
            logs.event(logging.ERROR, "fetch-broke", exception=error)
        finally:
            ask.ms = round((monotonic() - started) * 1000, 1)
            self._tally.ended(well)
            done()

    def _follow(self, ask: Ask, lifeline: Lifeline) -> bool | None:
        """The first page and those that follow. Returns whether the server is well."""
        url: str | None = ask.url
        seen: set[str] = set()
        entries = 0
        well = None
        while url is not None and url not in seen and len(ask.pages) < ask.most_pages:
            seen.add(url)
            reply = self._get(url, lifeline)
            well = well or reply.server_is_well
            page = _page(reply, ask.kind)
            if page is None:
                ask.refused = reply.outcome is Outcome.STATUS and reply.server_is_well is True
                ask.outcome = Outcome.INVALID if reply.outcome is Outcome.OK else reply.outcome
                return well
            ask.pages.append(msgspec.Raw(reply.body))
            entries += page.entries
            more = page.next_page is not None and entries < MAX_RESOURCES
            # A page that names a next one which is not followed is told apart by its reader.
            url = below(self.server.base, page.next_page or "") if more else None
        ask.outcome = Outcome.OK
        return well

    def _get(self, url: str, lifeline: Lifeline) -> Reply:
        if lifeline.is_over():  # it waited too long for a thread
            return Reply(Outcome.NOT_ASKED)
        return self.server.client.get(url, self.token, lifeline, self._allowance)


def _cut(lifelines: Iterable[Lifeline]) -> None:
    for lifeline in lifelines:
        lifeline.cut()


def _page(reply: Reply, kind: str) -> Page | None:
    """What was asked for; None for everything else that a server may say with status 200."""
    if reply.outcome is not Outcome.OK:
        return None
    if not reply.body.isascii():
        try:
            reply.body.decode()
        except UnicodeDecodeError:
            return None
    page = page_of(msgspec.Raw(reply.body))
    return page if page is not None and page.kind == kind else None
