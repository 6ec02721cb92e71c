"""The real server with several workers on PostgreSQL, and what it does when that goes away."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest

from cds_service import schema
from cds_service.store import Store
from tests.support.records import rows
from tests.support.server import running, within
from tests.support.stores import Cluster, cluster
from tests.unit.cds_service.test_feedback import overridden
from tests.unit.cds_service.test_records import vignette

CALL = "/cds-services/b12-order-select"


@pytest.fixture
def own_cluster() -> Iterator[Cluster]:
    with cluster() as made:
        yield made


def call(server):
    """The cards of a hook call."""
    status, answer, _ = server.ask("POST", CALL, json.loads(vignette("v105")))
    assert status == 200
    return answer["cards"]


def say(server, number):
    """The status of one item of feedback, and after how long to try again."""
    body = {"feedback": [overridden(card=f"card-{number}")]}
    status, _, headers = server.ask("POST", f"{CALL}/feedback", body)
    return status, headers.get("Retry-After")


def ready(server):
    return server.ask("GET", "/readyz")[0]


def test_all_workers_write_to_the_same_store(tmp_path, empty_postgres):
    with running(tmp_path, B12_CDS_STORE=empty_postgres, B12_CDS_WORKERS="3") as server:
        for number in range(30):
            assert call(server)
            assert say(server, number)[0] == 200
    store = Store(empty_postgres)
    assert len(rows(store, schema.decisions)) == 30
    assert len(rows(store, schema.feedback)) == 30
    store.close()


@pytest.mark.fault("O04", "K11")
def test_postgresql_goes_away_and_comes_back(tmp_path, own_cluster):
    with running(tmp_path, B12_CDS_STORE=own_cluster.url) as server:
        assert call(server)
        assert say(server, 1)[0] == 200
        own_cluster.stop()
        for _ in range(10):
            began = time.monotonic()
            assert call(server)
            assert time.monotonic() - began < 2.5
        began = time.monotonic()
        refused = say(server, 2)
        assert time.monotonic() - began < 5
        assert refused == (503, "5")
        assert within(10, lambda: ready(server) == 503)
        own_cluster.start()
        assert within(10, lambda: say(server, 2)[0] == 200)
        assert within(10, lambda: ready(server) == 200)
        assert call(server)
    store = Store(own_cluster.url)
    assert len(rows(store, schema.feedback)) == 2
    assert len(rows(store, schema.decisions)) == 12  # none of those that waited was lost
    store.close()
    assert "b12@" not in server.log_file.read_text()


def test_the_service_starts_without_its_store_and_takes_it_into_use_later(tmp_path, own_cluster):
    own_cluster.stop()
    with running(tmp_path, B12_CDS_STORE=own_cluster.url) as server:
        assert call(server)
        assert ready(server) == 503
        own_cluster.start()
        assert within(10, lambda: ready(server) == 200)
        assert say(server, 1)[0] == 200
    store = Store(own_cluster.url)
    assert len(rows(store, schema.decisions)) == 1
    store.close()
