"""Confirmed, probable, none, refuted or unavailable: which evidence goes how far."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest

from regimen.deficiency import Level, deficiency
from regimen.facts import (
    Activity,
    Analyte,
    Certainty,
    Concept,
    Domain,
    Finding,
    Flag,
    Gap,
    GapKind,
    Ingredient,
    LabResult,
    OrderStatus,
    PatientFacts,
    Route,
    Subject,
)
from regimen.neurology import neurology
from regimen.protocol import load_protocol
from regimen.schedule import Schedule, Unit
from tests.unit.regimen.builders import M1, TIW2, TODAY, ago, doses, every, finding, lab, order

PROTOCOL = load_protocol()


def level(
    *,
    labs: Iterable[LabResult] = (),
    findings: Iterable[Finding] = (),
    pregnant: bool = False,
    **facts: object,
) -> Level:
    patient = PatientFacts(as_of=TODAY, labs=tuple(labs), findings=tuple(findings), **facts)  # type: ignore[arg-type]
    return deficiency(patient, neurology(patient, PROTOCOL), pregnant, PROTOCOL).level


@pytest.mark.parametrize(
    ("labs", "expected"),
    [
        ([lab()], Level.CONFIRMED),
        ([lab(value="250")], Level.PROBABLE),
        ([lab(value="420")], Level.REFUTED),
        ([], Level.NONE),
        ([lab(unit=None)], Level.NONE),
        ([lab(on=ago(365))], Level.CONFIRMED),
        ([lab(on=ago(366))], Level.PROBABLE),  # stale low: re-test
        ([lab(value="420", on=ago(366))], Level.NONE),
        ([lab(value="420", on=ago(60)), lab(unit=None)], Level.NONE),  # the newer one was not read
        ([lab(value="420"), lab(unit=None, on=ago(60))], Level.REFUTED),
        ([lab(value="120", on=ago(60)), lab(unit=None)], Level.CONFIRMED),
        ([lab(value="250", on=ago(366))], Level.NONE),
        ([lab(preliminary=True)], Level.PROBABLE),
        ([lab(value="420", preliminary=True)], Level.NONE),
        ([lab(on=ago(20)), lab(value="420", on=ago(5))], Level.REFUTED),
        ([lab(on=ago(20)), lab(value="420", on=ago(5), preliminary=True)], Level.CONFIRMED),
        ([lab(on=ago(20)), lab(value="250", on=ago(5))], Level.PROBABLE),
        ([lab(on=ago(5)), lab(value="420", on=ago(5))], Level.CONFIRMED),  # one day: the lower
        ([lab(value=None, unit=None, flag=Flag.LOW)], Level.PROBABLE),
        ([lab(Analyte.B12_ACTIVE, "20", "pmol/L"), lab(value="420")], Level.CONFIRMED),
        ([lab(Analyte.MMA, "0.6", "umol/L")], Level.PROBABLE),
        ([lab(value="250"), lab(Analyte.MMA, "0.6", "umol/L")], Level.CONFIRMED),
        (
            [
                lab(value="250"),
                lab(Analyte.MMA, "0.6", "umol/L"),
                lab(Analyte.EGFR, "59", "mL/min/{1.73_m2}"),
            ],
            Level.PROBABLE,
        ),
        (
            [
                lab(value="250"),
                lab(Analyte.MMA, "0.6", "umol/L"),
                lab(Analyte.EGFR, "60", "mL/min/{1.73_m2}"),
            ],
            Level.CONFIRMED,
        ),
        ([lab(Analyte.HOMOCYSTEINE, "30", "umol/L")], Level.NONE),  # never on homocysteine alone
    ],
)
def test_results(labs: list[LabResult], expected: Level) -> None:
    assert level(labs=labs) is expected


@pytest.mark.fault("D22")
@pytest.mark.parametrize(
    ("concept", "certainty", "activity", "expected"),
    [
        (Concept.B12_DEFICIENCY, Certainty.CONFIRMED, Activity.ACTIVE, Level.CONFIRMED),
        (Concept.B12_DEFICIENCY, Certainty.CONFIRMED, Activity.NOT_STATED, Level.CONFIRMED),
        (Concept.B12_DEFICIENCY, Certainty.UNCONFIRMED, Activity.ACTIVE, Level.PROBABLE),
        (Concept.B12_DEFICIENCY, Certainty.CONFIRMED, Activity.ENDED, Level.NONE),
        (Concept.B12_DEFICIENCY, Certainty.CONFIRMED, Activity.REMISSION, Level.NONE),
        (Concept.PERNICIOUS_ANAEMIA, Certainty.CONFIRMED, Activity.ACTIVE, Level.CONFIRMED),
        (Concept.AUTOIMMUNE_GASTRITIS, Certainty.CONFIRMED, Activity.ACTIVE, Level.CONFIRMED),
        (Concept.B_VITAMIN_DEFICIENCY, Certainty.CONFIRMED, Activity.ACTIVE, Level.PROBABLE),
        (Concept.ANAEMIA_CAUSE_OPEN, Certainty.CONFIRMED, Activity.ACTIVE, Level.NONE),
        (Concept.NEURO_SPECIFIC, Certainty.CONFIRMED, Activity.ACTIVE, Level.PROBABLE),
    ],
)
def test_diagnoses(
    concept: Concept, certainty: Certainty, activity: Activity, expected: Level
) -> None:
    """D22"""
    found = finding(concept, Domain.SENSORY, certainty=certainty, activity=activity)
    assert level(findings=[found]) is expected


def test_treatment_in_the_past_year_makes_a_vague_code_a_b12_deficiency() -> None:
    vague = [finding(Concept.B_VITAMIN_DEFICIENCY)]
    assert level(findings=vague, doses=doses(300)) is Level.CONFIRMED
    assert level(findings=vague, doses=doses(400)) is Level.PROBABLE


def test_a_normal_result_on_treatment_says_nothing() -> None:
    normal = lab(value="420", on=ago(5))
    assert level(labs=[normal], doses=doses(100)) is Level.NONE
    assert level(labs=[normal], doses=doses(300)) is Level.REFUTED  # longer ago than 6 months
    assert level(labs=[normal], doses=doses(2)) is Level.REFUTED  # given after the sample
    assert level(labs=[lab(on=ago(20)), normal], doses=doses(10)) is Level.CONFIRMED


@pytest.mark.parametrize(
    "status", [OrderStatus.STOPPED, OrderStatus.COMPLETED, OrderStatus.ON_HOLD]
)
def test_treatment_that_ended_nobody_says_when_may_have_run_until_the_sample(
    status: OrderStatus,
) -> None:
    ended = order(M1, status=status, start=ago(900))
    normal = [lab(value="420")]
    assert level(labs=normal, orders=(ended,)) is Level.NONE
    assert level(labs=normal, orders=(replace(ended, start=None),)) is Level.NONE
    # Where the record says when, or that none was given, that counts.
    for known in (
        replace(ended, end=ago(400)),
        order(TIW2, status=status, start=ago(900)),
        order(replace(M1, count=6), status=status, start=ago(900)),
        order(Schedule(once=True), status=status, start=ago(900)),
        order(M1, status=status, start=ago(1)),
        replace(ended, forbids=True),
    ):
        assert level(labs=normal, orders=(known,)) is Level.REFUTED
    assert level(labs=normal, orders=(replace(ended, end=ago(100)),)) is Level.NONE
    assert level(labs=[lab()], orders=(ended,)) is Level.CONFIRMED


def test_a_low_result_on_treatment_still_counts() -> None:
    assert level(labs=[lab()], doses=doses(30)) is Level.CONFIRMED


@pytest.mark.parametrize(("dose", "expected"), [("50", Level.REFUTED), ("100", Level.NONE)])
def test_oral_treatment_from_100_microgram_a_day_makes_a_normal_result_uninformative(
    dose: str, expected: Level
) -> None:
    tablets = order(
        every("1", Unit.DAY),
        ingredient=Ingredient.CYANOCOBALAMIN,
        route=Route.ORAL,
        dose=dose,
        status=OrderStatus.ACTIVE,
        start=ago(200),
    )
    assert level(labs=[lab(value="420")], orders=(tablets,)) is expected


def test_in_pregnancy_a_low_total_b12_is_only_probable() -> None:
    assert level(labs=[lab(value="160")], pregnant=True) is Level.PROBABLE
    low_active = lab(Analyte.B12_ACTIVE, "20", "pmol/L")
    assert level(labs=[low_active], pregnant=True) is Level.CONFIRMED


def test_nitrous_oxide_misuse_keeps_a_normal_b12_from_refuting() -> None:
    gas = finding(Concept.NITROUS_OXIDE_MISUSE)
    numb = finding(Concept.NEURO_FINDING, Domain.SENSORY)
    normal = lab(value="420")
    homocysteine = lab(Analyte.HOMOCYSTEINE, "30", "umol/L")
    assert level(labs=[normal], findings=[gas]) is Level.NONE
    assert level(labs=[normal, homocysteine], findings=[gas]) is Level.PROBABLE
    assert level(labs=[normal], findings=[gas, numb]) is Level.PROBABLE
    assert level(labs=[normal], findings=[numb]) is Level.REFUTED


@pytest.mark.parametrize("subject", [Subject.CONDITIONS, Subject.OBSERVATIONS])
def test_what_was_not_read_is_never_no_deficiency(subject: Subject) -> None:
    gap = (Gap(subject, GapKind.SERVER_ERROR),)
    assert level(gaps=gap) is Level.UNAVAILABLE
    assert level(labs=[lab(value="420")], gaps=gap) is Level.UNAVAILABLE
    assert level(labs=[lab()], gaps=gap) is Level.CONFIRMED
