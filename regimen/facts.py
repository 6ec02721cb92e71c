"""What the record says about one patient, in the terms the protocol uses.

Every fact carries the record it came from. A thing that could not be read is a `Gap`;
it is never taken to mean that the patient does not have it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from enum import Enum, StrEnum

from regimen.schedule import Schedule


class Answer(StrEnum):
    """The answer to a yes/no question about the record. UNKNOWN is never read as NO."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class RecordRef:
    """Where a fact came from: `Condition/42`, the date it speaks of, and our own label for it.

    `label` is the wording of the value set, not the text of the EHR, so it is safe to print.
    `restricted`: labelled so by the EHR. It may inform; it is neither quoted nor logged.
    """

    reference: str
    on: date | None = None
    label: str = ""
    restricted: bool = False


class Concept(StrEnum):
    """What a finding can be. One word of the protocol each, whatever code system said it."""

    # deficiency and its look-alikes
    B12_DEFICIENCY = "b12-deficiency"
    PERNICIOUS_ANAEMIA = "pernicious-anaemia"
    DIETARY_B12_DEFICIENCY = "dietary-b12-deficiency"
    B_VITAMIN_DEFICIENCY = "b-vitamin-deficiency"  # E53.8 and friends, not said to be B12
    ANAEMIA_CAUSE_OPEN = "anaemia-cause-open"  # macrocytic or megaloblastic, cause not stated
    INBORN_COBALAMIN_ERROR = "inborn-cobalamin-error"
    AUTOIMMUNE_GASTRITIS = "autoimmune-gastritis"
    # neurology: the domain is on the finding
    NEURO_SPECIFIC = "neuro-specific"  # N1
    NEURO_FINDING = "neuro-finding"  # N2
    NEURO_OTHER_CAUSE = "neuro-other-cause"  # an alternative cause
    # gut
    CROHNS = "crohns"
    GASTRECTOMY_TOTAL = "gastrectomy-total"
    GASTRECTOMY_PARTIAL = "gastrectomy-partial"
    BARIATRIC_ILEAL = "bariatric-ileal"
    BARIATRIC_NON_ILEAL = "bariatric-non-ileal"
    BARIATRIC_UNSPECIFIED = "bariatric-unspecified"
    ILEAL_LOSS_POSSIBLE = "ileal-loss-possible"  # an operation that may have taken ileum: ask
    MALABSORPTION_OTHER = "malabsorption-other"
    COELIAC = "coeliac"
    # the rest
    CANCER = "cancer"
    LEBER = "leber"
    LEBER_POSSIBLE = "leber-possible"
    PREGNANCY = "pregnancy"
    NITROUS_OXIDE_MISUSE = "nitrous-oxide-misuse"
    NITROUS_OXIDE_MEDICAL = "nitrous-oxide-medical"
    SYMPTOM = "symptom"  # glossitis, fatigue
    RENAL_IMPAIRMENT = "renal-impairment"
    CYANIDE = "cyanide"
    FOLATE_EXCEPTION = "folate-exception"  # haemolysis, sickle cell, dialysis
    END_OF_LIFE = "end-of-life"
    PREMATURE = "premature"


class Domain(StrEnum):
    """The part of neurology a finding belongs to."""

    SENSORY = "sensory"
    MOTOR = "motor"
    GAIT = "gait"
    COGNITIVE = "cognitive"
    VISUAL = "visual"
    AUTONOMIC = "autonomic"


class Certainty(StrEnum):
    """How sure the record is: provisional, differential and unconfirmed are UNCONFIRMED."""

    CONFIRMED = "confirmed"
    UNCONFIRMED = "unconfirmed"


class Activity(StrEnum):
    """FHIR clinicalStatus in the terms that matter here."""

    ACTIVE = "active"  # active, recurrence, relapse
    REMISSION = "remission"
    ENDED = "ended"  # inactive, resolved
    NOT_STATED = "not-stated"


