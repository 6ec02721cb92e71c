"""How would an EHR record these facts as FHIR R4?

Facts in the words of a vignette go in, resources come out, each with ICD-10-CM, SNOMED CT, LOINC,
RxNorm and UCUM as real records carry them. Everything is synthetic and deterministic: the same
facts give the same resources, ids included.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

from tests.support.timing import UCUM, repeat
from tests.support.vignette import Toml, Vignette, VignetteError, history, word

Resource = dict[str, Any]

SCT = "http://snomed.info/sct"
LOINC = "http://loinc.org"
RXNORM = "http://www.nlm.nih.gov/research/umls/rxnorm"
ICD10CM = "http://hl7.org/fhir/sid/icd-10-cm"
ICD10PCS = "http://www.cms.gov/Medicare/Coding/ICD10"
RECORD_CODES = "urn:oid:2.25.147698014147394229799976552687274634453"
THO = "http://terminology.hl7.org/CodeSystem"

_SYSTEMS = {"icd": ICD10CM, "sct": SCT, "rxnorm": RXNORM, "loinc": LOINC, "pcs": ICD10PCS}
ROUTES = {
    "IM": ("78421000", "Intramuscular route"),
    "SC": ("34206005", "Subcutaneous route"),
    "IV": ("47625008", "Intravenous route"),
    "PO": ("26643006", "Oral route"),
    "SL": ("37839007", "Sublingual route"),
    "nasal": ("46713006", "Nasal route"),
}
FORMS = {"tablet": "385055001", "injection solution": "385219001"}
# The word a vignette uses for a unit, and its UCUM code where that is not the same.
UCUM_CODES = {"microgram": "ug", "in": "[in_i]", "mL/min/1.73m2": "mL/min/{1.73_m2}"}
BASE_RESULTS = {
    "Hb": "118 g/L",
    "MCV": "96 fL",
    "potassium": "4.2 mmol/L",
    "eGFR": "90 mL/min/1.73m2",
}
RESULTS_ARE_DAYS_OLD = 5
BASE_AGE = 54
PREGNANT_AGE = 31
EXTENSION = {"url": "https://ehr.example/fhir/order-priority-note", "valueString": "kept as is"}

_VALUE = re.compile(r"(?P<comparator>[<>]=?)? ?(?P<number>\d+(?:\.\d+)?)(?: (?P<unit>\S.*))?")


def codeable(section: str, name: str) -> Resource:
    """A CodeableConcept with every coding the vocabulary has for a word, and its text."""
    entry = word(section, name)
    codings = [
        {"system": _SYSTEMS[key], "code": code, "display": entry["text"]}
        for key, code in entry.items()
        if key != "text"
    ]
    return ({"coding": codings} if codings else {}) | {"text": entry["text"]}


def concept(system: str, code: str) -> Resource:
    return {"coding": [{"system": system, "code": code}]}


def quantity(words: str) -> Resource:
    """ "120 pg/mL", "< 150 pg/mL", "120" (no unit) as a FHIR Quantity."""
    match = _VALUE.fullmatch(words)
    if match is None:
        raise VignetteError(f"not a quantity: {words!r}")
    text, unit = match["number"], match["unit"]
    out: Resource = {"value": float(text) if "." in text else int(text)}
    if match["comparator"]:
        out["comparator"] = match["comparator"]
    if unit:
        out |= {"unit": unit, "system": UCUM, "code": UCUM_CODES.get(unit, unit)}
    return out


def _day(day: date | str) -> str:
    return day if isinstance(day, str) else day.isoformat()


def _moment(day: date | str) -> str:
    return f"{_day(day)}T09:15:00Z"


def _given(resource: Resource) -> Resource:
    """Without the elements the vignette does not speak of."""
    return {key: value for key, value in resource.items() if value is not None}


@dataclass(slots=True)
class RecordBuilder:
    """Turns facts into the resources of one patient. `as_of` is the day the order is picked."""

    patient_id: str
    as_of: date
    resources: list[Resource] = field(default_factory=list)
    _counts: dict[str, int] = field(default_factory=dict)

    @property
    def subject(self) -> Resource:
        return {"reference": f"Patient/{self.patient_id}"}

    def add(self, kind: str, body: Resource, *, key: str = "subject", id: str = "") -> Resource:  # noqa: A002
        """Append one resource about the patient, numbered within its type."""
        self._counts[kind] = self._counts.get(kind, 0) + 1
        name = id or f"{kind.lower()}-{self._counts[kind]}"
        resource = {"resourceType": kind, "id": name, key: self.subject} | _given(body)
        self.resources.append(resource)
        return resource

    # --- the patient ---------------------------------------------------------------------------

    def patient(self, facts: Toml) -> Resource:
        pregnant = facts.get("pregnant", False)
        age = facts.get("age", PREGNANT_AGE if pregnant else BASE_AGE)
        born = facts.get("born", self.as_of.replace(year=self.as_of.year - age, month=3, day=2))
        resource = {
            "resourceType": "Patient",
            "id": self.patient_id,
            "name": [{"family": "Example", "given": ["Synthetic"]}],
            "gender": facts.get("sex", "female"),
        }
        if not facts.get("birth_date_missing", False):
            resource["birthDate"] = _day(born)
        self.resources.append(resource)
        if pregnant:
            self.condition({"what": "pregnancy", "onset": self.as_of - timedelta(days=56)})
        return resource

    # --- diagnoses and symptoms ----------------------------------------------------------------

    def condition(self, facts: Toml) -> Resource:
        code = codeable("conditions", facts["what"])
        if "text" in facts:
            code["text"] = facts["text"]
        onset = facts.get("onset")
        recorded: date | str = facts.get("recorded") or onset or date(2024, 1, 15)
        return self.add(
            "Condition",
            {
                "category": [concept(f"{THO}/condition-category", "problem-list-item")],
                "clinicalStatus": concept(
                    f"{THO}/condition-clinical", facts.get("clinical", "active")
                ),
                "verificationStatus": concept(
                    f"{THO}/condition-ver-status", facts.get("verification", "confirmed")
                ),
                "code": code,
                "onsetDateTime": _day(onset) if onset else None,
                "recordedDate": _day(recorded),
            },
        )

    def absent_finding(self, facts: Toml) -> Resource:
        """A symptom that was looked for and is not there."""
        return self.add(
            "Observation",
            {
                "status": "final",
                "category": [concept(f"{THO}/observation-category", "exam")],
                "code": codeable("conditions", facts["what"]),
                "effectiveDateTime": _moment(facts["on"]),
                "valueBoolean": False,
            },
        )

    def pregnancy_status(self, facts: Toml) -> Resource:
        return self.add(
            "Observation",
            {
                "status": "final",
                "category": [concept(f"{THO}/observation-category", "social-history")],
                "code": concept(LOINC, "82810-3") | {"text": "Pregnancy status"},
                "effectiveDateTime": _moment(facts["on"]),
                "valueCodeableConcept": concept(SCT, "77386006") | {"text": "Pregnant"},
            },
        )

    def relative(self, facts: Toml) -> Resource:
        return self.add(
            "FamilyMemberHistory",
            {
                "status": "completed",
                "relationship": concept(f"{THO}/v3-RoleCode", facts.get("relative", "MTH")),
                "condition": [{"code": codeable("conditions", facts["what"])}],
            },
            key="patient",
        )

    # --- results -------------------------------------------------------------------------------

    def result(self, facts: Toml) -> Resource:
        flag = facts.get("flag")
        on = facts.get("on", self.as_of - timedelta(days=RESULTS_ARE_DAYS_OLD))
        return self.add(
            "Observation",
            {
                "status": facts.get("status", "final"),
                "category": [concept(f"{THO}/observation-category", "laboratory")],
                "code": codeable("results", facts["test"]),
                "effectiveDateTime": _moment(on),
                "valueQuantity": quantity(facts["value"]) if "value" in facts else None,
                "valueString": facts.get("text_value"),
                "interpretation": [concept(f"{THO}/v3-ObservationInterpretation", flag)]
                if flag
                else None,
            },
        )

    # --- operations ----------------------------------------------------------------------------

    def procedure(self, facts: Toml) -> Resource:
        """An operation; `length` adds the Observation that measures what was resected."""
        code = codeable("procedures", facts["what"])
        if "text" in facts:
            code["text"] = facts["text"]
        operation = self.add(
            "Procedure",
            {
                "status": facts.get("status", "completed"),
                "code": code,
                "performedDateTime": _day(facts.get("on", date(2024, 3, 12))),
                "note": [{"text": facts["note"]}] if "note" in facts else None,
            },
        )
        if "length" in facts:
            self.length(facts, operation)
        return operation

    def length(self, facts: Toml, operation: Resource) -> Resource:
        return self.add(
            "Observation",
            {
                "status": facts.get("length_status", "final"),
                "category": [concept(f"{THO}/observation-category", "procedure")],
                "code": concept(RECORD_CODES, "ileum-resected-length")
                | {"text": "Length of ileum resected"},
                "effectiveDateTime": _moment(facts.get("on", date(2024, 3, 12))),
                "valueQuantity": quantity(facts["length"]),
                "bodySite": concept(SCT, "34516001") | {"text": "Ileum"},
                "partOf": [{"reference": f"Procedure/{operation['id']}"}],
            },
        )

    def extent(self, facts: Toml) -> Resource:
        """How much ileum Crohn's disease affects, by imaging."""
        return self.add(
            "Observation",
            {
                "status": "final",
                "category": [concept(f"{THO}/observation-category", "imaging")],
                "code": concept(RECORD_CODES, "ileum-disease-extent")
                | {"text": "Extent of ileal disease"},
                "effectiveDateTime": _moment(facts.get("on", date(2026, 2, 10))),
                "valueQuantity": quantity(facts["length"]),
                "bodySite": concept(SCT, "34516001") | {"text": "Ileum"},
            },
        )

    def measurement(self, facts: Toml) -> Resource:
        """A length the EHR wrote in its own words and no code of ours."""
        return self.add(
            "Observation",
            {
                "status": "final",
                "category": [concept(f"{THO}/observation-category", "procedure")],
                "code": {"text": facts["text"]},
                "effectiveDateTime": _moment(facts.get("on", date(2024, 3, 12))),
                "valueQuantity": quantity(facts["value"]),
            },
        )

    # --- medicines -----------------------------------------------------------------------------

    def order(self, facts: Toml) -> Resource:
        """An order of the record, by default active since the turn of the year; `written = ""` is
        an order without a date."""
        written = facts.get("written", date(2026, 1, 5))
        body = medication_request(facts) | {
            "status": facts.get("status", "active"),
            "authoredOn": _day(written) if written else None,
        }
        return self.add("MedicationRequest", body, id=facts.get("id", ""))

    def dose(self, facts: Toml) -> None:
        for on in facts["on"]:
            self.add(
                "MedicationAdministration",
                {
                    "status": "completed",
                    "medicationCodeableConcept": codeable("medicines", facts["what"]),
                    "effectiveDateTime": f"{_day(on)}T10:00:00Z",
                    "dosage": {"route": route(facts["route"]), "dose": quantity(facts["dose"])}
                    if "dose" in facts
                    else None,
                },
            )

    def allergy(self, facts: Toml) -> Resource:
        reaction = facts.get("reaction")
        manifestation = {"manifestation": [codeable("reactions", reaction)]} if reaction else {}
        if "severity" in facts:
            manifestation["severity"] = facts["severity"]
        return self.add(
            "AllergyIntolerance",
            {
                "clinicalStatus": concept(
                    f"{THO}/allergyintolerance-clinical", facts.get("clinical", "active")
                ),
                "verificationStatus": concept(
                    f"{THO}/allergyintolerance-verification",
                    facts.get("verification", "confirmed"),
                ),
                "type": "allergy",
                "category": ["medication"],
                "criticality": facts.get("criticality"),
                "code": codeable("allergens", facts["to"]),
                "recordedDate": "2022-05-04",
                "reaction": [manifestation] if manifestation else None,
            },
            key="patient",
        )

    def referral(self, facts: Toml) -> Resource:
        return self.add(
            "ServiceRequest",
            {
                "status": "active",
                "intent": "order",
                "priority": "urgent",
                "code": codeable("referrals", facts["to"]),
                "authoredOn": _day(facts["on"]),
            },
        )


