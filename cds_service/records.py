"""What was decided, when, by which knowledge? One record a call, and no patient in it.

The call does not wait: it leaves the record in a bounded queue, and one thread of the process
writes what has come together. When the store is down the queue keeps what it can hold; what does
not fit is dropped, counted and logged, and the call is answered all the same.

A call about orders that are not ours is the usual case and says nothing: it is counted by the
minute. Reasons are the rules' own words. A rule that fired is told by its name in the protocol,
because the summary of its card may quote the record.
"""

from __future__ import annotations

import atexit
import hashlib
import logging
import os
import sys
import threading
import time
import weakref
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from cds_service import logs, metrics, schema
from cds_service.errors import StoreDown
from cds_service.hooks.response import Card, new_uuid
from cds_service.store import Store, Way, add_counts, insert_new, now_ms
from regimen.recommendation import RuleOutcome

CAPACITY: Final = 10_000
BATCH: Final = 500
INTERVAL_SECONDS: Final = 0.25
_RETRY_SECONDS: Final = 1.0
_IDLE_ROUNDS: Final = 20  # then the thread ends; the next record starts another
_LOG_SECONDS: Final = 60.0
_EXIT_SECONDS: Final = 3.0
_WHY_LENGTH: Final = 200

#: (minute in ms, tenant, service, kind)
CountKey = tuple[int, str, str, str]


@dataclass(frozen=True, slots=True)
class Decision:
    """One evaluated call. `withheld`: card uuid → why the client did not get that card."""

    tenant: str
    service: str
    hook_instance: str | None
    profile: str
    protocol: str
    protocol_hash: str
    mode: str
    status: int
    ms: float
    cards: Sequence[Card] = ()
    rules: Mapping[str, str] = field(default_factory=dict)  # topic → rule of the protocol
    outcomes: Sequence[RuleOutcome] = ()
    gaps: Sequence[tuple[str, str, int]] = ()  # key, kind, count
    withheld: Mapping[str, str] = field(default_factory=dict)
    pseudonym: str | None = None
    at: int = field(default_factory=now_ms)
    id: str = field(default_factory=new_uuid)


def day_of(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).date().isoformat()


@dataclass(frozen=True, slots=True)
class Rows:
    """A record ready to be written: nothing of the call is kept alive by it."""

    decision: dict[str, Any]
    cards: list[dict[str, Any]]
    rules: str


def rows_of(decision: Decision) -> Rows:
    # Interned: few texts recur in all records that wait.
    rules = sys.intern(_rules(decision))
    row = _row(decision, hashlib.sha256(rules.encode()).hexdigest()[:32])
    return Rows(row, [_card(card, decision, row) for card in decision.cards], rules)


def write(store: Store, decisions: Sequence[Decision], counts: Mapping[CountKey, int]) -> None:
    """Write records and counts in one transaction. Raises StoreDown; then nothing is written."""
    _write(store, [rows_of(decision) for decision in decisions], counts)


def _write(store: Store, records: Sequence[Rows], counts: Mapping[CountKey, int]) -> None:
    evaluations = {record.decision["evaluation"]: record.rules for record in records}
    with store.transaction(Way.FAST) as connection:
        insert_new(
            connection,
            schema.evaluations,
            # In one order: two writers that insert the same keys must not wait for each other.
            [{"id": key, "rules": text} for key, text in sorted(evaluations.items())],
        )
        # A batch whose commit was in doubt comes a second time, and changes nothing then.
        insert_new(connection, schema.decisions, [record.decision for record in records])
        cards = [card for record in records for card in record.cards]
        insert_new(connection, schema.cards, cards)
        if counts:
            names = ("minute", "tenant", "service", "kind")
            add_counts(
                connection,
                [
                    dict(zip(names, key, strict=True)) | {"count": counts[key]}
                    for key in sorted(counts)
                ],
            )


def _row(d: Decision, evaluation: str) -> dict[str, Any]:
    return {
        "id": d.id,
        "at": d.at,
        "day": day_of(d.at),
        "tenant": d.tenant,
        "service": d.service,
        "hook_instance": d.hook_instance,
        "profile": d.profile,
        "protocol": d.protocol,
        "protocol_hash": d.protocol_hash,
        "mode": d.mode,
        "status": d.status,
        "ms": round(d.ms),
        "gaps": _json(d.gaps),
        "evaluation": evaluation,
        "pseudonym": d.pseudonym,
    }


def _card(card: Card, decision: Decision, row: Mapping[str, Any]) -> dict[str, Any]:
    topic = card.source.topic.code if card.source.topic else ""
    return {
        "uuid": card.uuid,
        "decision": row["id"],
        "at": row["at"],
        "day": row["day"],
        "tenant": decision.tenant,
        "service": decision.service,
        "protocol": decision.protocol,
        "topic": topic,
        "indicator": card.indicator.value,
        "rule": decision.rules.get(topic, topic),
        "suggestions": _json([suggestion.uuid for suggestion in card.suggestions]),
        "withheld": decision.withheld.get(card.uuid),
    }


