"""The suggested orders: valid R4, in the shape clients rely on, changed only as advised."""

from __future__ import annotations

import json
import subprocess
import sys
from copy import deepcopy
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from fhir.resources.R4B.medicationrequest import MedicationRequest
from fhir.resources.R4B.servicerequest import ServiceRequest
from hypothesis import given, settings
from hypothesis import strategies as st

from fhir_mappers import orders
from fhir_mappers.drafts import read_session
from fhir_mappers.elements import Json
from fhir_mappers.medications import read_orders
from fhir_mappers.validity import CannotBeValid
from regimen.facts import Ingredient, Order, Route, Specialty, Test
from regimen.recommendation import OWN_GROUP, CorrectDraft, Phase, PhaseName, Product
from regimen.schedule import Duration, Schedule, Unit

RXNORM = "http://www.nlm.nih.gov/research/umls/rxnorm"
SNOMED = "http://snomed.info/sct"
UCUM = "http://unitsofmeasure.org"
TODAY = date(2026, 6, 15)
CONTEXT = orders.OrderContext(
    "p1", "e1", "Practitioner/d1", TODAY, "0c3151bd-1cbf-4d64-b04d-cd9187a4c6e0"
)

HYDROXO = Product(
    Ingredient.HYDROXOCOBALAMIN, "hydroxocobalamin", Decimal(1000), Decimal(1), "mg", "1 mg"
)
CYANO = Product(
    Ingredient.CYANOCOBALAMIN,
    "cyanocobalamin",
    Decimal(1000),
    Decimal(1000),
    "ug",
    "1000 microgram",
)


def phase(name: PhaseName, schedule: Schedule, product: Product = HYDROXO) -> Phase:
    return Phase(name, "key", product, Route.INTRAMUSCULAR, schedule, "as often as it says")


def every(frequency: int, period: int, unit: str, **more: Any) -> Schedule:
    return Schedule(Decimal(frequency), Decimal(period), Unit(unit), **more)


TIW2 = phase(PhaseName.LOADING, every(3, 1, "wk", count=6, bounds=Duration(Decimal(2), Unit.WEEK)))
ALT = phase(PhaseName.LOADING, every(1, 2, "d"))
DAILY10 = phase(
    PhaseName.LOADING, every(1, 1, "d", count=10, bounds=Duration(Decimal(10), Unit.DAY)), CYANO
)
M23 = phase(PhaseName.MAINTENANCE, every(1, 2, "mo", period_max=Decimal(3)))
M2 = phase(PhaseName.MAINTENANCE, every(1, 2, "mo"))
M1_CYANO = phase(PhaseName.MAINTENANCE, every(1, 1, "mo"), CYANO)


def bounds(value: int, unit: str, code: str) -> Json:
    return {"value": value, "unit": unit, "system": UCUM, "code": code}


def draft(**more: Any) -> Json:
    return {
        "resourceType": "MedicationRequest",
        "id": "m1",
        "meta": {"versionId": "3"},
        "extension": [{"url": "http://local/x", "valueString": "kept"}],
        "identifier": [{"system": "http://local/id", "value": "77"}],
        "status": "draft",
        "intent": "order",
        "category": [{"text": "outpatient"}],
        "medicationCodeableConcept": {
            "coding": [{"system": RXNORM, "code": "5514", "display": "hydroxocobalamin"}],
            "text": "Hydroxocobalamin injection",
        },
        "subject": {"reference": "Patient/p1"},
        "authoredOn": "2026-06-14",
        "requester": {"reference": "Practitioner/other"},
        "note": [{"text": "kept"}],
        "dispenseRequest": {"numberOfRepeatsAllowed": 2},
    } | more


def dosage(**more: Any) -> Json:
    return {
        "text": "1 mg IM every 3 months",
        "timing": {"repeat": {"frequency": 1, "period": 3, "periodUnit": "mo"}},
        "route": {"coding": [{"system": SNOMED, "code": "78421000"}]},
        "doseAndRate": [{"doseQuantity": {"value": 1, "unit": "mg", "system": UCUM, "code": "mg"}}],
    } | more


def is_valid(resource: Json) -> None:
    plain = json.loads(json.dumps(resource, default=float))
    model = {"MedicationRequest": MedicationRequest, "ServiceRequest": ServiceRequest}
    model[resource["resourceType"]].model_validate(plain)


