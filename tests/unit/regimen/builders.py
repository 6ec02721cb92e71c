"""Facts in one line each, for tests of the rules."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal

from regimen.facts import (
    Activity,
    Analyte,
    Certainty,
    Comparator,
    Concept,
    Domain,
    DoseGiven,
    DoseLine,
    Finding,
    Flag,
    Ingredient,
    LabResult,
    Order,
    OrderStatus,
    RecordRef,
    Route,
)
from regimen.schedule import Duration, Schedule, Unit

TODAY = date(2026, 6, 15)


def ago(days: int) -> date:
    return TODAY - timedelta(days=days)


RECENTLY = ago(5)
LATELY = ago(45)


def lab(
    analyte: Analyte = Analyte.B12_TOTAL,
    value: str | None = "120",
    unit: str | None = "pg/mL",
    *,
    on: date | None = RECENTLY,
    comparator: str = "=",
    flag: Flag | None = None,
    low: str | None = None,
    high: str | None = None,
    preliminary: bool = False,
) -> LabResult:
    return LabResult(
        analyte=analyte,
        record=RecordRef(f"Observation/{analyte.value}-{on}-{value}", on),
        on=on,
        value=Decimal(value) if value is not None else None,
        unit=unit,
        comparator=Comparator(comparator),
        flag=flag,
        low=Decimal(low) if low else None,
        high=Decimal(high) if high else None,
        preliminary=preliminary,
        unreadable="" if unit or value is None else "unit",
    )


def finding(
    concept: Concept,
    *domains: Domain,
    onset: date | None = LATELY,
    certainty: Certainty = Certainty.CONFIRMED,
    activity: Activity = Activity.ACTIVE,
    stands_alone: bool = True,
    needs_cause: bool = False,
) -> Finding:
    return Finding(
        concept=concept,
        record=RecordRef(f"Condition/{concept.value}-{'-'.join(domains)}", onset, concept.value),
        onset=onset,
        certainty=certainty,
        activity=activity,
        domains=frozenset(domains),
        stands_alone=stands_alone,
        needs_cause=needs_cause,
    )


def every(
    period: str,
    unit: Unit,
    *,
    frequency: str = "1",
    period_max: str | None = None,
    count: int | None = None,
    bounds: tuple[str, Unit] | None = None,
) -> Schedule:
    return Schedule(
        frequency=Decimal(frequency),
        period=Decimal(period),
        unit=unit,
        period_max=Decimal(period_max) if period_max else None,
        count=count,
        bounds=Duration(Decimal(bounds[0]), bounds[1]) if bounds else None,
    )


TIW2 = every("1", Unit.WEEK, frequency="3", count=6, bounds=("2", Unit.WEEK))
ALT = every("2", Unit.DAY)
M1 = every("1", Unit.MONTH)
M23 = every("2", Unit.MONTH, period_max="3")


def order(
    schedule: Schedule | None,
    *,
    ingredient: Ingredient = Ingredient.HYDROXOCOBALAMIN,
    route: Route = Route.INTRAMUSCULAR,
    dose: str | None = "1000",
    status: OrderStatus = OrderStatus.DRAFT,
    start: date | None = TODAY,
    end: date | None = None,
    selected: bool = True,
    name: str = "draft",
    continues: tuple[str, ...] = (),
) -> Order:
    session = status is OrderStatus.DRAFT
    return Order(
        record=RecordRef(f"MedicationRequest/{name}", start, ingredient.value),
        ingredient=ingredient,
        status=status,
        lines=(DoseLine(route, Decimal(dose) if dose else None, schedule),),
        selected=selected and session,
        in_session=session,
        start=start,
        end=end,
        continues=frozenset(continues),
    )


def doses(*days: int, dose: str | None = "1000") -> tuple[DoseGiven, ...]:
    """Hydroxocobalamin injections so many days ago."""
    return tuple(
        DoseGiven(
            record=RecordRef(f"MedicationAdministration/{n}", ago(n)),
            ingredient=Ingredient.HYDROXOCOBALAMIN,
            on=ago(n),
            route=Route.INTRAMUSCULAR,
            dose_ug=Decimal(dose) if dose else None,
        )
        for n in days
    )
