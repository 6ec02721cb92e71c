"""Which requests is the service measured with?

Five families. Each is a vignette's call, so what has to come out is known, in front of a record of
the wanted size: the vital signs, laboratory panels, prescriptions and diagnoses that a long chart
is full of. One result in nine is of an analyte that the protocol reads (haemoglobin, MCV,
potassium, eGFR), as in a chart where panels are ordered whole. Everything is made up, and the same
on every machine but for the dates, which are moved to the day of the run.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import msgspec

Json = dict[str, Any]

VIGNETTES: Final = Path(__file__).parents[1] / "fixtures" / "vignettes"
WRITTEN: Final = date(2026, 6, 15)  # the day the vignettes are about

KB: Final = 1000
MB: Final = 1000 * KB

_DATE: Final = re.compile(rb'"(\d{4}-\d{2}-\d{2})(?=["T])')


@dataclass(frozen=True, slots=True)
class Family:
    """`size`: bytes of the whole body, about; `goal`: p50 as a ratio to the null service."""

    name: str
    vignette: str
    size: int
    cards: bool
    goal: float


FAMILIES: Final = (
    Family("irrelevant-5k", "v154-an-unrelated-order", 5 * KB, cards=False, goal=1.15),
    Family("cards-60k", "v02-new-paraesthesia", 60 * KB, cards=True, goal=1.6),
    Family("silent-60k", "v05-standard-loading-picked-conforms", 60 * KB, cards=False, goal=1.4),
    Family("cards-3m", "v02-new-paraesthesia", 3 * MB, cards=True, goal=0.45),
    Family("irrelevant-3m", "v154-an-unrelated-order", 3 * MB, cards=False, goal=0.3),
)

#: The sizes at which growth is measured, with the vignette that has cards.
GROWTH: Final = tuple(
    Family(name, "v02-new-paraesthesia", size, cards=True, goal=0)
    for name, size in (("0.06", 60 * KB), ("0.6", 600 * KB), ("3", 3 * MB), ("12", 12 * MB))
)


def body(family: Family, today: date | None = None) -> bytes:
    """The body of a call, as a client sends it: compact JSON, filled up to the family's size."""
    request = _vignette(family.vignette)
    patient = request["context"]["patientId"]
    prefetch = request["prefetch"]
    size = len(msgspec.json.encode(request))
    for key, resource in _chart(patient):
        entry = {
            "fullUrl": f"https://ehr.example/fhir/{resource['resourceType']}/{resource['id']}",
            "resource": resource,
            "search": {"mode": "match"},
        }
        size += len(msgspec.json.encode(entry)) + 1
        if size > family.size:
            break
        bundle = prefetch[key]
        bundle.setdefault("entry", []).append(entry)
        bundle["total"] = len(bundle["entry"])
    moved_by = (today or datetime.now(UTC).date()) - WRITTEN
    return _moved(msgspec.json.encode(request), moved_by)


def _vignette(name: str) -> Json:
    content = (VIGNETTES / name / "request.json").read_bytes()
    request: Json = msgspec.json.decode(content)
    return request


def _moved(content: bytes, by: timedelta) -> bytes:
    """Every date as many days later as have passed since the vignette was written."""

    def later(match: re.Match[bytes]) -> bytes:
        day = date.fromisoformat(match[1].decode()) + by
        return b'"' + day.isoformat().encode()

    return _DATE.sub(later, content)


# --- a chart ----------------------------------------------------------------------------------

_LOINC: Final = "http://loinc.org"
_SCT: Final = "http://snomed.info/sct"
_RXNORM: Final = "http://www.nlm.nih.gov/research/umls/rxnorm"
_ICD: Final = "http://hl7.org/fhir/sid/icd-10-cm"
_THO: Final = "http://terminology.hl7.org/CodeSystem"
_UCUM: Final = "http://unitsofmeasure.org"

