"""What do all the resources of one patient say together?

The one place where the mappers meet. The order in which a record is delivered, or a fact
recorded twice, changes nothing: everything is sorted, and equal facts are one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from datetime import date
from functools import cache
from itertools import chain
from operator import attrgetter, itemgetter
from typing import Any, Protocol, TypeVar

from fhir_mappers import elements as el
from fhir_mappers.allergies import read_allergy
from fhir_mappers.conditions import read_condition
from fhir_mappers.drafts import Session
from fhir_mappers.elements import Json
from fhir_mappers.family_history import read_family_history
from fhir_mappers.medications import (
    read_administration,
    read_dispense,
    read_orders,
    read_statements,
)
from fhir_mappers.medicines import Resolve, is_guarded
from fhir_mappers.observations import Observed, read_observations
from fhir_mappers.patient import read_patient
from fhir_mappers.procedures import read_procedures
from fhir_mappers.service_requests import read_service_request
from fhir_mappers.timing import days_through
from regimen.facts import DoseGiven, Gap, Order, PatientFacts, RecordRef, RequestOnFile


class _Fact(Protocol):
    @property
    def record(self) -> RecordRef: ...


F = TypeVar("F", bound=_Fact)


def read_facts(
    resources: Mapping[str, Sequence[Json]],
    *,
    gaps: Iterable[Gap],
    session: Session,
    patient_id: str,
    as_of: date,
) -> PatientFacts:
    """The facts of one patient. `resources`: by type; any that names another subject is dropped."""

    def of(kind: str) -> list[Json]:
        return [r for r in resources.get(kind, ()) if el.subject_is(r, patient_id)]

    resolve = _medications(resources.get("Medication", ()))
    person = read_patient(of("Patient"), as_of)
    observed = read_observations(of("Observation"), as_of)
    operated = read_procedures(of("Procedure"), observed.lengths, as_of)
    conditions = _each(lambda r: read_condition(r, as_of), of("Condition"))
    facts = PatientFacts(
        as_of=as_of,
        age=person.age,
        deceased=person.deceased,
        findings=_once([*conditions, *observed.findings, *operated.findings]),
        labs=_once(observed.labs),
        resections=_sorted(operated.resections),
        extents=_once(observed.extents),
        orders=_sorted(_orders(of, resolve)),
        doses=_once([*_doses(of, resolve), *operated.doses]),
        session=tuple(_begins(o, as_of) for o in (*session.orders, *session.others)),
        allergies=_once(_each(read_allergy, of("AllergyIntolerance"))),
        family=_once(_each(read_family_history, of("FamilyMemberHistory"))),
        requests=_sorted([*_each(read_service_request, of("ServiceRequest")), *_drafted(session)]),
        gaps=tuple(sorted(gaps, key=lambda gap: (gap.subject.value, gap.kind, gap.count))),
    )
    every = chain.from_iterable(resources.values())
    guarded = {el.resource_ref(r) for r in every if is_guarded(r, resolve)}
    guarded |= {d.reference for d in (*session.drafts, *session.requests) if d.restricted}
    return _labelled(facts, guarded, _lengths(observed, guarded)) if guarded else facts


def _lengths(observed: Observed, guarded: set[str]) -> bool:
    """Is a length among them? It is quoted with its operation, so that is guarded too."""
    return any(m.record.reference in guarded for m in observed.lengths)


def _labelled(facts: PatientFacts, guarded: set[str], lengths: bool) -> PatientFacts:
    """The facts, with those of restricted records marked as such."""

    def marked(record: RecordRef) -> RecordRef:
        return replace(record, restricted=True) if record.reference in guarded else record

    def each(found: tuple[F, ...]) -> tuple[F, ...]:
        return tuple(replace(one, record=marked(one.record)) for one in found)  # type: ignore[type-var]

    resections = each(facts.resections)
    if lengths:
        resections = tuple(
            replace(r, record=replace(r.record, restricted=True)) for r in resections
        )
    return replace(
        facts,
        findings=each(facts.findings),
        labs=each(facts.labs),
        resections=resections,
        extents=each(facts.extents),
        orders=each(facts.orders),
        doses=each(facts.doses),
        session=each(facts.session),
        allergies=each(facts.allergies),
        family=each(facts.family),
        requests=each(facts.requests),
        person=replace(facts.person, restricted=any(g.startswith("Patient") for g in guarded)),
        restricted=True,
    )


def _each(read: Callable[[Json], Iterable[F]], resources: Iterable[Json]) -> list[F]:
    return [fact for resource in resources for fact in read(resource)]


def _medications(resources: Iterable[Json]) -> Resolve:
    """Finds a Medication that was delivered beside the orders, by its type and id."""
    beside = {el.resource_ref(resource): resource for resource in resources}
    return beside.get


def _orders(of: Callable[[str], list[Json]], resolve: Resolve) -> Iterator[Order]:
    for resource in of("MedicationRequest"):
        yield from read_orders(resource, resolve=resolve)
    for resource in of("MedicationStatement"):
        yield from read_statements(resource, resolve)


def _doses(of: Callable[[str], list[Json]], resolve: Resolve) -> Iterator[DoseGiven]:
    given = [read_administration(r, resolve) for r in of("MedicationAdministration")]
    supplied = [read_dispense(r, resolve) for r in of("MedicationDispense")]
    yield from (dose for dose in (*given, *supplied) if dose is not None)


def _begins(order: Order, as_of: date) -> Order:
    """A draft that ends on a day and says neither when it begins nor when it was written begins
    today."""
    if order.start is not None or order.end is None:
        return order
    bounds = days_through(as_of, max(as_of, order.end))
    lines = tuple(
        replace(one, schedule=replace(one.schedule, bounds=bounds))
        if one.schedule is not None and one.schedule.open_ended
        else one
        for one in order.lines
    )
    return replace(order, lines=lines)


def _drafted(session: Session) -> Iterator[RequestOnFile]:
    """Referrals and tests among the drafts of this session."""
    for draft in session.requests:
        for request in read_service_request(draft.resource):
            record = replace(request.record, reference=draft.reference)
            yield replace(request, record=record, draft=True)


# --- one order, and each fact once --------------------------------------------------------------


def _sorted(facts: Iterable[F]) -> tuple[F, ...]:
    """By date, then by record; what stands in one place by everything else it says."""
    placed = sorted(((_place(fact), fact) for fact in facts), key=itemgetter(0))
    if len({place for place, _ in placed}) < len(placed):
        placed.sort(key=lambda one: (one[0], _words(one[1])))
    return tuple(fact for _, fact in placed)


def _once(facts: Iterable[F]) -> tuple[F, ...]:
    """Sorted; of facts that differ only in the record they were taken from, the first."""
    kept: dict[tuple[object, ...], F] = {}
    for fact in _sorted(facts):
        kept.setdefault((fact.record.on, fact.record.label, *_said(fact)), fact)
    return tuple(kept.values())


def _place(fact: _Fact) -> tuple[str, str, str]:
    record = fact.record
    return record.on.isoformat() if record.on else "", record.reference, record.label


def _said(fact: _Fact) -> tuple[object, ...]:
    """Everything a fact says but where it comes from."""
    said: tuple[object, ...] = _others(type(fact))(fact)
    return said


@cache
def _others(kind: type[Any]) -> attrgetter[Any]:
    return attrgetter(*(f.name for f in fields(kind) if f.name != "record"))


def _words(fact: _Fact) -> tuple[str, ...]:
    """What a fact says as texts, the members of a set in their order."""
    return tuple(
        ",".join(sorted(map(str, one))) if isinstance(one, frozenset) else repr(one)
        for one in _said(fact)
    )
