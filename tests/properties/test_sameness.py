"""Does what means the same get the same answer, however it is written and delivered?"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.properties.patients import (
    FOLATES,
    INJECTIONS,
    TABLETS,
    examples,
    injections,
    names,
    patients,
    timings,
)
from tests.support.cases import AS_OF, ask, essence, request_for, wording
from tests.support.encodings import doses, same_quantities
from tests.support.hook_request import shifted
from tests.support.vignette import Vignette

Json = dict[str, Any]
Change = Callable[[Json], object]

# The Gregorian calendar repeats after 28 years (within 1901 to 2099): month ends and all.
TWENTY_EIGHT_YEARS = timedelta(days=28 * 365 + 7)
chance = st.integers(0, 2**32).map(random.Random)


def changed(request: Json, change: Change) -> Json:
    other = copy.deepcopy(request)
    change(other)
    return other


def bundles(request: Json) -> Iterator[Json]:
    yield from (v for v in request["prefetch"].values() if v and v["resourceType"] == "Bundle")


def resources(request: Json, kind: str) -> Iterator[Json]:
    for bundle in bundles(request):
        found = (e["resource"] for e in bundle.get("entry", ()))
        yield from (r for r in found if r["resourceType"] == kind)


def draft(request: Json) -> Json:
    first: Json = request["context"]["draftOrders"]["entry"][0]["resource"]
    return first


# --- delivery -----------------------------------------------------------------------------------


@examples(40)
@given(patients(), chance)
def test_order_of_entries_and_keys(patient: Vignette, rng: random.Random) -> None:
    def shuffle(request: Json) -> None:
        keys = list(request["prefetch"].items())
        rng.shuffle(keys)
        request["prefetch"] = dict(keys)
        for bundle in bundles(request):
            rng.shuffle(bundle.get("entry", []))

    request = request_for(patient)
    assert wording(ask(changed(request, shuffle))) == wording(ask(request))


@examples(40)
@given(patients(), chance)
def test_an_entry_delivered_twice(patient: Vignette, rng: random.Random) -> None:
    def repeat(request: Json) -> None:
        for bundle in bundles(request):
            entries = bundle.get("entry", [])
            entries += [copy.deepcopy(e) for e in entries if rng.random() < 0.5]

    request = request_for(patient)
    assert wording(ask(changed(request, repeat))) == wording(ask(request))


@examples(40)
@given(patients(), chance)
def test_a_result_or_diagnosis_recorded_twice(patient: Vignette, rng: random.Random) -> None:
    """The same fact under another id: two feeds, one patient."""

    def record_again(request: Json) -> None:
        for bundle in bundles(request):
            for entry in list(bundle.get("entry", ())):
                kind = entry["resource"]["resourceType"]
                if kind in ("Condition", "AllergyIntolerance") and rng.random() < 0.7:
                    again = copy.deepcopy(entry)
                    again["resource"]["id"] += "-again"
                    bundle["entry"].append(again)

    request = request_for(patient)
    assert essence(ask(changed(request, record_again))) == essence(ask(request))


@examples(40)
@given(patients(), chance)
def test_names_of_prefetch_keys(patient: Vignette, rng: random.Random) -> None:
    """A site may use names of its own, as long as there is something under them to know them by."""

    def rename(request: Json) -> None:
        request["prefetch"] = {
            (f"site-{rng.randrange(10**6)}-{key}" if value and _holds(value) else key): value
            for key, value in request["prefetch"].items()
        }

    request = request_for(patient)
    assert wording(ask(changed(request, rename))) == wording(ask(request))


def _holds(value: Json) -> bool:
    return value["resourceType"] != "Bundle" or bool(value.get("entry"))


@examples(40)
@given(patients(), chance)
def test_ids_of_records(patient: Vignette, rng: random.Random) -> None:
    """Drafts keep theirs; a stop or a renewal names an order of the record, so it follows."""
    request = request_for(patient)
    old = [
        f"{r['resourceType']}/{r['id']}"
        for bundle in bundles(request)
        for r in (e["resource"] for e in bundle.get("entry", ()))
    ]
    places = rng.sample(range(1000), len(old))
    new = [f"{name.partition('/')[0]}/{n}" for name, n in zip(old, places, strict=True)]
    renamed = _renamed(request, dict(zip(old, new, strict=True)))
    assert sorted(map(repr, essence(ask(renamed)))) == sorted(map(repr, essence(ask(request))))


def _renamed(value: Any, names_by_old: dict[str, str]) -> Any:
    """Ids of resources and all references to them."""
    if isinstance(value, list):
        return [_renamed(item, names_by_old) for item in value]
    if not isinstance(value, dict):
        return value
    out = {key: _renamed(item, names_by_old) for key, item in value.items()}
    own = f"{out.get('resourceType')}/{out.get('id')}"
    if own in names_by_old:
        out["id"] = names_by_old[own].partition("/")[2]
    if isinstance(out.get("reference"), str):
        out["reference"] = names_by_old.get(out["reference"], out["reference"])
    return out


@examples(40)
@given(patients(), chance)
def test_noise(patient: Vignette, rng: random.Random) -> None:
    """Records, extensions and elements that say nothing about B12."""

    def add_noise(request: Json) -> None:
        for bundle in bundles(request):
            for entry in bundle.get("entry", ()):
                entry["fullUrl"] = f"https://ehr.example/fhir/{rng.getrandbits(40):x}"
                entry["resource"]["extension"] = [{"url": "urn:x", "valueString": "noise"}]
                entry["resource"]["meta"] = {"versionId": str(rng.randrange(9))}
            for kind in {e["resource"]["resourceType"] for e in bundle.get("entry", ())}:
                bundle["entry"].append({"resource": _unrelated(kind, request)})

    request = request_for(patient)
    assert wording(ask(changed(request, add_noise))) == wording(ask(request))


def _unrelated(kind: str, request: Json) -> Json:
    subject = {"reference": f"Patient/{request['context']['patientId']}"}
    who = "patient" if kind in ("AllergyIntolerance", "FamilyMemberHistory") else "subject"
    code = {"coding": [{"system": "http://snomed.info/sct", "code": "38341003"}]}
    where = "medicationCodeableConcept" if kind.startswith("Medication") else "code"
    return {"resourceType": kind, "id": "noise", "status": "final", where: code, who: subject}


# --- time ---------------------------------------------------------------------------------------


@examples(40)
@given(patients(), st.sampled_from((-1, 1, 2)))
def test_another_year_of_the_same_calendar(patient: Vignette, cycles: int) -> None:
    by = TWENTY_EIGHT_YEARS * cycles
    request = request_for(patient)
    assert essence(ask(shifted(request, by), AS_OF + by)) == essence(ask(request))


@pytest.mark.fault("D31")
@examples(40)
@given(patients(), st.integers(-300, 300))
def test_another_day(patient: Vignette, by: int) -> None:
    """Nothing the strategies date lies within two days of the edge of a window."""
    request = request_for(patient)
    moved = timedelta(days=by)
    assert essence(ask(shifted(request, moved), AS_OF + moved)) == essence(ask(request))


# --- units --------------------------------------------------------------------------------------


@pytest.mark.fault("D30")
@examples(70)
@given(patients(), chance)
def test_units_of_results_and_lengths(patient: Vignette, rng: random.Random) -> None:
    def rewrite(request: Json) -> None:
        for observation in resources(request, "Observation"):
            if "valueQuantity" in observation:
                same = same_quantities(observation["valueQuantity"])
                observation["valueQuantity"] = rng.choice(same)

    request = request_for(patient)
    assert essence(ask(changed(request, rewrite))) == essence(ask(request))


# --- orders -------------------------------------------------------------------------------------


@examples(70)
@given(patients(), timings)
def test_encodings_of_a_schedule(patient: Vignette, same: list[Json]) -> None:
    def timed(timing: Json) -> Change:
        def change(request: Json) -> None:
            draft(request).setdefault("dosageInstruction", [{}])[0]["timing"] = timing

        return change

    request = request_for(patient)
    one, other = (ask(changed(request, timed(timing))) for timing in same)
    assert _judged(one) == _judged(other)


def _judged(answer: Any) -> list[Any]:
    """Every 4 weeks is monthly, but also the first step for symptoms that recur: not compared."""
    return [part for part in essence(answer) if not isinstance(part, list) or part[0] != "symptoms"]


AMOUNTS = ("0.001", "0.1", "0.5", "1", "5", "10", "1000")


@examples(70)
@given(
    patients(st.lists(injections, min_size=1, max_size=1)),
    names((*INJECTIONS, *TABLETS, *FOLATES)),
    names(AMOUNTS),
    chance,
)
def test_encodings_of_a_dose(
    patient: Vignette, medicine: str, amount: str, rng: random.Random
) -> None:
    def dosed(written: list[Json]) -> Change:
        def change(request: Json) -> None:
            draft(request).setdefault("dosageInstruction", [{}])[0]["doseAndRate"] = written

        return change

    order = patient.orders[0] | {"what": medicine}
    request = request_for(_with_orders(patient, [order]))
    ways = doses(Decimal(amount), one_mg_per_ml=medicine in INJECTIONS)
    one, other = rng.sample(ways, 2)
    assert _without_doses(ask(changed(request, dosed(one)))) == _without_doses(
        ask(changed(request, dosed(other)))
    )


def _with_orders(patient: Vignette, orders: list[Any]) -> Vignette:
    return replace(patient, orders=tuple(orders))


def _without_doses(answer: Any) -> list[Any]:
    """A corrected draft may keep its dose as it was written, in mL say: compare the rest."""
    return [
        answer.status,
        *([c["source"]["topic"]["code"], c["indicator"], _steps(c)] for c in answer.cards),
    ]


def _steps(card: Json) -> list[Any]:
    return [
        [s.get("isRecommended", False), [a["type"] for a in s["actions"]]]
        for s in card.get("suggestions", ())
    ]
