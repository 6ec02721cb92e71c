"""Every page, light and dark, wide and narrow: nothing that axe-core finds, no sideways scroll."""

from __future__ import annotations

from importlib.resources import files

import pytest

from tests.browser.chromium import NARROW, WIDE, answered, watched_page

PAGES = {
    "info": "/?patient=alder",
    "warning": "/?patient=ash",
    "critical": "/?patient=rowan",
    "silence": "/?patient=birch",
    "stop": "/?patient=willow",
    "no-answer": "/?patient=walnut",
    "about": "/about",
    "protocol": "/about/protocol",
    "source-attributes": "/about/source-attributes",
}
SIZES = {"wide": WIDE, "narrow": NARROW}
RULES = {
    "runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
    "resultTypes": ["violations"],
}


@pytest.fixture(scope="module")
def axe():
    return files("axe_playwright_python").joinpath("axe.min.js").read_text("utf-8")


def violations(page, axe):
    page.evaluate(f"() => {{ {axe} }}")
    found = page.evaluate("(rules) => axe.run(document, rules)", RULES)["violations"]
    return [(v["id"], [node["target"] for node in v["nodes"]]) for v in found]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_a_page_can_be_used_by_everyone(chromium, url, axe, name, scheme, size):
    with watched_page(chromium, viewport=SIZES[size], scheme=scheme) as watched:
        page = watched.page
        page.goto(url + PAGES[name])
        if PAGES[name].startswith("/?"):
            answered(page)
            page.eval_on_selector_all("details", "all => all.forEach((d) => { d.open = true; })")
        assert watched.violations() == []
        assert watched.strangers == []
        assert violations(page, axe) == []
        wider = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert page.evaluate(wider) == 0


def test_axe_would_find_a_violation(page, url, axe):
    page.goto(f"{url}/about")
    page.evaluate("() => document.querySelector('main').append(document.createElement('button'))")
    assert ("button-name", [["button"]]) in violations(page, axe)


@pytest.mark.parametrize("path", ["/about", "/about/protocol", "/about/source-attributes"])
def test_a_reading_page_needs_no_script(watched, url, path):
    watched.page.goto(url + path)
    assert watched.page.query_selector("script") is None
    watched.assert_quiet()


def test_a_link_of_a_card_leads_to_its_statement(page, url):
    page.goto(f"{url}/about/protocol#S9")
    assert page.evaluate("() => document.querySelector(':target').textContent").count("ileum")
