"""Is everything that can matter found, and only that?"""

from __future__ import annotations

import json
import re
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_mappers import words
from fhir_mappers.observations import read_observations
from fhir_mappers.scan import Relevance, Unreadable, decode, scan
from fhir_mappers.terminology import value_sets

SCT = "http://snomed.info/sct"
LOINC = "http://loinc.org"


def concept(system: str, code: str, text: str = "") -> dict[str, Any]:
    return {"coding": [{"system": system, "code": code}], "text": text or "a text"}


B12 = concept(LOINC, "2132-9")
OTHER = concept(LOINC, "8867-4")
CREATININE = concept(LOINC, "2160-0")
UNKNOWN_DRUG = concept("http://www.nlm.nih.gov/research/umls/rxnorm", "723")
B12_DRUG = concept("http://www.nlm.nih.gov/research/umls/rxnorm", "11248")

RELEVANT = {
    "condition by code": {"resourceType": "Condition", "code": concept(SCT, "190634004")},
    "condition by text": {"resourceType": "Condition", "code": {"text": "Sickle cell disease"}},
    "any allergy": {"resourceType": "AllergyIntolerance", "code": {"text": "latex"}},
    "the patient": {"resourceType": "Patient"},
    "result by code": {"resourceType": "Observation", "code": B12},
    "result by component": {
        "resourceType": "Observation",
        "code": OTHER,
        "component": [{"code": B12}],
    },
    "finding by value": {
        "resourceType": "Observation",
        "code": OTHER,
        "valueCodeableConcept": concept(SCT, "91019004"),
    },
    "panel": {
        "resourceType": "Observation",
        "code": OTHER,
        "hasMember": [{"reference": "Observation/1"}],
    },
    "order by code": {"resourceType": "MedicationRequest", "medicationCodeableConcept": B12_DRUG},
    "order by reference": {
        "resourceType": "MedicationRequest",
        "medicationReference": {"reference": "#m"},
    },
    "R5 order": {"resourceType": "MedicationRequest", "medication": {"concept": B12_DRUG}},
    "order by text": {
        "resourceType": "MedicationStatement",
        "medicationCodeableConcept": {"text": "Methotrexate 2.5 mg"},
    },
    "medication": {"resourceType": "Medication", "code": B12_DRUG},
    "ingredient": {
        "resourceType": "Medication",
        "ingredient": [{"itemCodeableConcept": B12_DRUG}],
    },
    "operation": {
        "resourceType": "Procedure",
        "status": "completed",
        "code": concept(SCT, "51346007"),
    },
    "operation not done": {"resourceType": "Procedure", "status": "not-done", "code": OTHER},
    "operation on the bowel": {
        "resourceType": "Procedure",
        "status": "completed",
        "code": {"text": "Jejunal resection"},
    },
    "relative": {
        "resourceType": "FamilyMemberHistory",
        "condition": [{"code": concept(SCT, "58610003")}],
    },
    "referral": {"resourceType": "ServiceRequest", "code": concept(SCT, "183521007")},
    "an odd shape (J13)": {"resourceType": "Observation", "code": {"coding": {"code": "2132-9"}}},
}


@pytest.mark.fault("J13")
@pytest.mark.parametrize("resource", RELEVANT.values(), ids=RELEVANT.keys())
def test_what_can_matter_is_decoded_in_full(resource: dict[str, Any]) -> None:
    found = scan(json.dumps(resource).encode())
    assert found.kind == resource["resourceType"]
    assert found.resource == resource


IRRELEVANT = {
    "condition": {"resourceType": "Condition", "code": concept(SCT, "38341003")},
    "denied": {"resourceType": "Condition", "code": {"text": "No sickle cell disease"}},
    "result": {"resourceType": "Observation", "code": OTHER},
    "order": {"resourceType": "MedicationRequest", "medicationCodeableConcept": UNKNOWN_DRUG},
    "operation": {"resourceType": "Procedure", "status": "completed", "code": OTHER},
    "relative": {"resourceType": "FamilyMemberHistory", "condition": [{"code": OTHER}]},
    "referral": {"resourceType": "ServiceRequest", "code": OTHER},
    "another type": {"resourceType": "Encounter", "code": B12},
    "yes to an unknown question": {
        "resourceType": "Observation",
        "code": OTHER,
        "valueCodeableConcept": concept("http://loinc.org", "LA33-6"),
    },
    "code of unknown system": {"resourceType": "Observation", "code": concept("x", "2132-9")},
}


@pytest.mark.parametrize("resource", IRRELEVANT.values(), ids=IRRELEVANT.keys())
def test_what_cannot_matter_is_left_undecoded(resource: dict[str, Any]) -> None:
    assert scan(json.dumps(resource).encode()).resource is None


def result(code: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"resourceType": "Observation", "code": code, **more}


def order(**medicine: Any) -> dict[str, Any]:
    return {"resourceType": "MedicationRequest", **medicine}


