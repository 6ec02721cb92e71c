"""Which facts does Hypothesis make up for the rules alone, without any FHIR?

Whatever the types allow, including what no mapper would ever read together: the rules may not rely
on a mapper's manners. Single facts come from pools, made once from a fixed seed; Hypothesis chooses
among them, which is fast and shrinks to the facts that matter.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import date, timedelta
from decimal import Decimal
from typing import TypeVar

from hypothesis import strategies as st

from regimen.facts import (
    Activity,
    Age,
    Allergen,
    Allergy,
    Analyte,
    Certainty,
    Comparator,
    Concept,
    DiseaseExtent,
    Domain,
    DoseGiven,
    DoseLine,
    Finding,
    Flag,
    Gap,
    GapKind,
    Ingredient,
    LabResult,
    Length,
    Order,
    OrderStatus,
    PatientFacts,
    RecordRef,
    RequestOnFile,
    Resection,
    Route,
    Specialty,
    Subject,
    Test,
)
from regimen.schedule import Duration, Schedule, Unit

AS_OF = date(2026, 6, 15)
POOL = 400
OURS = (
    Ingredient.HYDROXOCOBALAMIN,
    Ingredient.CYANOCOBALAMIN,
    Ingredient.OTHER_COBALAMIN,
    Ingredient.FOLIC_ACID,
)
RESULTS = {
    Analyte.B12_TOTAL: (
        *(("60", "pg/mL"), ("179", "ng/L"), ("180", "pg/mL"), ("420", "ng/L")),
        *(("70", "pmol/L"), ("133", "pmol/L"), ("0.3", "nmol/L"), ("120", None)),
    ),
    Analyte.B12_ACTIVE: (("24", "pmol/L"), ("50", "pmol/L"), ("90", "pmol/L")),
    Analyte.MMA: (("0.3", "umol/L"), ("0.9", "umol/L"), ("900", "nmol/L")),
    Analyte.HOMOCYSTEINE: (("12", "umol/L"), ("40", "umol/L")),
    Analyte.HAEMOGLOBIN: (("62", "g/L"), ("11.8", "g/dL"), ("80", "g/L")),
    Analyte.MCV: (("90", "fL"), ("112", "fL")),
    Analyte.POTASSIUM: (("3.1", "mmol/L"), ("4.2", "mmol/L")),
    Analyte.EGFR: (("40", "mL/min/{1.73_m2}"), ("90", "mL/min/{1.73_m2}")),
    Analyte.IF_ANTIBODY: ((None, None),),
}
F = TypeVar("F")


class _Maker:
    """Facts at random; each method makes one."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)  # noqa: S311  to be the same every time
        self.made = 0

    def day(self) -> date:
        return AS_OF - timedelta(days=self.rng.choice((0, 1, 5, 20, 29, 60, 170, 200, 360, 800)))

    def maybe_day(self) -> date | None:
        return self.day() if self.rng.random() < 0.85 else None

    def record(self, kind: str) -> RecordRef:
        self.made += 1
        return RecordRef(f"{kind}/{self.made}", self.maybe_day(), kind.lower())

    def finding(self) -> Finding:
        kind = self.rng.choice(("Condition", "Condition", "Procedure", "Observation"))
        return Finding(
            concept=self.rng.choice(tuple(Concept)),
            record=self.record(kind),
            onset=self.maybe_day(),
            recorded=self.maybe_day(),
            certainty=self.rng.choice((Certainty.CONFIRMED, *Certainty)),
            activity=self.rng.choice((*[Activity.ACTIVE] * 4, *Activity)),
            domains=frozenset(self.rng.sample(tuple(Domain), self.rng.randrange(3))),
            stands_alone=self.rng.random() < 0.5,
            needs_cause=self.rng.random() < 0.3,
        )

    def lab(self) -> LabResult:
        likely = (Analyte.B12_TOTAL, Analyte.B12_TOTAL, *RESULTS)
        analyte = self.rng.choice(likely)
        value, unit = self.rng.choice(RESULTS[analyte])
        return LabResult(
            analyte=analyte,
            record=self.record("Observation"),
            on=self.maybe_day(),
            value=Decimal(value) if value else None,
            unit=unit,
            comparator=self.rng.choice((*[Comparator.EQUAL] * 6, *Comparator)),
            flag=self.rng.choice((None, None, *Flag)),
            low=self.rng.choice((None, None, Decimal(180))),
            preliminary=self.rng.random() < 0.2,
        )

    def length(self) -> Length:
        low = Decimal(self.rng.choice(("0", "8", "12", "20", "20.1", "40")))
        high = self.rng.choice((low, low, None, Decimal(40)))
        return Length(low, high, self.rng.random() < 0.3, self.rng.random() < 0.1)

    def resection(self) -> Resection:
        length = self.length() if self.rng.random() < 0.7 else None
        return Resection(self.record("Procedure"), length, self.rng.random() < 0.1, "25 cm")

    def extent(self) -> DiseaseExtent:
        return DiseaseExtent(self.record("Observation"), self.length(), "45 cm")

    def schedule(self) -> Schedule | None:
        if self.rng.random() < 0.25:
            return None
        if self.rng.random() < 0.1:
            return Schedule(once=True, count=1)
        bounds = Duration(Decimal(self.rng.choice((1, 2, 6, 10))), self.rng.choice(tuple(Unit)))
        return Schedule(
            frequency=Decimal(self.rng.choice((1, 1, 2, 3))),
            period=Decimal(self.rng.choice((1, 2, 3, 4, 8, 12, 48))),
            unit=self.rng.choice((Unit.HOUR, Unit.DAY, Unit.WEEK, Unit.MONTH, Unit.YEAR)),
            count=self.rng.choice((None, None, 2, 6, 10)),
            bounds=self.rng.choice((None, None, bounds)),
        )

    def line(self) -> DoseLine:
        amounts = (None, 1, 100, 1000, 1000, 1000, 5000, 10_000, 10**6, 5 * 10**6)
        amount = self.rng.choice(amounts)
        dose = None if amount is None else Decimal(amount)
        likely = [Route.INTRAMUSCULAR] * 5
        return DoseLine(self.rng.choice((*likely, *Route)), dose, self.schedule())

    def order(self, *, in_session: bool) -> Order:
        likely = OrderStatus.DRAFT if in_session else OrderStatus.ACTIVE
        start = self.maybe_day()
        return Order(
            record=self.record("MedicationRequest"),
            ingredient=self.rng.choice(OURS if in_session else (*OURS, *OURS, *Ingredient)),
            status=self.rng.choice((*[likely] * 6, *OrderStatus)),
            lines=tuple(self.line() for _ in range(self.rng.choice((1, 1, 1, 2)))),
            selected=in_session and self.rng.random() < 0.8,
            in_session=in_session,
            combination=self.rng.random() < 0.1,
            antidote=self.rng.random() < 0.05,
            preserved=self.rng.random() < 0.8,
            start=start,
            end=self.rng.choice((None, None, start)),
            continues=frozenset({"MedicationRequest/earlier"} if self.rng.random() < 0.2 else ()),
        )

    def dose(self) -> DoseGiven:
        return DoseGiven(
            record=self.record("MedicationAdministration"),
            ingredient=self.rng.choice(OURS),
            on=self.maybe_day(),
            route=self.rng.choice((Route.INTRAMUSCULAR, Route.INTRAMUSCULAR, *Route)),
            dose_ug=self.rng.choice((None, Decimal(100), Decimal(1000))),
            supplied=self.rng.random() < 0.2,
        )

    def allergy(self) -> Allergy:
        allergen = self.rng.choice(tuple(Allergen))
        return Allergy(allergen, self.record("AllergyIntolerance"), self.rng.random() < 0.5)

    def request(self) -> RequestOnFile:
        return RequestOnFile(
            record=self.record("ServiceRequest"),
            specialty=self.rng.choice((None, *Specialty)),
            test=self.rng.choice((None, *Test)),
            draft=self.rng.random() < 0.3,
        )

    def gap(self) -> Gap:
        return Gap(self.rng.choice(tuple(Subject)), self.rng.choice(tuple(GapKind)))

    def age(self) -> Age | None:
        years = self.rng.choice((0, 9, 15, 16, 31, 54, 54, 54, 80, None))
        if years is None:
            return None
        born = AS_OF.replace(year=AS_OF.year - years) - timedelta(days=self.rng.randrange(300))
        return Age(born, born)


MAKER = _Maker(2026)


def pool(make: Callable[[], F]) -> st.SearchStrategy[F]:
    return st.sampled_from([make() for _ in range(POOL)])


def some(values: st.SearchStrategy[F], most: int) -> st.SearchStrategy[tuple[F, ...]]:
    return st.lists(values, max_size=most).map(tuple)


def _once(session: list[Order]) -> tuple[Order, ...]:
    return tuple({order.record.reference: order for order in session}.values())


findings = pool(MAKER.finding)
patient_facts = st.builds(
    PatientFacts,
    as_of=st.just(AS_OF),
    age=pool(MAKER.age),
    findings=some(findings, 5),
    labs=some(pool(MAKER.lab), 4),
    resections=some(pool(MAKER.resection), 2),
    extents=some(pool(MAKER.extent), 1),
    orders=some(pool(lambda: MAKER.order(in_session=False)), 3),
    doses=some(pool(MAKER.dose), 7),
    session=st.lists(pool(lambda: MAKER.order(in_session=True)), min_size=1, max_size=3).map(_once),
    allergies=some(pool(MAKER.allergy), 1),
    family=some(findings, 1),
    requests=some(pool(MAKER.request), 2),
    gaps=some(pool(MAKER.gap), 2),
)
