"""Does the checker accept a good answer, and does it see each thing that can be wrong?"""

from __future__ import annotations

import copy
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from tests.support.answers import (
    Answer,
    error_problems,
    expectation_problems,
    general_problems,
    text_problems,
)
from tests.support.record import codeable, concept, dosage, medication_request, quantity
from tests.support.regimens import classify, phases_match
from tests.support.vignette import Expected, ExpectedCard, Words

Json = dict[str, Any]
Change = Callable[[Json], None]

PATIENT = "pat1"
HYDROXOCOBALAMIN = "hydroxocobalamin injection"
UUIDS = [f"d1577c69-dfbe-44ad-ba6d-3e05e953b2e{digit}" for digit in "0123456789"]


def draft() -> Json:
    """An order as a client has it: with things of its own, and no details yet."""
    return {
        "resourceType": "MedicationRequest",
        "id": "draft-1",
        "extension": [{"url": "https://ehr.example/note", "valueString": "kept"}],
        "identifier": [{"system": "https://ehr.example/order", "value": "1"}],
        "status": "draft",
        "category": [concept("https://ehr.example/category", "outpatient")],
        "subject": {"reference": f"Patient/{PATIENT}"},
    } | medication_request({"what": HYDROXOCOBALAMIN})


def request() -> Json:
    return {
        "context": {
            "patientId": PATIENT,
            "selections": ["MedicationRequest/draft-1"],
            "draftOrders": {"resourceType": "Bundle", "entry": [{"resource": draft()}]},
        }
    }


def suggested(timing: str, **changes: Any) -> Json:
    order = {
        "resourceType": "MedicationRequest",
        "status": "draft",
        "intent": "order",
        "subject": {"reference": f"Patient/{PATIENT}"},
        "authoredOn": "2026-06-15",
        "requester": {"reference": "Practitioner/p1"},
        "groupIdentifier": {"value": "group-1"},
    } | medication_request(
        {"what": HYDROXOCOBALAMIN, "dose": "1 mg", "route": "IM", "timing": timing}
    )
    return order | changes


def card() -> Json:
    """TIW2 then M23, recommended."""
    loading = draft() | suggested("3 a week for 2 weeks, 6 doses")
    return {
        "uuid": UUIDS[0],
        "summary": "B12 deficiency: hydroxocobalamin 1 mg IM three times a week for 2 weeks",
        "indicator": "info",
        "detail": "B12 120 pg/mL on 2026-06-10. The protocol is a draft: not yet signed.",
        "source": {
            "label": "Vitamin B12 protocol, default 0.1",
            "topic": {
                "system": "http://127.0.0.1:8080/fhir/CodeSystem/card-topic",
                "code": "regimen",
            },
        },
        "selectionBehavior": "at-most-one",
        "suggestions": [
            {
                "label": "Load, then every 2-3 months",
                "uuid": UUIDS[1],
                "isRecommended": True,
                "actions": [
                    {"type": "update", "description": "Loading", "resource": loading},
                    {
                        "type": "create",
                        "description": "Maintenance",
                        "resource": suggested("every 2-3 months"),
                    },
                ],
            }
        ],
    }


def another_card(topic: str, indicator: str, number: int) -> Json:
    other = card()
    other["uuid"] = UUIDS[number]
    other["indicator"] = indicator
    other["source"]["topic"]["code"] = topic
    del other["suggestions"], other["selectionBehavior"]
    return other


def answer(*cards: Json, status: int = 200) -> Answer:
    return Answer(status, "application/json", {"cards": list(cards)}, request())


def problems_after(change: Change) -> list[str]:
    changed = card()
    change(changed)
    return general_problems(answer(changed))


def test_a_good_answer_has_no_problems() -> None:
    assert general_problems(answer(card())) == []


def test_silence_has_no_problems() -> None:
    assert general_problems(answer()) == []


# --- the card ---------------------------------------------------------------------------------


def topic(code: str) -> Change:
    return lambda c: c["source"]["topic"].update(code=code)


