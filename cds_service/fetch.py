"""What is missing of the record, and can it be had from the client's own FHIR server in time?

Only what the client did not try to send: queries it left out, further pages of what it sent, and
the medicines its orders refer to. Everything is asked side by side and ends at one deadline. What
comes is read by the same reader as prefetch, so that it makes no difference to the advice how a
record arrived; what does not come is a gap.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from time import monotonic
from typing import Final
from urllib.parse import quote

import msgspec

from cds_service import grant, logs
from cds_service.asking import MAX_PAGES, Ask, Came, Line
from cds_service.fhir_client import Outcome
from cds_service.fhir_network import Network, turn
from cds_service.fhir_url import Allowed, BaseUrl, below, parse_base
from cds_service.hooks.request import FetchRun, HookRequest
from cds_service.prefetch import FAILED, Prefetched, State, read_prefetch
from fhir_mappers import elements as el
from fhir_mappers import scan
from fhir_mappers.medicines import medication_reference
from fhir_mappers.queries import BY_KEY, BY_TYPE, Query
from regimen.facts import Gap, GapKind, Subject

MAX_MEDICATIONS: Final = 20

_FHIR_ID: Final = re.compile(r"[A-Za-z0-9.-]{1,64}", re.ASCII)
_PATIENT: Final = "{{context.patientId}}"


@dataclass(frozen=True, slots=True)
class Fetcher:
    """Completes what a client delivered, from the servers that it may be called back on."""

    network: Network
    allowed: Allowed
    deadline_ms: int
    timeout_ms: int = 60_000  # of one request, within the deadline
    authorities: str | None = None  # PEM; None: the system's

    def __call__(self, record: Prefetched, request: HookRequest, patient_id: str) -> Prefetched:
        """The record with what could be had. Raises WrongPatient, as read_prefetch does.

        What was asked for, and how that ended, is added to `request.fetches`.
        """
        base = self.allowed.find(request.fhir_server)
        token = grant.usable_token(request.fhir_authorization, patient_id)
        if base is None or token is None or not _is_plain(patient_id):
            return record
        wanted = _Wanted(base, request.prefetch or {}, patient_id)
        if wanted.nothing(record):
            return record  # all there: no server is looked up, no thread started
        until = request.received + self.deadline_ms / 1000
        if monotonic() >= until:  # nor is a server tried out by who could not wait for it
            return _not_asked(record, request, wanted)
        try:
            server = self.network.server(base, self.authorities)
        except OSError as error:
            logs.event(logging.ERROR, "fetch-without-authorities", exception=error)
            return _not_asked(record, request, wanted)
        with turn(server, until) as granted:
            if granted is None:
                return _not_asked(record, request, wanted)
            return wanted.fetched(
                record,
                Line(
                    self.network,
                    server,
                    token,
                    granted,
                    request.fetches,
                    patience=self.timeout_ms / 1000,
                ),
            )


def _not_asked(record: Prefetched, request: HookRequest, wanted: _Wanted) -> Prefetched:
    request.fetches.append(FetchRun("all", Outcome.NOT_ASKED, 0.0))
    return wanted.not_asked(record)


def _is_plain(patient_id: str) -> bool:
    """Can this id stand in a URL and mean only itself there?

    It is percent-encoded; but a dot segment cannot be, and in a search a comma means "or".
    """
    if not patient_id.isprintable() or len(patient_id) > el.MAX_ID or not patient_id.strip("."):
        return False
    return not any(character in ",|$\\" for character in patient_id)


# --- what is wanted ---------------------------------------------------------------------------

_Pages = list[msgspec.Raw]


@dataclass(frozen=True, slots=True)
class _Answers:
    """What came: `queries` by our keys, `further` pages by the client's."""

    queries: dict[str, _Pages] = field(default_factory=dict)
    further: dict[str, _Pages] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What is missing of one patient's record, and how it is asked of one server."""

    base: BaseUrl
    prefetch: Mapping[str, msgspec.Raw]
    patient_id: str

    def nothing(self, record: Prefetched) -> bool:
        return not (record.unanswered or self._links(record) or self._medications(record))

    def not_asked(self, record: Prefetched) -> Prefetched:
        """The server cannot be asked now: the same as if every query had failed."""
        record = self._read(_Answers({query.key: [FAILED] for query in record.unanswered}))
        medications = self._medications(record).values()
        gaps = Counter((s, GapKind.SERVER_ERROR) for subjects in medications for s in subjects)
        return _extended(record, [], gaps)

    def fetched(self, record: Prefetched, line: Line) -> Prefetched:
        if record.unanswered or self._links(record):
            record = self._queries(record, line)
        return self._with_medications(record, line)

    # --- queries and pages ---

    def _links(self, record: Prefetched) -> dict[str, str]:
        """The next pages of what was delivered, by the client's key."""
        found = {key: below(self.base, link) for key, link in record.next_pages.items()}
        return {key: url for key, url in found.items() if url is not None}

    def _ask(self, query: Query, *, typed: bool) -> Ask:
        name = ("Patient/" if typed else "") + quote(self.patient_id, safe="")
        search = _is_search(query)
        path = query.template.replace(_PATIENT, name if search else quote(self.patient_id, safe=""))
        return Ask(query.key, f"{self.base}/{path}", "Bundle" if search else query.resource_type)

    def _queries(self, record: Prefetched, line: Line) -> Prefetched:
        missing, links = record.unanswered, self._links(record)
        typed = line.server.typed_references is True
        asks = [self._ask(query, typed=typed) for query in missing]
        asks += [
            Ask(key if key in BY_KEY else "other", url, "Bundle", MAX_PAGES - 1)
            for key, url in links.items()
        ]
        pages = [came.answer for came in line.ask(asks)]
        answers = _Answers(
            {query.key: came for query, came in zip(missing, pages, strict=False)},
            dict(zip(links, pages[len(missing) :], strict=True)),
        )
        complete = self._read(answers)
        if line.server.typed_references is not None:
            return complete
        return self._in_either_form(complete, answers, missing, line)

    def _in_either_form(
        self, record: Prefetched, answers: _Answers, missing: Sequence[Query], line: Line
    ) -> Prefetched:
        """Some servers find by `patient=Patient/1` only, some by `patient=1` only, most by both.

        Where no search found anything the other form is tried, until the server has once found
        something in either; from then on it is asked in that form alone.
        """
        searches = [query for query in missing if _is_search(query)]
        if _found(record, searches):
            line.server.typed_references = False
            return record
        empty = [query for query in searches if record.states[query.key] is State.EMPTY]
        if not empty or not _FHIR_ID.fullmatch(self.patient_id):
            return record
        again = line.ask([self._ask(query, typed=True) for query in empty])
        # Only a server that says no to the other form has nothing more to say.
        typed = {
            q.key: came.answer for q, came in zip(empty, again, strict=True) if not came.refused
        }
        better = self._read(replace(answers, queries=answers.queries | typed))
        if _found(better, empty):
            line.server.typed_references = True
        return better

    def _read(self, answers: _Answers) -> Prefetched:
        """All that was delivered and fetched, by the reader of prefetch."""
        values: dict[str, msgspec.Raw] = {}
        pages: dict[str, _Pages] = {}
        for key, raw in self.prefetch.items():
            # What came under a key of ours that it did not answer may answer another.
            name = f"{key} as delivered" if key in answers.queries else key
            values[name] = raw
            pages[name] = answers.further.get(key, [])
        for key, (first, *others) in answers.queries.items():
            values[key], pages[key] = first, others
        return read_prefetch(values, self.patient_id, pages)

    # --- medicines that orders refer to ---

    def _medications(self, record: Prefetched) -> dict[str, set[Subject]]:
        """Ids of Medications at this server that were not delivered → what refers to them."""
        found: dict[str, set[Subject]] = {}
        for resource in _orders_first(record):
            name = self._medication_id(medication_reference(resource))
            if name is not None:
                subject = BY_TYPE[str(resource["resourceType"])].subject
                found.setdefault(name, set()).add(subject)
        if not found:
            return found
        there = {one.get("id") for one in record.resources.get("Medication", ())}
        there |= _delivered_medications(self.prefetch.values())
        return {name: subjects for name, subjects in found.items() if name not in there}

    def _medication_id(self, reference: str | None) -> str | None:
        """The id of a Medication that is at this server; None for any other reference."""
        named = el.reference_id(reference)
        if reference is None or named is None or named[0] != "Medication":
            return None
        where = reference.strip().partition("Medication/")[0]
        here = not where or parse_base(where) == self.base
        return named[1] if here and _is_plain(named[1]) else None

    def _with_medications(self, record: Prefetched, line: Line) -> Prefetched:
        wanted = self._medications(record)
        if not wanted:
            return record
        gaps: Counter[tuple[Subject, GapKind]] = Counter()
        for name in list(wanted)[MAX_MEDICATIONS:]:
            gaps.update((subject, GapKind.TRUNCATED) for subject in wanted[name])
        asked = list(wanted)[:MAX_MEDICATIONS]
        read: list[scan.Scanned] = []
        for name, came in zip(asked, line.ask([self._read_of(n) for n in asked]), strict=True):
            medication = _medication_of(came, name)
            if isinstance(medication, GapKind):
                gaps.update((subject, medication) for subject in wanted[name])
            else:
                read.append(medication)
        return _extended(record, read, gaps)

    def _read_of(self, name: str) -> Ask:
        return Ask("medication", f"{self.base}/Medication/{quote(name, safe='')}", "Medication", 1)


