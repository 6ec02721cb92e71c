"""Which patients and orders does Hypothesis make up, written as FHIR?

Strategies over the words of a vignette: anything in the vocabulary may be recorded, at any time, in
any state, and anything ordered in any way. Days are kept clear of the protocol's windows, so that
moving a patient by some days moves nothing across an edge.
"""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from tests.support.cases import AS_OF, made_up
from tests.support.encodings import SCHEDULES
from tests.support.vignette import Toml, Vignette, resource_table

VOCABULARY = resource_table("vocabulary")
HISTORIES = tuple(resource_table("histories"))
INJECTIONS = ("hydroxocobalamin injection", "cyanocobalamin injection")
TABLETS = ("cyanocobalamin tablets", "cyanocobalamin 500 microgram tablets")
FOLATES = ("folic acid", "levomefolate")
DAYS_AGO = (2, 8, 17, 25, 42, 80, 120, 165, 200, 255, 300, 350, 390, 500, 800, 1500)


def examples(count: int) -> settings:
    """So many examples; in CI twice as many."""
    factor = 2 if os.environ.get("CI") == "true" else 1
    return settings(max_examples=count * factor, suppress_health_check=[HealthCheck.too_slow])


def rarely(strategy: st.SearchStrategy[Any], one_in: int = 3) -> st.SearchStrategy[Any]:
    """Mostly nothing: the key is then left out."""
    return st.integers(1, one_in).flatmap(lambda n: strategy if n == 1 else st.none())


def table(**parts: st.SearchStrategy[Any]) -> st.SearchStrategy[Toml]:
    """A TOML table without the keys that came out as None."""
    return st.fixed_dictionaries(parts).map(
        lambda table: {key: value for key, value in table.items() if value is not None}
    )


days = st.sampled_from(DAYS_AGO).map(lambda n: AS_OF - timedelta(days=n))
names = st.sampled_from

conditions = table(
    what=names(tuple(VOCABULARY["conditions"])),
    onset=st.none() | days,
    recorded=days,
    verification=names(("confirmed",) * 5 + ("provisional", "unconfirmed", "refuted")),
    clinical=names(("active",) * 5 + ("remission", "resolved", "relapse")),
)
# Values on both sides of every threshold, and on it.
_VALUES = {
    "B12": (
        *("60 pg/mL", "90 ng/L", "120 pg/mL", "179 pg/mL", "180 pg/mL", "350 ng/L", "420 pg/mL"),
        *("< 150 pg/mL", "120"),
    ),
    "B12 molar": ("70 pmol/L", "132 pmol/L", "133 pmol/L", "258 pmol/L", "300 pmol/L"),
    "active B12": ("24 pmol/L", "25 pmol/L", "70 pmol/L", "90 pmol/L"),
    "MMA": ("0.3 umol/L", "0.5 umol/L", "900 nmol/L"),
    "homocysteine": ("12 umol/L", "30 umol/L"),
    "Hb": ("62 g/L", "80 g/L", "118 g/L", "135 g/L"),
    "MCV": ("90 fL", "100 fL", "112 fL"),
    "potassium": ("3.1 mmol/L", "3.5 mmol/L", "4.2 mmol/L"),
    "eGFR": ("40 mL/min/1.73m2", "90 mL/min/1.73m2"),
}
results = st.sampled_from(
    [{"test": test, "value": value} for test, values in _VALUES.items() for value in values]
).flatmap(
    lambda said: table(
        test=st.just(said["test"]),
        value=st.just(said["value"]),
        on=days,
        status=names(("final",) * 5 + ("preliminary", "corrected", "entered-in-error")),
    )
)
operations = table(
    what=names(tuple(VOCABULARY["procedures"])),
    on=days,
    length=rarely(names(("8 cm", "12 cm", "20 cm", "20.1 cm", "201 mm", "40 cm", ">= 20 cm")), 2),
)
not_done = table(
    what=names(tuple(VOCABULARY["procedures"])),
    on=days,
    status=names(("not-done", "entered-in-error", "preparation")),
)
procedures = st.one_of(operations, operations, operations, not_done)
extents = table(length=names(("20 cm", "30 cm", "31 cm", "45 cm")), on=days)
allergies = table(
    to=names(tuple(VOCABULARY["allergens"])),
    reaction=names((None, "anaphylaxis", "rash", "contact dermatitis")),
    criticality=names((None, "low", "high")),
    clinical=names(("active", "active", "active", "resolved")),
    verification=names(("confirmed", "confirmed", "unconfirmed", "refuted")),
)
relatives = table(what=names(("Leber hereditary optic neuropathy", "pernicious anaemia")))
referrals = table(to=names(("neurology", "haematology")), on=days)

