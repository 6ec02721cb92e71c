"""Does a Condition say what it says, and no more?"""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from fhir_mappers.conditions import meanings_of, read_condition
from regimen.facts import Activity, Certainty, Concept, Domain, Finding

AS_OF = date(2026, 6, 15)
SYSTEMS = {
    "sct": "http://snomed.info/sct",
    "cm": "http://hl7.org/fhir/sid/icd-10-cm",
    "who": "http://hl7.org/fhir/sid/icd-10",
}


def concept(*codings: str, text: str | None = None) -> dict[str, Any]:
    """`concept("cm:D51.0", text="…")`."""
    parts = [coding.partition(":") for coding in codings]
    coding = [{"system": SYSTEMS.get(name, name), "code": code} for name, _, code in parts]
    return {"coding": coding} | ({"text": text} if text else {})


def condition(code: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"resourceType": "Condition", "id": "c1", "code": code, **more}


def read(code: dict[str, Any], **more: Any) -> tuple[Finding, ...]:
    return read_condition(condition(code, **more), AS_OF)


def concepts(code: dict[str, Any]) -> set[Concept]:
    return {finding.concept for finding in read(code)}


CASES: dict[str, tuple[dict[str, Any], set[Concept]]] = {
    "B12 deficiency": (concept("sct:190634004"), {Concept.B12_DEFICIENCY}),
    "D23 dotted": (concept("cm:D51.9"), {Concept.B12_DEFICIENCY}),
    "D23 undotted": (concept("cm:D519"), {Concept.B12_DEFICIENCY}),
    "pernicious anaemia": (concept("sct:84027009"), {Concept.PERNICIOUS_ANAEMIA}),
    "pernicious anaemia, with its parent": (
        concept("cm:D51.0", "sct:190634004"),
        {Concept.PERNICIOUS_ANAEMIA},
    ),
    "dietary": (concept("cm:D51.3"), {Concept.DIETARY_B12_DEFICIENCY}),
    "malabsorption": (
        concept("cm:D51.1"),
        {Concept.B12_DEFICIENCY, Concept.MALABSORPTION_OTHER},
    ),
    "E53.8 alone": (concept("cm:E53.8"), {Concept.B_VITAMIN_DEFICIENCY}),
    "E53.8 that says B12": (
        concept("cm:E53.8", text="Vitamin B12 deficiency"),
        {Concept.B12_DEFICIENCY},
    ),
    "E53.8 without anaemia": (
        concept("cm:E53.8", text="B-12 deficiency without anemia"),
        {Concept.B12_DEFICIENCY},
    ),
    "E53.8 suspected B12": (
        concept("cm:E53.8", text="Suspected vitamin B12 deficiency"),
        {Concept.B_VITAMIN_DEFICIENCY},
    ),
    "E53.8 that says folate": (concept("cm:E53.8", text="Folate deficiency"), set()),
    "E53.8 that says both": (
        concept("cm:E53.8", text="Folate and B12 deficiency"),
        {Concept.B12_DEFICIENCY},
    ),
    "E53.8 with a code for B12": (
        concept("cm:E53.8", "sct:190634004"),
        {Concept.B12_DEFICIENCY},
    ),
    "level below range": (
        concept("sct:165645009", text="Serum vitamin B12 below reference range"),
        {Concept.B_VITAMIN_DEFICIENCY},
    ),
    "macrocytic anaemia": (concept("sct:83414005"), {Concept.ANAEMIA_CAUSE_OPEN}),
    "folate deficiency": (concept("cm:D52.0"), set()),
    "history of B12 deficiency": (concept("sct:161457000"), set()),
    "transcobalamin II": (concept("cm:D51.2"), {Concept.INBORN_COBALAMIN_ERROR}),
    "spinal cord": (concept("cm:G32.0"), {Concept.NEURO_SPECIFIC}),
    "paraesthesia": (concept("cm:R20.2"), {Concept.NEURO_FINDING}),
    "diabetic neuropathy": (concept("cm:E11.42"), {Concept.NEURO_OTHER_CAUSE}),
    "an explained finding": (
        concept("cm:E11.42", "cm:G62.9"),
        {Concept.NEURO_OTHER_CAUSE},
    ),
    "ileal Crohn's": (concept("cm:K50.00"), {Concept.CROHNS}),
    "colonic Crohn's": (concept("cm:K50.10"), {Concept.CROHNS}),
    "history of Crohn's": (concept("sct:112561000119108"), set()),
    "ileitis": (concept("sct:52457000"), set()),
    "IBD": (concept("sct:24526004"), set()),
    "ulcerative colitis": (concept("cm:K51.90"), set()),
    "coeliac": (concept("cm:K90.0"), {Concept.COELIAC}),
    "blind loop": (concept("cm:K90.2"), {Concept.MALABSORPTION_OTHER}),
    "autoimmune gastritis": (concept("sct:42740008"), {Concept.AUTOIMMUNE_GASTRITIS}),
    "gastritis, autoimmune by text": (
        concept("cm:K29.40", text="Autoimmune atrophic gastritis"),
        {Concept.AUTOIMMUNE_GASTRITIS},
    ),
    "atrophic gastritis": (concept("cm:K29.40"), {Concept.MALABSORPTION_OTHER}),
    "cancer": (concept("cm:C18.9"), {Concept.CANCER}),
    "skin cancer": (concept("cm:C44.91"), set()),
    "D24 cancer history": (concept("cm:Z85.038"), set()),
    "in situ": (concept("cm:D05.10"), set()),
    "Leber": (concept("sct:58610003"), {Concept.LEBER}),
    "hereditary optic atrophy": (concept("cm:H47.22"), {Concept.LEBER}),
    "optic atrophy (WHO)": (concept("who:H47.2"), {Concept.LEBER_POSSIBLE}),
    "dominant optic atrophy": (concept("sct:2065009"), {Concept.LEBER_POSSIBLE}),
    "Leber amaurosis": (concept("sct:193413001"), set()),
    "pregnancy": (concept("sct:77386006"), {Concept.PREGNANCY}),
    "ectopic": (concept("cm:O00.90"), set()),
    "bariatric status": (concept("cm:Z98.84"), {Concept.BARIATRIC_UNSPECIFIED}),
    "short bowel": (concept("sct:26629001"), {Concept.ILEAL_LOSS_POSSIBLE}),
    "absence of digestive organs": (concept("cm:Z90.49"), set()),
    "jejunoileal bypass": (concept("sct:59657005"), {Concept.BARIATRIC_ILEAL}),
    "bypass of ileum": (concept("sct:173958005"), {Concept.ILEAL_LOSS_POSSIBLE}),
    "reversed bypass": (concept("sct:173958005", "sct:61600000"), set()),
    "nitrous oxide user": (concept("sct:1268384001"), {Concept.NITROUS_OXIDE_MISUSE}),
    "glossitis": (concept("cm:K14.0"), {Concept.SYMPTOM}),
    "kidney disease": (concept("cm:N18.3"), {Concept.RENAL_IMPAIRMENT}),
    "dialysis": (
        concept("cm:Z99.2"),
        {Concept.RENAL_IMPAIRMENT, Concept.FOLATE_EXCEPTION},
    ),
    "cyanide": (concept("sct:66207005"), {Concept.CYANIDE}),
    "text: haemolysis": (concept(text="Hemolytic anemia"), {Concept.FOLATE_EXCEPTION}),
    "text: sickle cell trait": (concept(text="Sickle cell trait"), set()),
    "text: end of life": (concept(text="Palliative care"), {Concept.END_OF_LIFE}),
    "text: premature": (concept(text="Premature infant"), {Concept.PREMATURE}),
    "text: denied": (concept(text="No haemolytic anaemia"), set()),
    "text: family": (concept(text="Family history of sickle cell disease"), set()),
    "text: doubted": (concept(text="Sickle cell disease?"), set()),
    "D23 text asserts nothing": (concept(text="Pernicious anaemia, B12 deficiency"), set()),
    "D23 unknown system": (concept("urn:local:D51.0"), set()),
    "an unrelated code": (concept("cm:I10"), set()),
}


