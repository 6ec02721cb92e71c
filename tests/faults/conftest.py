"""The golden request, its answer, and the service on the day of both."""

from __future__ import annotations

import copy
import json
import tomllib
from datetime import date
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.support.client import SERVICE, app_on
from tests.support.vignette import ROOT

GOLDEN = ROOT / "fixtures/vignettes/v01-b12-120-pg-ml-injection-picked-without-details"

#: An answer without what is new in each: uuids and group identifiers.
Decision = list[Any]


def decision(answer: Any) -> Decision:
    """Topics, indicators, texts and orders of an answer."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: plain(v) for k, v in value.items() if k not in ("uuid", "groupIdentifier")}
        return [plain(item) for item in value] if isinstance(value, list) else value

    return plain(answer["cards"])  # type: ignore[no-any-return]


@pytest.fixture(scope="session")
def _golden() -> dict[str, Any]:
    return json.loads((GOLDEN / "request.json").read_text("utf-8"))  # type: ignore[no-any-return]


@pytest.fixture
def golden(_golden: dict[str, Any]) -> dict[str, Any]:
    """A B12 of 120 pg/mL and an order of hydroxocobalamin without details."""
    return copy.deepcopy(_golden)


@pytest.fixture(scope="session")
def service(_golden: dict[str, Any]) -> Flask:
    about = tomllib.loads((GOLDEN / "vignette.toml").read_text("utf-8"))
    day = about.get("as_of", date(2026, 1, 15))
    return app_on(day, "default")


@pytest.fixture
def served(service: Flask) -> FlaskClient:
    return service.test_client()


@pytest.fixture(scope="session")
def golden_decision(service: Flask, _golden: dict[str, Any]) -> Decision:
    answer = service.test_client().post(SERVICE, json=_golden)
    assert answer.status_code == 200
    found = decision(answer.json)
    assert [card["source"]["topic"]["code"] for card in found] == ["regimen"]
    return found


@pytest.fixture
def ask(served: FlaskClient, _golden: dict[str, Any], golden_decision: Decision) -> Any:
    """ask(body, ...) → response. Afterwards the golden request must get the golden answer."""

    def post(body: Any, **more: Any) -> Any:
        if not isinstance(body, bytes):
            body = json.dumps(body).encode()
        more = {"content_type": "application/json"} | more
        response = served.post(SERVICE, data=body, **more)
        assert response.status_code < 500
        if response.status_code >= 400:
            assert response.json["resourceType"] == "OperationOutcome"
            assert "canary" not in response.text
            assert "Traceback" not in response.text
        return response

    yield post
    again = served.post(SERVICE, json=_golden)
    assert decision(again.json) == golden_decision
