"""Odd and hostile clinical data (D) and what cards may claim (C), through the whole service."""

from __future__ import annotations

import copy
import json
import re
from decimal import Decimal
from time import perf_counter
from typing import Any

import pytest

from cds_service.hooks.order_select import answer as answer_of
from cds_service.hooks.request import decode_order_select, decode_request
from cds_service.services import Services
from cds_service.settings import Settings
from cds_service.tenants import development_tenant
from regimen.protocol import load_protocol
from tests.support.cases import (
    AS_OF,
    essence,
    made_up,
    offered_orders,
    request_for,
    topics,
    wording,
)
from tests.support.cases import ask as ask_vignette
from tests.support.vignette import all_vignettes

Json = dict[str, Any]
LOW = {"results": [{"test": "B12", "value": "120 pg/mL"}]}
INJECTION = {"what": "hydroxocobalamin injection"}
THREE_A_WEEK = {"dose": "1 mg", "route": "IM", "timing": "3 a week for 2 weeks, 6 doses"}


def resources(request: Json, kind: str) -> list[Json]:
    return [
        entry["resource"]
        for bundle in request["prefetch"].values()
        if bundle and bundle["resourceType"] == "Bundle"
        for entry in bundle.get("entry", ())
        if entry["resource"]["resourceType"] == kind
    ]


def draft(request: Json) -> Json:
    first: Json = request["context"]["draftOrders"]["entry"][0]["resource"]
    return first


def topics_of(response: Any) -> list[str]:
    return [card["source"]["topic"]["code"] for card in response.json["cards"]]


@pytest.mark.fault("D06")
def test_the_prefetch_of_another_patient_is_refused(ask, golden):
    golden["prefetch"]["patient"]["id"] = "somebody-else"
    assert ask(golden).status_code == 412


@pytest.mark.fault("D06", "D44")
@pytest.mark.parametrize("patient", ["other", "{{context.patientId}}", "a/../b", "x" * 500])
def test_an_order_about_another_patient_is_never_all_clear(ask, golden, patient):
    golden["context"]["patientId"] = patient
    response = ask(golden)
    assert response.status_code == 400
    assert "context.draftOrders" in response.text


@pytest.mark.fault("D07")
def test_an_order_about_another_patient_that_is_none_of_ours_stays_quiet(ask, golden):
    golden["context"]["patientId"] = "somebody-else"
    rxnorm = "http://www.nlm.nih.gov/research/umls/rxnorm"
    draft(golden)["medicationCodeableConcept"] = {"coding": [{"system": rxnorm, "code": "723"}]}
    assert topics_of(ask(golden)) == []


@pytest.mark.fault("D10")
def test_the_concept_counts_where_a_reference_stands_beside_it(ask, golden, golden_decision):
    draft(golden)["medicationReference"] = {"reference": "Medication/folic", "display": "x"}
    assert topics_of(ask(golden)) == [c["source"]["topic"]["code"] for c in golden_decision]


@pytest.mark.fault("D13")
def test_one_ingredient_of_many_is_no_therapy(ask, golden):
    order = draft(golden)
    del order["medicationCodeableConcept"]
    rxnorm = "http://www.nlm.nih.gov/research/umls/rxnorm"
    codes = ("11248", "4511", "161")
    order["contained"] = [
        {
            "resourceType": "Medication",
            "id": "many",
            "ingredient": [
                {"itemCodeableConcept": {"coding": [{"system": rxnorm, "code": code}]}}
                for code in codes
            ],
        }
    ]
    order["medicationReference"] = {"reference": "#many"}
    order["dosageInstruction"] = [
        {
            "route": {"coding": [{"system": "http://snomed.info/sct", "code": "47625008"}]},
            "doseAndRate": [{"doseQuantity": {"value": 50, "unit": "mg", "code": "mg"}}],
        }
    ]
    assert not {"dose", "ivroute", "duplicate", "regimen", "route"} & set(topics_of(ask(golden)))


@pytest.mark.fault("D20")
@pytest.mark.parametrize(
    ("when", "used"),
    [
        ({"effectiveDateTime": "2026-06-10"}, True),
        ({"effectiveDateTime": "2026-06-10T08:00:00+14:00"}, True),
        ({"effectiveInstant": "2026-06-10T08:00:00Z"}, True),
        ({"effectivePeriod": {"start": "2026-06-09", "end": "2026-06-10"}}, True),
        ({"issued": "2026-06-10T08:00:00Z"}, True),
        ({"effectiveDateTime": "2026-06"}, True),
        ({"effectiveDateTime": "2031-01-01"}, False),
        ({"effectiveDateTime": "1990-01-01", "value": "420"}, False),
    ],
)
def test_any_form_of_time_is_read_and_the_future_is_not_used(ask, golden, when, *, used):
    when = dict(when)
    for result in resources(golden, "Observation"):
        if any(c["code"] == "2132-9" for c in result["code"]["coding"]):
            for name in [n for n in result if n.startswith(("effective", "issued"))]:
                del result[name]
            if "value" in when:
                result["valueQuantity"]["value"] = int(when.pop("value"))
            result.update(when)
    assert ("regimen" in topics_of(ask(golden))) is used


