"""The protocol data: a hole in it is refused and named; nothing in it is unused."""

from __future__ import annotations

import copy
import re
import tomllib
from dataclasses import fields
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from cds_service.protocol_page import RULES
from regimen.facts import GapKind, Specialty, Subject
from regimen.protocol import (
    PROFILES,
    Policy,
    Thresholds,
    build_protocol,
    load_protocol,
    overlay,
    profile_data,
)
from regimen.protocol_check import ROWS, ProtocolError
from regimen.recommendation import Topic

REGIMEN = Path(__file__).parents[3] / "regimen"
SOURCES = "\n".join(
    file.read_text(encoding="utf-8")
    for file in sorted(REGIMEN.glob("*.py"))
    if not file.name.startswith("protocol")
)
DEFAULT = REGIMEN / "protocol" / "default.toml"


def changed(path: str, value: Any) -> dict[str, Any]:
    """The default profile with one key changed; None takes it out."""
    data = copy.deepcopy(profile_data("default"))
    table: Any = data
    *way, last = path.split("/")
    for step in way:
        table = table[int(step)] if isinstance(table, list) else table[step]
    if value is None:
        del table[last]
    else:
        table[last] = value
    return data


# --- reading ----------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", PROFILES)
def test_every_profile_is_complete(profile):
    protocol = load_protocol(profile)
    assert protocol.profile == profile
    assert [row.number for row in protocol.rows] == list(range(1, ROWS + 1))


def test_an_unknown_profile_is_refused():
    with pytest.raises(ProtocolError, match="default, uk-nice, us"):
        load_protocol("fr")


def test_a_profile_is_the_default_with_its_changes_on_top():
    default, us = load_protocol("default"), load_protocol("us")
    assert us.thresholds.min_age_years == 18
    assert us.thresholds.ileal_threshold_cm == default.thresholds.ileal_threshold_cm
    assert us.policy.product == "cyanocobalamin"
    assert us.content_hash != default.content_hash


def test_numbers_are_exact():
    assert load_protocol().thresholds.mma_raised_umol_l == Decimal("0.40")


def test_a_change_to_something_the_default_does_not_have_is_refused():
    with pytest.raises(ProtocolError, match=r"x\.thresholds\.min_age: not in the default"):
        overlay(profile_data("default"), {"thresholds": {"min_age": 12}}, "x")


