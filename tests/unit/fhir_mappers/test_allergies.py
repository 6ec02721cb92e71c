"""Is every allergy that matters found, by code or by text?"""

from __future__ import annotations

from typing import Any

import pytest

from fhir_mappers.allergies import read_allergy
from regimen.facts import Allergen, Allergy

SCT, RXNORM = "http://snomed.info/sct", "http://www.nlm.nih.gov/research/umls/rxnorm"
CM = "http://hl7.org/fhir/sid/icd-10-cm"


def code(system: str, value: str, text: str = "") -> dict[str, Any]:
    return {"coding": [{"system": system, "code": value}]} | ({"text": text} if text else {})


def read(concept: Any, **more: Any) -> tuple[Allergy, ...]:
    resource = {"resourceType": "AllergyIntolerance", "id": "a", "code": concept, **more}
    return read_allergy(resource)


CODES = {
    "cyanocobalamin": (code(RXNORM, "11248"), [Allergen.COBALAMIN]),
    "inactive hydroxocobalamin": (code(SCT, "409258004"), [Allergen.COBALAMIN]),
    "text": ({"text": "Vitamin B12 injection"}, [Allergen.COBALAMIN]),
    "display": (
        {"coding": [{"system": "urn:local", "code": "1", "display": "Hydroxocobalamin"}]},
        [Allergen.COBALAMIN],
    ),
    "cobalt": (code(SCT, "54808007"), [Allergen.COBALT]),
    "cobalt by text": ({"text": "cobalt"}, [Allergen.COBALT]),
    "metals": (code(SCT, "300915004"), []),
    "metals, cobalt": (code(CM, "L23.0", "Cobalt and nickel"), [Allergen.COBALT]),
    "any drug": (code(CM, "Z88.8"), []),
    "any drug, B12": (code(CM, "Z88.8", "B12 allergy"), [Allergen.COBALAMIN]),
    "benzyl alcohol": ({"text": "Benzyl alcohol"}, [Allergen.PRESERVATIVE]),
    "paraben": ({"text": "methylparaben"}, [Allergen.PRESERVATIVE]),
    "D26 none known": ({"text": "No known allergies to cobalamin"}, []),
    "D26 other": ({"text": "penicillin"}, []),
    "J13 nonsense": (5, []),
}


@pytest.mark.fault("J13", "D26")
@pytest.mark.parametrize(("concept", "expected"), CODES.values(), ids=CODES.keys())
def test_d26_what_the_allergy_is_to(concept: Any, expected: list[Allergen]) -> None:
    assert [a.allergen for a in read(concept)] == expected


def test_the_substance_of_a_reaction_counts() -> None:
    (found,) = read({"text": "drug allergy"}, reaction=[{"substance": {"text": "cobalamin"}}])
    assert found.allergen is Allergen.COBALAMIN


B12 = code(RXNORM, "11248")
STATUSES = {
    "absent": ({}, 1),
    "active": ({"clinicalStatus": {"coding": [{"code": "active"}]}}, 1),
    "unconfirmed": ({"verificationStatus": {"coding": [{"code": "unconfirmed"}]}}, 1),
    "refuted": ({"verificationStatus": {"coding": [{"code": "refuted"}]}}, 0),
    "in error": ({"verificationStatus": "entered-in-error"}, 0),
    "resolved": ({"clinicalStatus": {"coding": [{"code": "resolved"}]}}, 0),
    "inactive": ({"clinicalStatus": "inactive"}, 0),
}


@pytest.mark.fault("D26")
@pytest.mark.parametrize(("elements", "count"), STATUSES.values(), ids=STATUSES.keys())
def test_d26_statuses(elements: dict[str, Any], count: int) -> None:
    assert len(read(B12, **elements)) == count


SEVERITY = {
    "nothing said": ({}, False),
    "high": ({"criticality": "high"}, True),
    "low": ({"criticality": "low"}, False),
    "severe": ({"reaction": [{"severity": "severe"}]}, True),
    "mild": ({"reaction": [{"severity": "mild"}]}, False),
    "anaphylaxis": ({"reaction": [{"manifestation": [{"text": "Anaphylactic shock"}]}]}, True),
    "no anaphylaxis": ({"reaction": [{"manifestation": [{"text": "no anaphylaxis"}]}]}, False),
}


@pytest.mark.parametrize(("elements", "severe"), SEVERITY.values(), ids=SEVERITY.keys())
def test_severity(elements: dict[str, Any], severe: bool) -> None:
    (found,) = read(B12, **elements)
    assert found.severe is severe


def test_the_record_is_named_in_our_own_words() -> None:
    (found,) = read({"text": "B12, see Dr. Meyer"})
    assert (found.record.reference, found.record.label) == (
        "AllergyIntolerance/a",
        "Allergy to vitamin B12",
    )
