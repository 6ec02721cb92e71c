"""How does a failure reach the client?

Every failure is an answer that says so: a status and a FHIR OperationOutcome. Nothing turns into
`{"cards": []}`, which means "looked, nothing to add" and nothing else.

    ServiceError
    ├── BadRequest                400  the request cannot be read as a hook call
    │   ├── MalformedBody              not JSON, not an object, ambiguous or nested too deeply
    │   ├── MissingElement             a required element is absent
    │   └── InvalidElement             a required element is not what it must be
    ├── Unauthenticated           401  the client did not prove who it is; never says why
    ├── AdminOnly                 401  a page of the dashboard, without its password
    ├── NotYours                  403  a known tenant, but not this service or this server
    ├── UnknownService            404
    ├── UnknownResource           404  no page or FHIR resource of ours has this name
    ├── DataUnavailable           412  data the advice depends on was neither sent nor fetched
    ├── BodyTooLarge              413
    ├── TooManyItems              413  more feedback than is taken at once
    ├── UnsupportedMediaType      415  not JSON, or encoded in a way not understood
    ├── TooManyCalls              429  more than the tenant's rate
    ├── Overloaded                503  the call waited too long for its turn
    ├── StoreDown                 503  the store did not do what was asked
    └── NotReady                  503  protocol or value sets could not be loaded

Whatever else is raised is our fault: 500, with an id that finds the log line. A message names the
element that is wrong and never its value, which may be a patient's.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import msgspec
from flask import Flask, Response, g
from werkzeug.exceptions import HTTPException

from cds_service import logs


class ServiceError(Exception):
    """A failure with a status, an OperationOutcome issue code, and the element concerned."""

    status = 500
    code = "exception"
    headers: Mapping[str, str] = MappingProxyType({})

    def __init__(self, diagnostics: str, *, expression: str | None = None) -> None:
        super().__init__(diagnostics)
        self.diagnostics = diagnostics
        self.expression = expression


class BadRequest(ServiceError):
    status = 400
    code = "invalid"


class MalformedBody(BadRequest):
    code = "structure"


class MissingElement(BadRequest):
    code = "required"

    def __init__(self, element: str) -> None:
        super().__init__(f"{element}: missing", expression=element)


class InvalidElement(BadRequest):
    code = "value"

    def __init__(self, element: str, why: str) -> None:
        super().__init__(f"{element}: {why}", expression=element)


class Unauthenticated(ServiceError):
    """One constant answer, whatever the cause: it helps nobody to learn which check failed."""

    status = 401
    code = "login"
    headers = MappingProxyType({"WWW-Authenticate": "Bearer"})

    def __init__(self) -> None:
        super().__init__("client authentication required")


class AdminOnly(ServiceError):
    status = 401
    code = "login"
    headers = MappingProxyType(
        {"WWW-Authenticate": 'Basic realm="b12-cds dashboard", charset="UTF-8"'}
    )

    def __init__(self) -> None:
        super().__init__("the admin token is required")


class NotYours(ServiceError):
    status = 403
    code = "forbidden"

    def __init__(self) -> None:
        super().__init__("not available to this client")


class UnknownService(ServiceError):
    status = 404
    code = "not-found"

    def __init__(self) -> None:
        super().__init__("no such service")


class UnknownResource(ServiceError):
    status = 404
    code = "not-found"

    def __init__(self) -> None:
        super().__init__("no such resource")


class DataUnavailable(ServiceError):
    """CDS Hooks 2.0: 412 when required data is neither prefetched nor obtainable."""

    status = 412
    code = "incomplete"

    def __init__(self, keys: Sequence[str]) -> None:
        names = ", ".join(keys)
        super().__init__(f"prefetch: could neither be read nor fetched: {names}")
        self.keys = tuple(keys)


class BodyTooLarge(ServiceError):
    status = 413
    code = "too-long"

    def __init__(self, limit: int) -> None:
        super().__init__(f"body: longer than {limit} bytes")


class TooManyItems(ServiceError):
    status = 413
    code = "too-long"

    def __init__(self, limit: int) -> None:
        super().__init__(f"feedback: more than {limit} items", expression="feedback")


class UnsupportedMediaType(ServiceError):
    status = 415
    code = "not-supported"


class TooManyCalls(ServiceError):
    status = 429
    code = "throttled"

    def __init__(self, retry_after_s: int) -> None:
        super().__init__("too many calls")
        self.headers = MappingProxyType({"Retry-After": str(retry_after_s)})


class Overloaded(ServiceError):
    status = 503
    code = "transient"
    headers = MappingProxyType({"Retry-After": "1"})

    def __init__(self) -> None:
        super().__init__("too many calls at once")


class StoreDown(ServiceError):
    """Says nothing of the cause, which may quote what was to be stored."""

    status = 503
    code = "transient"
    headers = MappingProxyType({"Retry-After": "5"})

    def __init__(self) -> None:
        super().__init__("the store does not answer")


class NotReady(ServiceError):
    status = 503
    code = "transient"

    def __init__(self) -> None:
        super().__init__("the service is not ready")


#: OperationOutcome issue codes for what Werkzeug refuses by itself.
_CODES = {404: "not-found", 405: "not-supported", 413: "too-long", 415: "not-supported"}

_INTERNAL = 500


def outcome(code: str, diagnostics: str, expression: str | None = None) -> bytes:
    """An OperationOutcome with one error in it."""
    issue: dict[str, object] = {"severity": "error", "code": code, "diagnostics": diagnostics}
    if expression is not None:
        issue["expression"] = [expression]
    return msgspec.json.encode({"resourceType": "OperationOutcome", "issue": [issue]})


def register(app: Flask) -> None:
    """Let every error of `app` be answered from here."""
    app.register_error_handler(ServiceError, _service_error)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(Exception, _unexpected)


def _service_error(error: ServiceError) -> Response:
    g.error = type(error).__name__
    body = outcome(error.code, error.diagnostics, error.expression)
    return Response(
        body, error.status, headers=dict(error.headers), content_type="application/json"
    )


def _http_error(error: HTTPException) -> Response:
    """What Flask refuses (404, 405, ...), in our form; headers such as Allow are kept."""
    status = error.code or _INTERNAL
    g.error = type(error).__name__
    answer = Response(status=status, headers=error.get_headers())
    answer.data = outcome(_CODES.get(status, "invalid"), error.name.lower())
    answer.content_type = "application/json"
    return answer


def _unexpected(error: Exception) -> Response:
    g.error = type(error).__name__
    g.error_id = str(uuid.uuid4())
    logs.event(logging.ERROR, "internal-error", exception=error, error_id=g.error_id)
    body = outcome("exception", f"internal error {g.error_id}")
    return Response(body, _INTERNAL, content_type="application/json")
