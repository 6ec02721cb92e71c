"""What can be called here, for tools: the OpenAPI 3.1 description, made from the wire models.

Requests are described as leniently as they are read, answers as strictly as they are written: the
schemas of an answer are those of the classes that encode it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from cds_service.hooks.discovery import Service
from cds_service.hooks.response import Card

Json = dict[str, Any]

_JSON: Final = "application/json"
_REF: Final = "#/components/schemas/{name}"

_TEXT: Final[Json] = {"type": "string"}

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

_REFUSALS: Final = {
    "400": "the request cannot be read as what it must be",
    "401": "the client did not prove who it is",
    "403": "not available to this client",
    "413": "longer than is accepted",
    "415": "not JSON in UTF-8",
    "429": "more calls than the tenant's rate",
    "500": "our fault; the id finds the line in the log",
    "503": "overloaded, not ready, or the store does not answer",
}


def openapi(services: Iterable[Service], public_url: str, version: str) -> Json:
    """The whole description."""
    paths: Json = {"/cds-services": {"get": _get("Discovery", "Discovery")}}
    for service in services:
        path = f"/cds-services/{service.id}"
        paths[path] = {"post": _post(service.title, "Request", _ok("Cards"), may_lack_data=True)}
        paths[f"{path}/feedback"] = {"post": _post("Feedback on cards", "Feedback", _kept())}
    paths["/healthz"] = {"get": _get("The process lives", "Status")}
    paths["/readyz"] = {"get": _get("Calls can be answered", "Status", unready=True)}
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
                "client": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
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


def _content(name: str) -> Json:
    return {_JSON: {"schema": {"$ref": _REF.format(name=name)}}}


def _ok(name: str) -> Json:
    return {"description": "done", "content": _content(name)}


def _kept() -> Json:
    return {"description": "kept", "content": {_JSON: {"schema": {"type": "object"}}}}


def _error(description: str) -> Json:
    return {"description": description, "content": _content("OperationOutcome")}


def _get(summary: str, name: str, *, unready: bool = False) -> Json:
    responses = {"200": _ok(name)}
    if unready:
        responses["503"] = _error(_REFUSALS["503"])
    return {"summary": summary, "security": [{}], "responses": responses}


def _post(summary: str, name: str, done: Json, *, may_lack_data: bool = False) -> Json:
    responses = {"200": done} | {code: _error(text) for code, text in _REFUSALS.items()}
    if may_lack_data:
        responses["412"] = _error("data the advice depends on could be neither read nor fetched")
    return {
        "summary": summary,
        "requestBody": {"required": True, "content": _content(name)},
        "responses": responses,
    }
