"""The project's own FHIR resources are valid R4 and found under the URLs that are emitted."""

from __future__ import annotations

import re
from datetime import date

import pytest
from fhir.resources.R4B.capabilitystatement import CapabilityStatement
from fhir.resources.R4B.codesystem import CodeSystem
from fhir.resources.R4B.operationoutcome import OperationOutcome
from fhir.resources.R4B.plandefinition import PlanDefinition
from fhir.resources.R4B.valueset import ValueSet

from cds_service.application import create_app
from cds_service.pages.canonical import TOPICS, value_set
from cds_service.settings import Settings
from fhir_mappers.terminology import SYSTEMS, value_sets
from regimen.protocol import PROFILES, load_protocol
from regimen.recommendation import Topic

URL = "https://cds.example/b12"
ON = date(2026, 6, 15)


@pytest.fixture(params=["development", "production"])
def site(request):
    settings = Settings(mode=request.param, public_url=URL)
    return create_app(settings, clock=lambda: ON).test_client()


def read(site, path):
    answer = site.get(f"/fhir/{path}")
    assert answer.status_code == 200
    assert answer.content_type == "application/fhir+json"
    return answer.get_json()


@pytest.mark.parametrize("name", ["card-topic", "override-reason"])
def test_a_code_system_of_ours_is_found_under_its_url(site, name):
    resource = read(site, f"CodeSystem/{name}")
    CodeSystem.model_validate(resource)
    assert resource["url"] == f"{URL}/fhir/CodeSystem/{name}"
    assert resource["count"] == len(resource["concept"]) > 0


def test_every_topic_is_explained(site):
    concepts = {c["code"]: c for c in read(site, "CodeSystem/card-topic")["concept"]}
    assert set(concepts) == {topic.value for topic in Topic}
    assert set(TOPICS) == set(Topic)
    assert all(c["definition"] for c in concepts.values())


def test_the_record_codes_are_those_of_the_contract(site):
    resource = read(site, "CodeSystem/record")
    CodeSystem.model_validate(resource)
    assert resource["url"] == SYSTEMS["record"]
    codes = {c["code"] for c in resource["concept"]}
    assert codes == {"ileum-resected-length", "ileum-disease-extent"}


def test_the_override_reasons_are_the_local_ones(site):
    codes = {c["code"] for c in read(site, "CodeSystem/override-reason")["concept"]}
    reasons = load_protocol("default").override_reasons.values()
    assert codes == {r.code for r in reasons if r.system == "local"}
    assert codes


@pytest.mark.parametrize("name", value_sets().names)
def test_every_value_set_is_valid(name):
    resource = value_set(name, load_protocol("default"), URL)
    ValueSet.model_validate(resource)
    assert resource["id"] == name
    assert re.fullmatch(r"[A-Z][A-Za-z0-9_]{0,254}", resource["name"])
    for include in resource["compose"]["include"]:
        assert ("concept" in include) != ("filter" in include)
        assert include["system"] in SYSTEMS.values()


@pytest.mark.parametrize("name", value_sets().names)
def test_a_value_set_holds_every_code_that_is_read(name):
    resource = value_set(name, load_protocol("default"), URL)
    listed, patterns = set(), []
    for include in resource["compose"]["include"]:
        listed |= {(include["system"], c["code"]) for c in include.get("concept", ())}
        patterns += [(include["system"], f["value"]) for f in include.get("filter", ())]
    of_set = value_sets().in_set(name)
    assert len(of_set) == len(listed) + len(patterns)
    for code in of_set:
        first = code.code.split("-")[0] if (code.system, code.code) not in listed else code.code
        assert (code.system, code.code) in listed or any(
            system == code.system and re.fullmatch(pattern, first) for system, pattern in patterns
        )


def test_a_display_stands_only_where_one_is_shipped():
    resource = value_set("ileal-resection-definite", load_protocol("default"), URL)
    opcs = next(i for i in resource["compose"]["include"] if i["system"] == SYSTEMS["opcs-4"])
    assert opcs["concept"]
    assert all(set(concept) == {"code"} for concept in opcs["concept"])
    assert "OPCS-4" in resource["copyright"]


def test_a_range_of_categories_is_a_pattern():
    resource = value_set("malignancy-include", load_protocol("default"), URL)
    patterns = [
        f["value"]
        for include in resource["compose"]["include"]
        for f in include.get("filter", ())
        if include["system"] == SYSTEMS["icd-10-cm"]
    ]
    assert any(re.fullmatch(p, "C18.9") for p in patterns)
    assert not any(re.fullmatch(p, "D12.6") for p in patterns)


@pytest.mark.parametrize("profile", PROFILES)
def test_the_protocol_is_a_plan_definition(profile):
    settings = Settings(public_url=URL, protocol=profile)
    resource = read(create_app(settings).test_client(), "PlanDefinition/b12-im")
    PlanDefinition.model_validate(resource)
    protocol = load_protocol(profile)
    assert resource["status"] == "draft"
    assert "approvalDate" not in resource
    assert [action["title"] for action in resource["action"]] == list(protocol.cards)


def test_what_the_server_can_do(site):
    resource = read(site, "metadata")
    CapabilityStatement.model_validate(resource)
    assert resource["kind"] == "instance"
    assert resource["fhirVersion"] == "4.0.1"
    assert resource["implementation"]["url"] == f"{URL}/fhir"
    assert resource["date"] == ON.isoformat()


@pytest.mark.parametrize(
    "path",
    [
        "CodeSystem/nothing",
        "ValueSet/nothing",
        "ValueSet/..%2Fterminology",
        "ValueSet/extensions%2Fuk%2Fdrug-ppi",
        "PlanDefinition/nothing",
        "Patient/demo-alder",
    ],
)
def test_what_is_not_there_is_not_found(site, path):
    answer = site.get(f"/fhir/{path}")
    assert answer.status_code == 404
    OperationOutcome.model_validate(answer.get_json())
