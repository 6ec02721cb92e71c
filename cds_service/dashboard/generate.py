"""What does the dashboard look like with a year of use behind it? Made-up records, to try it with.

Nobody is in them. The numbers have a shape: some topics are taken, some overridden, and in the last
week one has stopped, so that there is an alarm to see.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from cds_service.feedback import STANDARD_REASONS, Item, keep_feedback
from cds_service.hooks.response import Card, Coding, Source, Suggestion
from cds_service.records import Decision, write
from cds_service.store import Store, now_ms
from cds_service.tenants import Tenant
from regimen.protocol import Protocol
from regimen.recommendation import Indicator, RuleOutcome, Topic

_DAY_MS: Final = 86_400_000
_BATCH: Final = 500
_TENANTS: Final = ("north-hospital", "south-clinic")
_SERVICE: Final = "b12-order-select"

#: Topic: how often it fires in 100 calls, how often it is accepted and overridden when shown.
_HABITS: Final[Mapping[Topic, tuple[int, int, int]]] = {
    Topic.REGIMEN: (45, 30, 25),
    Topic.EVIDENCE: (18, 22, 40),
    Topic.ROUTE: (12, 15, 50),
    Topic.REFERRAL: (8, 35, 15),
    Topic.FOLATE: (6, 50, 20),
    Topic.STOP: (5, 45, 20),
    Topic.DOSE: (2, 80, 8),
    Topic.UNAVAILABLE: (7, 0, 10),
}
_COMMENTS: Final = (
    "Already discussed with haematology",
    "Stock of the other product only",
    '=HYPERLINK("https://example.invalid","look")',
    "<b>Patient prefers tablets</b>",
)


def generate(
    store: Store, protocol: Protocol, *, decisions: int, weeks: int, seed: int = 1
) -> None:
    """Write so many made-up decisions, spread over the last weeks, and feedback on them."""
    chance = random.Random(seed)  # noqa: S311  nothing secret: the same numbers every time
    now = now_ms()
    for start in range(0, decisions, _BATCH):
        batch = [
            _decision(chance, protocol, now - chance.randrange(weeks * 7 * _DAY_MS), now)
            for _ in range(min(_BATCH, decisions - start))
        ]
        write(store, batch, {(now // 60_000 * 60_000, _TENANTS[0], _SERVICE, "not-ours"): _BATCH})
        for name in _TENANTS:
            mine = [decision for decision in batch if decision.tenant == name]
            keep_feedback(store, list(_feedback(chance, mine)), Tenant(id=name), _SERVICE)


def _decision(chance: random.Random, protocol: Protocol, at: int, now: int) -> Decision:
    fired = [topic for topic, (often, _, _) in _HABITS.items() if chance.randrange(100) < often]
    if Topic.ROUTE in fired and at > now - 7 * _DAY_MS:
        fired.remove(Topic.ROUTE)
    cards = [_card(topic) for topic in fired]
    silent = chance.randrange(100) < 5
    return Decision(
        tenant=chance.choice(_TENANTS),
        service=_SERVICE,
        hook_instance=str(uuid.UUID(int=chance.getrandbits(128), version=4)),
        profile=protocol.profile,
        protocol=f"{protocol.profile}/{protocol.knowledge.version}",
        protocol_hash=protocol.content_hash,
        mode="silent" if silent else "live",
        status=200,
        ms=chance.lognormvariate(2.2, 0.6),
        cards=cards,
        rules={topic.value: topic.value for topic in fired},
        outcomes=[RuleOutcome(t.value, fired=t in fired, why="made up") for t in _HABITS],
        gaps=[("labs", "server_error", 1)] if Topic.UNAVAILABLE in fired else [],
        withheld={card.uuid: "silent" for card in cards} if silent else {},
        at=at,
    )


def _card(topic: Topic) -> Card:
    return Card(
        summary="made up",
        indicator=Indicator.INFO,
        source=Source(label="made up", topic=Coding(code=topic.value, system="made-up")),
        suggestions=(Suggestion(label="made up"),),
    )


def _feedback(chance: random.Random, decisions: Sequence[Decision]) -> Iterator[Item]:
    reasons = sorted(STANDARD_REASONS)[:6]
    for decision in decisions:
        for card in decision.cards:
            topic = Topic(card.source.topic.code) if card.source.topic else Topic.REGIMEN
            _, accepted, overridden = _HABITS[topic]
            fate = chance.randrange(100)
            said = decision.at + chance.randrange(60_000)
            if decision.mode == "live" and fate < accepted:
                taken = (card.suggestions[0].uuid,)
                yield Item(card.uuid, "accepted", suggestions=taken, said_at=said)
            elif decision.mode == "live" and fate < accepted + overridden:
                comment = chance.choice(_COMMENTS) if fate % 10 == 0 else ""
                reason = chance.choice(reasons)
                yield Item(card.uuid, "overridden", reason=reason, comment=comment, said_at=said)
