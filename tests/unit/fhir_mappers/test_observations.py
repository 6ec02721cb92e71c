"""Is a result read when it can be, and only then?"""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from itertools import permutations
from typing import Any

import pytest

from fhir_mappers.observations import Measurement, Observed, read_observations
from regimen.facts import (
    Activity,
    Analyte,
    Answer,
    Certainty,
    Comparator,
    Concept,
    Flag,
    LabResult,
    Length,
)

AS_OF = date(2026, 6, 15)
LOINC, SCT, UCUM = "http://loinc.org", "http://snomed.info/sct", "http://unitsofmeasure.org"
RECORD = "urn:oid:2.25.147698014147394229799976552687274634453"
B12 = "2132-9"


def concept(system: str, code: str, text: str | None = None) -> dict[str, Any]:
    return {"coding": [{"system": system, "code": code}]} | ({"text": text} if text else {})


def quantity(value: Any, unit: str | None = "pg/mL", **more: Any) -> dict[str, Any]:
    coded = {"unit": unit, "system": UCUM, "code": unit} if unit else {}
    return {"value": value, **coded, **more}


def observation(code: str = B12, system: str = LOINC, **more: Any) -> dict[str, Any]:
    return {
        "resourceType": "Observation",
        "id": "o1",
        "status": "final",
        "effectiveDateTime": "2026-06-10",
        "code": concept(system, code),
        **more,
    }


def read(*resources: dict[str, Any]) -> Observed:
    return read_observations(resources, AS_OF)


def lab(code: str = B12, **more: Any) -> LabResult | None:
    found = read(observation(code, **more)).labs
    assert len(found) <= 1
    return found[0] if found else None


def b12(**more: Any) -> LabResult:
    found = lab(**more)
    assert found is not None
    return found


ANALYTES = {
    B12: ("pg/mL", Analyte.B12_TOTAL),
    "14685-2": ("pmol/L", Analyte.B12_TOTAL),
    "72160-5": ("pmol/L", Analyte.B12_ACTIVE),
    "13964-2": ("umol/L", Analyte.MMA),
    "13965-9": ("umol/L", Analyte.HOMOCYSTEINE),
    "718-7": ("g/dL", Analyte.HAEMOGLOBIN),
    "787-2": ("fL", Analyte.MCV),
    "2823-3": ("mmol/L", Analyte.POTASSIUM),
    "62238-1": ("mL/min/{1.73_m2}", Analyte.EGFR),
    "777-3": ("10*9/L", Analyte.PLATELETS),
}


@pytest.mark.parametrize(("code", "expected"), ANALYTES.items(), ids=ANALYTES.keys())
def test_each_test_is_known_by_its_code(code: str, expected: tuple[str, Analyte]) -> None:
    unit, analyte = expected
    value = Decimal("90.50") if analyte is Analyte.MCV else Decimal("11.50")
    found = lab(code, valueQuantity=quantity(value, unit))
    assert found is not None
    assert (found.analyte, found.value, found.unit) == (analyte, value, unit)
    assert found.unreadable == ""


LOOK_ALIKES = {
    "binding capacity": "2171-7",
    "urine MMA": "25116-5",
    "urine homocysteine": "26582-7",
    "creatinine": "2160-0",
    "folate": "2284-8",
    "red cell folate": "2283-0",
    "parietal cell antibody": "8087-9",
    "leukocytes": "26464-8",
    "no LOINC code": "14685-7",
}


@pytest.mark.parametrize("code", LOOK_ALIKES.values(), ids=LOOK_ALIKES.keys())
def test_look_alikes_are_other_tests(code: str) -> None:
    assert lab(code, valueQuantity=quantity(120)) is None


def test_an_excluding_code_wins_over_the_others_of_its_concept() -> None:
    codings = [{"system": LOINC, "code": code} for code in (B12, "2171-7")]
    assert lab(code=B12, valueQuantity=quantity(120)) is not None
    assert read({**observation(), "code": {"coding": codings}}).labs == ()