@pytest.mark.fault("D21")
@pytest.mark.parametrize("form", ["component", "hasMember"])
def test_a_result_inside_a_panel_is_found(ask, golden, form):
    (result,) = [
        r
        for r in resources(golden, "Observation")
        if any(c["code"] == "2132-9" for c in r["code"]["coding"])
    ]
    panel = {
        "resourceType": "Observation",
        "id": "panel",
        "status": "final",
        "code": {"coding": [{"system": "http://loinc.org", "code": "58410-2"}]},
        "subject": result["subject"],
        "effectiveDateTime": result["effectiveDateTime"],
    }
    entries = golden["prefetch"]["observations"]["entry"]
    if form == "component":
        panel["component"] = [{"code": result["code"], "valueQuantity": result["valueQuantity"]}]
        entries[:] = [e for e in entries if e["resource"] is not result]
    else:
        panel["hasMember"] = [{"reference": f"Observation/{result['id']}"}]
    entries.append({"resource": panel})
    assert topics_of(ask(golden)) == ["regimen"]


MEDICINES = {
    "metformin": "Metformin is recorded: it commonly lowers B12",
    "omeprazole": "An acid suppressant is recorded: it may lower B12",
}
NOT_TAKEN = (
    "on-hold",
    "stopped",
    "completed",
    "cancelled",
    "unknown",
    "draft",
    "entered-in-error",
    "canary",
)


def with_medicine(what: str, status: str) -> Any:
    order = {"id": "m", "what": what, "status": status, "written": AS_OF}
    return ask_vignette(request_for(made_up([INJECTION], record={**LOW, "orders": [order]})))


@pytest.mark.fault("D28")
@pytest.mark.parametrize("what", MEDICINES)
def test_a_medicine_that_lowers_b12_is_said_while_it_is_taken_and_decides_nothing(what):
    plain = ask_vignette(request_for(made_up([INJECTION], record=LOW)))
    answer = with_medicine(what, "active")
    (card,) = answer.cards
    assert MEDICINES[what] in card["detail"]
    assert essence(answer) == essence(plain)


@pytest.mark.fault("D28")
@pytest.mark.parametrize("what", MEDICINES)
@pytest.mark.parametrize("status", NOT_TAKEN)
def test_a_medicine_that_is_not_taken_or_was_never_ordered_changes_no_word(what, status):
    plain = ask_vignette(request_for(made_up([INJECTION], record=LOW)))
    assert wording(with_medicine(what, status)) == wording(plain)


@pytest.mark.fault("D34")
def test_two_b12_drafts_get_one_regimen_card():
    tablets = {"what": "cyanocobalamin tablets", "dose": "1000 microgram", "route": "PO"}
    for pair in ([INJECTION, tablets], [INJECTION, dict(INJECTION)]):
        answer = ask_vignette(request_for(made_up(pair, record=LOW)))
        codes = [card["source"]["topic"]["code"] for card in answer.cards]
        assert codes.count("regimen") == 1


@pytest.mark.fault("D38")
def test_cycles_and_ten_thousand_contained_resources(ask, golden):
    order = copy.deepcopy(draft(golden))
    del order["medicationCodeableConcept"]
    order["id"] = "cycle"
    order["contained"] = [
        {
            "resourceType": "Medication",
            "id": f"m{i}",
            "ingredient": [{"itemReference": {"reference": f"#m{(i + 1) % 10_000}"}}],
        }
        for i in range(10_000)
    ]
    order["medicationReference"] = {"reference": "#m0"}
    golden["context"]["draftOrders"]["entry"].append({"resource": order})
    assert topics_of(ask(golden)) == ["regimen"]


@pytest.mark.fault("D42")
@pytest.mark.parametrize(
    "text", ["vitamin B12", "hydroxocobalamin injection", "proton pump inhibitor", "B12 shot"]
)
def test_an_order_in_words_only_is_not_recognised(ask, golden, text):
    draft(golden)["medicationCodeableConcept"] = {"text": text}
    assert topics_of(ask(golden)) == []


