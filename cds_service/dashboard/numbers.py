"""How often did each rule fire, what became of its cards, and is any of that unusual?

Everything is counted by the database and comes from the records alone. `fired`: a card was made.
`shown`: the client got it. `ignored`: shown, and no feedback has come (yet). Of feedback the latest
about a card counts, and only feedback of the tenant whose card it is.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

import msgspec
from sqlalchemy import ColumnElement, Connection, Select, Subquery, case, func, select

from cds_service import schema
from cds_service.store import Store, Way

MAX_WEEKS: Final = 104
MAX_COMMENTS: Final = 200

#: Fewer than this expected in a week are too few to wonder that there are none.
_EXPECTED_AT_LEAST: Final = 5.0
_BASELINE_WEEKS: Final = 4
_TIMES: Final = 3.0


@dataclass(frozen=True, slots=True)
class Question:
    """What is looked at. None: all of them."""

    today: date
    weeks: int = 12
    tenant: str | None = None
    protocol: str | None = None

    @property
    def since(self) -> date:
        """A Monday, so that the first week is a whole one."""
        first = self.today - timedelta(weeks=self.weeks - 1)
        return first - timedelta(days=first.weekday())


@dataclass(frozen=True, slots=True)
class Count:
    """What became of cards."""

    fired: int = 0
    shown: int = 0
    accepted: int = 0
    overridden: int = 0

    @property
    def ignored(self) -> int:
        return max(0, self.shown - self.accepted - self.overridden)

    def __add__(self, other: Count) -> Count:
        return Count(
            self.fired + other.fired,
            self.shown + other.shown,
            self.accepted + other.accepted,
            self.overridden + other.overridden,
        )


@dataclass(frozen=True, slots=True, order=True)
class Kind:
    """Cards that are counted together. `week`: its Monday."""

    week: date
    tenant: str
    protocol: str
    topic: str
    rule: str


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds from a call's arrival to its answer."""

    service: str
    calls: int
    p50: int
    p95: int
    p99: int
    longest: int


@dataclass(frozen=True, slots=True)
class Alarm:
    """A rate of the last 7 days that is far from that of the four weeks before, per 100 calls."""

    tenant: str
    topic: str  # "" for the calls themselves
    what: str
    now: float
    before: float


@dataclass(frozen=True, slots=True)
class Comment:
    at: datetime
    tenant: str
    topic: str
    outcome: str
    reason: str
    text: str


@dataclass(frozen=True, slots=True)
class Numbers:
    question: Question
    tenants: tuple[str, ...]
    protocols: tuple[str, ...]
    counts: Mapping[Kind, Count]
    calls: Mapping[str, int]  # evaluated, unread, silent, not ours, refused
    reasons: Mapping[tuple[str, str], int]  # topic, reason
    latencies: tuple[Latency, ...]
    gaps: Mapping[tuple[str, str], int]  # key, kind
    alarms: tuple[Alarm, ...]
    comments: tuple[Comment, ...]
    unmatched: int  # items of feedback about no card that is known

    def by(self, name: str) -> dict[Any, Count]:
        """The counts summed by one part of their kind, in order."""
        sums: defaultdict[Any, Count] = defaultdict(Count)
        for kind, count in self.counts.items():
            sums[getattr(kind, name)] += count
        return dict(sorted(sums.items()))

    @property
    def total(self) -> Count:
        return sum(self.counts.values(), Count())


def read_numbers(store: Store, question: Question) -> Numbers:
    """Raises StoreDown."""
    with store.transaction(Way.READ) as connection:
        latest = _latest(question)
        return Numbers(
            question=question,
            tenants=_distinct(connection, schema.decisions.c.tenant),
            protocols=_distinct(connection, schema.decisions.c.protocol),
            counts=_counts(connection, question, latest),
            calls=_calls(connection, question),
            reasons=_reasons(connection, question, latest),
            latencies=_latencies(connection, question),
            gaps=_gaps(connection, question),
            alarms=_alarms(connection, question),
            comments=_comments(connection, question),
            unmatched=_unmatched(connection, question),
        )


def _distinct(connection: Connection, column: ColumnElement[str]) -> tuple[str, ...]:
    return tuple(connection.execute(select(column).distinct().order_by(column)).scalars())


def _asked(table: Any, question: Question) -> list[ColumnElement[bool]]:
    """The rows that are asked for, of a table with day, tenant and protocol."""
    conditions = [
        table.c.day >= question.since.isoformat(),
        table.c.day <= question.today.isoformat(),
    ]
    if question.tenant is not None:
        conditions.append(table.c.tenant == question.tenant)
    if question.protocol is not None:
        conditions.append(table.c.protocol == question.protocol)
    return conditions


def _ms(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() * 1000)


# --- cards and what became of them --------------------------------------------------------------


