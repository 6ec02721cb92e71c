"""Is an order that could do great harm ever answered without its card, or with worse advice?

One property a never-event: whatever else is on record and whatever else is drafted. The forbidden
thing is looked for in every order that any suggestion of the answer writes, by what it contains.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.properties.patients import (
    FOLATES,
    HISTORIES,
    INJECTIONS,
    RHYTHMS,
    TABLETS,
    drafts,
    examples,
    folates,
    names,
    patients,
    stops,
    table,
)
from tests.support.answers import Answer
from tests.support.cases import ask, offered_orders, removed, request_for, topics
from tests.support.orders import drafts as drafts_by_reference
from tests.support.regimens import dose_microgram, instruction
from tests.support.vignette import Toml, Vignette, word

Json = dict[str, Any]

INTRAVENOUS = "47625008"
TEN_MG_IN_MICROGRAM = 10_000


def rxnorm(*medicines: str) -> frozenset[str]:
    return frozenset(word("medicines", name)["rxnorm"] for name in medicines)


CYANOCOBALAMIN = rxnorm("cyanocobalamin injection", "cyanocobalamin nasal spray", *TABLETS)
CYANOCOBALAMIN |= {"11248", "2598453"}  # the substance, the product without preservatives
COBALAMINS = CYANOCOBALAMIN | rxnorm(
    "hydroxocobalamin injection",
    "hydroxocobalamin (ingredient only)",
    "hydroxocobalamin 5 g injection",
)
FOLIC_ACID = rxnorm(*FOLATES)


def codes(order: Json) -> set[str]:
    concept = order.get("medicationCodeableConcept", {})
    return {coding.get("code", "") for coding in concept.get("coding", ())}


def by_vein(order: Json) -> bool:
    route = instruction(order).get("route", {})
    return any(coding.get("code") == INTRAVENOUS for coding in route.get("coding", ()))


def offered(answer: Answer, forbidden: frozenset[str]) -> list[Json]:
    return [order for order in offered_orders(answer) if codes(order) & forbidden]


def folic_acid_removed(answer: Answer, request: Json) -> list[str]:
    drafted = drafts_by_reference(request)
    return [ref for ref in removed(answer) if codes(drafted[ref]) & FOLIC_ACID]


# --- the patients -------------------------------------------------------------------------------


def picking(order: st.SearchStrategy[Toml], most_others: int = 1) -> st.SearchStrategy[Vignette]:
    """Any patient for whom this order is picked, first among the drafts."""
    others = st.lists(drafts, max_size=most_others)
    return patients(st.tuples(order, others).map(lambda pair: [pair[0], *pair[1]]))


def ordered(**parts: st.SearchStrategy[Any]) -> st.SearchStrategy[Toml]:
    return table(timing=names((None, *RHYTHMS)), **parts)


def also(patient: Vignette, kind: str, *facts: Toml) -> Vignette:
    """The same patient with more facts of one kind on record."""
    record = patient.record | {kind: [*patient.record.get(kind, ()), *facts]}
    return replace(patient, record=record)


def without(patient: Vignette, *kinds: str) -> Vignette:
    record = {kind: facts for kind, facts in patient.record.items() if kind not in kinds}
    return replace(patient, record=record)


def untreated(patient: Vignette) -> Vignette:
    """The same patient without any medicine in the past."""
    return without(patient, "history", "orders", "doses")


# IM, SC or not said: hydroxocobalamin by vein may be meant for something else.
into_tissue = names((None, "IM", "SC"))
usual_doses = names((None, "1 mg", "1000 microgram", "100 microgram"))
b12_orders = st.one_of(
    ordered(what=names(INJECTIONS), route=into_tissue, dose=usual_doses),
    ordered(what=names(TABLETS), route=names((None, "PO", "SL")), dose=usual_doses),
)
cyanocobalamin_orders = st.one_of(
    ordered(
        what=st.just("cyanocobalamin injection"),
        route=names((None, "IM", "SC", "IV")),
        dose=names((None, "1 mg", "1000 microgram", "1000 mg")),
    ),
    ordered(what=names(TABLETS), route=names((None, "PO")), dose=usual_doses),
)


LEBER = {"what": "Leber hereditary optic neuropathy"}

# --- the never-events ---------------------------------------------------------------------------


@examples(50)
@given(
    picking(
        ordered(what=st.just("cyanocobalamin injection"), route=st.just("IV"), dose=usual_doses)
    )
)
def test_cyanocobalamin_by_vein(patient: Vignette) -> None:
    answer = ask(request_for(patient))
    assert topics(answer)["ivroute"] == "critical"
    assert not [order for order in offered(answer, CYANOCOBALAMIN) if by_vein(order)]


@examples(50)
@given(
    picking(
        ordered(
            what=names(INJECTIONS),
            route=into_tissue,
            dose=names(("10 mg", "1000 mg", "10000 microgram", "1 g")),
        )
    )
)
def test_ten_milligrams_or_more_injected(patient: Vignette) -> None:
    answer = ask(request_for(patient))
    assert topics(answer)["dose"] == "critical"
    amounts = [dose_microgram(order) for order in offered(answer, COBALAMINS)]
    assert not [amount for amount in amounts if amount and amount >= TEN_MG_IN_MICROGRAM]


@examples(50)
@given(
    picking(
        table(
            what=names(FOLATES),
            dose=names((None, "400 microgram", "5 mg")),
            route=names((None, "PO")),
            timing=names((None, "daily")),
        ),
        most_others=0,
    )
)
def test_folic_acid_before_b12_in_untreated_deficiency(patient: Vignette) -> None:
    sick = also(untreated(patient), "conditions", {"what": "pernicious anaemia"})
    answer = ask(request_for(sick))
    assert topics(answer)["folate"] == "critical"
    assert offered(answer, FOLIC_ACID) == []


@examples(50)
@given(patients(stops.map(lambda order: [order])))
def test_a_stop_in_irreversible_malabsorption(patient: Vignette) -> None:
    """Nothing but an allergy to B12 would be a reason to stop."""
    history = {"history": "pernicious anaemia, loaded, on maintenance"}
    record = without(untreated(patient), "allergies").record | history
    answer = ask(request_for(replace(patient, record=record)))
    held = patient.orders[0]["status"] == "on-hold"
    assert topics(answer)["stop"] == ("warning" if held else "critical")
    assert removed(answer) == set()


@examples(50)
@given(picking(b12_orders), names(("hydroxocobalamin", "cyanocobalamin")), names((None, "high")))
def test_an_allergy_to_a_cobalamin(
    patient: Vignette, allergen: str, criticality: str | None
) -> None:
    fact = {"to": allergen} | ({"criticality": criticality} if criticality else {})
    answer = ask(request_for(also(patient, "allergies", fact)))
    assert topics(answer)["allergy"] == "critical"
    assert offered(answer, COBALAMINS) == []


@examples(50)
@given(picking(cyanocobalamin_orders))
def test_cyanocobalamin_in_leber_optic_neuropathy(patient: Vignette) -> None:
    answer = ask(request_for(also(patient, "conditions", LEBER)))
    assert topics(answer)["leber"] == "critical"
    assert offered(answer, CYANOCOBALAMIN) == []


@examples(50)
@given(picking(folates), names((None, *HISTORIES)))
def test_folic_acid_of_a_pregnancy_is_not_removed(patient: Vignette, history: str | None) -> None:
    record = patient.record
    if history:
        record = untreated(patient).record | {"history": history}
    pregnant = replace(patient, patient=patient.patient | {"pregnant": True}, record=record)
    request = request_for(pregnant)
    answer = ask(request)
    assert folic_acid_removed(answer, request) == []
    assert offered(answer, FOLIC_ACID) == []


@examples(150)
@given(patients())
def test_no_suggestion_of_any_answer_is_a_never_event(patient: Vignette) -> None:
    request = request_for(patient)
    answer = ask(request)
    assert offered(answer, FOLIC_ACID) == []
    for order in offered(answer, COBALAMINS):
        assert not (by_vein(order) and codes(order) & CYANOCOBALAMIN)
        assert (dose_microgram(order) or 0) < TEN_MG_IN_MICROGRAM
    if patient.patient.get("pregnant"):
        assert folic_acid_removed(answer, request) == []
