"""What services are there, and what do they ask of a client?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from cds_service.hooks.request import HookRequest
from cds_service.hooks.response import Answer
from cds_service.services import Services

#: The CDS Hooks version that is claimed, and the version of each hook it is offered on.
VERSION: Final = "2.0.0"
HOOK_VERSION: Final = "1.0"


@dataclass(frozen=True, slots=True)
class Service:
    """One CDS service: what discovery says of it, and what answers a call."""

    id: str
    hook: str
    title: str
    description: str
    usage_requirements: str
    prefetch: Mapping[str, str]
    answer: Callable[[HookRequest, Services], Answer]


def discovery(services: Sequence[Service]) -> dict[str, list[dict[str, object]]]:
    """The body of `GET /cds-services`."""
    return {"services": [_entry(service) for service in services]}


def _entry(service: Service) -> dict[str, object]:
    entry: dict[str, object] = {
        "hook": service.hook,
        "title": service.title,
        "description": service.description,
        "id": service.id,
        "version": VERSION,
        "hookVersion": HOOK_VERSION,
        "usageRequirements": service.usage_requirements,
    }
    if service.prefetch:  # the standard forbids an empty object
        entry["prefetch"] = dict(service.prefetch)
    return entry
