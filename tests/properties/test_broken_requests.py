"""Is every broken request answered, and never with a crash?

Requests that are good in every other way, with some values replaced by what does not belong there:
wrong types, deep nesting, huge and tiny numbers, odd strings. Numbers that Python cannot hold go in
as text, so that they reach the service as a client would send them.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.properties.patients import examples
from tests.support.cases import request_for
from tests.support.client import SERVICE, app_on
from tests.support.vignette import all_vignettes

Json = dict[str, Any]
Path = tuple[str | int, ...]

ALLOWED = {200, 400, 412}
VIGNETTES = [v for v in all_vignettes() if v.prefetch == "complete" and v.profile == "default"]
_RAW = "raw json number "  # followed by the number; written without its quotes

raw_numbers = st.sampled_from(
    ("1e400", "-1e400", "1e-400", "-0", "1e6144", "1" * 400, "0." + "1" * 300, "9" * 4400)
).map(lambda number: _RAW + number)
odd_strings = st.sampled_from(
    [
        "",
        " ",
        "\x00",
        "\u202eabc",
        "\u200b",
        "e\u0301" * 500,
        "🧪",
        "٣",
        "１２０",
        "0000-00-00",
        "2026-02-30",
        "2026-06-15T25:61:61Z",
        "9999-12-31",
        "0001-01-01T00:00:00+14:00",
        "-2026",
        "MedicationRequest/",
        "#",
        "urn:uuid:x",
        "{{context.patientId}}",
        "<script>",
        "a" * 10_000,
        "NaN",
        "null",
        "1,5",
        "1e3",
    ]
)


def nested(depth: int, in_list: bool) -> Any:
    value: Any = "deep"
    for _ in range(depth):
        value = [value] if in_list else {"extension": value}
    return value


values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**30), 10**30),
    st.floats(allow_nan=False, allow_infinity=False),
    raw_numbers,
    odd_strings,
    st.text(max_size=20),
    st.builds(nested, st.sampled_from((1, 5, 100)), st.booleans()),
    st.just([]),
    st.just({}),
    st.just([None, [], {}, [[]]]),
    st.dictionaries(st.sampled_from(("coding", "value", "reference", "resourceType")), odd_strings),
)


def paths(value: Any, at: Path = ()) -> Iterator[Path]:
    """Every place in a JSON value, the root left out."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in items:
        yield (*at, key)
        if isinstance(item, dict | list):
            yield from paths(item, (*at, key))


def put(request: Json, path: Path, value: Any) -> None:
    """Replaces what is there; a place that an earlier change took away is left alone."""
    place: Any = request
    for key in path[:-1]:
        try:
            place = place[key]
        except (KeyError, IndexError, TypeError):
            return
    in_list = isinstance(place, list) and path[-1] in range(len(place))
    if isinstance(place, dict) or in_list:
        place[path[-1]] = value


@st.composite
def broken(draw: st.DrawFn) -> Json:
    request = copy.deepcopy(request_for(draw(st.sampled_from(VIGNETTES))))
    part = draw(st.sampled_from(("", "context", "prefetch", "prefetch")))
    places = [p for p in paths(request) if not part or p[0] == part]
    for place in draw(st.lists(st.sampled_from(places), min_size=1, max_size=4)):
        value = copy.deepcopy(draw(values))  # some are one object, and may be put into themselves
        wrapped = draw(st.sampled_from(("replaced", "replaced", "in a list", "in an object")))
        put(request, place, {"replaced": value, "in a list": [value]}.get(wrapped, {"x": value}))
    return request


def as_bytes(request: Json) -> bytes:
    text = json.dumps(request)
    while f'"{_RAW}' in text:
        before, _, rest = text.partition(f'"{_RAW}')
        number, _, after = rest.partition('"')
        text = before + number + after
    return text.encode()


@examples(200)
@given(broken())
def test_is_answered(request: Json) -> None:
    """The application checks each of its answers and raises what it does not expect."""
    client = app_on(VIGNETTES[0].as_of, "default").test_client()
    response = client.post(SERVICE, data=as_bytes(request), content_type="application/json")
    assert response.status_code in ALLOWED
    body = response.get_json()
    if response.status_code == 200:
        assert set(body) == {"cards"}
    else:
        assert body["resourceType"] == "OperationOutcome"


@examples(100)
@given(st.recursive(values, lambda inner: st.lists(inner, max_size=3), max_leaves=10))
def test_any_json_at_all_is_answered(value: Any) -> None:
    client = app_on(VIGNETTES[0].as_of, "default").test_client()
    body = as_bytes(value)
    response = client.post(SERVICE, data=body, content_type="application/json")
    assert response.status_code == 400