RHYTHMS = (
    *("3 a week for 2 weeks, 6 doses", "3 a week", "every 2 days", "every 2 days for 2 weeks"),
    *("daily for 10 days, 10 doses", "daily", "every 12 hours for 2 weeks", "weekly", "once"),
    *("every 2 weeks", "monthly", "monthly for 6 months", "every 2 months", "every 2-3 months"),
    *("every 12 weeks", "every 6 months"),
)

injections = table(
    what=names((*INJECTIONS, "hydroxocobalamin (ingredient only)")),
    dose=names((None, *["1 mg"] * 4, "1000 microgram", "100 microgram", "1 microgram", "5 mg"))
    | names(("1000 mg", "10 mg")),
    route=names((None, *["IM"] * 4, "SC", "IV")),
    timing=names((None, *RHYTHMS)),
)
tablets = table(
    what=names((*TABLETS, "cyanocobalamin nasal spray")),
    dose=names((None, "1 mg", "1000 microgram", "500 microgram", "50 microgram", "100 mg")),
    route=names((None, "PO", "PO", "SL", "nasal")),
    timing=names((None, "daily", "weekly")),
)
folates = table(
    what=names(FOLATES),
    dose=names((None, "5 mg", "400 microgram", "50 microgram")),
    route=names((None, "PO")),
    timing=names((None, "daily", "daily")),
)
medicines = table(
    what=names(("metformin", "omeprazole", "methotrexate", "amoxicillin")),
    written=days,
)
earlier_orders = st.tuples(
    injections | injections | tablets | medicines,
    days,
    names(("active", "active", "completed", "stopped", "on-hold")),
).map(lambda parts: parts[0] | {"written": parts[1], "status": parts[2]})


@st.composite
def given_doses(draw: st.DrawFn) -> Toml:
    """One course of injections, up to a day at least two days ago."""
    last, gap = draw(days), draw(names((2, 3, 28, 84)))
    count = draw(st.integers(1, 8))
    return {
        "what": draw(names(INJECTIONS)),
        "dose": draw(names(("1 mg", "1 mg", "100 microgram"))),
        "route": draw(names(("IM", "IM", "SC"))),
        "on": [last - timedelta(days=gap * n) for n in reversed(range(count))],
    }


@st.composite
def records(draw: st.DrawFn) -> Toml:
    record: Toml = {
        "conditions": draw(st.lists(conditions, max_size=3)),
        "results": draw(st.lists(results, max_size=3)),
        "procedures": draw(st.lists(procedures, max_size=2)),
        "extents": draw(st.lists(extents, max_size=1)),
        "orders": draw(st.lists(earlier_orders, max_size=2)),
        "doses": draw(st.lists(given_doses(), max_size=1)),
        "allergies": draw(st.lists(allergies, max_size=1)),
        "family": draw(st.lists(relatives, max_size=1)),
        "referrals": draw(st.lists(referrals, max_size=1)),
    }
    record = {key: facts for key, facts in record.items() if facts}
    if draw(st.integers(1, 4)) == 1:
        return record | draw_history(draw, record)
    return record


def draw_history(draw: st.DrawFn, record: Toml) -> Toml:
    """A shared history, in place of orders and doses made up."""
    for key in ("orders", "doses"):
        record.pop(key, None)
    return {"history": draw(names(HISTORIES))}


people = table(
    age=names((54, 54, 54, 31, 78, 16, 17, 9)),
    sex=names(("female", "male")),
    pregnant=rarely(st.just(value=True), 8),
)
drafts = st.one_of(injections, injections, injections, tablets, folates)


@st.composite
def patients(
    draw: st.DrawFn,
    orders: st.SearchStrategy[list[Toml]] = st.lists(drafts, min_size=1, max_size=2),  # noqa: B008
) -> Vignette:
    """A patient with one or two drafts of B12 or folic acid, the second perhaps not selected."""
    picked = draw(orders)
    if len(picked) > 1 and draw(st.booleans()):
        picked = [*picked[:1], picked[1] | {"selected": False}]
    record = draw(records())
    if "history" in record and draw(st.booleans()):
        picked = [_renewal(picked[0], record), *picked[1:]]
    return made_up(picked, patient=draw(people), record=record)


def _renewal(order: Toml, record: Toml) -> Toml:
    loaded_only = record["history"].endswith("2026-05-15")
    return order | {"renews": "loading" if loaded_only else "maintenance"}


stops = table(
    stop=st.just("maintenance"),
    status=names(("stopped", "cancelled", "on-hold", "ended")),
)
timings = st.sampled_from(sorted(SCHEDULES)).flatmap(
    lambda name: st.lists(names(SCHEDULES[name]), min_size=2, max_size=2)
)
