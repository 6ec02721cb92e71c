"""How much ileum is missing, and did bariatric surgery affect it?

A length that is not recorded exactly enough is asked about; it is never taken as 0, nor as more
than 20 cm.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from functools import reduce
from operator import add

from regimen import words
from regimen.facts import Activity, Answer, Certainty, Concept, Finding, Length, PatientFacts
from regimen.protocol import Protocol
from regimen.recommendation import Line

UNMEASURED = Length()  # from nothing to anything


@dataclass(frozen=True, slots=True)
class Ileum:
    """`over_threshold`: more than 20 cm resected? NO also when nothing was resected."""

    over_threshold: Answer
    resected: bool = False  # a resection, or a loss of ileum that has to be asked about
    because: tuple[Line, ...] = ()
    unknown: tuple[Line, ...] = ()


def ileum(facts: PatientFacts, protocol: Protocol) -> Ileum:
    """S9, S13: the sum of all completed ileal resections, strictly more than 20 cm."""
    measured = {r.record.reference for r in facts.resections}
    possible = [
        f
        for f in facts.found(Concept.ILEAL_LOSS_POSSIBLE)
        if f.activity is not Activity.ENDED and f.record.reference not in measured
    ]
    if not facts.resections and not possible:
        return Ileum(Answer.NO)
    threshold = protocol.thresholds.ileal_threshold_cm
    known = [r.length or UNMEASURED for r in facts.resections]
    total = reduce(add, known, UNMEASURED if possible else Length(Decimal(0), Decimal(0)))
    complete = any(r.complete for r in facts.resections)
    return Ileum(
        over_threshold=Answer.YES if complete else total.longer_than(threshold),
        resected=True,
        because=_because(facts, total, protocol),
        unknown=_unknown(facts, possible, protocol),
    )


def _because(facts: PatientFacts, total: Length, protocol: Protocol) -> tuple[Line, ...]:
    lines = []
    for r in facts.resections:
        on = words.day(r.record.on)
        if r.complete:
            lines.append(Line(protocol.say("ileum-complete", on=on), (r.record,)))
        elif r.length is not None:
            text = protocol.say("ileum-length", length=r.as_reported, on=on)
            lines.append(Line(text, (r.record,)))
    measured = [r for r in facts.resections if r.length is not None]
    if len(measured) > 1 and total.exact is not None:
        parts = " + ".join(r.as_reported for r in measured)
        text = protocol.say("ileum-sum", length=words.number(total.exact), parts=parts)
        lines.append(Line(text, tuple(r.record for r in measured)))
    return tuple(lines)


def _unknown(facts: PatientFacts, possible: list[Finding], protocol: Protocol) -> tuple[Line, ...]:
    threshold = protocol.thresholds.ileal_threshold_cm
    lines = []
    for r in facts.resections:
        on = words.day(r.record.on)
        if r.complete:
            continue
        if r.length is None:
            lines.append(Line(protocol.say("ileum-unknown", on=on), (r.record,)))
        elif r.length.longer_than(threshold) is Answer.UNKNOWN:
            text = protocol.say(
                "ileum-inexact", length=r.as_reported, on=on, threshold=words.number(threshold)
            )
            lines.append(Line(text, (r.record,)))
    for f in possible:
        text = protocol.say(
            "ileum-possible", label=f.record.label, since=words.since(f.since or f.record.on)
        )
        lines.append(Line(text, (f.record,)))
    return tuple(lines)


class Bariatric(StrEnum):
    ILEAL = "ileal"
    NON_ILEAL = "non-ileal"
    UNSPECIFIED = "unspecified"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class BariatricSurgery:
    kind: Bariatric
    because: tuple[Line, ...] = ()


def bariatric(facts: PatientFacts, protocol: Protocol) -> BariatricSurgery:
    """A.2: a known operation says more than "bariatric surgery"; one of the ileum wins."""
    for concept, kind in (
        (Concept.BARIATRIC_ILEAL, Bariatric.ILEAL),
        (Concept.BARIATRIC_NON_ILEAL, Bariatric.NON_ILEAL),
        (Concept.BARIATRIC_UNSPECIFIED, Bariatric.UNSPECIFIED),
    ):
        found = [f for f in facts.found(concept) if f.certainty is Certainty.CONFIRMED]
        if found:
            lines = tuple(
                Line(
                    protocol.say(
                        f"bariatric-{kind.value}",
                        label=f.record.label,
                        since=words.since(f.since or f.record.on),
                    ),
                    (f.record,),
                )
                for f in found
            )
            return BariatricSurgery(kind, lines)
    return BariatricSurgery(Bariatric.NONE)