CARD_FAULTS: dict[str, tuple[Change, str]] = {
    "no uuid": (lambda c: c.pop("uuid"), "no uuid"),
    "a uuid that is none": (lambda c: c.update(uuid="1234"), "no uuid"),
    "an upper-case uuid": (lambda c: c.update(uuid=UUIDS[0].upper()), "no uuid"),
    "a long summary": (lambda c: c.update(summary="x" * 140), "summary of 140"),
    "no summary": (lambda c: c.pop("summary"), "summary of 0"),
    "an indicator of another topic": (topic("referral"), "indicator info is not one"),
    "an unknown topic": (topic("other"), "indicator info is not one"),
    "an unknown field": (lambda c: c.update(colour="red"), "unknown field colour"),
    "no source label": (lambda c: c["source"].pop("label"), "no source label"),
    "another topic system": (
        lambda c: c["source"]["topic"].update(system="urn:x"),
        "system is not that of the contract",
    ),
    "no detail": (lambda c: c.pop("detail"), "no detail"),
    "no version": (lambda c: c["source"].update(label="Protocol default"), "and its version"),
    "another profile": (lambda c: c["source"].update(label="Protocol us 0.1"), "names profile"),
    "not said to be a draft": (lambda c: c.update(detail="Signed."), "is a draft"),
    "HTML": (lambda c: c.update(detail="<b>draft</b>"), "HTML"),
    "a null": (lambda c: c.update(links=None), "empty value at answer.cards[0].links"),
    "an empty list": (lambda c: c.update(links=[]), "empty value at answer.cards[0].links"),
    "a reason without display": (
        lambda c: c.update(overrideReasons=[{"code": "x"}]),
        "override reason has no display",
    ),
    "suggestions without behaviour": (lambda c: c.pop("selectionBehavior"), "selectionBehavior"),
    "behaviour without suggestions": (lambda c: c.pop("suggestions"), "selectionBehavior"),
    "unknown behaviour": (lambda c: c.update(selectionBehavior="all"), "selectionBehavior all"),
}


@pytest.mark.parametrize("fault", CARD_FAULTS)
def test_a_fault_of_the_card_is_seen(fault: str) -> None:
    change, problem = CARD_FAULTS[fault]
    assert any(problem in found for found in problems_after(change)), problems_after(change)


def test_two_recommended_suggestions_are_seen() -> None:
    def twice(c: Json) -> None:
        c["suggestions"].append(copy.deepcopy(c["suggestions"][0]) | {"uuid": UUIDS[2]})

    assert problems_after(twice) == ["card 0 (regimen): more than one recommended suggestion"]


# --- suggestions and orders -----------------------------------------------------------------


def suggestion(change: Change) -> Change:
    return lambda c: change(c["suggestions"][0])


def action(number: int, change: Change) -> Change:
    return lambda c: change(c["suggestions"][0]["actions"][number])


def order(number: int, change: Change) -> Change:
    return action(number, lambda a: change(a["resource"]))


def line(number: int, change: Change) -> Change:
    return order(number, lambda o: change(o["dosageInstruction"][0]))


def repeat(number: int, **values: Any) -> Change:
    return line(number, lambda d: d["timing"]["repeat"].update(values))


def _to_delete(target: str) -> Change:
    def change(a: Json) -> None:
        a.clear()
        a.update(type="delete", description="Remove", resourceId=target)

    return change


