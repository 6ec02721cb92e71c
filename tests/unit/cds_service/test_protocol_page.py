"""The decision table says what the protocol's data, the rules and the vignettes say."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path

import pytest

from cds_service.protocol_page import (
    RULES,
    decision_table,
    difference,
    differences,
    examples,
    overview,
    phase_words,
)
from regimen.choose import Plan, plan
from regimen.facts import PatientFacts
from regimen.protocol import PROFILES, Row, load_protocol
from regimen.recommend import evaluate
from regimen.recommendation import PhaseName
from tests.support.explained import explain_vignette
from tests.support.vignette import Vignette, all_vignettes

ROOT = Path(__file__).parents[3]

#: Rows that no regimen card carries out: the rule of their own card does.
WITHOUT_REGIMEN = {15, 20, 22, 23, 24, 28}


# --- the page ---------------------------------------------------------------------------------


def test_the_page_in_docs_is_current():
    page = (ROOT / "docs" / "protocol.md").read_text(encoding="utf-8")
    assert page == decision_table(), "run: make docs"


def section(title: str, page: str) -> list[list[str]]:
    """The cells of the one table of a section, without its head."""
    text = page.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_every_row_names_its_vignettes_and_near_misses():
    rows = section("Which regimen", decision_table())
    assert [row[0] for row in rows] == [str(n) for n in range(1, 29)]
    for row in rows:
        mark = f"E.3 row {row[0]}"
        covers = {f"[{v.id}]" for v in all_vignettes() if mark in v.covers}
        near = {f"[{v.id}]" for v in all_vignettes() if mark in v.near_miss_of}
        assert (set(row[7].split()), set(row[8].split())) == (covers, near)


def test_every_vignette_that_is_named_has_a_target():
    page = decision_table()
    named = set(re.findall(r"\[([VW]\d+)\](?!:)", page))
    targets = dict(re.findall(r"^\[([VW]\d+)\]: \.\./(\S+)$", page, re.MULTILINE))
    assert named == set(targets)
    assert all((ROOT / target).is_file() for target in targets.values())


def test_every_entry_of_the_protocol_is_on_the_page():
    page, protocol = decision_table(), load_protocol()
    assert [row[0] for row in section("The card catalogue", page)] == [
        f"`{key}`" for key in protocol.cards
    ]
    assert [row[0].partition("</a>")[2] for row in section("Statements", page)] == [
        *protocol.statements
    ]
    for key in (*protocol.citations, *protocol.schedules, *protocol.override_reasons):
        assert f"`{key}`" in page


def test_a_comment_stands_beside_its_own_value():
    thresholds = {row[0]: row[1:] for row in section("Thresholds", decision_table())}
    assert thresholds["`ileal_threshold_cm`"] == ["20", "S9, S13: strictly more"]
    assert thresholds["`b12_total_low_pmol_l`"] == ["133", ""]


def test_every_citation_says_that_it_is_not_verified():
    for row in section("Citations", decision_table()):
        assert row[1].endswith("; not verified")


def test_the_review_state_is_said():
    assert "draft: no clinician has signed it" in decision_table()
    assert "draft: no clinician has signed it" in overview(load_protocol("us"))


def test_without_the_vignettes_the_page_says_so(tmp_path):
    page = decision_table(tmp_path / "nowhere")
    assert "not of the installed package" in page
    assert "[V01]" not in page
    assert len(section("Which regimen", page)) == 28


def test_the_vignettes_are_found_in_the_order_of_their_ids():
    ids = [example.id for example in examples(ROOT / "fixtures" / "vignettes")]
    assert len(ids) == len(all_vignettes())
    assert ids.index("V02") < ids.index("V15") < ids.index("V102") < ids.index("W001")


# --- the rules --------------------------------------------------------------------------------


def test_the_rules_are_those_that_are_asked_in_their_order():
    nothing = PatientFacts(as_of=date(2026, 6, 15))
    asked = [outcome.rule for outcome in evaluate(nothing, load_protocol()).outcomes]
    assert list(RULES) == asked


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_says_what_it_looks_for_and_has_a_card(rule):
    line = next(r for r in section("The rules", decision_table()) if r[1] == f"`{rule}`")
    assert line[2]
    assert line[3]


# --- the rows ---------------------------------------------------------------------------------


def plan_of(vignette: Vignette) -> Plan | None:
    evaluation = explain_vignette(vignette).evaluation
    assert evaluation is not None
    return plan(evaluation.situation, load_protocol(vignette.profile))


def covering(*, with_regimen: bool) -> list[tuple[Vignette, int]]:
    found = []
    for vignette in all_vignettes():
        for mark in vignette.covers:
            row = int(mark.removeprefix("E.3 row ")) if mark.startswith("E.3 row ") else 0
            if row and (row not in WITHOUT_REGIMEN) == with_regimen:
                found.append((vignette, row))
    return found


def name_of(value: object) -> str:
    return value.id if isinstance(value, Vignette) else str(value)


def as_row(row: Row, given: Plan) -> bool:
    """Does the plan give what the row says, with the choices that the row says?"""
    protocol = load_protocol()
    for entries, phase in (
        (row.loading, PhaseName.LOADING),
        (row.maintenance, PhaseName.MAINTENANCE),
    ):
        wanted = {named.key for named in protocol.schedules_of(entries)}
        phases = [p for o in given.main for p in o.regimen.phases if p.name is phase]
        product = protocol.products[getattr(protocol.policy, row.product)]
        if {p.key for p in phases} != wanted or {p.product for p in phases} - {product}:
            return False
    return True


# Bowel rows that also hold with signs: the loading and card of row 2, maintenance of their own.
WITH_SIGNS = ("W015", "W017", "W022")


@pytest.mark.parametrize(("vignette", "row"), covering(with_regimen=True), ids=name_of)
def test_a_vignette_that_covers_a_row_is_planned_by_it(vignette, row):
    given = plan_of(vignette)
    assert given is not None
    assert given.row == row
    if vignette.id in WITH_SIGNS:
        assert all(o.regimen.phases[0].key == "alternate-days" for o in given.main)
        return
    assert given.card == load_protocol(vignette.profile).rows[row - 1].card
    assert as_row(load_protocol().rows[row - 1], given)


@pytest.mark.parametrize(("vignette", "row"), covering(with_regimen=False), ids=name_of)
def test_a_row_without_a_regimen_is_answered_by_its_own_card(vignette, row):
    evaluation = explain_vignette(vignette).evaluation
    assert evaluation is not None
    topics = {r.topic for r in evaluation.recommendations}
    protocol = load_protocol(vignette.profile)
    assert protocol.cards[protocol.rows[row - 1].card].topic in topics
    assert "regimen" not in topics


def test_a_choice_is_said_once_where_both_come_to_the_same():
    us = load_protocol("us")
    assert phase_words(us, ("maintenance_ileal", "maintenance"), "product") == (
        "cyanocobalamin 1000 microgram IM every month, indefinitely"
    )


def test_the_phases_of_one_loading_follow_each_other():
    words = phase_words(load_protocol("us"), ("loading",), "product")
    assert words.endswith("daily for 7 days (7 doses), then weekly for 4 weeks (4 doses)")


# --- profiles ---------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", PROFILES)
def test_an_overview_says_each_row_and_threshold(profile):
    protocol = load_protocol(profile)
    text = overview(protocol)
    assert text.startswith(f"{protocol.knowledge.title}: profile {profile}, version")
    assert all(row.facts in text for row in protocol.rows)
    assert re.search(rf"min_age_years +{protocol.thresholds.min_age_years}\b", text)


def test_a_difference_names_both_values_and_the_decision():
    text = difference("default", "us")
    block = next(b for b in text.split("\n\n") if b.startswith("thresholds.min_age_years"))
    lines = block.splitlines()
    assert lines[1].split() == ["default", "16"]
    assert lines[2].split() == ["us", "18"]
    assert lines[3].startswith("  decided   2026-11-24 for us by")
    assert "18" in lines[4]
    assert lines[5].endswith("not verified")


@pytest.mark.parametrize("profile", ["uk-nice", "us"])
def test_every_difference_has_a_decision(profile):
    assert [d.key for d in differences("default", profile) if not d.decisions] == []
    assert "not recorded" not in difference("default", profile)


def test_between_two_profiles_both_may_have_decided():
    found = {d.key: d for d in differences("uk-nice", "us")}
    deciders = [profile for profile, _ in found["policy.monitoring_tests"].decisions]
    assert deciders == ["uk-nice", "us"]


def test_a_decision_about_a_table_covers_what_is_in_it_and_no_namesake():
    found = {d.key: d for d in differences("default", "us")}
    assert found["schedules.daily-seven-days.count"].decisions
    keys = [decision.key for _, decision in found["policy.maintenance"].decisions]
    assert len(keys) == 1


def test_a_profile_does_not_differ_from_itself():
    assert difference("us", "us") == "us and us are the same."
