"""An index, so that evaluations which no decision refers to any more are found without a search."""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_index("decisions_evaluation", "decisions", ["evaluation"])
