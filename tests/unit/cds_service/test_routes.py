"""Paths, methods, media types and sizes: what is served and what is refused."""

from __future__ import annotations

import io
import json

import pytest

from cds_service.settings import Settings

CALL = "/cds-services/b12-order-select"


def is_outcome(response) -> bool:
    return response.json["resourceType"] == "OperationOutcome"


@pytest.mark.fault("H01")
@pytest.mark.parametrize("path", ["/cds-services", "/cds-services/"])
def test_discovery_is_served_with_and_without_a_slash(stand_in_client, path):
    response = stand_in_client.get(path, headers={"Authorization": "Basic x"})
    assert response.status_code == 200
    assert response.data == stand_in_client.get("/cds-services").data


def test_head_answers_like_get_without_a_body(stand_in_client):
    response = stand_in_client.head("/cds-services")
    assert (response.status_code, response.data) == (200, b"")


@pytest.mark.parametrize("path", [CALL, f"{CALL}/", f"{CALL}?a=b&a=%00"])
@pytest.mark.fault("H28")
def test_a_call_is_served_with_and_without_a_slash(stand_in_client, envelope, path):
    assert stand_in_client.post(path, json=envelope).json == {"cards": []}


@pytest.mark.fault("H02")
@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "/cds-services", "GET"),
        ("PUT", "/cds-services/", "GET"),
        ("GET", CALL, "POST"),
        ("DELETE", CALL, "POST"),
        ("TRACE", CALL, "POST"),
        ("TRACE", "/cds-services", "GET"),
        ("POST", "/healthz", "GET"),
        ("BREW", CALL, "POST"),
    ],
)
def test_another_method_is_405_and_says_which_are_allowed(stand_in_client, method, path, allowed):
    response = stand_in_client.open(path, method=method)
    assert response.status_code == 405
    assert allowed in response.headers["Allow"].split(", ")
    assert is_outcome(response)


@pytest.mark.parametrize("path", ["/cds-services", CALL])
def test_options_is_answered(stand_in_client, path):
    response = stand_in_client.options(path, headers={"Origin": "https://ehr.example"})
    assert response.status_code == 200
    assert "Access-Control-Allow-Credentials" not in response.headers


@pytest.mark.fault("H03", "H28")
@pytest.mark.parametrize(
    "path",
    [
        "/cds-services/unknown",
        "/cds-services/B12-ORDER-SELECT",
        "/cds-services/..%2f..%2fetc%2fpasswd",
        "/cds-services/%2e%2e/app.py",
        "/cds-services/b12%2dorder%2dselect",
        "/cds-services/b12-order-select%2f",
        "/cds-services/b12-order-select%2Ffeedback",
        "/cds-services%2Fb12-order-select",
        "/cds-services/%00",
        "/cds-services/%ff",
        "/cds-services/" + "x" * 10_000,
        "//cds-services",
        "/CDS-Services",
        "/statics/app.py",
    ],
)
def test_anything_else_is_404_and_never_a_redirect(stand_in_client, envelope, path):
    response = stand_in_client.post(path, json=envelope)
    assert response.status_code == 404
    assert is_outcome(response)


@pytest.mark.fault("H28")
def test_what_follows_the_path_may_be_encoded(stand_in_client, envelope):
    response = stand_in_client.post("/cds-services/b12-order-select?a=%2F%20%25", json=envelope)
    assert response.status_code == 200


@pytest.mark.fault("H12")
@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "application/fhir+json",
        "Application/JSON; charset=UTF-8",
        "application/json;charset=utf8",
        'application/json; charset="utf-8"',
        "application/json; charset=utf_8; fhirVersion=4.0",
    ],
)
def test_json_in_utf8_is_accepted(stand_in_client, envelope, content_type):
    response = stand_in_client.post(CALL, data=json.dumps(envelope), content_type=content_type)
    assert response.status_code == 200


@pytest.mark.fault("H12", "J17")
@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "",
        "text/plain",
        "text/json",
        "application/xml",
        "application/x-yaml",
        "application/json; charset=latin-1",
        "application/json; charset=utf-16",
        "application/jsonx",
    ],
)
def test_another_media_type_is_415(stand_in_client, envelope, content_type):
    response = stand_in_client.post(CALL, data=json.dumps(envelope), content_type=content_type)
    assert response.status_code == 415
    assert is_outcome(response)


