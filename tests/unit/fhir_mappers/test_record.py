"""Do the mappers together give one answer, whatever the order and the noise?"""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest

from fhir_mappers.drafts import Session, read_session
from fhir_mappers.record import read_facts
from regimen.facts import Concept, Gap, GapKind, Ingredient, PatientFacts, Subject

AS_OF = date(2026, 6, 15)
SCT, LOINC = "http://snomed.info/sct", "http://loinc.org"
RXNORM = "http://www.nlm.nih.gov/research/umls/rxnorm"
ME = {"reference": "Patient/p"}

Json = dict[str, Any]


def coded(system: str, code: str) -> Json:
    return {"coding": [{"system": system, "code": code}]}


def record() -> dict[str, list[Json]]:
    """A little of everything."""
    return {
        "Patient": [{"resourceType": "Patient", "id": "p", "birthDate": "1972-01-01"}],
        "Condition": [
            {"resourceType": "Condition", "id": n, "subject": ME, "code": coded(SCT, code)}
            for n, code in (("c1", "84027009"), ("c2", "91019004"), ("c3", "34000006"))
        ],
        "Observation": [
            {
                "resourceType": "Observation",
                "id": f"o{n}",
                "status": "final",
                "subject": ME,
                "effectiveDateTime": f"2026-06-0{n}",
                "code": coded(LOINC, "2132-9"),
                "valueQuantity": {"value": 100 + n, "unit": "pg/mL"},
            }
            for n in range(1, 5)
        ],
        "Procedure": [
            {
                "resourceType": "Procedure",
                "id": f"p{n}",
                "status": "completed",
                "subject": ME,
                "performedDateTime": f"201{n}-01-01",
                "code": coded(SCT, "51346007"),
            }
            for n in range(2)
        ],
        "MedicationRequest": [
            {
                "resourceType": "MedicationRequest",
                "id": "m1",
                "status": "active",
                "intent": "order",
                "subject": ME,
                "medicationReference": {"reference": "Medication/d"},
            }
        ],
        "Medication": [{"resourceType": "Medication", "id": "d", "code": coded(RXNORM, "5514")}],
        "MedicationAdministration": [
            {
                "resourceType": "MedicationAdministration",
                "id": f"a{n}",
                "status": "completed",
                "subject": ME,
                "effectiveDateTime": (AS_OF - timedelta(days=n)).isoformat(),
                "medicationCodeableConcept": coded(RXNORM, "5514"),
            }
            for n in range(3)
        ],
        "AllergyIntolerance": [
            {
                "resourceType": "AllergyIntolerance",
                "id": "al",
                "patient": ME,
                "code": {"text": "B12"},
            }
        ],
    }


def read(resources: dict[str, list[Json]], session: Session | None = None) -> PatientFacts:
    return read_facts(resources, gaps=(), session=session or Session(), patient_id="p", as_of=AS_OF)


def test_every_part_of_the_record_is_read() -> None:
    facts = read(record())
    assert facts.age is not None
    assert {f.concept for f in facts.findings} == {
        Concept.PERNICIOUS_ANAEMIA,
        Concept.NEURO_FINDING,
        Concept.CROHNS,
    }
    assert len(facts.labs) == 4
    assert len(facts.resections) == 2
    assert [o.ingredient for o in facts.orders] == [Ingredient.HYDROXOCOBALAMIN]
    assert len(facts.doses) == 3
    assert len(facts.allergies) == 1


@pytest.mark.fault("D29")
@pytest.mark.parametrize("turn", range(4))
@pytest.mark.parametrize("direction", [1, -1])
def test_d29_the_order_of_a_record_changes_nothing(turn: int, direction: int) -> None:
    turned = {kind: (r[turn:] + r[:turn])[::direction] for kind, r in record().items()}
    assert read(turned) == read(record())