ORDER_FAULTS: dict[str, tuple[Change, str]] = {
    "no label": (suggestion(lambda s: s.pop("label")), "no label"),
    "no suggestion uuid": (suggestion(lambda s: s.pop("uuid")), "no uuid"),
    "no actions": (suggestion(lambda s: s.pop("actions")), "no actions"),
    "no description": (action(0, lambda a: a.pop("description")), "no description"),
    "another action type": (action(0, lambda a: a.update(type="sign")), "action type sign"),
    "a delete of what was not selected": (
        action(0, _to_delete("MedicationRequest/other")),
        "a delete names no selected draft",
    ),
    "an update of what was not selected": (
        order(0, lambda o: o.update(id="other")),
        "an update names no selected draft",
    ),
    "a create with a draft's id": (
        order(1, lambda o: o.update(id="draft-1")),
        "a create takes the id of a draft",
    ),
    "the extension is lost": (order(0, lambda o: o.pop("extension")), "changes extension"),
    "the identifier is lost": (order(0, lambda o: o.pop("identifier")), "changes identifier"),
    "the category is changed": (
        order(0, lambda o: o.update(category=[{"text": "x"}])),
        "changes category",
    ),
    "something is added": (order(0, lambda o: o.update(priority="stat")), "adds priority"),
    "active": (order(1, lambda o: o.update(status="active")), "status is active"),
    "a proposal": (order(1, lambda o: o.update(intent="proposal")), "intent is proposal"),
    "another patient": (
        order(1, lambda o: o.update(subject={"reference": "Patient/x"})),
        "subject is",
    ),
    "no requester": (order(1, lambda o: o.pop("requester")), "no requester"),
    "no authoredOn": (order(1, lambda o: o.pop("authoredOn")), "no authoredOn"),
    "not R4": (order(1, lambda o: o.update(category={"text": "x"})), "not valid R4"),
    "no medicine text": (
        order(1, lambda o: o["medicationCodeableConcept"].pop("text")),
        "the medicine has no text",
    ),
    "another system first": (
        order(1, lambda o: o["medicationCodeableConcept"]["coding"].insert(0, {"system": "x:y"})),
        "first coding is not RxNorm",
    ),
    "two dosage instructions": (
        order(1, lambda o: o["dosageInstruction"].append({"text": "x"})),
        "not exactly one dosageInstruction",
    ),
    "no dosage text": (line(1, lambda d: d.pop("text")), "dosageInstruction has no text"),
    "no timing": (line(1, lambda d: d.pop("timing")), "without timing, route or dose"),
    "a route without SNOMED CT": (
        line(1, lambda d: d["route"]["coding"][0].update(system="urn:x")),
        "no SNOMED CT code",
    ),
    "a dose without UCUM": (
        line(1, lambda d: d["doseAndRate"][0]["doseQuantity"].pop("system")),
        "no UCUM code",
    ),
    "a dose in another unit": (
        line(1, lambda d: d["doseAndRate"][0].update(doseQuantity=quantity("1000 microgram"))),
        "the dose of hydroxocobalamin is in ug",
    ),
    "periodMax below period": (repeat(1, periodMax=1), "periodMax"),
    "a unit that is none": (repeat(1, periodUnit="month"), "periodUnit month"),
    "a dated maintenance": (
        repeat(1, boundsPeriod={"start": "2026-07-01"}),
        "a new order is dated",
    ),
    "no shared group": (
        order(1, lambda o: o.update(groupIdentifier={"value": "group-2"})),
        "do not share a groupIdentifier",
    ),
    "no group": (order(0, lambda o: o.pop("groupIdentifier")), "share a groupIdentifier"),
    "shorthand in the dosage": (line(1, lambda d: d.update(text="1.0 mg")), "trailing zero"),
}


@pytest.mark.parametrize("fault", ORDER_FAULTS)
def test_a_fault_of_a_suggestion_is_seen(fault: str) -> None:
    change, problem = ORDER_FAULTS[fault]
    assert any(problem in found for found in problems_after(change)), problems_after(change)


def test_the_encounter_is_asked_for_where_there_is_one() -> None:
    asked = request()
    asked["context"]["encounterId"] = "e1"
    found = general_problems(Answer(200, "application/json", {"cards": [card()]}, asked))
    assert [problem.rpartition(": ")[2] for problem in found] == ["no encounter", "no encounter"]


def test_a_draft_sent_as_invalid_r4_may_be_mended() -> None:
    asked = request()
    entry = asked["context"]["draftOrders"]["entry"][0]["resource"]
    entry["category"] = entry["category"][0]
    assert general_problems(Answer(200, "application/json", {"cards": [card()]}, asked)) == []


