"""What the protocol advises: a topic, how urgent it is, why, and the orders it would take."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import Final

from regimen.facts import Ingredient, RecordRef, Route, Specialty, Test
from regimen.schedule import Schedule

# Marks the orders of a suggestion of ours, so that an accepted choice is not questioned again.
OWN_GROUP = "urn:oid:2.25.147698014147394229799976552687274634453.1"


class Topic(StrEnum):
    """The card topics of the service's contract."""

    REGIMEN = "regimen"
    REFERRAL = "referral"
    EVIDENCE = "evidence"
    UNAVAILABLE = "unavailable"
    RISK = "risk"
    SYMPTOMS = "symptoms"
    ROUTE = "route"
    IV_ROUTE = "ivroute"
    DOSE = "dose"
    FOLATE = "folate"
    STOP = "stop"
    DUPLICATE = "duplicate"
    ALLERGY = "allergy"
    LEBER = "leber"
    PAEDIATRIC = "paediatric"
    PREGNANCY = "pregnancy"
    POTASSIUM = "potassium"
    MONITORING = "monitoring"


#: A critical card of these topics is shown, whatever a protocol or a site has switched off: the
#: one list of them. A profile can reword it, never lower it.
NEVER_SILENCED: Final = frozenset(
    {Topic.DOSE, Topic.ALLERGY, Topic.LEBER, Topic.FOLATE, Topic.IV_ROUTE, Topic.STOP}
)


class Indicator(StrEnum):
    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        return ("info", "warning", "critical").index(self.value)


@dataclass(frozen=True, slots=True)
class Product:
    """What is given: an ingredient at a strength, as a form a pharmacy knows."""

    ingredient: Ingredient
    name: str  # "hydroxocobalamin"
    dose_ug: Decimal
    dose_value: Decimal  # in `dose_unit`
    dose_unit: str  # UCUM: mg, ug
    dose_words: str  # "1 mg", "1000 microgram"


class PhaseName(StrEnum):
    LOADING = "loading"
    MAINTENANCE = "maintenance"


@dataclass(frozen=True, slots=True)
class Phase:
    """One order of a regimen. `words` says the schedule to a person."""

    name: PhaseName
    key: str  # the protocol's name of the schedule: "three-times-weekly"
    product: Product
    route: Route
    schedule: Schedule
    words: str


@dataclass(frozen=True, slots=True)
class Regimen:
    """The phases to order, in their order; one or two."""

    phases: tuple[Phase, ...]

    @property
    def loading(self) -> Phase | None:
        return next((p for p in self.phases if p.name is PhaseName.LOADING), None)

    @property
    def maintenance(self) -> Phase | None:
        return next((p for p in self.phases if p.name is PhaseName.MAINTENANCE), None)


# --- what accepting a suggestion does ---------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PrescribeRegimen:
    """Replace `replaces`, a draft of this session, by the first phase; add the others as new.

    `replaces` None: all are new. `skip_maintenance`: the session has that order already.
    `renews`: the running order of the record that the maintenance takes the place of.
    """

    regimen: Regimen
    replaces: str | None
    skip_maintenance: bool = False
    renews: str | None = None


@dataclass(frozen=True, slots=True)
class CorrectDraft:
    """Change only what is named on one draft: its product, its dose, its route. None: leave it."""

    draft: str
    product: Product | None = None
    dose: Product | None = None  # the product whose dose to write
    route: Route | None = None


@dataclass(frozen=True, slots=True)
class RemoveDraft:
    draft: str


@dataclass(frozen=True, slots=True)
class KeepOrder:
    """Take back a stop: the order as it was, as a draft without an end."""

    draft: str


@dataclass(frozen=True, slots=True)
class OrderTests:
    tests: tuple[Test, ...]
    urgent: bool = False
    every_months: int | None = None  # repeat
    note: str = ""


@dataclass(frozen=True, slots=True)
class Refer:
    specialty: Specialty
    urgent: bool = True


Step = PrescribeRegimen | CorrectDraft | RemoveDraft | KeepOrder | OrderTests | Refer


@dataclass(frozen=True, slots=True)
class Choice:
    """One suggestion of a card: what the button says and what it does."""

    label: str
    steps: tuple[Step, ...]
    recommended: bool = False


@dataclass(frozen=True, slots=True)
class Line:
    """A sentence of the card's detail, ready to print, with the records it rests on. `about`:
    records that it gives away without naming them."""

    text: str
    records: tuple[RecordRef, ...] = ()
    about: tuple[RecordRef, ...] = ()

    @property
    def restricted(self) -> bool:
        return any(r.restricted for r in (*self.records, *self.about))


def records_of(lines: Iterable[Line]) -> tuple[RecordRef, ...]:
    """What these sentences rest on."""
    return tuple(record for line in lines for record in line.records)


@dataclass(frozen=True, slots=True)
class Recommendation:
    """One card's worth of advice.

    `because`: the facts. `unknown`: what the record does not say. `proposal`: what to do.
    `remarks`: disagreements between sources, cautions. `exclusive`: at most one choice.
    """

    topic: Topic
    indicator: Indicator
    rule: str  # the protocol entry that fired: "regimen-standard"
    summary: str
    because: tuple[Line, ...] = ()
    unknown: tuple[Line, ...] = ()
    proposal: tuple[Line, ...] = ()
    remarks: tuple[Line, ...] = ()
    choices: tuple[Choice, ...] = ()
    exclusive: bool = True
    statements: tuple[str, ...] = ()  # ids of the source statements: "S1"
    override_reasons: tuple[str, ...] = ()  # keys of the protocol's override reasons


@dataclass(frozen=True, slots=True)
class RuleOutcome:
    """A rule that was looked at: did it fire, and why or why not."""

    rule: str
    fired: bool
    why: str
    records: tuple[RecordRef, ...] = field(default=())