# --- phases -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("which", "repeat", "dose", "code"),
    [
        (
            TIW2,
            {
                "boundsDuration": bounds(2, "week", "wk"),
                "count": 6,
                "frequency": 3,
                "period": 1,
                "periodUnit": "wk",
            },
            (1, "mg", "mg"),
            "317106",
        ),
        (ALT, {"frequency": 1, "period": 2, "periodUnit": "d"}, (1, "mg", "mg"), "317106"),
        (
            DAILY10,
            {
                "boundsDuration": bounds(10, "day", "d"),
                "count": 10,
                "frequency": 1,
                "period": 1,
                "periodUnit": "d",
            },
            (1000, "microgram", "ug"),
            "309594",
        ),
        (
            M23,
            {"frequency": 1, "period": 2, "periodMax": 3, "periodUnit": "mo"},
            (1, "mg", "mg"),
            "317106",
        ),
        (M2, {"frequency": 1, "period": 2, "periodUnit": "mo"}, (1, "mg", "mg"), "317106"),
        (
            M1_CYANO,
            {"frequency": 1, "period": 1, "periodUnit": "mo"},
            (1000, "microgram", "ug"),
            "309594",
        ),
    ],
    ids=["TIW2", "ALT", "DAILY10", "M23", "M2", "M1"],
)
def test_a_new_order_has_the_shape_of_the_contract(
    which: Phase, repeat: Json, dose: tuple[int, str, str], code: str
) -> None:
    order = orders.draft_medication_request(which, draft=None, context=CONTEXT)
    is_valid(order)
    assert "id" not in order
    assert (order["status"], order["intent"]) == ("draft", "order")
    assert order["subject"] == {"reference": "Patient/p1"}
    assert order["encounter"] == {"reference": "Encounter/e1"}
    assert order["requester"] == {"reference": "Practitioner/d1"}
    assert order["authoredOn"] == "2026-06-15"
    coding = order["medicationCodeableConcept"]["coding"][0]
    assert (coding["system"], coding["code"]) == (RXNORM, code)
    assert order["medicationCodeableConcept"]["text"]
    (line,) = order["dosageInstruction"]
    assert line["sequence"] == 1
    assert line["timing"] == {"repeat": repeat}
    assert line["route"]["coding"][0] == {
        "system": SNOMED,
        "code": "78421000",
        "display": "Intramuscular route",
    }
    value, unit, ucum = dose
    assert line["doseAndRate"] == [
        {"doseQuantity": {"value": value, "unit": unit, "system": UCUM, "code": ucum}}
    ]
    assert line["text"] == (
        f"{which.product.dose_words} by intramuscular injection as often as it says"
    )
    assert order["groupIdentifier"] == {
        "system": OWN_GROUP,
        "value": f"urn:uuid:{CONTEXT.group_id}",
    }


def test_what_the_hook_does_not_say_is_left_out() -> None:
    bare = orders.OrderContext("p1", None, None, TODAY, "g")
    order = orders.draft_medication_request(M2, draft=None, context=bare)
    assert "encounter" not in order
    assert "requester" not in order
    is_valid(order)


def test_an_update_keeps_the_draft_and_changes_what_is_advised() -> None:
    sent = draft()
    before = deepcopy(sent)
    order = orders.draft_medication_request(TIW2, draft=sent, context=CONTEXT)
    is_valid(order)
    assert sent == before
    changed = {"medicationCodeableConcept", "dosageInstruction", "groupIdentifier", "encounter"}
    assert {name: order[name] for name in sent if name not in changed} == {
        name: sent[name] for name in sent if name not in changed
    }
    concept = order["medicationCodeableConcept"]
    assert concept["text"] == "Hydroxocobalamin injection"
    assert [one["code"] for one in concept["coding"]] == ["317106", "5514"]


def test_the_same_clinical_drug_is_moved_to_the_front_not_doubled() -> None:
    own = {"system": RXNORM, "code": "317106", "display": "as the client calls it"}
    codings = [{"system": "urn:local", "code": "9"}, own]
    sent = draft(medicationCodeableConcept={"coding": codings, "text": "Hydroxocobalamin 1 mg/mL"})
    order = orders.draft_medication_request(M2, draft=sent, context=CONTEXT)
    assert order["medicationCodeableConcept"]["coding"] == [own, codings[0]]


