"""Does an answer from less of the record ever go further than one from all of it?"""

from __future__ import annotations

import copy
from datetime import timedelta
from functools import cache
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from fhir_mappers.queries import QUERIES
from tests.properties.patients import examples, names, patients
from tests.support.answers import Answer, error_problems
from tests.support.cases import AS_OF, ask, assertiveness, request_for, topics
from tests.support.vignette import Vignette, all_vignettes

Json = dict[str, Any]

KEYS = tuple(query.key for query in QUERIES)
FAILURES: tuple[Any, ...] = (
    {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "exception"}]},
    "nonsense",
)
subsets = st.lists(names(KEYS), min_size=1, max_size=4, unique=True)


def without(request: Json, keys: list[str], instead: Any = None) -> Json:
    """The request as a client sends it that could not answer these queries."""
    less = copy.deepcopy(request)
    for key in keys:
        if instead is None:
            del less["prefetch"][key]
        else:
            less["prefetch"][key] = instead
    return less


# Dangerous by themselves, whatever the record says; only another indication on record excuses them.
BY_THEMSELVES = {"dose", "ivroute", "duplicate"}
# They may come through when what would have excused them (B12 given, a pregnancy, a referral made)
# was not read; then they caution, and are never critical.
CAUTIONS = {"folate", "stop", "potassium", "referral", "allergy", "leber"}
RANKS = {"info": 0, "warning": 1, "critical": 2}


# Without the doses given, a loading order that is over is taken at its word: the patient counts as
# loaded, and a maintenance order may be judged that was not before.
DOSES_GIVEN = "medicationAdministrations"


def too_far(less: Answer, all_of_it: Answer, keys: list[str]) -> list[str]:
    """How the answer from less goes further than the other."""
    cautions = CAUTIONS | ({"regimen"} if DOSES_GIVEN in keys else set())
    before, after = assertiveness(all_of_it), assertiveness(less)
    problems = ["recommends"] if after.recommends > before.recommends else []
    problems += ["evidence"] if after.says_no_evidence > before.says_no_evidence else []
    for topic, indicator in topics(less).items():
        if topic in BY_THEMSELVES or topic == "unavailable":
            continue
        # What was silence may become an offer, with none recommended and the gap named.
        allowed = max(before.rank, RANKS["warning" if topic in cautions else "info"])
        if RANKS[indicator] > allowed:
            problems.append(f"{topic} {indicator}")
    return problems


def is_child(request: Json) -> bool:
    born = str(request["prefetch"]["patient"].get("birthDate", ""))
    return born > (AS_OF - timedelta(days=16 * 366)).isoformat()


def has_inborn_error(patient: Vignette) -> bool:
    inborn = ("transcobalamin II deficiency", "methylmalonic acidaemia")
    return any(fact["what"] in inborn for fact in patient.record.get("conditions", ()))


@pytest.mark.fault("D32")
@examples(150)
@given(patients(), subsets, names((None, *FAILURES)))
def test_is_never_more_assertive(patient: Vignette, keys: list[str], instead: Any) -> None:
    request = request_for(patient)
    # An age that is not known is taken for an adult's, and said; a specialist's disease that was
    # not read leaves the patient to the protocol.
    assume(not ("patient" in keys and is_child(request)))
    assume(not ("conditions" in keys and has_inborn_error(patient)))
    all_of_it, less = ask(request), ask(without(request, keys, instead))
    assert less.status in (200, 412)
    assert less.status == 200 or not error_problems(less)
    assert too_far(less, all_of_it, keys) == []


@pytest.mark.fault("D44")
@examples(60)
@given(patients(), subsets)
def test_says_what_was_not_read(patient: Vignette, keys: list[str]) -> None:
    """Silence, or every card names each part of the record that did not come."""
    less = ask(without(request_for(patient), keys))
    for card in less.cards:
        assert card["detail"].count("Not known") >= 1
        assert card["detail"].count("not supplied") >= len(keys)


VIGNETTES = [
    v for v in all_vignettes() if v.id.startswith("V") and v.prefetch == "complete" and not v.failed
]


@cache
def whole_answer(vignette_id: str) -> tuple[Json, Answer]:
    vignette = next(v for v in VIGNETTES if v.id == vignette_id)
    request = request_for(vignette)
    return request, ask(request, vignette.as_of, vignette.profile)


@pytest.mark.fault("D32")
@pytest.mark.parametrize("key", KEYS)
def test_of_a_vignette_is_never_more_assertive(key: str) -> None:
    problems = {}
    for vignette in VIGNETTES:
        request, whole = whole_answer(vignette.id)
        if key == "patient" and is_child(request):
            continue
        less = ask(without(request, [key]), vignette.as_of, vignette.profile)
        if found := too_far(less, whole, [key]):
            problems[vignette.id] = found
    assert problems == {}
