"""How much ileum is missing: interval arithmetic, exactly, and never a guess."""

from __future__ import annotations

from decimal import Decimal

import pytest

from regimen.bowel import Bariatric, bariatric, ileum
from regimen.facts import Answer, Concept, Length, PatientFacts, RecordRef, Resection
from regimen.protocol import load_protocol
from tests.unit.regimen.builders import TODAY, finding

PROTOCOL = load_protocol()
YES, NO, UNKNOWN = Answer.YES, Answer.NO, Answer.UNKNOWN


def cm(value: str) -> Length:
    return Length(Decimal(value), Decimal(value))


def more_than(value: str) -> Length:
    return Length(Decimal(value), None, low_open=True)


def at_least(value: str) -> Length:
    return Length(Decimal(value))


def less_than(value: str) -> Length:
    return Length(Decimal(0), Decimal(value), high_open=True)


def at_most(value: str) -> Length:
    return Length(Decimal(0), Decimal(value))


@pytest.mark.parametrize(
    ("lengths", "expected"),
    [
        ([], NO),
        ([cm("20")], NO),
        ([cm("20.01")], YES),
        ([cm("20.32")], YES),  # 8 inches
        ([cm("12"), cm("10")], YES),
        ([cm("10"), cm("10")], NO),
        ([more_than("20")], YES),
        ([more_than("15")], UNKNOWN),
        ([at_least("20")], UNKNOWN),
        ([at_least("20.1")], YES),
        ([less_than("20")], NO),
        ([at_most("20")], NO),
        ([at_most("25")], UNKNOWN),
        ([more_than("15"), cm("10")], YES),
        ([None], UNKNOWN),
        ([None, cm("25")], YES),
        ([None, cm("5")], UNKNOWN),
    ],
)
def test_longer_than_20_cm(lengths: list[Length | None], expected: Answer) -> None:
    resections = tuple(
        Resection(RecordRef(f"Procedure/{i}"), length) for i, length in enumerate(lengths)
    )
    facts = PatientFacts(as_of=TODAY, resections=resections)
    assert ileum(facts, PROTOCOL).over_threshold is expected


def test_complete_resection_counts_as_more() -> None:
    facts = PatientFacts(
        as_of=TODAY, resections=(Resection(RecordRef("Procedure/1"), complete=True),)
    )
    assert ileum(facts, PROTOCOL).over_threshold is YES


def test_a_possible_loss_is_asked_about() -> None:
    facts = PatientFacts(as_of=TODAY, findings=(finding(Concept.ILEAL_LOSS_POSSIBLE),))
    found = ileum(facts, PROTOCOL)
    assert (found.over_threshold, found.resected) == (UNKNOWN, True)
    assert found.unknown


@pytest.mark.parametrize(
    ("concepts", "expected"),
    [
        ([], Bariatric.NONE),
        ([Concept.BARIATRIC_UNSPECIFIED], Bariatric.UNSPECIFIED),
        ([Concept.BARIATRIC_UNSPECIFIED, Concept.BARIATRIC_NON_ILEAL], Bariatric.NON_ILEAL),
        ([Concept.BARIATRIC_NON_ILEAL, Concept.BARIATRIC_ILEAL], Bariatric.ILEAL),
    ],
)
def test_the_operation_that_says_most_counts(concepts: list[Concept], expected: Bariatric) -> None:
    facts = PatientFacts(as_of=TODAY, findings=tuple(finding(c) for c in concepts))
    assert bariatric(facts, PROTOCOL).kind is expected
