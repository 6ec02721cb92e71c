"""Does every rule of the protocol have a vignette where it fires and a near miss?"""

from __future__ import annotations

import pytest

from tests.support.vignette import all_vignettes

E4_CARDS = [
    "regimen-standard",
    "regimen-neuro",
    "regimen-possible",
    "regimen-maint",
    "regimen-ileal",
    "regimen-ileal-proph",
    "regimen-ileal-unknown",
    "regimen-bari",
    "regimen-cancer",
    "regimen-deviation",
    "referral",
    "evidence",
    "unavailable",
    "risk",
    "symptoms",
    "route",
    "ivroute",
    "dose",
    "folate",
    "stop",
    "duplicate",
    "allergy",
    "leber",
    "paediatric",
    "pregnancy",
    "potassium",
]
A2_ROWS = (
    "maintenance interval",
    "neuro end point",
    "20 cm boundary",
    "units of length",
    "comparators on length",
    "several resections",
    "other segments",
    "complete resection",
    "unknown length",
    "remaining length",
    "prophylaxis without Crohn's",
    "30-60 cm",
    "bariatric surgery",
    "bariatric, type unspecified",
    "cancer patients",
    "cyanocobalamin for hydroxocobalamin",
    "age",
)
RULES = (
    *(f"E.3 row {number}" for number in range(1, 29)),
    *(f"E.4 {card}" for card in E4_CARDS),
    *(f"E.2.{number}" for number in range(1, 16) if number != 9),
    *(f"E.2.9 {letter}" for letter in "abcdef"),
    *(f"F.{number}" for number in range(1, 20) if number != 7),
    *(f"F.7 line {number}" for number in range(1, 10)),
    *(f"A.2 {row}" for row in A2_ROWS),
    # A.4.12 to A.4.14 say what every answer looks like: the checker holds them, not one case.
    *(f"A.4.{number}" for number in range(1, 12)),
    "B.4 uk-nice",
    "B.4 us",
)


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_has_a_case_where_it_fires(rule: str) -> None:
    assert [v.id for v in all_vignettes() if rule in v.covers]


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_has_a_near_miss(rule: str) -> None:
    assert [v.id for v in all_vignettes() if rule in v.near_miss_of]


def test_a_vignette_names_what_it_is_for() -> None:
    assert [v.id for v in all_vignettes() if not (v.covers or v.near_miss_of)] == []


def test_ids_and_titles_are_used_once() -> None:
    ids = [v.id for v in all_vignettes()]
    titles = [(v.profile, v.title) for v in all_vignettes()]
    assert len(ids) == len(set(ids))
    assert len(titles) == len(set(titles))


def test_a_folder_is_named_after_its_vignette() -> None:
    wrong = [v.id for v in all_vignettes() if not v.path.parent.name.startswith(f"{v.id.lower()}-")]
    assert wrong == []
