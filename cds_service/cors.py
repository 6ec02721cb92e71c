"""Which browser pages may call, and which headers tell the browser so?

Only browser clients need this. Allowed origins are those of all tenants: a preflight carries no
token, so nobody knows yet whom it is for. One origin is echoed, never `*`, and never with
credentials; without a tenants file any page may call.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from cds_service.tenants import Tenants

_PREFLIGHT: Final[Mapping[str, str]] = {
    "Access-Control-Allow-Methods": "GET, POST, OPTIONS",
    "Access-Control-Allow-Headers": "Authorization, Content-Type, Accept",
    "Access-Control-Max-Age": "600",
}
_READABLE: Final[Mapping[str, str]] = {
    "Access-Control-Expose-Headers": "WWW-Authenticate, Retry-After",
}


def cors_headers(tenants: Tenants, origin: str | None, *, preflight: bool) -> dict[str, str]:
    """The headers of an answer at one of the paths that CDS clients call."""
    headers = {"Vary": "Origin"} if tenants.from_file else {}
    allowed = _allowed(tenants, origin)
    if allowed is None:
        return headers
    further = _PREFLIGHT if preflight else _READABLE
    return {**headers, "Access-Control-Allow-Origin": allowed, **further}


def _allowed(tenants: Tenants, origin: str | None) -> str | None:
    if not tenants.from_file:
        return "*"
    return origin if origin in tenants.cors_origins else None
