"""Does a coding end up in the right sets, and in none of the wrong ones?"""

from __future__ import annotations

import timeit
from collections.abc import Iterable
from dataclasses import dataclass, fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_mappers.terminology import (
    SYSTEMS,
    Code,
    Role,
    canonical_system,
    normalise_code,
    settle,
    value_sets,
)

CM, WHO, GM = SYSTEMS["icd-10-cm"], SYSTEMS["icd-10"], SYSTEMS["icd-10-gm"]
SNOMED, DMD, LOINC = SYSTEMS["snomed"], SYSTEMS["dmd"], SYSTEMS["loinc"]
ICD9, ICD9_EITHER = SYSTEMS["icd-9-cm"], SYSTEMS["icd-9-cm-procedures"]
OPCS, PCS, RXNORM, ATC = (SYSTEMS[name] for name in ("opcs-4", "icd-10-pcs", "rxnorm", "atc"))


def sets_of(system: object, code: object) -> list[str]:
    return [found.value_set for found in value_sets().matches(system, code)]


def concept(*codings: str) -> dict[str, object]:
    """`"icd-10-cm D51.0"` and so on, as one CodeableConcept."""
    pairs = (coding.split() for coding in codings)
    return {"coding": [{"system": SYSTEMS[system], "code": code} for system, code in pairs]}


def settled(*codings: str) -> tuple[Code, ...]:
    return settle(value_sets().matches_concept(concept(*codings)))


def facts(codes: Iterable[Code], role: Role) -> set[str]:
    return {code.fact for code in codes if code.role is role}


# --- systems --------------------------------------------------------------------------------------

SPELLINGS = {
    SNOMED: [
        "https://snomed.info/sct",
        "http://snomed.info/sct/",
        "urn:oid:2.16.840.1.113883.6.96",
    ],
    LOINC: ["https://loinc.org", "http://loinc.org/", "urn:oid:2.16.840.1.113883.6.1"],
    RXNORM: ["urn:oid:2.16.840.1.113883.6.88"],
    CM: ["http://terminology.hl7.org/CodeSystem/icd10CM", "urn:oid:2.16.840.1.113883.6.90"],
    WHO: ["http://hl7.org/fhir/sid/icd-10-uk", "urn:oid:2.16.840.1.113883.6.3"],
    GM: ["http://fhir.de/CodeSystem/dimdi/icd-10-gm"],
    ICD9: ["urn:oid:2.16.840.1.113883.6.103"],
    ICD9_EITHER: ["urn:oid:2.16.840.1.113883.6.2"],
    PCS: ["urn:oid:2.16.840.1.113883.6.4"],
    SYSTEMS["cpt"]: ["urn:oid:2.16.840.1.113883.6.12"],
    SYSTEMS["hcpcs"]: [
        "https://www.cms.gov/Medicare/Coding/HCPCSReleaseCodeSets",
        "urn:oid:2.16.840.1.113883.6.285",
    ],
    SYSTEMS["ndc"]: [],
    ATC: ["http://fhir.de/CodeSystem/bfarm/atc"],
    DMD: ["https://dmd.nhs.uk/"],
    OPCS: [
        "https://fhir.nhs.uk/Id/opcs-4",
        "http://fhir.hl7.org.uk/CodeSystem/OPCS-4",
        "https://fhir.hl7.org.uk/CodeSystem/OPCS-4",
        "http://fhir.hl7.org.uk/R4/CodeSystem/OPCS-4",
    ],
    SYSTEMS["ucum"]: [],
    SYSTEMS["unii"]: [],
    SYSTEMS["v3-route"]: [
        "http://hl7.org/fhir/v3/RouteOfAdministration",
        "urn:oid:2.16.840.1.113883.5.112",
    ],
    SYSTEMS["v2-yes-no"]: ["http://hl7.org/fhir/v2/0136", "urn:oid:2.16.840.1.113883.12.136"],
    SYSTEMS["record"]: [],
}


def test_every_system_has_its_spellings_listed_here():
    assert set(SPELLINGS) == set(SYSTEMS.values())


@pytest.mark.parametrize(
    ("spelling", "canonical"),
    [(each, uri) for uri, others in SPELLINGS.items() for each in (uri, f" {uri} ", *others)],
)
def test_every_spelling_of_a_system_is_read(spelling: str, canonical: str):
    assert canonical_system(spelling) == canonical


