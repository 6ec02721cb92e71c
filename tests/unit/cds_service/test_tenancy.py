"""What is in force for each tenant, and what stays in force when a reload goes wrong?"""

from __future__ import annotations

import json

import pytest

from cds_service.application import create_app, reload_tenants
from cds_service.settings import Settings
from regimen.protocol import load_protocol
from tests.support.tokens import write_tenants


class Loader:
    """Loads protocols until it is told not to."""

    def __init__(self) -> None:
        self.broken = False

    def __call__(self, name: str):
        if self.broken:
            raise ValueError("canary")
        return load_protocol(name)


@pytest.fixture
def load() -> Loader:
    return Loader()


@pytest.fixture
def tenants_file(tmp_path):
    return write_tenants(tmp_path)


@pytest.fixture
def app(tenants_file, load):
    app = create_app(Settings(tenants=str(tenants_file)), load=load)
    app.testing = True
    return app


def tenancy(app):
    return app.extensions["b12_cds"].tenancy


def events(log) -> list[str]:
    return [json.loads(line)["event"] for line in log.getvalue().splitlines()]


def test_a_good_file_is_in_force_and_is_said_to_be(app, tenants_file, log):
    tenants_file.write_text(tenants_file.read_text() + "max_cards = 2\n")
    reload_tenants(app)
    assert tenancy(app).tenants.all[0].max_cards == 2
    assert tenancy(app).services["one"].tenant.max_cards == 2
    assert not tenancy(app).stale
    assert events(log) == ["tenants-reloaded"]


def stays(app, log, before) -> None:
    """The former tenancy is in force, and the log and /readyz say so."""
    reload_tenants(app)
    now = tenancy(app)
    assert now.stale
    assert (now.tenants, now.services, now.auth) == (before.tenants, before.services, before.auth)
    assert "tenants-reloaded" not in events(log)
    assert "tenants-not-reloaded" in events(log)
    assert "canary" not in log.getvalue()
    assert "the former is in force" in app.test_client().get("/readyz").get_data(as_text=True)


@pytest.mark.fault("O07", "O08")
@pytest.mark.parametrize(
    "line",
    ['mode = "canary"', 'fhir_servers = ["https://ehr.example/canary%zz"]'],
)
def test_a_bad_file_leaves_the_former_in_force(app, tenants_file, log, line):
    before = tenancy(app)
    tenants_file.write_text(f"{tenants_file.read_text()}{line}\n")
    stays(app, log, before)


@pytest.mark.fault("O08", "O09")
def test_a_protocol_that_cannot_be_loaded_any_more_takes_no_service_away(app, load, log):
    before = tenancy(app)
    load.broken = True
    stays(app, log, before)
    load.broken = False
    reload_tenants(app)
    assert not tenancy(app).stale


@pytest.mark.fault("O08")
@pytest.mark.parametrize("error", [ValueError, MemoryError, KeyError])
def test_whatever_goes_wrong_leaves_the_former_in_force(app, log, monkeypatch, error):
    def fail(*_: object) -> None:
        raise error("canary")

    before = tenancy(app)
    monkeypatch.setattr("cds_service.tenancy.RateLimiter", fail)
    stays(app, log, before)


@pytest.mark.fault("O08")
def test_a_service_that_never_was_ready_is_none_after_a_reload_either(tenants_file, load, log):
    load.broken = True
    app = create_app(Settings(tenants=str(tenants_file)), load=load)
    reload_tenants(app)
    assert tenancy(app).services == {}
    assert app.test_client().get("/readyz").status_code == 503
