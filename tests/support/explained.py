"""How is the answer to a vignette reached? With a card, not an error, where data are missing."""

from __future__ import annotations

from cds_service.hooks.order_select import Explained, explained
from cds_service.hooks.request import decode_order_select, decode_request
from cds_service.services import Services
from cds_service.settings import Settings
from cds_service.tenants import development_tenant
from regimen.protocol import load_protocol
from tests.support.vignette import Vignette


def explain_vignette(vignette: Vignette) -> Explained:
    settings = Settings(missing_data="card")
    services = Services(
        settings=settings,
        clock=lambda: vignette.as_of,
        protocol=load_protocol(vignette.profile),
        tenant=development_tenant(settings),
    )
    request = decode_request(vignette.path.with_name("request.json").read_bytes())
    return explained(decode_order_select(request.context), request, services)
