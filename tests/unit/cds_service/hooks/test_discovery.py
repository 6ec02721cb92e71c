"""What discovery says of a service."""

from __future__ import annotations

from cds_service.hooks.discovery import discovery
from tests.conftest import stand_in


def test_a_service_is_described_in_full():
    assert discovery([stand_in()]) == {
        "services": [
            {
                "hook": "order-select",
                "title": "A title",
                "description": "A description",
                "id": "b12-order-select",
                "version": "2.0.0",
                "hookVersion": "1.0",
                "usageRequirements": "FHIR R4",
                "prefetch": {"patient": "Patient/{{context.patientId}}"},
            }
        ]
    }


def test_no_prefetch_is_left_out():
    from dataclasses import replace

    (entry,) = discovery([replace(stand_in(), prefetch={})])["services"]
    assert "prefetch" not in entry


def test_no_services_is_an_empty_list():
    assert discovery([]) == {"services": []}