@pytest.mark.parametrize("system", ["urn:oid:2.16.840.1.113883.6.96", "https://snomed.info/sct/"])
def test_a_coding_is_found_under_another_spelling_of_its_system(system: str):
    assert sets_of(system, "84027009") == ["b12-deficiency-confirmed"]


@pytest.mark.parametrize("system", ["", "urn:oid:1.2.3", "http://example.org/local", "D51.0"])
def test_an_unknown_system_matches_nothing_whatever_the_code_looks_like(system: str):
    assert canonical_system(system) is None
    assert sets_of(system, "D51.0") == []
    assert sets_of(system, "84027009") == []


@pytest.mark.parametrize("system", ["cpt", "ndc", "icd-10-gm"])
def test_systems_we_know_but_ship_no_codes_of(system: str):
    assert not any(
        code.system == SYSTEMS[system]
        for name in value_sets().names
        for code in value_sets().in_set(name)
    )
    assert sets_of(SYSTEMS[system], "D51.0") == []


# --- codes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "code", ["D51.0", "D510", "d51.0", " D51.0 ", "D51.0†", "D51.0*", "D51.0+", "d510!"]
)
@pytest.mark.parametrize("system", [CM, WHO])
def test_icd_10_is_compared_without_dot_case_or_dagger(system: str, code: str):
    assert normalise_code(system, code) == "D510"
    (found,) = value_sets().matches(system, code)
    assert (found.value_set, found.code) == ("b12-deficiency-confirmed", "D51.0")


def test_opcs_is_compared_without_dot():
    assert sets_of(OPCS, "G691") == sets_of(OPCS, "G69.1") == ["ileal-resection-definite"]


def test_other_codes_are_compared_as_they_are():
    assert normalise_code(PCS, " 0DTB0ZZ ") == "0DTB0ZZ"
    assert normalise_code(PCS, "0dtb0zz") == "0dtb0zz"
    assert normalise_code(LOINC, "2132-9") == "2132-9"
    assert normalise_code("unknown", " d51.0 ") == "d51.0"


def test_a_number_is_not_a_code():
    assert normalise_code(SNOMED, 84027009) == ""
    assert sets_of(SNOMED, 84027009) == []


def test_icd_9_procedures_are_not_taken_for_diagnoses_nor_the_other_way_round():
    assert sets_of(ICD9, "555.0") == ["crohns-ileal-or-small-bowel", "crohns-disease-any"]
    assert sets_of(ICD9, "5550") == sets_of(ICD9, "555.0")
    assert sets_of(ICD9, "55.51") == []  # nephrectomy
    assert sets_of(ICD9_EITHER, "55.51") == []
    assert sets_of(ICD9_EITHER, "555.0") == sets_of(ICD9, "555.0")
    assert sets_of(ICD9_EITHER, "43.6") == ["gastrectomy-partial"]
    assert sets_of(ICD9_EITHER, "436") == []  # a stroke, or 43.6 without its dot: not guessed
    assert sets_of(ICD9_EITHER, "5551") == []
    assert sets_of(ICD9, "43.6") == []


@given(st.none() | st.integers() | st.floats() | st.text() | st.lists(st.text()) | st.binary())
def test_anything_may_be_asked_for(odd: object):
    assert sets_of(odd, "D51.0") == []
    assert isinstance(value_sets().matches(CM, odd), tuple)
    assert value_sets().matches_concept(odd) == ()
    assert value_sets().matches_concept({"coding": odd}) == ()
    assert value_sets().matches_concept({"coding": [odd, {"system": odd, "code": odd}]}) == ()
    assert isinstance(normalise_code(odd, odd), str)


# --- matching -------------------------------------------------------------------------------------


def test_the_longest_match_of_one_set_is_the_one_given():
    (unlisted,) = value_sets().matches(WHO, "D51.8")
    (listed,) = value_sets().matches(WHO, "D51.0")
    assert unlisted.code == "D51"
    assert listed.code == "D51.0"
    assert listed.attributes["cause"] == "pernicious"


def test_the_most_specific_match_comes_first():
    assert sets_of(CM, "K50.00") == ["crohns-ileal-or-small-bowel", "crohns-disease-any"]
    assert sets_of(ATC, "B03BA01") == ["drug-cyanocobalamin", "drug-b12-atc-group"]


def test_a_prefix_takes_in_every_longer_code_and_no_shorter_one():
    assert sets_of(PCS, "0DTB4ZZ") == ["ileal-resection-definite"]
    assert sets_of(PCS, "0DT") == []
    assert sets_of(CM, "D5") == []


