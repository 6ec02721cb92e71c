"""The store: its tables, its ways in, what it says when it does not answer, what it forgets."""

from __future__ import annotations

import multiprocessing
import os
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import inspect, text
from sqlalchemy.exc import DBAPIError, InvalidRequestError

from cds_service import schema
from cds_service.errors import StoreDown
from cds_service.feedback import Item, keep_feedback
from cds_service.migrations import migrate
from cds_service.records import write
from cds_service.store import Retention, Store, Way, insert_new, now_ms
from regimen.recommendation import RuleOutcome
from tests.support.records import card, decision, recorded, rows
from tests.support.stores import tenant
from tests.support.vignette import ROOT

DAY = 86_400_000


@contextmanager
def locked(file):
    """Another process writes, and does not come to an end."""
    connection = sqlite3.connect(file, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        connection.execute("ROLLBACK")
        connection.close()


# --- tables -----------------------------------------------------------------------------------


def test_the_migrations_make_the_tables_that_the_code_speaks_of(store):
    store.prepare()
    with store.transaction(Way.DURABLE) as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, schema.METADATA) == []


def test_migrating_again_changes_nothing(store):
    card_of = recorded(store)[0]
    with store.transaction(Way.DURABLE) as connection:
        migrate(connection)
    assert [row["uuid"] for row in rows(store, schema.cards)] == [card_of.uuid]


def test_a_store_that_a_newer_version_has_migrated_is_used_as_it_is(store, store_url):
    store.prepare()
    with store.transaction(Way.DURABLE) as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    older = Store(store_url)
    recorded(older)
    older.close()
    assert len(rows(store, schema.decisions)) == 1


def test_processes_that_start_together_make_the_tables_once(store_url):
    with ThreadPoolExecutor(4) as pool:
        stores = list(pool.map(_prepared, [store_url] * 4))
    assert all(store.answers() for store in stores)
    for store in stores:
        store.close()


def _prepared(url):
    store = Store(url)
    for _ in range(20):  # one that has to wait too long tries again, as the service does
        try:
            store.prepare()
        except StoreDown:
            time.sleep(0.1)
        else:
            break
    return store


def test_a_store_in_memory_has_the_same_tables():
    store = Store("sqlite://")
    store.prepare()
    with store.transaction(Way.READ) as connection:
        assert set(schema.METADATA.tables) <= set(inspect(connection).get_table_names())
    assert not store.shared
    store.close()


def test_no_table_has_room_for_a_patient():
    names = {f"{t.name}.{c.name}" for t in schema.METADATA.tables.values() for c in t.columns}
    assert not [n for n in names if any(w in n for w in ("patient", "user", "name", "encounter"))]


# --- ways in ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("way", "level"), [(Way.DURABLE, 2), (Way.FAST, 1)])
def test_sqlite_writes_ahead_and_feedback_as_safely_as_it_can(sqlite_store, way, level):
    with sqlite_store.transaction(way) as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == level


@pytest.mark.parametrize(("way", "setting"), [(Way.DURABLE, "on"), (Way.FAST, "off")])
def test_postgresql_commits_feedback_to_the_disk(empty_postgres, way, setting):
    store = Store(empty_postgres)
    with store.transaction(way) as connection:
        assert connection.execute(text("SHOW synchronous_commit")).scalar() == setting
    store.close()


def test_the_file_is_its_owners_alone(sqlite_store, sqlite_file):
    recorded(sqlite_store)
    for file in sqlite_file.parent.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_an_error_in_a_transaction_leaves_nothing_behind(store):
    def write_and_fail():
        with store.transaction(Way.DURABLE) as connection:
            connection.execute(schema.health.insert(), {"id": 7, "checked_at": 0})
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_and_fail()
    assert rows(store, schema.health) == []


