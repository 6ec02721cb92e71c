"""CDS Hooks discovery, requirement by requirement, on the service as it is shipped."""

from __future__ import annotations

import json
import re

import pytest

from cds_service.application import create_app
from cds_service.settings import Settings

TOKEN = re.compile(r"\{\{(.*?)\}\}")
USER_TOKENS = {"userPractitionerId", "userPractitionerRoleId", "userPatientId"}
CONTEXT_TOKENS = {"context.userId", "context.patientId", "context.encounterId"}
READ = re.compile(r"[A-Z][A-Za-z]+/\{\{context\.patientId\}\}")
SEARCH = re.compile(r"[A-Z][A-Za-z]+\?(?:[a-z_-]+=[^&=?#\s]+)(?:&[a-z_-]+=[^&=?#\s]+)*")


@pytest.fixture
def response(client):
    return client.get("/cds-services")


@pytest.fixture
def services(response) -> list[dict]:
    return response.json["services"]


@pytest.fixture
def templates(services) -> list[str]:
    return [template for service in services for template in service["prefetch"].values()]


@pytest.mark.requirement("H2@4", "H2@5", "H2@13", "H2@1")
@pytest.mark.parametrize("path", ["/cds-services", "/cds-services/"])
def test_discovery_is_at_its_path_by_get(client, path):
    response = client.get(path)
    assert response.status_code == 200
    assert response.content_type == "application/json"
    assert "Location" not in response.headers


@pytest.mark.requirement("H2@5")
def test_discovery_is_there_when_nothing_else_works(envelope):
    def broken(name):
        raise OSError

    client = create_app(Settings(), load=broken).test_client()
    assert client.get("/readyz").status_code == 503
    assert client.get("/cds-services").status_code == 200


@pytest.mark.requirement("S2-01", "MDL-01")
def test_no_services_is_an_empty_array():
    client = create_app(Settings(), hooks=[]).test_client()
    assert client.get("/cds-services").json == {"services": []}


@pytest.mark.requirement("H2@6", "H2@7", "H2@8", "H2@9", "H2@12", "CI-06")
def test_every_service_is_described(services):
    assert services
    for service in services:
        for name in ("hook", "id", "title", "description", "usageRequirements"):
            assert isinstance(service[name], str)
            assert service[name].strip()
        assert "<" not in service["description"]


@pytest.mark.requirement("H2@3")
def test_nothing_is_blank(response):
    def walk(value) -> None:
        assert value not in (None, "", [], {})
        for part in value.values() if isinstance(value, dict) else value:
            if not isinstance(part, str):
                walk(part)
            else:
                assert part

    walk(response.json)


@pytest.mark.requirement("H2@10", "H2@16")
def test_every_id_is_the_path_of_an_end_point(client, services):
    for service in services:
        assert re.fullmatch(r"[a-z0-9-]+", service["id"])
        answer = client.post(f"/cds-services/{service['id']}", json={})
        assert answer.status_code == 400  # there, and not content with nothing


@pytest.mark.requirement("S2-02", "CI-09")
def test_id_and_hook_together_are_unique(services):
    pairs = [(service["id"], service["hook"]) for service in services]
    assert len(pairs) == len(set(pairs))


@pytest.mark.requirement("CI-07", "CI-08")
def test_versions_are_those_of_the_published_pages(services):
    for service in services:
        assert re.fullmatch(r"2\.0\.\d+", service["version"])
        assert service["hookVersion"] == "1.0"


@pytest.mark.requirement("H2@36")
def test_no_key_is_there_twice(response):
    def unique(pairs: list[tuple[str, object]]) -> dict:
        assert len({key for key, _ in pairs}) == len(pairs)
        return dict(pairs)

    json.loads(response.data, object_pairs_hook=unique)


@pytest.mark.requirement("H2@11", "H2@29", "S2-08")
def test_prefetch_is_a_map_of_templates(services):
    for service in services:
        assert service["prefetch"]
        assert all(isinstance(t, str) and t for t in service["prefetch"].values())


@pytest.mark.requirement(
    "H2@35", "H2@55", "H2@56", "H2@57", "H2@59", "HL@77", "HL@81", "HL@85", "HL@89", "HL@93",
    "CI-11", "CI-12", "CI-13", "CI-14",
)  # fmt: skip
def test_tokens_are_those_of_version_2(templates):
    for template in templates:
        tokens = set(TOKEN.findall(template))
        assert tokens
        assert tokens <= CONTEXT_TOKENS | USER_TOKENS
        assert "{" not in TOKEN.sub("", template)


@pytest.mark.requirement("H2@58", "CI-15")
def test_queries_stay_in_the_recommended_subset(templates):
    for template in templates:
        assert READ.fullmatch(template) or SEARCH.fullmatch(template)
        _, _, query = template.partition("?")
        names = [part.partition("=")[0] for part in query.split("&")] if query else []
        assert len(names) == len(set(names))
        assert not {n for n in names if n.startswith("_")} - {"_sort", "_count"}
        assert "_maxresults" not in template
