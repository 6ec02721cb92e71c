"""What does a record look like? Cards and decisions with nothing in them but what a test needs."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Table, select

from cds_service.hooks.response import Card, Coding, Source, Suggestion
from cds_service.records import Decision, write
from cds_service.store import Store, Way
from regimen.recommendation import Indicator, RuleOutcome, Topic


def card(topic: str = Topic.REGIMEN, indicator: str = "info") -> Card:
    return Card(
        summary="A summary that quotes 120 pg/mL",
        indicator=Indicator(indicator),
        source=Source(label="A label", topic=Coding(code=str(topic), system="https://x.example")),
        suggestions=(Suggestion(label="A label"),),
        selection_behavior="at-most-one",
    )


def decision(*cards: Card, **parts: Any) -> Decision:
    given = {
        "tenant": "north",
        "service": "b12-order-select",
        "hook_instance": "d1577c69-dfbe-44ad-ba6d-3e05e953b2ea",
        "profile": "default",
        "protocol": "default/1",
        "protocol_hash": "abc",
        "mode": "live",
        "status": 200,
        "ms": 4.2,
        "rules": {"regimen": "regimen-standard"},
        "outcomes": (
            RuleOutcome("regimen", fired=True, why="quotes 120 pg/mL"),
            RuleOutcome("dose", fired=False, why="no dose above the usual"),
        ),
    }
    return Decision(cards=cards, **(given | parts))


def recorded(store: Store, *cards: Card, **parts: Any) -> tuple[Card, ...]:
    """Write one decision with these cards, or with one."""
    cards = cards or (card(),)
    write(store, [decision(*cards, **parts)], {})
    return cards


def rows(store: Store, table: Table) -> list[dict[str, Any]]:
    with store.transaction(Way.READ) as connection:
        return [dict(row) for row in connection.execute(select(table)).mappings()]