def _is_search(query: Query) -> bool:
    return "?" in query.template


def _found(record: Prefetched, queries: Iterable[Query]) -> bool:
    return any(record.states[query.key] in (State.GIVEN, State.PARTIAL) for query in queries)


_REFERRING: Final = (
    Subject.ORDERS,
    Subject.STATEMENTS,
    Subject.ADMINISTRATIONS,
    Subject.DISPENSES,
)
_OVER: Final = frozenset(("completed", "stopped", "cancelled", "ended", "not-taken", "declined"))


def _orders_first(record: Prefetched) -> Iterator[el.Json]:
    """What may refer to a medicine; what runs now before what is over."""
    found = [one for kind in _REFERRING for one in record.resources.get(kind.value, ())]
    right = (one for one in found if one.get("status") != "entered-in-error")
    yield from sorted(right, key=lambda one: str(one.get("status")) in _OVER)


def _medication_of(came: Came, name: str) -> scan.Scanned | GapKind:
    """The Medication; a GapKind where it cannot be told whether it is one that matters."""
    if came.outcome is not Outcome.OK:
        return GapKind.SERVER_ERROR
    try:
        found = scan.scan(came.pages[0])
    except scan.Unreadable:
        return GapKind.UNREADABLE
    resource = found.resource
    if resource is not None and (el.has_unknown_modifier(resource) or resource.get("id") != name):
        return GapKind.UNREADABLE
    return found