@pytest.mark.fault("D23", "D24")
@pytest.mark.parametrize(("code", "expected"), CASES.values(), ids=CASES.keys())
def test_what_a_code_means(code: dict[str, Any], expected: set[Concept]) -> None:
    assert concepts(code) == expected


DEFICIENT = concept("sct:190634004")
VERIFICATION = {
    "absent": (None, Certainty.CONFIRMED),
    "confirmed": ("confirmed", Certainty.CONFIRMED),
    "provisional": ("provisional", Certainty.UNCONFIRMED),
    "differential": ("differential", Certainty.UNCONFIRMED),
    "unconfirmed": ("unconfirmed", Certainty.UNCONFIRMED),
    "refuted": ("refuted", None),
    "entered in error": ("entered-in-error", None),
}


@pytest.mark.fault("D22")
@pytest.mark.parametrize(("code", "certainty"), VERIFICATION.values(), ids=VERIFICATION.keys())
@pytest.mark.parametrize("release", ["R4", "STU3"])
def test_d22_verification(code: str | None, certainty: Certainty | None, release: str) -> None:
    status = code if release == "STU3" or code is None else {"coding": [{"code": code}]}
    found = read(DEFICIENT, verificationStatus=status)
    assert [finding.certainty for finding in found] == ([certainty] if certainty else [])