UNITS = {
    "D16 UCUM": (quantity(120, "pg/mL"), "pg/mL"),
    "D16 ng/L": (quantity(120, "ng/L"), "ng/L"),
    "D16 capitals": ({"value": 120, "unit": "PG/ML"}, "pg/mL"),
    "D16 spaces": ({"value": 120, "unit": "pg / mL"}, "pg/mL"),
    "D16 code against LOINC": (quantity(120, "pmol/L"), "pmol/L"),
    "D16 none": (quantity(120, None), None),
    "D16 unknown": ({"value": 120, "unit": "units"}, None),
    "D16 of another test": (quantity(120, "g/L"), None),
}


@pytest.mark.fault("D16")
@pytest.mark.parametrize(("value", "unit"), UNITS.values(), ids=UNITS.keys())
def test_a_unit_is_known_or_the_number_is_unreadable(
    value: dict[str, Any], unit: str | None
) -> None:
    found = b12(valueQuantity=value)
    assert (found.value, found.unit) == (Decimal(120), unit)
    assert found.unreadable == ("" if unit else "unit")


def test_potassium_in_milliequivalents_is_millimoles() -> None:
    found = lab("2823-3", valueQuantity=quantity(Decimal("3.2"), "meq/L"))
    assert found is not None
    assert found.unit == "mmol/L"


VALUES = {
    "D17 comparator": ({"valueQuantity": quantity(150, comparator="<")}, 150, Comparator.LESS),
    "D17 text": ({"valueString": "<150 pg/mL"}, 150, Comparator.LESS),
    "D17 text, at least": ({"valueString": ">= 2000 pg/ml"}, 2000, Comparator.GREATER_OR_EQUAL),
    "D17 text, equal": ({"valueString": "150.5 ng/L"}, "150.5", Comparator.EQUAL),
    "D17 concept": ({"valueCodeableConcept": {"text": "<150 pg/mL"}}, 150, Comparator.LESS),
}


@pytest.mark.fault("D17")
@pytest.mark.parametrize(("element", "value", "sign"), VALUES.values(), ids=VALUES.keys())
def test_an_unambiguous_value_is_read(
    element: dict[str, Any], value: int | str, sign: Comparator
) -> None:
    found = b12(**element)
    assert (found.value, found.comparator, found.unreadable) == (Decimal(value), sign, "")


UNREADABLE = {
    "D17 GT 45": ({"valueString": "GT 45"}, "value"),
    "D17 words": ({"valueString": "see comment"}, "value"),
    "D17 range": ({"valueString": "120-150 pg/mL"}, "value"),
    "D17 no unit": ({"valueString": "<150"}, "unit"),
    "D17 valueRange": ({"valueRange": {"low": quantity(1)}}, "value"),
    "D17 valueRatio": ({"valueRatio": {"numerator": quantity(1)}}, "value"),
    "D17 valueInteger": ({"valueInteger": 120}, "unit"),
    "D17 unknown comparator": ({"valueQuantity": quantity(1, comparator="~")}, "value"),
    "D33 decimal comma": ({"valueString": "148,0 pg/mL"}, "value"),
    "D33 thousands": ({"valueString": "1,200 pg/mL"}, "value"),
    "D33 point before three digits": ({"valueString": "1.200 pg/mL"}, "ambiguous"),
    "D33 point, with a sign": ({"valueString": ">2.000 pg/mL"}, "ambiguous"),
    "D33 two points": ({"valueString": "1.200.000 pg/mL"}, "value"),
    "D16 zero": ({"valueQuantity": quantity(0)}, "implausible"),
    "D16 negative": ({"valueQuantity": quantity(-5)}, "implausible"),
    "D16 a million": ({"valueQuantity": quantity(1_000_000)}, "implausible"),
    "D16 one": ({"valueQuantity": quantity(1)}, "implausible"),
    "D16 a thousandth": ({"valueQuantity": quantity(Decimal("0.12"))}, "implausible"),
    "D16 a hundred thousand": ({"valueQuantity": quantity(100_000)}, "implausible"),
    "D16 picomole": ({"valueQuantity": quantity(Decimal("0.148"), "pmol/L")}, "implausible"),
    "D16 in words": ({"valueString": "0.12 pg/mL"}, "implausible"),
    "J14 number as text": ({"valueQuantity": quantity("120")}, "value"),
    "J03 too large": ({"valueQuantity": quantity(Decimal("1E+400"))}, "value"),
    "J13 quantity as text": ({"valueQuantity": "120 pg/mL"}, "value"),
    "J16 long": ({"valueString": "1" * 100_000}, "value"),
}