def test_a_forked_process_makes_connections_of_its_own(store):
    recorded(store)
    fork = multiprocessing.get_context("fork")
    children = [fork.Process(target=_record_and_leave, args=(store,)) for _ in range(2)]
    for child in children:
        child.start()
    recorded(store)
    for child in children:
        child.join(20)
    assert [child.exitcode for child in children] == [0, 0]
    assert len(rows(store, schema.decisions)) == 4
    assert store.answers()


def _record_and_leave(store):
    recorded(store)
    store.close()
    os._exit(0)


# --- when it does not answer ------------------------------------------------------------------


def test_a_locked_store_says_so_soon_and_answers_afterwards(sqlite_store, sqlite_file):
    sqlite_store.prepare()
    with locked(sqlite_file):
        began = time.monotonic()
        with pytest.raises(StoreDown):
            recorded(sqlite_store)
        assert time.monotonic() - began < 4
        assert rows(sqlite_store, schema.decisions) == []  # readers are not held up
        assert not sqlite_store.answers()
    time.sleep(1.1)  # an answer is kept for a second
    assert sqlite_store.answers()


def test_a_store_that_is_locked_from_the_start_does_not_stop_many_from_being_told(sqlite_file):
    sqlite_file.parent.mkdir()
    sqlite3.connect(sqlite_file).close()
    store = Store(f"sqlite:///{sqlite_file}")
    with locked(sqlite_file):
        began = time.monotonic()
        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(lambda _: store.answers(), range(8))) == [False] * 8
        assert time.monotonic() - began < 5
    time.sleep(1.1)
    assert store.answers()
    store.close()


def test_a_full_store_says_so(sqlite_store):
    sqlite_store.prepare()
    with sqlite_store.transaction(Way.FAST) as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
        connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")
    cards = [card() for _ in range(2000)]
    with pytest.raises(StoreDown):
        recorded(sqlite_store, *cards)