# --- the whole answer -------------------------------------------------------------------------


def test_urgent_cards_come_first() -> None:
    cards = [another_card("evidence", "info", 3), another_card("dose", "critical", 4)]
    assert general_problems(answer(*cards)) == ["evidence info stands before dose"]


def test_topics_of_one_level_have_an_order() -> None:
    cards = [another_card("ivroute", "critical", 3), another_card("dose", "critical", 4)]
    assert general_problems(answer(*cards)) == ["critical cards out of order: ivroute, dose"]


def test_a_second_regimen_card_is_seen() -> None:
    cards = [another_card("regimen", "info", 3), another_card("regimen", "info", 4)]
    assert general_problems(answer(*cards)) == ["more than one regimen card"]


def test_a_fourth_card_that_is_not_critical_is_seen() -> None:
    topics = ["symptoms", "pregnancy", "risk", "evidence"]
    cards = [another_card(topic, "info", number) for number, topic in enumerate(topics, start=3)]
    assert general_problems(answer(*cards)) == ["more than 3 cards that are not critical"]


def test_a_uuid_used_twice_is_seen() -> None:
    cards = [another_card("pregnancy", "info", 3), another_card("risk", "info", 3)]
    assert general_problems(answer(*cards)) == ["a uuid occurs twice"]


def test_system_actions_are_seen() -> None:
    body: Json = {"cards": [], "systemActions": []}
    assert general_problems(Answer(200, "application/json", body, request())) != []


def test_an_answer_that_is_not_json_is_seen() -> None:
    assert general_problems(Answer(200, "text/html", None, request())) != []


def test_an_error_is_an_operation_outcome() -> None:
    issue = [{"severity": "error", "code": "incomplete"}]
    good = {"resourceType": "OperationOutcome", "issue": issue}
    assert error_problems(Answer(412, "application/json", good, request())) == []
    assert error_problems(Answer(412, "application/json", {"cards": []}, request())) != []
    empty = {"resourceType": "OperationOutcome", "issue": []}
    assert error_problems(Answer(412, "application/json", empty, request())) != []


# --- texts ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "1000 microgram IM daily",
        "0.5 mg by mouth",
        "B12 0.12 mcg/L on 2026-06-10",
        "B12 <150 pg/mL; ileum > 20 cm",
        "version 1.0.0, reviewed 2026-01-10",
        "10 doses of 1 mg",
        "3.2 mmol/L",
    ],
)
def test_a_good_text_has_no_problems(text: str) -> None:
    assert list(text_problems(text)) == []


@pytest.mark.parametrize(
    "text",
    [
        "1000 mcg IM",
        "1000 µg IM",
        "1000 μg IM",
        "1000 ug",
        "1.0 mg",
        "2.50 mL",
        ".5 mg",
        "1 mg TIW",
        "1 mg QOD",
        "deep SC",
        "use <b>IM</b>",
        "5 &lt; 6",
    ],
)
def test_a_bad_text_is_seen(text: str) -> None:
    assert list(text_problems(text)) != []


# --- regimens ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("timing", "name"),
    [
        ("3 a week for 2 weeks, 6 doses", "TIW2"),
        ("every 2 days", "ALT"),
        ("monthly", "M1"),
        ("every 2 months", "M2"),
        ("every 2-3 months", "M23"),
        ("every 3 months", "M3"),
        ("every 4 weeks", "W4"),
        ("every 28 days", "W4"),
        ("every 2 weeks", "W2"),
        ("2 a week", "BIW"),
        ("daily for 10 days, 10 doses", "DAILY10 hydroxocobalamin"),
        ("3 a week for 2 weeks", ""),
        ("3 a week, 6 doses", ""),
        ("every 2 days for 2 weeks", ""),
        ("monthly for 6 months", ""),
        ("on mon wed fri for 2 weeks", ""),
    ],
)
def test_a_schedule_is_recognised_by_its_exact_shape(timing: str, name: str) -> None:
    assert classify(suggested(timing)) == name


