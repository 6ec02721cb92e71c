"""Where is what we keep, how safely is it written, and what if the store does not answer?

SQLite in one file, or PostgreSQL by URL; the same tables (`cds_service.schema`) and the same
statements. Three ways in, each with connections of its own:

    READ     the dashboard, the switches
    FAST     decision records, tokens seen: survives the process, perhaps not the machine
    DURABLE  feedback: what was acknowledged is on the disk

A store that is down, locked, full or read-only raises `StoreDown`, after a second or two and never
more than four. What is our own mistake, a statement that is wrong, is raised as it is. Of a hook
call only `remember_jti` waits for the store: the call of a client that sends a token, which is
refused without an answer. Decision records and switches go by threads of their own.

An engine belongs to one process. After a fork a new one is made; the connections of the parent are
left alone. A store in memory is one connection: it is closed when no statement runs on it, or
SQLite would take the process down with it, and what was in it is gone.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, Literal

from sqlalchemy import (
    URL,
    ColumnElement,
    Connection,
    Engine,
    Table,
    create_engine,
    delete,
    event,
    exists,
    make_url,
    select,
    tuple_,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import (
    ArgumentError,
    DataError,
    DBAPIError,
    IntegrityError,
    NotSupportedError,
    ProgrammingError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import StaticPool

from cds_service import schema
from cds_service.errors import StoreDown
from cds_service.migrations import migrate

#: SQLite: how long to wait for another writer. Commits take milliseconds.
BUSY_SECONDS: Final = 2.0
_CLOCK_FAULT_MS: Final = 2 * 3_600_000
_PREPARE_WAIT_SECONDS: Final = 1.0
_CHECK_KEPT_SECONDS: Final = 1.0
_CHUNK: Final = 500
_PAUSE_SECONDS: Final = 0.05
#: Whose a switch for all tenants is, in its table.
EVERYONE: Final = "*"
_MEMORY: Final = (None, "", ":memory:")
#: SQLSTATE, of PostgreSQL.
_UNDEFINED_TABLE: Final = "42P01"
_NO_PRIVILEGE: Final = "42501"

Row = Mapping[str, Any]


class Way(StrEnum):
    READ = "read"
    FAST = "fast"
    DURABLE = "durable"


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def chunks(items: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """`items` in portions that fit the parameters of one statement."""
    for start in range(0, len(items), _CHUNK):
        yield items[start : start + _CHUNK]


@dataclass(frozen=True, slots=True)
class Retention:
    """For how many days things are kept."""

    decisions_days: int = 730
    feedback_days: int = 730
    comments_days: int = 90


def _token_age(now: int | None) -> int:
    """Tokens that expired before this are forgotten. A clock may jump ahead and be set back: what
    was forgotten in between would be good a second time."""
    return (now_ms() if now is None else now) - _CLOCK_FAULT_MS


def store_kind(url: str) -> Literal["memory", "sqlite", "postgresql"]:
    """What a store's URL names. Raises ValueError, which does not repeat it."""
    try:
        parsed = _with_driver(make_url(url))
    except (ArgumentError, ValueError):  # its message may hold a password
        parsed = URL.create("none")
    if parsed.drivername == "postgresql+psycopg":
        if not (parsed.host or parsed.database or parsed.query):
            raise ValueError("must name a database")
        return "postgresql"
    # With a host or options, SQLite would take another file than the one named, or none.
    odd = parsed.host or parsed.query or (parsed.database or "").startswith("file:")
    if parsed.drivername != "sqlite" or odd:
        raise ValueError("must be a URL that begins with sqlite:/// or postgresql://")
    return "memory" if parsed.database in _MEMORY else "sqlite"


