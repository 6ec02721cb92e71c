"""Cards beside each other: no suggestion contains what another card of the answer forbids."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from regimen.facts import (
    Activity,
    Age,
    Allergen,
    Allergy,
    Concept,
    Domain,
    Finding,
    Gap,
    GapKind,
    Ingredient,
    Length,
    Order,
    OrderStatus,
    PatientFacts,
    RecordRef,
    Resection,
    Route,
    Subject,
)
from regimen.protocol import PROFILES, Protocol, load_protocol
from regimen.recommend import recommend
from regimen.recommendation import (
    CorrectDraft,
    Indicator,
    KeepOrder,
    PrescribeRegimen,
    Recommendation,
    RemoveDraft,
    Step,
    Topic,
)
from regimen.schedule import Unit
from tests.unit.regimen.builders import ALT, M1, M23, TIW2, TODAY, ago, every, finding, lab, order

DEFAULT = load_protocol()
CYANO = Ingredient.CYANOCOBALAMIN
PERNICIOUS = finding(Concept.PERNICIOUS_ANAEMIA, onset=ago(800))
LEBER = finding(Concept.LEBER)
NUMB = finding(Concept.NEURO_FINDING, Domain.SENSORY)
CANCER = finding(Concept.CANCER)
PREGNANT = finding(Concept.PREGNANCY)
RUNNING = order(M23, status=OrderStatus.ACTIVE, start=ago(100), name="running")
RUNNING_ID = RUNNING.record.reference
ANAPHYLAXIS = Allergy(Allergen.COBALAMIN, RecordRef("AllergyIntolerance/1"), severe=True)
DAILY = every("1", Unit.DAY)
HALF_A_YEAR = every("1", Unit.MONTH, bounds=("6", Unit.MONTH))
FOLIC = order(DAILY, ingredient=Ingredient.FOLIC_ACID, route=Route.ORAL, dose="5000")


def advice(
    *picked: Order,
    findings: tuple[Finding, ...] = (),
    protocol: Protocol = DEFAULT,
    **facts: object,
) -> dict[Topic, Recommendation]:
    patient = PatientFacts(as_of=TODAY, findings=findings, session=picked, **facts)  # type: ignore[arg-type]
    return {r.topic: r for r in recommend(patient, protocol)}


def steps(cards: dict[Topic, Recommendation]) -> Iterator[Step]:
    for card in cards.values():
        for choice in card.choices:
            yield from choice.steps


def suggested(cards: dict[Topic, Recommendation]) -> set[Ingredient]:
    """The cobalamins of all suggestions."""
    found = set()
    for step in steps(cards):
        if isinstance(step, PrescribeRegimen):
            found |= {p.product.ingredient for p in step.regimen.phases}
        if isinstance(step, CorrectDraft) and step.product:
            found.add(step.product.ingredient)
    return found


CYANO_PICKS = [
    order(None, ingredient=CYANO),
    order(M1, ingredient=CYANO),
    order(every("3", Unit.MONTH), ingredient=CYANO),
    order(M1, ingredient=CYANO, route=Route.INTRAVENOUS),
    order(M1, ingredient=CYANO, dose="1000000"),
    order(HALF_A_YEAR, ingredient=CYANO),
    order(DAILY, ingredient=CYANO, route=Route.ORAL),
    order(DAILY, ingredient=CYANO, route=Route.NASAL),
]


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("picked", CYANO_PICKS)
@pytest.mark.parametrize("beside", [(), (CANCER,), (NUMB,), (CANCER, NUMB)])
@pytest.mark.parametrize("where", ["patient", "family"])
def test_no_card_proposes_cyanocobalamin_with_leber(
    profile: str, picked: Order, beside: tuple[Finding, ...], where: str
) -> None:
    own = (LEBER,) if where == "patient" else ()
    family = (LEBER,) if where == "family" else ()
    for stage in ((), (RUNNING,)):
        cards = advice(
            picked,
            findings=(PERNICIOUS, *own, *beside),
            family=family,
            orders=stage,
            protocol=load_protocol(profile),
        )
        assert CYANO not in suggested(cards)
        expected = Indicator.CRITICAL if own else Indicator.WARNING
        assert cards[Topic.LEBER].indicator is expected
        for card in cards.values():
            if card.topic is Topic.REGIMEN:
                assert "cyanocobalamin 1000" not in card.summary


@pytest.mark.parametrize("picked", [*CYANO_PICKS, order(TIW2), order(None), FOLIC])
@pytest.mark.parametrize("findings", [(PERNICIOUS,), (PERNICIOUS, NUMB), (NUMB,)])
def test_no_card_proposes_a_cobalamin_with_a_cobalamin_allergy(
    picked: Order, findings: tuple[Finding, ...]
) -> None:
    cards = advice(picked, findings=findings, labs=(lab(),), allergies=(ANAPHYLAXIS,))
    assert not any(isinstance(s, PrescribeRegimen | CorrectDraft | KeepOrder) for s in steps(cards))


@pytest.mark.parametrize(
    "wrong",
    [
        {"ingredient": CYANO, "route": Route.INTRAVENOUS},
        {"ingredient": CYANO, "dose": "1000000"},
        {"dose": "1"},
    ],
)
def test_a_stop_is_not_taken_back_into_an_order_that_another_check_forbids(
    wrong: dict[str, object],
) -> None:
    fine = order(M23, status=OrderStatus.STOPPED, name="running")
    stopped = replace(order(M23, status=OrderStatus.STOPPED, **wrong), selected=True)  # type: ignore[arg-type]
    kept = advice(replace(fine, selected=True), findings=(PERNICIOUS,))
    assert any(isinstance(s, KeepOrder) for s in steps(kept))
    cards = advice(stopped, findings=(PERNICIOUS,))
    assert cards[Topic.STOP].indicator is Indicator.CRITICAL
    assert not any(isinstance(s, KeepOrder) for s in steps(cards))


@pytest.mark.parametrize(
    ("other", "replaces"),
    [
        (order(M1, ingredient=CYANO, selected=False, name="new"), True),
        (order(DAILY, ingredient=CYANO, route=Route.ORAL, selected=False, name="new"), True),
        (
            order(DAILY, ingredient=CYANO, route=Route.ORAL, dose="50", selected=False, name="new"),
            False,
        ),
        (replace(order(DAILY, selected=False, name="new"), combination=True), False),
    ],
)
def test_only_real_treatment_replaces_a_stopped_order(other: Order, *, replaces: bool) -> None:
    stopped = replace(order(M23, status=OrderStatus.STOPPED, name="running"), selected=True)
    cards = advice(stopped, other, findings=(PERNICIOUS,))
    assert (Topic.STOP not in cards) is replaces


@pytest.mark.parametrize(
    ("findings", "gaps", "offered"),
    [
        ((), (), True),
        ((PREGNANT,), (), False),
        ((), (Gap(Subject.CONDITIONS, GapKind.SERVER_ERROR),), False),
        ((), (Gap(Subject.OBSERVATIONS, GapKind.TRUNCATED),), False),
    ],
)
def test_folic_acid_is_never_removed_in_pregnancy_nor_where_none_could_be_seen(
    findings: tuple[Finding, ...], gaps: tuple[Gap, ...], *, offered: bool
) -> None:
    cards = advice(FOLIC, findings=(PERNICIOUS, *findings), gaps=gaps)
    assert any(isinstance(s, RemoveDraft) for s in steps(cards)) is offered


def test_a_child_is_not_given_the_adult_regimen_with_folic_acid() -> None:
    born = TODAY - timedelta(days=3650)
    cards = advice(FOLIC, findings=(PERNICIOUS,), age=Age(born, born))
    assert cards[Topic.FOLATE].indicator is Indicator.CRITICAL
    assert not suggested(cards)


def test_a_tablet_is_not_switched_to_a_daily_injection() -> None:
    tablet = order(DAILY, ingredient=CYANO, route=Route.ORAL)
    cards = advice(tablet, findings=(LEBER,), labs=(lab(),))
    (step,) = cards[Topic.LEBER].choices[0].steps
    assert isinstance(step, PrescribeRegimen)
    assert step.regimen.phases[0].key == "three-times-a-week"


def test_with_signs_the_cancer_regimen_is_on_offer_but_does_not_conform() -> None:
    ten_days = every("1", Unit.DAY, count=10, bounds=("10", Unit.DAY))
    picked = order(ten_days, ingredient=CYANO)
    assert Topic.REGIMEN not in advice(picked, findings=(CANCER,), labs=(lab(),))
    cards = advice(picked, findings=(CANCER, NUMB), labs=(lab(),))
    assert cards[Topic.REGIMEN].indicator is Indicator.WARNING


def test_an_order_without_a_schedule_is_completed_not_criticised() -> None:
    cards = advice(order(None, ingredient=CYANO), labs=(lab(),))
    assert "differs" not in cards[Topic.REGIMEN].summary
    slip = advice(order(None, dose="1"), labs=(lab(),))
    assert "1 microgram" in slip[Topic.REGIMEN].summary


def test_loading_stopped_in_this_session_has_ended() -> None:
    loading = order(ALT, status=OrderStatus.ACTIVE, start=ago(40), name="loading")
    maintenance = order(every("2", Unit.MONTH), name="next")
    running = advice(maintenance, findings=(NUMB,), labs=(lab(),), orders=(loading,))
    assert running[Topic.REGIMEN].rule == "regimen-plateau"
    stop = replace(loading, status=OrderStatus.STOPPED, selected=False, in_session=True)
    ended = advice(maintenance, stop, findings=(NUMB,), labs=(lab(),), orders=(loading,))
    assert Topic.REGIMEN not in ended


def test_remission_of_pregnancy_or_an_ended_one_is_none() -> None:
    ended = finding(Concept.PREGNANCY, activity=Activity.ENDED)
    cards = advice(order(TIW2), findings=(ended,), labs=(lab(value="160"),))
    assert Topic.PREGNANCY not in cards


def test_stopping_b12_after_anaphylaxis_is_not_called_a_mistake() -> None:
    stopped = replace(order(M23, status=OrderStatus.STOPPED, name="running"), selected=True)
    cards = advice(stopped, findings=(PERNICIOUS,), allergies=(ANAPHYLAXIS,))
    assert cards[Topic.STOP].indicator is Indicator.INFO


def test_hydroxocobalamin_is_fine_where_leber_could_not_be_looked_for() -> None:
    gap = (Gap(Subject.CONDITIONS, GapKind.SERVER_ERROR),)
    us = load_protocol("us")
    daily = every("1", Unit.DAY, count=7, bounds=("7", Unit.DAY))
    assert set(advice(order(daily), labs=(lab(),), gaps=gap, protocol=us)) == {Topic.UNAVAILABLE}
    assert Topic.REGIMEN in advice(order(daily), labs=(lab(),), protocol=us)


def test_the_route_is_not_corrected_into_a_dose_that_may_be_a_slip() -> None:
    picked = order(TIW2, route=Route.INTRAVENOUS, dose="1")
    (step,) = advice(picked, labs=(lab(),))[Topic.IV_ROUTE].choices[0].steps
    assert isinstance(step, CorrectDraft)
    assert step.dose is not None
    assert step.route is Route.INTRAMUSCULAR


@pytest.mark.parametrize(
    ("profile", "card"), [("default", "regimen-ileal-proph"), ("uk-nice", "regimen-bari")]
)
def test_of_two_reasons_for_prophylaxis_the_more_frequent_is_said(profile: str, card: str) -> None:
    record = RecordRef("Procedure/1")
    length = Length(Decimal(25), Decimal(25))
    cards = advice(
        order(None),
        findings=(finding(Concept.BARIATRIC_ILEAL),),
        resections=(Resection(record, length),),
        protocol=load_protocol(profile),
    )
    assert cards[Topic.REGIMEN].rule == card


def test_a_prohibition_is_a_stop_although_the_running_order_has_another_id() -> None:
    forbidden = replace(order(M23, status=OrderStatus.STOPPED), selected=True, forbids=True)
    cards = advice(forbidden, findings=(PERNICIOUS,), orders=(RUNNING,))
    assert cards[Topic.STOP].indicator is Indicator.CRITICAL
    stopped = replace(forbidden, forbids=False, continues=frozenset({"MedicationRequest/running"}))
    assert Topic.STOP in advice(stopped, findings=(PERNICIOUS,), orders=(RUNNING,))
    clean_up = replace(forbidden, forbids=False)
    assert Topic.STOP not in advice(clean_up, findings=(PERNICIOUS,), orders=(RUNNING,))


@pytest.mark.parametrize(("days", "limited"), [("364", True), ("365", False), ("366", False)])
def test_a_year_is_not_time_limited(days: str, *, limited: bool) -> None:
    picked = order(every("1", Unit.MONTH, bounds=(days, Unit.DAY)), continues=(RUNNING_ID,))
    cards = advice(picked, findings=(PERNICIOUS,), orders=(RUNNING,))
    assert (Topic.STOP in cards) is limited
