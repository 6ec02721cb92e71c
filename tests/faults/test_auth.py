"""Client authentication, over HTTP: which end point, which tenant, and what is never said."""

from __future__ import annotations

import json
from typing import Any

import pytest
from flask.testing import FlaskClient

from cds_service.hooks.response import Answer
from cds_service.settings import Settings
from tests.support.tokens import CALL_URL, ISSUER, es384, token, write_tenants

CALL = "/cds-services/b12-order-select"


@pytest.fixture
def closed(make_app: Any, tmp_path: Any) -> FlaskClient:
    """Two tenants, each with an EHR of its own; the second may use nothing."""
    two = (
        '[[tenant]]\nid = "two"\nissuer = "https://two.example"\njwks_file = "keys.json"\n'
        'services = []\nfhir_servers = ["https://two.example/r4"]'
    )
    path = write_tenants(tmp_path, text='fhir_servers = ["https://ehr.example/r4"]', more=two)
    return make_app(settings=Settings(tenants=str(path))).test_client()


def bearer(**claims: Any) -> dict[str, str]:
    return {"Authorization": f"Bearer {token(**claims)}"}


@pytest.mark.fault("A01", "A30")
@pytest.mark.requirement("H2@177", "BP-09", "CI-17")
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": ""},
        {"Authorization": "Basic Y2FuYXJ5OmNhbmFyeQ=="},
        {"Authorization": "Bearer canary"},
        {"authorization": "Bearer a.b.c"},
    ],
)
def test_whoever_is_not_known_learns_nothing(closed, envelope, headers):
    response = closed.post(CALL, json=envelope, headers=headers)
    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"] == "Bearer"
    assert response.json == {
        "resourceType": "OperationOutcome",
        "issue": [
            {
                "severity": "error",
                "code": "login",
                "diagnostics": "client authentication required",
            }
        ],
    }


@pytest.mark.fault("A01")
def test_two_headers_are_none(closed, envelope):
    one, two = token(), token()
    headers = [("Authorization", f"Bearer {one}"), ("Authorization", f"Bearer {two}")]
    assert closed.post(CALL, json=envelope, headers=headers).status_code == 401


@pytest.mark.fault("A30")
def test_nothing_is_read_before_the_client_is_known(closed):
    for body, kind in ((b"not json", "application/json"), (b"x" * 100, "text/plain"), (b"", None)):
        assert closed.post(CALL, data=body, content_type=kind).status_code == 401


@pytest.mark.fault("A15", "A16")
@pytest.mark.requirement("BP-02", "H2@152")
def test_each_end_point_has_its_own_audience(closed, envelope):
    assert closed.post(CALL, json=envelope, headers=bearer()).status_code == 200
    # With a slash at its end it is still the same end point.
    assert closed.post(f"{CALL}/", json=envelope, headers=bearer()).status_code == 200
    for aud in ("http://127.0.0.1:8080/cds-services", f"{CALL_URL}/feedback", f"{CALL_URL}/"):
        assert closed.post(CALL, json=envelope, headers=bearer(aud=aud)).status_code == 401
    item = {"card": "c1", "outcome": "overridden", "outcomeTimestamp": "2026-01-01T00:00:00Z"}
    feedback = {"feedback": [item]}
    for aud, status in ((CALL_URL, 401), (f"{CALL_URL}/feedback", 200)):
        response = closed.post(f"{CALL}/feedback", json=feedback, headers=bearer(aud=aud))
        assert response.status_code == status


@pytest.mark.fault("A15", "H20", "H22")
def test_the_audience_is_the_configured_url_whatever_the_request_says(closed, envelope):
    forged = {"Host": "evil.example", "X-Forwarded-Host": "evil.example"}
    evil = bearer(aud="http://evil.example/cds-services/b12-order-select")
    assert closed.post(CALL, json=envelope, headers=forged | evil).status_code == 401
    assert closed.post(CALL, json=envelope, headers=forged | bearer()).status_code == 200


@pytest.mark.fault("A18", "K12")
def test_a_replayed_token_is_refused_for_calls_and_for_feedback(closed, envelope):
    once = bearer()
    assert closed.post(CALL, json=envelope, headers=once).status_code == 200
    assert closed.post(CALL, json=envelope, headers=once).status_code == 401
    feedback = bearer(aud=f"{CALL_URL}/feedback")
    statuses = [
        closed.post(f"{CALL}/feedback", json={"feedback": []}, headers=feedback).status_code
        for _ in range(2)
    ]
    assert statuses[1] == 401


