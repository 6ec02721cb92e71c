"""Are the value set files sound?

Valid codes, nothing that may not be shipped, and no set that contradicts another.
"""

from __future__ import annotations

import re
import shutil
import tomllib
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from fhir_mappers.terminology import (
    FOLDER,
    SYSTEMS,
    Role,
    ValueSetError,
    read_value_sets,
    value_sets,
)
from regimen.facts import Concept, Domain, Ingredient, Route

DOCUMENT = Path(__file__).parents[3] / "docs" / "value-sets.md"
FILES = sorted(FOLDER.rglob("*.toml"))
CONTENT: dict[Path, dict[str, Any]] = {path: tomllib.loads(path.read_text()) for path in FILES}
ROWS = [(path, row) for path in FILES for row in CONTENT[path]["codes"]]


def short(path: Path) -> str:
    return path.relative_to(FOLDER).as_posix()


def rows_of(*systems: str) -> list[tuple[Path, dict[str, Any]]]:
    return [(path, row) for path, row in ROWS if row["system"] in systems]


# --- check digits ---------------------------------------------------------------------------------

_MULTIPLY = [
    [(x + y) % 5 if y < 5 else 5 + (x + y) % 5 for y in range(10)]
    if x < 5
    else [5 + (x - y) % 5 if y < 5 else (x - y) % 5 for y in range(10)]
    for x in range(10)
]
_SHUFFLE = [1, 5, 7, 6, 2, 8, 3, 0, 9, 4]


def verhoeff(number: str) -> bool:
    check = 0
    for place, digit in enumerate(reversed(number)):
        value = int(digit)
        for _ in range(place % 8):
            value = _SHUFFLE[value]
        check = _MULTIPLY[check][value]
    return check == 0


def loinc_check(code: str) -> bool:
    number, _, check = code.partition("-")
    doubled = "".join(
        str(int(digit) * (2 if place % 2 == 0 else 1))
        for place, digit in enumerate(reversed(number))
    )
    return check == str(-sum(int(digit) for digit in doubled) % 10)


def test_the_check_digits_themselves_tell_good_from_bad():
    assert verhoeff("2363")  # the usual worked example
    assert not verhoeff("2364")
    assert verhoeff("84027009")
    assert not verhoeff("84027008")
    assert not verhoeff("84072009")
    assert loinc_check("2132-9")
    assert loinc_check("14685-2")
    assert not loinc_check("14685-7")
    assert not loinc_check("5140-4")


def test_snomed_and_dmd_ids_pass_verhoeff():
    wrong = [row["code"] for _, row in rows_of("snomed", "dmd") if not verhoeff(row["code"])]
    assert wrong == []


def test_loinc_codes_pass_mod_10():
    codes = [row["code"] for _, row in rows_of("loinc")]
    terms = [code for code in codes if not code.startswith("LA")]  # answers count otherwise
    assert [code for code in terms if not loinc_check(code)] == []


# --- shape ----------------------------------------------------------------------------------------

ATTRIBUTES: dict[str, Any] = {
    "allergen": {"cobalt"},
    "analyte": {
        *("creatinine", "egfr", "platelets", "erythrocytes", "leukocytes", "reticulocytes"),
        *("haematocrit", "ferritin"),
    },
    "antidote": {True},
    "autoimmune": {True},
    "cause": {"pernicious", "dietary", "malabsorption", "reversible"},
    "combination": {True},
    "complete": {True},
    "dialysis": {True},
    "ended": {True},
    "finding": {False},
    "form": {"injection", "oral", "sublingual", "nasal"},
    "ingredient": set(Ingredient),
    "jejunoileal": {True},
    "misuse": {True},
    "needs_cause": {True},
    "preservative_free": {True},
    "read_only": {True},
    "route": set(Route),
    "uncorroborated": {"probable", "ask"},
}
DECIMALS = ("strength_ug", "strength_ug_per_ml")
OTHER_KEYS = {"system", "code", "display", "match", "to", "sources", "note", "domains", *DECIMALS}


