"""Which of the cards does this client get, and who decided that it gets no others?

Everything is evaluated and recorded first; here is only withheld. In this order:

    topic-off   switched off by the tenant's file, or while running by `b12-cds topics off`
    overridden  this clinician's patient had it overridden less than so many days ago
    max-cards   more than the tenant wants at once
    silent      the tenant only listens
    roll-out    the user is not among those it is rolled out to yet

The first three never withhold a critical card of a danger, nor the card that says what could not be
read: an empty answer would look like "all is well". Silent and roll-out withhold everything; that
is what they are for.

Switches and overrides are read in the background every second and a half, so a switch is in force
in all workers within two seconds, and no hook call asks the store. Only the first call of a worker
waits for the first reading, a fifth of a second at most. While the store is down the last that was
known stays in force. The reading ends with what it is for: when the
application is closed or forgotten, or the process ends, and before the store is closed.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import threading
import time
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from cds_service import logs
from cds_service.errors import StoreDown
from cds_service.hooks.request import Members, value_of
from cds_service.hooks.response import Card
from cds_service.store import EVERYONE, Store, now_ms
from cds_service.tenants import Tenant
from regimen.recommendation import NEVER_SILENCED, Indicator, Topic

POLL_SECONDS: Final = 1.5
_FIRST_POLL_SECONDS: Final = 0.2
_OVERLAP_MS: Final = 60_000  # a transaction is seen when it commits, later than it says
_LOG_SECONDS: Final = 60.0
_TOKENS_SECONDS: Final = 600.0
_STOP_SECONDS: Final = 5.0  # longer than the store takes to say that it is down

OverrideKey = tuple[str, str, str]  # tenant, pseudonym, topic


@dataclass(frozen=True, slots=True)
class Decided:
    """What the client gets. `withheld`: uuid of a card that it does not get → why."""

    cards: tuple[Card, ...] = ()
    withheld: Mapping[str, str] = field(default_factory=dict)
    mode: str = "live"
    pseudonym: str | None = None


class _Who(NamedTuple):
    patient_id: object = None
    user_id: object = None


class Governance:
    """The switches in force in this process."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._off: frozenset[tuple[str, str]] = frozenset()
        self._overridden: dict[OverrideKey, int] = {}
        self._read_to = 0
        self._lock = threading.Lock()
        self._watching_in: int | None = None
        self._first_poll = threading.Event()
        self._ending: weakref.finalize[[threading.Thread, threading.Event], Governance] | None = (
            None
        )
        self._logged: dict[str, float] = {}
        self._tokens_at = time.monotonic()

    def decide(self, cards: Sequence[Card], tenant: Tenant, context: Members) -> Decided:
        """Which of `cards` this call is answered with. `context`: of the hook, as it was sent."""
        self._watch()
        who = _who(tenant, context)
        pseudonym = _pseudonym(tenant, who.patient_id)
        withheld = self._withheld(cards, tenant, pseudonym)
        mode = "live"
        if tenant.mode == "silent":
            mode = "silent"
        elif not _rolled_out(tenant, who.user_id):
            mode = "roll-out"
        if mode != "live":
            withheld |= {card.uuid: mode for card in cards if card.uuid not in withheld}
        shown = tuple(card for card in cards if card.uuid not in withheld)
        return Decided(shown, withheld, mode, pseudonym)

    def _withheld(
        self, cards: Sequence[Card], tenant: Tenant, pseudonym: str | None
    ) -> dict[str, str]:
        withheld = {}
        now = now_ms()
        for card in cards:
            if _topic(card) == Topic.UNAVAILABLE:
                continue
            if self._switched_off(card, tenant):
                withheld[card.uuid] = "topic-off"
            elif self._is_quiet(card, tenant, pseudonym, now):
                withheld[card.uuid] = "overridden"
        left = [card for card in cards if card.uuid not in withheld]
        return withheld | dict.fromkeys(_too_many(left, tenant.max_cards), "max-cards")

    def _switched_off(self, card: Card, tenant: Tenant) -> bool:
        topic = _topic(card)
        off = topic in tenant.topics_off or not self._off.isdisjoint(
            {(tenant.id, topic), (EVERYONE, topic)}
        )
        return off and not (topic in NEVER_SILENCED and card.indicator is Indicator.CRITICAL)

    def _is_quiet(self, card: Card, tenant: Tenant, pseudonym: str | None, now: int) -> bool:
        if pseudonym is None or card.indicator is Indicator.CRITICAL:
            return False
        return self._overridden.get((tenant.id, pseudonym, _topic(card)), 0) > now

    # --- what is in force ---------------------------------------------------------------------

    def _watch(self) -> None:
        """Have the switches read in this process. Only its first call waits, and briefly."""
        if self._watching_in != os.getpid():
            with self._lock:
                if self._watching_in != os.getpid():
                    self._start()
        if not self._first_poll.is_set():
            self._first_poll.wait(_FIRST_POLL_SECONDS)

    def _start(self) -> None:
        self._first_poll.clear()
        end = threading.Event()
        arguments = (weakref.ref(self), end)
        thread = threading.Thread(
            target=_keep_polling, args=arguments, name="switches", daemon=True
        )
        try:
            thread.start()
        except RuntimeError as error:  # no more threads: the next call tries again
            self._first_poll.set()
            logs.event(logging.ERROR, "switches-not-read", exception=error)
            return
        self._watching_in = os.getpid()
        # Made after the store's own, so at the end of the process it is called before it.
        self._ending = weakref.finalize(self, _end, thread, end)

    def stop(self) -> None:
        """Have nothing read any more. What was known last stays in force."""
        with self._lock:
            self._watching_in = os.getpid()
            self._first_poll.set()
            ending, self._ending = self._ending, None
        if ending is not None:
            ending()

    def poll(self) -> None:
        """Read the switches and what was overridden. Store down: keep what is known."""
        try:
            self._off = self._store.switched_off()
            self._read_overrides()
        except StoreDown as error:
            self._log("switches-not-read", error)
        finally:
            self._first_poll.set()
        self._forget_tokens()

    def _forget_tokens(self) -> None:
        """A portion at a time: nobody waits long for the store, nor the switches for this."""
        if time.monotonic() - self._tokens_at < _TOKENS_SECONDS:
            return
        try:
            more = self._store.forget_tokens()
        except StoreDown as error:
            self._log("tokens-not-forgotten", error)
            return
        if not more:
            self._tokens_at = time.monotonic()

    def _log(self, name: str, error: StoreDown) -> None:
        """Each once a minute: a store that is down would otherwise fill the log."""
        now = time.monotonic()
        if now - self._logged.get(name, float("-inf")) > _LOG_SECONDS:
            self._logged[name] = now
            logs.event(logging.ERROR, name, exception=error)

    def _read_overrides(self) -> None:
        now = now_ms()
        changed = self._store.overrides_since(self._read_to - _OVERLAP_MS)
        known = self._overridden | changed
        self._overridden = {key: until for key, until in known.items() if until > now}
        self._read_to = now