@dataclass(frozen=True, slots=True)
class Finding:
    """A diagnosis, symptom, operation or exposure. Refuted and mistaken entries never get here."""

    concept: Concept
    record: RecordRef
    onset: date | None = None
    recorded: date | None = None
    certainty: Certainty = Certainty.CONFIRMED
    activity: Activity = Activity.ACTIVE
    domains: frozenset[Domain] = frozenset()
    stands_alone: bool = True  # an alternative cause that is a neurological finding by itself
    needs_cause: bool = False  # a manifestation code: counts only with a recorded deficiency

    @property
    def since(self) -> date | None:
        """Onset, else the date it was recorded."""
        return self.onset or self.recorded


class Analyte(StrEnum):
    """A laboratory test the protocol looks at."""

    B12_TOTAL = "b12-total"
    B12_ACTIVE = "b12-active"
    MMA = "mma"
    HOMOCYSTEINE = "homocysteine"
    HAEMOGLOBIN = "haemoglobin"
    MCV = "mcv"
    POTASSIUM = "potassium"
    EGFR = "egfr"
    PLATELETS = "platelets"
    IF_ANTIBODY = "if-antibody"


class Comparator(StrEnum):
    """How a number bounds the true value."""

    EQUAL = "="
    LESS = "<"
    LESS_OR_EQUAL = "<="
    GREATER = ">"
    GREATER_OR_EQUAL = ">="


class Flag(StrEnum):
    """A laboratory's own interpretation (HL7 v3 ObservationInterpretation)."""

    CRITICALLY_LOW = "LL"
    LOW = "L"
    NORMAL = "N"
    HIGH = "H"
    POSITIVE = "POS"
    NEGATIVE = "NEG"


@dataclass(frozen=True, slots=True)
class LabResult:
    """One result. `value` and `unit` are as reported, in a canonical UCUM spelling.

    `value` None: only a flag was given. `unit` None: the unit is not known, so the number
    cannot be judged. `low` and `high` are the laboratory's reference limits in the same unit.
    """

    analyte: Analyte
    record: RecordRef
    on: date | None
    value: Decimal | None = None
    unit: str | None = None
    comparator: Comparator = Comparator.EQUAL
    flag: Flag | None = None
    low: Decimal | None = None
    high: Decimal | None = None
    preliminary: bool = False
    unreadable: str = ""  # why a value was not used: "unit", "value", "ambiguous", "implausible"
    moment: str = ""  # sorts results of one day: ISO time of effective, then of issue


@dataclass(frozen=True, slots=True)
class Length:
    """A measured length in cm as an interval; None is unbounded. Exact decimals, no rounding."""

    low: Decimal = Decimal(0)
    high: Decimal | None = None
    low_open: bool = False  # True: strictly more than `low`
    high_open: bool = False  # True: strictly less than `high`

    def __add__(self, other: Length) -> Length:
        high = None if self.high is None or other.high is None else self.high + other.high
        return Length(
            self.low + other.low,
            high,
            self.low_open or other.low_open,
            self.high_open or other.high_open,
        )

    def longer_than(self, threshold: Decimal) -> Answer:
        """Strictly longer; 20 is not longer than 20."""
        if self.low > threshold or (self.low == threshold and self.low_open):
            return Answer.YES
        if self.high is not None and self.high <= threshold:
            return Answer.NO
        return Answer.UNKNOWN

    @property
    def exact(self) -> Decimal | None:
        return self.low if self.low == self.high else None


@dataclass(frozen=True, slots=True)
class Resection:
    """One completed operation that removed ileum. `length` None: removed, length not recorded."""

    record: RecordRef
    length: Length | None = None
    complete: bool = False  # the whole (terminal) ileum
    as_reported: str = ""  # the length in the words of the record: "201 mm"


@dataclass(frozen=True, slots=True)
class DiseaseExtent:
    """How much ileum Crohn's disease affects."""

    record: RecordRef
    length: Length
    as_reported: str = ""


