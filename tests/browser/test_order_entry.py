"""The order-entry page in Chromium: orders, advice, suggestions, reasons, and what goes wrong."""

from __future__ import annotations

import json

import pytest

from tests.browser.chromium import answered
from tests.browser.demo_patients import source

PATIENTS = {patient["id"]: patient for patient in source()["patient"]}
HOOK = "**/cds-services/b12-order-select"


def open_order(page, url, query):
    page.goto(f"{url}/?{query}")
    answered(page)


def cards(page):
    """Topic and indicator of each card, as shown."""
    return [
        f"{card.query_selector('.source').text_content()} {card.get_attribute('class').split()[1]}"
        for card in page.query_selector_all("#cards > article")
    ]


def text(page, selector):
    return page.inner_text(selector)


def accept(page, label):
    page.get_by_role("button", name=f"Accept: {label}").first.click()
    answered(page)


@pytest.mark.parametrize("patient", PATIENTS)
def test_every_patient_shows_what_was_promised(watched, url, patient):
    page = watched.page
    open_order(page, url, f"patient={patient}")
    expected = PATIENTS[patient]["expect"]
    if expected == ["412"]:
        assert "No advice could be given" in text(page, "#cards")
        assert cards(page) == []
        watched.assert_quiet(may_fail=("/b12-order-select",))
        return
    assert cards(page) == expected
    assert patient.upper() in text(page, "#banner-name")
    assert ("No advice on this order" in text(page, "#cards")) == (expected == [])
    watched.assert_quiet()


def test_all_groups_of_patients_are_offered(page, url):
    open_order(page, url, "patient=alder")
    offered = page.eval_on_selector_all("#patient option", "all => all.map((o) => o.value)")
    assert offered == list(PATIENTS)


def test_critical_comes_first(page, url):
    open_order(page, url, "patient=poplar")
    assert cards(page) == ["leber critical", "regimen info"]


@pytest.mark.parametrize("patient", ["alder", "cedar", "elm", "holly", "juniper", "willow"])
def test_an_accepted_suggestion_leaves_the_service_silent(watched, url, patient):
    page = watched.page
    open_order(page, url, f"patient={patient}")
    page.locator("#cards button.main").first.click()
    answered(page)
    assert cards(page) == []
    assert "nothing to add" in text(page, "#cards")
    watched.assert_quiet()


def test_an_accepted_regimen_is_on_the_form_and_in_the_session(watched, url):
    page = watched.page
    open_order(page, url, "patient=alder")
    accept(page, "Hydroxocobalamin 1 mg IM three times a week")
    shown = {name: page.input_value(f"#{name}") for name in ("dose", "unit", "route", "frequency")}
    assert shown == {"dose": "1", "unit": "mg", "route": "im", "frequency": "3-a-week"}
    assert page.input_value("#duration") == "2-weeks"
    session = page.query_selector_all("#session li")
    assert len(session) == 2
    assert "every 2-3 months" in session[1].inner_text()
    sent = watched.hooks[-1]["context"]
    assert sent["selections"] == ["MedicationRequest/draft-1"]
    assert len(sent["draftOrders"]["entry"]) == 2
    assert all(e["resource"]["status"] == "draft" for e in sent["draftOrders"]["entry"])


def test_a_removed_order_is_gone(page, url):
    open_order(page, url, "patient=rowan")
    accept(page, "Remove folic acid")
    assert "Nothing ordered yet." in text(page, "#session")
    assert page.input_value("#product") == ""
    assert "Choose a product" in text(page, "#cards")


def test_b12_added_before_folic_acid_ends_the_critical_card(page, url):
    open_order(page, url, "patient=rowan")
    accept(page, "Add B12 first")
    assert cards(page) == ["folate info"]
    assert len(page.query_selector_all("#session li")) == 2


def test_a_change_asks_again_and_fast_changes_ask_once(watched, url):
    page = watched.page
    open_order(page, url, "patient=linden&product=amoxicillin")
    assert cards(page) == []
    before = len(watched.hooks)
    page.select_option("#product", "cyanocobalamin")
    page.select_option("#route", "iv")
    page.fill("#dose", "1000")
    answered(page)
    assert len(watched.hooks) == before + 1
    assert cards(page)[0] == "ivroute critical"
    dosage = watched.hooks[-1]["context"]["draftOrders"]["entry"][0]["resource"][
        "dosageInstruction"
    ][0]
    assert dosage["route"]["coding"][0]["code"] == "47625008"
    assert dosage["doseAndRate"][0]["doseQuantity"] == {
        "value": 1000, "unit": "microgram", "system": "http://unitsofmeasure.org", "code": "ug",
    }  # fmt: skip