class Store:
    """The store at a URL. Making one touches nothing; the first use does."""

    def __init__(self, url: str) -> None:
        self._url = _with_driver(make_url(url))
        self._sqlite = self._url.drivername == "sqlite"
        self._memory = self._sqlite and self._url.database in _MEMORY
        self._engines: dict[tuple[int, Way], Engine] = {}
        self._engines_lock = threading.Lock()
        self._prepare_lock = threading.Lock()
        # One connection holds a database in memory, so one thread at a time.
        self._memory_lock: AbstractContextManager[object] = (
            threading.RLock() if self._memory else nullcontext()
        )
        self._prepared = False
        self._checked: tuple[float, bool] | None = None
        self._closed = False
        weakref.finalize(self, _dispose, self._engines, self._memory_lock)

    @property
    def shared(self) -> bool:
        """Do other processes see it, and does it outlive this one?"""
        return not self._memory

    # --- access -------------------------------------------------------------------------------

    @contextmanager
    def transaction(self, way: Way) -> Iterator[Connection]:
        """A connection in a transaction, committed at the end.

        Raises StoreDown; whatever else is raised is no matter of the store: it is fine, and what it
        was given is not (IntegrityError, DataError), or the statement, or the caller.
        """
        try:
            self.prepare()
            with self._memory_lock, self._engine(way).begin() as connection:
                yield connection
        except (DBAPIError, PoolTimeout, sqlite3.Error) as error:
            if _tables_are_missing(error):
                self._prepared = False  # another database is there now: make them next time
            elif not _means_down(error):
                raise
            raise StoreDown from error

    def prepare(self) -> None:
        """Make the tables, if that has not been done. Raises StoreDown."""
        if self._prepared:
            return
        if not self._prepare_lock.acquire(timeout=_PREPARE_WAIT_SECONDS):
            raise StoreDown
        try:
            if not self._prepared:
                self._make_tables()
                self._prepared = True
        except OSError as error:  # the folder or the file cannot be made
            raise StoreDown from error
        except (DBAPIError, PoolTimeout, sqlite3.Error) as error:
            if not _means_down(error):
                raise
            raise StoreDown from error
        finally:
            self._prepare_lock.release()

    def _make_tables(self) -> None:
        if self._sqlite and not self._memory:
            _make_file(Path(str(self._url.database)))
        with self._memory_lock, self._engine(Way.DURABLE).begin() as connection:
            if self._memory:  # new each time: there is nothing to migrate
                schema.METADATA.create_all(connection)
            else:
                migrate(connection)

    def answers(self) -> bool:
        """Does the store take a write now? Asked at most once a second."""
        if self._checked is None or time.monotonic() - self._checked[0] > _CHECK_KEPT_SECONDS:
            self._checked = time.monotonic(), self._takes_a_write()
        return self._checked[1]

    def _takes_a_write(self) -> bool:
        try:
            with self.transaction(Way.FAST) as connection:
                at = {"id": 1, "checked_at": now_ms()}
                connection.execute(upsert(connection, schema.health, ("checked_at",)), at)
        except StoreDown:
            return False
        return True

    def close(self) -> None:
        """Close the connections of this process. One in memory then answers StoreDown."""
        self._closed = True
        _dispose(self._engines, self._memory_lock)

    def before_fork(self) -> None:
        """Close them, and open new ones when they are needed: a child must not inherit any. Closing
        an inherited file of SQLite's would give up the locks that the child holds on it by then."""
        with self._engines_lock:
            for process, way in [key for key in self._engines if key[0]]:
                self._engines.pop((process, way)).dispose()

    def _engine(self, way: Way) -> Engine:
        if self._memory and self._closed:
            raise StoreDown  # another engine would be another, empty database
        # Memory: one engine for everything, or each would see a database of its own.
        key = (0, Way.READ) if self._memory else (os.getpid(), way)
        with self._engines_lock:
            if key not in self._engines:
                self._forget_other_processes()
                self._engines[key] = _create_engine(self._url, way, memory=self._memory)
            return self._engines[key]

    def _forget_other_processes(self) -> None:
        for process, way in list(self._engines):
            if process not in (0, os.getpid()):
                self._engines.pop((process, way)).dispose(close=False)

    # --- tokens seen --------------------------------------------------------------------------

    def remember_jti(self, tenant: str, jti: str, expires: float) -> bool:
        """True: not seen before. `expires`: seconds since 1970, tolerance included.

        Raises StoreDown; then the token must be refused for now, not let pass.
        """
        row = {
            "tenant": tenant,
            "jti": hashlib.sha256(jti.encode("utf-8", "surrogatepass")).hexdigest(),
            "expires": int(expires * 1000),
        }
        with self.transaction(Way.FAST) as connection:
            statement = _insert(connection, schema.seen_jti).on_conflict_do_nothing()
            # What was inserted is asked for: drivers count the rows of an INSERT differently.
            inserted = connection.execute(statement.returning(schema.seen_jti.c.jti), row)
            return inserted.first() is not None

    # --- switches -----------------------------------------------------------------------------

    def set_switch(self, tenant: str | None, topic: str, *, off: bool, by: str) -> None:
        """Switch a topic off or on again; `tenant` None: for all. Raises ValueError: not an id."""
        if tenant is not None and tenant in ("", EVERYONE):
            raise ValueError("not the id of a tenant")
        row = {
            "tenant": EVERYONE if tenant is None else tenant,
            "topic": topic,
            "off": off,
            "changed_at": now_ms(),
            "changed_by": by[:60],
        }
        with self.transaction(Way.DURABLE) as connection:
            columns = ("off", "changed_at", "changed_by")
            connection.execute(upsert(connection, schema.switches, columns), row)

    def switched_off(self) -> frozenset[tuple[str, str]]:
        """(tenant, topic) pairs; tenant "*" is everyone."""
        table = schema.switches
        with self.transaction(Way.READ) as connection:
            rows = connection.execute(select(table.c.tenant, table.c.topic).where(table.c.off))
            return frozenset((row.tenant, row.topic) for row in rows)

    def overrides_since(self, changed_ms: int) -> dict[tuple[str, str, str], int]:
        """(tenant, pseudonym, topic) → quiet until, for what has changed since."""
        table = schema.overrides
        with self.transaction(Way.READ) as connection:
            rows = connection.execute(select(table).where(table.c.changed_at >= changed_ms))
            return {(row.tenant, row.pseudonym, row.topic): row.until for row in rows}

    # --- forgetting ---------------------------------------------------------------------------

    def purge(self, retention: Retention, *, now: int | None = None) -> dict[str, int]:
        """Delete what is older than it may be. Gives the number of rows deleted, by table."""
        moment = now_ms() if now is None else now
        day = 86_400_000
        decided = moment - retention.decisions_days * day
        said = moment - retention.feedback_days * day
        typed = moment - min(retention.comments_days, retention.feedback_days) * day
        t = schema
        deleted = {
            "comments": self._delete(t.comments, t.comments.c.received_at < typed),
            "feedback": self._delete(t.feedback, t.feedback.c.received_at < said),
            "cards": self._delete(t.cards, t.cards.c.at < decided),
            "decisions": self._delete(t.decisions, t.decisions.c.at < decided),
            "evaluations": self._delete(t.evaluations, ~_is_referred_to()),
            "call_counts": self._delete(t.call_counts, t.call_counts.c.minute < decided),
            "overrides": self._delete(t.overrides, t.overrides.c.until < moment - day),
            "seen_jti": self._delete(t.seen_jti, t.seen_jti.c.expires < _token_age(moment)),
        }
        self._compact()
        return deleted

    def forget_tokens(self, now: int | None = None) -> bool:
        """Delete some of the tokens that have expired, by any clock that is no more than hours off.

        True: there may be more.
        """
        old = schema.seen_jti.c.expires < _token_age(now)
        return self._delete_some(schema.seen_jti, old) == _CHUNK

    def _delete(self, table: Table, old: ColumnElement[bool]) -> int:
        """Delete the rows that are old, a portion at a time; how many those were."""
        total = 0
        while True:
            began = time.monotonic()
            number = self._delete_some(table, old)
            total += number
            if number < _CHUNK:
                return total
            # SQLite gives the lock to whoever asks first: let the others ask.
            time.sleep(max(_PAUSE_SECONDS, time.monotonic() - began))

    def _delete_some(self, table: Table, old: ColumnElement[bool]) -> int:
        keys = table.primary_key.columns.values()
        key = keys[0] if len(keys) == 1 else tuple_(*keys)
        with self.transaction(Way.FAST) as connection:
            if table is schema.evaluations and not self._sqlite:
                # No writer may come to refer to one between the question and the deletion.
                connection.exec_driver_sql("LOCK TABLE evaluations IN SHARE ROW EXCLUSIVE MODE")
            found = select(*keys).where(old).limit(_CHUNK).with_for_update(skip_locked=True)
            rows = [row[0] if len(keys) == 1 else tuple(row) for row in connection.execute(found)]
            if rows:
                connection.execute(delete(table).where(key.in_(rows)))
        return len(rows)

    def _compact(self) -> None:
        """SQLite keeps deleted text in its pages and its log until they are used again."""
        if not self._sqlite or self._memory:
            return
        try:
            # Past SQLAlchemy, which would begin a transaction first.
            connection = self._engine(Way.FAST).raw_connection()
            try:
                connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")
            finally:
                connection.close()
        except (DBAPIError, PoolTimeout, sqlite3.Error) as error:
            raise StoreDown from error


