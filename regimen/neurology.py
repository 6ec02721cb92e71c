"""Does the record show neurological involvement, and is it explained by something else?

Never says that a finding is, or is not, due to B12: an explained finding is POSSIBLE, and asked
about.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from regimen import words
from regimen.calendar import within_months
from regimen.facts import Activity, Certainty, Concept, Domain, Finding, PatientFacts, Subject
from regimen.protocol import Protocol
from regimen.recommendation import Line

URGENT = frozenset({Domain.SENSORY, Domain.MOTOR, Domain.GAIT})
DEFICIENCY_CONCEPTS = (
    Concept.B12_DEFICIENCY,
    Concept.PERNICIOUS_ANAEMIA,
    Concept.DIETARY_B12_DEFICIENCY,
    Concept.B_VITAMIN_DEFICIENCY,
)


class NeuroState(StrEnum):
    PRESENT = "present"
    POSSIBLE = "possible"  # explained by another recorded cause, or not yet verified
    NONE = "none"
    UNREAD = "unread"  # the part of the record that would say so was not read


@dataclass(frozen=True, slots=True)
class Neurology:
    state: NeuroState
    domains: frozenset[Domain] = frozenset()  # of the unexplained findings
    specific: bool = False  # N1
    findings: tuple[Finding, ...] = ()
    causes: tuple[Finding, ...] = ()
    because: tuple[Line, ...] = ()
    uncounted: tuple[Line, ...] = ()  # manifestation codes without a recorded deficiency

    @property
    def needs_referral(self) -> bool:
        """S4: unexplained sensory, motor or gait symptoms, or an N1 diagnosis."""
        return self.state is NeuroState.PRESENT and (self.specific or bool(self.domains & URGENT))

    def newer_than(self, start: date | None, facts: PatientFacts, protocol: Protocol) -> bool:
        """A.4.3: a finding that began after the maintenance order; without a date for that order,
        within 12 months."""
        months = protocol.thresholds.neuro_recent_months
        return any(
            f.since > start if start and f.since else within_months(f.since, facts.as_of, months)
            for f in self.findings
        )


def neurology(facts: PatientFacts, protocol: Protocol) -> Neurology:
    """Section D: N1 alone is PRESENT; N2 is, unless its whole domain has another recorded cause."""
    specific = _counting(facts.found(Concept.NEURO_SPECIFIC))
    recorded = _counting(facts.found(Concept.NEURO_FINDING))
    diagnosed = _has_deficiency_diagnosis(facts)
    findings = [f for f in recorded if diagnosed or not f.needs_cause]
    uncounted = tuple(
        _line("neuro-needs-cause", f, protocol) for f in recorded if f not in findings
    )
    causes = _counting(facts.found(Concept.NEURO_OTHER_CAUSE))
    explained = _explained_domains(facts, causes)
    certain = [f for f in specific if _is_certain(f, facts, protocol)]
    unexplained = [
        f
        for f in findings
        if _is_certain(f, facts, protocol) and (f.domains - explained or not f.domains)
    ]
    said = (*specific, *findings)
    if certain or unexplained:
        return Neurology(
            state=NeuroState.PRESENT,
            domains=frozenset().union(*(f.domains - explained for f in [*certain, *unexplained])),
            specific=bool(certain),
            findings=(*certain, *unexplained),
            causes=causes,
            because=_lines(said, causes, explained, protocol),
        )
    if said or any(c.stands_alone for c in causes):
        return Neurology(
            state=NeuroState.POSSIBLE,
            findings=said,
            causes=causes,
            because=_lines(said, causes, explained, protocol),
        )
    if facts.unread(Subject.CONDITIONS):
        return Neurology(NeuroState.UNREAD)
    return Neurology(NeuroState.NONE, uncounted=uncounted)


def _counting(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """D.1: active, recurring or relapsed; where the status is not stated, anything not ended."""
    return tuple(f for f in findings if f.activity in (Activity.ACTIVE, Activity.NOT_STATED))


def _is_certain(finding: Finding, facts: PatientFacts, protocol: Protocol) -> bool:
    """Verified, and active or else begun within 12 months."""
    if finding.certainty is Certainty.UNCONFIRMED:
        return False
    recent = within_months(finding.since, facts.as_of, protocol.thresholds.neuro_recent_months)
    return finding.activity is Activity.ACTIVE or recent


def _has_deficiency_diagnosis(facts: PatientFacts) -> bool:
    return any(f.activity is not Activity.ENDED for f in facts.found(*DEFICIENCY_CONCEPTS))


def _explained_domains(facts: PatientFacts, causes: Iterable[Finding]) -> frozenset[Domain]:
    """The domains with another recorded cause. Leber optic neuropathy explains a visual finding."""
    explained = {d for c in causes if c.certainty is Certainty.CONFIRMED for d in c.domains}
    if facts.found(Concept.LEBER):
        explained.add(Domain.VISUAL)
    return frozenset(explained)


def _lines(
    findings: Iterable[Finding],
    causes: Iterable[Finding],
    explained: frozenset[Domain],
    protocol: Protocol,
) -> tuple[Line, ...]:
    lines = []
    for finding in findings:
        sure = finding.certainty is Certainty.CONFIRMED
        lines.append(_line("neuro-finding" if sure else "neuro-unconfirmed", finding, protocol))
    wanted = frozenset().union(*(f.domains for f in findings)) & explained
    for cause in causes:
        key = "neuro-explained" if cause.domains & wanted else "neuro-other"
        lines.append(_line(key, cause, protocol))
    return tuple(lines)


def _line(key: str, finding: Finding, protocol: Protocol) -> Line:
    text = protocol.say(key, label=finding.record.label, since=words.since(finding.since))
    return Line(text, (finding.record,))