def _latest(question: Question) -> Subquery:
    """The latest feedback of each card."""
    f = schema.feedback
    order = (f.c.effective_at.desc(), f.c.received_at.desc(), f.c.position.desc())
    ranked = (
        select(
            f.c.tenant,
            f.c.card,
            f.c.outcome,
            f.c.reason,
            func.row_number()
            .over(partition_by=(f.c.tenant, f.c.card), order_by=order)
            .label("nth"),
        )
        .where(f.c.received_at >= _ms(question.since))
        .subquery()
    )
    return select(ranked).where(ranked.c.nth == 1).subquery()


def _with_feedback(columns: Sequence[Any], latest: Subquery, *, only: bool) -> Select[Any]:
    c = schema.cards
    own = (latest.c.tenant == c.c.tenant) & (latest.c.card == c.c.uuid)
    return select(*columns).select_from(c.join(latest, own, isouter=not only))


def _counts(connection: Connection, question: Question, latest: Subquery) -> dict[Kind, Count]:
    c = schema.cards
    keys = (c.c.day, c.c.tenant, c.c.protocol, c.c.topic, c.c.rule)
    shown = c.c.withheld.is_(None)
    numbers = (
        func.count().label("fired"),
        _sum(shown),
        _sum(shown & (latest.c.outcome == "accepted")),
        _sum(shown & (latest.c.outcome == "overridden")),
    )
    query = _with_feedback((*keys, *numbers), latest, only=False)
    counts: defaultdict[Kind, Count] = defaultdict(Count)
    for day, tenant, protocol, topic, rule, *sums in connection.execute(
        query.where(*_asked(c, question)).group_by(*keys)
    ):
        counts[Kind(_monday(day), tenant, protocol, topic, rule)] += Count(*map(int, sums))
    return dict(sorted(counts.items()))


