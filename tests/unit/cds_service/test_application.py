"""How the parts are put together, and what happens when one is missing."""

from __future__ import annotations

import pytest

from cds_service.application import create_app
from cds_service.hooks.response import Answer, ResponseInvariant
from cds_service.settings import Settings, SettingsError


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