@pytest.mark.parametrize("code", ["C00", "C00.1", "C18.9", "C96.9", "C4A.0", "C7A.1", "C7B"])
def test_cancer_is_a_range_of_categories(code: str):
    assert facts(settled(f"icd-10-cm {code}"), Role.ESTABLISHES) == {"cancer"}


@pytest.mark.parametrize(
    "code", ["C44.91", "D05.1", "D12.6", "D36", "D37", "D49.9", "Z85.3", "Z80"]
)
def test_what_is_not_active_cancer(code: str):
    found = settled(f"icd-10-cm {code}")
    assert facts(found, Role.ESTABLISHES) == set()
    assert facts(found, Role.EXCLUDES) == {"cancer"}


def test_c97_is_cancer_in_who_icd_10_and_nothing_in_icd_10_cm():
    assert sets_of(WHO, "C97") == ["malignancy-include"]
    assert sets_of(CM, "C97") == []


def test_a_dmd_id_is_found_as_snomed_ct_and_the_other_way_round():
    assert sets_of(SNOMED, "39111511000001100") == ["drug-hydroxocobalamin-injectable-1mg"]
    assert sets_of(DMD, "372567009") == ["drug-metformin"]


def test_an_id_listed_under_both_is_found_once():
    (found,) = value_sets().matches(SNOMED, "109081006")
    assert found.system == SNOMED
    (found,) = value_sets().matches(DMD, "109081006")
    assert found.system == DMD


def test_all_codings_of_a_concept_count_and_a_line_counts_once():
    twice = concept("snomed 84027009", "icd-10-cm D51.0", "snomed 84027009")
    assert [code.code for code in value_sets().matches_concept(twice)] == ["84027009", "D51.0"]


def test_a_coding_that_is_an_object_is_read_as_one():
    one = {"coding": {"system": CM, "code": "D51.0"}}
    assert [code.code for code in value_sets().matches_concept(one)] == ["D51.0"]


def test_the_projects_own_record_codes_are_known():
    for code in ("ileum-resected-length", "ileum-disease-extent"):
        assert sets_of("urn:oid:2.25.147698014147394229799976552687274634453", code) == ["record"]


def test_pregnancy_status_is_read_from_its_observation():
    assert sets_of(LOINC, "82810-3") == ["pregnancy-status-observation"]


def test_the_project_knows_a_code_by_these_fields():
    assert [each.name for each in fields(Code)] == [
        *("value_set", "role", "fact", "system", "code", "display", "title", "attributes")
    ]


@pytest.mark.parametrize(
    ("coding", "label"),
    [
        ("snomed 84027009", "Pernicious anemia"),
        ("snomed 49472006", "Megaloblastic anemia due to vitamin B12 deficiency"),
        ("icd-10-cm D51.0", "Vitamin B12 deficiency anemia due to intrinsic factor deficiency"),
        ("icd-10 D51.0", "Vitamin B12 deficiency"),  # no description may be shipped
        ("opcs-4 G69.1", "Resection of ileum"),
        ("loinc 72160-5", "Holo-transcobalamin II [Moles/volume] in Serum"),
        ("rxnorm 309594", "vitamin B12 1 MG/ML Injectable Solution"),
    ],
)
def test_label_is_what_may_be_printed(coding: str, label: str):
    (found,) = value_sets().matches_concept(concept(coding))
    assert found.label == label


def test_what_is_handed_out_cannot_be_changed():
    (found,) = value_sets().matches(SNOMED, "60576007")
    with pytest.raises(TypeError):
        found.attributes["domains"] = ()  # type: ignore[index]
    assert found.attributes["domains"] == ("sensory", "motor", "gait")


@pytest.mark.parametrize(
    ("system", "code"), [(SNOMED, "123456789"), (CM, "I10.9"), (LOINC, "8480-6"), ("urn:x", "1")]
)
def test_an_unknown_code_costs_next_to_nothing(system: str, code: str):
    sets = value_sets()
    each = min(timeit.repeat(lambda: sets.matches(system, code), number=2000, repeat=5)) / 2000
    assert each < 20e-6  # about 0.3 microseconds; the limit is for a busy machine


# --- what may be written into an order ------------------------------------------------------------


def test_emit_gives_rxnorm_first_and_no_brand():
    codes = value_sets().emit("drug-hydroxocobalamin-injectable-1mg")
    assert [(code.system, code.code) for code in codes] == [
        (RXNORM, "317106"),
        (DMD, "39111511000001100"),
    ]
    assert value_sets().emit("drug-cyanocobalamin-injectable")[0].code == "309594"


