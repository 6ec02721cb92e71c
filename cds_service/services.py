"""What does a service need besides the request?

The parts that are loaded once and shared by all calls of a tenant: settings, clock, the tenant and
its protocol. They are handed in, never looked up, so that a test can give others.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime

from cds_service.hooks.request import HookRequest
from cds_service.prefetch import Prefetched
from cds_service.settings import Settings
from cds_service.tenants import Tenant
from regimen.protocol import Protocol

Clock = Callable[[], date]

#: What was delivered, the request and the patient's id → the same with what could be fetched.
Fetch = Callable[[Prefetched, HookRequest, str], Prefetched]


def today() -> date:
    """The date in UTC: the same whatever time zone the machine is in."""
    return datetime.now(UTC).date()


@dataclass(frozen=True, slots=True)
class Services:
    settings: Settings
    clock: Clock
    protocol: Protocol
    tenant: Tenant
    fetch: Fetch | None = None  # None: no FHIR server may be called

    @property
    def public_url(self) -> str:
        return self.settings.public_url

    @property
    def protocol_version(self) -> str:
        """Which knowledge answered: enough to find it again."""
        return f"{self.protocol.profile}/{self.protocol.knowledge.version}"