def _rules(decision: Decision) -> str:
    """[rule, fired, why]: for one that fired the entry of the protocol, else the reason."""
    return _json(
        [
            (o.rule, o.fired, decision.rules.get(o.rule, "") if o.fired else o.why[:_WHY_LENGTH])
            for o in decision.outcomes
        ]
    )


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


class Recorder:
    """The queue of this process and the thread that empties it."""

    def __init__(self, store: Store, *, capacity: int = CAPACITY) -> None:
        self.dropped = 0
        self._store, self._capacity = store, capacity
        self._queue: deque[Rows] = deque()
        self._counts: Counter[CountKey] = Counter()
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None
        self._exit_of: int | None = None
        self._logged = float("-inf")

    def put(self, decision: Decision) -> None:
        """Leave a record to be written. Never waits, never fails."""
        record = rows_of(decision)
        with self._lock:
            full = self._closed.is_set() or len(self._queue) >= self._capacity
            if full:
                self.dropped += 1
            else:
                self._queue.append(record)
            self._see_to_a_thread()
        if full:
            metrics.records_dropped(1)
            self._log("records-dropped")

    def count(self, tenant: str, service: str, kind: str) -> None:
        """Count a call of which nothing else is kept."""
        minute = now_ms() // 60_000 * 60_000
        with self._lock:
            self._counts[minute, tenant, service, kind] += 1
            self._see_to_a_thread()

    def flush(self, seconds: float) -> bool:
        """Write what is waiting, here and now. False: not all of it could be, in that time."""
        until = time.monotonic() + seconds
        while True:
            written = self._write_some()  # after a batch that the thread may be writing
            if written and not self._waiting():
                return True
            if time.monotonic() > until:
                return False
            if not written:
                time.sleep(0.05)

    def close(self, seconds: float = _EXIT_SECONDS) -> bool:
        """Write what is waiting and end the thread. False: not all of it could be, in that time.

        Nothing is taken after it.
        """
        written = self.flush(seconds)
        self._closed.set()
        with self._lock:
            thread = self._thread
        if thread is not None:
            thread.join(seconds)
        return written and self.flush(0)

    def _waiting(self) -> bool:
        with self._lock:
            return bool(self._queue or self._counts)

    def _see_to_a_thread(self) -> None:
        if self._closed.is_set():
            return
        # After a fork the thread of the parent is not alive here, and another is started.
        if self._thread is not None and self._thread.is_alive():
            return
        if self._exit_of != os.getpid():
            self._exit_of = os.getpid()
            atexit.register(_close_at_exit, weakref.ref(self))
        self._thread = threading.Thread(target=self._work, name="records", daemon=True)
        try:
            self._thread.start()
        except RuntimeError as error:  # no more threads: the next record tries again
            logs.event(logging.ERROR, "records-wait", exception=error)

    def _work(self) -> None:
        idle = 0
        while True:
            if self._closed.wait(INTERVAL_SECONDS):
                return
            if not self._write_some():
                self._closed.wait(_RETRY_SECONDS)
            with self._lock:
                idle = 0 if self._queue or self._counts else idle + 1
                if idle > _IDLE_ROUNDS:
                    self._thread = None
                    return

    def _write_some(self) -> bool:
        """Write one batch. False: the store is down; the batch waits for the next time."""
        with self._writing:
            with self._lock:
                batch = [self._queue.popleft() for _ in range(min(BATCH, len(self._queue)))]
                counts, self._counts = self._counts, Counter()
            if not batch and not counts:
                return True
            try:
                self._write(batch, counts)
            except StoreDown as error:
                self._put_back(batch, counts)
                self._log("records-wait", error)
                return False
            return True

    def _write(self, batch: Sequence[Rows], counts: Counter[CountKey]) -> None:
        """Write a batch; if it is refused, each record alone, so that only the bad one is lost."""
        try:
            _write(self._store, batch, counts)
        except StoreDown:
            raise
        except Exception as error:  # noqa: BLE001  a record that cannot be written ends here
            if not batch or (len(batch) == 1 and not counts):
                with self._lock:
                    self.dropped += len(batch)
                metrics.records_dropped(len(batch))
                logs.event(logging.ERROR, "records-lost", exception=error, count=len(batch))
                return
            for record in batch:
                self._write([record], Counter())
            if counts:
                self._write([], counts)

    def _put_back(self, batch: Sequence[Rows], counts: Counter[CountKey]) -> None:
        with self._lock:
            self._queue.extendleft(reversed(batch))
            self._counts.update(counts)

    def _log(self, name: str, error: Exception | None = None) -> None:
        """Once a minute: a store that is down would otherwise fill the log."""
        with self._lock:
            if time.monotonic() - self._logged < _LOG_SECONDS:
                return
            self._logged = time.monotonic()
            waiting = len(self._queue)
        logs.event(logging.ERROR, name, exception=error, waiting=waiting, dropped=self.dropped)


def _close_at_exit(reference: weakref.ref[Recorder]) -> None:
    recorder = reference()
    if recorder is not None and not recorder.close():
        logs.event(logging.ERROR, "records-not-flushed")
