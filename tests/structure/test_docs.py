"""The documents are true: what they show is answered, what they name is there."""

from __future__ import annotations

import ast
import json
import re
import tomllib
from collections.abc import Iterator
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any, get_args

import click
import pytest

from cds_service.application import create_app, standard_services
from cds_service.cli import main
from cds_service.errors import ServiceError
from cds_service.services import today
from cds_service.settings import SETTINGS, Settings
from cds_service.tenants import KEYS, ClientProfile
from fhir_mappers.queries import QUERIES
from regimen.protocol import PROFILES, load_protocol
from regimen.words import number
from tests.support.vignette import all_vignettes

ROOT = Path(__file__).parents[2]
DOCUMENTS = (
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "docs").glob("*.md")),
    ROOT / "regimen" / "README.md",
    ROOT / "fixtures" / "README.md",
)


def name_of(value: object) -> str:
    return str(value.relative_to(ROOT)) if isinstance(value, Path) else str(value)


every_document = pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)


def text_of(document: Path) -> str:
    return document.read_text(encoding="utf-8")


README = text_of(ROOT / "README.md")
SAFETY = text_of(ROOT / "docs" / "safety.md")
INTEGRATE = text_of(ROOT / "docs" / "integrate.md")


# --- the README's request ---------------------------------------------------------------------


def shown_call() -> tuple[str, Path]:
    """(path of the service, file of the request) of the curl command."""
    command = README.partition("```sh\n")[2].partition("```")[0]
    url = re.search(r"http://127\.0\.0\.1:8080(/\S+)", command)
    file = re.search(r"-d @(\S+)", command)
    assert url is not None
    assert file is not None
    return url[1], ROOT / file[1]


def assert_shown(shown: Any, actual: Any, where: str = "answer") -> None:
    """Everything shown is in the answer, at its place."""
    if isinstance(shown, dict):
        for key, value in shown.items():
            assert key in actual, f"{where}.{key}"
            assert_shown(value, actual[key], f"{where}.{key}")
    elif isinstance(shown, list):
        assert len(shown) == len(actual), where
        for index, (left, right) in enumerate(zip(shown, actual, strict=True)):
            assert_shown(left, right, f"{where}[{index}]")
    else:
        assert shown == actual, where


@pytest.mark.parametrize("day", [today(), date(2026, 6, 15), date(2029, 2, 28)])
def test_the_request_of_the_readme_is_answered_as_shown(day):
    path, file = shown_call()
    app = create_app(Settings(), clock=lambda: day)
    response = app.test_client().post(
        path, data=file.read_bytes(), headers={"Content-Type": "application/json"}
    )
    assert response.status_code == 200
    assert_shown(json.loads(README.partition("```json\n")[2].partition("```")[0]), response.json)


def test_the_address_of_the_readme_is_the_default():
    assert f"{Settings().public_url}/cds-services" in README


# --- links and names --------------------------------------------------------------------------


@cache
def anchors(document: Path) -> frozenset[str]:
    """The headings of a document as GitHub makes links of them, and explicit anchors."""
    text = text_of(document)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    slugs = [re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings]
    return frozenset([*slugs, *re.findall(r'<a id="([^"]+)">', text)])


def links(document: Path) -> Iterator[str]:
    text = re.sub(r"```.*?```", "", text_of(document), flags=re.DOTALL)
    yield from re.findall(r"\]\(([^)\s]+)\)", text)
    yield from re.findall(r"^\[[^\]]+\]: (\S+)$", text, re.MULTILINE)


@every_document
def test_every_link_within_the_repository_leads_somewhere(document):
    broken = []
    for link in links(document):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (document.parent / path).resolve() if path else document
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


FOLDERS = ("regimen", "fhir_mappers", "cds_service", "fixtures", "tests", "docs", "deploy")
NAMED = re.compile(rf"(?<![\w/.<-])((?:{'|'.join(FOLDERS)})/[\w./*-]*)")