@pytest.mark.fault("D29")
def test_d29_a_fact_recorded_twice_is_one() -> None:
    twice = {
        kind: resources + [{**r, "id": f"z-{r['id']}"} for r in resources]
        for kind, resources in record().items()
        if kind in ("Condition", "Observation", "Procedure", "MedicationAdministration")
    }
    once = {kind: record()[kind] for kind in twice}
    assert read(twice) == read(once)


@pytest.mark.fault("D07")
def test_d07_what_names_another_subject_is_not_read() -> None:
    other = {**record()["Condition"][0], "subject": {"reference": "Patient/q"}}
    assert read({"Condition": [other]}).findings == ()


def test_no_patient_identifier_gets_into_the_facts() -> None:
    resources = record()
    for of_type in resources.values():
        for resource in of_type:
            for key in ("subject", "patient"):
                if key in resource:
                    resource[key] = {"reference": "Patient/canary"}
    resources["Patient"][0] |= {"id": "canary", "name": [{"family": "canary"}]}
    facts = read_facts(resources, gaps=(), session=Session(), patient_id="canary", as_of=AS_OF)
    assert facts.labs
    assert "canary" not in repr(facts)


def test_gaps_come_through_sorted() -> None:
    gaps = [
        Gap(Subject.PROCEDURES, GapKind.NOT_SUPPLIED),
        Gap(Subject.CONDITIONS, GapKind.UNREADABLE, 2),
    ]
    facts = read_facts({}, gaps=gaps, session=Session(), patient_id="p", as_of=AS_OF)
    assert facts.gaps == (gaps[1], gaps[0])


def test_the_session_is_part_of_the_facts() -> None:
    drafts = [
        {
            "resourceType": "MedicationRequest",
            "id": "x",
            "status": "draft",
            "subject": ME,
            "medicationCodeableConcept": coded(RXNORM, "5514"),
        },
        {
            "resourceType": "ServiceRequest",
            "id": "r",
            "status": "draft",
            "subject": ME,
            "code": coded(SCT, "183521007"),
        },
    ]
    bundle = {"resourceType": "Bundle", "entry": [{"resource": d} for d in drafts]}
    session = read_session(bundle, ["MedicationRequest/x"], "p")
    facts = read({}, session)
    assert [o.record.reference for o in facts.selected] == ["MedicationRequest/x"]
    assert [(r.record.reference, r.draft) for r in facts.requests] == [("ServiceRequest/r", True)]


@pytest.mark.fault("D15")
def test_d15_a_draft_that_says_only_its_end_begins_today() -> None:
    repeat = {"frequency": 1, "period": 1, "periodUnit": "mo"}
    draft = {
        "resourceType": "MedicationRequest",
        "id": "x",
        "status": "draft",
        "subject": ME,
        "medicationCodeableConcept": coded(RXNORM, "5514"),
        "dosageInstruction": [{"timing": {"repeat": repeat}}],
    }
    bundle = {"resourceType": "Bundle", "entry": [{"resource": draft}]}

    def length(**more: Any) -> object:
        repeat["boundsPeriod"] = more
        facts = read({}, read_session(bundle, ["MedicationRequest/x"], "p"))
        (order,) = facts.selected
        return order.schedule.length_days if order.schedule else "unknown"

    assert length(end=(AS_OF + timedelta(days=29)).isoformat()) == 30
    assert length(end=(AS_OF - timedelta(days=29)).isoformat()) == 1
    assert length(start=AS_OF.isoformat()) is None


HOSTILE: list[Any] = [None, 5, "x", [], {}, True, [None], {"reference": 5}]


@pytest.mark.fault("J13")
@pytest.mark.parametrize("value", HOSTILE, ids=repr)
def test_j13_any_element_may_be_of_any_type(value: Any) -> None:
    for kind, resources in record().items():
        for key in resources[0]:
            if key != "resourceType":
                facts = read({kind: [{**resources[0], key: value}]})
                assert facts.as_of == AS_OF
