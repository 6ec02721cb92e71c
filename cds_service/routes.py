"""Which requests are served, and what does every answer have in common?

Discovery, hook calls, health and metrics. A trailing slash is served, never redirected: some EHRs
drop the body on a redirect. No URL, header or body of a request decides where an answer points.
"""

from __future__ import annotations

import re
import uuid
from typing import Final, cast

from flask import Blueprint, Response, g, request
from flask.globals import request_ctx

from cds_service import journal, metrics, web
from cds_service.cors import cors_headers
from cds_service.errors import (
    DataUnavailable,
    InvalidElement,
    NotReady,
    StoreDown,
    UnknownResource,
    UnknownService,
)
from cds_service.feedback import keep_feedback, read_feedback
from cds_service.hooks.discovery import Service
from cds_service.hooks.request import decode_request
from cds_service.hooks.response import Card, encode_cards
from cds_service.services import Services
from cds_service.tenants import Tenant
from cds_service.web import Runtime
from fhir_mappers import terminology

cds = Blueprint("cds", __name__)


@cds.get("/cds-services")
def discover() -> Response:
    return web.answer(web.runtime().discovery)


@cds.post("/cds-services/<service_id>")
def call(service_id: str) -> Response:
    runtime = web.runtime()
    service = runtime.hooks.get(service_id)
    if service is None:
        raise UnknownService
    told, _ = _admitted(runtime, service.id)
    if told.services is None:
        raise NotReady
    cards = _cards(runtime, service, told.services, web.body())
    return web.answer(encode_cards(cards))


@cds.post("/cds-services/<service_id>/feedback")
def feedback(service_id: str) -> Response:
    """What was done with cards. Answered when it is kept; see `cds_service.feedback`."""
    runtime = web.runtime()
    if service_id not in runtime.hooks:
        raise UnknownService
    told, tenant = _admitted(runtime, service_id, "/feedback")
    services = told.services or runtime.services
    reasons = services.protocol.override_reasons.values() if services else ()
    items = read_feedback(web.body(), [reason.code for reason in reasons])
    told.kept = keep_feedback(runtime.store, items, tenant, service_id)
    metrics.fed_back(tenant.id, told.kept.new)
    return web.answer(b"{}")


@cds.get("/healthz")
def healthz() -> Response:
    """The process lives."""
    return web.answer(b'{"status":"ok"}')


@cds.get("/readyz")
def readyz() -> Response:
    """Protocol and value sets are loaded and the store takes writes. Never depends on an EHR."""
    runtime = web.runtime()
    if not runtime.tenancy.services:
        raise NotReady
    if not runtime.store.answers():
        raise StoreDown
    if runtime.tenancy.stale:
        # Calls are served as before, so this is no reason to take the process out of service.
        return web.answer(
            b'{"status":"ok","tenants":"the file cannot be used: the former is in force"}'
        )
    return web.answer(b'{"status":"ok"}')


@cds.get("/openapi.json")
def describe() -> Response:
    return web.answer(web.runtime().openapi)


@cds.get("/metrics")
def metrics_page() -> Response:
    """For the collector of metrics: in production on a port of its own, which nobody else sees."""
    runtime = web.runtime()
    if runtime.production and not _on_metrics_port(runtime):
        raise UnknownResource
    return Response(metrics.exposition(), content_type=metrics.CONTENT_TYPE)


def _on_metrics_port(runtime: Runtime) -> bool:
    """The port of the socket that the request came in by; no header has a say in it."""
    return request.environ.get("SERVER_PORT") == str(runtime.metrics_port)


def _admitted(runtime: Runtime, service_id: str, suffix: str = "") -> tuple[journal.Call, Tenant]:
    """This call to a service, or to its feedback (`suffix`), and whose it is, once it may go on."""
    told = _told()
    told.service = service_id
    url = f"{runtime.public_url}/cds-services/{service_id}{suffix}"
    tenant = runtime.tenancy.admit(request.headers.get("Authorization"), url, service_id)
    told.tenant, told.services = tenant, runtime.tenancy.services.get(tenant.id)
    return told, tenant


def _cards(runtime: Runtime, service: Service, services: Services, body: bytes) -> tuple[Card, ...]:
    """The cards of the answer that the client is to get."""
    told = _told()
    asked = decode_request(body, received=told.started)
    told.fetches = asked.fetches
    told.hook_instance = _uuid_of(asked.hook_instance)
    if asked.hook != service.hook:
        raise InvalidElement("hook", "is not the hook of this service")
    runtime.tenancy.check_server(services.tenant, asked.fhir_server)
    try:
        with terminology.using(services.tenant.value_sets):
            told.answer = answer = service.answer(asked, services)
    except DataUnavailable as unavailable:
        told.unread, told.decided_status = unavailable.keys, unavailable.status
        told.decided = runtime.governance.decide((), services.tenant, asked.context)
        if told.decided.mode == "live":
            raise
        return ()  # who only listens is told nothing; the record says what it would have been
    if not answer.outcomes:
        return answer.cards  # not about our orders: nothing to decide on
    told.decided = decided = runtime.governance.decide(answer.cards, services.tenant, asked.context)
    return decided.cards


# --- every request ----------------------------------------------------------------------------


@cds.before_app_request
def start() -> None:
    g.told = journal.Call()
    runtime = web.runtime()
    if _on_metrics_port(runtime) and request.path not in ("/metrics", "/healthz", "/readyz"):
        raise UnknownResource
    # No path of ours has anything to encode. One that does is another's, whatever it decodes to.
    if "%" in request.environ.get("RAW_URI", "").partition("?")[0]:
        raise UnknownResource


@cds.after_app_request
def finish(response: Response) -> Response:
    """The headers of every answer; what is told of a call."""
    asked = request_ctx.request  # itself: a proxy would be asked a dozen times
    headers = response.headers
    if asked.method == "OPTIONS":
        response.content_type = web.JSON
    headers["Cache-Control"] = "no-store"  # an answer is about one patient, now
    headers["X-Content-Type-Options"] = "nosniff"
    if asked.path.startswith("/cds-services"):
        preflight = asked.method == "OPTIONS"
        origin = asked.headers.get("Origin")
        headers.extend(cors_headers(web.runtime().tenancy.tenants, origin, preflight=preflight))
    if asked.method == "POST" and asked.endpoint in ("cds.call", "cds.feedback"):
        _tell(_told(), asked.endpoint, response.status_code)
    return response


def _tell(told: journal.Call, endpoint: str, status: int) -> None:
    if status >= 400:
        told.error, told.error_id = g.get("error"), g.get("error_id")
    if endpoint == "cds.feedback":
        journal.feedback(told, status)
    else:
        runtime = web.runtime()
        journal.hook_call(told, status, runtime.recorder, runtime.tracing)


def _told() -> journal.Call:
    """What is known so far of the request that is being answered."""
    return cast(journal.Call, g.told)


_UUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def _uuid_of(text: str) -> str | None:
    """The hook instance as a UUID. Other texts are accepted by the service, and not logged."""
    if _UUID.fullmatch(text):
        return text
    try:
        return str(uuid.UUID(text)) if len(text) <= 45 else None
    except ValueError:
        return None
