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


@dataclass(frozen=True, slots=True)
class Ask:
    """One query, or one resource."""

    name: str  # of the log: ours, never a key of the client's
    url: str
    kind: str  # what must come: a Bundle, or the type of the resource
    most_pages: int = MAX_PAGES


@dataclass(frozen=True, slots=True)
class Came:
    """What has come of an ask, so far or in the end."""

    pages: tuple[msgspec.Raw, ...] = ()
    outcome: Outcome = Outcome.TIMEOUT
    refused: bool = False  # the server is well and does not answer this
    ms: float | None = None  # None: it has not ended

    @property
    def answer(self) -> list[msgspec.Raw]:
        """The pages; after those a failure, if more should have come."""
        return [*self.pages] if self.outcome is Outcome.OK else [*self.pages, FAILED]


_NOTHING_YET: Final = Came()


@dataclass(slots=True)
class _Run:
    """An ask under way.

    `came` is only ever replaced, as a whole: who leaves takes it from under a thread that may be
    anywhere, and must not see an outcome without its pages.
    """

    ask: Ask
    lifeline: Lifeline
    came: Came = _NOTHING_YET
    started: float = field(default_factory=monotonic)

    def ended(self, came: Came) -> FetchRun:
        ms = round((monotonic() - self.started) * 1000, 1) if came.ms is None else came.ms
        return FetchRun(self.ask.name, came.outcome, ms)


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

    def ask(self, asks: Sequence[Ask]) -> list[Came]:
        """Asks all side by side. Returns when all are answered, or it is time to go.

        What is returned changes no more, whatever the threads still do.
        """
        done: SimpleQueue[int] = SimpleQueue()
        runs = [_Run(ask, Lifeline(self.turn.until, self.patience)) for ask in asks]
        running: dict[int, Lifeline] = {}
        self._tally.expect(len(asks))
        for number, run in enumerate(runs):
            if self._start(run, partial(done.put, number)):
                running[number] = run.lifeline
        self._wait(done, running)
        came = [run.came for run in runs]
        self._leave(running)
        self.runs += [run.ended(one) for run, one in zip(runs, came, strict=True)]
        return came

    def _start(self, run: _Run, done: Callable[[], None]) -> bool:
        """False: there is no time left, or too much is waiting already."""
        late = monotonic() >= self.turn.wait_until
        work = partial(self._run, run, done)
        if not late and self.network.lanes().submit(self.server.base, work):
            return True
        run.came = Came(outcome=Outcome.NOT_ASKED, ms=0.0)
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
            try:
                later.start()
            except RuntimeError:  # the machine has no more threads
                _cut(running.values())
        else:
            _cut(running.values())

    def _run(self, run: _Run, done: Callable[[], None]) -> None:
        run.started = monotonic()
        well: bool | None = None
        try:
            well = self._follow(run)
        except Exception as error:  # noqa: BLE001  our own fault; the thread must live on
            run.came = replace(run.came, outcome=Outcome.INVALID)
            logs.event(logging.ERROR, "fetch-broke", exception=error)
        finally:
            ms = round((monotonic() - run.started) * 1000, 1)
            run.came = replace(run.came, ms=ms)
            self._tally.ended(well)
            done()

    def _follow(self, run: _Run) -> bool | None:
        """The first page and those that follow. Returns whether the server is well."""
        url: str | None = run.ask.url
        seen: set[str] = set()
        entries = 0
        well = None
        while url is not None and url not in seen and len(seen) < run.ask.most_pages:
            seen.add(url)
            reply = self._get(url, run.lifeline)
            well = well or reply.server_is_well
            page = _page(reply, run.ask.kind)
            if page is None:
                run.came = replace(
                    run.came,
                    outcome=Outcome.INVALID if reply.outcome is Outcome.OK else reply.outcome,
                    refused=reply.outcome is Outcome.STATUS and reply.server_is_well is True,
                )
                return well
            entries += page.entries
            more = page.next_page is not None and entries < MAX_RESOURCES
            # A page that names a next one which is not followed is told apart by its reader.
            url = below(self.server.base, page.next_page or "") if more else None
            run.came = replace(run.came, pages=(*run.came.pages, msgspec.Raw(reply.body)))
        run.came = replace(run.came, outcome=Outcome.OK)
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
