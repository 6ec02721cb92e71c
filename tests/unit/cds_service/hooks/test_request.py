"""Reading a hook call: strict where a patient could be mistaken, lenient elsewhere."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cds_service.errors import BadRequest, InvalidElement, MalformedBody, MissingElement
from cds_service.hooks.request import (
    MAX_DEPTH,
    OrderSelectContext,
    _check_depth,
    decode_order_select,
    decode_request,
)


def request_of(**changes) -> bytes:
    fields = {"hook": "order-select", "hookInstance": "i", "context": {"patientId": "p"}}
    return json.dumps(fields | changes).encode()


def context_of(text: str) -> OrderSelectContext:
    body = f'{{"hook":"order-select","hookInstance":"i","context":{text}}}'
    return decode_order_select(decode_request(body.encode()).context)


# --- the envelope -------------------------------------------------------------------------------


def test_context_and_prefetch_stay_as_they_were_sent():
    body = (
        b'{"hook":"order-select","hookInstance":"i","context": {"patientId" : "p"},'
        b'"prefetch":{"a" : [1.50] ,"b":null},"fhirServer":"https://ehr.example",'
        b'"fhirAuthorization":{"access_token":"t"}}'
    )
    request = decode_request(body)
    assert (request.hook, request.hook_instance) == ("order-select", "i")
    assert {k: bytes(v) for k, v in request.context.items()} == {"patientId": b'"p"'}
    assert {k: bytes(v) for k, v in request.prefetch.items()} == {"a": b"[1.50]", "b": b"null"}
    assert request.fhir_server == "https://ehr.example"
    authorization = request.fhir_authorization
    assert {k: bytes(v) for k, v in authorization.items()} == {"access_token": b'"t"'}


@pytest.mark.parametrize("name", ["hook", "hookInstance", "context"])
@pytest.mark.fault("H05", "H06")
def test_a_missing_element_is_named(name):
    fields = json.loads(request_of())
    del fields[name]
    for body in (fields, fields | {name: None}):
        with pytest.raises(MissingElement) as caught:
            decode_request(json.dumps(body).encode())
        assert caught.value.expression == name


@pytest.mark.parametrize("name", ["hook", "hookInstance"])
@pytest.mark.parametrize("value", [1, True, [], {}, ["order-select"]])
@pytest.mark.fault("H05")
def test_a_hook_or_instance_that_is_no_text_is_refused(name, value):
    with pytest.raises(InvalidElement, match=name):
        decode_request(request_of(**{name: value}))


@pytest.mark.parametrize("instance", ["", "x", "URN:UUID:" + "0" * 32, "é", "x" * 10_000])
@pytest.mark.fault("H05")
def test_odd_hook_instances_are_accepted(instance):
    assert decode_request(request_of(hookInstance=instance)).hook_instance == instance


@pytest.mark.parametrize("prefetch", [None, [], "x", 1, False, [{"patient": {}}]])
def test_a_prefetch_that_is_no_object_counts_as_absent(prefetch):
    assert decode_request(request_of(prefetch=prefetch)).prefetch is None


def test_an_empty_prefetch_is_kept_apart_from_none():
    assert decode_request(request_of(prefetch={})).prefetch == {}
    assert decode_request(request_of()).prefetch is None


@pytest.mark.requirement("CRD22@found-33", "CRD2@169")
@pytest.mark.fault("H26", "J12")
def test_unknown_elements_are_ignored():
    extra = {"extension": {"com.example": {}}, "__proto__": {}, "user": "x"}
    assert decode_request(request_of(**extra)) == decode_request(request_of())


@pytest.mark.parametrize("server", [1, {}, None])
def test_a_server_that_is_no_text_is_no_server(server):
    assert decode_request(request_of(fhirServer=server)).fhir_server is None


@pytest.mark.requirement("CI-02", "CRD2@162")
@pytest.mark.fault("H14", "J02", "J11", "J17", "J18")
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b'"x"',
        b"0",
        b"{",
        b"{'hook':1}",
        b"<Bundle/>",
        b"hook: order-select",
        request_of() + b"x",
        request_of() + request_of(),
        request_of()[:-1] + b",}",
        request_of()[:-1] + b"/* c */}",
        request_of(x=float("nan")),
        request_of(context={"patientId": "p", "x": float("inf")}),
        request_of(prefetch={"a": [float("-inf")]}),
    ],
)
def test_what_is_not_a_json_object_is_refused(body):
    with pytest.raises(MalformedBody):
        decode_request(body)


@pytest.mark.fault("J07")
def test_a_byte_order_mark_is_accepted():
    assert decode_request(b"\xef\xbb\xbf" + request_of()) == decode_request(request_of())


@pytest.mark.fault("J07")
@pytest.mark.parametrize(
    "body",
    [
        request_of().decode().encode("utf-16"),
        request_of().decode().encode("utf-32"),
        b"\xff\xfe" + request_of(),
        b'{"\xff":1,' + request_of()[1:],
        request_of(x="@").replace(b"@", b"\xff"),
        request_of(prefetch={"a": "@"}).replace(b"@", b"\xc0\xaf"),
        request_of(prefetch={"a": "@"}).replace(b"@", b"\xed\xa0\x80"),
    ],
)
def test_what_is_not_utf8_is_refused_wherever_it_stands(body):
    with pytest.raises(MalformedBody):
        decode_request(body)


@pytest.mark.fault("J01")
@pytest.mark.parametrize(
    "body",
    [
        b'{"hook":"x",' + request_of()[1:],
        b'{"\\u0068ook":"x",' + request_of()[1:],
        b'{"a":1,"a":1,' + request_of()[1:],
        b'{"context":{"patientId":"q"},' + request_of()[1:],
    ],
)
def test_a_key_given_twice_is_refused(body):
    with pytest.raises(MalformedBody, match="twice"):
        decode_request(body)


@pytest.mark.fault("J08")
@pytest.mark.parametrize("text", [b'"\\ud800"', b'"\\ud800 and more text"', b'"\\udc00"'])
def test_a_lone_surrogate_is_read_or_refused(text):
    body = request_of(hookInstance="@").replace(b'"@"', text)
    with pytest.raises(BadRequest):
        decode_request(body)


@pytest.mark.fault("J04")
@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
def test_bottomless_nesting_is_refused(opening):
    closing = {b"[": b"]", b'{"a":': b"}"}[opening]
    deep = opening * 100_000 + b"1" + closing * 100_000
    for name in (b"prefetch", b"context", b"x"):
        with pytest.raises(BadRequest):
            decode_request(b'{"' + name + b'":' + deep + b"," + request_of()[1:])


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(body):
    with pytest.raises(BadRequest):
        decode_request(body)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.text('[]{}"\\\\', max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)
elements = st.sampled_from(["hook", "hookInstance", "context", "prefetch", "fhirServer"])


@pytest.mark.fault("J13")
@given(st.dictionaries(elements, json_values))
def test_elements_of_any_type_are_read_or_refused(changes):
    with suppress(BadRequest):  # the one thing that may be raised
        decode_order_select(decode_request(request_of(**changes)).context)


# --- the context --------------------------------------------------------------------------------


def test_a_full_context_is_read():
    context = context_of(
        '{"userId":"Practitioner/1","patientId":"p","encounterId":"e",'
        '"selections":["MedicationRequest/1","urn:uuid:2"],'
        '"draftOrders":{"resourceType":"Bundle","entry":[]},"more":1}'
    )
    assert context == OrderSelectContext(
        patient_id="p",
        user_id="Practitioner/1",
        encounter_id="e",
        selections=("MedicationRequest/1", "urn:uuid:2"),
        draft_orders={"resourceType": "Bundle", "entry": []},
    )


@pytest.mark.fault("H07", "H08", "H09", "H10")
@pytest.mark.parametrize(
    "rest",
    [
        "",
        ',"userId":null,"encounterId":null,"selections":null,"draftOrders":null',
        ',"userId":1,"encounterId":[],"selections":"MedicationRequest/1","draftOrders":[]',
        ',"userId":"","encounterId":"","selections":{},"draftOrders":"Bundle"',
    ],
)
def test_what_is_absent_or_of_a_wrong_type_is_absent(rest):
    assert context_of(f'{{"patientId":"p"{rest}}}') == OrderSelectContext("p")


def test_selections_that_are_no_texts_are_left_out():
    assert context_of('{"patientId":"p","selections":["a",1,null,"b"]}').selections == ("a", "b")


@pytest.mark.fault("H06")
@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("[]", InvalidElement),
        ('"p"', InvalidElement),
        ("1", InvalidElement),
        ("{}", MissingElement),
        ('{"patientId":null}', MissingElement),
        ('{"patientId":""}', InvalidElement),
        ('{"patientId":" "}', InvalidElement),
        ('{"patientId":1}', InvalidElement),
        ('{"patientId":["p"]}', InvalidElement),
    ],
)
def test_without_a_patient_there_is_nobody_to_advise_on(text, error):
    with pytest.raises(error) as caught:
        context_of(text)
    assert caught.value.expression in ("context", "context.patientId")


@pytest.mark.fault("J01")
@pytest.mark.parametrize(
    "text",
    ['{"patientId":"p","patientId":"q"}', '{"patientId":"p","patient\\u0049d":"q"}'],
)
def test_two_patients_are_refused(text):
    with pytest.raises(MalformedBody, match="twice"):
        context_of(text)


@pytest.mark.fault("J14")
def test_decimals_are_exact():
    context = context_of('{"patientId":"p","draftOrders":{"a":1.50,"b":0.1,"c":3}}')
    assert context.draft_orders == {"a": Decimal("1.50"), "b": Decimal("0.1"), "c": 3}
    assert str(context.draft_orders["a"]) == "1.50"
    assert isinstance(context.draft_orders["c"], int)


@pytest.mark.fault("J03")
@pytest.mark.parametrize("number", ["1e400", "-1e400", "1e-400", "9" * 5000, "1e" + "9" * 30])
def test_an_extreme_number_is_refused_or_stays_exact(number):
    with suppress(InvalidElement):
        orders = context_of(f'{{"patientId":"p","draftOrders":{{"a":{number}}}}}').draft_orders
        assert not isinstance(orders["a"], float)


def nested(depth: int) -> str:
    return f'{{"patientId":"p","draftOrders":{{"a":{"[" * (depth - 2)}{"]" * (depth - 2)}}}}}'


@pytest.mark.fault("J04")
def test_nesting_is_read_to_the_limit_and_refused_beyond():
    assert context_of(nested(MAX_DEPTH)).draft_orders is not None
    with pytest.raises(MalformedBody, match="deeply"):
        context_of(nested(MAX_DEPTH + 1))


@pytest.mark.parametrize(
    "text", ["[" * 500, r"\"" + "{" * 500, "\\\\", r"\\\"[", '\\\\", "b": "' + "[" * 500]
)
def test_brackets_inside_texts_are_not_nesting(text):
    orders = context_of(f'{{"patientId":"p","draftOrders":{{"a":"{text}"}}}}').draft_orders
    assert orders["a"].startswith(text[0]) or text.startswith("\\")


def depth(value: object) -> int:
    if isinstance(value, dict | list):
        parts = value.values() if isinstance(value, dict) else value
        return 1 + max(map(depth, parts), default=0)
    return 0


@given(json_values)
def test_depth_is_counted_exactly_whatever_the_texts_hold(value):
    room = MAX_DEPTH - depth(value)
    fits = "[" * room + json.dumps(value) + "]" * room
    _check_depth(fits.encode())
    with pytest.raises(MalformedBody):
        _check_depth(f"[{fits}]".encode())


@pytest.mark.fault("J05", "J06", "J16")
@pytest.mark.parametrize(
    "orders",
    [
        "[" + ",".join(["[" * 50 + "]" * 50] * 100_000) + "]",
        '{"a":"' + "x" * 10_000_000 + '"}',
        '{"a":"' + '\\"[' * 3_000_000 + '"}',
        "{" + ",".join(f'"k{n}":1' for n in range(300_000)) + "}",
    ],
    ids=["brackets", "long text", "escapes", "many keys"],
)
def test_a_hostile_context_does_not_take_long(orders):
    started = time.perf_counter()
    with suppress(BadRequest):
        context_of(f'{{"patientId":"p","draftOrders":{orders}}}')
    assert time.perf_counter() - started < 5
