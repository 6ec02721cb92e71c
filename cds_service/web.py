"""What do all routes share: what is served, and how a body comes in and goes out?"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, cast

from flask import Flask, Response, current_app, request

from cds_service.errors import BadRequest, BodyTooLarge, NotReady, UnsupportedMediaType
from cds_service.governance import Governance
from cds_service.hooks.discovery import Service
from cds_service.records import Recorder
from cds_service.services import Services
from cds_service.store import Store
from cds_service.telemetry import Tracing
from cds_service.tenancy import Tenancy

JSON: Final = "application/json"
_ACCEPTED: Final = (JSON, "application/fhir+json")
_EXTENSION: Final = "b12_cds"


@dataclass(frozen=True, slots=True)
class Runtime:
    """What the routes serve; all that an application holds.

    `services`: what is the same for all tenants; None: protocol or value sets could not be loaded.
    `renew`: the tenancy after the tenants file was read again.
    `admin_token`: None: the dashboard is open, in development.
    `metrics_port`: None: the metrics are not served in production.
    """

    hooks: Mapping[str, Service]
    discovery: bytes
    openapi: bytes
    max_body_bytes: int
    services: Services | None
    tenancy: Tenancy
    renew: Callable[[Tenancy], Tenancy]
    store: Store
    recorder: Recorder
    governance: Governance
    tracing: Tracing
    public_url: str
    production: bool = False
    metrics_port: int | None = None
    admin_token: str | None = field(default=None, repr=False)


def install(app: Flask, served: Runtime) -> None:
    """Let `app` serve this from now on."""
    app.extensions[_EXTENSION] = served


def runtime(app: Flask | None = None) -> Runtime:
    """What `app` serves; without it, the application that answers now."""
    return cast(Runtime, (app or current_app).extensions[_EXTENSION])


def loaded() -> Services:
    """The parts that all tenants have in common. Raises NotReady (503)."""
    services = runtime().services
    if services is None:
        raise NotReady
    return services


def answer(content: bytes, content_type: str = JSON) -> Response:
    return Response(content, content_type=content_type)


def body() -> bytes:
    """The bytes of the request, once it is clear that they are JSON and not too many."""
    _check_media_type()
    limit = runtime().max_body_bytes
    announced = request.environ.get("CONTENT_LENGTH")
    if not announced:
        return _body_of_unknown_length(limit)
    if not re.fullmatch(r"[0-9]{1,20}", announced):
        raise BadRequest("Content-Length: not a number of bytes")
    length = int(announced)
    if length > limit:
        raise BodyTooLarge(limit)
    data: bytes = request.environ["wsgi.input"].read(length)
    if len(data) < length:
        raise BadRequest("body: shorter than its Content-Length")
    return data


def _body_of_unknown_length(limit: int) -> bytes:
    # Werkzeug cuts a chunked body off at its limit and says nothing, so it is given one byte
    # more than we accept and the cut is found here.
    request.max_content_length = limit + 1
    data = request.get_data(cache=False)
    if len(data) > limit:
        raise BodyTooLarge(limit)
    return data


def _check_media_type() -> None:
    plain = request.environ.get("CONTENT_TYPE") == JSON  # as nearly all clients send it
    if not plain and request.mimetype not in _ACCEPTED:
        raise UnsupportedMediaType("Content-Type: application/json or application/fhir+json only")
    charset = "utf-8" if plain else request.mimetype_params.get("charset", "utf-8")
    if re.sub("[-_]", "", charset).lower() != "utf8":
        raise UnsupportedMediaType("Content-Type: charset utf-8 only")
    if request.headers.get("Content-Encoding", "identity").strip().lower() not in ("", "identity"):
        raise UnsupportedMediaType("Content-Encoding: identity only")
