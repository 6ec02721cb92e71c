"""Browser clients: who may read an answer, and what a preflight says."""

from __future__ import annotations

import pytest

from cds_service.settings import Settings
from tests.support.tokens import write_tenants

ORIGIN = "https://ehr.example"
PATHS = [
    "/cds-services",
    "/cds-services/b12-order-select",
    "/cds-services/b12-order-select/feedback",
]


@pytest.fixture
def listed(make_app, tmp_path):
    more = (
        '[[tenant]]\nid = "two"\nissuer = "https://two.example"\njwks_file = "keys.json"\n'
        'cors_origins = ["https://two.example:8443"]'
    )
    path = write_tenants(tmp_path, text=f'cors_origins = ["{ORIGIN}"]', more=more)
    return make_app(settings=Settings(tenants=str(path))).test_client()


def preflight(client, path: str, origin: str):
    return client.options(
        path,
        headers={
            "Origin": origin,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization, content-type",
        },
    )


@pytest.mark.fault("H21")
@pytest.mark.requirement("H2@208")
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("origin", [ORIGIN, "https://two.example:8443"])
def test_a_preflight_from_a_listed_origin_needs_no_token(listed, path, origin):
    response = preflight(listed, path, origin)
    assert response.status_code == 200
    headers = response.headers
    assert headers.getlist("Access-Control-Allow-Origin") == [origin]
    assert headers["Vary"] == "Origin"
    allowed = headers["Access-Control-Allow-Headers"].lower()
    assert "authorization" in allowed
    assert "content-type" in allowed
    assert {"GET", "POST"} <= set(headers["Access-Control-Allow-Methods"].split(", "))
    assert "Access-Control-Allow-Credentials" not in headers


@pytest.mark.fault("H21")
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "origin",
    [
        "null",
        "*",
        "http://ehr.example",
        "https://ehr.example.evil.example",
        "https://EHR.example",
        "https://ehr.example:443",
        "https://ehr.example/",
    ],
)
def test_another_origin_gets_nothing(listed, path, origin):
    headers = preflight(listed, path, origin).headers
    assert "Access-Control-Allow-Origin" not in headers
    assert headers["Vary"] == "Origin"


@pytest.mark.fault("H21")
def test_errors_can_be_read_by_the_page_too(listed, envelope):
    refused = listed.post(PATHS[1], json=envelope, headers={"Origin": ORIGIN})
    assert refused.status_code == 401
    assert refused.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert "WWW-Authenticate" in refused.headers["Access-Control-Expose-Headers"]
    unknown = listed.post("/cds-services/unknown", headers={"Origin": ORIGIN})
    assert unknown.status_code == 404
    assert unknown.headers["Access-Control-Allow-Origin"] == ORIGIN
    method = listed.delete(PATHS[0], headers={"Origin": ORIGIN})
    assert method.headers["Access-Control-Allow-Origin"] == ORIGIN


@pytest.mark.fault("H21")
@pytest.mark.parametrize("origin", [ORIGIN, "null"])
def test_without_a_file_any_page_may_call_and_none_with_credentials(stand_in_client, origin):
    headers = preflight(stand_in_client, PATHS[1], origin).headers
    assert headers["Access-Control-Allow-Origin"] == "*"
    assert "Access-Control-Allow-Credentials" not in headers


def test_other_paths_say_nothing_about_origins(listed):
    for path in ("/healthz", "/about", "/nowhere"):
        response = listed.get(path, headers={"Origin": ORIGIN})
        assert "Access-Control-Allow-Origin" not in response.headers