def route(name: str) -> Resource:
    code, display = ROUTES[name]
    return {"coding": [{"system": SCT, "code": code, "display": display}], "text": display}


def dosage(facts: Toml) -> Resource | None:
    """One dosageInstruction, or None for an order picked without details."""
    out: Resource = {}
    if "timing" in facts:
        out["timing"] = {"repeat": repeat(facts["timing"])}
    if "days" in facts:
        out.setdefault("timing", {"repeat": {}})["repeat"]["dayOfWeek"] = facts["days"]
    if "route" in facts:
        out["route"] = route(facts["route"])
    if "dose" in facts:
        out["doseAndRate"] = [{"doseQuantity": quantity(facts["dose"])}]
    if not out:
        return None
    said = (facts.get("dose"), facts.get("route"), facts.get("timing"))
    return {"text": " ".join(part for part in said if part)} | out


def medication_request(facts: Toml) -> Resource:
    """The parts an order of the record and a draft have in common."""
    instruction = dosage(facts)
    replaces = facts.get("renews")
    group = facts.get("group")
    return _given(
        {
            "intent": "order",
            **_medicine(facts),
            "dosageInstruction": [instruction] if instruction else None,
            "priorPrescription": {"reference": f"MedicationRequest/{replaces}"}
            if replaces
            else None,
            "groupIdentifier": {"system": "https://ehr.example/order-group", "value": group}
            if group
            else None,
        }
    )