@pytest.mark.fault("J03", "J13", "J14", "J16", "D16", "D17", "D33")
@pytest.mark.parametrize(("element", "why"), UNREADABLE.values(), ids=UNREADABLE.keys())
def test_a_value_that_cannot_be_read_stays_visible(element: dict[str, Any], why: str) -> None:
    found = b12(**element)
    assert found.unreadable == why
    assert found.unit is None


READ = {
    "D33 two decimals": ({"valueString": "148.25 pg/mL"}, "148.25"),
    "D33 nothing groups after a zero": ({"valueString": "0.148 ug/L"}, "0.148"),
    "D33 a number is exact": ({"valueQuantity": quantity(Decimal("148.125"))}, "148.125"),
    "D16 lowest": ({"valueQuantity": quantity(10)}, "10"),
    "D16 highest": ({"valueQuantity": quantity(99_999)}, "99999"),
    "D16 another unit": ({"valueQuantity": quantity(Decimal("0.12"), "ug/L")}, "0.12"),
}


@pytest.mark.parametrize(("element", "value"), READ.values(), ids=READ.keys())
def test_a_value_that_can_be_is_read(element: dict[str, Any], value: str) -> None:
    found = b12(**element)
    assert (found.value, found.unreadable) == (Decimal(value), "")


IMPLAUSIBLE = {
    "MMA in nanomole": ("13964-2", "250", "umol/L"),
    "MMA in micromole": ("13964-2", "0.25", "nmol/L"),
    "homocysteine": ("13965-9", "12000", "umol/L"),
    "haemoglobin per decilitre": ("718-7", "11.8", "g/L"),
    "haemoglobin per litre": ("718-7", "118", "g/dL"),
    "MCV": ("787-2", "9.6", "fL"),
    "potassium": ("2823-3", "42", "mmol/L"),
    "eGFR": ("62238-1", "900", "mL/min/{1.73_m2}"),
    "platelets": ("777-3", "250000", "10*9/L"),
}


@pytest.mark.fault("D16")
@pytest.mark.parametrize(("code", "value", "unit"), IMPLAUSIBLE.values(), ids=IMPLAUSIBLE.keys())
def test_d16_what_no_patient_has_is_not_used_and_stays_visible(
    code: str, value: str, unit: str
) -> None:
    found = lab(code, valueQuantity=quantity(Decimal(value), unit))
    assert found is not None
    assert (found.value, found.unit, found.unreadable) == (None, None, "implausible")


@pytest.mark.fault("D16")
def test_d16_the_flag_of_an_implausible_number_is_not_used_either() -> None:
    flagged = {"interpretation": [{"coding": [{"code": "H"}]}]}
    assert b12(valueQuantity=quantity(100_000), **flagged).flag is None
    assert b12(valueString="see comment", **flagged).flag is Flag.HIGH


NOTHING = {
    "D18 no value": {},
    "D18 absent": {"dataAbsentReason": {"text": "unknown"}},
    "D18 absent, flagged": {
        "dataAbsentReason": {"text": "unknown"},
        "interpretation": [{"coding": [{"code": "L"}]}],
    },
    "D18 range only": {"referenceRange": [{"low": quantity(180)}]},
    "D18 unit only": {"valueQuantity": {"unit": "pg/mL"}},
    "D41 extension only": {"valueQuantity": {"_value": {"extension": [{"url": "x"}]}}},
}


