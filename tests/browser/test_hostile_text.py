"""Text of an EHR, or of a service gone bad, is text: it runs, asks for and adds nothing."""

from __future__ import annotations

import json

import pytest

from tests.browser.chromium import answered

ATTACKS = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "[press here](javascript:alert(1))",
    "![](http://evil.example/p?q=1)",
    "<details open ontoggle=alert(1)>",
    "<svg/onload=alert(1)>",
    "](javascript:alert(1)) `x` &lt;b&gt; www.evil.example",
    '"><iframe src="http://evil.example/"></iframe>',
    "|a|b|\n|-|-|\n|<style>*{display:none}</style>|x|",
)
HOSTILE = " ".join(ATTACKS)

ADDED = "script:not([src^='/static/']), img, iframe, object, embed, style, #cards svg[onload], base"


def hostile_patient(page, url):
    """A shipped patient with hostile names, drugs, problems and results."""
    patient = page.request.get(f"{url}/demo/patients/birch").json()
    patient["title"] = HOSTILE
    for resource in patient["resources"]:
        if resource["resourceType"] == "Patient":
            resource["name"] = [{"family": HOSTILE, "given": [HOSTILE]}]
            resource["identifier"] = [{"value": HOSTILE}]
        for name in ("code", "medicationCodeableConcept"):
            if name in resource:
                resource[name]["text"] = HOSTILE
                for coding in resource[name]["coding"]:
                    coding["display"] = HOSTILE
        for dosage in resource.get("dosageInstruction", ()):
            dosage["text"] = HOSTILE
        if "valueQuantity" in resource:
            resource["valueQuantity"]["unit"] = HOSTILE
    patient["resources"].append(
        {
            "resourceType": "AllergyIntolerance",
            "id": "hostile",
            "patient": {"reference": "Patient/demo-birch"},
            "code": {"text": HOSTILE},
            "reaction": [{"manifestation": [{"text": HOSTILE}]}],
        }
    )
    return patient


@pytest.mark.fault("C01")
@pytest.mark.parametrize(
    "query", ["stop=maintenance", "renew=maintenance", "product=folic-acid-5-mg"]
)
def test_hostile_text_of_the_record_is_shown_as_text(watched, url, query):
    page = watched.page
    body = json.dumps(hostile_patient(page, url))
    page.route(
        "**/demo/patients/birch",
        lambda route: route.fulfill(content_type="application/json", body=body),
    )
    page.goto(f"{url}/?patient=birch&{query}")
    answered(page)
    for part in ("request", "response", "explanation"):
        page.locator(f"#{part}-part summary").click()
    page.wait_for_timeout(300)
    assert page.query_selector_all(ADDED) == []
    assert page.query_selector("#cards a[href^='javascript']") is None
    assert "<script>alert(1)</script>" in page.inner_text("#chart")
    watched.assert_quiet()


@pytest.mark.fault("C01")
def test_a_hostile_answer_is_made_harmless(watched, url):
    card = {
        "uuid": "4a4c9a3c-8d0e-4d0f-9f6a-0f7f1a4f2c11",
        "summary": HOSTILE,
        "indicator": "critical",
        "detail": f"**Kept** {HOSTILE}\n\n- item\n\n<a href='javascript:alert(1)'>x</a>",
        "source": {"label": HOSTILE, "topic": {"code": HOSTILE, "system": "x"}},
        "suggestions": [
            {
                "label": HOSTILE,
                "uuid": "5a4c9a3c-8d0e-4d0f-9f6a-0f7f1a4f2c11",
                "actions": [
                    {
                        "type": "create",
                        "description": HOSTILE,
                        "resource": {"resourceType": "ServiceRequest", "code": {"text": HOSTILE}},
                    }
                ],
            }
        ],
        "selectionBehavior": "any",
        "overrideReasons": [{"code": HOSTILE, "system": HOSTILE, "display": HOSTILE}],
        "links": [
            {"label": HOSTILE, "url": "javascript:alert(1)", "type": "absolute"},
            {"label": "fine", "url": "https://example.org/x", "type": "absolute"},
            {"label": HOSTILE, "url": "data:text/html,<script>alert(1)</script>", "type": "smart"},
        ],
    }
    body = json.dumps({"cards": [card]})
    page = watched.page
    page.route(
        "**/cds-services/b12-order-select",
        lambda route: route.fulfill(content_type="application/json", body=body),
    )
    page.goto(f"{url}/?patient=alder")
    answered(page)
    assert page.inner_text(".detail strong") == "Kept"
    assert page.inner_text(".detail li") == "item"
    page.get_by_role("button", name="Accept: ").click()
    page.wait_for_timeout(600)
    answered(page)
    assert page.query_selector_all(ADDED) == []
    assert page.eval_on_selector_all("#cards a", "all => all.map((a) => a.href)") == [
        "https://example.org/x"
    ]
    assert page.query_selector_all(".detail [href], .detail [src], .detail [onerror]") == []
    watched.assert_quiet()


def test_the_policy_stops_what_the_page_would_not(watched, url):
    """The tests above would see an attack: the policy is in force, violations are counted."""
    page = watched.page
    page.goto(f"{url}/?patient=alder")
    answered(page)
    page.evaluate(
        """() => {
          const script = document.createElement("script");
          try {
            script.textContent = "alert(1)";
            document.body.append(script);
          } catch { /* a trusted type is asked for */ }
          const image = document.createElement("img");
          image.src = "http://evil.example/p";
          document.body.append(image);
        }"""
    )
    page.wait_for_function("() => window.policyViolations.length > 1")
    assert watched.dialogs == []
