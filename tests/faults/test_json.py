"""JSON and text: what may stand in a body, and what of it may come back."""

from __future__ import annotations

import json
import re
import time
from typing import Any

import pytest

from tests.faults.conftest import decision


def text(body: object) -> str:
    return json.dumps(body)


@pytest.mark.fault("J01")
@pytest.mark.parametrize(
    ("key", "twice"),
    [
        ('"hook"', '"hook": "canary", "hook"'),
        ('"context"', '"context": {}, "context"'),
        ('"patientId"', '"patientId": "canary", "patientId"'),
        ('"patientId"', '"patient\\u0049d": "canary", "patientId"'),
        ('"draftOrders"', '"draftOrders": {}, "draftOrders"'),
    ],
)
def test_a_key_twice_where_it_matters(ask, golden, key, twice):
    assert ask(text(golden).replace(key, twice, 1).encode()).status_code == 400


@pytest.mark.fault("J02", "J03")
@pytest.mark.parametrize(
    "number", ["NaN", "Infinity", "-Infinity", "+1", "01", "1.", ".5", "0x10", "1e", "- 1"]
)
def test_numbers_that_are_none(ask, golden, number):
    golden["extension"] = {"x": 424242}
    assert ask(text(golden).replace("424242", number).encode()).status_code == 400


@pytest.mark.fault("J03")
@pytest.mark.parametrize("number", ["1e400", "-1e400", "9" * 5000, "1e-400", "1e999999999"])
def test_extreme_results(ask, golden, number):
    """A result that cannot be is not used: neither a regimen nor an infinity comes of it."""
    for entry in golden["prefetch"]["observations"]["entry"]:
        entry["resource"]["valueQuantity"]["value"] = 424242
    started = time.monotonic()
    response = ask(text(golden).replace("424242", number).encode())
    assert time.monotonic() - started < 3
    assert not re.search(r"\b(inf|infinity|nan)\b", response.text, re.IGNORECASE)
    if response.status_code == 200 and not number.startswith("1e-"):
        topics = {card["source"]["topic"]["code"] for card in response.json["cards"]}
        assert "regimen" not in topics


@pytest.mark.fault("J04")
@pytest.mark.parametrize("depth", [100, 1000, 100_000])
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
@pytest.mark.parametrize("place", ["extension", "context"])
def test_depth(ask, golden, depth, opening, closing, place):
    golden[place if place == "extension" else "x"] = 424242
    if place == "context":
        golden["context"]["x"] = golden.pop("x")
    nested = opening * depth + "1" + closing * depth
    response = ask(text(golden).replace("424242", nested).encode())
    assert response.status_code in (200, 400, 413)


@pytest.mark.fault("J05", "J06")
@pytest.mark.parametrize(
    "part",
    [
        lambda: {f"k{n}": n for n in range(300_000)},
        lambda: [{} for _ in range(300_000)],
        lambda: {"k" * (n % 50) + str(n): 0 for n in range(100_000)},
        lambda: "canary" * 1_000_000,
    ],
    ids=["keys", "entries", "similar keys", "long text"],
)
@pytest.mark.parametrize("place", ["extension", "context.x", "prefetch.x"])
def test_bulk(ask, golden, golden_decision, part, place):
    parent, _, name = place.rpartition(".")
    (golden[parent] if parent else golden)[name] = part()
    started = time.monotonic()
    response = ask(golden)
    assert time.monotonic() - started < 5
    assert response.status_code in (200, 400, 413)
    assert "canary" not in response.text
    if response.status_code == 200:
        assert decision(response.json) == golden_decision


@pytest.mark.fault("J07")
def test_encodings(ask, golden, golden_decision):
    plain = text(golden)
    assert decision(ask(b"\xef\xbb\xbf" + plain.encode()).json) == golden_decision
    for other in (
        plain.encode("utf-16"),
        plain.encode("utf-32"),
        plain.replace("order-select", "\udcff").encode("utf-8", "surrogateescape"),
        plain.encode().replace(b"{", b"{\xc0\x80", 1),
        plain.encode() + b"\xff",
    ):
        assert ask(other).status_code == 400


ODD = {
    "lone surrogate": "\\ud800",
    "null": "\\u0000",
    "escape": "\\u001b[31m",
    "line ends": '\\r\\n{\\"event\\": \\"canary\\"}',
    "right to left": "\\u202ecanary\\u2066",
    "zero width": "\\u200b\\u200d\\ufeff",
    "emoji": "\\ud83d\\ude00",
    "combining": "a" + "\\u0301" * 10_000,
}


@pytest.mark.fault("J08", "J09", "J10")
@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("where", ["display", "hookInstance"])
def test_odd_texts(ask, golden, log, odd, where):
    body = text(golden)
    if where == "display":
        body = body.replace('"display": "', f'"display": "{ODD[odd]}').replace(
            '"text": "', f'"text": "{ODD[odd]}'
        )
    else:
        body = body.replace(golden["hookInstance"], ODD[odd])
    response = ask(body.encode())
    answer = response.data.decode("utf-8")
    for card in json.loads(answer).get("cards", []):
        shown = card["summary"] + card.get("detail", "")
        shown += "".join(s["label"] for s in card.get("suggestions", ()))
        assert not set(shown) & set("\u202e\u2066\u200b\ufeff\x00\x1b\ud800")
        assert len(card["summary"].encode("utf-16-le")) // 2 < 140
    for line in log.getvalue().splitlines():
        assert json.loads(line)["event"] != "canary"