@pytest.mark.fault("H17")
@pytest.mark.parametrize(("coding", "status"), [("gzip", 415), ("br", 415), ("Identity", 200)])
def test_an_encoded_body_is_415(stand_in_client, envelope, coding, status):
    response = stand_in_client.post(CALL, json=envelope, headers={"Content-Encoding": coding})
    assert response.status_code == status


def of_length(envelope, length: int) -> bytes:
    body = json.dumps(envelope).encode()
    return body + b" " * (length - len(body))


@pytest.fixture
def small(make_app):
    return make_app(settings=Settings(max_body_bytes=2048)).test_client()


def as_chunks(body: bytes) -> dict:
    return {
        "input_stream": io.BytesIO(body),
        "content_type": "application/json",
        "environ_overrides": {"wsgi.input_terminated": True},
        "headers": {"Transfer-Encoding": "chunked"},
    }


@pytest.mark.fault("H15")
@pytest.mark.parametrize(("length", "status"), [(2047, 200), (2048, 200), (2049, 413), (9999, 413)])
def test_the_limit_of_a_body_holds_whether_announced_or_in_chunks(small, envelope, length, status):
    body = of_length(envelope, length)
    announced = small.post(CALL, data=body, content_type="application/json")
    chunked = small.post(CALL, **as_chunks(body))
    assert (announced.status_code, chunked.status_code) == (status, status)
    assert status == 200 or (is_outcome(announced) and is_outcome(chunked))


class Unreadable(io.BytesIO):
    def read(self, size: int = -1) -> bytes:
        raise AssertionError("the body was read")


@pytest.mark.fault("H15")
def test_a_body_that_is_announced_too_long_is_refused_unread(small):
    response = small.post(
        CALL,
        input_stream=Unreadable(),
        content_type="application/json",
        environ_overrides={"CONTENT_LENGTH": "2049"},
    )
    assert response.status_code == 413


@pytest.mark.fault("H15")
@pytest.mark.parametrize("length", ["-1", "+5", "1e3", "0x10", "9" * 30, "5,5"])
def test_a_nonsense_length_is_refused(stand_in_client, length):
    response = stand_in_client.post(
        CALL,
        input_stream=Unreadable(),
        content_type="application/json",
        environ_overrides={"CONTENT_LENGTH": length},
    )
    assert response.status_code == 400
    assert is_outcome(response)


@pytest.mark.fault("H04")
@pytest.mark.parametrize("hook", ["order-sign", "ORDER-SELECT", ""])
def test_another_hook_is_400(stand_in_client, envelope, hook):
    response = stand_in_client.post(CALL, json=envelope | {"hook": hook})
    assert response.status_code == 400
    assert response.json["issue"][0]["expression"] == ["hook"]


@pytest.mark.fault("H13")
@pytest.mark.parametrize("accept", ["text/html", "application/fhir+json", "*/*", "nonsense"])
def test_the_answer_is_json_whatever_is_accepted(stand_in_client, envelope, accept):
    response = stand_in_client.post(CALL, json=envelope, headers={"Accept": accept})
    assert response.content_type == "application/json"


@pytest.mark.fault("H27")
@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_health_says_ok_and_no_more(stand_in_client, path):
    assert stand_in_client.get(path).json == {"status": "ok"}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/cds-services"),
        ("HEAD", "/cds-services"),
        ("OPTIONS", "/cds-services"),
        ("GET", "/healthz"),
        ("GET", "/nowhere"),
        ("PUT", CALL),
        ("POST", CALL),
    ],
)
def test_every_answer_has_the_same_headers(stand_in_client, method, path):
    headers = stand_in_client.open(path, method=method).headers
    assert headers["Content-Type"] == "application/json"
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "Server" not in headers
    assert "Set-Cookie" not in headers


@pytest.mark.fault("H20", "H22")
def test_a_forged_host_appears_nowhere(stand_in_client, envelope):
    forged = {"Host": "evil.example", "X-Forwarded-Host": "evil.example"}
    for response in (
        stand_in_client.get("/cds-services", headers=forged),
        stand_in_client.get("/cds-services/", headers=forged),
        stand_in_client.post(CALL, json=envelope, headers=forged),
        stand_in_client.get("/nowhere", headers=forged),
    ):
        assert "evil" not in response.text + str(response.headers)