@every_document
def test_every_file_that_is_named_is_there(document):
    prose = re.sub(r"<[^>]+>\S*|\S*…\S*|\S*\[[^\]]*\]\([^)]*\)", "", text_of(document))
    named = {match.rstrip("./") for match in NAMED.findall(prose)}
    local = [ROOT, document.parent]
    missing = {name for name in named if not any(list(base.glob(name)) for base in local if name)}
    assert missing == set()


@every_document
def test_every_make_target_that_is_named_is_there(document):
    rules = text_of(ROOT / "Makefile")
    targets = set(re.findall(r"^([a-z-]+):", rules, re.MULTILINE))
    named = re.findall(r"(?:`|^    )make ((?:[a-z]+ ?)+)", text_of(document), re.MULTILINE)
    assert {word for words in named for word in words.split()} - targets == set()


def command_words(document: Path) -> Iterator[list[str]]:
    for line in re.findall(r"b12-cds ([^`\n#]+)", text_of(document)):
        yield line.rstrip(".,;:)").split()


@every_document
def test_every_command_and_option_that_is_named_is_there(document):
    for words in command_words(document):
        command: click.Command = main
        for word in words:
            if isinstance(command, click.Group) and word in command.commands:
                command = command.commands[word]
        options = {name for p in command.params for name in p.opts} | {"--help"}
        assert command is not main, words
        assert {word for word in words if word.startswith("--")} <= options, words


@every_document
def test_every_setting_that_is_named_is_there(document):
    known = {setting.name for setting in SETTINGS} | {"B12_CDS_"}
    assert set(re.findall(r"\bB12_CDS_[A-Z_]*", text_of(document))) <= known


# --- safety -----------------------------------------------------------------------------------


@cache
def functions_of(file: str) -> frozenset[str]:
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    return frozenset(n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef))


def hazards() -> list[list[str]]:
    lines = [line for line in SAFETY.splitlines() if re.match(r"\| H\d", line)]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_every_hazard_has_a_control_and_what_holds_it():
    assert [hazard[0] for hazard in hazards()] == [f"H{n}" for n in range(1, 17)]
    for hazard in hazards():
        assert all(hazard)
        assert re.search(r"\b[VW]\d+\b|`tests/", hazard[4]), hazard[0]


def test_every_test_that_is_named_exists():
    named = re.findall(r"(tests/[\w/]+\.py)::(\w+)", SAFETY)
    assert named
    assert [pair for pair in named if pair[1] not in functions_of(pair[0])] == []


def test_every_vignette_that_is_named_exists():
    known = {vignette.id for vignette in all_vignettes()}
    named = {word for hazard in hazards() for word in re.findall(r"\b[VW]\d+\b", hazard[4])}
    assert named <= known


THRESHOLDS = load_protocol().thresholds


@pytest.mark.parametrize(
    "words",
    [
        f"From {THRESHOLDS.min_age_years} years",
        f"(profile `us`: {load_protocol('us').thresholds.min_age_years})",
        f"from {number(THRESHOLDS.dose_critical_ug / 1000)} mg up is critical",
        f"above {number(THRESHOLDS.usual_dose_ug / 1000)} mg a warning",
        f"below {number(THRESHOLDS.dose_low_ug)} microgram a warning",
    ],
)
def test_the_numbers_of_the_safety_page_are_those_of_the_protocol(words):
    assert words in SAFETY


@pytest.mark.parametrize(
    "words",
    [
        f"under {number(THRESHOLDS.b12_severe_ng_l)} ng/L",
        f"({number(THRESHOLDS.b12_severe_pmol_l)} pmol/L)",
        f"haemoglobin under {number(THRESHOLDS.haemoglobin_severe_g_l)} g/L",
        f'"More than {number(THRESHOLDS.ileal_threshold_cm)} cm"',
        f'"loaded" for {THRESHOLDS.lapse_months} months',
    ],
)
def test_the_numbers_of_the_decisions_are_those_of_the_protocol(words):
    assert words in text_of(ROOT / "docs" / "decisions.md")