@pytest.mark.fault("J11")
@pytest.mark.parametrize(
    "change",
    [
        lambda t: t + "x",
        lambda t: t + t,
        lambda t: t + "\n" + t,
        lambda t: t.replace('"', "'"),
        lambda t: t.replace("{", "{/*canary*/", 1),
        lambda t: "// canary\n" + t,
        lambda t: t[:-1],
        lambda t: t[:-1] + ",}",
    ],
)
def test_almost_json(ask, golden, change):
    assert ask(change(text(golden)).encode()).status_code == 400


@pytest.mark.fault("J12")
@pytest.mark.parametrize("key", ["__proto__", "constructor", "$ref", "__class__", "", "__init__"])
def test_hostile_keys(ask, golden, golden_decision, key):
    golden[key] = golden["context"][key] = {"canary": True}
    golden["context"]["draftOrders"]["entry"][0][key] = {"canary": True}
    assert decision(ask(golden).json) == golden_decision


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    parts = value.items() if isinstance(value, dict) else enumerate(value)
    found = []
    for key, part in parts:
        found.append((*path, key))
        if isinstance(part, (dict, list)):
            found += places(part, (*path, key))
    return found


@pytest.mark.fault("J13")
@pytest.mark.parametrize("value", [None, "canary", 5, True, [], {}, [None], [[]], {"a": {}}])
def test_every_element_of_another_type(ask, golden, value):
    """One after the other: an order and what was found of it, each place once."""
    whole = text(golden)
    paths = places(golden["context"], ("context",))
    paths += places(golden["prefetch"]["observations"], ("prefetch", "observations"))
    for path in paths:
        body = json.loads(whole)
        place = body
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value
        response = ask(body)
        assert response.status_code in (200, 400, 412), path


@pytest.mark.fault("J13")
@pytest.mark.parametrize("name", ["dosageInstruction", "category", "reasonCode", "coding"])
def test_an_object_where_an_array_belongs(ask, golden, golden_decision, name):
    resource = golden["context"]["draftOrders"]["entry"][0]["resource"]
    place = resource["medicationCodeableConcept"] if name == "coding" else resource
    if isinstance(place.get(name), list):
        place[name] = place[name][0]
    topics = [card["source"]["topic"]["code"] for card in ask(golden).json["cards"]]
    assert topics == [card["source"]["topic"]["code"] for card in golden_decision]


@pytest.mark.fault("J14")
def test_a_number_written_as_a_text_is_no_number(ask, golden):
    for entry in golden["prefetch"]["observations"]["entry"]:
        quantity = entry["resource"]["valueQuantity"]
        quantity["value"] = str(quantity["value"])
    topics = [card["source"]["topic"]["code"] for card in ask(golden).json["cards"]]
    assert "regimen" not in topics


@pytest.mark.fault("J15")
@pytest.mark.parametrize(
    "moment",
    ["2024-02-30", "0000", "9999-12-31", "2024-13", "2024-13-01T00:00:00Z", "2024-01-01T24:00:00Z",
     "2024-06-30T23:59:60Z", "canary", "", 5, None, "2024-01-01T00:00:00+99:00", "99999-01-01"],
)  # fmt: skip
def test_impossible_dates(ask, golden, moment):
    for entry in golden["prefetch"]["observations"]["entry"]:
        entry["resource"]["effectiveDateTime"] = moment
    response = ask(golden)
    assert response.status_code in (200, 412)
    assert "canary" not in response.text


@pytest.mark.fault("J16")
@pytest.mark.parametrize(
    "piece", ["a", "1", " ", "-", "(", "1/", "mg/", "Patient/", "\\", "<", "2024-", "9.", "\u0301"]
)
def test_long_texts_against_every_pattern(ask, golden, piece):
    long = piece * (100_000 // len(piece))
    resource = golden["context"]["draftOrders"]["entry"][0]["resource"]
    resource["dosageInstruction"] = [{"text": long, "route": {"text": long}}]
    resource["medicationCodeableConcept"]["text"] = long
    resource["authoredOn"] = long
    resource["encounter"] = {"reference": long}
    for entry in golden["prefetch"]["observations"]["entry"]:
        entry["resource"]["valueQuantity"] |= {"unit": long, "code": long}
        entry["resource"]["effectiveDateTime"] = long
    golden["hookInstance"] = long
    started = time.monotonic()
    ask(golden)
    assert time.monotonic() - started < 2


@pytest.mark.fault("J17", "J18")
@pytest.mark.parametrize(
    "body",
    [
        b"<?xml version='1.0'?><Bundle xmlns='http://hl7.org/fhir'/>",
        b"hook: order-select\ncontext: {}",
        b'{"resourceType": "Bundle", "type": "collection", "entry": []}',
        b'{"resourceType": "Patient", "id": "canary"}',
        b'{"jsonrpc": "2.0", "method": "canary"}',
    ],
)
def test_other_documents(ask, body):
    assert ask(body).status_code == 400
    assert ask(body, content_type="application/xml").status_code == 415
