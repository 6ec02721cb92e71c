"""Why did the service show this card? From the record alone, long after the call.

Which knowledge answered, every rule that was looked at, what could not be read, and what became of
the card. The patient's facts are not in the record: the same request with the same protocol version
gives the same card (`b12-cds evaluate --explain`).
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, Row, select

from cds_service import schema
from cds_service.store import Store, Way

_Row = Row[*tuple[Any, ...]]

_WITHHELD: Final = {
    None: "shown to the client",
    "topic-off": "not shown: the topic was switched off",
    "overridden": "not shown: overridden for this patient a short while before",
    "max-cards": "not shown: more cards than the client wants at once",
    "silent": "not shown: the client was in silent mode",
    "roll-out": "not shown: the user was not part of the roll-out yet",
}


def explain_card(store: Store, card: str) -> str | None:
    """What is recorded about a card, as text. None: nothing is. Raises StoreDown."""
    try:
        key = str(uuid.UUID(card))
    except ValueError:
        return None
    c, d, e = schema.cards, schema.decisions, schema.evaluations
    with store.transaction(Way.READ) as connection:
        found = connection.execute(select(c).where(c.c.uuid == key)).one_or_none()
        if found is None:
            return None
        decision = connection.execute(select(d).where(d.c.id == found.decision)).one()
        rules = connection.execute(
            select(e.c.rules).where(e.c.id == decision.evaluation)
        ).scalar_one()
        siblings = connection.execute(
            select(c).where(c.c.decision == found.decision).order_by(c.c.topic)
        ).all()
        feedback = _feedback(connection, found)
    lines = [
        *_card(found),
        *_decision(decision),
        *_section("Feedback", feedback),
        *_section("All cards of this call", map(_sibling, siblings)),
        *_section("Rules", map(_rule, msgspec.json.decode(rules))),
        *_section("Not read", map(_gap, msgspec.json.decode(decision.gaps))),
    ]
    return "\n".join(lines)


def _card(card: _Row) -> Iterator[str]:
    yield f"card {card.uuid}"
    yield f"  {card.indicator} {card.topic}, by rule {card.rule}"
    yield f"  {_WITHHELD.get(card.withheld, card.withheld)}"
    for suggestion in msgspec.json.decode(card.suggestions):
        yield f"  suggestion {suggestion}"


def _decision(decision: _Row) -> Iterator[str]:
    yield f"  {_time(decision.at)}, tenant {decision.tenant}, service {decision.service}"
    if decision.hook_instance:
        yield f"  hook instance {decision.hook_instance}"
    yield f"  protocol {decision.protocol}, content {decision.protocol_hash}"
    yield f"  mode {decision.mode}, status {decision.status}, {decision.ms} ms"


def _section(title: str, lines: Iterator[str] | map[str]) -> Iterator[str]:
    yield ""
    yield title
    yield "-" * len(title)
    found = [f"  {line}" for line in lines]
    yield from found or ["  none"]


def _sibling(card: _Row) -> str:
    return f"{card.indicator:8} {card.topic}: {_WITHHELD.get(card.withheld, card.withheld)}"


def _rule(rule: tuple[str, bool, str]) -> str:
    name, fired, why = rule
    return f"{'FIRED' if fired else 'no':5} {name}: {why}"


def _gap(gap: tuple[str, str, int]) -> str:
    key, kind, count = gap
    return f"{key}: {kind} ({count})"


def _feedback(connection: Connection, card: _Row) -> Iterator[str]:
    """The tenant's own, oldest first; the last one counts. Comments stay in their own place."""
    f = schema.feedback
    rows = connection.execute(
        select(f)
        .where(f.c.tenant == card.tenant, f.c.card == card.uuid)
        .order_by(f.c.effective_at, f.c.received_at, f.c.position)
    ).all()
    return iter([_said(row) for row in rows])


def _said(row: _Row) -> str:
    reason = f", reason {row.reason}" if row.reason else ""
    flags = msgspec.json.decode(row.flags)
    marked = f" ({', '.join(flags)})" if flags else ""
    return f"{_time(row.effective_at)} {row.outcome}{reason}{marked}"


def _time(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(sep=" ", timespec="seconds")
