"""Is the service content with its own advice, once it is taken?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.properties.patients import drafts, examples, patients
from tests.support.answers import Answer, general_problems, topic_of
from tests.support.cases import accepted, ask, request_for, topics
from tests.support.vignette import Vignette, all_vignettes

Json = dict[str, Any]

# A referral card asks for two letters and rests when both are written.
TAKEN_TOGETHER = {"referral"}
# Advice may come back in a milder form: B12 is added, and is to be given before the folic acid.
MILDER = {("folate", "info")}


@dataclass(frozen=True, slots=True)
class Taken:
    """One way of taking a card's advice."""

    topic: str
    label: str
    suggestions: tuple[Json, ...]


def ways(answer: Answer) -> Iterator[Taken]:
    for card in answer.cards:
        topic, offered = topic_of(card), card.get("suggestions", [])
        if topic in TAKEN_TOGETHER and offered:
            yield Taken(topic, "all of it", tuple(offered))
            continue
        for suggestion in offered:
            if changes_a_medicine(suggestion):
                yield Taken(topic, suggestion["label"], (suggestion,))


def changes_a_medicine(suggestion: Json) -> bool:
    """Tests alone do not settle a card that is about an order."""
    return any(
        a["type"] == "delete" or a["resource"]["resourceType"] == "MedicationRequest"
        for a in suggestion["actions"]
    )


def comes_back(request: Json, vignette: Vignette) -> dict[str, str]:
    """Suggestions after which their own topic is raised again."""
    found = {}
    for taken in ways(ask(request, vignette.as_of, vignette.profile)):
        after = ask(accepted(request, taken.suggestions), vignette.as_of, vignette.profile)
        if after.status == 200:
            assert general_problems(after) == []
        now = topics(after)
        if taken.topic in now and (taken.topic, now[taken.topic]) not in MILDER:
            found[f"{taken.topic}: {taken.label}"] = now[taken.topic]
    return found


def asks_for_bloods(vignette: Vignette) -> bool:
    """Treatment on offer beside "bloods now": taking it leaves the bloods to be taken."""
    return any(card.topic == "evidence" for card in vignette.expected.cards)


VIGNETTES = [pytest.param(v, id=v.id) for v in all_vignettes() if not asks_for_bloods(v)]


@pytest.mark.fault("D35")
@pytest.mark.parametrize("vignette", VIGNETTES)
def test_every_suggestion_of_a_vignette_settles_its_topic(vignette: Vignette) -> None:
    assert comes_back(request_for(vignette), vignette) == {}


@pytest.mark.fault("D35")
@examples(100)
@given(patients(st.lists(drafts, min_size=1, max_size=1)))
def test_every_suggestion_settles_its_topic(patient: Vignette) -> None:
    raised = comes_back(request_for(patient), patient)
    assert {what for what in raised if not what.startswith("evidence")} == set()


# A card that only asks for tests, and a patient who gets it.
ASKING = {"evidence": "W002", "risk": "V34", "potassium": "V136", "pregnancy": "W195"}


@pytest.mark.parametrize("topic", ASKING)
def test_a_card_that_asks_for_tests_asks_once(topic: str) -> None:
    """Once they are ordered it may stand, but offers none of them again."""
    vignette = next(v for v in all_vignettes() if v.id == ASKING[topic])
    request = request_for(vignette)
    asking = next(c for c in ask(request, vignette.as_of).cards if topic_of(c) == topic)
    assert ordered_texts(asking)
    again = ask(accepted(request, asking["suggestions"]), vignette.as_of)
    for card in again.cards:
        assert not ordered_texts(card) & ordered_texts(asking)


def ordered_texts(card: Json) -> set[str]:
    """The tests and referrals that a card offers to order."""
    return {
        a["resource"]["code"]["text"]
        for s in card.get("suggestions", ())
        for a in s["actions"]
        if a.get("resource", {}).get("resourceType") == "ServiceRequest"
    }