@pytest.mark.fault("H01")
@pytest.mark.parametrize("path", ["/cds-services", "/healthz", "/readyz", "/openapi.json"])
def test_discovery_and_health_need_no_token(closed, path):
    assert closed.get(path).status_code == 200
    assert closed.get(path, headers={"Authorization": "Bearer canary"}).status_code == 200


@pytest.mark.fault("A25")
def test_a_tenant_without_the_service_is_told_no_more_than_that(closed, envelope):
    response = closed.post(CALL, json=envelope, headers=bearer(iss="https://two.example"))
    assert response.status_code == 403
    assert response.json["issue"][0]["code"] == "forbidden"
    assert "two" not in response.text


@pytest.mark.fault("A27")
def test_the_server_of_another_tenant_is_refused_and_an_unknown_one_left_alone(closed, envelope):
    def call(server: str) -> int:
        body = envelope | {"fhirServer": server}
        return closed.post(CALL, json=body, headers=bearer()).status_code

    assert call("https://ehr.example/r4/") == 200
    assert call("https://unknown.example/r4") == 200
    assert call("https://two.example/r4") == 403
    assert call("https://TWO.example:443/r4/") == 403


@pytest.mark.fault("A19")
def test_a_store_that_is_down_lets_nobody_in(make_app, tmp_path, envelope):
    path = write_tenants(tmp_path)
    blocked = tmp_path / "not-a-folder"
    blocked.write_text("")
    settings = Settings(tenants=str(path), store=f"sqlite:///{blocked}/store.sqlite3")
    response = make_app(settings=settings).test_client().post(CALL, json=envelope, headers=bearer())
    assert response.status_code == 503
    assert int(response.headers["Retry-After"]) > 0
    assert response.json["resourceType"] == "OperationOutcome"


def test_each_tenant_is_answered_with_its_own_protocol_codes_and_shape(
    make_app, tmp_path, envelope
):
    seen: list[tuple[str, str, bool]] = []

    def answer(request: Any, services: Any) -> Answer:
        from fhir_mappers.terminology import value_sets

        local = bool(value_sets().matches("urn:oid:1.2.3", "L1"))
        seen.append((services.tenant.id, services.protocol.profile, local))
        return Answer()

    (tmp_path / "codes.csv").write_text(
        "valueset,system_uri,code,display\nlab-b12-total,urn:oid:1.2.3,L1,Local B12\n"
    )
    uk = (
        '[[tenant]]\nid = "uk"\nissuer = "https://uk.example"\njwks_file = "keys.json"\n'
        'profile = "uk-nice"\nextra_codes = "codes.csv"'
    )
    path = write_tenants(tmp_path, more=uk)
    client = make_app(answer, settings=Settings(tenants=str(path))).test_client()
    for issuer in (ISSUER, "https://uk.example", ISSUER):
        assert client.post(CALL, json=envelope, headers=bearer(iss=issuer)).status_code == 200
    assert seen == [("one", "default", False), ("uk", "uk-nice", True), ("one", "default", False)]


@pytest.mark.requirement("BP-10")
def test_the_log_tells_the_tenant_and_never_the_token(closed, envelope, log):
    headers = bearer(sub="canary", fhirUser="canary", jti="canary" * 20)
    envelope["fhirAuthorization"] = {"access_token": "canary", "token_type": "Bearer"}
    assert closed.post(CALL, json=envelope, headers=headers).status_code == 200
    (line,) = [json.loads(entry) for entry in log.getvalue().splitlines() if '"call"' in entry]
    assert line["tenant"] == "one"
    assert "canary" not in log.getvalue()
    assert headers["Authorization"].rpartition(".")[2] not in log.getvalue()


@pytest.mark.fault("A21")
def test_another_key_of_the_set_signs_as_well(make_app, tmp_path, envelope):
    path = write_tenants(tmp_path, es384(), es384("two"))
    client = make_app(settings=Settings(tenants=str(path))).test_client()
    headers = {"Authorization": f"Bearer {token(es384('two'))}"}
    assert client.post(CALL, json=envelope, headers=headers).status_code == 200
