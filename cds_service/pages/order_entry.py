"""Where can a developer see the service at work without an EHR?

A page that orders for synthetic patients and calls the service as an EHR does. In development
only: it shows explanations, which name records.
"""

from __future__ import annotations

from dataclasses import replace

import msgspec
from flask import Blueprint, Response, render_template

from cds_service import demo, web
from cds_service.errors import UnknownResource
from cds_service.explain import explanation
from cds_service.hooks.order_select import explained
from cds_service.hooks.request import decode_order_select, decode_request
from cds_service.services import Services
from fhir_mappers import terminology

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
        return _json(demo.patient(patient_id, web.loaded().clock()))
    except demo.UnknownPatient:
        raise UnknownResource from None


@order_entry.post("/demo/explain")
def explain() -> Response:
    """How the answer to this hook call is reached, as text."""
    call = decode_request(web.body())
    services = _answering()
    with terminology.using(services.tenant.value_sets):
        result = explained(decode_order_select(call.context), call, services)
    if result.facts is None or result.evaluation is None:
        text = "No selected order is for B12 or folic acid: the record was not looked at."
    else:
        text = explanation(result.facts, result.evaluation, services.protocol)
    return _json({"text": text})


def _answering() -> Services:
    """Those that answer a call without a token, as the page makes it. Nothing is fetched."""
    tenancy = web.runtime().tenancy
    nobody = tenancy.tenants.open
    services = tenancy.services.get(nobody.id) if nobody else None
    return replace(services or web.loaded(), fetch=None)


def _json(content: object) -> Response:
    return web.answer(_ENCODER.encode(content))