def test_the_prefetch_is_what_discovery_asked_for(watched, url):
    page = watched.page
    open_order(page, url, "patient=cedar")
    services = page.evaluate("() => fetch('/cds-services').then((r) => r.json())")["services"]
    asked = next(s for s in services if s["id"] == "b12-order-select")["prefetch"]
    prefetch = watched.hooks[-1]["prefetch"]
    assert set(prefetch) == set(asked)
    assert prefetch["patient"]["id"] == "demo-cedar"
    assert prefetch["allergies"] == {"resourceType": "Bundle", "type": "searchset", "total": 0}
    kinds = {e["resource"]["resourceType"] for e in prefetch["observations"]["entry"]}
    assert kinds == {"Observation"}


def test_a_dose_that_is_no_number_is_said_and_not_sent(watched, url):
    page = watched.page
    open_order(page, url, "patient=alder")
    page.fill("#dose", "one")
    answered(page)
    assert page.get_attribute("#dose", "aria-invalid") == "true"
    assert page.is_visible("#dose-problem")
    order = watched.hooks[-1]["context"]["draftOrders"]["entry"][0]["resource"]
    assert "doseAndRate" not in json.dumps(order)


def test_stopping_and_continuing_an_order(watched, url):
    page = watched.page
    open_order(page, url, "patient=birch&product=")
    page.get_by_role("button", name="Stop: ").click()
    answered(page)
    assert cards(page) == ["stop critical"]
    assert not page.is_visible("#product")
    page.select_option("#stop-status", "on-hold")
    answered(page)
    assert cards(page) == ["stop warning"]
    page.get_by_role("button", name="Continue the order").click()
    answered(page)
    assert page.is_visible("#product")
    assert "Choose a product" in text(page, "#cards")
    watched.assert_quiet()


def test_a_second_order_stands_beside_the_first(watched, url):
    page = watched.page
    open_order(page, url, "patient=alder")
    page.get_by_role("button", name="Add another order").click()
    page.select_option("#product", "folic-acid-5-mg")
    answered(page)
    assert cards(page) == ["folate info"]
    context = watched.hooks[-1]["context"]
    assert len(context["draftOrders"]["entry"]) == 2
    assert context["selections"] == ["MedicationRequest/draft-2"]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("patient=tupelo&product=cyanocobalamin&route=iv", "ivroute critical"),
        ("patient=birch&stop=maintenance", "stop critical"),
        ("patient=alder&product=folic-acid-5-mg&dose=5&unit=mg", "folate critical"),
    ],
)
def test_an_address_leads_to_a_patient_and_an_order(page, url, query, expected):
    open_order(page, url, query)
    assert cards(page)[0] == expected
    again = page.url
    page.goto(again)
    answered(page)
    assert cards(page)[0] == expected


def test_an_address_with_nonsense_shows_the_first_patient(watched, url):
    open_order(watched.page, url, "patient=%3Cscript%3E&product=nothing&dose=x")
    assert "ALDER" in text(watched.page, "#banner-name")
    watched.assert_quiet()


def test_the_exchange_can_be_looked_at(watched, url):
    page = watched.page
    open_order(page, url, "patient=cedar")
    page.locator("#explanation-part summary").click()
    page.wait_for_function("() => document.getElementById('explanation').textContent !== ''")
    assert "Facts found" in text(page, "#explanation")
    page.locator("#request-part summary").click()
    page.locator("#response-part summary").click()
    assert json.loads(text(page, "#request"))["hook"] == "order-select"
    assert json.loads(text(page, "#response"))["cards"]
    assert "200" in text(page, "#exchange-line")
    watched.assert_quiet()


# --- reasons ------------------------------------------------------------------------------------


def give_reason(page, choice, comment=""):
    page.get_by_text("Keep the order, give a reason").first.click()
    form = page.locator("#cards article form").first
    if choice is not None:
        form.locator("select").select_option(index=choice)
    form.locator("input").fill(comment)
    form.get_by_role("button", name="Override this card").click()


@pytest.mark.parametrize(
    ("status", "said"),
    [(200, "Feedback sent."), (404, "Feedback is not on"), (500, "Feedback was not accepted")],
)
def test_a_reason_is_sent_and_its_fate_is_said(page, url, status, said):
    sent = []

    def feedback(route):
        sent.append(route.request.post_data_json)
        route.fulfill(status=status, content_type="application/json", body="{}")

    page.route("**/feedback", feedback)
    open_order(page, url, "patient=rowan")
    give_reason(page, 1, "discussed")
    page.wait_for_selector("#cards .feedback")
    assert said in text(page, "#cards")
    (item,) = sent[0]["feedback"]
    assert item["outcome"] == "overridden"
    assert set(item["overrideReason"]["reason"]) == {"code", "system"}
    assert item["overrideReason"]["userComment"] == "discussed"
    assert item["outcomeTimestamp"].endswith("Z")