@pytest.mark.fault("D18", "D41")
@pytest.mark.parametrize("element", NOTHING.values(), ids=NOTHING.keys())
def test_no_value_is_no_result(element: dict[str, Any]) -> None:
    assert lab(**element) is None


STATUSES = {
    "final": False,
    "amended": False,
    "corrected": False,
    "preliminary": True,
    "registered": None,
    "cancelled": None,
    "entered-in-error": None,
    "unknown": None,
}


@pytest.mark.fault("D19")
@pytest.mark.parametrize(("status", "preliminary"), STATUSES.items(), ids=STATUSES.keys())
def test_d19_statuses(status: str, preliminary: bool | None) -> None:
    found = lab(status=status, valueQuantity=quantity(120))
    assert (found and found.preliminary) == preliminary


@pytest.mark.fault("D19")
def test_d19_a_result_without_a_status_settles_nothing() -> None:
    assert b12(status=None, valueQuantity=quantity(120)).preliminary


TIMES = {
    "date": ({"effectiveDateTime": "2026-06-10"}, date(2026, 6, 10)),
    "instant": ({"effectiveInstant": "2026-06-10T08:00:00Z"}, date(2026, 6, 10)),
    "period": (
        {"effectivePeriod": {"start": "2026-06-01", "end": "2026-06-10"}},
        date(2026, 6, 10),
    ),
    "timing": ({"effectiveTiming": {"event": ["2026-06-01", "2026-06-10"]}}, date(2026, 6, 10)),
    "issued": ({"issued": "2026-06-10T08:00:00+02:00"}, date(2026, 6, 10)),
    "impossible, then issued": (
        {"effectiveDateTime": "2026-02-30", "issued": "2026-06-10T08:00:00Z"},
        date(2026, 6, 10),
    ),
    "absent": ({}, None),
    "tomorrow": ({"effectiveDateTime": "2026-06-16"}, date(2026, 6, 16)),
}


@pytest.mark.fault("D20")
@pytest.mark.parametrize(("element", "on"), TIMES.values(), ids=TIMES.keys())
def test_d20_times(element: dict[str, Any], on: date | None) -> None:
    found = b12(**{"effectiveDateTime": None, "valueQuantity": quantity(120), **element})
    assert (found.on, found.record.on) == (on, on)


@pytest.mark.fault("D20")
def test_d20_the_future_is_ignored() -> None:
    assert lab(effectiveDateTime="2026-06-17", valueQuantity=quantity(120)) is None


def test_moments_sort_results_of_one_day() -> None:
    value = {"valueQuantity": quantity(120)}
    undated = b12(effectiveDateTime=None, **value)
    early = b12(effectiveDateTime="2026-06-10T08:00:00Z", **value)
    late = b12(effectiveDateTime="2026-06-10T08:00:00-01:00", **value)
    issued = b12(
        effectiveDateTime="2026-06-10T08:00:00-01:00", issued="2026-06-11T08:00:00Z", **value
    )
    assert undated.moment < early.moment < late.moment < issued.moment


THO = "http://terminology.hl7.org/CodeSystem"
FLAGS = {
    "LL": ({"coding": [{"code": "LL"}]}, Flag.CRITICALLY_LOW),
    "L": ({"coding": [{"code": "L"}]}, Flag.LOW),
    "N": ({"coding": [{"code": "N"}]}, Flag.NORMAL),
    "H": ({"coding": [{"code": "H"}]}, Flag.HIGH),
    "HH": ({"coding": [{"code": "HH"}]}, Flag.HIGH),
    "text": ({"text": "Low"}, Flag.LOW),
    "A": ({"coding": [{"code": "A"}]}, None),
    "v3": ({"coding": [{"system": f"{THO}/v3-ObservationInterpretation", "code": "L"}]}, Flag.LOW),
    "STU3": ({"coding": [{"system": "http://hl7.org/fhir/v2/0078", "code": "L"}]}, Flag.LOW),
    "of a laboratory's own": ({"coding": [{"system": "urn:lab", "code": "L"}]}, None),
    "sentence": ({"text": "not low"}, None),
}