REFERENCE = {"medicationReference": {"reference": "#m"}}
WHY = {
    "a code": (RELEVANT["result by code"], Relevance.BY_CODE),
    "a code and words": (
        order(medicationCodeableConcept=B12_DRUG | {"text": "Methotrexate"}),
        Relevance.BY_CODE,
    ),
    "a code of a component": (RELEVANT["result by component"], Relevance.BY_CODE),
    "a code of an ingredient": (RELEVANT["ingredient"], Relevance.BY_CODE),
    "a code in an odd shape": (
        {"resourceType": "Observation", "code": {"coding": B12["coding"][0]}},
        Relevance.BY_CODE,
    ),
    "an odd shape of another code": (
        {"resourceType": "Observation", "code": {"coding": {"code": "local-1"}}},
        Relevance.OTHERWISE,
    ),
    "a known allergen": (
        {"resourceType": "AllergyIntolerance", "code": B12_DRUG},
        Relevance.BY_CODE,
    ),
    "another allergen": (RELEVANT["any allergy"], Relevance.OTHERWISE),
    "words": (RELEVANT["order by text"], Relevance.OTHERWISE),
    "members": (RELEVANT["panel"], Relevance.OTHERWISE),
    "a code that no rule asks for": (result(CREATININE), Relevance.UNUSED),
    "members of such a one": (
        result(CREATININE, hasMember=[{"reference": "Observation/1"}]),
        Relevance.OTHERWISE,
    ),
    "results inside such a one": (
        result(CREATININE, contained=[{"resourceType": "Observation", "code": B12}]),
        Relevance.BY_CODE,
    ),
    "a component of such a one": (
        result(CREATININE, component=[{"code": B12}]),
        Relevance.BY_CODE,
    ),
    "a known answer to such a one": (
        result(CREATININE, valueCodeableConcept=concept(SCT, "91019004")),
        Relevance.BY_CODE,
    ),
    "another test in one set with it": (result(concept(LOINC, "98979-8")), Relevance.BY_CODE),
    "a medicine elsewhere": (order(**REFERENCE), Relevance.REFERS),
    "an odd reference": (order(medicationReference="#m"), Relevance.REFERS),
    "a known medicine inside": (
        order(**REFERENCE, contained=[{"resourceType": "Medication", "id": "m", "code": B12_DRUG}]),
        Relevance.BY_CODE,
    ),
    "another medicine inside": (
        order(**REFERENCE, contained=[{"resourceType": "Medication", "code": UNKNOWN_DRUG}]),
        Relevance.OTHERWISE,
    ),
    "a local code": (IRRELEVANT["code of unknown system"], Relevance.NONE),
}


@pytest.mark.parametrize(("resource", "relevance"), WHY.values(), ids=WHY.keys())
def test_what_is_known_by_its_code_is_told_apart(
    resource: dict[str, Any], relevance: Relevance
) -> None:
    assert scan(json.dumps(resource).encode()).relevance is relevance


RESULTS = sorted(
    {
        code.code
        for name in value_sets().names
        if name.startswith(("lab-", "sr-"))
        for code in value_sets().in_set(name)
        if code.system == LOINC
    }
)


@pytest.mark.parametrize("code", RESULTS)
def test_a_result_is_read_just_when_something_is_made_of_it(code: str) -> None:
    numbers = ({"value": 100, "unit": unit} for unit in ("ng/L", "umol/L", "g/L", "fL", "mmol/L"))
    resources = [
        result(concept(LOINC, code), id=str(number), status="final", valueQuantity=value)
        for number, value in enumerate(numbers)
    ]
    made = read_observations(resources, date(2026, 6, 15))
    assert (
        bool(made.labs or made.findings) == scan(json.dumps(resources[0]).encode()).relevance.read
    )


@pytest.mark.parametrize(
    ("stems", "phrase"),
    [
        (words.DRUG_STEMS, words.DRUGS),
        (words.BOWEL_STEMS, words.BOWEL),
        *((words.CAUTION_STEMS, phrase) for phrase in words.CAUTIONS),
    ],
    ids=str,
)
def test_a_text_that_says_a_phrase_holds_a_stem_of_it(stems, phrase) -> None:
    @given(st.from_regex(re.compile(phrase.pattern, re.IGNORECASE | re.ASCII)))
    def whatever_it_is(text: str) -> None:
        assert words.may_say(stems, ["another text", text])

    whatever_it_is()
    assert not words.may_say(stems, ["Paracetamol 500 mg", "Fracture of arm"])


UNREADABLE = {
    "text": b'"x"',
    "array": b"[]",
    "number": b"5",
    "no type": b"{}",
    "type is no text": b'{"resourceType": 5}',
    "broken": b'{"resourceType": "Observation"',
    "J04 deep": b'{"resourceType":"Patient","x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "J08 lone surrogate": b'{"resourceType":"Patient","id":"\\ud800"}',
    "invalid UTF-8": b'{"resourceType":"Patient","id":"\xff"}',
}


@pytest.mark.fault("J04", "J08")
@pytest.mark.parametrize("raw", UNREADABLE.values(), ids=UNREADABLE.keys())
def test_an_unreadable_entry_says_so_and_nothing_else(raw: bytes) -> None:
    with pytest.raises(Unreadable) as raised:
        scan(raw)
    assert str(raised.value) == ""


@pytest.mark.fault("J14")
def test_j14_decimals_are_exact() -> None:
    assert decode(b'{"v": 20.10}')["v"] == Decimal("20.10")
    assert str(decode(b'{"v": 1.00}')["v"]) == "1.00"


@pytest.mark.fault("J03")
def test_j03_a_number_that_no_decimal_can_hold_is_no_number() -> None:
    assert decode(b'{"v": 1e99999999999999999999}') == {"v": "1e99999999999999999999"}