#: LOINC code, name, unit, lowest and highest value that is made up, decimals.
_VITALS: Final = (
    ("8867-4", "Heart rate", "/min", 58, 96, 0),
    ("9279-1", "Respiratory rate", "/min", 12, 19, 0),
    ("8310-5", "Body temperature", "Cel", 36, 38, 1),
    ("29463-7", "Body weight", "kg", 61, 92, 1),
    ("8302-2", "Body height", "cm", 158, 186, 0),
    ("39156-5", "Body mass index (BMI) [Ratio]", "kg/m2", 20, 31, 1),
    ("2708-6", "Oxygen saturation in Arterial blood", "%", 94, 100, 0),
    ("72514-3", "Pain severity - 0-10 verbal numeric rating", "{score}", 0, 6, 0),
)
_LABS: Final = (
    ("718-7", "Hemoglobin [Mass/volume] in Blood", "g/dL", 12, 15, 1),
    ("4544-3", "Hematocrit [Volume Fraction] of Blood by Automated count", "%", 37, 47, 1),
    ("787-2", "MCV [Entitic mean volume] in Red Blood Cells by Automated count", "fL", 84, 97, 0),
    ("785-6", "MCH [Entitic mass] by Automated count", "pg", 27, 33, 1),
    ("786-4", "MCHC [Mass/volume] by Automated count", "g/dL", 32, 36, 1),
    ("788-0", "Erythrocyte distribution width [Ratio] by Automated count", "%", 11, 15, 1),
    ("6690-2", "Leukocytes [#/volume] in Blood by Automated count", "10*3/µL", 4, 11, 1),
    ("789-8", "Erythrocytes [#/volume] in Blood by Automated count", "10*6/µL", 4, 6, 2),
    ("777-3", "Platelets [#/volume] in Blood by Automated count", "10*3/µL", 150, 400, 0),
    ("770-8", "Neutrophils/100 leukocytes in Blood by Automated count", "%", 40, 70, 1),
    ("736-9", "Lymphocytes/100 leukocytes in Blood by Automated count", "%", 20, 45, 1),
    ("2951-2", "Sodium [Moles/volume] in Serum or Plasma", "mmol/L", 136, 144, 0),
    ("2823-3", "Potassium [Moles/volume] in Serum or Plasma", "mmol/L", 3.8, 4.9, 1),
    ("2075-0", "Chloride [Moles/volume] in Serum or Plasma", "mmol/L", 98, 106, 0),
    ("2028-9", "Carbon dioxide, total [Moles/volume] in Serum or Plasma", "mmol/L", 22, 29, 0),
    ("3094-0", "Urea nitrogen [Mass/volume] in Serum or Plasma", "mg/dL", 7, 20, 0),
    ("2160-0", "Creatinine [Mass/volume] in Serum or Plasma", "mg/dL", 0.6, 1.1, 2),
    ("98979-8", "Glomerular filtration rate (CKD-EPI 2021)", "mL/min/{1.73_m2}", 76, 104, 0),
    ("2345-7", "Glucose [Mass/volume] in Serum or Plasma", "mg/dL", 72, 118, 0),
    ("17861-6", "Calcium [Mass/volume] in Serum or Plasma", "mg/dL", 8.6, 10.1, 1),
    ("4548-4", "Hemoglobin A1c/Hemoglobin.total in Blood", "%", 4.8, 6.1, 1),
    ("2093-3", "Cholesterol [Mass/volume] in Serum or Plasma", "mg/dL", 140, 230, 0),
    ("2085-9", "Cholesterol in HDL [Mass/volume] in Serum or Plasma", "mg/dL", 38, 70, 0),
    ("2571-8", "Triglyceride [Mass/volume] in Serum or Plasma", "mg/dL", 60, 180, 0),
    ("1742-6", "Alanine aminotransferase in Serum or Plasma", "U/L", 9, 42, 0),
    ("1920-8", "Aspartate aminotransferase in Serum or Plasma", "U/L", 10, 38, 0),
    ("1751-7", "Albumin [Mass/volume] in Serum or Plasma", "g/dL", 3.6, 4.9, 1),
    ("3016-3", "Thyrotropin [Units/volume] in Serum or Plasma", "mIU/L", 0.6, 3.9, 2),
)
_DRUGS: Final = (
    ("197361", "amlodipine 5 MG Oral Tablet"),
    ("314076", "lisinopril 10 MG Oral Tablet"),
    ("617311", "atorvastatin 40 MG Oral Tablet"),
    ("308136", "acetaminophen 325 MG Oral Tablet"),
    ("310798", "hydrochlorothiazide 25 MG Oral Tablet"),
    ("866924", "metoprolol tartrate 25 MG Oral Tablet"),
    ("308182", "amoxicillin 250 MG Oral Capsule"),
    ("966222", "levothyroxine sodium 0.075 MG Oral Tablet"),
)
_DIAGNOSES: Final = (
    ("59621000", "Essential hypertension (disorder)", "I10"),
    ("55822004", "Hyperlipidemia (disorder)", "E78.5"),
    ("10509002", "Acute bronchitis (disorder)", "J20.9"),
    ("444814009", "Viral sinusitis (disorder)", "J01.90"),
    ("195662009", "Acute viral pharyngitis (disorder)", "J02.9"),
    ("44465007", "Sprain of ankle (disorder)", "S93.409A"),
    ("40930008", "Hypothyroidism (disorder)", "E03.9"),
    ("396275006", "Osteoarthritis (disorder)", "M19.90"),
)
_OPERATIONS: Final = (
    ("73761001", "Colonoscopy (procedure)"),
    ("430193006", "Medication Reconciliation (procedure)"),
    ("171207006", "Depression screening (procedure)"),
    ("312681000", "Bone density scan (procedure)"),
    ("80146002", "Appendectomy (procedure)"),
    ("710824005", "Assessment of health and social care needs (procedure)"),
)