CLINICAL = {
    "active": Activity.ACTIVE,
    "recurrence": Activity.ACTIVE,
    "relapse": Activity.ACTIVE,
    "remission": Activity.REMISSION,
    "inactive": Activity.ENDED,
    "resolved": Activity.ENDED,
    "of our own": Activity.NOT_STATED,
}


@pytest.mark.fault("D22")
@pytest.mark.parametrize(("code", "activity"), CLINICAL.items(), ids=CLINICAL.keys())
def test_d22_activity(code: str, activity: Activity) -> None:
    found = read(DEFICIENT, clinicalStatus={"coding": [{"code": code}]})
    assert [finding.activity for finding in found] == [activity]


ABATED = {
    "nothing": ({}, Activity.NOT_STATED),
    "past": ({"abatementDateTime": "2025"}, Activity.ENDED),
    "future": ({"abatementDateTime": "2027"}, Activity.NOT_STATED),
    "period": ({"abatementPeriod": {"end": "2025-01-01"}}, Activity.ENDED),
    "yes": ({"abatementBoolean": True}, Activity.ENDED),
    "text": ({"abatementString": "last year"}, Activity.NOT_STATED),
}


@pytest.mark.fault("D22")
@pytest.mark.parametrize(("elements", "activity"), ABATED.values(), ids=ABATED.keys())
def test_d22_without_a_status_the_abatement_decides(
    elements: dict[str, Any], activity: Activity
) -> None:
    assert read(DEFICIENT, **elements)[0].activity is activity


DATES = {
    "onset": ({"onsetDateTime": "2026-05-01"}, date(2026, 5, 1), None),
    "period": ({"onsetPeriod": {"start": "2026-05"}}, date(2026, 5, 1), None),
    "recorded": ({"recordedDate": "2026-05-02"}, None, date(2026, 5, 2)),
    "STU3": ({"assertedDate": "2026-05-02"}, None, date(2026, 5, 2)),
    "future": ({"onsetDateTime": "2026-06-16", "recordedDate": "2027"}, None, None),
    "J15 impossible": ({"onsetDateTime": "2024-02-30"}, None, None),
    "age": ({"onsetAge": {"value": 40, "unit": "a"}}, None, None),
    "text": ({"onsetString": "last May"}, None, None),
}


@pytest.mark.fault("J15", "D22")
@pytest.mark.parametrize(("elements", "onset", "recorded"), DATES.values(), ids=DATES.keys())
def test_d22_dates(elements: dict[str, Any], onset: date | None, recorded: date | None) -> None:
    (found,) = read(DEFICIENT, **elements)
    assert (found.onset, found.recorded) == (onset, recorded)
    assert found.record.on == (onset or recorded)


