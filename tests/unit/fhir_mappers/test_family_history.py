"""Is Leber disease of a relative found, and nothing else of relatives?"""

from __future__ import annotations

from typing import Any

import pytest

from fhir_mappers.family_history import read_family_history
from regimen.facts import Concept


def history(*codes: str, **more: Any) -> dict[str, Any]:
    conditions = [
        {"code": {"coding": [{"system": "http://snomed.info/sct", "code": c}]}} for c in codes
    ]
    return {"resourceType": "FamilyMemberHistory", "id": "f", "condition": conditions, **more}


CASES: dict[str, tuple[dict[str, Any], list[Concept]]] = {
    "Leber": (history("58610003"), [Concept.LEBER]),
    "twice": (history("58610003", "58610003"), [Concept.LEBER]),
    "perhaps": (history("26360005"), [Concept.LEBER_POSSIBLE]),
    "look-alike": (history("193413001"), []),
    "D24 other disease": (history("84027009"), []),
    "in error": (history("58610003", status="entered-in-error"), []),
    "J13 one object": (
        {**history(), "condition": history("58610003")["condition"][0]},
        [Concept.LEBER],
    ),
}


@pytest.mark.fault("J13", "D24")
@pytest.mark.parametrize(("resource", "concepts"), CASES.values(), ids=CASES.keys())
def test_family_history(resource: dict[str, Any], concepts: list[Concept]) -> None:
    found = read_family_history(resource)
    assert [finding.concept for finding in found] == concepts
    assert all(f.record.reference == "FamilyMemberHistory/f" for f in found)