@pytest.mark.fault("D18")
@pytest.mark.parametrize(("concept_", "flag"), FLAGS.values(), ids=FLAGS.keys())
def test_d18_interpretation(concept_: dict[str, Any], flag: Flag | None) -> None:
    found = b12(valueQuantity=quantity(190), interpretation=[concept_])
    assert (found.flag, found.value) == (flag, Decimal(190))
    alone = lab(interpretation=concept_)  # an object where an array belongs
    assert (alone and alone.flag) == flag


def test_contradicting_flags_are_none() -> None:
    both = [{"coding": [{"code": "L"}]}, {"coding": [{"code": "H"}]}]
    assert b12(valueQuantity=quantity(190), interpretation=both).flag is None


def limits(low: dict[str, Any], value: dict[str, Any]) -> Decimal | None:
    return b12(valueQuantity=value, referenceRange=[{"low": low}]).low


def test_reference_limits_count_in_the_unit_of_the_value() -> None:
    assert limits(quantity(200, "ng/L"), quantity(150, "ng/L")) == 200
    assert limits({"value": 200, "unit": "U"}, {"value": 150, "unit": "u"}) == 200
    assert limits(quantity(200, "pmol/L"), quantity(150, "pg/mL")) is None
    assert limits(quantity(200, None), quantity(150, None)) is None


def test_two_reference_ranges_are_none() -> None:
    ranges = [{"low": quantity(200)}, {"low": quantity(300)}]
    assert b12(valueQuantity=quantity(150), referenceRange=ranges).low is None


ANTIBODIES = {
    "flag": ({"interpretation": [{"coding": [{"code": "POS"}]}]}, Flag.POSITIVE),
    "high": (
        {"valueQuantity": quantity(9, "U/mL"), "interpretation": [{"coding": [{"code": "H"}]}]},
        Flag.HIGH,
    ),
    "concept": ({"valueCodeableConcept": {"text": "Positive"}}, Flag.POSITIVE),
    "code, SNOMED CT": ({"valueCodeableConcept": concept(SCT, "10828004")}, Flag.POSITIVE),
    "code, LOINC": ({"valueCodeableConcept": concept(LOINC, "LA6577-6")}, Flag.NEGATIVE),
    "code against its text": (
        {"valueCodeableConcept": {**concept(SCT, "10828004"), "text": "Negative"}},
        None,
    ),
    "code of another system": ({"valueCodeableConcept": concept("urn:x", "10828004")}, None),
    "string": ({"valueString": "NEGATIVE"}, Flag.NEGATIVE),
    "sentence": ({"valueString": "positive control failed"}, None),
}


@pytest.mark.parametrize(("element", "flag"), ANTIBODIES.values(), ids=ANTIBODIES.keys())
def test_intrinsic_factor_antibody(element: dict[str, Any], flag: Flag | None) -> None:
    found = lab("31444-3", **element)
    assert (found and found.flag) == flag


# --- panels -------------------------------------------------------------------------------------


@pytest.mark.fault("D21")
def test_d21_components() -> None:
    component = {"code": concept(LOINC, "787-2"), "valueQuantity": quantity(112, "fL")}
    (found,) = read(observation("58410-2", component=[component, None, 5])).labs
    assert (found.analyte, found.value, found.record.reference) == (
        Analyte.MCV,
        Decimal(112),
        "Observation/o1",
    )


