"""What does the record, or this session, say the patient is ordered, takes, or was given?

Orders and statements become `Order`, one for each ingredient we know; administrations and
dispenses become `DoseGiven`. What was entered in error is not there at all.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, timedelta
from decimal import ROUND_CEILING

from fhir_mappers.dosage import dose_of, route_of
from fhir_mappers.elements import (
    MAX_ID,
    Json,
    as_dict,
    date_of,
    dicts,
    flag,
    moment_in,
    period,
    reference_id,
    resource_ref,
    text,
    whole,
)
from fhir_mappers.medicines import Medicine, Resolve, nothing_else, read_medicines
from fhir_mappers.timing import read_schedule
from regimen.calendar import months_after
from regimen.facts import DoseGiven, DoseLine, Order, OrderStatus, RecordRef
from regimen.recommendation import OWN_GROUP
from regimen.schedule import Schedule, Unit

_MOST_LINES = 50

_STATUSES = {
    "draft": OrderStatus.DRAFT,
    "active": OrderStatus.ACTIVE,
    "on-hold": OrderStatus.ON_HOLD,
    "completed": OrderStatus.COMPLETED,
    "stopped": OrderStatus.STOPPED,
    "cancelled": OrderStatus.STOPPED,
    "ended": OrderStatus.STOPPED,
}
_NOT_YET_ORDERED = frozenset(("proposal", "plan", "option"))


def read_orders(
    resource: Json,
    *,
    resolve: Resolve = nothing_else,
    in_session: bool = False,
    selected: bool = False,
) -> tuple[Order, ...]:
    """The orders of a MedicationRequest, one for each ingredient we know; none if it is an error.

    R4, and what STU3 and R5 spell otherwise. `in_session`: a draft of this session.
    """
    if resource.get("resourceType") != "MedicationRequest":
        return ()
    medicines = read_medicines(resource, resolve)
    return orders_of(resource, medicines, in_session=in_session, selected=selected)


def orders_of(
    resource: Json, medicines: Iterable[Medicine], *, in_session: bool, selected: bool
) -> tuple[Order, ...]:
    """The orders of a MedicationRequest for these medicines: see `read_orders`."""
    status = _order_status(resource, in_session=in_session)
    if status is None:
        return ()
    return tuple(
        _order(resource, medicine, status, in_session=in_session, selected=selected)
        for medicine in medicines
    )


def _order_status(resource: Json, *, in_session: bool) -> OrderStatus | None:
    """None: entered in error. A plan in the record is not an order that runs."""
    said = text(resource.get("status"))
    if said == "entered-in-error":
        return None
    if flag(resource.get("doNotPerform")) is True:
        return OrderStatus.STOPPED
    if said is None and in_session:
        return OrderStatus.DRAFT
    status = _STATUSES.get(said or "", OrderStatus.UNKNOWN)
    planned = text(resource.get("intent")) in _NOT_YET_ORDERED
    if planned and not in_session and status is not OrderStatus.STOPPED:
        return OrderStatus.UNKNOWN
    return status


def _order(
    resource: Json, medicine: Medicine, status: OrderStatus, *, in_session: bool, selected: bool
) -> Order:
    dosages = dosages_of(resource.get("dosageInstruction"))
    written = date_of(resource.get("authoredOn"))
    start = written or _first_start(resource, dosages)
    lines = tuple(_line(dosage, medicine, ordered=True, since=start) for dosage in dosages)
    return Order(
        record=RecordRef(resource_ref(resource), start, medicine.label),
        ingredient=medicine.ingredient,
        status=status,
        lines=lines or (_line({}, medicine, ordered=True),),
        selected=selected,
        in_session=in_session,
        combination=medicine.combination,
        antidote=medicine.antidote,
        preserved=medicine.preserved,
        start=start,
        end=_end(dosages, lines, start),
        continues=_continues(resource),
        group=_group(resource.get("groupIdentifier")),
        forbids=flag(resource.get("doNotPerform")) is True,
        suggested=_is_suggested(resource.get("groupIdentifier")),
        as_needed=any(_as_needed(dosage) for dosage in dosages),
    )


def dosages_of(value: object) -> list[Json]:
    """The dosage instructions in their sequence."""
    found = dicts(value)[:_MOST_LINES]
    numbers = [whole(one.get("sequence")) for one in found]
    if any(number is None for number in numbers):
        return found
    return [one for _, one in sorted(zip(numbers, found, strict=True), key=_first)]


def _first(pair: tuple[int | None, Json]) -> int:
    return pair[0] or 0


def _line(
    dosage: Json, medicine: Medicine, *, ordered: bool, since: date | None = None
) -> DoseLine:
    return DoseLine(
        route=route_of(dosage, medicine, ordered=ordered),
        dose_ug=dose_of(dosage, medicine),
        schedule=read_schedule(dosage.get("timing"), since),
    )


def _as_needed(dosage: Json) -> bool:
    says = [dosage.get("asNeededBoolean"), dosage.get("asNeeded")]
    reasons = [dosage.get("asNeededCodeableConcept"), dosage.get("asNeededFor")]
    return any(flag(one) is True for one in says) or any(bool(dicts(one)) for one in reasons)


def _bounds_period(dosage: Json) -> object:
    return as_dict(as_dict(dosage.get("timing")).get("repeat")).get("boundsPeriod")


def _first_start(resource: Json, dosages: list[Json]) -> date | None:
    places = [resource.get("effectiveDosePeriod"), *(_bounds_period(one) for one in dosages)]
    starts = [start.day for start, _ in (period(place) for place in places) if start]
    return min(starts, default=None)


def _end(dosages: list[Json], lines: tuple[DoseLine, ...], start: date | None) -> date | None:
    """The last day of the order, by its instructions. How long it may be supplied is no end of
    the treatment."""
    ends = [_line_end(*pair, start) for pair in zip(dosages, lines, strict=True)]
    known = [end for end in ends if end is not None]
    return max(known) if known and len(known) == len(ends) else None


def _line_end(dosage: Json, line: DoseLine, start: date | None) -> date | None:
    begin, end = period(_bounds_period(dosage))
    if end is not None:
        return end.last_day
    first = begin.day if begin else start
    return _after(first, line.schedule)


_MONTHS = {Unit.MONTH: 1, Unit.YEAR: 12}


def _after(first: date | None, schedule: Schedule | None) -> date | None:
    if first is None or schedule is None or schedule.bounds is None:
        return None
    bounds = schedule.bounds
    days = int(bounds.days.to_integral_value(rounding=ROUND_CEILING))
    months = bounds.value * _MONTHS.get(bounds.unit, 0)
    try:
        if months and months == months.to_integral_value():
            return months_after(first, int(months)) - timedelta(days=1)
        return first + timedelta(days=max(days - 1, 0))
    except (OverflowError, ValueError):  # beyond the calendar
        return None


def _continues(resource: Json) -> frozenset[str]:
    """The orders this one renews or carries out, as "Type/id"."""
    earlier = [*dicts(resource.get("priorPrescription")), *dicts(resource.get("basedOn"))]
    found = set()
    for one in earlier[:_MOST_LINES]:
        named = reference_id(one.get("reference"))
        if named:
            found.add("/".join(part for part in named if part))
    return frozenset(found)


def _is_suggested(identifier: object) -> bool:
    """Does the group carry our mark, in its system or beside the client's own?"""
    group = as_dict(identifier)
    marks = (text(e.get("url")) for e in dicts(group.get("extension")))
    return text(group.get("system")) == OWN_GROUP or OWN_GROUP in marks


