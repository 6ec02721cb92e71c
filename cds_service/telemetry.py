"""Where did the time of a call go, for those who look at all their services in one place?

One span a hook call, sent by OpenTelemetry to the address of B12_CDS_TRACES; without it nothing of
OpenTelemetry is even imported. A span says what the log line says, and no more: no header, URL,
message or exception is recorded, and nothing is taken from or handed on to other systems.
"""

from __future__ import annotations

import importlib.util
import os
import threading
import time
from typing import TYPE_CHECKING

from cds_service.settings import Settings, SettingsError

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor
    from opentelemetry.trace import Tracer


class Tracing:
    """Sends spans. `processor`: what takes them instead of the exporter, for tests."""

    def __init__(self, url: str | None, processor: SpanProcessor | None = None) -> None:
        self._url, self._processor = url, processor
        self._lock = threading.Lock()
        self._tracer: Tracer | None = None
        self._of_process = 0

    @property
    def is_on(self) -> bool:
        return self._url is not None

    def call(self, seconds: float, attributes: dict[str, str | int]) -> None:
        """A hook call has ended that took `seconds`."""
        if not self.is_on:
            return
        ended = time.time_ns()
        span = self._own_tracer().start_span(
            "hook call", attributes=attributes, start_time=ended - int(seconds * 1e9)
        )
        span.end(end_time=ended)

    def _own_tracer(self) -> Tracer:
        """This process's tracer: its thread that sends would not survive a fork."""
        with self._lock:
            if self._tracer is None or self._of_process != os.getpid():
                self._tracer, self._of_process = self._make(), os.getpid()
            return self._tracer

    def _make(self) -> Tracer:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415
            OTLPSpanExporter,
        )
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

        provider = TracerProvider(resource=Resource({"service.name": "b12-cds"}))
        provider.add_span_processor(
            self._processor or BatchSpanProcessor(OTLPSpanExporter(endpoint=self._url, timeout=2))
        )
        return provider.get_tracer("b12-cds")


def tracing(settings: Settings) -> Tracing:
    """What the settings ask for. Raises SettingsError where it is not installed."""
    if settings.traces is not None and importlib.util.find_spec("opentelemetry") is None:
        raise SettingsError(["B12_CDS_TRACES: needs `pip install b12-cds[tracing]`"])
    return Tracing(settings.traces)
