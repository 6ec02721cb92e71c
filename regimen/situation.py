"""The computed facts of the protocol for one patient: everything the rules ask, answered once."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from regimen import words
from regimen.bowel import Bariatric, BariatricSurgery, Ileum, bariatric, ileum
from regimen.calendar import within_months, years_between
from regimen.deficiency import Deficiency, deficiency
from regimen.facts import (
    Activity,
    Analyte,
    Answer,
    Certainty,
    Concept,
    Finding,
    Flag,
    PatientFacts,
    Subject,
)
from regimen.neurology import Neurology, neurology
from regimen.phase import Stage, TreatmentPhase, treatment_phase
from regimen.protocol import Protocol
from regimen.recommendation import Line

# Without these the regimen is offered, not recommended: a child, an allergy, an operation, a
# course of injections may be hidden there.
DECIDING = (
    Subject.PATIENT,
    Subject.CONDITIONS,
    Subject.OBSERVATIONS,
    Subject.PROCEDURES,
    Subject.ORDERS,
    Subject.ADMINISTRATIONS,
    Subject.ALLERGIES,
)


class Cause(StrEnum):
    IRREVERSIBLE = "irreversible-malabsorption"
    REVERSIBLE = "reversible"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Situation:
    deficiency: Deficiency
    neuro: Neurology
    phase: TreatmentPhase
    ileum: Ileum
    bariatric: BariatricSurgery
    cause: Cause
    cause_lines: tuple[Line, ...]
    cancer: tuple[Finding, ...]
    crohns: tuple[Finding, ...]
    leber: tuple[Finding, ...]
    leber_possible: tuple[Finding, ...]
    leber_family: tuple[Finding, ...]
    pregnancy: tuple[Finding, ...]
    inborn: tuple[Finding, ...]
    malabsorption: tuple[Line, ...]
    recurring_symptoms: tuple[Line, ...]  # S19: begun on maintenance, not neurological
    lifelong_cause: bool  # autoimmune gastritis, total gastrectomy, complete ileal resection
    age_years: int | None
    age_days: int | None
    under_age: bool
    neuro_new_on_maintenance: bool  # began after maintenance did (A.4.3)
    complete_record: bool  # everything that decides the regimen was read

    @property
    def pregnant(self) -> bool:
        return bool(self.pregnancy)

    @property
    def avoid_cyanocobalamin(self) -> bool:
        """F.10: Leber optic neuropathy in the patient, certain or possible, or in the family."""
        return bool(self.leber or self.leber_possible or self.leber_family)

    @property
    def monthly(self) -> Answer:
        """Does the bowel call for monthly injections?"""
        if self.ileum.over_threshold is Answer.YES or self.bariatric.kind is Bariatric.ILEAL:
            return Answer.YES
        asks = (self.ileum.over_threshold, self.bariatric.kind is Bariatric.UNSPECIFIED)
        return Answer.UNKNOWN if asks[0] is Answer.UNKNOWN or asks[1] else Answer.NO


def situation(facts: PatientFacts, protocol: Protocol) -> Situation:
    neuro = neurology(facts, protocol)
    pregnancy = _pregnancy(facts, protocol)
    lack = deficiency(facts, neuro, bool(pregnancy), protocol)
    gut, surgery = ileum(facts, protocol), bariatric(facts, protocol)
    irreversible = _irreversible(facts, gut, surgery, protocol)
    age = _age(facts)
    phase = treatment_phase(facts, neuro, protocol)
    return Situation(
        deficiency=lack,
        neuro=neuro,
        phase=phase,
        ileum=gut,
        bariatric=surgery,
        cause=_cause(irreversible, lack),
        cause_lines=irreversible,
        cancer=_certain(facts.found(Concept.CANCER), Activity.ACTIVE),
        crohns=_certain(
            facts.found(Concept.CROHNS), Activity.ACTIVE, Activity.REMISSION, Activity.NOT_STATED
        ),
        leber=_inherited(facts.found(Concept.LEBER)),
        leber_possible=facts.found(Concept.LEBER_POSSIBLE) + _doubtful(facts.found(Concept.LEBER)),
        leber_family=tuple(f for f in facts.family if f.concept is Concept.LEBER),
        pregnancy=pregnancy,
        inborn=_certain(facts.found(Concept.INBORN_COBALAMIN_ERROR), *Activity),
        malabsorption=_malabsorption(facts, gut, surgery, irreversible, protocol),
        recurring_symptoms=_recurring_symptoms(facts, phase, protocol),
        lifelong_cause=_lifelong(facts),
        age_years=years_between(age, facts.as_of) if age else None,
        age_days=(facts.as_of - age).days if age else None,
        under_age=age is not None
        and years_between(age, facts.as_of) < protocol.thresholds.min_age_years,
        neuro_new_on_maintenance=neuro.newer_than(phase.maintenance_start, facts, protocol),
        complete_record=not facts.unread(*DECIDING),
    )


def _age(facts: PatientFacts) -> date | None:
    """A.3: the latest possible birth date, so that a partial date errs to the younger side."""
    return facts.age.latest if facts.age else None


def _certain(findings: tuple[Finding, ...], *activities: Activity) -> tuple[Finding, ...]:
    return tuple(
        f for f in findings if f.certainty is Certainty.CONFIRMED and f.activity in activities
    )


def _inherited(findings: tuple[Finding, ...]) -> tuple[Finding, ...]:
    """Leber is inherited: it does not resolve, so only an ended or unverified entry is in doubt."""
    return _certain(findings, Activity.ACTIVE, Activity.REMISSION, Activity.NOT_STATED)


def _doubtful(findings: tuple[Finding, ...]) -> tuple[Finding, ...]:
    sure = set(_inherited(findings))
    return tuple(f for f in findings if f not in sure)


def _pregnancy(facts: PatientFacts, protocol: Protocol) -> tuple[Finding, ...]:
    """An active pregnancy diagnosis, unless it began too long ago to go on; or a pregnancy status
    not older than 9 months."""
    found = _certain(facts.found(Concept.PREGNANCY), Activity.ACTIVE, Activity.NOT_STATED)
    return tuple(f for f in found if _goes_on(f, facts, protocol))


def _goes_on(f: Finding, facts: PatientFacts, protocol: Protocol) -> bool:
    t = protocol.thresholds
    if f.activity is Activity.ACTIVE and f.record.reference.startswith("Condition/"):
        return f.since is None or within_months(f.since, facts.as_of, t.pregnancy_months)
    return within_months(f.since, facts.as_of, t.pregnancy_status_months)


def finding_line(key: str, f: Finding, protocol: Protocol) -> Line:
    """The phrase `key` about one finding, with its label and date."""
    text = protocol.say(key, label=f.record.label, since=words.since(f.since or f.record.on))
    return Line(text, (f.record,))


def _irreversible(
    facts: PatientFacts, gut: Ileum, surgery: BariatricSurgery, protocol: Protocol
) -> tuple[Line, ...]:
    """A.3 CAUSE: the malabsorption that does not go away."""
    concepts = (
        Concept.PERNICIOUS_ANAEMIA,
        Concept.AUTOIMMUNE_GASTRITIS,
        Concept.GASTRECTOMY_TOTAL,
        Concept.INBORN_COBALAMIN_ERROR,
    )
    current = _certain(facts.found(*concepts), Activity.ACTIVE, Activity.NOT_STATED)
    lines = [finding_line("cause-irreversible", f, protocol) for f in current]
    for r in facts.results(Analyte.IF_ANTIBODY):
        if r.flag is Flag.POSITIVE:
            text = protocol.say("if-antibody", on=words.day(r.on))
            lines.append(Line(text, (r.record,)))
    if gut.over_threshold is Answer.YES:
        lines.extend(gut.because)
    if surgery.kind is Bariatric.ILEAL:
        lines.extend(surgery.because)
    return tuple(lines)


def _cause(irreversible: tuple[Line, ...], lack: Deficiency) -> Cause:
    if irreversible:
        return Cause.IRREVERSIBLE
    return Cause.REVERSIBLE if lack.dietary else Cause.UNKNOWN


def _malabsorption(
    facts: PatientFacts,
    gut: Ileum,
    surgery: BariatricSurgery,
    irreversible: tuple[Line, ...],
    protocol: Protocol,
) -> tuple[Line, ...]:
    """S24: anything recorded that hinders absorption, lifelong or not."""
    concepts = (
        Concept.COELIAC,
        Concept.MALABSORPTION_OTHER,
        Concept.GASTRECTOMY_PARTIAL,
    )
    current = _certain(facts.found(*concepts), Activity.ACTIVE, Activity.NOT_STATED)
    lines = [*irreversible, *(finding_line("diagnosis", f, protocol) for f in current)]
    if gut.resected:
        lines.extend((*gut.because, *gut.unknown))
    if surgery.kind is not Bariatric.NONE:
        lines.extend(surgery.because)
    return tuple({line.text: line for line in lines}.values())


def _lifelong(facts: PatientFacts) -> bool:
    """NG239: lifelong injections for these three only (profile uk-nice)."""
    concepts = (
        Concept.PERNICIOUS_ANAEMIA,
        Concept.AUTOIMMUNE_GASTRITIS,
        Concept.GASTRECTOMY_TOTAL,
    )
    return bool(_certain(facts.found(*concepts), Activity.ACTIVE, Activity.NOT_STATED)) or any(
        r.complete for r in facts.resections
    )


def _recurring_symptoms(
    facts: PatientFacts, phase: TreatmentPhase, protocol: Protocol
) -> tuple[Line, ...]:
    """S19: an active symptom that began after maintenance did, at most 6 months ago."""
    if phase.stage is not Stage.LOADED or phase.maintenance_start is None:
        return ()
    months = protocol.thresholds.symptom_recent_months
    current = _certain(facts.found(Concept.SYMPTOM), Activity.ACTIVE, Activity.NOT_STATED)
    return tuple(
        finding_line("symptom", f, protocol)
        for f in current
        if f.since
        and f.since > phase.maintenance_start
        and within_months(f.since, facts.as_of, months)
    )