@pytest.mark.parametrize(
    "medication",
    [
        {"coding": [{"system": RXNORM, "code": "309594"}], "text": "cyanocobalamin injection"},
        {"coding": [{"system": RXNORM, "code": "309593"}], "text": "vitamin B12 tablet"},
        {"coding": [{"system": RXNORM, "code": "700496"}], "text": "Cyanokit"},
        {"coding": [{"system": RXNORM, "code": "5514"}], "text": "hydroxocobalamin 10 mg/2 mL"},
    ],
    ids=["other ingredient", "other form", "antidote", "other strength"],
)
def test_another_product_is_replaced_with_text_and_all_codes(medication: Json) -> None:
    sent = draft(medicationCodeableConcept=medication)
    order = orders.draft_medication_request(TIW2, draft=sent, context=CONTEXT)
    concept = order["medicationCodeableConcept"]
    assert [one["code"] for one in concept["coding"]] == ["317106"]
    assert concept["text"] == "Hydroxocobalamin 1 mg/mL solution for injection"


def test_a_contained_medication_that_is_replaced_goes_and_others_stay() -> None:
    sent = draft(
        medicationReference={"reference": "#drug"},
        supportingInformation=[{"reference": "#other"}],
        contained=[
            {"resourceType": "Medication", "id": "drug", "code": {"text": "x"}},
            {"resourceType": "Medication", "id": "other", "code": {"text": "y"}},
        ],
    )
    del sent["medicationCodeableConcept"]
    order = orders.draft_medication_request(TIW2, draft=sent, context=CONTEXT)
    is_valid(order)
    assert [one["id"] for one in order["contained"]] == ["other"]
    assert "medicationReference" not in order
    sent["supportingInformation"] = [{"reference": "#drug"}]
    order = orders.draft_medication_request(TIW2, draft=sent, context=CONTEXT)
    assert "drug" in [one["id"] for one in order["contained"]]


def test_a_maintenance_order_is_never_dated() -> None:
    period = {"start": "2026-06-15", "end": "2027-06-15"}
    sent = draft(
        dosageInstruction=[dosage(timing={"repeat": {"boundsPeriod": period}})],
        dispenseRequest={"validityPeriod": period, "numberOfRepeatsAllowed": 2},
    )
    order = orders.draft_medication_request(M2, draft=sent, context=CONTEXT)
    assert "2027" not in json.dumps(order)
    assert order["dispenseRequest"] == {"numberOfRepeatsAllowed": 2}


def test_two_phases_share_the_group_the_draft_already_has() -> None:
    own = {"system": "urn:s", "value": "g"}
    group = orders.group_identifier(draft(groupIdentifier=own), CONTEXT)
    first = orders.draft_medication_request(TIW2, draft=draft(), context=CONTEXT, group=group)
    second = orders.draft_medication_request(M23, draft=None, context=CONTEXT, group=group)
    mark = [{"url": OWN_GROUP, "valueBoolean": True}]
    assert first["groupIdentifier"] == second["groupIdentifier"] == {**own, "extension": mark}


def test_how_to_inject_is_kept_while_the_route_stays() -> None:
    site = {"text": "deltoid"}
    same = draft(dosageInstruction=[dosage(site=site, asNeededBoolean=True)])
    order = orders.draft_medication_request(TIW2, draft=same, context=CONTEXT)
    assert order["dosageInstruction"][0]["site"] == site
    assert "asNeededBoolean" not in order["dosageInstruction"][0]
    other = draft(dosageInstruction=[dosage(site=site, route={"text": "oral"})])
    order = orders.draft_medication_request(TIW2, draft=other, context=CONTEXT)
    assert "site" not in order["dosageInstruction"][0]


@pytest.mark.fault("D35")
@pytest.mark.parametrize("which", [TIW2, ALT, DAILY10, M23, M2, M1_CYANO])
def test_d35_our_own_order_is_read_back_as_what_was_advised(which: Phase) -> None:
    order = orders.draft_medication_request(which, draft=None, context=CONTEXT)
    (read,) = read_orders(order)
    assert read.ingredient is which.product.ingredient
    assert read.line.route is Route.INTRAMUSCULAR
    assert read.line.dose_ug == 1000
    assert read.line.schedule == which.schedule


# --- validity ---------------------------------------------------------------------------------


def test_new_orders_for_two_patients_share_only_what_names_neither() -> None:
    other = orders.OrderContext("p2", None, None, date(2026, 7, 1), "another-group")
    made = [
        orders.draft_medication_request(TIW2, draft=None, context=who) for who in (CONTEXT, other)
    ]
    made += [orders.lab_request(Test.POTASSIUM, who, urgent=True) for who in (CONTEXT, other)]
    made += [orders.referral_request(Specialty.NEUROLOGY, who) for who in (CONTEXT, other)]
    for first, second in zip(made[::2], made[1::2], strict=True):
        patients = {"subject", "encounter", "authoredOn", "requester", "groupIdentifier"}
        assert {n for n in first if first[n] != second.get(n)} <= patients
        written = json.dumps(second, default=str)
        assert not any(word in written for word in ("p1", "e1", "d1", str(TODAY), CONTEXT.group_id))


