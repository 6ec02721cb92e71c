"""Which requests are served, and what does every answer have in common?

Discovery, hook calls and health. A trailing slash is served, never redirected: some EHRs drop the
body on a redirect. No URL, header or body of a request decides where an answer points.
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

from cds_service import logs
from cds_service.errors import (
    BadRequest,
    BodyTooLarge,
    InvalidElement,
    NotReady,
    UnknownService,
    UnsupportedMediaType,
)
from cds_service.hooks.discovery import Service
from cds_service.hooks.request import decode_request
from cds_service.hooks.response import Answer, check_response, encode_cards
from cds_service.services import Services

cds = Blueprint("cds", __name__)

_JSON: Final = "application/json"
_JSON_TYPES: Final = (_JSON, "application/fhir+json")


@dataclass(frozen=True, slots=True)
class Runtime:
    """What the routes serve. `services` None: protocol or value sets could not be loaded."""

    hooks: Mapping[str, Service]
    discovery: bytes
    max_body_bytes: int
    services: Services | None


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
    if runtime.services is None:
        raise NotReady
    answer = _answer(service, runtime.services, _body(runtime.max_body_bytes))
    body = encode_cards(answer.cards)
    if current_app.config["CHECK_RESPONSES"]:
        check_response(body)
    return _json(body)


@cds.get("/healthz")
def healthz() -> Response:
    """The process lives."""
    return _json(b'{"status":"ok"}')


@cds.get("/readyz")
def readyz() -> Response:
    """Protocol and value sets are loaded. Never depends on an EHR."""
    if _runtime().services is None:
        raise NotReady
    return _json(b'{"status":"ok"}')


def _answer(service: Service, services: Services, body: bytes) -> Answer:
    hook_request = decode_request(body)
    g.hook_instance = _uuid_of(hook_request.hook_instance)
    if hook_request.hook != service.hook:
        raise InvalidElement("hook", "is not the hook of this service")
    answer = service.answer(hook_request, services)
    g.answer = answer
    return answer


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
    if request.mimetype not in _JSON_TYPES:
        raise UnsupportedMediaType("Content-Type: application/json or application/fhir+json only")
    charset = request.mimetype_params.get("charset", "utf-8")
    if re.sub("[-_]", "", charset).lower() != "utf8":
        raise UnsupportedMediaType("Content-Type: charset utf-8 only")
    if request.headers.get("Content-Encoding", "identity").strip().lower() not in ("", "identity"):
        raise UnsupportedMediaType("Content-Encoding: identity only")


# --- every request ----------------------------------------------------------------------------


@cds.before_app_request
def start() -> None:
    g.started = perf_counter()


@cds.after_app_request
def finish(response: Response) -> Response:
    """The headers of every answer; the log line of every hook call."""
    if request.method == "OPTIONS":
        response.content_type = _JSON
    response.headers["Cache-Control"] = "no-store"  # an answer is about one patient, now
    response.headers["X-Content-Type-Options"] = "nosniff"
    if request.endpoint == "cds.call" and request.method == "POST":
        _log_call(response.status_code)
    return response


def _log_call(status: int) -> None:
    answer: Answer = g.get("answer") or Answer()
    services = _runtime().services
    gaps: Counter[tuple[str, str]] = Counter()
    for gap in answer.gaps:
        gaps[gap.subject.value, gap.kind.value] += gap.count
    logs.event(
        logging.INFO if status < 500 else logging.ERROR,
        "call",
        service=g.get("service"),
        hook_instance=g.get("hook_instance"),
        status=status,
        ms=round((perf_counter() - g.started) * 1000, 1),
        topics=[str(topic) for topic in answer.topics],
        gaps=[{"key": key, "kind": kind, "count": n} for (key, kind), n in gaps.items()],
        protocol=services.protocol_version if services else None,
        error=g.get("error"),
        error_id=g.get("error_id"),
    )


def _uuid_of(text: str) -> str | None:
    """The hook instance as a UUID. Other texts are accepted by the service, and not logged."""
    try:
        return str(uuid.UUID(text)) if len(text) <= 45 else None
    except ValueError:
        return None
