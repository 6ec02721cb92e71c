"""Does the stand-in for a FHIR server answer searches as FHIR says?"""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.ehr import answer, fill

RESOURCES: list[dict[str, Any]] = [
    {"resourceType": "Patient", "id": "p1"},
    *(
        {
            "resourceType": "Observation",
            "id": f"o{number}",
            "status": "final",
            "subject": {"reference": "Patient/p1"},
            "category": [{"coding": [{"system": "urn:c", "code": "laboratory"}]}],
            "effectiveDateTime": f"2026-06-0{number}T09:00:00Z",
        }
        for number in (2, 3, 1)
    ),
]


def ids(query: str) -> list[str]:
    bundle = answer(query, RESOURCES)
    assert bundle is not None
    return [entry["resource"]["id"] for entry in bundle.get("entry", ())]


def test_a_template_is_filled() -> None:
    assert fill("Patient/{{context.patientId}}", {"patientId": "p1"}) == "Patient/p1"


def test_a_token_that_cannot_be_filled_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot fill"):
        fill("{{userPractitionerId}}", {"patientId": "p1"})


def test_a_read_gives_the_resource_or_nothing() -> None:
    assert answer("Patient/p1", RESOURCES) == RESOURCES[0]
    assert answer("Patient/p2", RESOURCES) is None


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("Observation?patient=p1", ["o2", "o3", "o1"]),
        ("Observation?subject=Patient/p1&_sort=-date", ["o3", "o2", "o1"]),
        ("Observation?patient=p1&_sort=date", ["o1", "o2", "o3"]),
        ("Observation?patient=p2", []),
        ("Observation?patient=p1&date=ge2026-06-02", ["o2", "o3"]),
        ("Observation?patient=p1&date=lt2026-06-02", ["o1"]),
        ("Observation?patient=p1&category=laboratory", ["o2", "o3", "o1"]),
        ("Observation?patient=p1&category=urn:c|laboratory", ["o2", "o3", "o1"]),
        ("Observation?patient=p1&category=vital-signs", []),
        ("Observation?patient=p1&status=final,amended", ["o2", "o3", "o1"]),
        ("Condition?patient=p1", []),
    ],
)
def test_a_search_finds_what_matches(query: str, found: list[str]) -> None:
    assert ids(query) == found


def test_a_full_page_has_a_next_link() -> None:
    page = answer("Observation?patient=p1&_count=2", RESOURCES)
    assert page is not None
    assert len(page["entry"]) == 2
    assert page["link"][0]["relation"] == "next"


def test_an_empty_search_is_a_bundle_without_entries() -> None:
    empty = {"resourceType": "Bundle", "type": "searchset", "total": 0}
    assert answer("Condition?patient=p1", RESOURCES) == empty


def test_a_parameter_it_does_not_know_is_refused() -> None:
    with pytest.raises(ValueError, match="does not know"):
        answer("Observation?patient=p1&value-quantity=gt5", RESOURCES)
