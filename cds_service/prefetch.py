"""What did the client deliver of each part of the record, and what does its silence mean?

    given    data, all of it            empty   looked, there is none
    partial  data, but not all of it    failed  the client's query failed
    absent   not tried, or nonsense

A site may rename keys: what a value answers is judged by the resources in it. Whatever was not
read becomes a Gap; nothing here raises but WrongPatient.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import msgspec

from fhir_mappers import elements as el
from fhir_mappers import scan
from fhir_mappers.elements import Json
from fhir_mappers.queries import BY_KEY, BY_TYPE, QUERIES, Query
from regimen.facts import Gap, GapKind, Subject


class WrongPatient(Exception):
    """The Patient delivered is not the one the request is about."""


class State(StrEnum):
    GIVEN = "given"
    EMPTY = "empty"
    ABSENT = "absent"
    FAILED = "failed"
    PARTIAL = "partial"


@dataclass(frozen=True, slots=True)
class Prefetched:
    """`resources` by type; `states` by our prefetch keys; `next_pages`: delivered key → URL.

    `recognised`: how many of each type carry a code of a value set (True), and how many do not.
    """

    resources: dict[str, list[Json]]
    gaps: tuple[Gap, ...]
    states: dict[str, State]
    next_pages: dict[str, str]
    recognised: Counter[tuple[str, bool]]

    @property
    def unanswered(self) -> tuple[Query, ...]:
        """What may be fetched: not what the client tried in vain (it would fail again)."""
        return tuple(q for q in QUERIES if self.states[q.key] is State.ABSENT)


# What a fetcher puts under the key of a query that failed.
FAILED = msgspec.Raw(b'{"resourceType":"OperationOutcome"}')


def read_prefetch(
    prefetch: Mapping[str, msgspec.Raw] | None,
    patient_id: str,
    pages: Mapping[str, Sequence[msgspec.Raw]] | None = None,
) -> Prefetched:
    """Reads all values, those of our keys and those under names of the site's own.

    `pages`: further pages of a key's Bundle, in their order, fetched from its `next` links.
    Raises WrongPatient.
    """
    reader = _Reader(patient_id)
    further = pages or {}
    for key, raw in (prefetch or {}).items():
        reader.read(key, [raw, *further.get(key, ())])
    return reader.result()


# --- one value --------------------------------------------------------------------------------


class _Link(msgspec.Struct):
    relation: str | None = None
    url: str | None = None


class _Search(msgspec.Struct, gc=False):
    mode: str | None = None


class _BundleEntry(msgspec.Struct, gc=False):
    resource: msgspec.Raw = msgspec.Raw()
    search: msgspec.Raw = msgspec.Raw()


class _PlainEntry(msgspec.Struct, gc=False):
    """An entry that is shaped as it should be, its resource decoded as far as a scan looks."""

    resource: scan.Entry | None = None
    search: _Search | None = None


class _PlainBundle(msgspec.Struct, rename="camel", gc=False):
    resource_type: str | None = None
    link: msgspec.Raw = msgspec.Raw()
    entry: list[_PlainEntry | None] | None = None


class _RawBundle(msgspec.Struct, gc=False):
    entry: list[_BundleEntry | None]


class _Head(msgspec.Struct, rename="camel"):
    resource_type: str | None = None
    link: msgspec.Raw = msgspec.Raw()
    entry: msgspec.Raw = msgspec.Raw()


_HEAD = msgspec.json.Decoder(_Head)
_ITEMS = msgspec.json.Decoder(list[msgspec.Raw])
_ENTRY = msgspec.json.Decoder(_BundleEntry)
_PLAIN_BUNDLE = msgspec.json.Decoder(_PlainBundle)
_RAW_BUNDLE = msgspec.json.Decoder(_RawBundle)
_LINK = msgspec.json.Decoder(_Link)
_SEARCH = msgspec.json.Decoder(_Search)
_LITERAL_TOKENS = (b"{{context", b"%7B%7Bcontext", b"%7b%7bcontext")
_BROKEN = (msgspec.MsgspecError, RecursionError, UnicodeError)


def _items(raw: msgspec.Raw) -> list[msgspec.Raw] | None:
    """The items of an array, or of an object where an array belongs. None: neither."""
    content = bytes(raw).strip()
    if not content or content == b"null":
        return []
    if content.startswith(b"{"):
        return [raw]
    try:
        return _ITEMS.decode(content)
    except _BROKEN:
        return None


def _next_page(link: msgspec.Raw) -> str | None:
    """The URL of the next page, "" where there is one but not where."""
    for item in _items(link) or []:
        try:
            found = _LINK.decode(item)
        except _BROKEN:
            continue
        if found.relation == "next":
            return found.url or ""
    return None


def _is_serious(outcome: Json) -> bool:
    """Does an OperationOutcome say that something failed? Information and warning do not."""
    severities = {el.text(issue.get("severity")) for issue in el.dicts(outcome.get("issue"))}
    return not severities or not severities <= {"information", "warning"}


@dataclass(frozen=True, slots=True)
class Page:
    """The outside of a resource: its type and, of a Bundle, its size and where it goes on."""

    kind: str
    entries: int
    next_page: str | None


def page_of(raw: msgspec.Raw) -> Page | None:
    """None: not a resource."""
    content = bytes(raw).strip()
    try:
        head = _HEAD.decode(content) if content.startswith(b"{") else _Head()
    except _BROKEN:
        return None
    entries = _items(head.entry)
    if not head.resource_type or entries is None:
        return None
    return Page(head.resource_type, len(entries), _next_page(head.link))


@dataclass(slots=True)
class _Value:
    """What one prefetch value turned out to be: a state, and what it holds."""

    state: State
    resources: list[Json] = field(default_factory=list)
    holds: set[str] = field(default_factory=set)  # types of its entries, relevant or not
    # (type, does it carry a code of a value set?) → how many
    recognised: dict[tuple[str, bool], int] = field(default_factory=dict)
    unreadable: int = 0
    literal: bool = False  # our template, sent as it was
    serious: bool = False  # an outcome entry says that part of it failed
    truncated: bool = False
    next_page: str | None = None


def _read_value(raw: msgspec.Raw) -> _Value:
    content = bytes(raw).strip()
    if content == b"null":
        return _Value(State.EMPTY)
    if not content.startswith(b"{"):
        return _Value(State.ABSENT)
    value = _plain_bundle(content) or _other_value(content)
    # What was kept has been searched already: it is little of what may be megabytes.
    if value.literal or (not value.resources and _is_literal(content)):
        return _Value(State.FAILED)
    return value


def _is_literal(content: bytes) -> bool:
    """Did the client send our template as it was, its tokens not replaced?"""
    return b"context" in content and any(token in content for token in _LITERAL_TOKENS)


def _other_value(content: bytes) -> _Value:
    try:
        head = _HEAD.decode(content)
    except _BROKEN:
        return _Value(State.ABSENT)
    if head.resource_type == "OperationOutcome":
        return _Value(State.FAILED)
    if head.resource_type == "Bundle":
        return _read_bundle(head)
    if head.resource_type in BY_TYPE or head.resource_type == "Medication":
        return _read_single(msgspec.Raw(content), head.resource_type)
    return _Value(State.ABSENT)


def _read_single(raw: msgspec.Raw, kind: str) -> _Value:
    value = _Value(State.GIVEN, holds={kind})
    _take(value, raw)
    return value


def _read_bundle(head: _Head) -> _Value:
    entries = _items(head.entry)
    if entries is None:
        return _Value(State.ABSENT)
    value = _Value(State.GIVEN, next_page=_next_page(head.link))
    for entry in entries:
        _take_entry(value, entry)
    return _judged(value)


def _judged(value: _Value) -> _Value:
    if not value.holds and not value.unreadable:
        value.state = State.FAILED if value.serious else State.EMPTY
    return value


def _plain_bundle(content: bytes) -> _Value | None:
    """Reads a Bundle in one go, if all of it is shaped as it should be. None: it is not.

    The usual case. What cannot matter is passed over by the decoder and never becomes an object.
    """
    try:
        bundle = _PLAIN_BUNDLE.decode(content)
    except _BROKEN:
        return None
    if bundle.resource_type != "Bundle":
        return None
    value = _Value(State.GIVEN, next_page=_next_page(bundle.link))
    _take_plain(value, bundle.entry or [], content)
    return _judged(value)


def _take_plain(value: _Value, entries: list[_PlainEntry | None], content: bytes) -> None:
    """Takes the `entries` of the Bundle that is `content`."""
    relevant = []
    passed: dict[tuple[str, str | None, bool | None], int] = {}
    for number, entry in enumerate(entries):
        if entry is None or entry.resource is None:
            continue
        kind = entry.resource.resource_type
        if not kind:
            value.unreadable += 1
            continue
        mode = entry.search.mode if entry.search is not None else None
        relevance = scan.relevance(entry.resource)
        if relevance.read:
            relevant.append((number, kind, mode, relevance))
        else:
            key = (kind, mode, relevance.recognised)
            passed[key] = passed.get(key, 0) + 1
    for (kind, mode, recognised), count in passed.items():
        _note(value, kind, mode, recognised, count)
    whole = _RAW_BUNDLE.decode(content).entry if relevant else []
    for number, kind, mode, relevance in relevant:
        if _take_relevant(value, kind, whole[number]):
            _note(value, kind, mode, relevance.recognised)


def _take_relevant(value: _Value, kind: str, entry: _BundleEntry | None) -> bool:
    content = bytes(entry.resource) if entry else b""
    try:
        resource = scan.decode(content)
    except scan.Unreadable:
        value.unreadable += 1
        return False
    value.literal |= _is_literal(content)
    _keep(value, kind, resource, may_be_modified=el.may_be_modified(content))
    return True


def _note(
    value: _Value, kind: str, mode: str | None, recognised: bool | None, count: int = 1
) -> None:
    """Entries of this type were there. `mode`: why, see `_mode`; `recognised`: of their codes."""
    if recognised is not None:
        key = (kind, recognised)
        value.recognised[key] = value.recognised.get(key, 0) + count
    if mode != "include" and kind != "OperationOutcome":
        value.holds.add(kind)  # it was asked for, not added to the answer


def _take_entry(value: _Value, raw: msgspec.Raw) -> None:
    if _is_nothing(raw):
        return
    try:
        entry = _ENTRY.decode(raw)
    except _BROKEN:
        value.unreadable += 1
        return
    if _is_nothing(entry.resource):
        return
    _take(value, entry.resource, _mode(entry.search))


def _is_nothing(raw: msgspec.Raw) -> bool:
    return len(memoryview(raw)) in (0, 4) and bytes(raw) in (b"", b"null")


def _mode(search: msgspec.Raw) -> str | None:
    """Why an entry is there: "match", "include", "outcome"."""
    try:
        return None if _is_nothing(search) else _SEARCH.decode(search).mode
    except _BROKEN:
        return None


def _take(value: _Value, raw: msgspec.Raw, mode: str | None = None) -> None:
    """Reads one resource; keeps it if it is relevant and we understand all that it says."""
    try:
        kind, relevance, resource = scan.scan(raw)
    except scan.Unreadable:
        value.unreadable += 1
        return
    if resource is not None:
        value.literal |= _is_literal(bytes(raw))
        _keep(value, kind, resource)
    _note(value, kind, mode, relevance.recognised)


def _keep(value: _Value, kind: str, resource: Json, *, may_be_modified: bool = True) -> None:
    if kind == "OperationOutcome":
        value.serious |= _is_serious(resource)
    elif may_be_modified and el.has_unknown_modifier(resource):
        value.unreadable += 1  # it may matter, but may mean something else: not used, and said
    else:
        value.resources.append(resource)


# --- all values -------------------------------------------------------------------------------


@dataclass(slots=True)
class _Part:
    """What is known of one part of the record."""

    answers: list[State] = field(default_factory=list)
    incomplete: bool = False

    @property
    def state(self) -> State:
        if State.GIVEN in self.answers:
            return State.PARTIAL if self.incomplete else State.GIVEN
        if State.FAILED in self.answers:
            return State.FAILED
        if State.EMPTY in self.answers:
            return State.PARTIAL if self.incomplete else State.EMPTY
        return State.ABSENT


_INCOMPLETE = (GapKind.SERVER_ERROR, GapKind.TRUNCATED, GapKind.UNREADABLE)


class _Reader:
    """Collects what the values say, type by type."""

    def __init__(self, patient_id: str) -> None:
        self._patient_id = patient_id
        self._resources: dict[str, dict[str, Json]] = {}
        self._parts: dict[Subject, _Part] = {query.subject: _Part() for query in QUERIES}
        self._gaps: dict[tuple[Subject, GapKind], int] = {}
        self._next_pages: dict[str, str] = {}
        self._recognised: Counter[tuple[str, bool]] = Counter()

    def read(self, key: str, pages: Sequence[msgspec.Raw]) -> None:
        values = [_read_value(raw) for raw in pages]
        if len(values) > 1 and values[-1].state in (State.ABSENT, State.FAILED):
            values[0].truncated = True  # a further page that did not come
            values = [v for v in values if v.state not in (State.ABSENT, State.FAILED)]
        for value in values[:-1]:
            value.next_page = None  # followed
        for value in values:
            self._collect(key, value)

    def _collect(self, key: str, value: _Value) -> None:
        self._check_patient(key, value)
        subjects = self._answered_by(key, value)
        for subject in subjects:
            self._parts[subject].answers.append(value.state)
            self._note(subject, value)
        if value.next_page and subjects:
            self._next_pages[key] = value.next_page
        for (kind, known), count in value.recognised.items():
            if kind in scan.CODED:  # any other word is the client's
                self._recognised[kind, known] += count
        for resource in value.resources:
            self._keep(resource)

    def _check_patient(self, key: str, value: _Value) -> None:
        asked = BY_KEY.get(key)
        own_answer = asked is not None and asked.subject is Subject.PATIENT
        if not own_answer and value.holds != {Subject.PATIENT.value}:
            return  # a Patient added to another answer is dropped later, if it is not ours
        for resource in value.resources:
            is_patient = resource.get("resourceType") == Subject.PATIENT.value
            if is_patient and resource.get("id") != self._patient_id:
                raise WrongPatient

    def _answered_by(self, key: str, value: _Value) -> list[Subject]:
        """The parts of the record a value answers: its key's, or those of the types it holds."""
        asked = BY_KEY.get(key)
        held = [BY_TYPE[kind].subject for kind in sorted(value.holds) if kind in BY_TYPE]
        if asked is None:
            return held
        if value.state is not State.GIVEN or not value.holds or asked.subject in held:
            return [asked.subject]
        return held  # under the wrong name

    def _note(self, subject: Subject, value: _Value) -> None:
        if value.state is State.FAILED or value.serious:
            self._add_gap(subject, GapKind.SERVER_ERROR)
        if value.truncated or value.next_page is not None:
            self._add_gap(subject, GapKind.TRUNCATED)
        if value.unreadable:
            self._add_gap(subject, GapKind.UNREADABLE, value.unreadable)

    def _add_gap(self, subject: Subject, kind: GapKind, count: int = 1) -> None:
        self._gaps[subject, kind] = self._gaps.get((subject, kind), 0) + count
        if kind in _INCOMPLETE:
            self._parts[subject].incomplete = True

    def _keep(self, resource: Json) -> None:
        kind = str(resource["resourceType"])
        if not el.subject_is(resource, self._patient_id):
            query = BY_TYPE.get(kind)
            if query is not None:
                self._add_gap(query.subject, GapKind.OTHER_PATIENT)
            return
        identifier = el.text(resource.get("id"))
        name = identifier or msgspec.json.encode(resource, order="deterministic").decode()
        kept = self._resources.setdefault(kind, {})
        if name not in kept or _version(resource) > _version(kept[name]):
            kept[name] = resource

    def result(self) -> Prefetched:
        self._doubt_strangers()
        states = {query.key: self._parts[query.subject].state for query in QUERIES}
        for query in QUERIES:
            if states[query.key] is State.ABSENT:
                self._add_gap(query.subject, GapKind.NOT_SUPPLIED)
        gaps = tuple(Gap(s, kind, count) for (s, kind), count in self._sorted_gaps())
        resources = {kind: list(kept.values()) for kind, kept in self._resources.items()}
        return Prefetched(resources, gaps, states, self._next_pages, self._recognised)

    def _doubt_strangers(self) -> None:
        """Where only others' records came, and none of the patient's, nothing was answered.

        Beside the patient's own they are merely left out: some servers ignore the search.
        """
        if any(kind in BY_TYPE and kind != Subject.PATIENT.value for kind in self._resources):
            return
        for subject, kind in list(self._gaps):
            if kind is GapKind.OTHER_PATIENT and subject is not Subject.PATIENT:
                self._add_gap(subject, GapKind.SERVER_ERROR)

    def _sorted_gaps(self) -> Iterator[tuple[tuple[Subject, GapKind], int]]:
        yield from sorted(self._gaps.items(), key=lambda item: (item[0][0].value, item[0][1]))


def _version(resource: Json) -> tuple[str, bytes]:
    """Puts two versions of one resource in order: by last update, then by any fixed order."""
    updated = el.moment(el.as_dict(resource.get("meta")).get("lastUpdated"))
    return (updated.key if updated else "", msgspec.json.encode(resource, order="deterministic"))