def test_a_critical_card_needs_a_reason(page, url):
    open_order(page, url, "patient=rowan")
    give_reason(page, None)
    assert page.query_selector("#cards .feedback") is None
    assert page.query_selector("#cards select:invalid") is not None


def test_an_accepted_suggestion_is_fed_back(page, url):
    sent = []

    def feedback(route):
        sent.append(route.request.post_data_json)
        route.fulfill(status=200, content_type="application/json", body="{}")

    page.route("**/feedback", feedback)
    open_order(page, url, "patient=alder")
    page.locator("#response-part summary").click()
    card = json.loads(text(page, "#response"))["cards"][0]
    page.locator("#cards button.main").first.click()
    page.wait_for_function("() => document.getElementById('feedback-line').textContent !== ''")
    (item,) = sent[0]["feedback"]
    assert item["card"] == card["uuid"]
    assert item["acceptedSuggestions"] == [{"id": card["suggestions"][0]["uuid"]}]
    assert "Feedback sent." in text(page, "#feedback-line")


# --- what goes wrong ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({"status": 500, "body": '{"resourceType":"OperationOutcome","issue":[{"severity":"error",'
          '"code":"exception","diagnostics":"internal error 7"}]}'}, "500: internal error 7"),
        ({"status": 503, "body": "<h1>busy</h1>"}, "The service answered 503."),
        ({"status": 200, "body": "not JSON"}, "The answer is not JSON."),
        (None, "The service could not be reached."),
    ],
)  # fmt: skip
def test_a_failure_is_never_reassurance(page, url, answer, said):
    def fail(route):
        route.abort() if answer is None else route.fulfill(
            content_type="application/json", **answer
        )

    page.route(HOOK, fail)
    open_order(page, url, "patient=birch")
    shown = text(page, "#cards")
    assert said in shown
    assert "it was not checked" in shown
    assert "nothing to add" not in shown
    assert text(page, "#status") == "The service gave no answer"


def test_a_slow_service_is_not_waited_for_without_end(page, url):
    page.route(HOOK, lambda route: None)
    page.goto(f"{url}/?patient=birch")
    page.wait_for_function(
        "() => document.getElementById('status').textContent === 'Asking the service'"
    )
    assert "nothing to add" not in text(page, "#cards")
    page.wait_for_selector(".problem", timeout=15_000)
    assert "did not answer within 10 seconds" in text(page, "#cards")


def test_a_late_answer_does_not_replace_a_newer_one(page, url):
    held = []

    def hold_first(route):
        held.append(route) if not held else route.continue_()

    page.route(HOOK, hold_first)
    page.goto(f"{url}/?patient=spruce")
    page.wait_for_function("() => document.getElementById('status').textContent !== ''")
    page.wait_for_timeout(400)
    page.select_option("#product", "amoxicillin")
    answered(page)
    assert cards(page) == []
    assert "nothing to add" in text(page, "#cards")


def test_a_page_without_its_patients_says_so(page, url):
    page.route("**/demo/catalogue", lambda route: route.fulfill(status=503, body="{}"))
    page.goto(f"{url}/")
    page.wait_for_selector("#page-problem:not([hidden])")
    assert "The service answered 503." in text(page, "#page-problem")


# --- keyboard -----------------------------------------------------------------------------------


def test_everything_can_be_done_from_the_keyboard(watched, url):
    page = watched.page
    open_order(page, url, "patient=alder")
    reached = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        name = page.evaluate(
            "() => document.activeElement.id || document.activeElement.ariaLabel"
            " || document.activeElement.textContent.trim()"
        )
        reached.add(name)
        if name.startswith("Accept: Hydroxocobalamin 1 mg IM three times"):
            break
    assert {"patient", "product", "dose", "unit", "route", "frequency", "duration"} <= reached
    assert {"Skip to content", "another"} <= reached
    page.keyboard.press("Enter")
    answered(page)
    assert cards(page) == []
    assert page.evaluate("() => document.activeElement.id") == "advice-title"
    watched.assert_quiet()


def test_the_status_is_told_to_a_screen_reader(page, url):
    open_order(page, url, "patient=spruce")
    assert page.get_attribute("#status", "role") == "status"
    assert text(page, "#status") == "2 cards: 1 critical, 1 info"


def test_typing_a_dose_keeps_the_place(page, url):
    open_order(page, url, "patient=alder")
    page.focus("#dose")
    page.keyboard.type("0.5", delay=120)
    answered(page)
    assert page.input_value("#dose") == "0.5"
    assert page.evaluate("() => document.activeElement.id") == "dose"