@pytest.mark.fault("D21")
def test_d21_members_of_the_bundle_have_their_panels_time() -> None:
    member = observation("787-2", id="m", effectiveDateTime=None, valueQuantity=quantity(1, "fL"))
    panel = observation("58410-2", hasMember=[{"reference": "Observation/m"}])
    for resources in permutations([member, panel]):
        (found,) = read(*resources).labs
        assert (found.on, found.record.reference) == (date(2026, 6, 10), "Observation/m")


@pytest.mark.fault("D21")
def test_d21_contained_members_are_cited_as_their_panel() -> None:
    member = {
        "resourceType": "Observation",
        "id": "m",
        "code": concept(LOINC, "787-2"),
        "valueQuantity": quantity(112, "fL"),
    }
    panel = observation("58410-2", contained=[member], hasMember=[{"reference": "#m"}])
    (found,) = read(panel).labs
    assert (found.on, found.preliminary, found.record.reference) == (
        date(2026, 6, 10),
        False,
        "Observation/o1",
    )
    assert read({**panel, "status": "entered-in-error"}).labs == ()


@pytest.mark.fault("D38")
def test_d38_members_that_name_each_other() -> None:
    one = observation(
        "787-2",
        effectiveDateTime=None,
        valueQuantity=quantity(1, "fL"),
        hasMember=[{"reference": "Observation/o1"}],
    )
    assert len(read(one).labs) == 1


# --- findings -----------------------------------------------------------------------------------

PARAESTHESIA = "91019004"
ANSWERS = {
    "true": ({"valueBoolean": True}, Certainty.CONFIRMED),
    "V65 false": ({"valueBoolean": False}, None),
    "yes": ({"valueCodeableConcept": {"text": "Yes"}}, Certainty.CONFIRMED),
    "present": ({"valueString": "present"}, Certainty.CONFIRMED),
    "absent": ({"valueString": "Absent"}, None),
    "no, coded": ({"valueCodeableConcept": concept(SCT, "373067005")}, None),
    "denied": ({"valueString": "patient denies"}, None),
    "no value": ({}, Certainty.UNCONFIRMED),
    "in words": ({"valueString": "left hand"}, Certainty.UNCONFIRMED),
    "not asked": ({"dataAbsentReason": {"text": "not asked"}}, None),
    "a number": ({"valueInteger": 0}, None),
    "preliminary": ({"valueBoolean": True, "status": "preliminary"}, Certainty.UNCONFIRMED),
}


@pytest.mark.parametrize(
    ("system", "code", "certainty"),
    [
        (SCT, "373066001", Certainty.CONFIRMED),
        (SCT, "373067005", None),
        (LOINC, "LA9634-2", None),
        ("http://terminology.hl7.org/CodeSystem/v2-0136", "Y", Certainty.CONFIRMED),
        ("http://hl7.org/fhir/v2/0136", "N", None),
        # The same letters of another system say nothing: the sign is asked about.
        ("urn:local", "Y", Certainty.UNCONFIRMED),
        ("urn:local", "N", Certainty.UNCONFIRMED),
        (LOINC, "373067005", Certainty.UNCONFIRMED),
    ],
)
def test_an_answer_is_known_by_code_and_system(
    system: str, code: str, certainty: Certainty | None
) -> None:
    answer = {"valueCodeableConcept": concept(system, code)}
    found = read(observation(PARAESTHESIA, SCT, **answer)).findings
    assert [f.certainty for f in found] == ([certainty] if certainty else [])


@pytest.mark.parametrize(("element", "certainty"), ANSWERS.values(), ids=ANSWERS.keys())
def test_a_sign_that_was_looked_for(element: dict[str, Any], certainty: Certainty | None) -> None:
    found = read(observation(PARAESTHESIA, SCT, **element)).findings
    assert [f.certainty for f in found] == ([certainty] if certainty else [])
    assert all(f.concept is Concept.NEURO_FINDING and f.since == f.record.on for f in found)
    assert all(f.activity is Activity.NOT_STATED for f in found)