@pytest.mark.parametrize(
    "changes",
    [
        {"topics_off": ["risk"]},
        {"phrases": {"alergy": "x"}},
        {"cards": {"alergy": {"summary": "x"}}},
        {"policy": {"decisions": []}},
    ],
)
def test_a_misspelt_or_misplaced_change_is_refused(changes):
    with pytest.raises(ProtocolError, match="not in the default"):
        overlay(profile_data("default"), changes, "x")


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        ("thresholds/min_age_years", None, r"thresholds\.min_age_years: missing"),
        ("thresholds/min_age_years", "16", r"thresholds\.min_age_years: not a int"),
        ("thresholds/min_age_years", True, r"thresholds\.min_age_years: not a int"),
        ("thresholds/max_age_years", 99, r"thresholds\.max_age_years: unknown"),
        ("policy/maintenance", "weekly", "policy: schedule: weekly is not defined"),
        ("policy/product", "mecobalamin", "policy: product: mecobalamin is not defined"),
        ("policy/route_for_malabsorption", "some", "policy.route_for_malabsorption"),
        ("schedules/monthly/unit", "month", r"schedules\.monthly"),
        ("schedules/monthly/statement", "S99", r"schedules\.monthly\.statement: S99"),
        ("products/cyanocobalamin/dose_ug", None, r"products\.cyanocobalamin"),
        ("cards/dose/topic", "doses", r"cards\.dose"),
        ("cards/dose/statements", ["S99"], r"cards\.dose\.statements: S99"),
        ("cards/dose/reasons", ["because"], r"cards\.dose\.reasons: because"),
        ("cards/dose/summary", "x" * 140, r"cards\.dose\.summary: longer than 139"),
        ("statements/S1/citations", ["nice"], r"statements\.S1\.citations: nice"),
        ("rows/27", {"number": 28}, r"rows\[28\]\.facts: missing"),
        ("rows/0/number", 2, "rows: not 1 to 28"),
        ("rows/0/card", "regimen", r"rows\[1\]\.card: regimen"),
        ("rows/0/product", "produce", r"rows\[1\]\.product"),
        ("rows/0/product", "", r"rows\[1\]\.product: missing"),
        ("rows/0/loading", ["weekly"], r"rows\[1\]: weekly is not a schedule"),
        ("rows/0/loading", ["topics_off"], r"rows\[1\]: topics_off is not a schedule"),
        ("rows/0/loading", ["cancer_regimen"], r"rows\[1\]: cancer_regimen is not a schedule"),
        ("rows", [], "rows: not 1 to 28"),
        ("knowledge", None, "knowledge: missing"),
        ("knowledge/version", " ", r"knowledge\.version"),
        ("knowledge/version", "9" * 61, r"knowledge\.version: longer than 60"),
        ("knowledge/review_status", "approved", r"knowledge\.review_status"),
        ("knowledge/next_review", datetime(2027, 1, 1), r"knowledge\.next_review: not a date"),  # noqa: DTZ001
        ("thresholds/usual_dose_ug", 0, r"thresholds\.usual_dose_ug: must be above 0"),
        ("thresholds/mcv_high_fl", Decimal("NaN"), r"thresholds\.mcv_high_fl: not a Decimal"),
        ("policy/label_dose_accepted_ug", Decimal("Infinity"), r"accepted_ug: not a Decimal"),
        ("schedules/monthly/period", Decimal("NaN"), r"monthly\.period: not a Decimal"),
        ("thresholds/lab_window_days", 10**9, r"thresholds\.lab_window_days: .* to 36500"),
        ("thresholds/lapse_months", -1, r"thresholds\.lapse_months: must be above 0"),
        ("thresholds/cap_non_critical", 0, r"thresholds\.cap_non_critical: must be above 0"),
        ("thresholds/b12_total_low_ng_l", 351, r"thresholds\.b12_total_low_ng_l: .*high_ng_l"),
        ("thresholds/dose_critical_ug", 10_001, r"thresholds\.dose_critical_ug: .*default's"),
        ("thresholds/oral_critical_ug", 100_001, r"thresholds\.oral_critical_ug: .*default's"),
        ("thresholds/folic_acid_silent_ug_per_day", 101, r"thresholds\.folic_acid_silent"),
        ("thresholds/antidote_dose_ug", 1000, r"thresholds\.antidote_dose_ug: .*default's"),
        ("thresholds/lapse_months", 7, r"thresholds\.lapse_months: .*default's"),
        ("thresholds/oral_standard_ug_per_day", 1, r"oral_standard_ug_per_day: .*default's"),
        ("cards/regimen-standard/names/maintenance", [], r"regimen-standard\.names: must say"),
        ("cards/regimen-standard/names/product", "nosuch", r"regimen-standard\.names: must say"),
        ("policy/product_leber", "cyanocobalamin", r"policy\.product_leber: must not be cyano"),
        ("policy/loading", [], r"policy\.loading: missing"),
        ("policy/loading", ["monthly"], r"policy\.loading: monthly is too rare"),
        ("policy/maintenance", "daily-ten-days", r"policy\.maintenance: daily-ten-days is not"),
        ("policy/prophylaxis_ileal", "twice-a-week", r"policy\.prophylaxis_ileal: twice-a-week"),
        ("policy/prophylaxis_ileal", "", r"policy: schedule:  is not defined"),
        ("policy/monitoring_tests", ["b12"], r"policy\.monitoring_tests: not a test"),
        ("policy/monitoring_months", 0, r"policy\.monitoring_months: must be 1 to 120"),
        ("policy/label_dose_accepted_ug", 1, r"policy\.label_dose_accepted_ug: must be"),
        ("products/hydroxocobalamin/dose_unit", "g", r"products\.hydroxocobalamin\.dose_unit"),
        ("products/hydroxocobalamin/ingredient", "cyanocobalamin", r"ingredient: must stay"),
        ("schedules/monthly/frequency", 0, r"schedules\.monthly: frequency, period"),
        ("schedules/monthly/frequency", Decimal("1.5"), r"schedules\.monthly: .*whole numbers"),
        ("schedules/monthly/unit", "h", r"schedules\.monthly: doses too close together"),
        ("schedules/monthly/period", 24, r"schedules\.monthly: .*too far apart"),
        ("schedules/monthly/words", "", r"schedules\.monthly\.words"),
        ("schedules/every-2-3-months/period_max", 1, r"period_max: must not be below period"),
        ("schedules/three-times-a-week/count", 60, r"schedules\.three-times-a-week\.count"),
        ("schedules/three-times-a-week/count", 0, r"three-times-a-week: .*whole numbers from 1"),
        ("cards/allergy/proposal", "x {amount}", r"cards\.allergy\.proposal: .*nothing only"),
        ("cards/dose/summary", "{amount!r}", r"cards\.dose\.summary: .*amount, times only"),
        ("cards/dose/summary", "", r"cards\.dose\.summary: must be a text"),
        ("cards/dose/summary", "Dose {amount", r"cards\.dose\.summary: a brace"),
        ("cards/new", {}, r"cards\.new: KeyError"),
        ("phrases/allergy", 3, r"phrases\.allergy: must be a text"),
        ("phrases/allergy", "{label.code}", r"phrases\.allergy: .*label, since only"),
        ("phrases/allergy", "{0}", r"phrases\.allergy: .*label, since only"),
        ("phrases/allergy", "{label:d}", r"phrases\.allergy: .*label, since only"),
        ("phrases/allergy", "a\nb", r"phrases\.allergy: must be a text on one line"),
        ("phrases/alergy", "x", r"phrases\.alergy: not in the default profile"),
        ("statements/S1/says", "", r"statements\.S1\.says: must be a text"),
        ("citations/bnf/publisher", "\u202e", r"citations\.bnf\.publisher: must be a text"),
        ("citations/bnf/url", "javascript:x", r"citations\.bnf\.url"),
        ("citations/bnf/verified", True, r"citations\.bnf\.checked"),
        ("override_reasons/patient-refuses/code", "", r"override_reasons\.patient-refuses\.code"),
    ],
)
def test_a_hole_is_refused_and_named(path, value, named):
    if path == "rows/27":
        data = changed("rows", [*profile_data("default")["rows"][:27], value])
    else:
        data = changed_row(path, value) if path.startswith("rows/") else changed(path, value)
    with pytest.raises(ProtocolError, match=named):
        build_protocol("default", data)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("thresholds/dose_critical_ug", 5000),
        ("thresholds/min_age_years", 0),
        ("thresholds/folic_acid_silent_ug_per_day", 0),
        ("policy/prophylaxis_bariatric_non_ileal", "every-2-3-months"),
        ("policy/loading", ["three-times-a-week", "daily-ten-days"]),
        ("schedules/monthly/period", 2),
        ("cards/dose/summary", "Check the unit: {amount}"),
        ("cards/regimen-deviation/proposal", ""),
        ("phrases/allergy", "{label}: {{recorded}}{since}"),
    ],
)
def test_what_a_site_may_change(path, value):
    build_protocol("default", changed(path, value))