def test_the_group_of_a_draft_is_checked_like_the_rest_of_it() -> None:
    """Only a group of our own making is put in unseen."""
    given = draft(groupIdentifier={"value": "g1", "use": ["not", "a", "code"]})
    order = orders.draft_medication_request(TIW2, draft=given, context=CONTEXT)
    is_valid(order)
    assert order["groupIdentifier"]["value"] == "g1"
    assert "use" not in order["groupIdentifier"]


@pytest.mark.fault("D11")
def test_d11_what_is_not_valid_r4_in_a_draft_is_mended_or_left_out() -> None:
    sent = draft(
        id="e" * 194,
        category={"text": "an object"},
        reasonCode={"text": "an object"},
        bogus="x",
        context={"reference": "Encounter/9"},
        priority="",
        recorder=None,
        note=[None, {"text": "kept"}],
        authoredOn="yesterday",
        dispenseRequest={"numberOfRepeatsAllowed": "many", "quantity": {"value": 3}},
        contained=[{"resourceType": "NoSuchThing"}, {"resourceType": 5}],
        insurance=[{"reference": "Coverage/1"}, "not an object"],
    )
    order = orders.draft_medication_request(TIW2, draft=sent, context=CONTEXT)
    is_valid({name: value for name, value in order.items() if name != "id"})
    assert order["id"] == "e" * 194
    assert order["category"] == [{"text": "an object"}]
    assert order["reasonCode"] == [{"text": "an object"}]
    assert order["note"] == [{"text": "kept"}]
    assert order["authoredOn"] == "2026-06-15"
    assert order["dispenseRequest"] == {"quantity": {"value": 3}}
    assert order["insurance"] == [{"reference": "Coverage/1"}]
    for name in ("bogus", "context", "priority", "recorder", "contained"):
        assert name not in order
    assert order["dosageInstruction"][0]["timing"]["repeat"]["count"] == 6


def test_ids_that_fhir_does_not_allow_are_kept() -> None:
    for identifier in ("a_b‑c", "x" * 300):
        assert orders.valid_r4(draft(id=identifier))["id"] == identifier


def test_only_the_two_kinds_of_order_can_be_made_valid() -> None:
    with pytest.raises(CannotBeValid, match="only a MedicationRequest"):
        orders.valid_r4({"resourceType": "Observation"})


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=4,
)
NAMES = st.sampled_from(
    [
        *("category", "note", "extension", "identifier", "meta", "priority", "reasonCode"),
        *("contained", "dispenseRequest", "substitution", "encounter", "requester", "subject"),
        *("authoredOn", "dosageInstruction", "groupIdentifier", "text", "language", "performer"),
        *("medicationCodeableConcept", "medicationReference", "_status", "basedOn"),
    ]
)


@pytest.mark.fault("D11")
@settings(deadline=None)  # the first example loads what the others use
@given(st.dictionaries(NAMES, JSON_VALUES, max_size=5))
def test_d11_any_draft_becomes_a_valid_order_that_says_what_was_advised(odd: Json) -> None:
    order = orders.draft_medication_request(TIW2, draft=draft() | odd, context=CONTEXT)
    is_valid(order)
    (read,) = read_orders(order)
    assert read.line.schedule == TIW2.schedule
    assert order["subject"]["reference"] == "Patient/p1"


def test_an_absurdly_nested_extension_is_left_out() -> None:
    nested: Json = {"url": "x"}
    for _ in range(900):
        nested = {"url": "x", "extension": [nested]}
    order = orders.draft_medication_request(TIW2, draft=draft(extension=[nested]), context=CONTEXT)
    is_valid(order)


def test_the_models_are_not_loaded_before_they_are_needed() -> None:
    # The models take a fifth of a second: the service starts without them.
    code = "import fhir_mappers.orders, sys; sys.exit('fhir.resources' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# --- corrections ------------------------------------------------------------------------------


def read(sent: Json) -> Order:
    (order,) = read_orders(sent, in_session=True)
    return order


