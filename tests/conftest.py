"""What every test may use: the application as it is served, and with a stand-in for the advice."""

from __future__ import annotations

import io
import logging
import os
from collections.abc import Callable, Iterator
from datetime import date
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import settings as hypothesis_settings

from cds_service.application import close, create_app
from cds_service.hooks.discovery import Service
from cds_service.hooks.request import HookRequest, decode_order_select
from cds_service.hooks.response import Answer
from cds_service.logs import JsonLines
from cds_service.services import Services
from cds_service.settings import Settings
from tests.support.response_check import checked

pytest_plugins = ["tests.support.stores"]

# The machine may be slow and CI must not be surprised: no time limit an example, and there always
# the same examples. Elsewhere they vary.
hypothesis_settings.register_profile("project", deadline=None)
hypothesis_settings.register_profile("ci", deadline=None, derandomize=True)
hypothesis_settings.load_profile("ci" if os.environ.get("CI") == "true" else "project")

TODAY = date(2026, 1, 15)

AnswerCall = Callable[[HookRequest, Services], Answer]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    report = yield
    return _no_skip_in_ci(report)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Any:
    report = yield
    return _no_skip_in_ci(report)


def _no_skip_in_ci(report: Any) -> Any:
    """CI has everything installed: a skip there is a test that nobody runs."""
    if os.environ.get("CI") == "true" and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[-1] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"CI allows no skips. {reason}"
    return report


def nothing_to_add(request: HookRequest, services: Services) -> Answer:
    """Reads the context, as every service does, and has no advice."""
    decode_order_select(request.context)
    return Answer()


def stand_in(answer: AnswerCall = nothing_to_add) -> Service:
    return Service(
        id="b12-order-select",
        hook="order-select",
        title="A title",
        description="A description",
        usage_requirements="FHIR R4",
        prefetch={"patient": "Patient/{{context.patientId}}"},
        answer=answer,
    )


@pytest.fixture
def make_app() -> Iterator[Callable[..., Flask]]:
    """make_app(answer=..., settings=..., ...): the application around a stand-in service."""
    made = []

    def make(
        answer: AnswerCall = nothing_to_add, settings: Settings | None = None, **parts: Any
    ) -> Flask:
        parts = {"hooks": [stand_in(answer)], "clock": lambda: TODAY} | parts
        made.append(checked(create_app(settings or Settings(), **parts)))
        return made[-1]

    yield make
    for app in made:
        close(app)


@pytest.fixture
def stand_in_client(make_app: Callable[..., Flask]) -> FlaskClient:
    return make_app().test_client()


@pytest.fixture(scope="session")
def app() -> Iterator[Flask]:
    """The application as it is served, on a fixed day."""
    app = checked(create_app(Settings(), clock=lambda: TODAY))
    yield app
    close(app)


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """Everything that is logged during the test, as the service would write it."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines())
    root, ours = logging.getLogger(), logging.getLogger("cds_service")
    levels = root.level, ours.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    ours.setLevel(logging.DEBUG)
    yield stream
    root.removeHandler(handler)
    root.setLevel(levels[0])
    ours.setLevel(levels[1])


@pytest.fixture
def envelope() -> dict[str, Any]:
    """A small order-select call, to be changed by the test."""
    return {
        "hook": "order-select",
        "hookInstance": "d1577c69-dfbe-44ad-ba6d-3e05e953b2ea",
        "context": {
            "userId": "Practitioner/p1",
            "patientId": "pat1",
            "selections": ["MedicationRequest/mr1"],
            "draftOrders": {
                "resourceType": "Bundle",
                "entry": [{"resource": {"resourceType": "MedicationRequest", "id": "mr1"}}],
            },
        },
        "prefetch": {"patient": {"resourceType": "Patient", "id": "pat1"}},
    }