def test_emit_gives_loinc_first():
    assert [code.code for code in value_sets().emit("sr-serum-b12")] == [
        *("2132-9", "14685-2", "14598005")
    ]
    assert value_sets().emit("sr-referral-neurology")[0].code == "183521007"


def test_what_is_inactive_or_a_prefix_is_never_emitted():
    assert "409258004" not in {code.code for code in value_sets().emit("drug-hydroxocobalamin")}
    assert value_sets().emit("drug-b12-atc-group") == ()


def test_a_set_that_does_not_exist_is_an_error():
    with pytest.raises(KeyError):
        value_sets().emit("sr-b12")
    with pytest.raises(KeyError):
        value_sets().in_set("sr-b12")


def test_they_are_read_once():
    assert value_sets() is value_sets()


# --- precedence within one concept ----------------------------------------------------------------


def test_excludes_beats_establishes_and_ask_of_the_same_fact_only():
    found = settled("icd-10-cm D51.0", "icd-10-cm E53.8", "snomed 161457000", "icd-10-cm C18.9")
    assert facts(found, Role.EXCLUDES) == {"b12-deficiency"}
    assert facts(found, Role.ESTABLISHES) == {"cancer"}
    assert facts(found, Role.ASK) == set()


def test_establishes_beats_ask():
    assert [code.code for code in settled("icd-10-cm E53.8", "snomed 64117007")] == ["64117007"]
    total = settled("icd-10-cm Z90.3", "snomed 26452005")
    assert {code.value_set for code in total} == {"gastrectomy-total"}


def test_what_only_asks_stays_when_nothing_better_is_said():
    assert [code.role for code in settled("icd-10-cm E53.8")] == [Role.ASK]


def test_an_alternative_cause_in_the_same_concept_replaces_the_bare_finding():
    found = settled("icd-10-cm G62.9", "icd-10-cm E11.42")
    assert [code.value_set for code in found] == ["neuro-alternative-cause"]


def test_b12_specific_neurology_is_not_undone_by_an_alternative_cause():
    found = settled("icd-10-cm G32.0", "icd-10-cm E83.01")
    assert facts(found, Role.ESTABLISHES) == {"neuro-specific"}


def test_an_inborn_error_stays_beside_the_deficiency_it_causes():
    found = settled("icd-10-cm D51.2")
    assert facts(found, Role.ESTABLISHES) == {"b12-deficiency", "inborn-cobalamin-error"}


def test_settle_takes_an_iterator_and_keeps_order():
    codes = value_sets().matches_concept(concept("snomed 84027009", "icd-10-cm D51.0"))
    assert settle(iter(codes)) == codes


# --- confusions that have hurt, or would ----------------------------------------------------------


@dataclass(frozen=True)
class Confusion:
    """Each concept of `does` establishes the fact; none of `does_not` may."""

    number: str
    fact: str
    does: tuple[str, ...]
    does_not: tuple[str, ...]


