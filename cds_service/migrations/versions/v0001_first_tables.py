"""The first tables: decisions, feedback, switches, tokens seen."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    _decisions()
    _feedback()
    _governance()
    _operation()


def _decisions() -> None:
    op.create_table(
        "decisions",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("day", sa.String(10), nullable=False),
        sa.Column("tenant", sa.String(40), nullable=False),
        sa.Column("service", sa.String(64), nullable=False),
        sa.Column("hook_instance", sa.String(36)),
        sa.Column("profile", sa.String(40), nullable=False),
        sa.Column("protocol", sa.String(100), nullable=False),
        sa.Column("protocol_hash", sa.String(64), nullable=False),
        sa.Column("mode", sa.String(10), nullable=False),
        sa.Column("status", sa.Integer, nullable=False),
        sa.Column("ms", sa.Integer, nullable=False),
        sa.Column("gaps", sa.Text, nullable=False),
        sa.Column("evaluation", sa.String(32), nullable=False),
        sa.Column("pseudonym", sa.String(64)),
    )
    op.create_index("decisions_day", "decisions", ["day"])
    op.create_index("decisions_at", "decisions", ["at"])
    op.create_table(
        "evaluations",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("rules", sa.Text, nullable=False),
    )
    op.create_table(
        "cards",
        sa.Column("uuid", sa.String(36), primary_key=True),
        sa.Column("decision", sa.String(36), nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("day", sa.String(10), nullable=False),
        sa.Column("tenant", sa.String(40), nullable=False),
        sa.Column("service", sa.String(64), nullable=False),
        sa.Column("protocol", sa.String(100), nullable=False),
        sa.Column("topic", sa.String(40), nullable=False),
        sa.Column("indicator", sa.String(10), nullable=False),
        sa.Column("rule", sa.String(80), nullable=False),
        sa.Column("suggestions", sa.Text, nullable=False),
        sa.Column("withheld", sa.String(20)),
    )
    op.create_index("cards_decision", "cards", ["decision"])
    op.create_index("cards_day", "cards", ["day"])
    op.create_index("cards_at", "cards", ["at"])


def _feedback() -> None:
    op.create_table(
        "feedback",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("tenant", sa.String(40), nullable=False),
        sa.Column("service", sa.String(64), nullable=False),
        sa.Column("card", sa.String(80), nullable=False),
        sa.Column("outcome", sa.String(12), nullable=False),
        sa.Column("suggestions", sa.Text, nullable=False),
        sa.Column("reason", sa.String(100)),
        sa.Column("flags", sa.Text, nullable=False),
        sa.Column("said_at", sa.BigInteger),
        sa.Column("effective_at", sa.BigInteger, nullable=False),
        sa.Column("received_at", sa.BigInteger, nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
    )
    op.create_index("feedback_card", "feedback", ["tenant", "card"])
    op.create_index("feedback_received", "feedback", ["received_at"])
    op.create_table(
        "comments",
        sa.Column("feedback", sa.String(64), primary_key=True),
        sa.Column("tenant", sa.String(40), nullable=False),
        sa.Column("received_at", sa.BigInteger, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
    )
    op.create_index("comments_received", "comments", ["received_at"])


def _governance() -> None:
    op.create_table(
        "switches",
        sa.Column("tenant", sa.String(40), primary_key=True),
        sa.Column("topic", sa.String(40), primary_key=True),
        sa.Column("off", sa.Boolean, nullable=False),
        sa.Column("changed_at", sa.BigInteger, nullable=False),
        sa.Column("changed_by", sa.String(60), nullable=False),
    )
    op.create_table(
        "overrides",
        sa.Column("tenant", sa.String(40), primary_key=True),
        sa.Column("pseudonym", sa.String(64), primary_key=True),
        sa.Column("topic", sa.String(40), primary_key=True),
        sa.Column("until", sa.BigInteger, nullable=False),
        sa.Column("changed_at", sa.BigInteger, nullable=False),
    )
    op.create_index("overrides_changed", "overrides", ["changed_at"])


def _operation() -> None:
    op.create_table(
        "seen_jti",
        sa.Column("tenant", sa.String(40), primary_key=True),
        sa.Column("jti", sa.String(64), primary_key=True),
        sa.Column("expires", sa.BigInteger, nullable=False),
    )
    op.create_index("seen_jti_expires", "seen_jti", ["expires"])
    op.create_table(
        "call_counts",
        sa.Column("minute", sa.BigInteger, primary_key=True),
        sa.Column("tenant", sa.String(40), primary_key=True),
        sa.Column("service", sa.String(64), primary_key=True),
        sa.Column("kind", sa.String(20), primary_key=True),
        sa.Column("count", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "health",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("checked_at", sa.BigInteger, nullable=False),
    )
