"""What can be called here, for tools: the OpenAPI 3.1 description, made from the wire models.

Requests are described as leniently as they are read, answers as strictly as they are written: the
schemas of an answer are those of the classes that encode it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import msgspec

from cds_service.hooks.discovery import Service
from cds_service.hooks.response import Card

Json = dict[str, Any]

_JSON: Final = "application/json"
_HTML: Final = "text/html"
_REF: Final = "#/components/schemas/{name}"

_TEXT: Final[Json] = {"type": "string"}
_OBJECT: Final[Json] = {"type": "object"}

#: What a client sends. Anything further is ignored, and so is described as allowed.
_REQUEST: Final[Json] = {
    "type": "object",
    "required": ["hook", "hookInstance", "context"],
    "properties": {
        "hook": _TEXT,
        "hookInstance": {"type": "string", "description": "a UUID; other texts are accepted"},
        "fhirServer": {"type": "string", "description": "base URL, one of the tenant's"},
        "fhirAuthorization": {
            "type": "object",
            "properties": {
                "access_token": _TEXT,
                "token_type": _TEXT,
                "expires_in": {"type": "integer"},
                "scope": _TEXT,
                "subject": _TEXT,
                "patient": _TEXT,
            },
        },
        "context": {
            "type": "object",
            "required": ["patientId"],
            "properties": {
                "patientId": {"type": "string", "pattern": r"\S"},
                "userId": _TEXT,
                "encounterId": _TEXT,
                "selections": {"type": "array", "items": _TEXT},
                "draftOrders": {"type": "object", "description": "a FHIR R4 Bundle"},
            },
        },
        "prefetch": {
            "type": "object",
            "description": "by key of discovery: a resource, a searchset Bundle, or null",
        },
    },
}

_FEEDBACK: Final[Json] = {
    "type": "object",
    "required": ["feedback"],
    "properties": {
        "feedback": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["card", "outcome"],
                "properties": {
                    "card": _TEXT,
                    "outcome": {"enum": ["accepted", "overridden"]},
                    "acceptedSuggestions": {
                        "type": "array",
                        "items": {
                            "type": "object",
                            "required": ["id"],
                            "properties": {"id": _TEXT},
                        },
                    },
                    "overrideReason": {"type": "object"},
                    "outcomeTimestamp": _TEXT,
                },
            },
        }
    },
}

_DISCOVERY: Final[Json] = {
    "type": "object",
    "required": ["services"],
    "properties": {
        "services": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["hook", "description", "id"],
                "properties": {
                    "hook": _TEXT,
                    "title": _TEXT,
                    "description": _TEXT,
                    "id": _TEXT,
                    "version": _TEXT,
                    "hookVersion": _TEXT,
                    "usageRequirements": _TEXT,
                    "prefetch": {"type": "object", "additionalProperties": _TEXT},
                },
                "additionalProperties": False,
            },
        }
    },
}

_OUTCOME: Final[Json] = {
    "type": "object",
    "required": ["resourceType", "issue"],
    "properties": {
        "resourceType": {"const": "OperationOutcome"},
        "issue": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "required": ["severity", "code"],
                "properties": {
                    "severity": {"const": "error"},
                    "code": _TEXT,
                    "diagnostics": _TEXT,
                    "expression": {"type": "array", "items": _TEXT},
                },
            },
        },
    },
}

_STATUS: Final[Json] = {
    "type": "object",
    "required": ["status"],
    "properties": {"status": {"const": "ok"}},
}

#: Of the project's own; what is in them is FHIR's business.
_RESOURCE: Final[Json] = {
    "type": "object",
    "required": ["resourceType"],
    "properties": {"resourceType": _TEXT},
}

_REFUSALS: Final = {
    "400": "the request cannot be read as what it must be",
    "401": "the client did not prove who it is",
    "403": "not available to this client",
    "404": "no such thing",
    "412": "data the advice depends on could be neither read nor fetched",
    "413": "longer than is accepted",
    "415": "not JSON in UTF-8",
    "429": "more calls than the tenant's rate",
    "500": "our fault; the id finds the line in the log",
    "503": "overloaded, not ready, or the store does not answer",
}


def openapi(
    services: Iterable[Service], routes: Mapping[str, str], public_url: str, version: str
) -> Json:
    """The whole description. `routes`: end point → path, as the application serves them."""
    paths: Json = {}
    offered = list(services)
    for endpoint, rule in routes.items():
        if endpoint.rpartition(".")[2] == "static":
            continue  # scripts and style sheets of the pages
        path = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule)
        if endpoint in _OF_A_SERVICE:
            paths |= {
                path.replace("{service_id}", service.id): {"post": _OF_A_SERVICE[endpoint](service)}
                for service in offered
            }
        else:
            paths[path] = _OPERATIONS[endpoint] | _parameters(path)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Vitamin B12 decision support",
            "version": version,
            "description": "CDS Hooks 2.0. The paths are those of the standard.",
        },
        "servers": [{"url": public_url}],
        "security": [{}, {"client": []}],
        "paths": paths,
        "components": {
            "schemas": _schemas(),
            "securitySchemes": {
                "client": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
                "admin": {"type": "http", "scheme": "basic"},
                "adminToken": {"type": "http", "scheme": "bearer"},
            },
        },
    }


def _schemas() -> Json:
    (card,), parts = msgspec.json.schema_components([Card], ref_template=_REF)
    cards = {
        "type": "object",
        "required": ["cards"],
        "properties": {"cards": {"type": "array", "items": card}},
        "additionalProperties": False,
    }
    return _without_blanks(parts) | {
        "Cards": cards,
        "Discovery": _DISCOVERY,
        "Feedback": _FEEDBACK,
        "OperationOutcome": _OUTCOME,
        "Request": _REQUEST,
        "Resource": _RESOURCE,
        "Status": _STATUS,
    }


def _without_blanks(schema: Json) -> Json:
    """What is absent in an answer is left out: there is no null, and no empty array."""
    plain = {key: _tidy(part) for key, part in schema.items() if key != "default"}
    if schema.get("default") == [] and schema.get("type") == "array":
        plain["minItems"] = 1
    choices = [part for part in plain.get("anyOf", ()) if part != {"type": "null"}]
    if len(choices) == 1:
        del plain["anyOf"]
        plain |= choices[0]
    return plain


def _tidy(part: Any) -> Any:
    if isinstance(part, list):
        return [_tidy(item) for item in part]
    return _without_blanks(part) if isinstance(part, dict) else part


def _content(name: str, kind: str = _JSON) -> Json:
    return {kind: {"schema": {"$ref": _REF.format(name=name)}}}


def _ok(name: str, kind: str = _JSON) -> Json:
    return {"description": "done", "content": _content(name, kind)}


def _text(kind: str) -> Json:
    return {"description": "done", "content": {kind: {"schema": _TEXT}}}


def _kept() -> Json:
    return {"description": "kept", "content": {_JSON: {"schema": _OBJECT}}}


def _error(code: str) -> Json:
    return {"description": _REFUSALS[code], "content": _content("OperationOutcome")}


def _get(summary: str, done: Json, *refusals: str) -> Json:
    responses = {"200": done} | {code: _error(code) for code in refusals}
    return {"get": {"summary": summary, "security": [{}], "responses": responses}}


def _page(summary: str) -> Json:
    either = {_HTML: {"schema": _TEXT}, _JSON: {"schema": _OBJECT}}
    return _get(summary, {"description": "done, as asked for", "content": either}, "503")


def _resource(summary: str) -> Json:
    return _get(summary, _ok("Resource", "application/fhir+json"), "404", "503")


def _dashboard(summary: str, done: Json, down: str, *refusals: str) -> Json:
    """`down`: the type of what is said while the store does not answer."""
    operation = _get(summary, done, "401", *refusals)["get"]
    schema = _TEXT if down == _HTML else {"$ref": _REF.format(name="OperationOutcome")}
    operation["responses"]["503"] = {
        "description": "the store does not answer",
        "content": {down: {"schema": schema}},
    }
    return {"get": operation | {"security": [{}, {"admin": []}, {"adminToken": []}]}}


def _parameters(path: str) -> Json:
    names = re.findall(r"{(\w+)}", path)
    named = [{"name": name, "in": "path", "required": True, "schema": _TEXT} for name in names]
    return {"parameters": named} if named else {}


def _post(summary: str, name: str, done: Json, *refusals: str) -> Json:
    return {
        "summary": summary,
        "requestBody": {"required": True, "content": _content(name)},
        "responses": {"200": done} | {code: _error(code) for code in refusals},
    }


_OF_A_CLIENT: Final = ("400", "401", "403", "413", "415", "429", "500", "503")
_EXPLAINED: Final[Json] = {
    "type": "object",
    "required": ["text"],
    "properties": {"text": _TEXT},
}

#: By the name of the end point: what is there once for each service, and everything else.
_OF_A_SERVICE: Final[Mapping[str, Callable[[Service], Json]]] = {
    "cds.call": lambda service: _post(service.title, "Request", _ok("Cards"), *_OF_A_CLIENT, "412"),
    "cds.feedback": lambda _: _post("Feedback on cards", "Feedback", _kept(), *_OF_A_CLIENT),
}
_OPERATIONS: Final[Mapping[str, Json]] = {
    "cds.discover": _get("Discovery", _ok("Discovery")),
    "cds.healthz": _get("The process lives", _ok("Status")),
    "cds.readyz": _get("Calls can be answered", _ok("Status"), "503"),
    "cds.describe": _get("This description", {**_kept(), "description": "done"}),
    "cds.metrics_page": _get(
        "Metrics for Prometheus; in production on a port of its own", _text("text/plain"), "404"
    ),
    "pages.about_page": _page("What this is, for whom, and what it does not do"),
    "pages.protocol_page": _page("The decision table"),
    "pages.source_attributes_page": _page("Where the knowledge comes from"),
    "pages.code_system_resource": _resource("A code system of the project"),
    "pages.value_set_resource": _resource("A value set"),
    "pages.plan_definition_resource": _resource("The protocol as a PlanDefinition"),
    "pages.metadata": _resource("What is served of FHIR"),
    "dashboard.page": _dashboard("The dashboard", _text(_HTML), _HTML),
    "dashboard.export": _dashboard("A table of the dashboard", _text("text/csv"), _JSON, "404"),
    "order_entry.page": _get("The order-entry page (development only)", _text(_HTML)),
    "order_entry.catalogue": _get("What the page can order", _kept() | {"description": "done"}),
    "order_entry.patient": _get("A patient of the page", _kept() | {"description": "done"}, "404"),
    "order_entry.explain": {
        "post": _post(
            "How an answer is reached, as text",
            "Request",
            {"description": "done", "content": {_JSON: {"schema": _EXPLAINED}}},
            "400",
            "412",
            "413",
            "415",
        )
    },
}