class _Named(msgspec.Struct, rename="camel"):
    resource_type: str | None = None
    id: str | None = None


class _Entry(msgspec.Struct):
    resource: _Named | None = None


class _Bundle(msgspec.Struct):
    entry: list[_Entry] | None = None


_BUNDLE: Final = msgspec.json.Decoder(_Bundle)


def _delivered_medications(values: Iterable[msgspec.Raw]) -> set[str]:
    """The ids of all Medications the client sent, also of those that do not matter."""
    found: set[str] = set()
    for raw in values:
        try:
            entries = _BUNDLE.decode(raw).entry or []
        except (msgspec.MsgspecError, RecursionError, UnicodeError):
            continue  # of another shape: what is in it is asked for again, and no worse
        named = (entry.resource for entry in entries if entry.resource is not None)
        found |= {one.id for one in named if one.resource_type == "Medication" and one.id}
    return found


def _extended(
    record: Prefetched, fetched: list[scan.Scanned], gaps: Mapping[tuple[Subject, GapKind], int]
) -> Prefetched:
    """The record with these Medications beside the orders, and what of them is unknown."""
    matter = [one.resource for one in fetched if one.resource is not None]
    beside = [*record.resources.get("Medication", ()), *matter]
    counts = Counter({(gap.subject, gap.kind): gap.count for gap in record.gaps})
    counts.update(gaps)
    short = {subject for subject, _ in gaps}
    by_code = Counter(("Medication", bool(one.relevance.recognised)) for one in fetched)
    return replace(
        record,
        resources=record.resources | ({"Medication": beside} if beside else {}),
        gaps=tuple(
            Gap(subject, kind, count)
            for (subject, kind), count in sorted(
                counts.items(), key=lambda item: (item[0][0].value, item[0][1])
            )
        ),
        states={
            key: State.PARTIAL if state is State.GIVEN and BY_KEY[key].subject in short else state
            for key, state in record.states.items()
        },
        recognised=record.recognised + by_code,
    )