def test_the_record_is_named_in_our_own_words() -> None:
    (found,) = read(concept("sct:84027009", text="PA, see letter of Dr. Meyer"))
    assert found.record.reference == "Condition/c1"
    assert found.record.label == "Pernicious anemia"


def test_neurology_knows_its_domains() -> None:
    (paraesthesia,) = read(concept("cm:R20.2"))
    assert paraesthesia.domains == {Domain.SENSORY}
    assert not paraesthesia.needs_cause
    (manifestation,) = read(concept("cm:G63"))
    assert manifestation.needs_cause


def test_a_cause_that_is_no_neurological_finding_does_not_stand_alone() -> None:
    assert read(concept("cm:E11.42"))[0].stands_alone
    assert not read(concept("cm:B20"))[0].stands_alone


HOSTILE = {
    "number": 5,
    "text": "x",
    "null": None,
    "coding is text": {"coding": "x"},
    "coding holds nulls": {"coding": [None, 5, {"code": 5}, {"system": [], "code": {}}]},
    "text is an object": {"text": {}},
}


@pytest.mark.fault("J13")
@pytest.mark.parametrize("code", HOSTILE.values(), ids=HOSTILE.keys())
def test_j13_an_element_of_wrong_type_is_not_there(code: Any) -> None:
    resource = condition(code, verificationStatus=5, clinicalStatus=[], onsetDateTime={})
    assert read_condition(resource, AS_OF) == ()


@pytest.mark.fault("D24")
@pytest.mark.parametrize(
    ("code", "text", "certain"),
    [
        ("sct:84027009", "Pernicious anaemia", True),
        ("sct:84027009", "Family history of pernicious anaemia", False),
        ("cm:D51.0", "Screening for pernicious anaemia", False),
        ("cm:R20.2", "?paraesthesia", False),
        ("cm:G32.0", "Rule out subacute combined degeneration", False),
        ("cm:C18.9", "History of colon cancer", False),
        ("cm:C18.9", "Colon cancer, in remission", False),
        ("cm:C18.9", "Colon cancer, family informed", True),
        ("sct:84027009", "History of pernicious anaemia", True),  # it does not go away
        # No text takes away what forbids a medicine, or what makes a result uncertain.
        ("sct:58610003", "Family history of Leber optic neuropathy", True),
        ("cm:O09.90", "Supervision of suspected high risk pregnancy", True),
    ],
)
def test_d24_a_code_whose_text_doubts_it_is_not_sure(code: str, text: str, certain: bool) -> None:
    found = read(concept(code, text=text))
    assert found
    assert {f.certainty is Certainty.CONFIRMED for f in found} == {certain}


def test_a_display_belongs_to_its_code_system_and_takes_nothing_back() -> None:
    code = concept("cm:R20.2")
    code["coding"][0]["display"] = "Suspected paresthesia of skin"
    (found,) = read(code)
    assert found.certainty is Certainty.CONFIRMED


@pytest.mark.fault("J16")
def test_j16_long_texts_take_no_time() -> None:
    assert read(concept("cm:I10", text="no history of " * 10_000 + "sickle cell")) == ()


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("Leber hereditary optic neuropathy", True),
        ("Leber's optic atrophy", True),
        ("LHON, m.11778G>A", True),
        ("Leber's congenital amaurosis", False),
        ("Leber idiopathic stellate neuroretinitis", False),
        ("no evidence of Leber optic neuropathy", False),
        ("mother has Leber hereditary optic neuropathy", False),
        ("optic atrophy", False),
    ],
)
def test_leber_by_text_only_is_asked_about(text, asked):
    """7.19: a text may raise the question; it never asserts the disease."""
    concepts = {m.concept for m in meanings_of({"text": text})}
    assert concepts == ({Concept.LEBER_POSSIBLE} if asked else set())
