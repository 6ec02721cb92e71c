"""The description of the interface: complete, true for real answers, and held to by the service."""

from __future__ import annotations

import json
import re
from pathlib import Path

import jsonschema_rs
import pytest
import schemathesis
from flask import Flask
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from cds_service.application import close, create_app
from cds_service.settings import Settings
from cds_service.tenants import Tenants
from tests.conftest import TODAY
from tests.support.stores import tenant

VIGNETTES = Path(__file__).parents[3] / "fixtures" / "vignettes"
ID = "b12-order-select"
CALL = f"/cds-services/{ID}"

APP = create_app(Settings(), clock=lambda: TODAY)
SCHEMA = schemathesis.openapi.from_wsgi("/openapi.json", APP)


@pytest.fixture(scope="module", autouse=True)
def closed():
    yield
    close(APP)


@pytest.fixture(scope="module")
def described() -> dict:
    return APP.test_client().get("/openapi.json").json


def test_every_path_for_clients_is_described(described):
    assert described["openapi"].startswith("3.1")
    assert {"/cds-services", CALL, f"{CALL}/feedback", "/metrics", "/openapi.json", "/"} <= set(
        described["paths"]
    )
    assert described["servers"] == [{"url": "http://127.0.0.1:8080"}]


def served(app: Flask) -> set[tuple[str, str]]:
    """Paths and methods as the description writes them, but for what the pages are made with."""
    return {
        (
            re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule).replace("{service_id}", ID),
            method.lower(),
        )
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
        if not rule.endpoint.endswith(".static")
    }


def production(**settings: str) -> Settings:
    return Settings(mode="production", public_url="https://cds.example", **settings)


@pytest.mark.parametrize("kind", ["development", "production", "production with a dashboard"])
def test_every_route_is_described_and_nothing_else(kind, tmp_path):
    token = tmp_path / "token"
    token.write_text("a secret of the tests")
    given = {"admin_token_file": str(token)} if kind.endswith("dashboard") else {}
    settings = Settings() if kind == "development" else production(**given)
    app = create_app(settings, tenants=Tenants((tenant(),)))
    description = app.test_client().get("/openapi.json").json
    described = {(path, method) for path, item in description["paths"].items() for method in item}
    assert {pair for pair in described if pair[1] != "parameters"} == served(app)
    assert ("/" in description["paths"]) == (kind == "development")
    close(app)


def test_an_absent_element_is_left_out_and_never_null(described):
    schemas = json.dumps(described["components"]["schemas"])
    assert '"null"' not in schemas
    assert '"default"' not in schemas


def validator(described: dict, name: str):
    root = {"$ref": f"#/components/schemas/{name}", "components": described["components"]}
    return jsonschema_rs.validator_for(root)


@pytest.mark.parametrize("folder", sorted(VIGNETTES.iterdir())[:40], ids=lambda f: f.name[:20])
def test_real_requests_and_answers_are_as_described(described, folder):
    request = json.loads((folder / "request.json").read_text("utf-8"))
    response = APP.test_client().post(CALL, json=request)
    name = "Cards" if response.status_code == 200 else "OperationOutcome"
    validator(described, "Request").validate(request)
    validator(described, name).validate(response.json)


@pytest.mark.parametrize("blank", [{"cards": None}, {"cards": [{}]}, {"cards": [], "x": 1}])
def test_the_description_would_notice(described, blank):
    assert not validator(described, "Cards").is_valid(blank)


@pytest.mark.fault("H05", "H06", "H14", "J13", "J18")
@SCHEMA.parametrize()
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
def test_generated_calls_are_answered_as_described(case):
    case.call_and_validate(
        checks=[
            not_a_server_error,
            status_code_conformance,
            content_type_conformance,
            response_schema_conformance,
        ]
    )
