"""Which cards a client gets: silent, roll-out, switches, what was overridden, not too many."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import threading
import time

import msgspec
import pytest

from cds_service import schema
from cds_service.errors import StoreDown
from cds_service.feedback import Item, keep_feedback
from cds_service.governance import Governance
from cds_service.hooks.request import Members
from cds_service.store import Store, now_ms
from regimen.recommendation import Topic
from tests.support.records import card, recorded, rows
from tests.support.stores import tenant
from tests.support.vignette import ROOT
from tests.unit.cds_service.test_store import locked

DANGERS = ("dose", "allergy", "leber", "folate", "ivroute", "stop")
KEY = b"a key of the tenant"


def context(**parts) -> Members:
    given = {"patientId": "pat1", "userId": "Practitioner/p1"} | parts
    return {name: msgspec.Raw(json.dumps(value).encode()) for name, value in given.items()}


def decide(store, cards, who, given=None):
    governance = Governance(store)
    governance.poll()
    return governance.decide(cards, who, given or context())


def topics(decided) -> list[str]:
    return [shown.source.topic.code for shown in decided.cards]


@pytest.fixture
def memory():
    store = Store("sqlite://")
    yield store
    store.close()


# --- silent and roll-out ----------------------------------------------------------------------


def test_a_live_tenant_gets_all_its_cards(memory):
    cards = (card("dose", "critical"), card("regimen"))
    decided = decide(memory, cards, tenant())
    assert (decided.cards, decided.withheld, decided.mode) == (cards, {}, "live")


@pytest.mark.fault("O24")
def test_a_silent_tenant_gets_no_card_and_each_is_said_to_be_withheld(memory):
    cards = (card("dose", "critical"), card("regimen"), card("unavailable"))
    decided = decide(memory, cards, tenant(mode="silent"))
    assert decided.cards == ()
    assert set(decided.withheld.values()) == {"silent"}
    assert set(decided.withheld) == {c.uuid for c in cards}


def test_a_roll_out_takes_about_that_share_of_users_and_always_the_same(memory):
    governance = Governance(memory)

    def users(percent):
        who = tenant(rollout_percent=percent)
        return {
            number
            for number in range(1000)
            if governance.decide([card()], who, context(userId=f"Practitioner/{number}")).cards
        }

    assert users(0) == set()
    assert 200 < len(users(25)) < 300
    assert users(25) == users(25) < users(60)
    assert len(users(100)) == 1000


@pytest.mark.parametrize("user", [None, "", 7, {"a": 1}])
def test_a_user_without_a_name_is_not_part_of_a_roll_out(memory, user):
    decided = decide(memory, [card()], tenant(rollout_percent=99), context(userId=user))
    assert (decided.cards, decided.mode) == ((), "roll-out")


# --- switches ---------------------------------------------------------------------------------


def test_a_switch_is_for_its_tenant(store):
    store.set_switch("north", "regimen", off=True, by="x")
    cards = [card("regimen"), card("route")]
    assert topics(decide(store, cards, tenant("north"))) == ["route"]
    assert topics(decide(store, cards, tenant("south"))) == ["regimen", "route"]


def test_a_switch_for_all_is_for_all_and_can_be_taken_back(store):
    store.set_switch(None, "regimen", off=True, by="x")
    decided = decide(store, [card("regimen")], tenant("south"))
    assert (decided.cards, list(decided.withheld.values())) == ((), ["topic-off"])
    store.set_switch(None, "regimen", off=False, by="x")
    assert topics(decide(store, [card("regimen")], tenant("south"))) == ["regimen"]


def test_the_file_of_the_tenant_switches_off_too(memory):
    decided = decide(memory, [card("regimen"), card("route")], tenant(topics_off=("route",)))
    assert topics(decided) == ["regimen"]


@pytest.mark.parametrize("topic", DANGERS)
def test_a_critical_card_of_a_danger_is_never_switched_off(memory, topic):
    memory.set_switch(None, topic, off=True, by="x")
    cards = [card(topic, "critical"), card(topic, "warning")]
    decided = decide(memory, cards, tenant(topics_off=(topic,)))
    assert decided.cards == (cards[0],)


@pytest.mark.parametrize("topic", sorted(set(Topic) - {*DANGERS, "unavailable"}))
def test_any_other_topic_is(memory, topic):
    memory.set_switch(None, topic, off=True, by="x")
    assert decide(memory, [card(topic, "critical"), card(topic)], tenant()).cards == ()


def test_that_the_record_could_not_be_read_is_never_withheld(memory):
    memory.set_switch(None, "unavailable", off=True, by="x")
    unread = card("unavailable")
    who = tenant(topics_off=("unavailable",), max_cards=0)
    assert decide(memory, [card("regimen"), unread], who).cards == (unread,)


@pytest.mark.fault("O25")
def test_a_switch_thrown_elsewhere_is_in_force_within_2_seconds(store, store_url):
    governance, elsewhere = Governance(store), Store(store_url)
    assert governance.decide([card()], tenant(), context()).cards
    elsewhere.set_switch("north", "regimen", off=True, by="x")
    began = time.monotonic()
    while governance.decide([card()], tenant(), context()).cards:
        assert time.monotonic() - began < 3  # two seconds, and a busy machine
        time.sleep(0.05)
    elsewhere.close()


def test_deciding_never_asks_the_store(store, monkeypatch):
    governance = Governance(store)
    governance.decide([card()], tenant(), context())

    def fail(*_):
        raise AssertionError("asked on the way")

    monkeypatch.setattr("cds_service.governance._keep_polling", fail)
    monkeypatch.setattr(governance._store, "transaction", fail)
    who = tenant(pseudonym_key=KEY, rollout_percent=50, suppress_after_override_days=7)
    governance.decide([card()], who, context())


def test_while_the_store_is_down_the_last_switches_stay_in_force(sqlite_store, sqlite_file, log):
    sqlite_store.set_switch(None, "regimen", off=True, by="x")
    governance = Governance(sqlite_store)
    governance.poll()
    sqlite_store.close()
    for file in sqlite_file.parent.iterdir():
        file.write_bytes(b"no database")
    governance.poll()
    governance.poll()
    assert governance.decide([card("regimen")], tenant(), context()).cards == ()
    assert log.getvalue().count("switches-not-read") == 1


def test_tokens_that_cannot_be_forgotten_do_not_keep_the_switches_from_being_read(
    sqlite_store, log, monkeypatch
):
    def fail():
        raise StoreDown

    governance = Governance(sqlite_store)
    governance._tokens_at -= 3600
    monkeypatch.setattr(sqlite_store, "forget_tokens", fail)
    for topic in ("regimen", "route"):
        sqlite_store.set_switch(None, topic, off=True, by="x")
        governance.poll()
    cards = [card("regimen"), card("route"), card("risk")]
    assert topics(governance.decide(cards, tenant(), context())) == ["risk"]
    assert log.getvalue().count("tokens-not-forgotten") == 1
    assert "switches-not-read" not in log.getvalue()


def test_tokens_are_forgotten_portion_by_portion_until_none_is_left(memory, monkeypatch):
    asked = []
    monkeypatch.setattr(memory, "forget_tokens", lambda: asked.append(1) or len(asked) < 3)
    governance = Governance(memory)
    governance.poll()
    assert not asked  # they were just forgotten, for all that is known
    governance._tokens_at -= 3600
    for _ in range(5):
        governance.poll()
    assert len(asked) == 3


def test_the_first_call_waits_only_briefly_for_a_store_that_does_not_answer(tmp_path):
    store = Store(f"sqlite:///{tmp_path}/b12.sqlite3")
    (tmp_path / "b12.sqlite3").touch()
    with locked(tmp_path / "b12.sqlite3"):
        governance = Governance(store)
        began = time.monotonic()
        assert governance.decide([card()], tenant(), context()).cards
        assert time.monotonic() - began < 1
    store.close()


def test_the_background_ends_with_the_application(memory):
    import gc
    import threading
    import weakref

    governance = Governance(memory)
    governance.decide([], tenant(), context())
    gone = weakref.ref(governance)
    del governance
    until = time.monotonic() + 10
    while gone() is not None and time.monotonic() < until:
        gc.collect()
        time.sleep(0.05)
    assert gone() is None
    assert threading.active_count() < 100


# --- not too many -----------------------------------------------------------------------------


def test_the_least_urgent_are_left_out_first_and_no_critical_one(memory):
    cards = [card("dose", "critical"), card("leber", "critical"), card("regimen"), card("route")]
    decided = decide(memory, cards, tenant(max_cards=3))
    assert topics(decided) == ["dose", "leber", "regimen"]
    assert list(decided.withheld.values()) == ["max-cards"]
    assert topics(decide(memory, cards, tenant(max_cards=1))) == ["dose", "leber"]


def test_what_is_switched_off_takes_no_room(memory):
    who = tenant(max_cards=1, topics_off=("regimen",))
    assert topics(decide(memory, [card("regimen"), card("route")], who)) == ["route"]


# --- after an override ------------------------------------------------------------------------


def overriding(store, who, outcome="overridden", patient="pat1", topic="route", ago_days=0):
    """A card is shown to a patient's clinician, and feedback on it comes back."""
    decided = decide(store, [card(topic)], who, context(patientId=patient))
    (shown,) = recorded(store, card(topic), tenant=who.id, pseudonym=decided.pseudonym)
    item = Item(shown.uuid, outcome)
    keep_feedback(store, [item], who, "b12-order-select", now=now_ms() - ago_days * 86_400_000)
    return shown