@pytest.mark.fault("D44", "D32")
@pytest.mark.parametrize("key", ["conditions", "observations", "procedures", "medicationRequests"])
@pytest.mark.parametrize("value", ["absent", {"resourceType": "OperationOutcome"}, "<html>"])
def test_could_not_evaluate_is_never_quiet(ask, golden, key, value):
    """Neither is it said that there is no deficiency."""
    if value == "absent":
        del golden["prefetch"][key]
    else:
        golden["prefetch"][key] = value
    response = ask(golden)
    if response.status_code == 200:
        found = topics_of(response)
        assert "unavailable" in found
        assert "evidence" not in found
        assert not any(
            s.get("isRecommended") for c in response.json["cards"] for s in c.get("suggestions", ())
        )
    else:
        assert response.status_code == 412
    assert "no b12 deficiency" not in response.text.lower()


@pytest.mark.fault("D45")
def test_thirty_small_changes_within_seconds_get_the_same_words(ask, golden, golden_decision):
    """Each is answered for itself: nothing is remembered from one call for the next."""

    def words(cards: list[Json]) -> list[Any]:
        return [
            (c["summary"], c["detail"], c["indicator"], [s["label"] for s in c["suggestions"]])
            for c in cards
        ]

    started = perf_counter()
    for number in range(30):
        draft(golden)["note"] = [{"text": f"keystroke {number}"}]
        cards = ask(golden).json["cards"]
        assert words(cards) == words(golden_decision)
        (update,) = [
            action["resource"]
            for suggestion in cards[0]["suggestions"]
            for action in suggestion["actions"]
            if action["type"] == "update"
        ]
        assert update["note"] == [{"text": f"keystroke {number}"}], "this call's draft, no other's"
    assert perf_counter() - started < 5


@pytest.mark.fault("C09")
def test_at_most_three_cards_are_not_critical():
    """Signs, a second injection order, low potassium and a pregnancy at once: the least urgent
    card is left out, a critical one never."""
    record = {
        "results": [
            {"test": "B12", "value": "160 pg/mL"},
            {"test": "potassium", "value": "3.1 mmol/L"},
        ],
        "conditions": [{"what": "paraesthesia", "onset": AS_OF}],
        "orders": [
            {**INJECTION, **THREE_A_WEEK, "id": "running", "status": "active", "written": AS_OF}
        ],
    }
    slip = {**INJECTION, **THREE_A_WEEK, "dose": "1000 mg"}
    patient = {"age": 31, "pregnant": True}
    answer = ask_vignette(request_for(made_up([slip], patient=patient, record=record)))
    found = [(card["indicator"], card["source"]["topic"]["code"]) for card in answer.cards]
    assert found == [
        ("critical", "dose"),
        ("warning", "regimen"),
        ("warning", "referral"),
        ("warning", "duplicate"),
    ]


RESTRICTED = {"system": "http://terminology.hl7.org/CodeSystem/v3-Confidentiality", "code": "R"}
LABELS = {
    "restricted": [RESTRICTED],
    "very restricted": [{"system": RESTRICTED["system"], "code": "V"}],
    "break-glass": [
        {"system": "http://terminology.hl7.org/CodeSystem/v3-ActReason", "code": "BTG"}
    ],
    "42 CFR part 2": [
        {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "42CFRPart2"}
    ],
    "normal, and restricted": [{**RESTRICTED, "code": "N"}, RESTRICTED],
}


def labelled(request: Json, labels: list[Json], *kinds: str) -> Json:
    """The same request with every resource (of these types) of the record labelled."""
    for value in request.get("prefetch", {}).values():
        entries = (value or {}).get("entry", [{"resource": value}])
        for resource in (e["resource"] for e in entries if e["resource"]):
            if not kinds or resource["resourceType"] in kinds:
                resource["meta"] = {"security": labels}
    return request


def facts_of(answer: Any) -> str:
    """What the cards say, without what the protocol says of itself."""
    parts = []
    for card in answer.cards:
        facts = card["detail"].partition("**Where this comes from**")[0]
        parts += [card["summary"], facts.partition("Decision support for prescribers")[0]]
    return " ".join(parts).lower()


@pytest.mark.fault("D39")
@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS.keys())
def test_a_restricted_result_informs_and_is_not_quoted(labels):
    request = request_for(made_up([INJECTION], record=LOW))
    plain = ask_vignette(request)
    assert "120 pg/ml" in facts_of(plain)
    guarded = ask_vignette(labelled(request, labels))
    assert topics(guarded) == topics(plain)
    first, usual = (next(offered_orders(one)) for one in (guarded, plain))
    assert first["dosageInstruction"] == usual["dosageInstruction"]
    assert "120 pg/ml" not in facts_of(guarded)
    assert "2026-06-10" not in facts_of(guarded)
    assert "restricted access" in facts_of(guarded)