class Ingredient(StrEnum):
    HYDROXOCOBALAMIN = "hydroxocobalamin"
    CYANOCOBALAMIN = "cyanocobalamin"
    OTHER_COBALAMIN = "other-cobalamin"  # mecobalamin, cobamamide, group codes
    FOLIC_ACID = "folic-acid"  # and levomefolate; not folinic acid
    METFORMIN = "metformin"
    ACID_SUPPRESSANT = "acid-suppressant"  # PPI, P-CAB, H2 antagonist
    NITROUS_OXIDE = "nitrous-oxide"
    ANTIFOLATE = "antifolate"
    COLCHICINE = "colchicine"
    CHLORAMPHENICOL = "chloramphenicol"

    @property
    def is_cobalamin(self) -> bool:
        return self in COBALAMINS


COBALAMINS = frozenset(
    {Ingredient.HYDROXOCOBALAMIN, Ingredient.CYANOCOBALAMIN, Ingredient.OTHER_COBALAMIN}
)


class Route(StrEnum):
    INTRAMUSCULAR = "intramuscular"
    SUBCUTANEOUS = "subcutaneous"
    INTRAVENOUS = "intravenous"
    ORAL = "oral"
    SUBLINGUAL = "sublingual"
    NASAL = "nasal"
    PARENTERAL = "parenteral"  # an injection; which way is not said
    UNKNOWN = "unknown"

    @property
    def is_parenteral(self) -> bool:
        return self in (
            Route.INTRAMUSCULAR,
            Route.SUBCUTANEOUS,
            Route.INTRAVENOUS,
            Route.PARENTERAL,
        )

    @property
    def is_enteral(self) -> bool:
        """By mouth or nose: the routes that an intramuscular order may replace."""
        return self in (Route.ORAL, Route.SUBLINGUAL, Route.NASAL)


class OrderStatus(StrEnum):
    DRAFT = "draft"
    ACTIVE = "active"
    ON_HOLD = "on-hold"
    COMPLETED = "completed"
    STOPPED = "stopped"  # stopped, cancelled, ended, or doNotPerform
    UNKNOWN = "unknown"


class OrderKind(StrEnum):
    """Where in a course of treatment an order belongs, judged by its own schedule."""

    LOADING = "loading"
    MAINTENANCE = "maintenance"
    ONCE = "once"
    UNDETERMINED = "undetermined"  # no schedule that could be read


@dataclass(frozen=True, slots=True)
class DoseLine:
    """One dosage instruction. `dose_ug` None: not said or not computable; never a guess."""

    route: Route = Route.UNKNOWN
    dose_ug: Decimal | None = None
    schedule: Schedule | None = None


@dataclass(frozen=True, slots=True)
class Order:
    """A medicine order, in the record or in this session.

    `lines` has one entry per dosage instruction (two for loading then maintenance in one order);
    an order without any has one empty line.
    """

    record: RecordRef
    ingredient: Ingredient
    status: OrderStatus
    lines: tuple[DoseLine, ...] = (DoseLine(),)
    selected: bool = False
    in_session: bool = False
    combination: bool = False  # B12 is one of several ingredients
    antidote: bool = False  # the 5 g product for cyanide poisoning
    preserved: bool = True  # may contain benzyl alcohol or parabens
    start: date | None = None  # authoredOn, or start of the order's period
    end: date | None = None  # end of the order's period, where it has one
    continues: frozenset[str] = frozenset()  # references of orders this one renews or follows
    group: str = ""  # groupIdentifier, as one string
    forbids: bool = False  # says that this medicine is not to be given, or is not taken
    suggested: bool = False  # comes from an accepted suggestion of ours
    as_needed: bool = False

    @property
    def line(self) -> DoseLine:
        return self.lines[0]

    @property
    def route(self) -> Route:
        return self.line.route

    @property
    def dose_ug(self) -> Decimal | None:
        return self.line.dose_ug

    @property
    def schedule(self) -> Schedule | None:
        return self.line.schedule


@dataclass(frozen=True, slots=True)
class DoseGiven:
    """One dose that was administered or dispensed (`supplied`)."""

    record: RecordRef
    ingredient: Ingredient
    on: date | None
    route: Route = Route.UNKNOWN
    dose_ug: Decimal | None = None
    supplied: bool = False  # dispensed, or stated by the patient: not seen to be given