def _keep_polling(reference: weakref.ref[Governance], end: threading.Event) -> None:
    while not end.is_set():
        governance = reference()
        if governance is None:
            return
        try:
            governance.poll()
        except Exception as error:  # noqa: BLE001  the thread must live, or no switch works
            logs.event(logging.ERROR, "switches-not-read", exception=error)
        del governance
        end.wait(POLL_SECONDS)


def _end(thread: threading.Thread, end: threading.Event) -> None:
    end.set()
    if thread is not threading.current_thread():  # which may be the last to know of its Governance
        thread.join(_STOP_SECONDS)


# --- who ----------------------------------------------------------------------------------------


def _who(tenant: Tenant, context: Members) -> _Who:
    """Patient and user, if this tenant has a use for them."""
    if tenant.pseudonym_key is None and tenant.rollout_percent >= 100:
        return _Who()
    return _Who(value_of(context.get("patientId")), value_of(context.get("userId")))


def _pseudonym(tenant: Tenant, patient_id: object) -> str | None:
    """The patient under the tenant's key: the same person again, and nobody knows who."""
    if tenant.pseudonym_key is None or not isinstance(patient_id, str):
        return None
    return hmac.new(
        tenant.pseudonym_key, patient_id.encode("utf-8", "surrogatepass"), hashlib.sha256
    ).hexdigest()


def _rolled_out(tenant: Tenant, user_id: object) -> bool:
    """The same users every time, and more of them as the percentage grows; nobody unnamed."""
    if tenant.rollout_percent >= 100:
        return True
    if not isinstance(user_id, str) or not user_id:
        return False
    text = f"{tenant.id}\n{user_id}".encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.sha256(text).digest()[:4]) % 100 < tenant.rollout_percent


# --- cards --------------------------------------------------------------------------------------


def _topic(card: Card) -> str:
    return card.source.topic.code if card.source.topic else ""


def _too_many(cards: Sequence[Card], limit: int) -> list[str]:
    """The uuids of those beyond the limit. They come most urgent first; what must be seen stays."""
    others = [card.uuid for card in cards if not _must_be_seen(card)]
    room = limit - (len(cards) - len(others))
    return others[max(0, room) :]


def _must_be_seen(card: Card) -> bool:
    return card.indicator is Indicator.CRITICAL or _topic(card) == Topic.UNAVAILABLE