@pytest.mark.parametrize("path", FILES, ids=short)
def test_a_file_says_what_it_is(path: Path):
    about = CONTENT[path]
    assert set(about) == {
        *("title", "role", "fact", "source", "version", "licence", "review_state", "codes")
    }
    assert all(about[key].strip() for key in about if key != "codes")
    assert about["role"] in set(Role)
    assert about["review_state"] in ("draft", "reviewed")
    date.fromisoformat(about["version"])


@pytest.mark.parametrize("path", FILES, ids=short)
def test_a_code_is_text_in_a_known_system_with_known_attributes(path: Path):
    for row in CONTENT[path]["codes"]:
        assert row["system"] in SYSTEMS
        assert isinstance(row["code"], str)
        assert row["code"] == row["code"].strip() != ""
        assert row["match"] in ("exact", "prefix", "range")
        assert ("to" in row) == (row["match"] == "range")
        assert set(row) <= set(ATTRIBUTES) | OTHER_KEYS, row
        for key in set(row) & set(ATTRIBUTES):
            assert row[key] in ATTRIBUTES[key], row
        for key in set(row) & set(DECIMALS):
            assert re.fullmatch(r"[1-9]\d*(\.\d*[1-9])?", row[key]), row
        assert set(row.get("domains", [])) <= set(Domain)


@pytest.mark.parametrize("path", FILES, ids=short)
def test_codes_stand_one_a_line_grouped_by_system(path: Path):
    lines = [line for line in path.read_text().splitlines() if line.startswith("  { ")]
    rows = CONTENT[path]["codes"]
    assert len(lines) == len(rows)
    systems = [row["system"] for row in rows]
    changes = [one for one, before in zip(systems, [None, *systems], strict=False) if one != before]
    assert len(changes) == len(set(changes))


def test_only_icd_atc_opcs_and_pcs_codes_are_prefixes_of_at_least_three_characters():
    for _, row in ROWS:
        if row["match"] != "exact":
            assert row["system"] not in ("snomed", "dmd", "loinc", "rxnorm"), row
            assert len(row["code"]) >= 3, row


def test_pcs_prefixes_have_four_characters_and_never_take_in_excisions_of_ileum():
    prefixes = {row["code"] for _, row in rows_of("icd-10-pcs") if row["match"] == "prefix"}
    assert prefixes == {"0DTB", "0DTC", "0DT6", "0DTF", "0DTH", "0DBC"}
    assert "0DBB" not in prefixes


@pytest.mark.parametrize("name", ["neuro-finding-nonspecific", "b12-deficiency-with-neuro"])
def test_every_neurological_finding_has_a_domain(name: str):
    assert [code.code for code in value_sets().in_set(name) if not code.attributes["domains"]] == []


def test_every_alternative_cause_says_which_domains_it_explains():
    for code in value_sets().in_set("neuro-alternative-cause"):
        assert code.attributes["domains"], code.code


def test_diabetic_neuropathy_does_not_explain_a_gait_disorder():
    for code in ("E10.4", "E11.4"):
        (found,) = value_sets().matches(SYSTEMS["icd-10-cm"], code + "2")
        assert found.attributes["domains"] == ("sensory", "motor", "autonomic")


def test_every_deficiency_to_corroborate_says_what_it_is_without():
    for code in value_sets().in_set("b12-deficiency-needs-corroboration"):
        assert code.attributes["uncorroborated"] in ("probable", "ask")


def test_every_product_with_a_strength_has_a_form_and_an_ingredient():
    for _, row in ROWS:
        if any(key in row for key in DECIMALS):
            assert {"form", "ingredient"} <= set(row), row


# --- what must not be shipped ---------------------------------------------------------------------


def test_there_is_no_cpt():
    assert rows_of("cpt") == []
    for path in FILES:
        assert not re.search(r"\bcpt\b|ama-assn", path.read_text(), re.IGNORECASE), path


def test_who_icd_10_and_opcs_4_come_without_their_descriptions():
    assert [row["code"] for _, row in rows_of("icd-10", "opcs-4") if "display" in row] == []


