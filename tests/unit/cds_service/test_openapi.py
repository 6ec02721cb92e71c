"""The description of the interface: complete, true for real answers, and held to by the service."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema_rs
import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from cds_service.application import create_app
from cds_service.settings import Settings
from tests.conftest import TODAY

VIGNETTES = Path(__file__).parents[3] / "fixtures" / "vignettes"
CALL = "/cds-services/b12-order-select"

APP = create_app(Settings(), clock=lambda: TODAY)
SCHEMA = schemathesis.openapi.from_wsgi("/openapi.json", APP)


@pytest.fixture(scope="module")
def described() -> dict:
    return APP.test_client().get("/openapi.json").json


def test_every_path_for_clients_is_described(described):
    assert described["openapi"].startswith("3.1")
    assert set(described["paths"]) == {
        "/cds-services",
        CALL,
        f"{CALL}/feedback",
        "/healthz",
        "/readyz",
    }
    assert described["servers"] == [{"url": "http://127.0.0.1:8080"}]


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
