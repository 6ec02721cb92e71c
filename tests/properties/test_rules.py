"""Do the rules hold their promises for any facts at all, even such as no mapper would read?"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regimen.facts import Gap, GapKind, Ingredient, PatientFacts, Route, Subject
from regimen.protocol import PROFILES, load_protocol
from regimen.recommend import recommend
from regimen.recommendation import (
    CorrectDraft,
    Indicator,
    KeepOrder,
    Phase,
    PrescribeRegimen,
    Recommendation,
    RemoveDraft,
    Step,
    Topic,
)
from regimen.safety import cobalamin_allergy
from regimen.situation import situation
from tests.properties.facts import patient_facts
from tests.properties.patients import examples
from tests.support.answers import INDICATORS

PROTOCOL = load_protocol("default")
F = TypeVar("F")


def steps(found: tuple[Recommendation, ...]) -> list[Step]:
    return [step for r in found for choice in r.choices for step in choice.steps]


def phases(found: tuple[Recommendation, ...]) -> list[Phase]:
    regimens = [s.regimen for s in steps(found) if isinstance(s, PrescribeRegimen)]
    return [phase for regimen in regimens for phase in regimen.phases]


@examples(200)
@given(patient_facts, st.sampled_from(PROFILES))
def test_the_shape_of_advice(facts: PatientFacts, profile: str) -> None:
    found = recommend(facts, load_protocol(profile))
    topics = Counter(r.topic for r in found)
    assert max(topics.values(), default=0) <= 1
    assert sum(r.indicator is not Indicator.CRITICAL for r in found) <= 3
    ranks = [r.indicator.rank for r in found]
    assert ranks == sorted(ranks, reverse=True)
    for r in found:
        assert r.indicator.value in INDICATORS[r.topic.value]
        assert sum(choice.recommended for choice in r.choices) <= (1 if r.exclusive else 99)
        assert 0 < len(r.summary) < 140


@examples(60)
@given(patient_facts)
def test_the_same_facts_get_the_same_advice(facts: PatientFacts) -> None:
    assert recommend(facts, PROTOCOL) == recommend(facts, PROTOCOL)


@examples(100)
@given(patient_facts)
def test_advice_is_about_selected_drafts_only(facts: PatientFacts) -> None:
    selected = {order.record.reference for order in facts.selected}
    found = recommend(facts, PROTOCOL)
    assert selected or not found
    for step in steps(found):
        match step:
            case PrescribeRegimen(replaces=reference):
                assert reference is None or reference in selected
            case CorrectDraft(draft=reference) | RemoveDraft(draft=reference):
                assert reference in selected
            case KeepOrder(draft=reference):
                assert reference in selected


@examples(100)
@given(patient_facts)
def test_what_is_prescribed_is_one_milligram_into_muscle(facts: PatientFacts) -> None:
    for phase in phases(recommend(facts, PROTOCOL)):
        assert phase.product.dose_ug == 1000
        assert phase.route is Route.INTRAMUSCULAR


@examples(100)
@given(patient_facts)
def test_an_allergy_forbids_every_prescription(facts: PatientFacts) -> None:
    if cobalamin_allergy(facts):
        found = steps(recommend(facts, PROTOCOL))
        assert not [s for s in found if isinstance(s, PrescribeRegimen | CorrectDraft | KeepOrder)]


@examples(100)
@given(patient_facts)
def test_leber_forbids_prescribing_cyanocobalamin(facts: PatientFacts) -> None:
    if situation(facts, PROTOCOL).leber:
        for phase in phases(recommend(facts, PROTOCOL)):
            assert phase.product.ingredient is Ingredient.HYDROXOCOBALAMIN


@examples(100)
@given(patient_facts, st.sampled_from(Subject))
def test_a_gap_takes_certainty_away(facts: PatientFacts, subject: Subject) -> None:
    """With nothing else changed, a part that was not read makes nothing recommended."""
    before = recommend(facts, PROTOCOL)
    gap = Gap(subject, GapKind.SERVER_ERROR)
    after = recommend(replace(facts, gaps=(*facts.gaps, gap)), PROTOCOL)
    assert recommended(after) <= recommended(before)
    assert (Topic.EVIDENCE in topics_of(after)) <= (Topic.EVIDENCE in topics_of(before))
    assert criticals(after) <= criticals(before)


def topics_of(found: tuple[Recommendation, ...]) -> set[Topic]:
    return {r.topic for r in found}


def recommended(found: tuple[Recommendation, ...]) -> bool:
    return any(choice.recommended for r in found for choice in r.choices)


def criticals(found: tuple[Recommendation, ...]) -> set[Topic]:
    return {r.topic for r in found if r.indicator is Indicator.CRITICAL}


@pytest.mark.fault("D27")
@examples(60)
@given(patient_facts)
def test_a_patient_who_has_died_gets_no_advice(facts: PatientFacts) -> None:
    assert recommend(replace(facts, deceased=True), PROTOCOL) == ()


@examples(200)
@given(patient_facts, st.integers(0, 2**32).map(random.Random))
def test_the_order_of_facts_changes_no_advice(facts: PatientFacts, rng: random.Random) -> None:
    other = replace(
        facts,
        requests=shuffled(facts.requests, rng),
        gaps=shuffled(facts.gaps, rng),
        allergies=shuffled(facts.allergies, rng),
        doses=shuffled(facts.doses, rng),
    )
    assert [(r.topic, r.indicator) for r in recommend(facts, PROTOCOL)] == [
        (r.topic, r.indicator) for r in recommend(other, PROTOCOL)
    ]


def shuffled(items: tuple[F, ...], rng: random.Random) -> tuple[F, ...]:
    return tuple(rng.sample(items, len(items)))