def quiet(**keys):
    return tenant(pseudonym_key=KEY, suppress_after_override_days=7, **keys)


@pytest.mark.fault("D43")
def test_an_overridden_topic_is_quiet_for_that_patient_and_no_other(store):
    overriding(store, quiet())
    cards = [card("regimen"), card("route")]
    decided = decide(store, cards, quiet())
    assert topics(decided) == ["regimen"]
    assert list(decided.withheld.values()) == ["overridden"]
    assert len(decide(store, cards, quiet(), context(patientId="pat2")).cards) == 2


def test_it_speaks_again_when_the_days_are_over(store):
    overriding(store, quiet(), ago_days=8)
    assert decide(store, [card("route")], quiet()).cards


def test_a_critical_card_is_not_quiet_after_an_override(store):
    overriding(store, quiet(), topic="dose")
    assert topics(decide(store, [card("dose", "critical")], quiet())) == ["dose"]
    assert topics(decide(store, [card("dose", "warning")], quiet())) == []


def test_accepting_the_same_card_later_ends_the_quiet(store):
    shown = overriding(store, quiet())
    keep_feedback(store, [Item(shown.uuid, "accepted")], quiet(), "b12-order-select")
    governance = Governance(store)
    governance.poll()
    assert governance.decide([card("route")], quiet(), context()).cards