@pytest.mark.fault("D39")
@pytest.mark.parametrize(
    "labels", [[], [{**RESTRICTED, "code": "N"}], [{"system": "https://ehr.example", "code": "x"}]]
)
def test_any_other_label_changes_nothing(labels):
    request = request_for(made_up([INJECTION], record=LOW))
    plain = facts_of(ask_vignette(request))
    assert facts_of(ask_vignette(labelled(request, labels))) == plain


@pytest.mark.fault("D39")
def test_of_several_records_only_the_restricted_one_is_left_out():
    record = {**LOW, "conditions": [{"what": "paraesthesia", "onset": "2026-05-01"}]}
    request = request_for(made_up([INJECTION], record=record))
    said = facts_of(ask_vignette(labelled(request, [RESTRICTED], "Condition")))
    assert "120 pg/ml" in said
    assert "paraesthesia recorded" not in said
    assert said.count("a record with restricted access was considered too") == 2  # on two cards


@pytest.mark.fault("D39")
def test_the_headline_of_a_regimen_does_not_give_the_record_away():
    for what, word in (
        ("recreational nitrous oxide use", "nitrous"),
        ("colon cancer", "cancer"),
        ("pregnancy", "pregnan"),
    ):
        conditions = [
            {"what": what, "onset": "2026-05-20"},
            {"what": "paraesthesia", "onset": "2026-05-20"},
        ]
        request = request_for(made_up([INJECTION], record={**LOW, "conditions": conditions}))
        answer = ask_vignette(labelled(request, [RESTRICTED], "Condition"))
        (regimen,) = [c for c in answer.cards if c["source"]["topic"]["code"] == "regimen"]
        assert word not in (regimen["summary"] + regimen["detail"]).lower()


@pytest.mark.fault("D39")
def test_no_vignette_quotes_a_record_when_all_are_restricted():
    """The same topics, as urgent, and no date of the record on any card."""
    for vignette in all_vignettes():
        request = request_for(vignette)
        plain = ask_vignette(request, vignette.as_of, vignette.profile)
        guarded = ask_vignette(labelled(request, [RESTRICTED]), vignette.as_of, vignette.profile)
        assert guarded.status == plain.status, vignette.id
        if plain.status != 200 or "prefetch" not in request:
            continue
        assert topics(guarded) == topics(plain), vignette.id
        assert not re.findall(r"\d{4}-\d{2}-\d{2}", facts_of(guarded)), vignette.id
        for result in resources(request, "Observation"):
            value = result.get("valueQuantity", {})
            said = f"{value.get('value')} {value.get('unit')}".lower()
            if value and said != "20 cm":  # the threshold that is asked about
                assert said not in facts_of(guarded), (vignette.id, said)


@pytest.mark.fault("D39")
@pytest.mark.parametrize("where", ["beside", "contained", "contained elsewhere"])
def test_the_label_of_a_medication_guards_the_order_that_names_it(where):
    running = {"what": "hydroxocobalamin injection", "dose": "1 mg", "route": "IM"}
    record = {**LOW, "orders": [{**running, "timing": "every 2 months", "written": "2026-01-07"}]}
    request = request_for(made_up([{**running, "timing": "every 3 months"}], record=record))
    plain = ask_vignette(request)
    assert "2026-01-07" in facts_of(plain)
    (order,) = resources(request, "MedicationRequest")
    product = {
        "resourceType": "Medication",
        "id": "product",
        "meta": {"security": [RESTRICTED]},
        "code": order["medicationCodeableConcept"],
    }
    if where == "contained elsewhere":  # the concept says the medicine; the label still counts
        order["contained"] = [product]
    else:
        order.pop("medicationCodeableConcept")
        name = "#product" if where == "contained" else "Medication/product"
        order["medicationReference"] = {"reference": name}
    if where == "contained":
        order["contained"] = [product]
    if where == "beside":
        bundle = next(b for b in request["prefetch"].values() if order in _resources_of(b))
        bundle["entry"].append({"resource": product, "search": {"mode": "include"}})
    guarded = ask_vignette(request)
    assert topics(guarded) == topics(plain)
    assert "2026-01-07" not in facts_of(guarded)
    product["meta"] = {"security": [{**RESTRICTED, "code": "N"}]}
    assert "2026-01-07" in facts_of(ask_vignette(request))  # any other label changes nothing


