"""How the parts are put together, and what happens when one is missing."""

from __future__ import annotations

import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from cds_service.application import close, create_app
from cds_service.hooks.response import Answer
from cds_service.settings import Settings, SettingsError
from cds_service.tenants import development_tenant
from tests.support.records import decision
from tests.support.response_check import ResponseInvariant


def test_the_service_gets_settings_clock_and_protocol(make_app, envelope):
    seen = []

    def answer(request, services):
        seen.append(services)
        return Answer()

    settings = Settings(public_url="https://cds.example", protocol="us")
    make_app(answer, settings).test_client().post("/cds-services/b12-order-select", json=envelope)
    (services,) = seen
    assert services.public_url == "https://cds.example"
    assert services.protocol.profile == "us"
    assert services.clock().isoformat() == "2026-01-15"


def test_without_settings_the_environment_decides(monkeypatch):
    monkeypatch.setenv("B12_CDS_NO_SUCH", "1")
    with pytest.raises(SettingsError):
        create_app()


def broken(name):
    raise ValueError("a patient's name")


def test_a_protocol_that_cannot_be_loaded_makes_the_service_not_ready(make_app, envelope, log):
    client = make_app(load=broken).test_client()
    assert client.get("/readyz").status_code == 503
    assert client.post("/cds-services/b12-order-select", json=envelope).status_code == 503
    assert client.get("/healthz").status_code == 200
    assert client.get("/cds-services").status_code == 200
    assert '"event":"not-ready"' in log.getvalue()
    assert "patient" not in log.getvalue()


def test_an_answer_that_breaks_the_standard_fails_the_test(make_app, envelope):
    from tests.unit.cds_service.hooks.test_response import card

    app = make_app(lambda request, services: Answer(cards=(card(summary="x" * 140),)))
    with pytest.raises(ResponseInvariant):
        app.test_client().post("/cds-services/b12-order-select", json=envelope)


def test_closed_it_leaves_no_thread_and_no_record_behind(sqlite_file):
    before = set(threading.enumerate())
    app = create_app(Settings(store=f"sqlite:///{sqlite_file}"))
    runtime = app.extensions["b12_cds"]
    runtime.governance.decide([], development_tenant(Settings()), {})
    runtime.recorder.put(decision())
    assert {thread.name for thread in set(threading.enumerate()) - before} == {
        "records",
        "switches",
    }
    close(app)
    assert set(threading.enumerate()) == before
    with closing(sqlite3.connect(sqlite_file)) as file:
        assert file.execute("SELECT count(*) FROM decisions").fetchone() == (1,)


@pytest.mark.fault("O01")
def test_many_applications_are_made_used_and_closed_beside_each_other(envelope):
    def use(number):
        app = create_app(Settings())
        client = app.test_client()
        statuses = {
            client.post("/cds-services/b12-order-select", json=envelope).status_code
            for _ in range(3)
        }
        statuses.add(client.get("/readyz").status_code)
        close(app)
        return statuses

    with ThreadPoolExecutor(6) as pool:
        assert set().union(*pool.map(use, range(18))) == {200}