def test_every_other_code_has_a_display():
    others = set(SYSTEMS) - {"icd-10", "opcs-4"}
    assert [row["code"] for _, row in rows_of(*others) if not row.get("display")] == []


def test_nothing_for_which_we_hold_no_licence_is_in_the_core():
    core = [row for path, row in ROWS if path.parent == FOLDER]
    assert [row["code"] for row in core if row["system"] in ("dmd", "opcs-4", "icd-10-gm")] == []
    # The third digit from the right is 1 in an id of a national extension.
    extension_ids = [r["code"] for r in core if r["system"] == "snomed" and r["code"][-3] == "1"]
    assert extension_ids == []


def test_codes_known_to_be_wrong_are_not_shipped():
    wrong = {
        *("14685-7", "5140-4", "28390-3"),  # not LOINC codes, or of something else
        *("306206005", "306253008"),  # generic referrals, seen labelled as specialties
        *("130980003", "298310004"),  # display never seen
        *("444683003", "44130", "F18.10"),
    }
    assert {row["code"] for _, row in ROWS} & wrong == set()


def test_files_name_no_machine_and_no_repository():
    for path in FILES:
        assert not re.search(r"verified_in|github|/work/|/home/|@[0-9a-f]{7}", path.read_text())


# --- the sets together ----------------------------------------------------------------------------

NAMES = sorted(value_sets().names)
NOT_SHIPPED = {
    "hypokalaemia": "no rule asks for the diagnosis: potassium is judged by its result",
    "lab-parietal-cell-ab": "of low specificity: no rule concludes anything from it",
    "sr-referral-gastroenterology": "no rule refers there",
    "ucum-unit": "units are read by `fhir_mappers/elements.py`, which knows every spelling of them",
    "lab-wrong-loinc-seen-in-public-code": "codes that are wrong: nothing may match them",
    "sr-referral-wrong-codes-seen-in-public-code": "codes that are wrong: nothing may match them",
    "zz-unverified-do-not-ship": "no public source shows code and display together",
}


def test_what_must_not_be_shipped_is_not():
    """That a set which is shipped is used: `test_sets_are_read.py`."""
    assert not set(NAMES) & set(NOT_SHIPPED)


@pytest.mark.parametrize("name", NAMES)
def test_every_set_has_codes_and_they_carry_its_role(name: str):
    assert len({code.role for code in value_sets().in_set(name)}) == 1


def test_the_document_names_every_set_and_every_attribute():
    text = DOCUMENT.read_text()
    named = [*NAMES, *ATTRIBUTES, *DECIMALS, "domains", "note", "sources"]
    assert [name for name in named if f"`{name}`" not in text] == []


