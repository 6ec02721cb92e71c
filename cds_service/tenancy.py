"""What is in force for each tenant, and how is it replaced while calls are served?

A `Tenancy` is made whole from one reading of the tenants file: who may call, how often, and with
which protocol each is answered. The application holds one; a reload puts another in its place, or,
where the file is bad, keeps the one it has and says so.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace

from cds_service import logs, metrics
from cds_service.client_auth import Authenticator, Memory
from cds_service.errors import NotYours, Overloaded, TooManyCalls
from cds_service.fhir_url import Allowed
from cds_service.limits import WAITING, RateLimiter
from cds_service.services import Services
from cds_service.settings import Settings
from cds_service.tenants import Tenant, Tenants, TenantsError, read_tenants
from regimen.protocol import Protocol

#: Tenant and, where there is one, the services with the tenant's own protocol.
Equip = Callable[[Services, Tenant], Services]


@dataclass(frozen=True, slots=True)
class Tenancy:
    """`services` by tenant id; empty: protocol or value sets could not be loaded."""

    tenants: Tenants
    auth: Authenticator
    limiter: RateLimiter
    services: Mapping[str, Services]
    max_wait_s: float = 2.0
    stale: bool = False  # the file was changed to one that cannot be used
    _servers: Mapping[str, Allowed] = field(default_factory=dict)

    def admit(self, authorization: str | None, url: str, service_id: str) -> Tenant:
        """The tenant whose call this is, once it may go on.

        Raises Overloaded, Unauthenticated, NotYours, TooManyCalls, StoreDown.
        """
        if WAITING.seconds > self.max_wait_s:
            metrics.refused("overload")
            raise Overloaded
        tenant = self.auth.tenant_of(
            authorization, url, service_id, before_store=self._check_would_pass
        )
        _check(tenant, self.limiter.wait(tenant))
        return tenant

    def _check_would_pass(self, tenant: Tenant) -> None:
        """Calls beyond the rate do not get as far as the store, where others would wait for them.

        Nothing is counted yet: a token that was used before must not use up a tenant's calls.
        """
        _check(tenant, self.limiter.wait(tenant, take=False))

    def check_server(self, tenant: Tenant, url: str | None) -> None:
        """Raise NotYours if the FHIR server of a call is another tenant's and not its own."""
        if url is None or self._servers[tenant.id].find(url):
            return
        if any(allowed.find(url) for allowed in self._servers.values()):
            metrics.refused("forbidden")
            logs.event(logging.WARNING, "server-of-another-tenant", tenant=tenant.id)
            raise NotYours


def _check(tenant: Tenant, wait: int) -> None:
    if wait:
        metrics.refused("rate")
        logs.event(logging.WARNING, "rate-limited", tenant=tenant.id)
        raise TooManyCalls(wait)


def make_tenancy(
    settings: Settings,
    tenants: Tenants,
    base: Services | None,
    *,
    load: Callable[[str], Protocol],
    memory: Memory | None = None,
    equip: Equip | None = None,
) -> Tenancy:
    """Everything for these tenants. `base`: what their services have in common; None: not ready."""
    return Tenancy(
        tenants=tenants,
        auth=Authenticator(tenants, memory),
        limiter=RateLimiter(tenants.all),
        services=_all_services(base, tenants, load, equip) if base else {},
        max_wait_s=settings.max_wait_ms / 1000,
        _servers={tenant.id: Allowed.of(tenant.fhir_servers) for tenant in tenants.all},
    )


def _all_services(
    base: Services, tenants: Tenants, load: Callable[[str], Protocol], equip: Equip | None
) -> Mapping[str, Services]:
    try:
        return {tenant.id: _services(base, tenant, load, equip) for tenant in tenants.all}
    except Exception as error:  # noqa: BLE001  whatever it is: /readyz and every call say 503
        logs.event(logging.CRITICAL, "not-ready", exception=error)
        return {}


def _services(
    base: Services, tenant: Tenant, load: Callable[[str], Protocol], equip: Equip | None
) -> Services:
    protocol = tenant.protocol or load(tenant.profile)
    services = replace(base, tenant=tenant, protocol=protocol)
    return equip(services, tenant) if equip else services


def renewed(
    settings: Settings,
    offered: Collection[str],
    current: Tenancy,
    *,
    make: Callable[[Tenants], Tenancy],
) -> Tenancy:
    """The tenancy after the file was read again: all of it new, or the one there was.

    Whatever goes wrong, calls are served as before: the process owns the port and must live.
    """
    try:
        tenants = read_tenants(settings, offered)
        fresh = make(tenants)
    except TenantsError as error:
        logs.event(logging.ERROR, "tenants-not-reloaded", problems=list(error.problems))
        return replace(current, stale=True)
    except Exception as error:  # noqa: BLE001  see above
        logs.event(logging.ERROR, "tenants-not-reloaded", exception=error)
        return replace(current, stale=True)
    if current.services and not fresh.services:  # the log says why: event "not-ready"
        problem = "protocol or value sets could not be loaded"
        logs.event(logging.ERROR, "tenants-not-reloaded", problems=[problem])
        return replace(current, stale=True)
    logs.event(logging.INFO, "tenants-reloaded", count=len(tenants.all))
    return fresh