# --- statements both databases understand -------------------------------------------------------


def insert_new(connection: Connection, table: Table, rows: Sequence[Row]) -> None:
    """Insert the rows whose key is not there yet."""
    if rows:
        statement = _insert(connection, table).on_conflict_do_nothing()
        connection.execute(statement, [dict(row) for row in rows])


def upsert(connection: Connection, table: Table, columns: Iterable[str]) -> Any:
    """INSERT that, where the key is there, replaces `columns`."""
    statement = _insert(connection, table)
    return statement.on_conflict_do_update(
        index_elements=[column.name for column in table.primary_key],
        set_={name: statement.excluded[name] for name in columns},
    )


def add_counts(connection: Connection, rows: Sequence[Row]) -> None:
    """Add to the counters of calls, making those that are not there."""
    table = schema.call_counts
    statement = _insert(connection, table)
    statement = statement.on_conflict_do_update(
        index_elements=[column.name for column in table.primary_key],
        set_={"count": table.c["count"] + statement.excluded["count"]},
    )
    connection.execute(statement, [dict(row) for row in rows])


def _insert(connection: Connection, table: Table) -> Any:
    if connection.dialect.name == "postgresql":
        return postgresql.insert(table)
    return sqlite.insert(table)


def take_back(connection: Connection, keys: Iterable[tuple[str, str, str]], at: int) -> None:
    """End the quiet after an override: the clinician changed their mind."""
    table = schema.overrides
    for tenant, pseudonym, topic in keys:
        connection.execute(
            update(table)
            .where(
                table.c.tenant == tenant,
                table.c.pseudonym == pseudonym,
                table.c.topic == topic,
            )
            .values(until=0, changed_at=at)
        )