NO_CODES_YET = "no verified codes: recognised by nothing, named in docs/value-sets.md"
SAID_BY: dict[Concept, tuple[str, ...] | str] = {
    Concept.B12_DEFICIENCY: ("b12-deficiency-confirmed",),
    Concept.PERNICIOUS_ANAEMIA: ("b12-deficiency-confirmed",),
    Concept.DIETARY_B12_DEFICIENCY: ("b12-deficiency-confirmed",),
    Concept.B_VITAMIN_DEFICIENCY: ("b12-deficiency-needs-corroboration",),
    Concept.ANAEMIA_CAUSE_OPEN: ("b12-deficiency-needs-corroboration",),
    Concept.INBORN_COBALAMIN_ERROR: ("b12-deficiency-specialist-only",),
    Concept.AUTOIMMUNE_GASTRITIS: ("atrophic-or-autoimmune-gastritis",),
    Concept.NEURO_SPECIFIC: ("b12-deficiency-with-neuro",),
    Concept.NEURO_FINDING: ("neuro-finding-nonspecific",),
    Concept.NEURO_OTHER_CAUSE: ("neuro-alternative-cause",),
    Concept.CROHNS: ("crohns-disease-any",),
    Concept.GASTRECTOMY_TOTAL: ("gastrectomy-total",),
    Concept.GASTRECTOMY_PARTIAL: ("gastrectomy-partial",),
    Concept.BARIATRIC_ILEAL: ("bariatric-malabsorptive-ileal",),
    Concept.BARIATRIC_NON_ILEAL: (
        "bariatric-gastric-bypass",
        "bariatric-sleeve",
        "bariatric-restrictive-band",
    ),
    Concept.BARIATRIC_UNSPECIFIED: ("bariatric-unspecified-status",),
    Concept.ILEAL_LOSS_POSSIBLE: ("ileal-resection-possible", "ileal-loss-indirect-evidence"),
    Concept.MALABSORPTION_OTHER: ("malabsorption-cause-other",),
    Concept.COELIAC: ("coeliac-disease",),
    Concept.CANCER: ("malignancy-include",),
    Concept.LEBER: ("leber-hereditary-optic-neuropathy",),
    Concept.LEBER_POSSIBLE: ("hereditary-optic-atrophy-ask",),
    Concept.PREGNANCY: ("pregnancy",),
    Concept.NITROUS_OXIDE_MISUSE: ("drug-nitrous-oxide",),
    Concept.NITROUS_OXIDE_MEDICAL: ("drug-nitrous-oxide",),
    Concept.SYMPTOM: ("b12-symptom-other",),
    Concept.RENAL_IMPAIRMENT: ("renal-impairment",),
    Concept.CYANIDE: ("hydroxocobalamin-other-indication",),
    Concept.FOLATE_EXCEPTION: ("renal-impairment",),  # dialysis; haemolysis has no codes yet
    Concept.END_OF_LIFE: NO_CODES_YET,
    Concept.PREMATURE: NO_CODES_YET,
}


@pytest.mark.parametrize("concept", list(Concept))
def test_every_concept_of_the_core_has_a_set_or_a_reason(concept: Concept):
    sets = SAID_BY[concept]
    assert sets
    if not isinstance(sets, str):
        assert [name for name in sets if not value_sets().in_set(name)] == []


# A code that one set of a fact takes and another refuses. Only where the refusal is meant to win.
REFUSED_ON_PURPOSE = {
    ("cancer", "icd-10-cm", "C44"): "skin cancer other than melanoma lies inside C00-C96",
    ("cancer", "icd-10", "C44"): "skin cancer other than melanoma lies inside C00-C97",
}


def probes() -> list[tuple[str, str]]:
    """Every code, and every end of a range, as a client would send it."""
    codes = {(row["system"], row["code"]) for _, row in ROWS}
    return sorted(codes | {(row["system"], row["to"]) for _, row in ROWS if "to" in row})


def test_no_code_is_taken_and_refused_by_sets_of_one_fact():
    contradictions = set()
    for system, code in probes():
        found = value_sets().matches(SYSTEMS[system], code)
        refused = {one.fact for one in found if one.role is Role.EXCLUDES}
        taken = {one.fact for one in found if one.role in (Role.ESTABLISHES, Role.ASK)}
        contradictions |= {(fact, system, code) for fact in refused & taken}
    assert contradictions == set(REFUSED_ON_PURPOSE)


def test_no_code_both_establishes_a_fact_and_only_asks_about_it():
    for system, code in probes():
        found = value_sets().matches(SYSTEMS[system], code)
        established = {one.fact for one in found if one.role is Role.ESTABLISHES}
        assert not established & {one.fact for one in found if one.role is Role.ASK}, code


def test_every_code_is_found_in_its_own_set():
    for path, row in ROWS:
        found = value_sets().matches(SYSTEMS[row["system"]], row["code"])
        assert path.stem in {code.value_set for code in found}, (path, row["code"])


# --- reading the folder ---------------------------------------------------------------------------

GOOD = """
title = "A"
role = "establishes"
fact = "a"
source = "s"
version = "2026-01-01"
licence = "l"
review_state = "draft"
codes = [ { system = "icd-10-cm", code = "D51", display = "d", match = "prefix" } ]
"""