def cyanocobalamin(**changes: str) -> Json:
    facts = {
        "what": "cyanocobalamin injection",
        "dose": "1000 microgram",
        "route": "IM",
        "timing": "daily for 10 days, 10 doses",
    }
    return medication_request(facts | changes)


def test_the_other_product_is_named() -> None:
    assert classify(cyanocobalamin()) == "DAILY10"
    assert classify(cyanocobalamin(timing="monthly")) == "M1 cyanocobalamin"


@pytest.mark.parametrize("change", [{"dose": "100 microgram"}, {"route": "IV"}, {"dose": "1 mL"}])
def test_another_dose_or_route_is_no_regimen(change: dict[str, str]) -> None:
    assert classify(cyanocobalamin(**change)) == ""


def test_another_medicine_is_no_regimen() -> None:
    folate = suggested("monthly", medicationCodeableConcept=codeable("medicines", "folic acid"))
    assert classify(folate) == ""


def test_two_months_may_be_a_range() -> None:
    assert phases_match(("ALT", "M23"), ("ALT", "M2"))
    assert not phases_match(("ALT", "M2"), ("ALT", "M23"))
    assert not phases_match(("ALT",), ("ALT", "M2"))


def test_a_phase_may_be_optional() -> None:
    assert phases_match(("ALT",), ("ALT", "M2?"))
    assert phases_match(("ALT", "M2"), ("ALT", "M2?"))
    assert not phases_match(("ALT", "M1"), ("ALT", "M2?"))


# --- expectations -----------------------------------------------------------------------------


def expecting(**fields: Any) -> Expected:
    return Expected((ExpectedCard("regimen", ("info",), **fields),))


def choice() -> Json:
    """Two regimens, none recommended."""
    both = card()
    first = both["suggestions"][0]
    del first["isRecommended"]
    second = copy.deepcopy(first) | {"uuid": UUIDS[2], "label": "Load, then monthly"}
    monthly = dosage({"dose": "1 mg", "route": "IM", "timing": "monthly"})
    second["actions"][1]["resource"]["dosageInstruction"] = [monthly]
    both["suggestions"].append(second)
    return both


STANDARD = ("TIW2", "M23")
MONTHLY = ("TIW2", "M1")


def test_the_expected_regimen_is_accepted() -> None:
    assert expectation_problems(answer(card()), expecting(regimen=STANDARD)) == []


@pytest.mark.parametrize(
    "fields",
    [
        {"regimen": MONTHLY},
        {"regimen": ("M23",)},
        {"choose": (STANDARD, MONTHLY)},
        {"choose": (STANDARD,)},
        {"one_of": (MONTHLY,)},
        {"regimen": STANDARD, "alternative": (MONTHLY,)},
        {"no_drug": True},
        {"tests": ("B12",)},
        {"tests_any": ("MMA", "homocysteine")},
        {"referrals": ("neurology",)},
        {"removes": ("hydroxocobalamin",)},
        {"adds": ("TIW2",)},
        {"corrects": {"route": "IM", "dose": "2 microgram"}},
        {"corrects": {"product": "cyanocobalamin"}},
    ],
)
def test_another_expectation_is_not(fields: dict[str, Any]) -> None:
    assert expectation_problems(answer(card()), expecting(**fields)) != []


@pytest.mark.parametrize(
    "fields",
    [
        {"one_of": (STANDARD, ("M1",))},
        {"corrects": {"route": "IM", "dose": "1000 microgram", "product": "hydroxocobalamin"}},
        {"adds": ("M23",)},
        {"keeps": ("hydroxocobalamin",)},
    ],
)
def test_looser_expectations_are_accepted(fields: dict[str, Any]) -> None:
    assert expectation_problems(answer(card()), expecting(**fields)) == []