#: Of twenty resources of a chart so many are of each kind.
_MIX: Final = (
    *(["vital"] * 5),
    *(["lab"] * 9),
    *(["order"] * 2),
    *("condition", "procedure", "administration", "dispense"),
)


def _chart(patient: str) -> Iterator[tuple[str, Json]]:
    """(prefetch key, resource) without end, the same each time, spread over ten years."""
    chance = random.Random(12)  # noqa: S311  not for secrets
    subject = {"reference": f"Patient/{patient}", "display": "Renée Example"}
    makers = {
        "vital": ("observations", _vital),
        "lab": ("observations", _lab),
        "order": ("medicationRequests", _order),
        "condition": ("conditions", _condition),
        "procedure": ("procedures", _procedure),
        "administration": ("medicationAdministrations", _administration),
        "dispense": ("medicationDispenses", _dispense),
    }
    number = 0
    while True:
        for kind in _MIX:
            number += 1
            key, make = makers[kind]
            day = WRITTEN - timedelta(days=10 + (number * 37) % 3650)
            yield key, make(_common(number, day), subject, day.isoformat(), chance)


def _common(number: int, day: date) -> Json:
    return {
        "id": f"chart.{number:06d}.{(number * 2654435761) % 2**32:08x}",
        "meta": {
            "versionId": "3",
            "lastUpdated": f"{day.isoformat()}T18:02:11.417Z",
            "profile": ["http://hl7.org/fhir/us/core/StructureDefinition/us-core-resource"],
        },
    }


def _concept(system: str, code: str, display: str) -> Json:
    return {"coding": [{"system": system, "code": code, "display": display}], "text": display}


def _category(system: str, code: str) -> list[Json]:
    return [{"coding": [{"system": f"{_THO}/{system}", "code": code, "display": code}]}]


def _visit(common: Json) -> Json:
    return {"reference": f"Encounter/visit.{common['id'][-8:]}", "display": "Office visit"}


def _value(row: tuple[str, str, str, float, float, int], chance: random.Random) -> Json:
    _, _, unit, low, high, digits = row
    number: float = round(chance.uniform(low, high), digits)
    value = int(number) if digits == 0 else number
    return {"value": value, "unit": unit, "system": _UCUM, "code": unit.replace("µ", "u")}


def _vital(common: Json, subject: Json, day: str, chance: random.Random) -> Json:
    row = chance.choice(_VITALS)
    return {
        "resourceType": "Observation",
        **common,
        "status": "final",
        "category": _category("observation-category", "vital-signs"),
        "code": _concept(_LOINC, row[0], row[1]),
        "subject": subject,
        "encounter": _visit(common),
        "effectiveDateTime": f"{day}T09:41:00+00:00",
        "issued": f"{day}T09:44:12.101+00:00",
        "performer": [{"reference": "Practitioner/nurse-17", "display": "A. Example, RN"}],
        "valueQuantity": _value(row, chance),
        "device": {"reference": "Device/monitor-4", "display": "Bedside monitor 4"},
    }


def _lab(common: Json, subject: Json, day: str, chance: random.Random) -> Json:
    row = chance.choice(_LABS)
    value = _value(row, chance)
    low, high = ({**value, "value": limit} for limit in row[3:5])
    return {
        "resourceType": "Observation",
        **common,
        "identifier": [{"system": "https://lab.example/result", "value": common["id"][-8:]}],
        "basedOn": [{"reference": f"ServiceRequest/request.{common['id'][-8:]}"}],
        "status": "final",
        "category": _category("observation-category", "laboratory"),
        "code": _concept(_LOINC, row[0], row[1]),
        "subject": subject,
        "encounter": _visit(common),
        "effectiveDateTime": f"{day}T07:12:00+00:00",
        "issued": f"{day}T11:30:55.300+00:00",
        "performer": [{"reference": "Organization/lab-1", "display": "Central laboratory"}],
        "valueQuantity": value,
        "interpretation": [_concept(f"{_THO}/v3-ObservationInterpretation", "N", "Normal")],
        "specimen": {"reference": f"Specimen/tube.{common['id'][-8:]}"},
        "referenceRange": [{"low": low, "high": high, "text": f"{row[3]} - {row[4]} {row[2]}"}],
    }