def _group(identifier: object) -> str:
    identifier = as_dict(identifier)
    value = text(identifier.get("value"))
    if value is None or len(value) > MAX_ID:
        return ""
    return f"{(text(identifier.get('system')) or '')[:MAX_ID]}|{value}"


# --- what the patient takes -------------------------------------------------------------------

_TAKEN = {
    **_STATUSES,
    "not-taken": OrderStatus.STOPPED,
    "recorded": OrderStatus.ACTIVE,  # R5, which says by the period whether it goes on
}


def read_statements(resource: Json, resolve: Resolve = nothing_else) -> tuple[Order, ...]:
    """What a MedicationStatement says the patient takes, as orders that somebody made."""
    if resource.get("resourceType") not in ("MedicationStatement", "MedicationUsage"):
        return ()
    said = text(resource.get("status"))
    if said == "entered-in-error":
        return ()
    status = _TAKEN.get(said or "", OrderStatus.UNKNOWN)
    not_taken = said == "not-taken" or text(resource.get("taken")) == "n"  # the latter: STU3
    if not_taken:
        status = OrderStatus.STOPPED
    return tuple(
        _statement(resource, one, status, not_taken=not_taken)
        for one in read_medicines(resource, resolve)
    )


def _statement(
    resource: Json, medicine: Medicine, status: OrderStatus, *, not_taken: bool
) -> Order:
    dosages = dosages_of(resource.get("dosage"))
    lines = tuple(_line(dosage, medicine, ordered=False) for dosage in dosages)
    begin, end = period(resource.get("effectivePeriod"))
    start = begin.day if begin else date_of(resource.get("effectiveDateTime"))
    on = start or date_of(resource.get("dateAsserted"))
    return Order(
        record=RecordRef(resource_ref(resource), on, medicine.label),
        ingredient=medicine.ingredient,
        status=status,
        lines=lines or (_line({}, medicine, ordered=False),),
        combination=medicine.combination,
        antidote=medicine.antidote,
        preserved=medicine.preserved,
        start=on,
        end=end.last_day if end else None,
        continues=_continues(resource),
        forbids=not_taken,
        as_needed=any(_as_needed(dosage) for dosage in dosages),
    )


# --- doses ------------------------------------------------------------------------------------


def read_administration(resource: Json, resolve: Resolve = nothing_else) -> DoseGiven | None:
    """A dose that was given. Combination products and the cyanide antidote are no B12 treatment."""
    if resource.get("resourceType") != "MedicationAdministration":
        return None
    if text(resource.get("status")) not in ("completed", "in-progress"):
        return None
    if flag(resource.get("notGiven")) is True:  # STU3
        return None
    given = moment_in(resource, "effective") or moment_in(resource, "occurence")
    dosage = next(iter(dicts(resource.get("dosage"))), {})
    return _dose_given(resource, resolve, given.day if given else None, dosage, supplied=False)


def read_dispense(resource: Json, resolve: Resolve = nothing_else) -> DoseGiven | None:
    """A medicine that was handed over: supplied, not seen to be given."""
    if resource.get("resourceType") != "MedicationDispense":
        return None
    if text(resource.get("status")) != "completed":
        return None
    on = date_of(resource.get("whenHandedOver")) or date_of(resource.get("whenPrepared"))
    dosage = next(iter(dosages_of(resource.get("dosageInstruction"))), {})
    return _dose_given(resource, resolve, on, dosage, supplied=True)


def _dose_given(
    resource: Json, resolve: Resolve, on: date | None, dosage: Json, *, supplied: bool
) -> DoseGiven | None:
    for medicine in read_medicines(resource, resolve):
        if medicine.combination or medicine.antidote:
            continue
        return DoseGiven(
            record=RecordRef(resource_ref(resource), on, medicine.label),
            ingredient=medicine.ingredient,
            on=on,
            route=route_of(dosage, medicine, ordered=False),
            dose_ug=dose_of(dosage, medicine),
            supplied=supplied,
        )
    return None
