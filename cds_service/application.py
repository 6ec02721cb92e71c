"""How is the service put together?

`create_app` is the one place where the parts meet: settings, clock, protocol, value sets, the
services and the routes. Everything it makes can be handed in instead.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence

import msgspec
from flask import Flask

from cds_service import errors, logs
from cds_service.hooks import order_select
from cds_service.hooks.discovery import Service, discovery
from cds_service.hooks.request import HookRequest, decode_order_select
from cds_service.hooks.response import Answer
from cds_service.routes import Runtime, cds
from cds_service.services import Clock, Services, today
from cds_service.settings import Settings
from fhir_mappers.queries import prefetch_templates
from fhir_mappers.terminology import value_sets
from regimen.protocol import Protocol, load_protocol


def create_app(
    settings: Settings | None = None,
    *,
    clock: Clock | None = None,
    hooks: Sequence[Service] | None = None,
    load: Callable[[str], Protocol] | None = None,
) -> Flask:
    """The WSGI application.

    `settings`: by default from the environment, which may raise SettingsError. `hooks`: the
    services offered. `load`: protocol name → protocol. Set `app.config["CHECK_RESPONSES"]` to
    have every answer checked before it is sent.
    """
    settings = settings or Settings.from_environment(os.environ)
    offered = standard_services() if hooks is None else tuple(hooks)
    app = Flask(__name__, static_folder=None)
    app.config["CHECK_RESPONSES"] = False
    app.url_map.strict_slashes = False
    app.url_map.merge_slashes = False  # Werkzeug would redirect "//cds-services"
    app.extensions["b12_cds"] = Runtime(
        hooks={service.id: service for service in offered},
        discovery=msgspec.json.encode(discovery(offered)),
        max_body_bytes=settings.max_body_bytes,
        services=_load(settings, clock or today, load or _load_all),
    )
    app.register_blueprint(cds)
    errors.register(app)
    return app


def standard_services() -> tuple[Service, ...]:
    return (
        Service(
            id="b12-order-select",
            hook="order-select",
            title="Vitamin B12 replacement",
            description=(
                "Advises on a vitamin B12 or folic acid order as it is selected: the regimen that "
                "fits the recorded cause of deficiency, neurological findings and ileal surgery, "
                "and orders that could do harm. Suggests draft orders; signs nothing."
            ),
            usage_requirements=(
                "FHIR R4. Send all prefetch keys. Codes are read from RxNorm, SNOMED CT, LOINC, "
                "ICD-10 and ATC; anything else is not recognised. For clinicians who prescribe: "
                "the advice does not replace their judgement."
            ),
            prefetch=prefetch_templates(),
            answer=_order_select,
        ),
    )


def _order_select(request: HookRequest, services: Services) -> Answer:
    return order_select.answer(decode_order_select(request.context), request, services)


def _load_all(name: str) -> Protocol:
    """Protocol and value sets, read once before any request (and before workers are forked)."""
    value_sets()
    return load_protocol(name)


def _load(settings: Settings, clock: Clock, load: Callable[[str], Protocol]) -> Services | None:
    try:
        return Services(settings=settings, clock=clock, protocol=load(settings.protocol))
    except Exception as error:  # noqa: BLE001  whatever it is: /readyz and every call say 503
        logs.event(logging.CRITICAL, "not-ready", exception=error)
        return None