def changed_row(path: str, value: Any) -> dict[str, Any]:
    _, index, key = path.split("/")
    rows = copy.deepcopy(profile_data("default")["rows"])
    rows[int(index)][key] = value
    return changed("rows", rows)


def test_a_profile_that_differs_must_say_who_decided():
    with pytest.raises(ProtocolError, match="decisions"):
        build_protocol("us", profile_data("default"))


#: The never-events, and the card that says what could not be read: named here one by one, so that a
#: topic that goes missing from the code is noticed.
NEVER_OFF = ("dose", "allergy", "leber", "folate", "ivroute", "stop", "unavailable")


@pytest.mark.fault("O07")
@pytest.mark.parametrize("topic", NEVER_OFF)
def test_a_danger_cannot_be_switched_off(topic):
    with pytest.raises(ProtocolError, match=f"policy.topics_off: {topic} cannot be switched off"):
        build_protocol("default", changed("policy/topics_off", [topic]))


def test_only_a_topic_can_be_switched_off():
    with pytest.raises(ProtocolError, match=r"policy\.topics_off: not a topic"):
        build_protocol("default", changed("policy/topics_off", ["dosage"]))


CRITICAL = ("allergy", "dose", "folate-critical", "ivroute", "leber", "stop")


def test_the_critical_cards_are_these():
    cards = load_protocol().cards.items()
    assert tuple(sorted(key for key, card in cards if card.indicator == "critical")) == CRITICAL


@pytest.mark.fault("O07")
@pytest.mark.parametrize("key", CRITICAL)
@pytest.mark.parametrize("indicator", ["info", "warning"])
def test_a_critical_card_cannot_be_lowered(key, indicator):
    with pytest.raises(ProtocolError, match=rf"cards\.{key}\.indicator: must stay critical"):
        build_protocol("default", changed(f"cards/{key}/indicator", indicator))


@pytest.mark.fault("O07")
@pytest.mark.parametrize("key", [*CRITICAL, "allergy-cobalt", "unavailable", "evidence"])
def test_a_card_keeps_its_topic(key):
    with pytest.raises(ProtocolError, match=rf"cards\.{key}\.topic: must stay"):
        build_protocol("default", changed(f"cards/{key}/topic", "risk"))


def test_any_other_card_can_be_more_or_less_urgent():
    for indicator in ("warning", "info"):
        protocol = build_protocol("default", changed("cards/evidence/indicator", indicator))
        assert protocol.cards["evidence"].indicator == indicator


def test_another_topic_can():
    protocol = build_protocol("default", changed("policy/topics_off", ["risk"]))
    assert protocol.policy.topics_off == (Topic.RISK,)


def test_the_same_content_has_the_same_hash():
    reordered = dict(reversed(profile_data("default").items()))
    assert build_protocol("default", reordered).content_hash == load_protocol().content_hash


