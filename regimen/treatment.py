"""What B12 treatment is on record: which orders are loading, which maintenance, which are running.

An order is judged by its own schedule, never by its name.
"""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal

from regimen.calendar import months_before
from regimen.facts import (
    COBALAMINS,
    Answer,
    DoseGiven,
    DoseLine,
    Order,
    OrderKind,
    OrderStatus,
    PatientFacts,
    Route,
)
from regimen.protocol import Protocol


def kind_of(line: DoseLine, protocol: Protocol) -> OrderKind:
    """Loading is anything more often than every 14 days (S26); maintenance the rest."""
    said = line.schedule
    if said is None:
        return OrderKind.UNDETERMINED
    if said.once:
        return OrderKind.ONCE
    if said.interval_days < protocol.thresholds.loading_below_days:
        return OrderKind.LOADING
    return OrderKind.MAINTENANCE


def kinds(order: Order, protocol: Protocol) -> frozenset[OrderKind]:
    return frozenset(kind_of(line, protocol) for line in order.lines)


def is_parenteral_b12(order: Order) -> bool:
    return (
        order.ingredient in COBALAMINS
        and not order.combination
        and not order.antidote
        and order.route.is_parenteral
    )


def stopped_in_session(facts: PatientFacts) -> frozenset[str]:
    """Orders of the record that this session stops, cancels or puts on hold."""
    ends = (OrderStatus.STOPPED, OrderStatus.ON_HOLD)
    return frozenset(o.record.reference for o in facts.session if o.status in ends)


def is_running(order: Order, facts: PatientFacts) -> bool:
    """Active, and its own end, if it has one, has not passed."""
    return order.status is OrderStatus.ACTIVE and not (order.end and order.end < facts.as_of)


def has_run_out(order: Order, facts: PatientFacts) -> bool:
    """Completed, or still called active although its own end has passed."""
    passed = order.end is not None and order.end < facts.as_of
    return order.status is OrderStatus.COMPLETED or (order.status is OrderStatus.ACTIVE and passed)


def running_injections(facts: PatientFacts) -> tuple[Order, ...]:
    """Active parenteral B12 orders of the record."""
    return tuple(o for o in facts.orders if is_parenteral_b12(o) and is_running(o, facts))


def given(facts: PatientFacts) -> tuple[DoseGiven, ...]:
    """Dated B12 doses up to today, oldest first."""
    doses = [d for d in facts.doses if d.ingredient in COBALAMINS and d.on and d.on <= facts.as_of]
    return tuple(sorted(doses, key=lambda d: (d.on or date.min, d.record.reference)))


def injected(facts: PatientFacts) -> tuple[DoseGiven, ...]:
    """The doses that were injected, oldest first; one merely dispensed is not seen to be given."""
    ways = (*[r for r in Route if r.is_parenteral], Route.UNKNOWN)
    return tuple(d for d in given(facts) if d.route in ways and not d.supplied)


def daily_dose_ug(order: Order) -> Decimal | None:
    """Micrograms on a day on which it is taken; without a schedule, one dose. None: dose unknown.

    For whether it is enough B12, see `average_daily_ug`.
    """
    if order.dose_ug is None:
        return None
    said = order.schedule
    if said is None or said.once or not 0 < said.interval_days < 1:
        return order.dose_ug
    return order.dose_ug / said.interval_days


def average_daily_ug(order: Order) -> Decimal | None:
    """Micrograms a day over the course, at the least the order can mean: 1000 a week are 143.

    None: the dose or how often is not known, or it is taken as needed.
    """
    amounts = [_average(line) for line in order.lines]
    known = [amount for amount in amounts if amount is not None]
    return min(known) if len(known) == len(amounts) and not order.as_needed else None


def _average(line: DoseLine) -> Decimal | None:
    if line.dose_ug is None or line.schedule is None:
        return None
    # A single dose is no treatment that goes on.
    return Decimal(0) if line.schedule.once else line.dose_ug / line.schedule.longest_interval_days


def enough_by_mouth(order: Order, protocol: Protocol) -> Answer:
    """S23: at least 1000 microgram a day, on average."""
    average = average_daily_ug(order)
    if average is None:
        return Answer.UNKNOWN
    return Answer.YES if average >= protocol.thresholds.oral_standard_ug_per_day else Answer.NO


def is_b12_treatment(order: Order, protocol: Protocol) -> Answer:
    """An injection, or by mouth at least 1000 microgram a day; not one of many ingredients."""
    if order.ingredient not in COBALAMINS or order.combination or order.antidote:
        return Answer.NO
    return enough_by_mouth(order, protocol) if order.route.is_enteral else Answer.YES


def treated_before(facts: PatientFacts, sample: date, protocol: Protocol) -> bool:
    """C.2 "on supplementation": was B12 being taken when this sample was drawn?"""
    earliest = months_before(sample, protocol.thresholds.treatment_before_sample_months)
    if any(earliest <= (d.on or sample) <= sample for d in given(facts) if d.on != sample):
        return True
    return any(_covers(order, earliest, sample, protocol) for order in facts.orders)


def _covers(order: Order, earliest: date, sample: date, protocol: Protocol) -> bool:
    """Did it run within the months before the sample? One that says no start may have, and one
    that has ended may have run until today where nothing says when."""
    if order.ingredient not in COBALAMINS or order.forbids:
        return False
    if order.start and order.start >= sample:
        return False
    if order.status in (OrderStatus.DRAFT, OrderStatus.UNKNOWN):
        return False
    daily = daily_dose_ug(order)
    least = protocol.thresholds.oral_treatment_ug_per_day
    if not order.route.is_parenteral and daily is not None and daily < least:
        return False
    last = order.end or _last_by_schedule(order)
    return last is None or last >= earliest


def _last_by_schedule(order: Order) -> date | None:
    """The last day of an order that has ended, by how long it was for. None: nothing says."""
    if order.status is OrderStatus.ACTIVE or order.start is None:
        return None
    lengths = [_length_days(line) for line in order.lines]
    known = [days for days in lengths if days is not None]
    if len(known) != len(lengths):
        return None
    return order.start + timedelta(days=int(min(max(known), _LONGEST_DAYS)))


_LONGEST_DAYS = Decimal(365 * 100)


def _length_days(line: DoseLine) -> Decimal | None:
    if line.schedule is None:
        return None
    return Decimal(0) if line.schedule.once else line.schedule.length_days
