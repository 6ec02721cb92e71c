"""Which pages are served wherever the service runs?

What it is (/about and below, HTML for people and JSON by `Accept`), and the FHIR resources behind
its canonical URLs. None of it is about a patient, and none of it asks who is calling.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from flask import Blueprint, Response, render_template, request

from cds_service import web
from cds_service.pages.about import about
from cds_service.pages.canonical import (
    capability_statement,
    code_system,
    plan_definition,
    value_set,
)
from cds_service.pages.protocol_table import scenario_rows, settings_of
from cds_service.pages.source_attributes import source_attributes
from cds_service.protocol_page import review_state
from fhir_mappers.elements import Json

pages = Blueprint("pages", __name__, template_folder="templates", static_folder="static")

_HTML: Final = "text/html"

# No inline script or style, nothing from elsewhere, in nobody's frame. Markup made by script goes
# through the sanitiser's policy and no other.
POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types dompurify",
    )
)


@pages.get("/about")
def about_page() -> Response:
    services = web.loaded()
    return _page("pages/about.html", about=about(services.protocol, services.clock()))


@pages.get("/about/protocol")
def protocol_page() -> Response:
    services = web.loaded()
    protocol = services.protocol
    return _page(
        "pages/protocol.html",
        protocol=protocol,
        rows=scenario_rows(protocol),
        thresholds=tuple(settings_of(protocol.thresholds)),
        policy=tuple(settings_of(protocol.policy)),
        review_state=review_state(protocol),
        review_overdue=protocol.review_overdue(services.clock()),
    )


@pages.get("/about/source-attributes")
def source_attributes_page() -> Response:
    protocol = web.loaded().protocol
    return _page(
        "pages/source_attributes.html",
        attributes=source_attributes(protocol),
        profile=protocol.profile,
        version=protocol.knowledge.version,
    )


@pages.get("/fhir/CodeSystem/<name>")
def code_system_resource(name: str) -> Response:
    services = web.loaded()
    return _fhir(code_system(name, services.protocol, services.public_url))


@pages.get("/fhir/ValueSet/<name>")
def value_set_resource(name: str) -> Response:
    services = web.loaded()
    return _fhir(value_set(name, services.protocol, services.public_url))


@pages.get("/fhir/PlanDefinition/<name>")
def plan_definition_resource(name: str) -> Response:
    services = web.loaded()
    return _fhir(plan_definition(name, services.protocol, services.public_url))


@pages.get("/fhir/metadata")
def metadata() -> Response:
    services = web.loaded()
    return _fhir(capability_statement(services.protocol, services.public_url, services.clock()))


@pages.after_app_request
def protect(response: Response) -> Response:
    """A page, and only a page, says what a browser may do with it: its own policy, or this one."""
    if response.mimetype == _HTML:
        response.headers.setdefault("Content-Security-Policy", POLICY)
        response.headers["Referrer-Policy"] = "no-referrer"
        response.headers["X-Frame-Options"] = "DENY"
        response.headers["Cross-Origin-Opener-Policy"] = "same-origin"
    return response


def _page(template: str, **content: Any) -> Response:
    """The same content as a page, or as JSON for those who prefer it."""
    best = request.accept_mimetypes.best_match([_HTML, web.JSON], default=_HTML)
    if best == web.JSON:
        response = web.answer(msgspec.json.encode(content))
    else:
        links = {"development": web.loaded().settings.mode == "development"}
        response = Response(render_template(template, **content, **links), mimetype=_HTML)
    response.vary.add("Accept")
    return response


def _fhir(resource: Json) -> Response:
    return web.answer(msgspec.json.encode(resource), "application/fhir+json")
