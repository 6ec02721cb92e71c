"""Which requests are served, and what does every answer have in common?

Discovery, hook calls, health and metrics. A trailing slash is served, never redirected: some EHRs
drop the body on a redirect. No URL, header or body of a request decides where an answer points.
"""

from __future__ import annotations

import logging
import re
import uuid
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import Final, cast

from flask import Blueprint, Response, current_app, g, request

from cds_service import logs, metrics
from cds_service.cors import cors_headers
from cds_service.errors import (
    BadRequest,
    BodyTooLarge,
    DataUnavailable,
    InvalidElement,
    NotReady,
    StoreDown,
    UnknownResource,
    UnknownService,
    UnsupportedMediaType,
)
from cds_service.feedback import Kept, keep_feedback, read_feedback
from cds_service.governance import Decided, Governance
from cds_service.hooks.discovery import Service
from cds_service.hooks.request import decode_request
from cds_service.hooks.response import Answer, Card, check_response, encode_cards
from cds_service.records import Decision, Recorder
from cds_service.services import Services
from cds_service.store import Store
from cds_service.telemetry import Tracing
from cds_service.tenancy import Tenancy
from cds_service.tenants import Tenant
from fhir_mappers import terminology

cds = Blueprint("cds", __name__)

_JSON: Final = "application/json"
_JSON_TYPES: Final = (_JSON, "application/fhir+json")


@dataclass(frozen=True, slots=True)
class Runtime:
    """What the routes serve.

    `services`: what is the same for all tenants; None: protocol or value sets could not be loaded.
    `metrics_port`: None: the metrics are not served in production.
    """

    hooks: Mapping[str, Service]
    discovery: bytes
    openapi: bytes
    max_body_bytes: int
    services: Services | None
    tenancy: Tenancy
    store: Store
    recorder: Recorder
    governance: Governance
    tracing: Tracing
    public_url: str
    production: bool = False
    metrics_port: int | None = None


@cds.get("/cds-services")
def discover() -> Response:
    return _json(_runtime().discovery)


@cds.post("/cds-services/<service_id>")
def call(service_id: str) -> Response:
    runtime = _runtime()
    service = runtime.hooks.get(service_id)
    if service is None:
        raise UnknownService
    g.service = service.id
    tenant = admitted(service.id)
    services = runtime.tenancy.services.get(tenant.id)
    if services is None:
        raise NotReady
    cards = _cards(service, services, _body(runtime.max_body_bytes))
    body = encode_cards(cards)
    if current_app.config["CHECK_RESPONSES"]:
        check_response(body)
    return _json(body)


@cds.post("/cds-services/<service_id>/feedback")
def feedback(service_id: str) -> Response:
    """What was done with cards. Answered when it is kept; see `cds_service.feedback`."""
    runtime = _runtime()
    if service_id not in runtime.hooks:
        raise UnknownService
    g.service = service_id
    tenant = admitted(service_id, "/feedback")
    services = runtime.tenancy.services.get(tenant.id) or runtime.services
    reasons = services.protocol.override_reasons.values() if services else ()
    items = read_feedback(_body(runtime.max_body_bytes), [reason.code for reason in reasons])
    g.kept = kept = keep_feedback(runtime.store, items, tenant, service_id)
    metrics.fed_back(tenant.id, kept.new)
    return _json(b"{}")


@cds.get("/healthz")
def healthz() -> Response:
    """The process lives."""
    return _json(b'{"status":"ok"}')


@cds.get("/readyz")
def readyz() -> Response:
    """Protocol and value sets are loaded and the store takes writes. Never depends on an EHR."""
    runtime = _runtime()
    if not runtime.tenancy.services:
        raise NotReady
    if not runtime.store.answers():
        raise StoreDown
    if runtime.tenancy.stale:
        # Calls are served as before, so this is no reason to take the process out of service.
        return _json(b'{"status":"ok","tenants":"the file cannot be used: the former is in force"}')
    return _json(b'{"status":"ok"}')


@cds.get("/openapi.json")
def describe() -> Response:
    return _json(_runtime().openapi)