def test_the_service_loads_without_the_optional_extensions(tmp_path: Path):
    shutil.copytree(FOLDER, tmp_path / "sets")
    shutil.rmtree(tmp_path / "sets" / "extensions")
    sets = read_value_sets(tmp_path / "sets")
    assert set(sets.names) == set(value_sets().names)
    assert sets.in_set("drug-hydroxocobalamin-injectable-other") == ()
    assert sets.matches("https://dmd.nhs.uk", "39111511000001100") == ()
    assert sets.matches("http://snomed.info/sct", "84027009") != ()
    assert sets.content_hash != value_sets().content_hash


@pytest.mark.parametrize("nation", ["uk", "us"])
def test_one_extension_can_be_deleted_alone(tmp_path: Path, nation: str):
    shutil.copytree(FOLDER, tmp_path / "sets")
    shutil.rmtree(tmp_path / "sets" / "extensions" / nation)
    sets = read_value_sets(tmp_path / "sets")
    here = {
        "uk": sets.matches("https://dmd.nhs.uk", "39111511000001100") != (),
        "us": sets.matches("http://snomed.info/sct", "112561000119108") != (),
    }
    assert [name for name, found in here.items() if not found] == [nation]


def test_a_site_adds_codes_to_a_set_by_a_file_of_the_same_name(tmp_path: Path):
    (tmp_path / "a.toml").write_text(GOOD)
    site = tmp_path / "extensions" / "site"
    site.mkdir(parents=True)
    (site / "a.toml").write_text(GOOD.replace("D51", "E53.8").replace("prefix", "exact"))
    codes = [code.code for code in read_value_sets(tmp_path).in_set("a")]
    assert codes == ["D51", "E53.8"]


def test_an_extension_must_not_change_what_a_set_means(tmp_path: Path):
    (tmp_path / "a.toml").write_text(GOOD)
    site = tmp_path / "extensions" / "site"
    site.mkdir(parents=True)
    (site / "a.toml").write_text(GOOD.replace("D51", "D52").replace("establishes", "ask"))
    with pytest.raises(ValueSetError, match=r"a: an extension must not change"):
        read_value_sets(tmp_path)


@pytest.mark.fault("O09")
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('title = "A"\n', ""),
        ('version = "2026-01-01"', "version = 2026-01-01"),
        ('licence = "l"\n', ""),
        ('"establishes"', '"proves"'),
        ('"icd-10-cm"', '"icd"'),
        ('match = "prefix"', 'match = "like"'),
        ('code = "D51"', 'code = "D5"'),
        ('code = "D51"', 'code = ""'),
        ('code = "D51"', "code = 51"),
        ('match = "prefix"', 'match = "range", to = "E60"'),
        ('match = "prefix"', 'match = "range"'),
        ("codes = [", "codes = [ 7, "),
        ("codes =", "codes = ="),
        ("codes =", "lines ="),
    ],
)
def test_a_broken_file_stops_the_start_and_names_itself(tmp_path: Path, before: str, after: str):
    assert before in GOOD
    (tmp_path / "a.toml").write_text(GOOD.replace(before, after))
    with pytest.raises(ValueSetError, match=r"a\.toml"):
        read_value_sets(tmp_path)


def test_a_code_listed_twice_stops_the_start(tmp_path: Path):
    twice = GOOD.replace("codes = [", 'codes = [ {system="icd-10-cm", code="d51", match="prefix"},')
    (tmp_path / "a.toml").write_text(twice)
    with pytest.raises(ValueSetError, match="a: a code is listed twice"):
        read_value_sets(tmp_path)


def test_an_empty_folder_stops_the_start(tmp_path: Path):
    with pytest.raises(ValueSetError, match="no value sets"):
        read_value_sets(tmp_path)


def test_version_is_the_newest_and_the_hash_follows_every_byte(tmp_path: Path):
    (tmp_path / "a.toml").write_text(GOOD)
    (tmp_path / "b.toml").write_text(GOOD.replace("2026-01-01", "2026-02-01"))
    before = read_value_sets(tmp_path)
    assert before.version == "2026-02-01"
    assert read_value_sets(tmp_path).content_hash == before.content_hash
    (tmp_path / "b.toml").write_text(GOOD.replace("2026-01-01", "2026-02-01") + "# reviewed\n")
    assert read_value_sets(tmp_path).content_hash != before.content_hash
