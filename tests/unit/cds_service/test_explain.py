"""An answer in words: what was found, what follows, which rule fired and why another did not."""

from __future__ import annotations

from datetime import timedelta

import pytest

from cds_service.explain import WIDTH, cards_text, explanation
from cds_service.hooks.order_select import Explained, explained
from cds_service.hooks.request import decode_order_select, decode_request
from cds_service.protocol_page import RULES
from cds_service.services import Services
from cds_service.settings import Settings
from cds_service.tenants import Tenant
from regimen.protocol import load_protocol
from tests.support.explained import explain_vignette
from tests.support.vignette import all_vignettes

BY_ID = {vignette.id: vignette for vignette in all_vignettes()}


def result_of(name: str) -> Explained:
    return explain_vignette(BY_ID[name])


def text_of(name: str) -> str:
    result = result_of(name)
    assert result.facts is not None
    assert result.evaluation is not None
    return explanation(result.facts, result.evaluation, load_protocol(BY_ID[name].profile))


def part(title: str, text: str) -> str:
    """One section, its lines joined."""
    body = text.partition(f"{title}\n{'-' * len(title)}\n")[2].partition("\n\n")[0]
    return " ".join(body.split())


# --- cards ------------------------------------------------------------------------------------


def test_cards_are_shown_with_their_suggestions_and_actions():
    text = " ".join(cards_text(result_of("V02").answer.cards).split())
    assert text.startswith("WARNING regimen B12 deficiency with neuro signs")
    assert "* Hydroxocobalamin 1 mg IM on alternate days until no further improvement" in text
    assert "update: Change this order to hydroxocobalamin 1 mg IM on alternate days" in text
    assert "WARNING referral" in text
    assert "- Refer urgently to neurology" in text


@pytest.mark.parametrize(("days", "said"), [(0, False), (1, True)])
def test_an_overdue_review_is_said_on_every_card(days, said):
    protocol = load_protocol()
    day = protocol.knowledge.next_review + timedelta(days=days)
    services = Services(
        settings=Settings(), clock=lambda: day, protocol=protocol, tenant=Tenant(id="site")
    )
    request = decode_request(BY_ID["W108"].path.with_name("request.json").read_bytes())
    cards = explained(decode_order_select(request.context), request, services).answer.cards
    assert cards
    assert {("review overdue" in (card.detail or "")) for card in cards} == {said}


def test_no_cards_are_silence_and_not_an_empty_page():
    assert cards_text(()) == "Silence: the order needs no comment."


# --- explanation ------------------------------------------------------------------------------


def test_every_fact_is_shown_with_its_record():
    facts = part("Facts found", text_of("V02"))
    assert "as of 2026-06-15" in facts
    assert "Serum vitamin B12 120 pg/mL, 2026-06-10 [Observation/observation-5]" in facts
    assert "neuro-finding (sensory): Paresthesia of skin, active, confirmed, 2026-05-01" in facts
    assert "selected order: hydroxocobalamin" in facts


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("V28", "ileal resection, 12 cm"),
        ("V34", "Crohn's disease extent 45 cm"),
        ("V09", "hydroxocobalamin given"),
        ("V124", "allergy: cobalt"),
        ("W192", "leber"),
        ("W137", "requested: neurology"),
        ("V88", "not usable"),
        ("W090", "preliminary"),
        ("V30", "length not recorded"),
    ],
)
def test_a_kind_of_fact_is_shown(name, shown):
    assert shown in part("Facts found", text_of(name))


def test_the_answers_of_the_protocol_are_shown():
    answers = part("Answers", text_of("W006"))
    for word in ("DEF confirmed", "NEURO present (gait)", "PHASE not-loaded", "CANCER none"):
        assert word in answers


def test_the_row_and_what_it_offers_are_shown():
    regimen = part("Regimen", text_of("V62"))
    assert regimen.startswith("row 3: B12 deficiency; the neurological finding has another")
    assert regimen.count("offered: ") == 2
    assert "recommended" not in regimen


def test_a_settled_regimen_is_recommended_and_its_alternative_is_not():
    regimen = part("Regimen", text_of("V51"))
    assert "recommended: cyanocobalamin 1000 microgram IM daily" in regimen
    assert "offered: Standard regimen instead: hydroxocobalamin 1 mg IM" in regimen


def test_a_regimen_is_explained_where_the_order_conforms_and_no_card_says_it():
    assert result_of("V05").answer.cards == ()
    assert part("Regimen", text_of("V05")).startswith("row 1:")


def test_where_there_is_no_regimen_there_is_none():
    assert part("Regimen", text_of("W001")) == "none"


def test_every_rule_is_shown_with_why():
    rules = text_of("V02").partition("Rules\n-----\n")[2].partition("\n\n")[0]
    shown = [line.split()[1].rstrip(":") for line in rules.splitlines() if line[2:7].strip()]
    assert [rule for rule in shown if rule in RULES] == list(RULES)
    assert "FIRED regimen: B12 deficiency with neuro signs" in rules
    assert "no    dose: no dose above the usual" in rules


def test_what_was_not_read_is_named():
    assert part("Not read", text_of("V02")) == "none"
    unread = part("Not read", text_of("W221"))
    assert "Condition: server_error (1)" in unread
    assert "Observation: server_error (1)" in unread


def test_an_incomplete_record_is_said_to_be():
    assert "everything that decides was read: no" in part("Answers", text_of("W222"))


@pytest.mark.parametrize("name", sorted(BY_ID))
def test_every_vignette_is_explained_within_the_width(name):
    if result_of(name).facts is None:
        assert BY_ID[name].expected.cards == ()
        return
    lines = text_of(name).splitlines()
    assert max(len(line) for line in lines if " " in line.strip()) <= WIDTH