CONFUSIONS = [
    # E53.8 takes in folate and biotin
    Confusion(
        "7.1",
        "b12-deficiency",
        ("icd-10-cm E53.8 & snomed 190634004",),
        ("icd-10-cm E53.8", "icd-10 E53.8", "icd-9-cm 266.2"),
    ),
    # one digit
    Confusion("7.2", "b12-deficiency", ("icd-10-cm D51.0",), ("icd-10-cm D52.0", "icd-10 D52.9")),
    Confusion(
        "7.3",
        "b12-deficiency",
        ("snomed 49472006",),
        ("icd-10-cm D53.1", "snomed 53165003", "snomed 83414005"),
    ),
    Confusion("7.4", "neuro-specific", ("icd-10-cm G32.0", "icd-10 G32.0*"), ("icd-10-cm G99.2",)),
    Confusion("7.5", "neuro-specific", ("snomed 699258007",), ("icd-10-cm G63", "icd-10 G63.4")),
    # small bowel Crohn's says nothing about a length or an operation
    Confusion("7.6", "crohns-ileal", ("icd-10-cm K50.00",), ("icd-10-cm K50.10",)),
    Confusion("7.6 resection", "ileal-resection", ("snomed 307193005",), ("icd-10-cm K50.00",)),
    Confusion("7.7", "crohns-ileal", ("icd-10-cm K50.80",), ("icd-10 K50.8",)),
    Confusion("7.8", "crohns-ileal", ("snomed 38106008",), ("icd-10-cm K50.90", "snomed 34000006")),
    Confusion(
        "7.8 disease",
        "crohns",
        ("snomed 34000006",),
        ("snomed 24526004", "snomed 52457000", "icd-10-cm K52.9", "snomed 71913005"),
    ),
    Confusion(
        "7.9",
        "ileal-resection",
        ("icd-10-pcs 0DTB0ZZ",),
        ("icd-10-cm Z90.49", "icd-10 Z90.4", "icd-10-cm Z98.0", "icd-10-cm Z93.2"),
    ),
    Confusion(
        "7.10",
        "ileal-resection",
        ("icd-10-pcs 0DBB0ZZ",),
        ("icd-10-pcs 0DBB8ZX", "icd-10-pcs 0DBB7ZZ", "snomed 359571009", "opcs-4 H07.1"),
    ),
    Confusion(
        "7.11",
        "ileal-bypass",
        ("icd-10-pcs 0D1B0ZB", "opcs-4 G71.2"),
        ("icd-10-pcs 0D1B0Z4", "opcs-4 G71.7", "snomed 61600000", "snomed 447892004"),
    ),
    Confusion("7.12", "lab-mma", ("loinc 13964-2",), ("loinc 2170-9",)),
    Confusion("7.12 antibodies", "lab-intrinsic-factor-ab", ("loinc 31444-3",), ("loinc 5140-4",)),
    Confusion("7.13", "lab-b12-total", ("loinc 2132-9",), ("loinc 2171-7", "loinc 15052-4")),
    Confusion("7.14", "lab-b12-total", ("loinc 14685-2",), ("loinc 72160-5",)),
    Confusion("7.14 active", "lab-holotranscobalamin", ("loinc 72160-5",), ("loinc 14685-2",)),
    Confusion("7.16", "lab-homocysteine", ("loinc 13965-9",), ("loinc 26582-7",)),
    Confusion("7.17", "bariatric", ("snomed 426738005",), ("icd-10-cm Z98.84", "snomed 430715008")),
    Confusion("7.18", "bariatric", ("icd-10-pcs 0DB64Z3",), ("icd-10-cm K95.01",)),
    Confusion("7.18 stomach", "gastrectomy", ("snomed 26452005",), ("icd-10-cm Z90.3",)),
    Confusion(
        "7.19",
        "leber",
        ("snomed 58610003", "snomed 719430008", "icd-10-cm H47.22"),
        (
            *("snomed 193413001", "snomed 866099002", "snomed 2065009", "snomed 717336005"),
            *("icd-10 H47.2", "icd-10-cm H46.2", "snomed 420920007"),
        ),
    ),
    Confusion("7.20", "cobalamin", ("snomed 409258004", "snomed 1217427007"), ("snomed 187006",)),
    Confusion("7.21", "cobalamin", ("rxnorm 11248",), ("rxnorm 4511",)),
    Confusion(
        "7.22",
        "cobalamin",
        ("rxnorm 317106", "atc B03BA03"),
        ("rxnorm 700496 & rxnorm 5514", "atc V03AB33", "rxnorm 687707"),
    ),
    Confusion(
        "7.24",
        "cobalamin",
        ("snomed 419382002",),
        ("snomed 187006", "snomed 5692007", "atc V09XX01"),
    ),
    Confusion("7.25", "b12-deficiency", ("snomed 237934001",), ("snomed 237933007",)),
    Confusion(
        "7.26",
        "inborn-cobalamin-error",
        ("snomed 74653006", "icd-10-cm E71.120", "icd-10-cm E72.11", "icd-10 D51.2"),
        ("snomed 190634004", "icd-10-cm D51.0"),
    ),
    Confusion("7.27", "b12-deficiency", ("snomed 84027009",), ("snomed 161457000",)),
    Confusion("7.27 cancer", "cancer", ("icd-10-cm C50.9",), ("snomed 266987004", "icd-10 Z85.3")),
    Confusion("7.27 Crohn's", "crohns", ("snomed 426549001",), ("snomed 112561000119108",)),
    Confusion("7.27 family", "bariatric", ("snomed 427074001",), ("snomed 433442009",)),
    Confusion(
        "7.28",
        "cobalamin-allergy",
        ("snomed 293397002", "rxnorm 5514"),
        ("icd-10-cm Z88.8", "icd-10-cm L23.0", "snomed 300915004", "snomed 421261000000104"),
    ),
    Confusion("7.29", "b12-deficiency", ("snomed 64117007",), ("snomed 165645009",)),
    Confusion(
        "7.31",
        "pregnancy",
        ("icd-10-cm Z34.01", "icd-10-cm O09.90", "snomed 77386006"),
        (
            *("icd-10-cm O00.1", "icd-10-cm O03.9", "icd-10-cm O08.0", "icd-10-cm O86.0"),
            *("icd-10-cm O94", "icd-10-cm Z33.2", "icd-10-cm Z39.2"),
        ),
    ),
    # an injection given is treatment, never the diagnosis
    Confusion("7.32", "b12-deficiency", ("icd-10-cm D51.9",), ("snomed 308752009", "hcpcs J3420")),
    Confusion("7.32 treated", "b12-treatment", ("snomed 308752009",), ("icd-10-cm D51.9",)),
    Confusion("7.33", "b12-deficiency", ("snomed 402431000000106",), ("snomed 397301000000101",)),
]
ELSEWHERE = {
    "7.15": "units: decided where a quantity is read",
    "7.23": "strength: the test of that number below",
    "7.30": "claims: the test of that number below",
}