def _drug(chance: random.Random) -> Json:
    code, name = chance.choice(_DRUGS)
    return _concept(_RXNORM, code, name)


def _dosage() -> Json:
    return {
        "sequence": 1,
        "text": "Take 1 tablet by mouth once daily",
        "timing": {"repeat": {"frequency": 1, "period": 1, "periodUnit": "d"}},
        "asNeededBoolean": False,
        "route": _concept(_SCT, "26643006", "Oral route"),
        "doseAndRate": [{"doseQuantity": {"value": 1, "unit": "tablet"}}],
    }


def _order(common: Json, subject: Json, day: str, chance: random.Random) -> Json:
    return {
        "resourceType": "MedicationRequest",
        **common,
        "identifier": [{"system": "https://ehr.example/order", "value": common["id"][-8:]}],
        "status": "completed",
        "intent": "order",
        "category": _category("medicationrequest-category", "outpatient"),
        "medicationCodeableConcept": _drug(chance),
        "subject": subject,
        "encounter": _visit(common),
        "authoredOn": f"{day}T10:05:00+00:00",
        "requester": {"reference": "Practitioner/doctor-3", "display": "B. Example, MD"},
        "dosageInstruction": [_dosage()],
        "dispenseRequest": {"numberOfRepeatsAllowed": 3, "quantity": {"value": 90}},
    }


def _administration(common: Json, subject: Json, day: str, chance: random.Random) -> Json:
    return {
        "resourceType": "MedicationAdministration",
        **common,
        "status": "completed",
        "medicationCodeableConcept": _drug(chance),
        "subject": subject,
        "context": _visit(common),
        "effectiveDateTime": f"{day}T08:00:00+00:00",
        "performer": [{"actor": {"reference": "Practitioner/nurse-17"}}],
        "request": {"reference": f"MedicationRequest/order.{common['id'][-8:]}"},
        "dosage": {"text": "1 tablet", "dose": {"value": 1, "unit": "tablet"}},
    }


def _dispense(common: Json, subject: Json, day: str, chance: random.Random) -> Json:
    return {
        "resourceType": "MedicationDispense",
        **common,
        "status": "completed",
        "medicationCodeableConcept": _drug(chance),
        "subject": subject,
        "authorizingPrescription": [{"reference": f"MedicationRequest/o.{common['id'][-8:]}"}],
        "quantity": {"value": 90, "unit": "tablet"},
        "daysSupply": {"value": 90, "unit": "d", "system": _UCUM, "code": "d"},
        "whenHandedOver": f"{day}T16:20:00+00:00",
        "dosageInstruction": [_dosage()],
    }


def _condition(common: Json, subject: Json, day: str, chance: random.Random) -> Json:
    sct, name, icd = chance.choice(_DIAGNOSES)
    return {
        "resourceType": "Condition",
        **common,
        "clinicalStatus": _category("condition-clinical", "resolved")[0],
        "verificationStatus": _category("condition-ver-status", "confirmed")[0],
        "category": _category("condition-category", "encounter-diagnosis"),
        "code": {
            "coding": [
                {"system": _SCT, "code": sct, "display": name},
                {"system": _ICD, "code": icd, "display": name.removesuffix(" (disorder)")},
            ],
            "text": name.removesuffix(" (disorder)"),
        },
        "subject": subject,
        "encounter": _visit(common),
        "onsetDateTime": f"{day}T09:00:00+00:00",
        "abatementDateTime": f"{day}T18:00:00+00:00",
        "recordedDate": day,
    }


def _procedure(common: Json, subject: Json, day: str, chance: random.Random) -> Json:
    code, name = chance.choice(_OPERATIONS)
    return {
        "resourceType": "Procedure",
        **common,
        "status": "completed",
        "code": _concept(_SCT, code, name),
        "subject": subject,
        "encounter": _visit(common),
        "performedPeriod": {"start": f"{day}T09:00:00+00:00", "end": f"{day}T09:35:00+00:00"},
        "performer": [{"actor": {"reference": "Practitioner/doctor-3"}}],
        "location": {"reference": "Location/clinic-2", "display": "Outpatient clinic"},
    }
