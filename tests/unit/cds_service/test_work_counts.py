"""How much work does a call make? Counted, not timed, so that no machine is too slow for the test.

The limits stand a little above what was counted when they were written. A limit that has to be
raised is a regression, or a decision.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from typing import Any

import msgspec
import pytest

from benchmarks.families import FAMILIES, GROWTH, Family, body
from cds_service import prefetch
from cds_service.application import create_app
from cds_service.hooks import order_select
from cds_service.hooks import request as hook_request
from cds_service.settings import Settings
from cds_service.warm import warm
from fhir_mappers import scan, validity
from fhir_mappers.terminology import ValueSets

TODAY = datetime.now(UTC).date()
BY_NAME = {family.name: family for family in FAMILIES}
HEADERS = {"Content-Type": "application/json"}


@dataclass(slots=True)
class Work:
    """`decoded`: resources and Bundles of drafts turned into dicts; `passed`: bytes the decoders of
    the body went over; `models`: validations by fhir.resources; `lookups`: codings looked up."""

    decoded: int = 0
    decoded_bytes: int = 0
    passed: int = 0
    models: int = 0
    lookups: int = 0
    read: int = 0
    cards: list[Any] = field(default_factory=list)


class CountingDecoder:
    def __init__(self, decoder: Any, work: Work) -> None:
        self.decoder, self.work = decoder, work

    def decode(self, content: Any) -> Any:
        self.work.passed += len(memoryview(content))
        return self.decoder.decode(content)


@pytest.fixture
def work(monkeypatch) -> Work:
    counted = Work()
    decode, errors = scan.decode, validity._model_errors
    matches, tells = ValueSets.matches, ValueSets.tells
    read = order_select.read_prefetch

    def counting_decode(content):
        counted.decoded += 1
        counted.decoded_bytes += len(memoryview(content))
        return decode(content)

    def counting_errors(*args):
        counted.models += 1
        return errors(*args)

    def counting_matches(self, system, code):
        counted.lookups += 1
        return matches(self, system, code)

    def counting_tells(self, system, code):
        counted.lookups += 1
        return tells(self, system, code)

    def counting_read(*args, **more):
        counted.read += 1
        return read(*args, **more)

    monkeypatch.setattr(scan, "decode", counting_decode)
    monkeypatch.setattr(validity, "_model_errors", counting_errors)
    monkeypatch.setattr(ValueSets, "matches", counting_matches)
    monkeypatch.setattr(ValueSets, "tells", counting_tells)
    monkeypatch.setattr(order_select, "read_prefetch", counting_read)
    for module, names in (
        (hook_request, ("_OBJECT", "_BODY")),
        (prefetch, ("_PLAIN_BUNDLE", "_RAW_BUNDLE", "_HEAD", "_ITEMS", "_ENTRY")),
    ):
        for name in names:
            monkeypatch.setattr(module, name, CountingDecoder(getattr(module, name), counted))
    return counted


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    app = create_app(Settings.from_environment({"B12_CDS_STORE": "sqlite://"}))
    warm(app.extensions["b12_cds"])
    return app.test_client()


@cache
def content(family: Family) -> bytes:
    return body(family, TODAY)


def call(client: Any, data: bytes) -> list[Any]:
    response = client.post("/cds-services/b12-order-select", data=data, headers=HEADERS)
    assert response.status_code == 200
    cards: list[Any] = msgspec.json.decode(response.data)["cards"]
    return cards


def resources(data: bytes) -> int:
    values = msgspec.json.decode(data)["prefetch"].values()
    return sum(len(value.get("entry", ())) for value in values)


@pytest.mark.parametrize("name", BY_NAME)
def test_the_families_of_the_benchmark_are_what_they_say(client, name):
    family = BY_NAME[name]
    data = content(family)
    assert bool(call(client, data)) == family.cards
    assert 0.9 * family.size < len(data) < 1.25 * family.size


@pytest.mark.parametrize("name", ["irrelevant-5k", "irrelevant-3m"])
def test_of_a_call_about_another_order_only_the_drafts_are_decoded(client, work, name):
    data = content(BY_NAME[name])
    call(client, data)
    assert (work.read, work.models) == (0, 0)
    assert work.decoded == 1
    assert work.decoded_bytes < 3000
    assert work.lookups <= 2
    assert work.passed < 2.1 * len(data)


@pytest.mark.parametrize("name", ["cards-60k", "silent-60k", "cards-3m"])
def test_of_a_record_only_what_can_matter_is_decoded_in_full(client, work, name):
    data = content(BY_NAME[name])
    call(client, data)
    in_record = resources(data)
    assert work.decoded <= 12 + 0.15 * in_record
    assert work.decoded_bytes < 0.25 * len(data) + 5000
    assert work.passed < 4.2 * len(data)
    assert work.lookups < 40 + 2.5 * in_record


def test_what_was_found_valid_once_is_not_given_to_the_models_again(client, work):
    data = content(BY_NAME["cards-60k"])
    call(client, data)
    work.models = 0
    call(client, data)
    # Each suggestion has a group of its own, so the identifier of a group is always new.
    assert work.models <= 4


def test_another_patient_costs_a_model_or_two_for_each_kind_of_order(client, work):
    data = content(BY_NAME["cards-60k"])
    call(client, data)
    work.models = 0
    call(client, data.replace(b"vignette-v02", b"somebody-else"))
    assert work.models <= 7


def test_work_grows_no_faster_than_the_record(client):
    small, large = (content(family) for family in (GROWTH[1], GROWTH[2]))
    call(client, small)
    each = [python_calls(client, data) / resources(data) for data in (small, large)]
    assert each[1] < 1.1 * each[0]
    assert max(each) < 105


@pytest.mark.parametrize(
    ("name", "limit"), [("irrelevant-5k", 1900), ("silent-60k", 9300), ("cards-60k", 11_900)]
)
def test_a_call_makes_no_more_python_calls_than_this(client, name, limit):
    data = content(BY_NAME[name])
    call(client, data)
    assert python_calls(client, data) < limit


def python_calls(client: Any, data: bytes) -> int:
    """Calls of functions, Python's and C's, while the call is answered in this thread."""
    made = 0

    def count(_frame: Any, event: str, _argument: Any) -> None:
        nonlocal made
        made += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        call(client, data)
    finally:
        sys.setprofile(None)
    return made


def test_after_the_start_a_call_imports_nothing():
    code = """
