"""Where can a developer see the service at work without an EHR?

A page that orders for synthetic patients and calls the service as an EHR does. In development
only: it shows explanations, which name records.
"""

from __future__ import annotations

from typing import cast

import msgspec
from flask import Blueprint, Response, current_app, render_template, request

from cds_service import demo
from cds_service.errors import BadRequest, BodyTooLarge, NotReady, UnknownResource
from cds_service.explain import explanation
from cds_service.hooks.order_select import explained
from cds_service.hooks.request import decode_order_select, decode_request
from cds_service.routes import Runtime
from cds_service.services import Services

order_entry = Blueprint("order_entry", __name__, template_folder="templates")

_ENCODER = msgspec.json.Encoder(decimal_format="number")


@order_entry.get("/")
def page() -> Response:
    return Response(render_template("pages/order_entry.html", development=True))


@order_entry.get("/demo/catalogue")
def catalogue() -> Response:
    return _json(demo.catalogue())


@order_entry.get("/demo/patients/<patient_id>")
def patient(patient_id: str) -> Response:
    """The patient's resources, with dates as of today."""
    try:
        return _json(demo.patient(patient_id, _services().clock()))
    except demo.UnknownPatient:
        raise UnknownResource from None


@order_entry.post("/demo/explain")
def explain() -> Response:
    """How the answer to this hook call is reached, as text."""
    call = decode_request(_body())
    result = explained(decode_order_select(call.context), call, _services())
    if result.facts is None or result.evaluation is None:
        text = "No selected order is for B12 or folic acid: the record was not looked at."
    else:
        text = explanation(result.facts, result.evaluation, _services().protocol)
    return _json({"text": text})


def _body() -> bytes:
    if request.mimetype != "application/json":
        raise BadRequest("Content-Type: application/json only")
    limit = _runtime().max_body_bytes
    request.max_content_length = limit + 1
    data = request.get_data(cache=False)
    if len(data) > limit:
        raise BodyTooLarge(limit)
    return data


def _runtime() -> Runtime:
    return cast(Runtime, current_app.extensions["b12_cds"])


def _services() -> Services:
    services = _runtime().services
    if services is None:
        raise NotReady
    return services


def _json(content: object) -> Response:
    return Response(_ENCODER.encode(content), content_type="application/json")