# --- review state -----------------------------------------------------------------------------


def test_it_is_a_draft_until_a_clinician_has_signed():
    assert load_protocol().is_draft
    data = changed("knowledge/review_status", "clinically-approved")
    with pytest.raises(ProtocolError, match=r"knowledge\.clinical_approver"):
        build_protocol("default", data)
    data["knowledge"]["clinical_approver"] = "Dr A"
    assert not build_protocol("default", data).is_draft


def test_a_review_is_due_within_a_year_and_overdue_after_that():
    protocol = load_protocol()
    known = protocol.knowledge
    assert known.next_review - known.last_reviewed <= timedelta(days=366)
    assert not protocol.review_overdue(known.next_review)
    assert protocol.review_overdue(known.next_review + timedelta(days=1))


def test_no_citation_is_verified_without_saying_by_whom_and_when():
    for citation in load_protocol().citations.values():
        assert citation.verified == bool(citation.checked)


@pytest.mark.parametrize("profile", ["uk-nice", "us"])
def test_every_change_of_a_profile_is_covered_by_a_decision(profile):
    text = (REGIMEN / "protocol" / f"{profile}.toml").read_text(encoding="utf-8")
    changes = tomllib.loads(text)
    decisions = changes.pop("decisions")
    keys = {f"{table}.{key}" for table, entries in changes.items() for key in entries}
    covered = {key.strip() for d in decisions for key in d["key"].split(",")}
    assert keys == covered
    for decision in decisions:
        assert decision["source"] in load_protocol().citations
        assert isinstance(decision["decided_on"], date)


# --- nothing is unused ------------------------------------------------------------------------


def is_named(word: str) -> bool:
    """Is it a whole text in the code of the rules?"""
    return f'"{word}"' in SOURCES


@pytest.mark.parametrize("name", [f.name for f in fields(Thresholds)])
def test_every_threshold_is_compared_with(name):
    assert re.search(rf"\.{name}\b", SOURCES)


#: Phrases whose key is put together from a word of the facts.
COMPOSED = {
    **{f"gap-{kind.value}": 'f"gap-{' for kind in GapKind},
    **{f"subject-{subject.value}": 'f"subject-{' for subject in Subject},
    **{f"check-{rule}": 'f"check-{' for rule in RULES},
    **{f"label-refer-{s.value}": 'f"label-refer-{' for s in Specialty},
}


def test_every_phrase_is_said_and_every_phrase_said_is_there():
    phrases = load_protocol().phrases
    unsaid = [k for k in phrases if not is_named(k) and COMPOSED.get(k, "\0") not in SOURCES]
    assert unsaid == []
    said = set(re.findall(r'\.say\(\s*"([^"]+)"', SOURCES))
    assert said - set(phrases) == set()


def test_every_composed_phrase_is_there():
    # Records of other patients are left out without a word to the prescriber.
    unsaid = {f"gap-{GapKind.OTHER_PATIENT.value}"}
    assert set(COMPOSED) - set(load_protocol().phrases) == unsaid


def test_every_card_is_shown_by_a_rule():
    rows = {row.card for row in load_protocol().rows}
    assert [key for key in load_protocol().cards if not is_named(key) and key not in rows] == []


def test_every_override_reason_is_offered():
    offered = {reason for card in load_protocol().cards.values() for reason in card.reasons}
    assert set(load_protocol().override_reasons) == offered


@pytest.mark.parametrize("profile", PROFILES)
def test_every_schedule_is_given(profile):
    protocol = load_protocol(profile)
    chosen = {
        key
        for field in fields(Policy)
        for value in [getattr(protocol.policy, field.name)]
        for key in (value if isinstance(value, tuple) else [value])
    }
    replaced = set(load_protocol().schedules) if profile != "default" else set()
    named = {key for key in protocol.schedules if is_named(key)}
    assert set(protocol.schedules) - named - replaced <= chosen


def test_every_statement_is_carried_out():
    """By a card or a schedule, or as the reason that stands beside a value."""
    protocol = load_protocol()
    used = {s for card in protocol.cards.values() for s in card.statements}
    used |= {named.statement for named in protocol.schedules.values()}
    beside = re.findall(r"^\w+ = [^#\n]*#(.*)$", DEFAULT.read_text("utf-8"), re.MULTILINE)
    used |= {mark for comment in beside for mark in re.findall(r"\bS\d+\b", comment)}
    assert set(protocol.statements) - used == set()


def test_every_citation_is_cited():
    statements = load_protocol().statements.values()
    cited = {citation for statement in statements for citation in statement.citations}
    cited |= {d.source for name in PROFILES for d in load_protocol(name).decisions}
    assert set(load_protocol().citations) == cited