def _sum(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return func.sum(case((condition, 1), else_=0))


def _monday(day: str) -> date:
    on = date.fromisoformat(day)
    return on - timedelta(days=on.weekday())


def _reasons(
    connection: Connection, question: Question, latest: Subquery
) -> dict[tuple[str, str], int]:
    c = schema.cards
    keys = (c.c.topic, func.coalesce(latest.c.reason, "none given").label("reason"))
    query = _with_feedback((*keys, func.count()), latest, only=True)
    query = query.where(latest.c.outcome == "overridden", *_asked(c, question)).group_by(*keys)
    rows = connection.execute(query).all()
    return {(t, r): n for t, r, n in sorted(rows, key=lambda row: (-row[2], row[0], row[1]))}


def _unmatched(connection: Connection, question: Question) -> int:
    f, c = schema.feedback, schema.cards
    own = (c.c.tenant == f.c.tenant) & (c.c.uuid == f.c.card)
    query = (
        select(func.count())
        .select_from(f.join(c, own, isouter=True))
        .where(c.c.uuid.is_(None), f.c.received_at >= _ms(question.since))
    )
    if question.tenant is not None:
        query = query.where(f.c.tenant == question.tenant)
    return connection.execute(query).scalar_one()


def _comments(connection: Connection, question: Question) -> tuple[Comment, ...]:
    m, f, c = schema.comments, schema.feedback, schema.cards
    own = (c.c.tenant == f.c.tenant) & (c.c.uuid == f.c.card)
    query = (
        select(m.c.received_at, m.c.tenant, c.c.topic, f.c.outcome, f.c.reason, m.c.text)
        .select_from(m.join(f, f.c.id == m.c.feedback).join(c, own, isouter=True))
        .where(m.c.received_at >= _ms(question.since))
        .order_by(m.c.received_at.desc(), m.c.feedback)
        .limit(MAX_COMMENTS)
    )
    if question.tenant is not None:
        query = query.where(m.c.tenant == question.tenant)
    if question.protocol is not None:
        query = query.where(c.c.protocol == question.protocol)
    return tuple(
        Comment(
            datetime.fromtimestamp(at / 1000, UTC), tenant, topic or "", outcome, reason or "", text
        )
        for at, tenant, topic, outcome, reason, text in connection.execute(query)
    )


# --- calls --------------------------------------------------------------------------------------


def _calls(connection: Connection, question: Question) -> dict[str, int]:
    d, n = schema.decisions, schema.call_counts
    calls: Counter[str] = Counter()
    rows = connection.execute(
        select(d.c.mode, d.c.status, func.count())
        .where(*_asked(d, question))
        .group_by(d.c.mode, d.c.status)
    )
    for mode, status, count in rows:
        calls["evaluated" if status == 200 else "record unread (412)"] += count
        if mode != "live":
            calls[f"of these {mode}"] += count
    query = select(n.c.kind, func.sum(n.c["count"])).where(
        n.c.minute >= _ms(question.since), n.c.minute < _ms(question.today + timedelta(days=1))
    )
    if question.tenant is not None:
        query = query.where(n.c.tenant == question.tenant)
    for kind, count in connection.execute(query.group_by(n.c.kind)):
        calls["not about our orders" if kind == "not-ours" else kind] += int(count)
    return dict(calls)


def _latencies(connection: Connection, question: Question) -> tuple[Latency, ...]:
    d = schema.decisions
    keys = (d.c.service, d.c.ms)
    rows = connection.execute(
        select(*keys, func.count()).where(*_asked(d, question)).group_by(*keys).order_by(*keys)
    )
    spread: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
    for service, ms, count in rows:
        spread[service].append((ms, count))
    return tuple(_latency(service, counted) for service, counted in spread.items())


def _latency(service: str, counted: Sequence[tuple[int, int]]) -> Latency:
    """`counted`: milliseconds and how many calls took them, rising."""
    calls = sum(count for _, count in counted)
    p50, p95, p99 = (_percentile(counted, calls * share) for share in (0.5, 0.95, 0.99))
    return Latency(service, calls, p50, p95, p99, counted[-1][0])


def _percentile(counted: Iterable[tuple[int, int]], rank: float) -> int:
    passed, slowest = 0, 0
    for ms, count in counted:
        passed, slowest = passed + count, ms
        if passed >= rank:
            break
    return slowest


def _gaps(connection: Connection, question: Question) -> dict[tuple[str, str], int]:
    d = schema.decisions
    rows = connection.execute(
        select(d.c.gaps, func.count())
        .where(*_asked(d, question), d.c.gaps != "[]")
        .group_by(d.c.gaps)
    )
    gaps: Counter[tuple[str, str]] = Counter()
    for text, calls in rows:
        for key, kind, _ in msgspec.json.decode(text, type=list[tuple[str, str, int]]):
            gaps[key, kind] += calls
    return dict(sorted(gaps.items(), key=lambda item: (-item[1], item[0])))


# --- alarms -------------------------------------------------------------------------------------


def _alarms(connection: Connection, question: Question) -> tuple[Alarm, ...]:
    """The last 7 days against the four weeks before them, whatever weeks are looked at."""
    today = question.today
    week = today - timedelta(days=6)
    before = week - timedelta(weeks=_BASELINE_WEEKS)
    calls_now = _by_tenant(connection, week, today)
    calls_before = _by_tenant(connection, before, week - timedelta(days=1))
    cards_now = _by_topic(connection, week, today)
    cards_before = _by_topic(connection, before, week - timedelta(days=1))
    alarms = []
    for tenant in sorted(calls_before.keys() | calls_now.keys()):
        if question.tenant not in (None, tenant):
            continue
        now, then = calls_now[tenant], calls_before[tenant]
        if not now and then / _BASELINE_WEEKS >= _EXPECTED_AT_LEAST:
            alarms.append(Alarm(tenant, "", "no calls", 0.0, then / _BASELINE_WEEKS))
        topics = {topic for t, topic in cards_now | cards_before if t == tenant}
        for topic in sorted(topics):
            alarm = _alarm(
                tenant, topic, (cards_now[tenant, topic], now), (cards_before[tenant, topic], then)
            )
            alarms += [alarm] if alarm else []
    return tuple(alarms)


def _alarm(tenant: str, topic: str, now: tuple[int, int], before: tuple[int, int]) -> Alarm | None:
    """`now`, `before`: cards and calls. Rates per 100 calls, as the number of calls may vary."""
    (cards, calls), (cards_then, calls_then) = now, before
    if not calls or not calls_then:
        return None
    rate, rate_then = cards / calls, cards_then / calls_then
    expected = rate_then * calls
    what = ""
    if cards == 0 and expected >= _EXPECTED_AT_LEAST:
        what = "has stopped"
    elif cards and expected >= _EXPECTED_AT_LEAST and expected >= _TIMES * cards:
        what = "fires far less"
    elif cards >= _TIMES * max(expected, _EXPECTED_AT_LEAST):
        what = "fires far more"
    return Alarm(tenant, topic, what, 100 * rate, 100 * rate_then) if what else None


def _by_tenant(connection: Connection, first: date, last: date) -> Counter[str]:
    d = schema.decisions
    rows = connection.execute(
        select(d.c.tenant, func.count()).where(*_between(d, first, last)).group_by(d.c.tenant)
    )
    return Counter({row.tenant: row[1] for row in rows})


def _by_topic(connection: Connection, first: date, last: date) -> Counter[tuple[str, str]]:
    c = schema.cards
    keys = (c.c.tenant, c.c.topic)
    rows = connection.execute(
        select(*keys, func.count()).where(*_between(c, first, last)).group_by(*keys)
    )
    return Counter({(tenant, topic): count for tenant, topic, count in rows})


def _between(table: Any, first: date, last: date) -> tuple[ColumnElement[bool], ...]:
    return table.c.day >= first.isoformat(), table.c.day <= last.isoformat()
