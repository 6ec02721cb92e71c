"""Traces: off unless configured, and nothing about anyone in them."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

from cds_service import telemetry
from cds_service.settings import Settings, SettingsError
from cds_service.telemetry import Tracing

ROOT = Path(__file__).parents[3]
CALL = "/cds-services/b12-order-select"


@pytest.fixture
def spans():
    pytest.importorskip("opentelemetry.sdk", reason="pip install opentelemetry-sdk")
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter = InMemorySpanExporter()
    exporter.processor = SimpleSpanProcessor(exporter)
    return exporter


@pytest.mark.fault("O16")
def test_a_call_is_one_span_that_says_what_the_log_says(make_app, envelope, spans):
    app = make_app()
    runtime = app.extensions["b12_cds"]
    tracing = Tracing("http://127.0.0.1:9/v1/traces", spans.processor)
    app.extensions["b12_cds"] = dataclasses.replace(runtime, tracing=tracing)
    envelope["context"]["userId"] = "Practitioner/canary"
    headers = {"traceparent": "00-" + "a" * 32 + "-" + "b" * 16 + "-01", "Authorization": "canary"}
    app.test_client().post(f"{CALL}?canary=1", json=envelope, headers=headers)
    (span,) = spans.get_finished_spans()
    assert dict(span.attributes) == {
        "service": "b12-order-select",
        "tenant": "development",
        "mode": "live",
        "status": 200,
    }
    assert span.parent is None
    assert 0 <= span.end_time - span.start_time < 10e9
    assert "canary" not in span.to_json()
    assert "pat1" not in span.to_json()


def test_without_an_address_nothing_is_imported():
    code = (
        "import sys; from cds_service.telemetry import tracing; "
        "from cds_service.settings import Settings; "
        "tracing(Settings()).call(0.1, {}); "
        "print([m for m in sys.modules if m.startswith('opentelemetry')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_traces_that_cannot_be_sent_stop_the_start(monkeypatch):
    monkeypatch.setattr(telemetry.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SettingsError, match="B12_CDS_TRACES"):
        telemetry.tracing(Settings(traces="https://otel.example/v1/traces"))
    assert not telemetry.tracing(Settings()).is_on
