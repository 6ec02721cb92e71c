"""What the service is: pages for people, JSON by Accept, in development and production."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from cds_service.application import create_app
from cds_service.pages.source_attributes import source_attributes
from cds_service.settings import Settings
from regimen.protocol import PROFILES, load_protocol

PAGES = ("/about", "/about/protocol", "/about/source-attributes")
PRODUCTION = Settings(mode="production", public_url="https://cds.example")


@pytest.fixture(params=["development", "production"])
def site(request):
    settings = PRODUCTION if request.param == "production" else Settings()
    return create_app(settings).test_client()


class Ids(HTMLParser):
    """The ids of a page and where its links to itself point."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.targets: set[str] = set()
        self.inline: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        if "id" in given:
            self.ids.append(given["id"])
        if given.get("href", "").startswith("#"):
            self.targets.add(given["href"][1:])
        self.inline += [name for name in given if name == "style" or name.startswith("on")]
        if tag == "style" or (tag == "script" and "src" not in given):
            self.inline.append(tag)


@pytest.mark.parametrize("path", PAGES)
def test_a_person_gets_a_page(site, path):
    answer = site.get(path, headers={"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"})
    assert answer.status_code == 200
    assert answer.content_type == "text/html; charset=utf-8"
    assert answer.headers["Vary"] == "Accept"
    assert "<h1>" in answer.text


@pytest.mark.parametrize("path", PAGES)
def test_a_program_gets_json(site, path):
    answer = site.get(path, headers={"Accept": "application/json"})
    assert answer.content_type == "application/json"
    assert isinstance(answer.get_json(), dict)


@pytest.mark.parametrize("path", [*PAGES, "/"])
def test_a_page_may_do_no_more_than_it_needs(path):
    answer = create_app(Settings()).test_client().get(path)
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert answer.headers["X-Frame-Options"] == "DENY"
    assert Ids(answer.text).inline == []


def test_what_is_no_page_carries_no_page_policy(client):
    assert "Content-Security-Policy" not in client.get("/cds-services").headers


@pytest.mark.parametrize("profile", PROFILES)
def test_every_statement_has_its_anchor_and_no_link_leads_nowhere(profile):
    page = create_app(Settings(protocol=profile)).test_client().get("/about/protocol")
    found = Ids(page.text)
    assert set(load_protocol(profile).statements) <= set(found.ids)
    assert len(found.ids) == len(set(found.ids))
    assert found.targets <= set(found.ids)


def test_a_card_links_to_an_anchor_that_is_there(client, envelope):
    ids = Ids(client.get("/about/protocol").text).ids
    anchors = {f"S{n}" for n in range(1, 27)}
    assert anchors <= set(ids)


def test_the_protocol_page_tells_its_state():
    client = create_app(Settings()).test_client()
    text = client.get("/about/protocol").text
    known = load_protocol("default").knowledge
    assert known.version in text
    assert "Draft." in text
    assert str(known.next_review) in text


def test_an_overdue_review_is_said():
    protocol = load_protocol("default")
    after = protocol.knowledge.next_review.replace(year=protocol.knowledge.next_review.year + 1)
    late = create_app(Settings(), clock=lambda: after).test_client()
    in_time = create_app(Settings(), clock=lambda: protocol.knowledge.next_review).test_client()
    for path in ("/about", "/about/protocol"):
        assert "Review overdue." in late.get(path).text
        assert "Review overdue." not in in_time.get(path).text


def test_the_thirteen_source_attributes_are_answered():
    attributes = source_attributes(load_protocol("default"))
    assert [a.number for a in attributes] == list(range(1, 14))
    assert all(a.answer for a in attributes)
    assert {a.name for a in attributes if a.used} == {"Use of date of birth"}


def test_about_says_what_it_is_not(client):
    about = client.get("/about", headers={"Accept": "application/json"}).get_json()["about"]
    assert "not cleared or marked as a medical device" in about["wording"]
    assert about["known_limits"]
    assert re.fullmatch(r"[0-9a-f]{16}", about["protocol"]["content_hash"])


@pytest.mark.parametrize("path", [*PAGES, "/fhir/metadata", "/demo/patients/alder"])
def test_without_a_protocol_there_is_no_page(path):
    def broken(_name):
        raise ValueError("no protocol")

    answer = create_app(Settings(), load=broken).test_client().get(path)
    assert answer.status_code == 503
    assert answer.get_json()["resourceType"] == "OperationOutcome"