def correct(sent: Json, **what: Any) -> Json:
    step = CorrectDraft("MedicationRequest/m1", **what)
    corrected = orders.correct_draft(sent, read(sent), step, CONTEXT)
    is_valid(corrected)
    return corrected


CYANO_CONCEPT = {"coding": [{"system": RXNORM, "code": "11248"}], "text": "cyanocobalamin"}


def test_a_correction_of_the_dose_changes_the_dose_only() -> None:
    tenfold = {"value": 1000, "unit": "mg", "system": UCUM, "code": "mg"}
    sent = draft(
        medicationCodeableConcept=CYANO_CONCEPT,
        dosageInstruction=[
            dosage(text="1000 mg IM", doseAndRate=[{"doseQuantity": tenfold}], site={"text": "arm"})
        ],
    )
    order = correct(sent, dose=CYANO)
    (line,) = order["dosageInstruction"]
    assert line["doseAndRate"] == [
        {"doseQuantity": {"value": 1000, "unit": "microgram", "system": UCUM, "code": "ug"}}
    ]
    assert line["timing"] == dosage()["timing"]
    assert line["route"]["coding"][0]["code"] == "78421000"
    assert line["site"] == {"text": "arm"}
    assert line["text"] == "1000 microgram by intramuscular injection every 3 months"
    concept = order["medicationCodeableConcept"]
    assert (concept["text"], concept["coding"][0]["code"]) == ("cyanocobalamin", "309594")
    assert "groupIdentifier" not in order


def test_what_spoke_of_the_old_dose_goes_with_it() -> None:
    most = {"value": 1000, "unit": "mg"}
    line = dosage(maxDosePerAdministration=most, patientInstruction="1000 mg a month")
    (corrected,) = correct(draft(dosageInstruction=[line]), dose=HYDROXO)["dosageInstruction"]
    assert "1000 mg" not in json.dumps(corrected)
    assert "maxDosePerAdministration" not in corrected
    line["doseAndRate"] = [{"doseQuantity": {"value": 5, "unit": "mg"}}]
    (same,) = correct(draft(dosageInstruction=[line]), product=CYANO)["dosageInstruction"]
    assert same["patientInstruction"] == "1000 mg a month"
    assert same["text"] == line["text"]


def test_a_correction_of_the_route_changes_the_route_only() -> None:
    sent = draft(
        medicationCodeableConcept=CYANO_CONCEPT,
        dosageInstruction=[
            dosage(
                route={"text": "IV"},
                site={"text": "left cannula"},
                doseAndRate=[
                    {
                        "doseQuantity": {"value": 1000, "unit": "mcg"},
                        "rateQuantity": {"value": 5, "unit": "mL/h"},
                    }
                ],
            )
        ],
    )
    (line,) = correct(sent, route=Route.INTRAMUSCULAR)["dosageInstruction"]
    assert line["route"]["coding"][0]["code"] == "78421000"
    assert "site" not in line
    assert line["doseAndRate"] == [
        {"doseQuantity": {"value": 1000, "unit": "microgram", "system": UCUM, "code": "ug"}}
    ]
    assert line["text"] == "1000 microgram by intramuscular injection every 3 months"


def test_a_correction_of_the_product_keeps_dose_and_timing() -> None:
    thousand = {"value": 1000, "unit": "ug", "system": UCUM, "code": "ug"}
    sent = draft(
        medicationCodeableConcept=CYANO_CONCEPT,
        dosageInstruction=[dosage(doseAndRate=[{"doseQuantity": thousand}])],
    )
    order = correct(sent, product=HYDROXO)
    assert order["medicationCodeableConcept"]["coding"][0]["code"] == "317106"
    (line,) = order["dosageInstruction"]
    assert line["doseAndRate"][0]["doseQuantity"]["code"] == "mg"  # the same dose
    assert line["timing"] == dosage()["timing"]


def test_a_correction_leaves_a_draft_without_timing_without() -> None:
    order = correct(draft(), dose=HYDROXO, route=Route.INTRAMUSCULAR)
    (line,) = order["dosageInstruction"]
    assert "timing" not in line
    assert line["text"] == "1 mg by intramuscular injection"


def test_a_correction_of_the_product_alone_invents_no_dosage() -> None:
    assert "dosageInstruction" not in correct(draft(), product=CYANO)


def test_a_dose_written_as_in_stu3_is_replaced_not_doubled() -> None:
    older = dosage(doseQuantity={"value": 1000, "unit": "mg"})
    del older["doseAndRate"]
    (line,) = correct(draft(dosageInstruction=[older]), dose=HYDROXO)["dosageInstruction"]
    assert line["doseAndRate"][0]["doseQuantity"]["value"] == 1
    assert "doseQuantity" not in line


