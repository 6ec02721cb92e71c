"""Where in treatment is the patient: not loaded, loading, or loaded?"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from regimen import words
from regimen.calendar import within_days, within_months
from regimen.facts import (
    DoseGiven,
    Order,
    OrderKind,
    OrderStatus,
    PatientFacts,
    RecordRef,
    Subject,
)
from regimen.neurology import Neurology, NeuroState
from regimen.protocol import Protocol
from regimen.recommendation import Line
from regimen.treatment import (
    given,
    has_run_out,
    injected,
    is_parenteral_b12,
    kinds,
    running_injections,
    stopped_in_session,
)


class Stage(StrEnum):
    NOT_LOADED = "not-loaded"
    LOADING = "loading"
    LOADED = "loaded"


@dataclass(frozen=True, slots=True)
class TreatmentPhase:
    stage: Stage
    running_loading: tuple[Order, ...] = ()
    running_maintenance: tuple[Order, ...] = ()
    maintenance_start: date | None = None
    unread: bool = False  # orders or doses given could not be read
    because: tuple[Line, ...] = ()


def treatment_phase(facts: PatientFacts, neuro: Neurology, protocol: Protocol) -> TreatmentPhase:
    """A.3 PHASE, with E.2.14: neurological signs need the loading order to have ended."""
    running, gone = running_injections(facts), stopped_in_session(facts)
    loading = tuple(
        o
        for o in running
        if OrderKind.LOADING in kinds(o, protocol) and o.record.reference not in gone
    )
    maintenance = tuple(
        o
        for o in running
        if OrderKind.MAINTENANCE in kinds(o, protocol) and not (o.start and o.start > facts.as_of)
    )
    ended = _ended_loading(facts, neuro, gone, protocol)
    doses = injected(facts)
    six = _loading_doses(doses, protocol)
    last = max((d.on for d in given(facts) if d.on), default=None)
    enough = bool(six) and neuro.state is not NeuroState.PRESENT
    standing = _at_its_word(maintenance, doses, facts, protocol)
    loaded = bool(ended or standing or enough)
    # Loading and maintenance are ordered together: the first is not over while it still runs.
    unfinished = bool(loading) and not ended and not enough
    if loaded and not unfinished and not _lapsed(last, ended, standing, facts, protocol):
        stage = Stage.LOADED
    elif loading or _recent(doses, facts, protocol):
        stage = Stage.LOADING
    else:
        stage = Stage.NOT_LOADED
    return TreatmentPhase(
        stage=stage,
        running_loading=loading,
        running_maintenance=maintenance,
        maintenance_start=_maintenance_start(maintenance, six, ended),
        unread=facts.unread(Subject.ORDERS, Subject.ADMINISTRATIONS),
        because=_because(
            six,
            last,
            about=tuple(d.record for d in given(facts) if d.on == last),
            ended=ended,
            loading=loading,
            maintenance=standing,
            unsupported=() if standing else maintenance,
            protocol=protocol,
        ),
    )


def _at_its_word(
    maintenance: tuple[Order, ...],
    doses: tuple[DoseGiven, ...],
    facts: PatientFacts,
    protocol: Protocol,
) -> tuple[Order, ...]:
    """The running maintenance, where it speaks for loading that is over (A.3).

    One signed within the last 28 days, which continues nothing, does not where no loading and no
    earlier maintenance is on record: it may have been signed without loading, or before it.
    """
    days = protocol.thresholds.loaded_within_days
    injections = [o for o in facts.orders if is_parenteral_b12(o)]
    earlier = any(
        OrderKind.LOADING in kinds(o, protocol)
        or (OrderKind.MAINTENANCE in kinds(o, protocol) and not _within(o.start, facts, days))
        or o.continues
        for o in injections
    )
    first, last = (doses[0].on, doses[-1].on) if doses else (None, None)
    apart = first and last and (last - first).days >= days
    return maintenance if earlier or apart else ()


def _within(start: date | None, facts: PatientFacts, days: int) -> bool:
    """Within fewer days than that; without a date it is not known, and taken for older."""
    return start is not None and within_days(start, facts.as_of, days - 1)


def _ended_loading(
    facts: PatientFacts, neuro: Neurology, gone: frozenset[str], protocol: Protocol
) -> tuple[Order, ...]:
    """Loading orders that ran to their end; with neurological signs also those stopped."""
    with_stopped = neuro.state is NeuroState.PRESENT
    return tuple(
        o
        for o in facts.orders
        if is_parenteral_b12(o)
        and OrderKind.LOADING in kinds(o, protocol)
        and (has_run_out(o, facts) or (with_stopped and _is_stopped(o, gone)))
    )


def _is_stopped(order: Order, gone: frozenset[str]) -> bool:
    return order.status is OrderStatus.STOPPED or order.record.reference in gone


def _loading_doses(doses: tuple[DoseGiven, ...], protocol: Protocol) -> tuple[DoseGiven, ...]:
    """The latest six injections of 1 mg or more within 28 days; empty if there were none."""
    t = protocol.thresholds
    full = [d for d in doses if d.dose_ug is not None and d.dose_ug >= t.loaded_dose_ug and d.on]
    for end in range(len(full), t.loaded_doses - 1, -1):
        window = full[end - t.loaded_doses : end]
        first, last = window[0].on, window[-1].on
        if first and last and (last - first).days < t.loaded_within_days:
            return tuple(window)
    return ()


def _lapsed(
    last: date | None,
    ended: tuple[Order, ...],
    maintenance: tuple[Order, ...],
    facts: PatientFacts,
    protocol: Protocol,
) -> bool:
    """Last dose longer than 6 months ago. With no dose on record a running maintenance order is
    taken at its word, a finished loading order by its own date."""
    months = protocol.thresholds.lapse_months
    if last is not None:
        return not within_months(last, facts.as_of, months)
    if maintenance:
        return False
    return not any(within_months(o.end or o.start, facts.as_of, months) for o in ended)


def _recent(doses: tuple[DoseGiven, ...], facts: PatientFacts, protocol: Protocol) -> bool:
    days = protocol.thresholds.loading_recent_days
    return any(within_days(d.on, facts.as_of, days) for d in doses)


def _maintenance_start(
    maintenance: tuple[Order, ...], six: tuple[DoseGiven, ...], ended: tuple[Order, ...]
) -> date | None:
    """When maintenance began: its order; else the end of loading."""
    starts = [o.start for o in maintenance if o.start]
    if starts:
        return min(starts)
    if six:
        return six[-1].on
    ends = [day for o in ended if (day := o.end or o.start)]
    return max(ends, default=None)


def _because(
    six: tuple[DoseGiven, ...],
    last: date | None,
    *,
    about: tuple[RecordRef, ...],
    ended: tuple[Order, ...],
    loading: tuple[Order, ...],
    maintenance: tuple[Order, ...],
    unsupported: tuple[Order, ...],
    protocol: Protocol,
) -> tuple[Line, ...]:
    lines = []
    if six:
        text = protocol.say(
            "doses-given", count=len(six), first=words.day(six[0].on), last=words.day(six[-1].on)
        )
        lines.append(Line(text, tuple(d.record for d in six)))
    for key, orders in (
        ("loading-completed", ended),
        ("loading-active", loading),
        ("maintenance-active", maintenance),
        ("maintenance-not-loaded", unsupported),
    ):
        lines.extend(Line(protocol.say(key, on=words.day(o.start)), (o.record,)) for o in orders)
    if last is not None:
        lines.append(Line(protocol.say("dose-last", on=words.day(last)), about=about))
    return tuple(lines)