import sys
from benchmarks.families import FAMILIES, body
from cds_service.application import create_app
from cds_service.settings import Settings
from cds_service.warm import warm
app = create_app(Settings.from_environment({"B12_CDS_STORE": "sqlite://"}))
warm(app.extensions["b12_cds"])
headers = {"Content-Type": "application/json"}
client = app.test_client()
client.post("/cds-services/b12-order-select", data=b"{}", headers=headers)
before = set(sys.modules)
for family in FAMILIES[:3]:
    answer = client.post("/cds-services/b12-order-select", data=body(family), headers=headers)
    assert answer.status_code == 200
# The store is written to by a thread of its own.
print(sorted(name for name in set(sys.modules) - before if not name.startswith("sqlalchemy")))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# --- the short ways give what the long ones do ------------------------------------------------


def mutations(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of everything in a JSON value."""
    for key, value in node.items() if isinstance(node, dict) else enumerate(node):
        yield (*path, key)
        if isinstance(value, dict | list):
            yield from mutations(value, (*path, key))


def changed(node: Any, path: tuple[Any, ...], value: Any) -> Any:
    copy = msgspec.json.decode(msgspec.json.encode(node))
    holder = copy
    for step in path[:-1]:
        holder = holder[step]
    holder[path[-1]] = value
    return copy


ODD = (
    None,
    7,
    "",
    "x",
    [],
    {},
    [None],
    {"a": 1},
    [{"extension": []}],
    [{"modifierExtension": [1]}],
)

BUNDLE = {
    "resourceType": "Bundle",
    "link": [{"relation": "next", "url": "https://ehr.example/fhir/next"}],
    "entry": [
        {
            "resource": {
                "resourceType": "Observation",
                "id": "b12",
                "status": "final",
                "code": {"coding": [{"system": "http://loinc.org", "code": "2132-9"}]},
                "valueQuantity": {"value": 120, "unit": "pg/mL"},
                "contained": [{"resourceType": "Observation", "id": "c"}],
            },
            "search": {"mode": "match"},
        },
        {
            "resource": {
                "resourceType": "Observation",
                "id": "pulse",
                "code": {"coding": [{"system": "http://loinc.org", "code": "8867-4"}]},
            },
            "search": {"mode": "include"},
        },
        {"resource": {"resourceType": "OperationOutcome", "issue": [{"severity": "error"}]}},
    ],
}


@pytest.mark.parametrize("value", ODD, ids=repr)
def test_a_bundle_read_in_one_go_is_read_as_entry_by_entry(monkeypatch, value):
    bundles = [BUNDLE, *(changed(BUNDLE, path, value) for path in mutations(BUNDLE))]
    raws = [msgspec.Raw(msgspec.json.encode(bundle)) for bundle in bundles]
    at_once = [prefetch._read_value(raw) for raw in raws]
    assert prefetch._plain_bundle(bytes(raws[0])) is not None
    monkeypatch.setattr(prefetch, "_plain_bundle", lambda _: None)
    assert at_once == [prefetch._read_value(raw) for raw in raws]


@pytest.mark.parametrize("hidden", [b'"modifierExtension":[{"url":"u"}]', b'"implicitRules":"u"'])
@pytest.mark.parametrize("escaped", [False, True])
def test_a_modifier_is_seen_however_its_name_is_written(hidden, escaped):
    if escaped:
        hidden = hidden.replace(b"i", b"\\u0069", 1)
    raw = msgspec.json.encode(BUNDLE).replace(b'"id":"b12"', b'"id":"b12",' + hidden)
    value = prefetch._read_value(msgspec.Raw(raw))
    assert (value.unreadable, value.resources) == (1, [])


DRAFT = {
    "resourceType": "MedicationRequest",
    "id": "draft",
    "identifier": [{"system": "https://ehr.example/order", "value": "1"}],
    "status": "draft",
    "intent": "order",
    "medicationCodeableConcept": {"text": "hydroxocobalamin"},
    "subject": {"reference": "Patient/p"},
    "authoredOn": "2026-06-15",
    "dosageInstruction": [{"text": "as directed", "timing": {"repeat": {"frequency": 1}}}],
}


@pytest.mark.parametrize("value", ODD, ids=repr)
def test_a_draft_is_mended_alike_whatever_was_valid_before(value):
    paths = [path for path in mutations(DRAFT) if path != ("resourceType",)]
    drafts = [DRAFT, *(changed(DRAFT, path, value) for path in paths)]
    drafts += [DRAFT | {"_status": value}, DRAFT | {"medicationReference": {"reference": "#m"}}]
    fresh = []
    for draft in drafts:
        validity._known_valid.clear()
        fresh.append(mended(draft))
    validity._known_valid.clear()
    assert [mended(draft) for draft in drafts] == fresh
    assert [mended(draft) for draft in drafts] == fresh


def mended(draft: dict[str, Any]) -> Any:
    try:
        return validity.valid_r4(draft)
    except validity.CannotBeValid:
        return "cannot be valid"