def codings(text: str) -> list[str]:
    return text.split(" & ")


@pytest.mark.parametrize("row", [pytest.param(row, id=row.number) for row in CONFUSIONS])
def test_confusion(row: Confusion):
    for text in row.does:
        assert row.fact in facts(settled(*codings(text)), Role.ESTABLISHES), text
    for text in row.does_not:
        assert row.fact not in facts(settled(*codings(text)), Role.ESTABLISHES), text


def test_every_known_confusion_is_held():
    numbers = {row.number.split()[0] for row in CONFUSIONS}
    assert numbers.isdisjoint(ELSEWHERE)
    assert numbers | set(ELSEWHERE) == {f"7.{number}" for number in range(1, 34)}


def test_manifestation_codes_count_only_with_their_cause():  # 7.5
    for system, code in [(CM, "G63"), (CM, "G99.2"), (CM, "F02.80"), (WHO, "G99.2")]:
        (found,) = value_sets().matches(system, code)
        assert found.attributes["needs_cause"] is True
    for code in ("G32.0", "F06.70"):
        (found,) = value_sets().matches(CM, code)
        assert "needs_cause" not in found.attributes


@pytest.mark.parametrize(
    ("coding", "form", "key", "value"),
    [
        pytest.param("dmd 327545000", "oral", "strength_ug", "50", id="7.23"),
        pytest.param("dmd 327546004", "oral", "strength_ug_per_ml", "7", id="7.23 liquid"),
        ("dmd 21366111000001101", "oral", "strength_ug", "1000"),
        pytest.param(
            "dmd 24856311000001103", "injection", "strength_ug_per_ml", "5000", id="7.22 strength"
        ),
        ("rxnorm 309594", "injection", "strength_ug_per_ml", "1000"),
        ("rxnorm 317106", "injection", "strength_ug_per_ml", "1000"),
        ("rxnorm 309593", "oral", "strength_ug", "1000"),
        ("rxnorm 199184", "sublingual", "strength_ug", "5000"),
        ("rxnorm 861113", "nasal", "strength_ug", "500"),
        ("rxnorm 310410", "oral", "strength_ug", "1000"),
        ("rxnorm 198640", "oral", "strength_ug", "400"),
        ("rxnorm 237786", "injection", "strength_ug_per_ml", "5000"),
    ],
)
def test_a_product_says_its_form_and_strength(coding: str, form: str, key: str, value: str):
    (found,) = value_sets().matches_concept(concept(coding))
    assert (found.attributes["form"], found.attributes[key]) == (form, value)


@pytest.mark.parametrize(
    "code", [pytest.param("J3420", id="7.30 J3420"), pytest.param("J3425", id="7.30 J3425")]
)
def test_no_dose_can_be_read_from_a_claim(code: str):
    for found in value_sets().matches(SYSTEMS["hcpcs"], code):
        assert not {"strength_ug", "strength_ug_per_ml"} & set(found.attributes)


def test_leber_look_alikes_are_an_indication_where_they_are_nutritional():  # 7.19
    assert sets_of(CM, "H46.2") == ["neuro-finding-nonspecific"]
    assert sets_of(SNOMED, "420920007") == ["b12-deficiency-with-neuro"]


def test_legacy_codes_are_read_and_never_emitted():  # 7.33
    (legacy,) = value_sets().matches(SNOMED, "402431000000106")
    assert legacy.attributes["read_only"] is True
    assert legacy not in value_sets().emit("b12-deficiency-confirmed")
