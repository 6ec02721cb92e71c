"""Who would pick vitamin B12 or folic acid, for whom, and in what words of FHIR?

A synthetic cohort: every patient is made from a seed, in the words of a vignette, and written as
an order-select request by the builder that writes the vignettes. What an order is (`Pick.kind`) is
known from how it was made, never from what the service said to it. How common each kind of patient
is, is assumed; see docs/alert-economy.md.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from fhir_mappers.queries import prefetch_templates
from tests.support.encodings import SCHEDULES, doses, same_quantities
from tests.support.hook_request import order_select
from tests.support.vignette import Expected, Vignette

Json = dict[str, Any]
Toml = dict[str, Any]

SIZE = 2000
SEED = 20260615
AS_OF = date(2026, 6, 15)

HYDROXOCOBALAMIN = "hydroxocobalamin injection"
CYANOCOBALAMIN = "cyanocobalamin injection"
TABLETS = "cyanocobalamin tablets"
FOLIC_ACID = "folic acid"

CONFORMING = "conforming"  # as the protocol has it: nothing may be said
UNDETAILED = "undetailed"  # picked by name; dose, route or timing still open
DEVIATING = "deviating"
UNSUPPORTED = "unsupported"  # nothing on record calls for B12
NEEDS_CARE = "needs-care"  # conforms, but a referral or a potassium is due
DANGEROUS = "dangerous"  # a never-event
OUT_OF_SCOPE = "out-of-scope"  # a child, an unrelated product
KINDS = (
    CONFORMING,
    UNDETAILED,
    DEVIATING,
    UNSUPPORTED,
    NEEDS_CARE,
    DANGEROUS,
    OUT_OF_SCOPE,
)


@dataclass(frozen=True, slots=True)
class Pick:
    """One prescriber picking one order for one patient."""

    number: int
    group: str  # the kind of patient
    kind: str  # of KINDS
    b12: bool  # B12 picked; else folic acid
    request: Json


@dataclass(slots=True)
class _Patient:
    """A patient in the making, in the words of a vignette."""

    rng: random.Random
    group: str = ""
    kind: str = CONFORMING
    patient: Toml = field(default_factory=dict)
    record: Toml = field(default_factory=dict)
    order: Toml = field(default_factory=dict)
    schedule: str = ""  # of SCHEDULES, for an order in any encoding
    milligrams: str = ""  # likewise

    def add(self, kind: str, **facts: Any) -> None:
        self.record.setdefault(kind, []).append(facts)

    def ago(self, least: int, most: int) -> date:
        return AS_OF - timedelta(days=self.rng.randint(least, most))

    def chance(self, share: float) -> bool:
        return self.rng.random() < share

    def orders(self, what: str, schedule: str, route: str = "IM", mg: str = "1") -> None:
        """A detailed order; which encoding is chosen when the request is written."""
        self.order = {"what": what, "route": route}
        self.schedule, self.milligrams = schedule, mg

    def picks(self, what: str) -> None:
        """An order without details, or with some: a route, a dose."""
        self.kind = UNDETAILED
        self.order, self.schedule, self.milligrams = {"what": what}, "", ""
        if self.chance(0.3):
            self.order["route"] = "IM"
        if self.chance(0.2):
            self.milligrams = "1"


# --- what several kinds of patient share --------------------------------------------------------


def _low_b12(p: _Patient) -> None:
    """A result that shows the deficiency, of one test or another."""
    test, value = p.rng.choice(
        (
            ("B12", f"{p.rng.randint(105, 179)} pg/mL"),
            ("B12", f"{p.rng.randint(105, 179)} ng/L"),
            ("B12", "< 150 pg/mL"),
            ("B12 molar", f"{p.rng.randint(76, 132)} pmol/L"),
            ("active B12", f"{p.rng.randint(8, 24)} pmol/L"),
        )
    )
    p.add("results", test=test, value=value, on=p.ago(2, 60))


def _deficient(p: _Patient) -> None:
    _low_b12(p)
    if p.chance(0.3):
        p.add("conditions", what="B12 deficiency anaemia", onset=p.ago(2, 60))


def _loading_order(p: _Patient, started: date) -> None:
    p.add(
        "orders",
        id="loading",
        what=HYDROXOCOBALAMIN,
        dose="1 mg",
        route="IM",
        timing="3 a week for 2 weeks, 6 doses",
        status="completed",
        written=started,
    )
    days = [started + timedelta(days=n) for n in (0, 2, 4, 7, 9, 11)]
    p.add("doses", what=HYDROXOCOBALAMIN, dose="1 mg", route="IM", on=days)


def _on_maintenance(p: _Patient, timing: str, weeks: int, what: str = HYDROXOCOBALAMIN) -> None:
    """Loaded one to ten years ago; a dose every so many weeks, the last within one interval."""
    last = p.ago(5, weeks * 7)
    count = p.rng.randint(4, 40)
    given = [last - timedelta(weeks=weeks * n) for n in reversed(range(count))]
    _loading_order(p, given[0] - timedelta(days=40))
    p.add(
        "orders",
        id="maintenance",
        what=what,
        dose="1 mg",
        route="IM",
        timing=timing,
        written=given[0],
    )
    p.add("doses", what=what, dose="1 mg", route="IM", on=given)


def _referred(p: _Patient) -> None:
    for specialty in ("neurology", "haematology"):
        p.add("referrals", to=specialty, on=p.ago(1, 25))


NEURO_FINDINGS = ("paraesthesia", "ataxia", "polyneuropathy", "subacute combined degeneration")


def _first_orders(p: _Patient, what: str, conforming: str, share: float = 0.45) -> None:
    """The first order of a course: as the protocol has it, undetailed, or otherwise."""
    draw = p.rng.random()
    if draw < share:
        p.orders(what, conforming)
    elif draw < 0.87:
        p.picks(what)
    else:
        _deviates(p, what)


def _deviates(p: _Patient, what: str) -> None:
    p.kind = DEVIATING
    schedule, mg, route = p.rng.choice(
        (
            ("M3", "1", "IM"),  # loading left out
            ("DAILY", "1", "IM"),
            ("TWICE_A_DAY", "1", "IM"),
            ("TIW2", "0.1", "IM"),
            ("M1", "0.001", "IM"),
            ("TIW2", "0.001", "IM"),
        )
    )
    p.orders(what, schedule, route, mg)


# --- kinds of patient, most common first --------------------------------------------------------


def maintained(p: _Patient) -> None:
    """A renewal: by far the most common reason to order an injection."""
    if p.chance(0.6):
        p.add("conditions", what="pernicious anaemia", onset=p.ago(1200, 4000))
    elif p.chance(0.5):
        p.add("conditions", what="B12 deficiency anaemia", onset=p.ago(1200, 4000))
    timing, weeks = p.rng.choice((("every 3 months", 12), ("every 12 weeks", 12)))
    if p.chance(0.2):
        timing, weeks = "every 2 months", 8
    _on_maintenance(p, timing, weeks)
    draw = p.rng.random()
    if draw < 0.6:
        p.orders(HYDROXOCOBALAMIN, p.rng.choice(("M3", "M3", "M2", "M23", "M1")))
    elif draw < 0.95:
        p.picks(HYDROXOCOBALAMIN)
    else:
        p.kind = DEVIATING
        p.orders(CYANOCOBALAMIN, "M3")
    p.order["renews"] = "maintenance"


def newly_deficient(p: _Patient) -> None:
    _deficient(p)
    if p.chance(0.3):
        p.add("conditions", what="pernicious anaemia", onset=p.ago(2, 40))
    _first_orders(p, HYDROXOCOBALAMIN, "TIW2")


def borderline(p: _Patient) -> None:
    """An indeterminate result: probable, not confirmed."""
    p.add("results", test="B12", value=f"{p.rng.randint(180, 340)} pg/mL", on=p.ago(2, 40))
    p.add("conditions", what="fatigue", onset=p.ago(20, 200))
    _first_orders(p, HYDROXOCOBALAMIN, "TIW2", share=0.4)


def swallowing(p: _Patient) -> None:
    """Deficiency without malabsorption, treated by mouth at 1 to 2 mg a day."""
    _low_b12(p)
    if p.chance(0.5):
        p.add("conditions", what="B12 deficiency due to diet", onset=p.ago(2, 60))
    p.orders(TABLETS, "DAILY", "PO", p.rng.choice(("1", "1", "2")))
    if p.chance(0.2):
        p.kind = DEVIATING
        p.milligrams = "0.5"


def neurological(p: _Patient) -> None:
    _deficient(p)
    p.add("conditions", what=p.rng.choice(NEURO_FINDINGS), onset=p.ago(10, 120))
    _first_orders(p, HYDROXOCOBALAMIN, "ALT", share=0.5)
    if p.chance(0.6):
        _referred(p)
    elif p.kind == CONFORMING:
        p.kind = NEEDS_CARE


def resected(p: _Patient) -> None:
    """More than 20 cm of ileum lost: monthly, and for life."""
    p.add("conditions", what="Crohn's disease", onset=p.ago(2000, 6000))
    length = p.rng.choice(("25 cm", "40 cm", "300 mm", "0.35 m", "21 cm"))
    p.add("procedures", what="ileal resection", length=length, on=p.ago(300, 1800))
    if p.chance(0.7):
        _on_maintenance(p, "monthly", 4)
        if p.chance(0.7):
            p.orders(p.rng.choice((HYDROXOCOBALAMIN, CYANOCOBALAMIN)), "M1")
        else:
            p.picks(HYDROXOCOBALAMIN)
        p.order["renews"] = "maintenance"
        return
    p.add("results", test="B12", value="420 pg/mL", on=p.ago(20, 200))
    _first_orders(p, HYDROXOCOBALAMIN, "M1")
    if p.kind == DEVIATING:
        p.orders(HYDROXOCOBALAMIN, "M3")


def after_bariatric_surgery(p: _Patient) -> None:
    ileal = p.chance(0.25)
    operation = (
        "biliopancreatic diversion with duodenal switch"
        if ileal
        else p.rng.choice(("sleeve gastrectomy", "Roux-en-Y gastric bypass"))
    )
    p.add("procedures", what=operation, on=p.ago(300, 2500))
    if ileal:
        p.add("results", test="B12", value="400 pg/mL", on=p.ago(20, 200))
        p.orders(p.rng.choice((HYDROXOCOBALAMIN, CYANOCOBALAMIN)), "M1")
        return
    _low_b12(p)
    _first_orders(p, HYDROXOCOBALAMIN, "TIW2")


def with_cancer(p: _Patient) -> None:
    _low_b12(p)
    p.add("conditions", what="colon cancer", onset=p.ago(30, 400))
    what, schedule = p.rng.choice(((CYANOCOBALAMIN, "DAILY10"), (HYDROXOCOBALAMIN, "TIW2")))
    p.orders(what, schedule)
    if p.chance(0.5):
        p.picks(CYANOCOBALAMIN)


def without_evidence(p: _Patient) -> None:
    p.kind = UNSUPPORTED
    p.add("conditions", what="fatigue", onset=p.ago(20, 200))
    if p.chance(0.5):
        p.add("results", test="B12", value=f"{p.rng.randint(360, 800)} pg/mL", on=p.ago(20, 300))
    p.order = {"what": p.rng.choice((HYDROXOCOBALAMIN, CYANOCOBALAMIN, TABLETS))}


def severely_anaemic(p: _Patient) -> None:
    """Loading as it should be; potassium is to be watched."""
    p.kind = NEEDS_CARE
    _low_b12(p)
    p.add("results", test="Hb", value=f"{p.rng.randint(55, 79)} g/L", on=p.ago(1, 10))
    p.orders(HYDROXOCOBALAMIN, "TIW2")


def child(p: _Patient) -> None:
    p.patient["age"] = p.rng.randint(1, 14)
    _low_b12(p)
    p.picks(HYDROXOCOBALAMIN)
    p.kind = OUT_OF_SCOPE


def expecting(p: _Patient) -> None:
    """Folic acid around a pregnancy: 400 microgram, or 5 mg by indication."""
    p.patient["pregnant"] = True
    p.order = {"what": FOLIC_ACID, "route": "PO"}
    p.schedule, p.milligrams = "DAILY", p.rng.choice(("0.4", "0.4", "0.4", "5"))


def on_methotrexate(p: _Patient) -> None:
    p.add("orders", what="methotrexate", written=p.ago(100, 900))
    p.order = {"what": FOLIC_ACID, "route": "PO"}
    p.schedule, p.milligrams = "DAILY", "5"


def folate_deficient(p: _Patient) -> None:
    """Folic acid for its own deficiency; B12 was looked at, or was not."""
    p.add("conditions", what="folate deficiency anaemia", onset=p.ago(5, 60))
    if p.chance(0.8):
        p.add("results", test="B12", value=f"{p.rng.randint(360, 700)} pg/mL", on=p.ago(2, 60))
    else:
        p.kind = UNSUPPORTED
    p.order = {"what": FOLIC_ACID, "route": "PO"}
    p.schedule, p.milligrams = "DAILY", "5"


# --- never-events -------------------------------------------------------------------------------


def by_vein(p: _Patient) -> None:
    _low_b12(p)
    p.orders(CYANOCOBALAMIN, "M1", "IV")


def a_thousand_times(p: _Patient) -> None:
    _low_b12(p)
    p.orders(HYDROXOCOBALAMIN, "TIW2", mg="1000")


def folic_acid_first(p: _Patient) -> None:
    _low_b12(p)
    p.order = {"what": FOLIC_ACID, "route": "PO"}
    p.schedule, p.milligrams = "DAILY", "5"


def stopped(p: _Patient) -> None:
    p.add("conditions", what="pernicious anaemia", onset=p.ago(1200, 4000))
    _on_maintenance(p, "every 3 months", 12)
    p.order = {"stop": "maintenance"}


def allergic(p: _Patient) -> None:
    _low_b12(p)
    p.add("allergies", to="hydroxocobalamin", reaction="anaphylaxis", criticality="high")
    p.orders(HYDROXOCOBALAMIN, "TIW2")


def with_leber(p: _Patient) -> None:
    _low_b12(p)
    p.add("conditions", what="Leber hereditary optic neuropathy", onset=p.ago(1000, 6000))
    p.orders(CYANOCOBALAMIN, "M1")


# Share of all picks, assumed. The never-events together are a little over 1 in 100.
GROUPS: tuple[tuple[float, Callable[[_Patient], None]], ...] = (
    (36.0, maintained),
    (16.0, newly_deficient),
    (7.0, borderline),
    (8.0, swallowing),
    (3.0, neurological),
    (4.0, resected),
    (4.0, after_bariatric_surgery),
    (2.0, with_cancer),
    (6.0, without_evidence),
    (1.0, severely_anaemic),
    (1.0, child),
    (6.0, expecting),
    (2.5, on_methotrexate),
    (2.4, folate_deficient),
)
NEVER_EVENTS: tuple[tuple[float, Callable[[_Patient], None]], ...] = (
    (0.1, by_vein),
    (0.25, a_thousand_times),
    (0.3, folic_acid_first),
    (0.2, stopped),
    (0.15, allergic),
    (0.15, with_leber),
)


# --- from patient to request --------------------------------------------------------------------


def cohort(size: int = SIZE, seed: int = SEED) -> Iterator[Pick]:
    """The first `size` picks; the same ones for the same seed, however many are asked for."""
    return (_pick(number, seed) for number in range(size))


def _pick(number: int, seed: int) -> Pick:
    rng = random.Random(f"{seed}-{number}")  # noqa: S311  to be the same every time
    groups = (*GROUPS, *NEVER_EVENTS)
    make = rng.choices([group for _, group in groups], [share for share, _ in groups])[0]
    p = _Patient(rng, group=make.__name__.replace("_", " "))
    p.patient["age"] = rng.randint(18, 92)
    p.patient["sex"] = rng.choice(("female", "female", "male"))
    make(p)
    if any(make is event for _, event in NEVER_EVENTS):
        p.kind = DANGEROUS
    return Pick(number, p.group, p.kind, p.order.get("what") != FOLIC_ACID, _request(p, number))


def _request(p: _Patient, number: int) -> Json:
    if p.patient.get("pregnant"):
        p.patient |= {"age": p.rng.randint(19, 42), "sex": "female"}
    vignette = Vignette(
        id=f"C{number}",
        title=p.group,
        as_of=AS_OF,
        expected=Expected(),
        path=Path("cohort"),
        patient=p.patient,
        record=p.record,
        orders=(p.order,),
    )
    request = order_select(vignette, prefetch_templates())
    _encode_order(p, request)
    _encode_results(p, request)
    _add_noise(p.rng, request)
    _leave_out(p.rng, request)
    return request


def _encode_order(p: _Patient, request: Json) -> None:
    """Timing and dose in one of the ways in which clients write them."""
    draft = request["context"]["draftOrders"]["entry"][0]["resource"]
    if not p.schedule and not p.milligrams:
        return
    dosage = draft.setdefault("dosageInstruction", [{}])[0]
    dosage.pop("text", None)
    if p.schedule:
        dosage["timing"] = p.rng.choice(SCHEDULES[p.schedule])
    if p.milligrams:
        injected = "injection" in p.order.get("what", "")
        ways = doses(Decimal(p.milligrams), one_mg_per_ml=injected)
        dosage["doseAndRate"] = p.rng.choice(ways)


def _entries(request: Json, key: str) -> list[Json]:
    bundle = request["prefetch"][key]
    entries: list[Json] = bundle.setdefault("entry", [])
    return entries


def _encode_results(p: _Patient, request: Json) -> None:
    for entry in _entries(request, "observations"):
        observation = entry["resource"]
        if "valueQuantity" in observation:
            observation["valueQuantity"] = p.rng.choice(
                same_quantities(observation["valueQuantity"])
            )


_SNOMED = "http://snomed.info/sct"
_LOINC = "http://loinc.org"
_RXNORM = "http://www.nlm.nih.gov/research/umls/rxnorm"
_CONDITIONS = (
    ("38341003", "Hypertension"),
    ("195967001", "Asthma"),
    ("13645005", "Chronic obstructive pulmonary disease"),
    ("40930008", "Hypothyroidism"),
    ("35489007", "Depressive disorder"),
    ("396275006", "Osteoarthritis"),
    ("55822004", "Hyperlipidaemia"),
)
_RESULTS = (
    ("4548-4", "HbA1c", 5.6, "%"),
    ("3016-3", "TSH", 2.1, "mIU/L"),
    ("2276-4", "Ferritin", 64, "ng/mL"),
    ("2951-2", "Sodium", 139, "mmol/L"),
    ("1742-6", "ALT", 23, "U/L"),
    ("2093-3", "Cholesterol", 190, "mg/dL"),
)
_MEDICINES = (
    ("83367", "atorvastatin"),
    ("17767", "amlodipine"),
    ("10582", "levothyroxine"),
    ("6809", "metformin"),
    ("7646", "omeprazole"),
    ("36437", "sertraline"),
)


def _add_noise(rng: random.Random, request: Json) -> None:
    """The rest of a record: other diagnoses, results and medicines, in no order."""
    subject = {"reference": f"Patient/{request['context']['patientId']}"}
    for number, (code, text) in enumerate(rng.sample(_CONDITIONS, rng.randint(0, 4))):
        coding = [{"system": _SNOMED, "code": code, "display": text}]
        _put(
            request,
            "conditions",
            resourceType="Condition",
            id=f"other-condition-{number}",
            subject=subject,
            code={"coding": coding, "text": text},
            clinicalStatus={"coding": [{"code": "active"}]},
        )
    for number in range(rng.randint(0, 12)):
        code, text, value, unit = rng.choice(_RESULTS)
        on = AS_OF - timedelta(days=rng.randint(1, 900))
        _put(
            request,
            "observations",
            resourceType="Observation",
            id=f"other-result-{number}",
            subject=subject,
            status="final",
            code={"coding": [{"system": _LOINC, "code": code}], "text": text},
            effectiveDateTime=on.isoformat(),
            valueQuantity={"value": value, "unit": unit},
        )
    for number, (code, text) in enumerate(rng.sample(_MEDICINES, rng.randint(0, 3))):
        _put(
            request,
            "medicationRequests",
            resourceType="MedicationRequest",
            id=f"other-order-{number}",
            subject=subject,
            status="active",
            intent="order",
            medicationCodeableConcept={
                "coding": [{"system": _RXNORM, "code": code}],
                "text": text,
            },
        )
    for key in ("conditions", "observations", "medicationRequests"):
        rng.shuffle(_entries(request, key))


def _put(request: Json, key: str, **resource: Any) -> None:
    _entries(request, key).append({"resource": resource})


# What a site may well not supply, and the advice does not depend on.
_SUPPORTING = ("medicationStatements", "medicationDispenses", "familyHistory")


def _leave_out(rng: random.Random, request: Json) -> None:
    for key in _SUPPORTING:
        if rng.random() < 0.3:
            del request["prefetch"][key]