def _resources_of(bundle: Json | None) -> list[Json]:
    return [entry["resource"] for entry in (bundle or {}).get("entry", ())]


@pytest.mark.fault("D39", "O16")
@pytest.mark.parametrize("label", [RESTRICTED, {**RESTRICTED, "code": "N"}])
def test_a_draft_of_the_session_can_be_restricted(label):
    """The card on it stands; why other checks did not fire is not kept."""
    request = request_for(made_up([{**INJECTION, **THREE_A_WEEK, "route": "IV"}], record=LOW))
    draft(request)["meta"] = {"security": [label]}
    assert topics(ask_vignette(request)) == {"ivroute": "warning"}
    call = decode_request(json.dumps(request).encode())
    services = Services(Settings(), lambda: AS_OF, load_protocol(), development_tenant(Settings()))
    kept = answer_of(decode_order_select(call.context), call, services)
    told = {o.why for o in kept.outcomes if not o.fired}
    assert (told == {"not told: the record has restricted entries"}) == (label is RESTRICTED)


@pytest.mark.fault("D39", "O16")
def test_what_is_recorded_of_a_decision_names_no_restricted_entry():
    conditions = [
        {"what": "recreational nitrous oxide use", "onset": "2026-05-20"},
        {"what": "paraesthesia", "onset": "2026-05-20"},
    ]
    record = {"results": [{"test": "B12", "value": "320 pg/mL"}], "conditions": conditions}
    request = labelled(request_for(made_up([INJECTION], record=record)), [RESTRICTED])
    call = decode_request(json.dumps(request).encode())
    services = Services(Settings(), lambda: AS_OF, load_protocol(), development_tenant(Settings()))
    kept = answer_of(decode_order_select(call.context), call, services)
    assert "nitrous" not in str([(o.rule, o.fired, o.why) for o in kept.outcomes]).lower()
    assert "nitrous" not in str(kept.rules).lower()


def said_of_record(card: Json) -> str:
    """What a card says of the record: not the protocol's sentences, nor where they come from."""
    found = card["detail"].partition("**Why you see this**")[2]
    return re.split(r"\n\n\*\*|\n\nDecision support", found)[0]


def told(request: Json) -> tuple[set[Decimal], set[str]]:
    """All numbers and dates that a request holds, in values and in texts."""
    text = json.dumps(request)
    days = set(re.findall(r"\d{4}-\d{2}-\d{2}", text))
    numbers = re.findall(r"\d+(?:\.\d+)?", re.sub(r"\d{4}-\d{2}-\d{2}", " ", text))
    return {Decimal(number) for number in numbers}, days


MEASURED = re.compile(
    r"(\d+(?:\.\d+)?) ?(pg/mL|pmol/L|ng/L|ng/mL|nmol/L|umol/L|mmol/L|g/dL|g/L|fL)"
)


@pytest.mark.fault("C11")
def test_every_date_and_measured_number_of_a_card_is_in_the_record():
    """A value is quoted as it was sent, with its unit; beside it only the protocol's own limits."""
    quoted = 0
    for vignette in all_vignettes():
        request = request_for(vignette)
        answer = ask_vignette(request, vignette.as_of, vignette.profile)
        if answer.status != 200:
            continue
        numbers, days = told(request)
        for card in answer.cards:
            facts = said_of_record(card)
            assert set(re.findall(r"\d{4}-\d{2}-\d{2}", facts)) <= days, vignette.id
            for line in facts.splitlines():
                value, _, _ = line.partition(":")  # after it the limit it was compared with
                for number, _ in MEASURED.findall(value):
                    quoted += 1
                    assert Decimal(number) in numbers, (vignette.id, line)
    assert quoted > 100


@pytest.mark.fault("D37")
def test_ten_thousand_results_change_nothing_and_are_answered_in_time(ask, golden, golden_decision):
    """Work beyond a deadline would be seen; the limit is generous, the machine may be busy."""
    others = [
        {
            "resource": {
                "resourceType": "Observation",
                "id": f"other-{i}",
                "status": "final",
                "code": {"coding": [{"system": "http://loinc.org", "code": "8867-4"}]},
                "effectiveDateTime": "2026-06-10",
                "valueQuantity": {"value": 60 + i % 40, "unit": "/min"},
            }
        }
        for i in range(10_000)
    ]
    golden["prefetch"]["observations"]["entry"] += others
    start = perf_counter()
    response = ask(golden)
    assert perf_counter() - start < 3
    assert topics_of(response) == [c["source"]["topic"]["code"] for c in golden_decision]
