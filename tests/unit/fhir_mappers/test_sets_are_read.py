"""Does every value set change how some resource is read? One that does not is dead data."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from fhir_mappers import orders
from fhir_mappers.drafts import Session
from fhir_mappers.record import read_facts
from fhir_mappers.terminology import Code, Role, ValueSets, using, value_sets
from regimen.facts import PatientFacts

Json = dict[str, Any]
AS_OF = date(2026, 6, 15)
RECORD, DAY = "urn:oid:2.25.147698014147394229799976552687274634453", "2026-06-10"
QUESTIONS = ("20262006", "82810-3", "31444-3")  # ataxia, pregnancy status, antibody
CYANO = {"coding": [{"system": "http://www.nlm.nih.gov/research/umls/rxnorm", "code": "11248"}]}


def without(name: str) -> ValueSets:
    """The shipped sets but one."""
    shipped = value_sets()
    lines = {key: of_set for key, of_set in shipped._lines.items() if key != name}
    return ValueSets(lines, version=shipped.version, content_hash="")


def concepts(code: Code) -> Iterator[Json]:
    """The code alone, and beside one of every set that it could win over or lose to."""
    own = {"system": code.system, "code": code.code}
    yield {"coding": [own]}
    for name in value_sets().names:
        other = value_sets().in_set(name)[0]
        if other.fact == code.fact and name != code.value_set:
            yield {"coding": [own, {"system": other.system, "code": other.code}]}


def resources(concept: Json) -> Iterator[Json]:
    """Every way a record can carry a code."""
    done = {"status": "completed", "effectiveDateTime": DAY, "performedDateTime": DAY}
    lab = {"resourceType": "Observation", "status": "final", "effectiveDateTime": DAY}
    yield {"resourceType": "Condition", "code": concept, "clinicalStatus": "active"}
    yield {"resourceType": "Procedure", "code": concept, **done}
    yield {"resourceType": "AllergyIntolerance", "code": concept}
    yield {"resourceType": "ServiceRequest", "status": "active", "code": concept}
    yield {"resourceType": "FamilyMemberHistory", "condition": [{"code": concept}]}
    yield {"resourceType": "MedicationAdministration", "medicationCodeableConcept": concept, **done}
    for unit in ("pg/mL", "pmol/L", "umol/L", "g/L", "fL", "mmol/L", "mL/min/{1.73_m2}", "10*9/L"):
        yield {**lab, "code": concept, "valueQuantity": {"value": 90, "unit": unit}}
    yield {**lab, "code": concept, "valueBoolean": True}
    yield {**lab, "code": concept, "valueCodeableConcept": {"text": "Positive"}}
    yield {**lab, "code": concept, "valueCodeableConcept": {"text": "Pregnant"}}
    yield {**lab, "code": concept, "valueQuantity": {"value": 90, "unit": "cm"}}
    yield from _beside_another(concept, lab)


def _beside_another(concept: Json, lab: Json) -> Iterator[Json]:
    """The code as an answer, a body site, a route, a form."""
    for system, code in (
        ("http://snomed.info/sct", QUESTIONS[0]),
        *(("http://loinc.org", q) for q in QUESTIONS[1:]),
    ):
        asked = {"coding": [{"system": system, "code": code}]}
        yield {**lab, "code": asked, "valueCodeableConcept": concept}
    length = {"coding": [{"system": RECORD, "code": "ileum-resected-length"}]}
    for sites in ([concept], [concept, {"text": "colon"}]):
        value = {"value": 25, "unit": "cm"}
        yield {**lab, "code": length, "valueQuantity": value, "bodySite": sites}
    order = {"resourceType": "MedicationRequest", "status": "active"}
    yield {**order, "medicationCodeableConcept": concept}
    route = [{"route": concept}]
    yield {**order, "medicationCodeableConcept": CYANO, "dosageInstruction": route}
    product = {"resourceType": "Medication", "id": "x", "code": CYANO, "form": concept}
    yield {**order, "medicationReference": {"reference": "#x"}, "contained": [product]}


def read(resource: Json) -> PatientFacts:
    kind = {resource["resourceType"]: [{"id": "1", **resource}]}
    return read_facts(kind, gaps=(), session=Session(), patient_id="1", as_of=AS_OF)


def changes(name: str, rest: ValueSets) -> bool:
    for code in value_sets().in_set(name):
        for concept in concepts(code):
            for resource in resources(concept):
                with_it = read(resource)
                with using(rest):
                    if read(resource) != with_it:
                        return True
    return False


# Recognised, so that a site's records are counted as understood, and nothing follows.
NOTHING_FOLLOWS = {
    "crohns-other-site": "Crohn's disease all the same; where it is, the measured extent says",
    "ulcerative-colitis": "not Crohn's disease",
    "drug-folinic-acid": "not folic acid",
}
READ = [
    name
    for name in value_sets().names
    if value_sets().in_set(name)[0].role not in (Role.EMIT, Role.NEVER_INFER)
]


@pytest.mark.parametrize("name", READ)
def test_a_set_changes_the_reading_of_some_resource(name: str) -> None:
    assert changes(name, without(name)) == (name not in NOTHING_FOLLOWS)


def test_a_set_to_write_is_written() -> None:
    source = Path(orders.__file__).read_text("utf-8")
    names = [n for n in value_sets().names if value_sets().in_set(n)[0].role is Role.EMIT]
    assert [name for name in names if f'"{name}"' not in source] == []