@cds.get("/metrics")
def metrics_page() -> Response:
    """For the collector of metrics: in production on a port of its own, which nobody else sees."""
    runtime = _runtime()
    if runtime.production and not _on_metrics_port(runtime):
        raise UnknownResource
    return Response(metrics.exposition(), content_type=metrics.CONTENT_TYPE)


def _on_metrics_port(runtime: Runtime) -> bool:
    """The port of the socket that the request came in by; no header has a say in it."""
    return request.environ.get("SERVER_PORT") == str(runtime.metrics_port)


def admitted(service_id: str, suffix: str = "") -> Tenant:
    """The tenant of this call to a service, or to its feedback (`suffix`), once it may go on."""
    runtime = _runtime()
    url = f"{runtime.public_url}/cds-services/{service_id}{suffix}"
    tenant = runtime.tenancy.admit(request.headers.get("Authorization"), url, service_id)
    g.tenant = tenant
    return tenant


def _cards(service: Service, services: Services, body: bytes) -> tuple[Card, ...]:
    """The cards of the answer that the client is to get."""
    hook_request = decode_request(body)
    g.fetches = hook_request.fetches
    g.hook_instance = _uuid_of(hook_request.hook_instance)
    if hook_request.hook != service.hook:
        raise InvalidElement("hook", "is not the hook of this service")
    _runtime().tenancy.check_server(services.tenant, hook_request.fhir_server)
    try:
        with terminology.using(services.tenant.value_sets):
            g.answer = answer = service.answer(hook_request, services)
    except DataUnavailable as unavailable:
        g.unread = unavailable.keys
        raise
    if not answer.outcomes:
        return answer.cards  # not about our orders: nothing to decide on
    governance = _runtime().governance
    g.decided = decided = governance.decide(answer.cards, services.tenant, hook_request.context)
    return decided.cards


def _runtime() -> Runtime:
    return cast(Runtime, current_app.extensions["b12_cds"])


def _json(body: bytes) -> Response:
    return Response(body, content_type=_JSON)


# --- the body ---------------------------------------------------------------------------------


def _body(limit: int) -> bytes:
    """The bytes of the request, once it is clear that they are JSON and not too many."""
    _check_media_type()
    announced = request.environ.get("CONTENT_LENGTH") or "0"
    if not re.fullmatch(r"[0-9]{1,20}", announced):
        raise BadRequest("Content-Length: not a number of bytes")
    if int(announced) > limit:
        raise BodyTooLarge(limit)
    # Werkzeug cuts a chunked body off at its limit and says nothing, so it is given one byte
    # more than we accept and the cut is found here.
    request.max_content_length = limit + 1
    data = request.get_data(cache=False)
    if len(data) > limit:
        raise BodyTooLarge(limit)
    return data


def _check_media_type() -> None:
    plain = request.environ.get("CONTENT_TYPE") == _JSON  # as nearly all clients send it
    if not plain and request.mimetype not in _JSON_TYPES:
        raise UnsupportedMediaType("Content-Type: application/json or application/fhir+json only")
    charset = "utf-8" if plain else request.mimetype_params.get("charset", "utf-8")
    if re.sub("[-_]", "", charset).lower() != "utf8":
        raise UnsupportedMediaType("Content-Type: charset utf-8 only")
    if request.headers.get("Content-Encoding", "identity").strip().lower() not in ("", "identity"):
        raise UnsupportedMediaType("Content-Encoding: identity only")


# --- every request ----------------------------------------------------------------------------


@cds.before_app_request
def start() -> None:
    g.started = perf_counter()
    runtime = _runtime()
    if _on_metrics_port(runtime) and request.path not in ("/metrics", "/healthz", "/readyz"):
        raise UnknownResource


@cds.after_app_request
def finish(response: Response) -> Response:
    """The headers of every answer; the log line of every hook call."""
    if request.method == "OPTIONS":
        response.content_type = _JSON
    response.headers["Cache-Control"] = "no-store"  # an answer is about one patient, now
    response.headers["X-Content-Type-Options"] = "nosniff"
    if request.path.startswith("/cds-services"):
        preflight = request.method == "OPTIONS"
        origin = request.headers.get("Origin")
        response.headers.extend(
            cors_headers(_runtime().tenancy.tenants, origin, preflight=preflight)
        )
    if request.endpoint == "cds.call" and request.method == "POST":
        _log_call(response.status_code)
    if request.endpoint == "cds.feedback" and request.method == "POST":
        _log_feedback(response.status_code)
    return response