# --- engines ------------------------------------------------------------------------------------


def _with_driver(url: URL) -> URL:
    """`postgresql:` means psycopg, the driver that is tested."""
    return url.set(drivername="postgresql+psycopg") if url.drivername == "postgresql" else url


def _is_referred_to() -> ColumnElement[bool]:
    """Of an evaluation: does a decision refer to it?"""
    return exists().where(schema.decisions.c.evaluation == schema.evaluations.c.id)


def _tables_are_missing(error: Exception) -> bool:
    cause = error.orig if isinstance(error, DBAPIError) else error
    return getattr(cause, "sqlstate", "") == _UNDEFINED_TABLE or "no such table" in str(cause)


def _means_down(error: Exception) -> bool:
    """Does the store not do what it is there for? If not, what it was given is wrong."""
    if isinstance(error, IntegrityError | DataError | NotSupportedError):
        return False
    cause = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(cause, sqlite3.Error):
        # SQLite calls a wrong statement an operational error too.
        return getattr(cause, "sqlite_errorcode", 0) & 0xFF != sqlite3.SQLITE_ERROR
    if isinstance(error, ProgrammingError):
        return getattr(cause, "sqlstate", "") == _NO_PRIVILEGE
    return True


def _make_file(path: Path) -> None:
    """The database file, for its owner only: comments may say anything."""
    path.parent.mkdir(parents=True, exist_ok=True)
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))


def _create_engine(url: URL, way: Way, *, memory: bool) -> Engine:
    if memory:
        engine = create_engine(
            url,
            poolclass=StaticPool,
            connect_args={"check_same_thread": False},
            hide_parameters=True,
        )
        _own_transactions(engine, "BEGIN")
        return engine
    if url.drivername == "sqlite":
        return _sqlite(url, way)
    return _postgresql(url, way)


def _sqlite(url: URL, way: Way) -> Engine:
    engine = create_engine(
        url, connect_args={"timeout": BUSY_SECONDS}, pool_timeout=BUSY_SECONDS, hide_parameters=True
    )
    synchronous = "FULL" if way is Way.DURABLE else "NORMAL"

    @event.listens_for(engine, "connect")
    def set_up(connection: sqlite3.Connection, _: object) -> None:
        connection.isolation_level = None  # transactions are begun below, not by the driver
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute(f"PRAGMA synchronous={synchronous}")
        connection.execute("PRAGMA secure_delete=ON")  # purged means gone

    # A writer takes the lock at once, and waits for it once, instead of failing half-way through.
    _own_transactions(engine, "BEGIN" if way is Way.READ else "BEGIN IMMEDIATE")
    return engine


def _own_transactions(engine: Engine, begin: str) -> None:
    @event.listens_for(engine, "begin")
    def begin_it(connection: Connection) -> None:
        connection.exec_driver_sql(begin)


def _postgresql(url: URL, way: Way) -> Engine:
    options = {
        "statement_timeout": "10000" if way is Way.READ else "2000",
        "lock_timeout": "1000",
        "synchronous_commit": "on" if way is Way.DURABLE else "off",
        "timezone": "UTC",
    }
    return create_engine(
        url,
        connect_args={
            "connect_timeout": 2,
            "tcp_user_timeout": 2000,
            "options": " ".join(f"-c {name}={value}" for name, value in options.items()),
        },
        pool_pre_ping=True,
        pool_timeout=BUSY_SECONDS,
        hide_parameters=True,
    )


def _dispose(
    engines: dict[tuple[int, Way], Engine], unused: AbstractContextManager[object]
) -> None:
    with unused:
        for process, way in list(engines):
            engines.pop((process, way)).dispose(close=process in (0, os.getpid()))