@pytest.mark.parametrize(
    "who",
    [
        tenant(),
        tenant(suppress_after_override_days=7),
        tenant(pseudonym_key=KEY),
    ],
)
def test_without_days_or_without_a_key_nothing_is_suppressed(store, who):
    overriding(store, who)
    assert decide(store, [card("route")], who).cards
    assert rows(store, schema.overrides) == []


def test_without_a_key_there_is_no_pseudonym(memory):
    assert decide(memory, [card()], tenant()).pseudonym is None


def test_a_pseudonym_depends_on_the_key_and_does_not_show_the_patient(memory):
    def pseudonym(key, patient="pat1"):
        return decide(
            memory, [card()], tenant(pseudonym_key=key), context(patientId=patient)
        ).pseudonym

    assert pseudonym(KEY) == pseudonym(KEY)
    assert len({pseudonym(KEY), pseudonym(b"another"), pseudonym(KEY, "pat2")}) == 3
    assert "pat1" not in pseudonym(KEY)


def test_quiet_of_one_tenant_is_not_quiet_of_another(store):
    overriding(store, quiet())
    other = tenant("south", pseudonym_key=KEY, suppress_after_override_days=7)
    assert decide(store, [card("route")], other).cards


# --- the end ----------------------------------------------------------------------------------


def readers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "switches"]


@pytest.fixture
def no_readers():
    """None of an application that other tests use, so that those seen are the test's."""
    others = set(readers())
    return lambda: [thread for thread in readers() if thread not in others]


def test_stopped_it_reads_no_more_and_decides_by_what_it_knows(memory, no_readers):
    memory.set_switch(None, "regimen", off=True, by="x")
    governance = Governance(memory)
    governance.decide([card("regimen")], tenant(), context())
    assert len(no_readers()) == 1
    governance.stop()
    governance.stop()
    assert no_readers() == []
    assert governance.decide([card("regimen")], tenant(), context()).cards == ()
    assert no_readers() == []


def test_forgotten_it_reads_no_more(memory, no_readers):
    governance = Governance(memory)
    governance.decide([card()], tenant(), context())
    del governance
    gc.collect()
    began = time.monotonic()
    while no_readers():
        assert time.monotonic() - began < 1
        time.sleep(0.02)


ENDS_WITH_THE_PROCESS = """
import atexit, threading, time

def look():  # registered first, so called when everything else has ended
    time.sleep(0.3)
    print([thread.name for thread in threading.enumerate()])

atexit.register(look)
from cds_service import governance
from cds_service.store import Store
from tests.support.records import card
from tests.support.stores import tenant

governance.POLL_SECONDS = 0.01
kept = governance.Governance(Store("sqlite://"))
kept.decide([card()], tenant(), {})
"""


@pytest.mark.fault("O01")
def test_at_the_end_of_the_process_it_stops_before_the_store_is_closed():
    command = [sys.executable, "-c", ENDS_WITH_THE_PROCESS]
    done = subprocess.run(
        command, check=False, cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "['MainThread']\n", "")
