"""How is the service put together?

`create_app` is the one place where the parts meet: settings, clock, protocol, value sets, the
services and the routes. Everything it makes can be handed in instead.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from flask import Flask

from cds_service import errors, logs, web
from cds_service.dashboard.routes import dashboard
from cds_service.errors import StoreDown
from cds_service.fhir_url import Allowed
from cds_service.governance import Governance
from cds_service.hooks import order_select
from cds_service.hooks.discovery import Service, discovery
from cds_service.hooks.request import HookRequest, decode_order_select
from cds_service.hooks.response import Answer
from cds_service.openapi import openapi
from cds_service.pages.about import software_version
from cds_service.pages.order_entry import order_entry
from cds_service.pages.routes import pages
from cds_service.records import Recorder
from cds_service.routes import cds
from cds_service.services import Clock, Services, today
from cds_service.settings import Settings
from cds_service.store import Store
from cds_service.telemetry import tracing
from cds_service.tenancy import Equip, make_tenancy, renewed
from cds_service.tenants import Tenant, Tenants, development_tenant, read_tenants
from cds_service.web import Runtime
from fhir_mappers.queries import prefetch_templates
from fhir_mappers.terminology import value_sets
from regimen.protocol import Protocol, load_protocol

if TYPE_CHECKING:
    from cds_service.fhir_network import Network


def create_app(
    settings: Settings | None = None,
    *,
    clock: Clock | None = None,
    hooks: Sequence[Service] | None = None,
    load: Callable[[str], Protocol] | None = None,
    tenants: Tenants | None = None,
) -> Flask:
    """The WSGI application.

    `settings`: by default from the environment, which may raise SettingsError. `hooks`: the
    services offered. `load`: protocol name → protocol. `tenants`: by default from the file that
    the settings name, which may raise TenantsError.
    """
    settings = settings or Settings.from_environment(os.environ)
    offered = standard_services() if hooks is None else tuple(hooks)
    app = Flask(__name__, static_folder=None)
    app.url_map.strict_slashes = False
    app.url_map.merge_slashes = False  # Werkzeug would redirect "//cds-services"
    load = load or _load_all
    base = _load(settings, clock or today, load)
    ids = tuple(service.id for service in offered)
    tenants = read_tenants(settings, ids) if tenants is None else tenants
    store = _opened(Store(settings.store))
    make = partial(
        make_tenancy, settings, base=base, load=load, memory=store, equip=_callbacks(settings)
    )
    app.register_blueprint(cds)
    app.register_blueprint(pages)
    if settings.mode == "development" or settings.admin_token_file:
        app.register_blueprint(dashboard)
    if settings.mode == "development":
        app.register_blueprint(order_entry)
    routes = {rule.endpoint: rule.rule for rule in app.url_map.iter_rules()}
    version = software_version()
    served = Runtime(
        hooks={service.id: service for service in offered},
        discovery=msgspec.json.encode(discovery(offered)),
        openapi=msgspec.json.encode(openapi(offered, routes, settings.public_url, version)),
        max_body_bytes=settings.max_body_bytes,
        services=base,
        tenancy=make(tenants),
        store=store,
        recorder=Recorder(store),
        governance=_governance(store),
        public_url=settings.public_url,
        production=settings.mode == "production",
        metrics_port=settings.metrics_port,
        tracing=tracing(settings),
        renew=partial(renewed, settings, ids, make=make),
        admin_token=_admin_token(settings),
    )
    web.install(app, served)
    errors.register(app)
    return app


def _admin_token(settings: Settings) -> str | None:
    """None: the dashboard is open, in development."""
    if settings.admin_token_file is None:
        return None
    return Path(settings.admin_token_file).read_text(encoding="utf-8").strip()


def _opened(store: Store) -> Store:
    """The store with its tables, if it answers now. If not, calls are answered without it."""
    try:
        if store.shared:
            store.prepare()
    except StoreDown as error:
        logs.event(logging.ERROR, "store-down", exception=error)
    return store


def _governance(store: Store) -> Governance:
    """With the switches as they are now, so that no worker starts without."""
    governance = Governance(store)
    if store.shared:
        governance.poll()
    return governance


def close(app: Flask) -> None:
    """End what `app` has running in this process, in the order that loses nothing.

    For whoever makes several; a process that ends does the same by itself, when its calls are over.
    """
    runtime = web.runtime(app)
    runtime.governance.stop()
    for services in runtime.tenancy.services.values():
        _disconnect(services)
    if not runtime.recorder.close():
        logs.event(logging.ERROR, "records-not-flushed")
    runtime.store.close()


def _disconnect(services: Services) -> None:
    if services.fetch is None:
        return
    from cds_service.fetch import Fetcher  # noqa: PLC0415

    if isinstance(services.fetch, Fetcher):
        services.fetch.network.close()


def reload_tenants(app: Flask) -> None:
    """Read the tenants file again, whole or not at all."""
    served = web.runtime(app)
    web.install(app, replace(served, tenancy=served.renew(served.tenancy)))


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


def _callbacks(settings: Settings) -> Equip:
    """Lets the services of a tenant call its FHIR servers back.

    What that takes is imported for a tenant that has some: before the workers are forked, and not
    at all where nobody is called. The connections themselves are made when they are needed.
    """

    @cache
    def network() -> Network:
        from cds_service.fhir_network import Network  # noqa: PLC0415

        return Network(settings.workers)

    def equip(services: Services, tenant: Tenant) -> Services:
        if not tenant.fhir_servers:
            return services
        from cds_service.fetch import Fetcher  # noqa: PLC0415
        from cds_service.fhir_client import tls_context  # noqa: PLC0415

        if any(url.startswith("https:") for url in tenant.fhir_servers):
            tls_context(tenant.fhir_authorities)  # takes a while, and is kept: not in a call's time
        return replace(
            services,
            fetch=Fetcher(
                network(),
                Allowed.of(tenant.fhir_servers),
                deadline_ms=tenant.deadline_ms,
                timeout_ms=tenant.fhir_timeout_ms,
                authorities=tenant.fhir_authorities,
            ),
        )

    return equip


def _load_all(name: str) -> Protocol:
    """Protocol and value sets, read once before any request (and before workers are forked)."""
    value_sets()
    return load_protocol(name)


def _load(settings: Settings, clock: Clock, load: Callable[[str], Protocol]) -> Services | None:
    try:
        return Services(
            settings=settings,
            clock=clock,
            protocol=load(settings.protocol),
            tenant=development_tenant(settings),
        )
    except Exception as error:  # noqa: BLE001  whatever it is: /readyz and every call say 503
        logs.event(logging.CRITICAL, "not-ready", exception=error)
        return None