def _log_feedback(status: int) -> None:
    kept: Kept = g.get("kept") or Kept(0, 0)
    tenant: Tenant | None = g.get("tenant")
    logs.event(
        logging.INFO if status < 500 else logging.ERROR,
        "feedback",
        service=g.get("service"),
        tenant=tenant.id if tenant else None,
        status=status,
        ms=round((perf_counter() - g.started) * 1000, 1),
        items=kept.items,
        new=kept.new,
        error=g.get("error"),
        error_id=g.get("error_id"),
    )


def _log_call(status: int) -> None:
    answer: Answer = g.get("answer") or Answer()
    tenant: Tenant | None = g.get("tenant")
    services = _runtime().tenancy.services.get(tenant.id) if tenant else None
    gaps: Counter[tuple[str, str]] = Counter()
    for gap in answer.gaps:
        gaps[gap.subject.value, gap.kind.value] += gap.count
    _count_call(status, tenant, answer, gaps)
    if tenant and services:
        _record_call(status, services, answer, gaps)
    logs.event(
        logging.INFO if status < 500 else logging.ERROR,
        "call",
        service=g.get("service"),
        tenant=tenant.id if tenant else None,
        hook_instance=g.get("hook_instance"),
        status=status,
        ms=round((perf_counter() - g.started) * 1000, 1),
        topics=[str(topic) for topic in answer.topics],
        gaps=[{"key": key, "kind": kind, "count": n} for (key, kind), n in gaps.items()],
        protocol=services.protocol_version if services else None,
        fetches=[run._asdict() for run in g.get("fetches", ())] or None,
        error=g.get("error"),
        error_id=g.get("error_id"),
    )


def _record_call(
    status: int, services: Services, answer: Answer, gaps: Mapping[tuple[str, str], int]
) -> None:
    """One record of what was evaluated; a mere count of everything else."""
    decided: Decided = g.get("decided") or Decided(mode=services.tenant.mode)
    recorder, service = _runtime().recorder, g.service
    if not answer.outcomes and status != DataUnavailable.status:
        kind = "not-ours" if status == 200 else f"status-{status}"
        recorder.count(services.tenant.id, service, kind)
        return
    recorder.put(
        Decision(
            tenant=services.tenant.id,
            service=service,
            hook_instance=g.get("hook_instance"),
            profile=services.protocol.profile,
            protocol=services.protocol_version,
            protocol_hash=services.protocol.content_hash,
            mode=decided.mode,
            status=status,
            ms=(perf_counter() - g.started) * 1000,
            cards=answer.cards,
            rules=dict(zip(map(str, answer.topics), answer.rules, strict=False)),
            outcomes=answer.outcomes,
            gaps=[(key, kind, count) for (key, kind), count in gaps.items()]
            or [(key, "unread", 1) for key in g.get("unread", ())],
            withheld=decided.withheld,
            pseudonym=decided.pseudonym,
        )
    )


def _count_call(
    status: int, tenant: Tenant | None, answer: Answer, gaps: Mapping[tuple[str, str], int]
) -> None:
    name, mode = (tenant.id, tenant.mode) if tenant else ("none", "none")
    metrics.called(g.get("service") or "none", name, mode, status, perf_counter() - g.started)
    _runtime().tracing.call(
        perf_counter() - g.started,
        {"service": g.get("service") or "none", "tenant": name, "mode": mode, "status": status},
    )
    topics = [(card.source.topic, card.indicator) for card in answer.cards]
    metrics.advised(name, [(topic.code, word.value) for topic, word in topics if topic])
    for (key, kind), count in gaps.items():
        metrics.gap(key, kind, count)
    for fetch in g.get("fetches", ()):
        metrics.fetched(name, fetch.outcome, fetch.ms / 1000)


def _uuid_of(text: str) -> str | None:
    """The hook instance as a UUID. Other texts are accepted by the service, and not logged."""
    try:
        return str(uuid.UUID(text)) if len(text) <= 45 else None
    except ValueError:
        return None