def _medicine(facts: Toml) -> Resource:
    """The medicine by its code; with a `form`, as a Medication that says its form by code alone."""
    code = codeable("medicines", facts["what"])
    if "form" not in facts:
        return {"medicationCodeableConcept": code}
    product = {"resourceType": "Medication", "id": "product", "code": code}
    product["form"] = concept(SCT, FORMS[facts["form"]])
    return {"contained": [product], "medicationReference": {"reference": "#product"}}


# --- a whole vignette ------------------------------------------------------------------------

# What a record may list, and the method that writes it.
_FACTS = {
    "conditions": RecordBuilder.condition,
    "absent": RecordBuilder.absent_finding,
    "pregnancy_status": RecordBuilder.pregnancy_status,
    "family": RecordBuilder.relative,
    "results": RecordBuilder.result,
    "procedures": RecordBuilder.procedure,
    "extents": RecordBuilder.extent,
    "measurements": RecordBuilder.measurement,
    "orders": RecordBuilder.order,
    "doses": RecordBuilder.dose,
    "allergies": RecordBuilder.allergy,
    "referrals": RecordBuilder.referral,
}


def _base_results(record: Toml) -> Iterator[Toml]:
    """The base patient's results, without those the vignette gives or takes away."""
    said = {result["test"] for result in record.get("results", ())}
    said.update(record.get("without", ()))
    yield from ({"test": t, "value": v} for t, v in BASE_RESULTS.items() if t not in said)


def patient_id(vignette: Vignette) -> str:
    return f"vignette-{vignette.id.lower()}"


def build_record(vignette: Vignette) -> list[Resource]:
    """Every resource of the vignette's patient, the Patient first."""
    builder = RecordBuilder(patient_id(vignette), vignette.as_of)
    builder.patient(vignette.patient)
    for result in _base_results(vignette.record):
        builder.result(result)
    for name, facts in _all_facts(vignette.record):
        for fact in facts:
            _FACTS[name](builder, fact)
    return builder.resources


def _all_facts(record: Toml) -> Iterator[tuple[str, Iterable[Toml]]]:
    if "history" in record:
        yield from history(record["history"])
    for name, facts in record.items():
        if name in ("history", "without"):
            continue
        if name not in _FACTS:
            raise VignetteError(f"a record does not list {name!r}")
        yield name, facts