def test_a_finding_in_the_value() -> None:
    value = concept(SCT, PARAESTHESIA)
    (found,) = read(observation("8867-4", valueCodeableConcept=value)).findings
    assert (found.concept, found.certainty) == (Concept.NEURO_FINDING, Certainty.CONFIRMED)


@pytest.mark.fault("D24")
def test_d24_a_finding_of_a_relative_is_not_the_patients() -> None:
    element = observation("x", valueCodeableConcept=concept(SCT, PARAESTHESIA))
    element["code"]["text"] = "Family history of neurological disease"
    assert read(element).findings == ()


def test_of_one_question_the_newest_answer_counts() -> None:
    then = observation(PARAESTHESIA, SCT, valueBoolean=True, effectiveDateTime="2026-05-01")
    now = observation(PARAESTHESIA, SCT, id="o2", valueBoolean=False)
    for resources in permutations([then, now]):
        assert read(*resources).findings == ()
    assert len(read({**then, "effectiveDateTime": "2026-06-12"}, now).findings) == 1


PREGNANCY = {
    "by code": ({"valueCodeableConcept": concept(SCT, "77386006")}, 1),
    "by answer": ({"valueCodeableConcept": concept(LOINC, "LA15173-0")}, 1),
    "by text": ({"valueCodeableConcept": {"text": "Pregnant"}}, 1),
    "not": ({"valueCodeableConcept": {"text": "Not pregnant"}}, 0),
    "not, by answer": ({"valueCodeableConcept": concept(LOINC, "LA26683-5")}, 0),
    "not, as a finding": ({"valueCodeableConcept": concept(SCT, "60001007")}, 0),
    "yes": ({"valueCodeableConcept": concept(LOINC, "LA33-6")}, 1),
    "no": ({"valueCodeableConcept": concept(LOINC, "LA32-8")}, 0),
    "a code of another system": ({"valueCodeableConcept": concept("urn:x", "LA15173-0")}, 0),
    "yes of another system": ({"valueCodeableConcept": concept("urn:x", "LA33-6")}, 0),
    "unknown": ({"valueCodeableConcept": {"text": "Unknown"}}, 0),
    "none": ({}, 0),
}


@pytest.mark.parametrize(("element", "count"), PREGNANCY.values(), ids=PREGNANCY.keys())
def test_pregnancy_status(element: dict[str, Any], count: int) -> None:
    found = read(observation("82810-3", **element)).findings
    assert [(f.concept, f.recorded) for f in found] == [
        (Concept.PREGNANCY, date(2026, 6, 10))
    ] * count


def test_nitrous_oxide_use_as_an_observation() -> None:
    (found,) = read(observation("1268384001", SCT, valueBoolean=True)).findings
    assert found.concept is Concept.NITROUS_OXIDE_MISUSE


# --- lengths ------------------------------------------------------------------------------------


def length(value: dict[str, Any], **more: Any) -> Measurement:
    element = observation("ileum-resected-length", RECORD, valueQuantity=value, **more)
    (found,) = read(element).lengths
    return found


LENGTHS = {
    "25 cm": (quantity(25, "cm"), "25", "25 cm", Answer.YES),
    "20 cm": (quantity(20, "cm"), "20", "20 cm", Answer.NO),
    "20.0 cm": (quantity(Decimal("20.0"), "cm"), "20", "20 cm", Answer.NO),
    "201 mm": (quantity(201, "mm"), "20.1", "201 mm", Answer.YES),
    "200 mm": (quantity(200, "mm"), "20", "200 mm", Answer.NO),
    "8 in": (quantity(8, "[in_i]"), "20.32", "8 in", Answer.YES),
    "0.4 m": (quantity(Decimal("0.4"), "m"), "40", "0.4 m", Answer.YES),
    "> 20 cm": (quantity(20, "cm", comparator=">"), None, "more than 20 cm", Answer.YES),
    "> 15 cm": (quantity(15, "cm", comparator=">"), None, "more than 15 cm", Answer.UNKNOWN),
    ">= 20 cm": (quantity(20, "cm", comparator=">="), None, "at least 20 cm", Answer.UNKNOWN),
    ">= 21 cm": (quantity(21, "cm", comparator=">="), None, "at least 21 cm", Answer.YES),
    "< 20 cm": (quantity(20, "cm", comparator="<"), None, "less than 20 cm", Answer.NO),
    "<= 25 cm": (quantity(25, "cm", comparator="<="), None, "at most 25 cm", Answer.UNKNOWN),
}


