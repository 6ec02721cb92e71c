"""How does a store get the tables this version needs?

Every revision in `versions/` that the store does not have yet is carried out, in one transaction.
Revisions only add (see `cds_service.schema`), so a store that is ahead of this version, as during a
rolled-out upgrade, is used as it is.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

#: Any number, the same in all processes: who holds this lock of PostgreSQL migrates.
_LOCK: Final = 12_121_212


def migrate(connection: Connection) -> None:
    """Bring the store up to date, inside the transaction of `connection`."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
    scripts = ScriptDirectory(str(Path(__file__).parent))
    context = MigrationContext.configure(connection)
    current = context.get_current_revision()
    if current is not None and current not in {s.revision for s in scripts.walk_revisions()}:
        return
    missing = list(scripts.iterate_revisions("head", current or "base"))
    with Operations.context(context):
        for script in reversed(missing):
            script.module.upgrade()
            context.stamp(scripts, script.revision)
