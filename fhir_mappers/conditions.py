"""Which of the protocol's findings does a Condition record?

Codes establish a finding; the value sets say which. A text does two smaller things: it says which
vitamin a vague code means, and it may hold back an alarm. It never asserts a disease.
Refuted and mistaken entries are no findings at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from fhir_mappers import elements as el
from fhir_mappers import words
from fhir_mappers.elements import Json
from fhir_mappers.terminology import Code, settle, value_sets
from regimen.facts import Activity, Certainty, Concept, Domain, Finding, RecordRef


@dataclass(frozen=True, slots=True)
class Meaning:
    """What one CodeableConcept says, apart from when and how surely."""

    concept: Concept
    label: str
    domains: frozenset[Domain] = frozenset()
    stands_alone: bool = True
    needs_cause: bool = False


# Sets whose codes mean one concept each, once the exclusions of their fact have been heard.
_BY_SET: dict[str, Concept] = {
    "b12-deficiency-specialist-only": Concept.INBORN_COBALAMIN_ERROR,
    "coeliac-disease": Concept.COELIAC,
    "malabsorption-cause-other": Concept.MALABSORPTION_OTHER,
    "gastrectomy-total": Concept.GASTRECTOMY_TOTAL,
    "gastrectomy-partial": Concept.GASTRECTOMY_PARTIAL,
    "bariatric-malabsorptive-ileal": Concept.BARIATRIC_ILEAL,
    "bariatric-gastric-bypass": Concept.BARIATRIC_NON_ILEAL,
    "bariatric-sleeve": Concept.BARIATRIC_NON_ILEAL,
    "bariatric-restrictive-band": Concept.BARIATRIC_NON_ILEAL,
    "bariatric-unspecified-status": Concept.BARIATRIC_UNSPECIFIED,
    "ileal-resection-definite": Concept.ILEAL_LOSS_POSSIBLE,  # a status: no operation to measure
    "ileal-resection-possible": Concept.ILEAL_LOSS_POSSIBLE,
    "ileal-loss-indirect-evidence": Concept.ILEAL_LOSS_POSSIBLE,
    "ileal-urinary-diversion": Concept.ILEAL_LOSS_POSSIBLE,
    "malignancy-include": Concept.CANCER,
    "leber-hereditary-optic-neuropathy": Concept.LEBER,
    "hereditary-optic-atrophy-ask": Concept.LEBER_POSSIBLE,
    "pregnancy": Concept.PREGNANCY,
    "b12-symptom-other": Concept.SYMPTOM,
    "renal-impairment": Concept.RENAL_IMPAIRMENT,
    "hydroxocobalamin-other-indication": Concept.CYANIDE,
}

# Crohn's disease is Crohn's disease wherever it is; the site matters only to its extent.
_CROHNS_SETS = frozenset(
    {
        "crohns-disease-any",
        "crohns-ileal-or-small-bowel",
        "crohns-site-unknown",
        "crohns-colonic-only-exclude",
        "crohns-other-site",
    }
)

_BY_TEXT: tuple[tuple[Concept, Any, str], ...] = (
    (Concept.FOLATE_EXCEPTION, words.FOLATE_EXCEPTION, "Haemolysis, sickle cell or dialysis"),
    (Concept.END_OF_LIFE, words.END_OF_LIFE, "End-of-life care"),
    (Concept.PREMATURE, words.PREMATURE, "Prematurity"),
    (Concept.LEBER_POSSIBLE, words.LEBER, "Leber optic neuropathy, by its text"),
)


def read_condition(resource: Json, as_of: date) -> tuple[Finding, ...]:
    certainty = _certainty(resource)
    if certainty is None:
        return ()
    onset = _not_after(as_of, _onset(resource))
    recorded = _not_after(as_of, _recorded(resource))
    return tuple(
        Finding(
            concept=meaning.concept,
            record=RecordRef(el.resource_ref(resource), onset or recorded, meaning.label),
            onset=onset,
            recorded=recorded,
            certainty=_doubted(certainty, meaning.concept, resource.get("code")),
            activity=_activity(resource, as_of),
            domains=meaning.domains,
            stands_alone=meaning.stands_alone,
            needs_cause=meaning.needs_cause,
        )
        for meaning in meanings_of(resource.get("code"))
    )


# No text takes away what forbids a medicine, or what makes a result uncertain.
_WHATEVER_IS_SAID = frozenset(
    {
        Concept.LEBER,
        Concept.LEBER_POSSIBLE,
        Concept.PREGNANCY,
        Concept.INBORN_COBALAMIN_ERROR,
    }
)


def _doubted(certainty: Certainty, concept: Concept, code: object) -> Certainty:
    """A disease by its code whose text says "?", "family history of", "screening for" is not sure;
    nor is a cancer called history."""
    text = el.text(el.as_dict(code).get("text"))
    if text is None or concept in _WHATEVER_IS_SAID:
        return certainty
    doubted = words.DOUBTED.search(text[: el.MAX_TEXT])
    past = concept is Concept.CANCER and words.PAST.search(text[: el.MAX_TEXT])
    return Certainty.UNCONFIRMED if doubted or past else certainty


def meanings_of(code: object) -> list[Meaning]:
    """Everything one CodeableConcept means to the protocol, one Meaning a concept."""
    if not code:
        return []
    texts = words.texts_of(code)
    codes = value_sets().matches_concept(el.as_dict(code))
    found = [*_by_codes(codes, texts), *_by_text(texts)]
    first: dict[Concept, Meaning] = {}
    for meaning in found:
        first.setdefault(meaning.concept, meaning)
    return list(first.values())


def _by_codes(codes: Sequence[Code], texts: Sequence[str]) -> Iterable[Meaning]:
    if not codes:
        return
    settled = settle(codes)
    yield from _deficiency(settled, texts)
    yield from _neurology(codes)
    yield from _crohns(codes)
    yield from _gastritis(settled, texts)
    for code in settled:
        if code.value_set in _BY_SET:
            yield Meaning(_BY_SET[code.value_set], code.label)
        if code.attributes.get("dialysis"):
            yield Meaning(Concept.FOLATE_EXCEPTION, code.label)
        if code.value_set == "ileal-bypass":
            yield Meaning(bypass_concept(code), code.label)
        if code.value_set == "drug-nitrous-oxide" and code.attributes.get("misuse"):
            yield Meaning(Concept.NITROUS_OXIDE_MISUSE, code.label)


def bypass_concept(code: Code) -> Concept:
    """A jejunoileal bypass takes the ileum out of use; of another bypass, how much is not said."""
    if code.attributes.get("jejunoileal"):
        return Concept.BARIATRIC_ILEAL
    return Concept.ILEAL_LOSS_POSSIBLE


def _by_text(texts: Sequence[str]) -> Iterable[Meaning]:
    if not words.may_say(words.CAUTION_STEMS, texts):
        return
    for concept, phrase, label in _BY_TEXT:
        if words.said(phrase, texts):
            yield Meaning(concept, label)


# --- deficiency -------------------------------------------------------------------------------

_BY_CAUSE = {
    "pernicious": Concept.PERNICIOUS_ANAEMIA,
    "dietary": Concept.DIETARY_B12_DEFICIENCY,
}


def _deficiency(codes: Sequence[Code], texts: Sequence[str]) -> Iterable[Meaning]:
    """B12 deficiency, by its cause where the code says it.

    An inborn error has a schedule of its own: its codes are no deficiency in the adult sense.
    """
    if _of_set(codes, "b12-deficiency-specialist-only"):
        return
    confirmed = _of_set(codes, "b12-deficiency-confirmed")
    if confirmed:
        yield from _confirmed(confirmed)
        return
    vague = _of_set(codes, "b12-deficiency-needs-corroboration")
    if vague:
        yield from _vague(vague, texts)


def _confirmed(codes: Sequence[Code]) -> Iterable[Meaning]:
    causes = {str(code.attributes.get("cause", "")): code for code in codes}
    for cause, concept in _BY_CAUSE.items():
        if cause in causes and "malabsorption" not in causes:
            yield Meaning(concept, causes[cause].label)
            return
    if "malabsorption" in causes:
        yield Meaning(Concept.MALABSORPTION_OTHER, causes["malabsorption"].label)
    if "pernicious" in causes:
        yield Meaning(Concept.PERNICIOUS_ANAEMIA, causes["pernicious"].label)
        return
    yield Meaning(Concept.B12_DEFICIENCY, codes[0].label)


def _vague(codes: Sequence[Code], texts: Sequence[str]) -> Iterable[Meaning]:
    """Codes that also mean folate or no vitamin at all: the text decides whether they mean B12."""
    # A code whose own name says B12 already ("level below range") is not made surer by it.
    names_it = any(words.B12.search(code.display) for code in codes)
    if not names_it and words.said(words.B12, texts, unless=words.DOUBTED):
        yield Meaning(Concept.B12_DEFICIENCY, codes[0].label)
        return
    if not words.named(words.B12, texts) and words.named(words.OTHER_B_VITAMIN, texts):
        return  # says itself that it is another vitamin
    probable = [code for code in codes if code.attributes.get("uncorroborated") == "probable"]
    if probable:
        yield Meaning(Concept.B_VITAMIN_DEFICIENCY, probable[0].label)
    else:
        yield Meaning(Concept.ANAEMIA_CAUSE_OPEN, codes[0].label)


# --- neurology, gut ---------------------------------------------------------------------------


def _neurology(codes: Sequence[Code]) -> Iterable[Meaning]:
    specific = _of_set(codes, "b12-deficiency-with-neuro")
    other = _of_set(codes, "neuro-alternative-cause")
    finding = _of_set(codes, "neuro-finding-nonspecific")
    if specific:
        yield Meaning(Concept.NEURO_SPECIFIC, specific[0].label, _domains(specific))
    elif other:
        alone = any(code.attributes.get("finding", True) is not False for code in other)
        label, domains = other[0].label, _domains(other)
        yield Meaning(Concept.NEURO_OTHER_CAUSE, label, domains, stands_alone=alone)
    elif finding:
        dependent = all(code.attributes.get("needs_cause") for code in finding)
        label, domains = finding[0].label, _domains(finding)
        yield Meaning(Concept.NEURO_FINDING, label, domains, needs_cause=dependent)


def _domains(codes: Iterable[Code]) -> frozenset[Domain]:
    names = [code.attributes.get("domains") for code in codes]
    return frozenset(Domain(n) for each in names if isinstance(each, tuple) for n in each)


def _crohns(codes: Sequence[Code]) -> Iterable[Meaning]:
    if _of_set(codes, "crohns-history-only"):
        return
    found = [code for code in codes if code.value_set in _CROHNS_SETS]
    if found:
        yield Meaning(Concept.CROHNS, found[0].label)


def _gastritis(codes: Sequence[Code], texts: Sequence[str]) -> Iterable[Meaning]:
    found = _of_set(codes, "atrophic-or-autoimmune-gastritis")
    if not found:
        return
    autoimmune = any(code.attributes.get("autoimmune") for code in found)
    if autoimmune or words.said(words.AUTOIMMUNE, texts):
        yield Meaning(Concept.AUTOIMMUNE_GASTRITIS, found[0].label)
    else:
        yield Meaning(Concept.MALABSORPTION_OTHER, found[0].label)


def _of_set(codes: Iterable[Code], value_set: str) -> list[Code]:
    return [code for code in codes if code.value_set == value_set]


# --- status and time --------------------------------------------------------------------------

_ACTIVITY = {
    "active": Activity.ACTIVE,
    "recurrence": Activity.ACTIVE,
    "relapse": Activity.ACTIVE,
    "remission": Activity.REMISSION,
    "inactive": Activity.ENDED,
    "resolved": Activity.ENDED,
}
_NOT_SURE = frozenset({"provisional", "differential", "unconfirmed", "unknown"})
_NEVER_WAS = frozenset({"refuted", "entered-in-error"})


def status_words(element: object) -> set[str]:
    """The codes of a status: a CodeableConcept, or the plain code it was before R4."""
    plain = el.text(element)
    if plain is not None:
        return {plain.lower()}
    codes = {coding.code.lower() for coding in el.codings(element)}
    if codes:
        return codes
    written = el.text(el.as_dict(element).get("text"))
    return {written.lower().replace(" ", "-")} if written else set()


def _certainty(resource: Json) -> Certainty | None:
    said = status_words(resource.get("verificationStatus"))
    if said & _NEVER_WAS:
        return None
    return Certainty.UNCONFIRMED if said & _NOT_SURE else Certainty.CONFIRMED


def _activity(resource: Json, as_of: date) -> Activity:
    said = status_words(resource.get("clinicalStatus"))
    found = {_ACTIVITY[word] for word in said if word in _ACTIVITY}
    if len(found) == 1:
        return found.pop()
    return Activity.ENDED if _abated(resource, as_of) else Activity.NOT_STATED


def _abated(resource: Json, as_of: date) -> bool:
    if el.flag(resource.get("abatementBoolean")):
        return True
    on = el.date_of(resource.get("abatementDateTime"))
    end = el.period(resource.get("abatementPeriod")).end
    if on is None and end is not None:
        on = end.day
    return on is not None and on <= as_of


def _onset(resource: Json) -> date | None:
    start = el.period(resource.get("onsetPeriod")).start
    return el.date_of(resource.get("onsetDateTime")) or (start.day if start else None)


def _recorded(resource: Json) -> date | None:
    names = ("recordedDate", "assertedDate", "dateRecorded")  # R4, STU3, DSTU2
    dates = (el.date_of(resource.get(name)) for name in names)
    return next((found for found in dates if found), None)


def _not_after(as_of: date, on: date | None) -> date | None:
    """A date in the future is no date of something that was found."""
    return on if on is not None and on <= as_of else None