@pytest.mark.parametrize(
    ("value", "exact", "reported", "over_20"), LENGTHS.values(), ids=LENGTHS.keys()
)
def test_a_length_is_an_interval_in_cm(
    value: dict[str, Any], exact: str | None, reported: str, over_20: Answer
) -> None:
    found = length(value)
    assert found.length is not None
    assert found.length.exact == (Decimal(exact) if exact else None)
    assert found.as_reported == reported
    assert found.length.longer_than(Decimal(20)) is over_20


NO_LENGTH = {
    "no unit": quantity(25, None),
    "unknown unit": quantity(25, "fathom"),
    "weight": quantity(25, "g"),
    "zero": quantity(0, "cm"),
    "negative": quantity(-25, "cm"),
    "25 m": quantity(25, "m"),
    "text": quantity("25", "cm"),
}


@pytest.mark.parametrize("value", NO_LENGTH.values(), ids=NO_LENGTH.keys())
def test_what_gives_no_length_is_an_unknown_length(value: dict[str, Any]) -> None:
    assert (length(value).length, length(value).as_reported) == (None, "")


def test_a_length_in_words_is_unknown() -> None:
    element = observation("ileum-resected-length", RECORD, valueString="25 cm")
    assert [m.length for m in read(element).lengths] == [None]


def test_a_text_alone_is_no_length_at_all() -> None:
    element = observation(valueQuantity=quantity(25, "cm"))
    element["code"] = {"text": "Length of ileum resected"}
    assert read(element).lengths == ()


SITES = {
    "ileum": ({"text": "ileum"}, True, False),
    "ileum, coded": (concept(SCT, "34516001"), True, False),
    "jejunum": ({"text": "Jejunum"}, True, True),
    "colon, coded": (concept(SCT, "71854001"), True, True),
    "small bowel": ({"text": "small bowel"}, False, False),
    "small bowel, coded": (concept(SCT, "30315005"), False, False),
    "the code of a colon in another system": (concept("urn:local", "71854001"), True, False),
}


@pytest.mark.parametrize(("site", "known", "elsewhere"), SITES.values(), ids=SITES.keys())
def test_where_it_was_measured(site: dict[str, Any], known: bool, elsewhere: bool) -> None:
    found = length(quantity(25, "cm"), bodySite=site)
    assert (found.length is not None, found.elsewhere) == (known, elsewhere)


def test_a_length_belongs_to_its_operation() -> None:
    parts = [{"reference": "https://ehr.example/fhir/Procedure/7/_history/2"}, {"reference": 5}]
    assert length(quantity(25, "cm"), partOf=parts).part_of == ("Procedure/7",)


def test_a_length_in_error_is_none() -> None:
    element = observation(
        "ileum-resected-length", RECORD, status="entered-in-error", valueQuantity=quantity(25, "cm")
    )
    assert read(element).lengths == ()


def test_the_newest_extent_of_disease_counts() -> None:
    def extent(day: str, cm: int) -> dict[str, Any]:
        return observation(
            "ileum-disease-extent",
            RECORD,
            id=day,
            effectiveDateTime=day,
            valueQuantity=quantity(cm, "cm"),
        )

    for resources in permutations([extent("2025-01-01", 45), extent("2026-01-01", 20)]):
        (found,) = read(*resources).extents
        assert (found.length, found.as_reported) == (Length(Decimal(20), Decimal(20)), "20 cm")
