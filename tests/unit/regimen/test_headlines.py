"""Does a headline ever name another product, dose or schedule than the orders offered under it?"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest

from regimen.facts import (
    Age,
    Concept,
    Domain,
    Length,
    PatientFacts,
    RecordRef,
    Resection,
)
from regimen.protocol import (
    PROFILES,
    Protocol,
    build_protocol,
    load_protocol,
    overlay,
    profile_data,
)
from regimen.recommend import recommend
from regimen.recommendation import Recommendation, Topic
from tests.unit.regimen.builders import TODAY, doses, finding, lab, order

ADULT = Age(TODAY.replace(year=1970), TODAY.replace(year=1970))
NUMB = finding(Concept.NEURO_FINDING, Domain.SENSORY)
LONG = Resection(RecordRef("Procedure/1"), Length(Decimal(40), Decimal(40)))
UNMEASURED = Resection(RecordRef("Procedure/1"), None)
SITES_OWN: dict[str, Any] = {
    "decisions": [
        {
            "key": "policy",
            "reason": "local",
            "source": "bnf",
            "decided_by": "the site",
            "decided_on": TODAY,
        }
    ]
}


def site(**changes: Any) -> Protocol:
    """The default with changes of a site."""
    data = overlay(profile_data("default"), changes | SITES_OWN, "site")
    return build_protocol("site", data)


def headline(facts: Mapping[str, Any], protocol: Protocol) -> Recommendation:
    """The regimen card for an injection picked without details."""
    low = {"labs": (lab(),), "session": (order(None),), "age": ADULT}
    patient = PatientFacts(as_of=TODAY, **(low | facts))
    (card,) = (r for r in recommend(patient, protocol) if r.topic is Topic.REGIMEN)
    return card


NORMAL = {"labs": (lab(value="420"),)}
LOADED = {"doses": doses(30, 33, 35, 37, 39, 42)}
BYPASS = {"findings": (finding(Concept.BARIATRIC_ILEAL),)}
CANCER = {"findings": (finding(Concept.CANCER),)}


@pytest.mark.parametrize(
    ("facts", "changes", "said", "never"),
    [
        ({}, {"policy": {"loading": ["alternate-days"]}}, "on alternate days", "3x/week"),
        ({}, {"policy": {"maintenance": "every-2-months"}}, "every 2 months", "2-3 months"),
        ({}, {"policy": {"product": "cyanocobalamin"}}, "cyanocobalamin", "hydroxo"),
        # The schedule itself, under the name it has.
        (
            {},
            {
                "schedules": {
                    "three-times-a-week": {
                        "frequency": 2,
                        "count": 4,
                        "words": "twice a week for 2 weeks",
                    }
                }
            },
            "twice a week",
            "3x/week",
        ),
        (
            {"findings": (NUMB,)},
            {"policy": {"loading_neuro": ["daily-ten-days"]}},
            "daily on days 1-10",
            "alternate",
        ),
        (LOADED, {"policy": {"maintenance": "every-2-months"}}, "every 2 months", "2-3 months"),
        (
            {"resections": (LONG,)},
            {"policy": {"maintenance_ileal": "every-2-weeks"}},
            "every 2 weeks",
            "every month",
        ),
        (
            NORMAL | {"resections": (LONG,)},
            {"policy": {"prophylaxis_ileal": "every-2-months"}},
            "every 2 months",
            "every month",
        ),
        (
            NORMAL | BYPASS,
            {"policy": {"prophylaxis_bariatric": "every-2-months"}},
            "2 months",
            "monthly",
        ),
        (CANCER, {"policy": {"loading_cancer": ["alternate-days"]}}, "alternate days", "1-10"),
        # A choice: nothing is named that is not offered.
        (
            {"resections": (UNMEASURED,)},
            {"policy": {"maintenance_ileal": "every-2-weeks"}},
            "choose",
            "monthly",
        ),
    ],
)
def test_what_a_site_changes_is_what_the_headline_says(facts, changes, said, never):
    shipped = headline(facts, load_protocol())
    assert never in shipped.summary  # the same patient, where the site changes nothing
    own = headline(facts, site(**changes))
    assert said in own.summary
    assert never not in own.summary
    assert not ("prophyla" not in own.summary.lower() and facts.get("labs") == NORMAL["labs"])


@pytest.mark.parametrize("profile", PROFILES)
def test_a_headline_names_what_its_own_profile_gives(profile):
    """A misspelt name would never match, and the headline never be shown."""
    protocol = load_protocol(profile)
    schedules = {named.words for named in protocol.schedules.values()}
    doses_given = {product.dose_ug for product in protocol.products.values()}
    for key, card in protocol.cards.items():
        if card.names is None or (key == "regimen-bari-non-ileal" and profile != "uk-nice"):
            continue  # only that profile gives it, and has the schedule
        names = card.names
        assert set(names.loading) | set(names.maintenance) <= schedules, key
        assert names.product in {"", *protocol.products}, key
        assert names.dose_ug in {Decimal(0), *doses_given}, key
        assert not names.product or names.product in card.summary.lower(), key


def test_a_summary_that_speaks_of_a_schedule_says_which():
    """Else it could be printed over other orders."""
    words = ("3x/week", "alternate days", "daily", "month")
    for profile in PROFILES:
        cards = load_protocol(profile).cards
        unnamed = [
            key
            for key, card in cards.items()
            if card.topic is Topic.REGIMEN
            and card.names is None
            and any(word in card.summary.lower() for word in words)
        ]
        assert unnamed == []