class Allergen(StrEnum):
    COBALAMIN = "cobalamin"
    COBALT = "cobalt"
    PRESERVATIVE = "preservative"  # benzyl alcohol, parabens


@dataclass(frozen=True, slots=True)
class Allergy:
    """An allergy that is active, unconfirmed or of unknown status. `severe`: anaphylaxis, severe
    reaction or high criticality."""

    allergen: Allergen
    record: RecordRef
    severe: bool = False


class Specialty(StrEnum):
    NEUROLOGY = "neurology"
    HAEMATOLOGY = "haematology"


class Test(StrEnum):
    """A laboratory test that can be ordered."""

    __test__ = False  # not a pytest class

    SERUM_B12 = "serum-b12"
    ACTIVE_B12 = "active-b12"
    MMA = "mma"
    HOMOCYSTEINE = "homocysteine"
    FOLATE = "folate"
    FBC = "fbc"
    POTASSIUM = "potassium"
    IF_ANTIBODY = "if-antibody"


@dataclass(frozen=True, slots=True)
class RequestOnFile:
    """A referral or test already requested: active in the record, or a draft of this session."""

    record: RecordRef
    specialty: Specialty | None = None
    test: Test | None = None
    draft: bool = False


@dataclass(frozen=True, slots=True)
class Age:
    """Born between `earliest` and `latest`: the two differ where only a year or month is known."""

    earliest: date
    latest: date


class GapKind(StrEnum):
    NOT_SUPPLIED = "not_supplied"
    SERVER_ERROR = "server_error"
    UNREADABLE = "unreadable"
    TRUNCATED = "truncated"
    OTHER_PATIENT = "other_patient"


class Subject(Enum):
    """What a query is about; a gap in it leaves that part of the record unread."""

    PATIENT = "Patient"
    CONDITIONS = "Condition"
    OBSERVATIONS = "Observation"
    PROCEDURES = "Procedure"
    ORDERS = "MedicationRequest"
    STATEMENTS = "MedicationStatement"
    ADMINISTRATIONS = "MedicationAdministration"
    DISPENSES = "MedicationDispense"
    ALLERGIES = "AllergyIntolerance"
    FAMILY_HISTORY = "FamilyMemberHistory"
    REQUESTS = "ServiceRequest"


@dataclass(frozen=True, slots=True)
class Gap:
    """A part of the record that was not read, and why. `count`: entries concerned."""

    subject: Subject
    kind: GapKind
    count: int = 1


@dataclass(frozen=True, slots=True)
class PatientFacts:
    """Everything the rules may look at. No patient identifier."""

    as_of: date
    age: Age | None = None
    deceased: bool = False
    findings: tuple[Finding, ...] = ()
    labs: tuple[LabResult, ...] = ()
    resections: tuple[Resection, ...] = ()
    extents: tuple[DiseaseExtent, ...] = ()
    orders: tuple[Order, ...] = ()
    doses: tuple[DoseGiven, ...] = ()
    session: tuple[Order, ...] = ()
    allergies: tuple[Allergy, ...] = ()
    family: tuple[Finding, ...] = ()
    requests: tuple[RequestOnFile, ...] = ()
    gaps: tuple[Gap, ...] = ()
    person: RecordRef = RecordRef("Patient")
    restricted: bool = False  # at least one of the records is
    _unread: frozenset[Subject] = field(default=frozenset(), init=False, repr=False)

    def __post_init__(self) -> None:
        unread = frozenset(g.subject for g in self.gaps if g.kind is not GapKind.OTHER_PATIENT)
        object.__setattr__(self, "_unread", unread)

    def unread(self, *subjects: Subject) -> bool:
        """Was any of these parts of the record not, or not fully, read?"""
        return not self._unread.isdisjoint(subjects)

    def found(self, *concepts: Concept) -> tuple[Finding, ...]:
        return tuple(f for f in self.findings if f.concept in concepts)

    def results(self, analyte: Analyte) -> tuple[LabResult, ...]:
        return tuple(r for r in self.labs if r.analyte is analyte)

    @property
    def selected(self) -> tuple[Order, ...]:
        return tuple(o for o in self.session if o.selected)
