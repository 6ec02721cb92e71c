"""Present, possible, none or unread: what a neurological record is taken for."""

from __future__ import annotations

import pytest

from regimen.facts import (
    Activity,
    Certainty,
    Concept,
    Domain,
    Finding,
    Gap,
    GapKind,
    PatientFacts,
    Subject,
)
from regimen.neurology import Neurology, NeuroState, neurology
from regimen.protocol import load_protocol
from tests.unit.regimen.builders import TODAY, ago, finding

PROTOCOL = load_protocol()
N1, N2, OTHER = Concept.NEURO_SPECIFIC, Concept.NEURO_FINDING, Concept.NEURO_OTHER_CAUSE
SENSORY, MOTOR, GAIT, COGNITIVE, VISUAL = (
    Domain.SENSORY,
    Domain.MOTOR,
    Domain.GAIT,
    Domain.COGNITIVE,
    Domain.VISUAL,
)
PRESENT, POSSIBLE, NONE = NeuroState.PRESENT, NeuroState.POSSIBLE, NeuroState.NONE


def judged(*findings: Finding, gaps: tuple[Gap, ...] = ()) -> Neurology:
    return neurology(PatientFacts(as_of=TODAY, findings=findings, gaps=gaps), PROTOCOL)


@pytest.mark.parametrize(
    ("findings", "expected"),
    [
        ([], NONE),
        ([finding(N1, SENSORY)], PRESENT),
        ([finding(N1, SENSORY), finding(OTHER, SENSORY)], PRESENT),  # N1 beats another cause
        ([finding(N1, SENSORY, certainty=Certainty.UNCONFIRMED)], POSSIBLE),
        ([finding(N2, SENSORY)], PRESENT),
        ([finding(N2, SENSORY), finding(OTHER, SENSORY)], POSSIBLE),
        ([finding(N2, SENSORY), finding(OTHER, COGNITIVE)], PRESENT),
        ([finding(N2, SENSORY, GAIT), finding(OTHER, SENSORY)], PRESENT),
        ([finding(N2, SENSORY), finding(N2, GAIT), finding(OTHER, SENSORY)], PRESENT),
        ([finding(OTHER, SENSORY)], POSSIBLE),
        ([finding(OTHER, SENSORY, stands_alone=False)], NONE),
        ([finding(N2, SENSORY, certainty=Certainty.UNCONFIRMED)], POSSIBLE),
        ([finding(N2, SENSORY, activity=Activity.ENDED)], NONE),
        ([finding(N2, SENSORY, activity=Activity.REMISSION)], NONE),
        ([finding(N2, SENSORY, onset=ago(2000))], PRESENT),  # old, but still active
        ([finding(N2, SENSORY, activity=Activity.NOT_STATED, onset=ago(30))], PRESENT),
        ([finding(N2, SENSORY, activity=Activity.NOT_STATED, onset=ago(500))], POSSIBLE),
        ([finding(N2, SENSORY, needs_cause=True)], NONE),
        ([finding(N2, SENSORY, needs_cause=True), finding(Concept.B12_DEFICIENCY)], PRESENT),
        ([finding(N2, VISUAL), finding(Concept.LEBER)], POSSIBLE),
        ([finding(Concept.LEBER)], NONE),
    ],
)
def test_the_state(findings: list[Finding], expected: NeuroState) -> None:
    assert judged(*findings).state is expected


@pytest.mark.parametrize(
    ("findings", "expected"),
    [
        ([finding(N2, SENSORY)], True),
        ([finding(N2, MOTOR)], True),
        ([finding(N2, GAIT)], True),
        ([finding(N2, COGNITIVE)], False),
        ([finding(N2, VISUAL)], False),
        ([finding(N1, COGNITIVE)], True),
        ([finding(N2, COGNITIVE), finding(N2, SENSORY), finding(OTHER, SENSORY)], False),
        ([finding(OTHER, SENSORY)], False),
    ],
)
def test_referral_is_for_unexplained_sensory_motor_or_gait_signs(
    findings: list[Finding], expected: bool
) -> None:
    assert judged(*findings).needs_referral is expected


def test_unread_conditions_are_not_the_absence_of_signs() -> None:
    gap = (Gap(Subject.CONDITIONS, GapKind.NOT_SUPPLIED),)
    assert judged(gaps=gap).state is NeuroState.UNREAD
    assert judged(finding(N2, SENSORY), gaps=gap).state is PRESENT


@pytest.mark.parametrize(
    ("onset", "start", "expected"),
    [
        (ago(30), ago(31), True),
        (ago(31), ago(31), False),
        (ago(400), ago(800), True),
        (ago(364), None, True),
        (ago(400), None, False),
        (None, ago(31), False),
    ],
)
def test_new_on_maintenance(onset: object, start: object, expected: bool) -> None:
    facts = PatientFacts(as_of=TODAY, findings=(finding(N2, SENSORY, onset=onset),))  # type: ignore[arg-type]
    assert neurology(facts, PROTOCOL).newer_than(start, facts, PROTOCOL) is expected  # type: ignore[arg-type]