def test_the_state_of_the_protocol_is_said_as_it_is():
    drafts = [load_protocol(profile).is_draft for profile in PROFILES]
    assert all(drafts) == ("The protocol is a draft that no clinician has signed" in README)
    assert all(drafts) == ("The protocol is a draft: no clinician has signed it" in SAFETY)
    verified = [c for c in load_protocol().citations.values() if c.verified]
    assert (not verified) == ("every citation is unverified" in SAFETY)


def test_every_dependency_has_its_reason():
    project = tomllib.loads(text_of(ROOT / "pyproject.toml"))["project"]
    declared = [re.split(r"[\[<>=~ ;]", line)[0].lower() for line in project["dependencies"]]
    table = text_of(ROOT / "docs" / "decisions.md").partition("### Dependencies")[2]
    explained = set(re.findall(r"^\| `([^`]+)` \|", table, re.MULTILINE))
    assert set(declared) - explained == set()


# --- integration ------------------------------------------------------------------------------


def test_the_prefetch_table_is_what_discovery_publishes():
    rows = re.findall(r"^\| `(\w+)` \| `([^`]+)` \|", INTEGRATE, re.MULTILINE)
    assert rows == [(query.key, query.template) for query in QUERIES]


def test_no_setting_that_is_described_is_without_effect():
    unused = {setting.name for setting in SETTINGS if setting.state != "used"}
    assert unused.isdisjoint(re.findall(r"\bB12_CDS_[A-Z_]+", INTEGRATE + README + SAFETY))


def test_every_end_point_that_is_named_is_served():
    ids = [service.id for service in standard_services()]
    paths = {
        re.sub(r"<service_id>", service_id, rule.rule)
        for rule in create_app(Settings()).url_map.iter_rules()
        for service_id in ids
    }
    named = set(re.findall(r"`(?:GET|POST) (/\S*)`", INTEGRATE))
    assert len(named) > 4
    assert named <= paths


def test_every_key_of_the_tenants_file_that_is_named_is_one():
    sections = INTEGRATE.partition("## Who may call")[2].partition("## Errors")[0]
    named = set(re.findall(r"^\| `(\w+)`", sections, re.MULTILINE))
    assert named
    assert named <= set(KEYS)


def test_every_client_profile_is_described():
    profiles = set(get_args(ClientProfile))
    assert profiles <= set(re.findall(r'client_profile = "(\w+)"', INTEGRATE))


def test_every_status_of_an_error_is_described():
    statuses = {kind.status for kind in _kinds(ServiceError)}
    rows = re.findall(r"^\| (\d{3}) \|", INTEGRATE, re.MULTILINE)
    assert statuses <= {int(row) for row in rows}


def _kinds(kind: type[ServiceError]) -> Iterator[type[ServiceError]]:
    yield kind
    for below in kind.__subclasses__():
        yield from _kinds(below)


def test_the_limit_of_a_body_is_the_default():
    assert f"({Settings().max_body_bytes // 1024**2} MiB)" in INTEGRATE


def test_a_document_that_is_wrong_is_seen(tmp_path):
    document = tmp_path / "x.md"
    document.write_text("[a](nowhere.md) `regimen/nothing.py` `b12-cds evaluate F --nothing`\n")
    for check in (
        test_every_link_within_the_repository_leads_somewhere,
        test_every_file_that_is_named_is_there,
        test_every_command_and_option_that_is_named_is_there,
    ):
        with pytest.raises(AssertionError):
            check(document)


def test_the_answer_shown_is_not_compared_with_itself():
    assert_shown({"a": [1]}, {"a": [1], "b": 2})
    for actual in ({"a": [2]}, {"a": []}, {"b": 1}):
        with pytest.raises(AssertionError):
            assert_shown({"a": [1]}, actual)