def test_a_choice_is_accepted_in_any_order() -> None:
    wanted = expecting(choose=(MONTHLY, STANDARD))
    assert expectation_problems(answer(choice()), wanted) == []


def test_a_choice_is_no_settled_regimen() -> None:
    wanted = expecting(regimen=STANDARD, may_offer=(MONTHLY,))
    assert expectation_problems(answer(choice()), wanted) != []


def test_a_choice_must_be_one_or_the_other() -> None:
    both = choice() | {"selectionBehavior": "any"}
    wanted = expecting(choose=(MONTHLY, STANDARD))
    assert expectation_problems(answer(both), wanted) == ["regimen: a choice must be at-most-one"]


def test_an_alternative_is_never_recommended() -> None:
    both = choice()
    both["suggestions"][1]["isRecommended"] = True
    wanted = expecting(regimen=STANDARD, alternative=(MONTHLY,))
    assert "regimen: TIW2 then M1 is recommended" in expectation_problems(answer(both), wanted)


def test_the_first_phase_updates_the_draft() -> None:
    new = card()
    new["suggestions"][0]["actions"][0]["type"] = "create"
    found = expectation_problems(answer(new), expecting(regimen=STANDARD))
    assert found == [
        "regimen: TIW2 then M23: actions are create, create, expected an update, then creates"
    ]


def test_a_missing_card_is_seen() -> None:
    assert expectation_problems(answer(), expecting()) == ["no regimen card"]


def test_an_optional_card_may_be_missing() -> None:
    assert expectation_problems(answer(), expecting(optional=True)) == []


def test_an_unexpected_card_is_seen() -> None:
    found = expectation_problems(answer(card()), Expected())
    assert [problem.partition(":")[0] for problem in found] == ["unexpected regimen info"]


def test_a_second_card_of_a_topic_is_seen() -> None:
    cards = [another_card("regimen", "info", 3), another_card("regimen", "info", 4)]
    assert "more than one card of regimen" in expectation_problems(answer(*cards), expecting())


def test_another_indicator_is_seen() -> None:
    wanted = Expected((ExpectedCard("regimen", ("warning",)),))
    assert expectation_problems(answer(card()), wanted) == ["regimen: is info, expected warning"]


def test_another_status_is_seen() -> None:
    assert expectation_problems(answer(), Expected(statuses=(412,))) != []


@pytest.mark.parametrize(
    ("words", "count"),
    [
        (Words(groups=(("PG/ML", "ng/l"), ("2026-06-10",))), 0),
        (Words(groups=(("ng/l",),)), 1),
        (Words(never=("caused by b12",)), 0),
        (Words(never=("maintenance",)), 1),
        (Words(confirmed=True), 0),
        (Words(confirmed=False), 1),
    ],
)
def test_words_are_looked_for_in_all_text(words: Words, count: int) -> None:
    wanted = Expected((ExpectedCard("regimen", ("info",)),), words=words)
    assert len(expectation_problems(answer(card()), wanted)) == count


def test_doubt_is_seen() -> None:
    doubted = card() | {"detail": "The deficiency has not been confirmed. Draft."}
    wanted = Expected((ExpectedCard("regimen", ("info",)),), words=Words(confirmed=True))
    assert expectation_problems(answer(doubted), wanted) == ["says that it is not confirmed"]


def test_the_vignette_reader_refuses_what_it_does_not_know(tmp_path: Path) -> None:
    from tests.support.vignette import VignetteError, read_vignette

    path = tmp_path / "vignette.toml"
    head = f'id = "X1"\ntitle = "x"\nas_of = {date(2026, 6, 15)}\n[[order]]\nwhat = "x"\n[expect]\n'
    path.write_text(head + "silence = true\n", encoding="utf-8")
    assert read_vignette(path).expected == Expected()
    for wrong in ("silenced = true\n", "", 'silence = true\n[[expect.card]]\ntopic = "dose"\n'):
        path.write_text(head + wrong, encoding="utf-8")
        with pytest.raises((VignetteError, KeyError)):
            read_vignette(path)
