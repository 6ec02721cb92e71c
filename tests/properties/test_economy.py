"""Does the service keep to its targets for interruptions, over a synthetic cohort?"""

from __future__ import annotations

import json
from collections import Counter

import pytest

from benchmarks.cohort import CONFORMING, KINDS, NEVER_EVENTS, cohort
from benchmarks.economy import (
    BEGIN,
    CRITICAL_BELOW,
    DOCUMENT,
    END,
    MOST_CARDS_MEDIAN,
    Figures,
    document_with,
    figures,
    outcome,
    report,
)

SIZE = 400


@pytest.fixture(scope="module")
def found() -> Figures:
    return figures(SIZE)


def test_every_conforming_order_is_answered_with_silence(found: Figures) -> None:
    assert len(found.conforming) > SIZE / 3
    loud = [(o.pick.group, o.pick.number, o.cards) for o in found.loud_but_conforming]
    assert loud == []


def test_the_median_is_at_most_one_card_a_b12_pick(found: Figures) -> None:
    assert found.median_cards <= MOST_CARDS_MEDIAN


def test_fewer_than_two_in_a_hundred_picks_get_a_critical_card(found: Figures) -> None:
    assert 0 < found.critical_share < CRITICAL_BELOW


def test_only_what_is_dangerous_is_critical(found: Figures) -> None:
    kinds = {o.pick.kind for o in found.outcomes if o.critical}
    assert kinds == {"dangerous"}


def test_a_dangerous_order_always_gets_a_critical_card() -> None:
    """In the whole cohort: there are few of them."""
    dangerous = [outcome(pick) for pick in cohort() if pick.kind == "dangerous"]
    assert {o.pick.group for o in dangerous} == {
        event.__name__.replace("_", " ") for _, event in NEVER_EVENTS
    }
    assert [o.pick.group for o in dangerous if not o.critical] == []


def test_the_cohort_is_the_same_every_time() -> None:
    once, again = ([json.dumps(p.request) for p in cohort(50)] for _ in range(2))
    assert once == again
    assert once != [json.dumps(p.request) for p in cohort(50, seed=1)]


def test_the_cohort_has_every_kind_of_pick() -> None:
    counts = Counter(pick.kind for pick in cohort(SIZE))
    assert set(counts) == set(KINDS)
    assert 0.4 < counts[CONFORMING] / SIZE < 0.7


def test_a_figure_for_every_card_is_reported(found: Figures) -> None:
    text = "\n".join(report(found))
    assert "conforming orders answered with silence | 100.0 % |" in text
    for topic, indicator in {card for o in found.outcomes for card in o.cards}:
        assert f"| {topic} {indicator.value} |" in text


def test_the_page_holds_the_figures_and_says_that_prevalence_is_assumed() -> None:
    page = DOCUMENT.read_text(encoding="utf-8")
    figures_on_page = page.partition(BEGIN)[2].partition(END)[0]
    assert "conforming orders answered with silence | 100.0 % |" in figures_on_page
    assert "prevalence is assumed" in page
    assert document_with(["new"]).partition(BEGIN)[2].partition(END)[0].strip() == "new"
