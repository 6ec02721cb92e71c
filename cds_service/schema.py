"""What is kept? The tables of the store, and nothing else.

No patient, no practitioner, no text from a record: times, identifiers that we made ourselves,
topics, rules, counts. The one exception is `comments`, what a clinician typed when overriding a
card; it has a table of its own, because it must be forgotten sooner than the rest.

Times are whole milliseconds since 1970 in UTC, the same in every database. `day` is the date in
UTC, for grouping. Changes are migrations, and they only ever add: while an upgrade is rolled out,
two versions of the service write to the same tables.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, MetaData, String, Table, Text

METADATA: Final = MetaData()

#: One row for each evaluated call. A call about orders that are not ours is only counted.
decisions: Final = Table(
    "decisions",
    METADATA,
    Column("id", String(36), primary_key=True),
    Column("at", BigInteger, nullable=False),
    Column("day", String(10), nullable=False),
    Column("tenant", String(40), nullable=False),
    Column("service", String(64), nullable=False),
    Column("hook_instance", String(36)),
    Column("profile", String(40), nullable=False),
    Column("protocol", String(100), nullable=False),
    Column("protocol_hash", String(64), nullable=False),
    Column("mode", String(10), nullable=False),
    Column("status", Integer, nullable=False),
    Column("ms", Integer, nullable=False),
    Column("gaps", Text, nullable=False),
    Column("evaluation", String(32), nullable=False),
    Column("pseudonym", String(64)),
    Index("decisions_day", "day"),
    Index("decisions_at", "at"),
    Index("decisions_evaluation", "evaluation"),
)

#: Which rules were looked at, and why each fired or did not. Few texts recur in all decisions.
evaluations: Final = Table(
    "evaluations",
    METADATA,
    Column("id", String(32), primary_key=True),
    Column("rules", Text, nullable=False),
)

#: One row for each card that was made; `withheld` says why the client did not get it.
#: No foreign key: cards are written with their decision and purged by the same date.
cards: Final = Table(
    "cards",
    METADATA,
    Column("uuid", String(36), primary_key=True),
    Column("decision", String(36), nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("day", String(10), nullable=False),
    Column("tenant", String(40), nullable=False),
    Column("service", String(64), nullable=False),
    Column("protocol", String(100), nullable=False),
    Column("topic", String(40), nullable=False),
    Column("indicator", String(10), nullable=False),
    Column("rule", String(80), nullable=False),
    Column("suggestions", Text, nullable=False),
    Column("withheld", String(20)),
    Index("cards_decision", "decision"),
    Index("cards_day", "day"),
    Index("cards_at", "at"),
)

#: Every item of feedback that said something new. The current one of a card is the latest.
feedback: Final = Table(
    "feedback",
    METADATA,
    Column("id", String(64), primary_key=True),
    Column("tenant", String(40), nullable=False),
    Column("service", String(64), nullable=False),
    Column("card", String(80), nullable=False),
    Column("outcome", String(12), nullable=False),
    Column("suggestions", Text, nullable=False),
    Column("reason", String(100)),
    Column("flags", Text, nullable=False),
    Column("said_at", BigInteger),
    Column("effective_at", BigInteger, nullable=False),
    Column("received_at", BigInteger, nullable=False),
    Column("position", Integer, nullable=False),
    Index("feedback_card", "tenant", "card"),
    Index("feedback_received", "received_at"),
)

#: What a person typed. May hold anything; forgotten first.
comments: Final = Table(
    "comments",
    METADATA,
    Column("feedback", String(64), primary_key=True),
    Column("tenant", String(40), nullable=False),
    Column("received_at", BigInteger, nullable=False),
    Column("text", Text, nullable=False),
    Index("comments_received", "received_at"),
)

#: Topics switched off while the service runs. Tenant "*": for all.
switches: Final = Table(
    "switches",
    METADATA,
    Column("tenant", String(40), primary_key=True),
    Column("topic", String(40), primary_key=True),
    Column("off", Boolean, nullable=False),
    Column("changed_at", BigInteger, nullable=False),
    Column("changed_by", String(60), nullable=False),
)

#: Tokens already used, until they expire. `jti` is a digest: the claim is the client's text.
seen_jti: Final = Table(
    "seen_jti",
    METADATA,
    Column("tenant", String(40), primary_key=True),
    Column("jti", String(64), primary_key=True),
    Column("expires", BigInteger, nullable=False),
    Index("seen_jti_expires", "expires"),
)

#: What was overridden for a pseudonym, and until when it stays quiet. `until` 0: taken back.
overrides: Final = Table(
    "overrides",
    METADATA,
    Column("tenant", String(40), primary_key=True),
    Column("pseudonym", String(64), primary_key=True),
    Column("topic", String(40), primary_key=True),
    Column("until", BigInteger, nullable=False),
    Column("changed_at", BigInteger, nullable=False),
    Index("overrides_changed", "changed_at"),
)

#: Calls that are counted, not recorded: by minute and kind.
call_counts: Final = Table(
    "call_counts",
    METADATA,
    Column("minute", BigInteger, primary_key=True),
    Column("tenant", String(40), primary_key=True),
    Column("service", String(64), primary_key=True),
    Column("kind", String(20), primary_key=True),
    Column("count", BigInteger, nullable=False),
)

#: One row that /readyz writes: a store that only reads is not well.
health: Final = Table(
    "health",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("checked_at", BigInteger, nullable=False),
)
