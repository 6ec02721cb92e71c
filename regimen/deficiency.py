"""Is B12 deficiency confirmed, probable, refuted, or is there nothing on record?

What could not be read is UNAVAILABLE, never "no deficiency".
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from regimen import words
from regimen.calendar import within_days, within_months
from regimen.facts import (
    COBALAMINS,
    Activity,
    Analyte,
    Certainty,
    Concept,
    Finding,
    Ingredient,
    LabResult,
    PatientFacts,
    Subject,
)
from regimen.labs import (
    TEST_WORDS,
    UNITS,
    Verdict,
    below,
    cut_offs,
    in_unit,
    newest,
    newest_first,
    raised,
    verdict,
)
from regimen.neurology import Neurology, NeuroState
from regimen.protocol import Protocol
from regimen.recommendation import Line
from regimen.treatment import given, running_injections, treated_before


class Level(StrEnum):
    CONFIRMED = "confirmed"
    PROBABLE = "probable"
    NONE = "none"
    REFUTED = "refuted"
    UNAVAILABLE = "unavailable"

    @property
    def is_deficient(self) -> bool:
        return self in (Level.CONFIRMED, Level.PROBABLE)


@dataclass(frozen=True, slots=True)
class Deficiency:
    level: Level
    because: tuple[Line, ...] = ()
    unknown: tuple[Line, ...] = ()
    severe: bool = False  # S25
    nitrous_oxide: bool = False  # misuse on record
    dietary: bool = False
    mma_useful: bool = True  # it could still tell: the kidneys are well, and no result is there


@dataclass(frozen=True, slots=True)
class _Evidence:
    """One piece of evidence and how far it goes; None only says something. `line` None: another
    answer says it."""

    level: Level | None
    line: Line | None


def deficiency(
    facts: PatientFacts, neuro: Neurology, pregnant: bool, protocol: Protocol
) -> Deficiency:
    """C.3: confirmed, else probable, else refuted, else none; unavailable where unread."""
    nitrous = _nitrous_oxide(facts, protocol)
    evidence = [
        *_from_diagnoses(facts, protocol),
        *_from_b12(facts, pregnant, protocol),
        *_from_mma(facts, protocol),
        *_from_neurology(neuro),
        *(_from_nitrous_oxide(facts, neuro, protocol) if nitrous else ()),
    ]
    level = _level(evidence, facts, refutable=not nitrous)
    severe = _severe(facts, pregnant, protocol)
    return Deficiency(
        level=level,
        because=tuple(_distinct([e.line for e in evidence if e.line is not None] + severe)),
        unknown=_unused(facts, protocol),
        severe=bool(severe),
        nitrous_oxide=nitrous,
        mma_useful=not kidney_impaired(facts, protocol) and _known_mma(facts, protocol) is None,
        dietary=bool(_active(facts.found(Concept.DIETARY_B12_DEFICIENCY))),
    )


def _level(evidence: list[_Evidence], facts: PatientFacts, *, refutable: bool) -> Level:
    levels = {e.level for e in evidence}
    for level in (Level.CONFIRMED, Level.PROBABLE):
        if level in levels:
            return level
    if facts.unread(Subject.CONDITIONS, Subject.OBSERVATIONS):
        return Level.UNAVAILABLE
    return Level.REFUTED if Level.REFUTED in levels and refutable else Level.NONE


def _distinct(lines: list[Line]) -> list[Line]:
    return list({line.text: line for line in lines}.values())


# --- diagnoses --------------------------------------------------------------------------------


def _active(findings: tuple[Finding, ...]) -> tuple[Finding, ...]:
    return tuple(f for f in findings if f.activity in (Activity.ACTIVE, Activity.NOT_STATED))


def _from_diagnoses(facts: PatientFacts, protocol: Protocol) -> list[_Evidence]:
    """C.3.1-2. A diagnosis counts even with normal results on treatment."""
    named = (
        Concept.B12_DEFICIENCY,
        Concept.PERNICIOUS_ANAEMIA,
        Concept.DIETARY_B12_DEFICIENCY,
        Concept.AUTOIMMUNE_GASTRITIS,
    )
    evidence = []
    for f in _active(facts.found(*named)):
        sure = f.certainty is Certainty.CONFIRMED
        key = "diagnosis" if sure else "diagnosis-unconfirmed"
        level = Level.CONFIRMED if sure else Level.PROBABLE
        evidence.append(_Evidence(level, _line(key, f, protocol)))
    vague = (Concept.B_VITAMIN_DEFICIENCY, Concept.ANAEMIA_CAUSE_OPEN)
    for f in _active(facts.found(*vague)):
        evidence.extend(_from_vague_diagnosis(f, facts, protocol))
    return evidence


def _from_vague_diagnosis(f: Finding, facts: PatientFacts, protocol: Protocol) -> list[_Evidence]:
    """A code that does not say B12: B12 treatment in the past year makes it one; else it is
    probable (a B vitamin), or only a question (an anaemia)."""
    if f.certainty is Certainty.CONFIRMED and _treated_in_past_year(facts, protocol):
        return [
            _Evidence(Level.CONFIRMED, _line("diagnosis", f, protocol)),
            _Evidence(None, Line(protocol.say("corroborated"))),
        ]
    if f.concept is Concept.B_VITAMIN_DEFICIENCY:
        return [_Evidence(Level.PROBABLE, _line("diagnosis-open", f, protocol))]
    return [_Evidence(None, _line("anaemia-open", f, protocol))]


def _treated_in_past_year(facts: PatientFacts, protocol: Protocol) -> bool:
    days = protocol.thresholds.lab_window_days
    dosed = any(within_days(d.on, facts.as_of, days) for d in given(facts))
    oral = any(o.ingredient in COBALAMINS and o.status == "active" for o in facts.orders)
    return dosed or oral or bool(running_injections(facts))


def _line(key: str, f: Finding, protocol: Protocol) -> Line:
    text = protocol.say(key, label=f.record.label, since=words.since(f.since))
    return Line(text, (f.record,))


# --- B12 results ------------------------------------------------------------------------------


def _from_b12(facts: PatientFacts, pregnant: bool, protocol: Protocol) -> list[_Evidence]:
    """The newest informative result of each test decides; a later normal one supersedes an older
    indeterminate one of either test, and an older low one of the same test."""
    per_test = [
        _decisive(facts, analyte, pregnant, protocol)
        for analyte in (Analyte.B12_TOTAL, Analyte.B12_ACTIVE)
    ]
    found = [pair for pairs in per_test for pair in pairs]
    normal = [r for r, v, _ in found if v is Verdict.NORMAL]
    latest_normal = max((r.on for r in normal if r.on), default=None)
    evidence = []
    for result, said, line in found:
        level = _LEVELS[said]
        superseded = latest_normal and result.on and latest_normal > result.on
        if said is Verdict.INDETERMINATE and superseded:
            level = None
        evidence.append(_Evidence(level, line))
    return [*evidence, *_treated_results(facts, protocol)]


_LEVELS: dict[Verdict, Level | None] = {
    Verdict.LOW: Level.CONFIRMED,
    Verdict.MAYBE_LOW: Level.PROBABLE,
    Verdict.INDETERMINATE: Level.PROBABLE,
    Verdict.NORMAL: Level.REFUTED,
}


def _decisive(
    facts: PatientFacts, analyte: Analyte, pregnant: bool, protocol: Protocol
) -> list[tuple[LabResult, Verdict, Line]]:
    """The newest final result that says something, and any newer preliminary one."""
    chosen = []
    newer_unread = False
    for result in newest_first(facts.results(analyte), protocol):
        said = verdict(result, protocol)
        newer_unread = newer_unread or (said is None and bool(result.unreadable))
        if newer_unread and said is Verdict.NORMAL:
            break  # a newer result came and could not be read: nothing is refuted
        if said is None or _uninformative(result, said, facts, protocol):
            continue
        line = _result_line(result, said, protocol)
        recent = within_days(result.on, facts.as_of, protocol.thresholds.lab_window_days)
        if not recent:
            if said in (Verdict.LOW, Verdict.MAYBE_LOW):
                days = protocol.thresholds.lab_window_days
                stale = protocol.say("lab-stale", line=line.text, days=days)
                chosen.append((result, Verdict.MAYBE_LOW, Line(stale, line.records)))
            break
        if result.preliminary:
            if said is not Verdict.NORMAL:
                text = protocol.say("lab-preliminary", line=line.text)
                softened = Verdict.MAYBE_LOW if said is Verdict.LOW else said
                chosen.append((result, softened, Line(text, line.records)))
            continue
        if pregnant and analyte is Analyte.B12_TOTAL and said is Verdict.LOW:
            text = protocol.say("lab-pregnancy", line=line.text)
            about = tuple(f.record for f in facts.found(Concept.PREGNANCY))
            said, line = Verdict.MAYBE_LOW, Line(text, line.records, about)
        chosen.append((result, said, line))
        break
    return chosen


def _uninformative(
    result: LabResult, said: Verdict, facts: PatientFacts, protocol: Protocol
) -> bool:
    """On treatment a low result still counts; an indeterminate or normal one says nothing."""
    if said in (Verdict.LOW, Verdict.MAYBE_LOW) or result.on is None:
        return False
    return treated_before(facts, result.on, protocol)


def _treated_results(facts: PatientFacts, protocol: Protocol) -> list[_Evidence]:
    latest = newest(facts, Analyte.B12_TOTAL, protocol)
    said = verdict(latest, protocol) if latest else None
    if latest is None or said is None or not _uninformative(latest, said, facts, protocol):
        return []
    return [_Evidence(None, lab_line("lab-treated", latest, protocol))]


def _result_line(result: LabResult, said: Verdict, protocol: Protocol) -> Line:
    if result.value is None:
        return lab_line("lab-low-flag" if said is not Verdict.NORMAL else "lab", result, protocol)
    if result.unit is None or result.unit not in UNITS.get(result.analyte, {}):
        return lab_line("lab-reference-low", result, protocol)
    unit, factor = UNITS[result.analyte][result.unit]
    low, high = cut_offs(result.analyte, unit, protocol)
    unit = result.unit if factor == 1 else unit
    key = {
        Verdict.LOW: "lab-low",
        Verdict.MAYBE_LOW: "lab-maybe-low",
        Verdict.INDETERMINATE: "lab-indeterminate",
        Verdict.NORMAL: "lab-normal",
    }[said]
    return lab_line(
        key, result, protocol, threshold=f"{low} {unit}", low=low, high=f"{high} {unit}"
    )


def lab_line(key: str, result: LabResult, protocol: Protocol, **values: object) -> Line:
    """The phrase `key` about one result, with its value, unit and date."""
    text = protocol.say(
        key,
        test=TEST_WORDS[result.analyte],
        value=words.lab_value(result),
        on=words.day(result.on),
        **values,
    )
    return Line(text, (result.record,))


_UNUSED = {
    "unit": "lab-unit-unknown",
    "value": "lab-unreadable",
    "ambiguous": "lab-ambiguous",
    "implausible": "lab-implausible",
}
_B12 = (Analyte.B12_TOTAL, Analyte.B12_ACTIVE)
# Judged by rules too, but with units of their own at every laboratory.
_NOT_SAID = (*_B12, Analyte.IF_ANTIBODY)


def _unused(facts: PatientFacts, protocol: Protocol) -> tuple[Line, ...]:
    """Results that came but could not be used: said, never guessed from their size. Of B12 all;
    of another test the newest."""
    found = [
        r
        for analyte in _B12
        for r in facts.results(analyte)
        if verdict(r, protocol) is None and (r.unreadable or r.value is not None)
    ]
    days = protocol.thresholds.lab_window_days
    others: dict[Analyte, LabResult] = {}
    for r in facts.labs:
        if r.analyte not in _NOT_SAID and within_days(r.on, facts.as_of, days):
            kept = others.setdefault(r.analyte, r)
            if (str(r.on), r.moment) > (str(kept.on), kept.moment):
                others[r.analyte] = r
    found += [r for r in others.values() if r.unreadable]
    return tuple(lab_line(_UNUSED.get(r.unreadable, "lab-bound"), r, protocol) for r in found)


def _severe(facts: PatientFacts, pregnant: bool, protocol: Protocol) -> list[Line]:
    """S25: total B12 below 100 ng/L (74 pmol/L), or haemoglobin below 80 g/L."""
    t = protocol.thresholds
    lines = []
    latest = newest(facts, Analyte.B12_TOTAL, protocol)
    if latest and latest.unit and within_days(latest.on, facts.as_of, t.lab_window_days):
        molar = UNITS[Analyte.B12_TOTAL][latest.unit][0] == "pmol/L"
        if below(latest, t.b12_severe_pmol_l if molar else t.b12_severe_ng_l):
            lines.append(lab_line("lab-severe", latest, protocol))
    haemoglobin = newest(facts, Analyte.HAEMOGLOBIN, protocol)
    limit = t.haemoglobin_severe_pregnant_g_l if pregnant else t.haemoglobin_severe_g_l
    recent = haemoglobin and within_days(haemoglobin.on, facts.as_of, t.lab_window_days)
    if haemoglobin and recent and below(haemoglobin, limit):
        lines.append(lab_line("lab-severe", haemoglobin, protocol))
    return lines


# --- supporting evidence ----------------------------------------------------------------------


def kidney_impaired(facts: PatientFacts, protocol: Protocol) -> bool:
    """eGFR below 60, or without an eGFR a recorded kidney disease: MMA is then not usable."""
    egfr = newest(facts, Analyte.EGFR, protocol)
    if egfr is not None:
        return below(egfr, protocol.thresholds.egfr_impaired)
    return bool(_active(facts.found(Concept.RENAL_IMPAIRMENT)))


def _latest(facts: PatientFacts, analyte: Analyte, protocol: Protocol) -> LabResult | None:
    """The newest final result of the last 12 months."""
    dated = [
        r
        for r in facts.results(analyte)
        if within_days(r.on, facts.as_of, protocol.thresholds.lab_window_days) and not r.preliminary
    ]
    return next(iter(newest_first(dated, protocol)), None)


def _raised(facts: PatientFacts, analyte: Analyte, protocol: Protocol) -> LabResult | None:
    limits = {
        Analyte.MMA: protocol.thresholds.mma_raised_umol_l,
        Analyte.HOMOCYSTEINE: protocol.thresholds.homocysteine_raised_umol_l,
    }
    latest = _latest(facts, analyte, protocol)
    return latest if latest is not None and raised(latest, limits[analyte]) else None


def _known_mma(facts: PatientFacts, protocol: Protocol) -> LabResult | None:
    """The newest MMA result, if it says anything."""
    latest = _latest(facts, Analyte.MMA, protocol)
    says = latest is not None and (in_unit(latest) is not None or latest.flag is not None)
    return latest if says else None


def _from_mma(facts: PatientFacts, protocol: Protocol) -> list[_Evidence]:
    """C.3.1-2: raised MMA is probable alone; it confirms beside an indeterminate B12."""
    mma = _raised(facts, Analyte.MMA, protocol)
    if mma is None:
        known = _known_mma(facts, protocol)
        return [_Evidence(None, lab_line("lab", known, protocol))] if known else []
    line = lab_line("lab-raised", mma, protocol)
    if kidney_impaired(facts, protocol):
        renal = tuple(f.record for f in facts.found(Concept.RENAL_IMPAIRMENT))
        renal += tuple(r.record for r in facts.results(Analyte.EGFR))
        return [_Evidence(None, line), _Evidence(None, Line(protocol.say("renal"), about=renal))]
    level = Level.CONFIRMED if _indeterminate_b12(facts, protocol) else Level.PROBABLE
    return [_Evidence(level, line)]


def _indeterminate_b12(facts: PatientFacts, protocol: Protocol) -> bool:
    """Is the newest result of total or active B12 in the window indeterminate?"""
    days = protocol.thresholds.lab_window_days
    for analyte in (Analyte.B12_TOTAL, Analyte.B12_ACTIVE):
        latest = newest(facts, analyte, protocol)
        if latest is None or not within_days(latest.on, facts.as_of, days):
            continue
        said = verdict(latest, protocol)
        if said in (Verdict.INDETERMINATE, Verdict.MAYBE_LOW):
            return True
    return False


def _from_neurology(neuro: Neurology) -> list[_Evidence]:
    """An N1 diagnosis names the deficiency or its cord lesion: probable until it is shown."""
    if neuro.specific:
        return [_Evidence(Level.PROBABLE, None)]
    return []


def _nitrous_oxide(facts: PatientFacts, protocol: Protocol) -> bool:
    """F.15: misuse on record, or medical use within 6 months: normal B12 then refutes nothing."""
    months = protocol.thresholds.nitrous_oxide_recent_months
    used = [
        *(f.since for f in facts.found(Concept.NITROUS_OXIDE_MEDICAL)),
        *(d.on for d in facts.doses if d.ingredient is Ingredient.NITROUS_OXIDE),
    ]
    misuse = _active(facts.found(Concept.NITROUS_OXIDE_MISUSE))
    return bool(misuse) or any(within_months(on, facts.as_of, months) for on in used)


def _from_nitrous_oxide(
    facts: PatientFacts, neuro: Neurology, protocol: Protocol
) -> list[_Evidence]:
    """C.3.2: misuse with raised homocysteine or MMA, or with neurological signs."""
    misuse = _active(facts.found(Concept.NITROUS_OXIDE_MISUSE))
    evidence = [_Evidence(None, _line("nitrous-oxide", f, protocol)) for f in misuse]
    markers = [_raised(facts, a, protocol) for a in (Analyte.HOMOCYSTEINE, Analyte.MMA)]
    shown = [m for m in markers if m is not None]
    if misuse and (shown or neuro.state is NeuroState.PRESENT):
        evidence.extend(
            _Evidence(Level.PROBABLE, lab_line("lab-raised", m, protocol)) for m in shown
        )
        evidence.append(_Evidence(Level.PROBABLE, _line("nitrous-oxide", misuse[0], protocol)))
    return evidence