def test_a_folder_that_cannot_be_made_is_a_store_that_is_down(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    store = Store(f"sqlite:///{tmp_path}/file/b12.sqlite3")
    with pytest.raises(StoreDown):
        store.prepare()
    assert not store.answers()


def test_a_postgresql_that_is_not_there_is_down_soon(tmp_path):
    store = Store(f"postgresql://nobody@/none?host={tmp_path}")
    began = time.monotonic()
    with pytest.raises(StoreDown):
        store.prepare()
    assert time.monotonic() - began < 4


def test_what_is_said_of_a_failure_quotes_nothing(store):
    with pytest.raises(StoreDown) as caught, store.transaction(Way.FAST) as connection:
        connection.execute(text("INSERT INTO none VALUES (:text)"), {"text": "a name"})
    assert "name" not in f"{caught.value} {caught.value.__cause__}"


def test_a_database_that_was_replaced_gets_its_tables_again(store):
    recorded(store)
    with store.transaction(Way.DURABLE) as connection:
        for table in (*schema.METADATA.tables, "alembic_version"):
            connection.execute(text(f"DROP TABLE {table}"))
    with pytest.raises(StoreDown):
        recorded(store)
    recorded(store)
    assert len(rows(store, schema.decisions)) == 1


def write_read_only(store):
    sqlite = store._url.drivername == "sqlite"
    with store.transaction(Way.FAST) as connection:
        connection.exec_driver_sql("PRAGMA query_only=1" if sqlite else "SET TRANSACTION READ ONLY")
        connection.execute(text("DELETE FROM seen_jti"))


@pytest.mark.fault("O04")
def test_a_store_that_only_reads_is_down(store):
    with pytest.raises(StoreDown):
        write_read_only(store)


@pytest.mark.parametrize(
    "statement",
    ["DELETE FROM seen_jti WHERE no_such_column = 1", "DELETE DELETE", "SELECT no_such()"],
)
def test_a_wrong_statement_is_our_fault_and_not_a_store_that_is_down(store, statement):
    with pytest.raises(DBAPIError), store.transaction(Way.FAST) as connection:
        connection.execute(text(statement))
    assert store.answers()


@pytest.mark.parametrize("error", [OSError, ValueError, InvalidRequestError])
def test_what_the_caller_raises_is_not_a_store_that_is_down(store, error):
    with pytest.raises(error), store.transaction(Way.FAST):
        raise error("the caller's own")


# --- tokens seen ------------------------------------------------------------------------------


def test_a_token_is_new_once_for_each_tenant(store):
    later = time.time() + 300
    assert store.remember_jti("north", "a", later)
    assert not store.remember_jti("north", "a", later)
    assert store.remember_jti("south", "a", later)
    assert store.remember_jti("north", "b", later)


def test_of_many_that_ask_at_once_one_gets_the_token(store):
    store.prepare()
    with ThreadPoolExecutor(8) as pool:
        new = list(pool.map(lambda _: store.remember_jti("n", "t", time.time() + 9), range(24)))
    assert sum(new) == 1


@pytest.mark.fault("A29", "A18")
def test_a_clock_that_jumps_ahead_and_back_makes_no_token_good_again(store):
    expires = time.time() + 300
    assert store.remember_jti("north", "once", expires)
    store.forget_tokens(now_ms() + 3_600_000)
    assert not store.remember_jti("north", "once", expires)


def test_a_token_is_kept_as_a_digest_and_forgotten_when_it_expires(store):
    store.remember_jti("north", "something said \ud800 by a client", time.time() - 7201)
    store.remember_jti("north", "other", time.time() + 60)
    assert all(len(row["jti"]) == 64 for row in rows(store, schema.seen_jti))
    assert not store.forget_tokens()
    assert len(rows(store, schema.seen_jti)) == 1


def seen(store, tenant, number, expires):
    tokens = [{"tenant": tenant, "jti": f"{n:064}", "expires": expires} for n in range(number)]
    with store.transaction(Way.FAST) as connection:
        insert_new(connection, schema.seen_jti, tokens)


def test_many_tokens_are_forgotten_in_portions_and_by_their_whole_key(store):
    seen(store, "north", 1200, now_ms() - 7_201_000)
    seen(store, "south", 1200, now_ms() + 60_000)
    left = []
    while store.forget_tokens():
        left.append(len(rows(store, schema.seen_jti)))
    assert left == [1900, 1400]
    assert {row["tenant"] for row in rows(store, schema.seen_jti)} == {"south"}
    assert len(rows(store, schema.seen_jti)) == 1200


def test_a_great_many_tokens_hold_up_no_writer(sqlite_store):
    """300,000 that expired at once: each portion is a moment's work."""
    for start in range(0, 300_000, 20_000):
        with sqlite_store.transaction(Way.FAST) as connection:
            row = {"tenant": "north", "expires": 0}
            tokens = [row | {"jti": f"{n:064}"} for n in range(start, start + 20_000)]
            insert_new(connection, schema.seen_jti, tokens)
    began = time.monotonic()
    assert sqlite_store.forget_tokens()
    assert time.monotonic() - began < 1


# --- switches ---------------------------------------------------------------------------------


def test_a_switch_is_thrown_and_taken_back_for_one_or_for_all(store):
    store.set_switch(None, "route", off=True, by="a committee")
    store.set_switch("north", "regimen", off=True, by="a committee")
    assert store.switched_off() == {("*", "route"), ("north", "regimen")}
    store.set_switch(None, "route", off=False, by="a committee")
    assert store.switched_off() == {("north", "regimen")}
    assert {row["changed_by"] for row in rows(store, schema.switches)} == {"a committee"}


@pytest.mark.parametrize("tenant", ["", "*"])
def test_a_switch_is_never_for_all_by_accident(store, tenant):
    with pytest.raises(ValueError, match="not the id"):
        store.set_switch(tenant, "route", off=True, by="x")
    assert store.switched_off() == frozenset()


# --- forgetting -------------------------------------------------------------------------------


def test_purging_forgets_each_thing_after_its_own_time(store):
    now = now_ms()
    for age in (0, 100, 800):
        (shown,) = recorded(store, card(), at=now - age * DAY)
        item = Item(shown.uuid, "overridden", comment=f"said {age} days ago")
        keep_feedback(store, [item], tenant(), "b12-order-select", now=now - age * DAY)
    deleted = store.purge(Retention(decisions_days=730, feedback_days=365, comments_days=90))
    assert (deleted["decisions"], deleted["cards"]) == (1, 1)
    assert (deleted["feedback"], deleted["comments"]) == (1, 2)
    assert [row["text"] for row in rows(store, schema.comments)] == ["said 0 days ago"]
    assert len(rows(store, schema.feedback)) == 2


def test_a_comment_does_not_outlive_its_feedback(store):
    (shown,) = recorded(store)
    item = Item(shown.uuid, "overridden", comment="a comment")
    keep_feedback(store, [item], tenant(), "b12-order-select", now=now_ms() - 20 * DAY)
    store.purge(Retention(feedback_days=10, comments_days=300))
    assert rows(store, schema.comments) == []


def test_what_is_purged_is_not_left_in_the_file(sqlite_store, sqlite_file):
    item = Item("other-1", "overridden", comment="Canary-Comment")
    keep_feedback(sqlite_store, [item], tenant(), "s", now=0)
    sqlite_store.purge(Retention())
    left = b"".join(file.read_bytes() for file in sqlite_file.parent.iterdir())
    assert b"Canary-Comment" not in left


def test_an_evaluation_goes_with_the_last_decision_that_refers_to_it(store):
    def write_one(why, at):
        write(
            store,
            [decision(card(), outcomes=[RuleOutcome("dose", fired=False, why=why)], at=at)],
            {},
        )

    write_one("of old", 0)
    write_one("of old and now", 0)
    write_one("of old and now", now_ms())
    write_one("of now", now_ms())
    assert store.purge(Retention())["evaluations"] == 1
    left = {row["id"]: row["rules"] for row in rows(store, schema.evaluations)}
    assert set(left) == {row["evaluation"] for row in rows(store, schema.decisions)}
    assert not any('"of old"' in rules for rules in left.values())


def test_purging_many_rows_lets_writers_in_between(store):
    for _ in range(3):
        write(store, [decision(card(), at=0) for _ in range(400)], {})
    failed = []
    stop = threading.Event()

    def keep_writing():
        while not stop.is_set():
            try:
                recorded(store)
            except StoreDown:
                failed.append(1)

    writer = threading.Thread(target=keep_writing)
    writer.start()
    deleted = store.purge(Retention())
    stop.set()
    writer.join(10)
    assert deleted["decisions"] == 1200
    assert not failed


# --- closing ----------------------------------------------------------------------------------

BUSY = """
import sys, threading, time
from cds_service.errors import StoreDown
from cds_service.store import Store

def keep_writing(store):
    number = 0
    while True:
        number += 1
        try:
            store.switched_off()
            store.remember_jti(threading.current_thread().name, str(number), 1e12)
        except StoreDown:
            return

def busy():
    store = Store("sqlite://")
    store.prepare()
    threads = [threading.Thread(target=keep_writing, args=[store], daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    time.sleep(0.02)
    return store, threads
"""
CLOSED_IN_USE = """
for _ in range(20):
    store, threads = busy()
    store.close()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()
"""


@pytest.mark.fault("O01")
def test_a_store_in_memory_is_closed_when_no_statement_runs_on_it():
    # SQLite does not survive a connection that is closed while a statement is at work.
    command = [sys.executable, "-c", BUSY + CLOSED_IN_USE]
    done = subprocess.run(
        command, check=False, cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_store_in_memory_that_was_closed_is_down_and_not_another_empty_one():
    store = Store("sqlite://")
    store.prepare()
    store.close()
    with pytest.raises(StoreDown):
        store.switched_off()
    assert not store.answers()


def test_a_store_in_a_file_is_connected_to_again_after_it_was_closed(store):
    store.prepare()
    store.close()
    assert store.switched_off() == frozenset()