# --- taking back a stop -----------------------------------------------------------------------


def keep(sent: Json) -> Json:
    kept = orders.keep_order(sent, read(sent), CONTEXT)
    is_valid(kept)
    return kept


def test_a_stopped_order_is_a_draft_again() -> None:
    sent = draft(
        status="stopped",
        doNotPerform=True,
        statusReason={"text": "levels are normal"},
        dosageInstruction=[dosage()],
    )
    kept = keep(sent)
    assert kept["status"] == "draft"
    assert "doNotPerform" not in kept
    assert "statusReason" not in kept
    assert kept["dosageInstruction"] == [dosage(sequence=1)]
    assert kept["authoredOn"] == "2026-06-14"


def test_a_kept_order_has_no_end() -> None:
    limited = {"frequency": 1, "period": 1, "periodUnit": "mo", "count": 6}
    limited["boundsDuration"] = {"value": 6, "code": "mo", "system": UCUM}  # type: ignore[assignment]
    sent = draft(dosageInstruction=[dosage(text="for 6 months", timing={"repeat": limited})])
    (line,) = keep(sent)["dosageInstruction"]
    assert line["timing"] == {"repeat": {"frequency": 1, "period": 1, "periodUnit": "mo"}}
    assert line["text"] == "1000 microgram by intramuscular injection every month"


def test_a_loading_order_keeps_the_end_it_has_by_design() -> None:
    sent = orders.draft_medication_request(TIW2, draft=draft(), context=CONTEXT)
    kept = keep(sent | {"status": "stopped"})
    assert kept["dosageInstruction"] == sent["dosageInstruction"]


# --- tests and referrals ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("specialty", "code"),
    [(Specialty.NEUROLOGY, "183521007"), (Specialty.HAEMATOLOGY, "183567007")],
)
def test_a_referral(specialty: Specialty, code: str) -> None:
    request = orders.referral_request(specialty, CONTEXT)
    is_valid(request)
    assert (request["status"], request["intent"], request["priority"]) == (
        "draft",
        "order",
        "urgent",
    )
    assert [one["code"] for one in request["code"]["coding"]] == [code]
    assert request["subject"] == {"reference": "Patient/p1"}
    assert request["authoredOn"] == "2026-06-15"


@pytest.mark.parametrize(
    ("test", "loinc"),
    [
        (Test.SERUM_B12, "2132-9"),
        (Test.MMA, "13964-2"),
        (Test.HOMOCYSTEINE, "13965-9"),
        (Test.FBC, "58410-2"),
        (Test.POTASSIUM, "2823-3"),
        (Test.IF_ANTIBODY, "31444-3"),
        (Test.ACTIVE_B12, None),
        (Test.FOLATE, None),
    ],
)
def test_a_laboratory_test_has_loinc_first_or_a_text_only(test: Test, loinc: str | None) -> None:
    request = orders.lab_request(test, CONTEXT)
    is_valid(request)
    assert request["code"]["text"]
    assert "priority" not in request
    if loinc is None:
        assert "coding" not in request["code"]
    else:
        assert request["code"]["coding"][0]["code"] == loinc


def test_a_test_may_be_urgent_repeated_and_explained() -> None:
    request = orders.lab_request(Test.SERUM_B12, CONTEXT, urgent=True, every_months=3, note="why")
    is_valid(request)
    assert request["priority"] == "urgent"
    assert request["occurrenceTiming"] == {
        "repeat": {"frequency": 1, "period": 3, "periodUnit": "mo"}
    }
    assert request["note"] == [{"text": "why"}]


def test_a_correction_of_a_draft_whose_medication_stands_beside_it() -> None:
    drug = {"resourceType": "Medication", "id": "x", "code": CYANO_CONCEPT}
    sent = draft(medicationReference={"reference": "Medication/x"}, dosageInstruction=[dosage()])
    del sent["medicationCodeableConcept"]
    bundle = {"entry": [{"resource": sent}, {"resource": drug}]}
    (order,) = read_session(bundle, ["MedicationRequest/m1"], "p1").orders
    step = CorrectDraft("MedicationRequest/m1", dose=CYANO)
    corrected = orders.correct_draft(sent, order, step, CONTEXT)
    is_valid(corrected)
    assert corrected["medicationCodeableConcept"]["coding"][0]["code"] == "309594"
    assert "medicationReference" not in corrected
