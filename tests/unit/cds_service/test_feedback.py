"""What a client says about cards: what is understood, and what is kept."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from cds_service import schema
from cds_service.errors import ServiceError
from cds_service.feedback import MAX_COMMENT, keep_feedback, read_feedback
from cds_service.store import now_ms
from tests.support.records import card, recorded, rows
from tests.support.stores import tenant

CARD = "d1577c69-dfbe-44ad-ba6d-3e05e953b2ea"
SUGGESTION = "774876d9-8bb8-41f1-8d80-bb2e055dd2c3"
SAID = "2026-01-15T10:00:00Z"
SERVICE = "b12-order-select"
REASONS = ("expert-contradicts",)


def accepted(**parts):
    return {
        "card": CARD,
        "outcome": "accepted",
        "acceptedSuggestions": [{"id": SUGGESTION}],
        "outcomeTimestamp": SAID,
    } | parts


def overridden(**parts):
    return {
        "card": CARD,
        "outcome": "overridden",
        "overrideReason": {
            "reason": {"code": "expert-contradicts", "system": "https://x.example"},
            "userComment": "neurology says otherwise",
        },
        "outcomeTimestamp": SAID,
    } | parts


def read(*items):
    return read_feedback(json.dumps({"feedback": items}).encode(), REASONS)


def read_one(item):
    (only,) = read(item)
    return only


def refused(body: bytes):
    with pytest.raises(ServiceError) as caught:
        read_feedback(body, REASONS)
    return caught.value


# --- what is understood -----------------------------------------------------------------------


def test_an_accepted_suggestion():
    item = read_one(accepted())
    assert (item.card, item.outcome, item.suggestions) == (CARD, "accepted", (SUGGESTION,))
    assert item.said_at == int(datetime(2026, 1, 15, 10, tzinfo=UTC).timestamp() * 1000)
    assert item.flags == ()


def test_an_override_with_reason_and_comment():
    item = read_one(overridden())
    assert (item.outcome, item.reason) == ("overridden", "expert-contradicts")
    assert item.comment == "neurology says otherwise"
    assert item.flags == ()


@pytest.mark.fault("K02")
def test_the_form_epic_sends():
    prefix = "com.epic.cdshooks.feedback.overrideReason."
    item = read_one(
        {
            "card": "123456",
            "outcome": "overridden",
            "overrideReasons": {
                "extension": {
                    f"{prefix}reasonCategory": "7",
                    f"{prefix}reasonDisplay": "Benefit outweighs risk",
                    f"{prefix}reasonTitle": "Benefit outweighs risk",
                },
                "userComment": "see note",
            },
            "outcomeTimestamp": SAID,
            "extension": {"com.epic.cdshooks.feedback.user-role": "x"},
        }
    )
    assert item.card.startswith("other-")
    assert item.reason.startswith("other-")
    assert item.comment == "7 / Benefit outweighs risk\nsee note"


def test_the_form_epic_sends_with_one_of_our_reasons():
    item = read_one({"card": CARD, "outcome": "overridden", "overrideReasons": {
        "reason": {"code": "expert-contradicts", "system": "urn:any"}}})  # fmt: skip
    assert item.reason == "expert-contradicts"


def test_a_card_is_the_same_however_its_uuid_is_written():
    assert read_one(accepted(card=CARD.upper())).card == CARD
    assert read_one(accepted(card=f"urn:uuid:{CARD}")).card == CARD


@pytest.mark.fault("K03")
def test_an_identifier_that_is_no_uuid_is_kept_as_a_digest():
    one, same, other = (read_one(accepted(card=c)).card for c in ("Mrs Alder", "Mrs Alder", "x"))
    assert one == same != other
    assert "Alder" not in one


@pytest.mark.parametrize(
    ("parts", "flag"),
    [
        ({"acceptedSuggestions": None}, "no-suggestion"),
        ({"acceptedSuggestions": []}, "no-suggestion"),
        ({"acceptedSuggestions": "x"}, "suggestions-unreadable"),
        ({"acceptedSuggestions": [{"id": 7}, "x", {}]}, "suggestions-unreadable"),
        ({"overrideReason": "x"}, "reason-unreadable"),
        ({"overrideReason": {"reason": "x"}}, "reason-unreadable"),
        ({"overrideReason": {"reason": {"code": "made up"}}}, "reason-not-ours"),
        ({"outcomeTimestamp": None}, "time-missing"),
        ({"outcomeTimestamp": "yesterday"}, "time-unreadable"),
        ({"outcomeTimestamp": 7}, "time-unreadable"),
        ({"outcomeTimestamp": "2026-02-30T00:00:00Z"}, "time-unreadable"),
        ({"outcomeTimestamp": "2026-01-15T10:00:00"}, "time-without-zone"),
    ],
)
@pytest.mark.fault("K04", "K07")
def test_what_is_odd_is_taken_and_marked(parts, flag):
    assert read_one(accepted(**parts)).flags == (flag,)


@pytest.mark.parametrize("time", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
def test_the_first_and_the_last_time_there_is_can_be_kept(store, time):
    assert keep(store, accepted(outcomeTimestamp=time)).new == 1


@pytest.mark.fault("K07")
def test_a_time_of_any_zone_is_the_same_time():
    zones = ("2026-01-15T10:00:00Z", "2026-01-15T12:00:00+02:00", "2026-01-15T05:00:00.000-05:00")
    assert len({read_one(accepted(outcomeTimestamp=text)).said_at for text in zones}) == 1


@pytest.mark.fault("K08")
def test_a_long_comment_is_cut():
    item = read_one(overridden(overrideReason={"userComment": "x" * 1_000_000}))
    assert (len(item.comment), item.flags) == (MAX_COMMENT, ("comment-cut",))


@pytest.mark.fault("K08")
@pytest.mark.parametrize(
    ("written", "kept"),
    [
        (rb"half \ud83d", "half \ufffd"),
        (rb"\ude00 half", "\ufffd half"),
        (rb"\ud83d\ud83d\ude00", "\ufffd\U0001f600"),
        (rb"\ud83d\ude00 \udfff", "\U0001f600 \ufffd"),
        (rb"\\ud800 and \ud800", "\\ud800 and \ufffd"),
        (rb"'; DROP TABLE feedback; --", "'; DROP TABLE feedback; --"),
        (rb"<script>alert(1)</script>", "<script>alert(1)</script>"),
        (rb"one\r\nforged", "one \nforged"),
    ],
)
def test_a_hostile_comment_is_taken_and_kept_as_text(store, written, kept):
    body = json.dumps({"feedback": [overridden(overrideReason={"userComment": "here"})]}).encode()
    items = read_feedback(body.replace(b"here", written), REASONS)
    keep_feedback(store, items, tenant(), SERVICE)
    assert [row["text"] for row in rows(store, schema.comments)] == [kept]


@pytest.mark.parametrize(
    "text", [rb'"\ud8"', rb'"\ud80x"', rb'"\x"', rb'"\ud800', b'"\xed\xa0\x80"']
)
def test_what_is_no_json_stays_none(text):
    with pytest.raises(ServiceError):
        read_feedback(b'{"feedback": [], "x": %s}' % text, REASONS)


def test_a_comment_loses_what_could_not_be_kept():
    item = read_one(overridden(overrideReason={"userComment": " a\x00b\x1b[31m\nc "}))
    assert item.comment == "a b [31m\nc"


def test_a_reason_that_is_not_ours_is_counted_and_not_kept():
    def reason(code):
        return read_one(overridden(overrideReason={"reason": {"code": code}})).reason

    assert reason("Mrs Alder objects") == reason("Mrs Alder objects") != reason("x")
    assert "Alder" not in reason("Mrs Alder objects")
    assert reason("patient-refuses") == "patient-refuses"  # of the standard's own set


@pytest.mark.parametrize(
    ("body", "status", "element"),
    [
        (b"", 400, None),
        (b"{", 400, None),
        (b"\xff", 400, None),
        (b"[" * 100_000, 400, None),
        (b"[]", 400, None),
        (b'"x"', 400, None),
        (b"{}", 400, "feedback"),
        (b'{"feedback": null}', 400, "feedback"),
        (b'{"feedback": {}}', 400, "feedback"),
        (b'{"card": "x", "outcome": "accepted"}', 400, "feedback"),
        (b'{"feedback": [7]}', 400, "feedback[0]"),
        (b'{"feedback": [{"outcome": "accepted"}]}', 400, "feedback[0].card"),
        (b'{"feedback": [{"card": 7, "outcome": "accepted"}]}', 400, "feedback[0].card"),
        (b'{"feedback": [{"card": " ", "outcome": "accepted"}]}', 400, "feedback[0].card"),
        (b'{"feedback": [{"card": "x"}]}', 400, "feedback[0].outcome"),
        (b'{"feedback": [{"card": "x", "outcome": "ignored"}]}', 400, "feedback[0].outcome"),
        (b'{"feedback": [{"card": "x", "outcome": "ACCEPTED"}]}', 400, "feedback[0].outcome"),
    ],
)
@pytest.mark.fault("K05", "K14")
def test_what_is_no_feedback_is_refused_and_named(body, status, element):
    error = refused(body)
    assert (error.status, error.expression) == (status, element)


def test_the_element_is_named_and_not_its_value():
    body = json.dumps({"feedback": [accepted(), accepted(outcome="Mrs Alder")]}).encode()
    error = refused(body)
    assert error.expression == "feedback[1].outcome"
    assert "Alder" not in error.diagnostics


@pytest.mark.fault("K01")
def test_ten_thousand_items_are_read_and_no_more():
    assert len(read(*[accepted()] * 10_000)) == 10_000
    assert refused(json.dumps({"feedback": [accepted()] * 10_001}).encode()).status == 413


# --- what is kept -----------------------------------------------------------------------------


def keep(store, *items, who=None, service=SERVICE, now=None):
    return keep_feedback(store, read(*items), who or tenant(), service, now=now)


def flags(store):
    return [json.loads(row["flags"]) for row in rows(store, schema.feedback)]


def test_feedback_is_kept_with_the_time_it_came(store):
    before = now_ms()
    assert keep(store, overridden()).new == 1
    (row,) = rows(store, schema.feedback)
    assert before <= row["received_at"] <= now_ms()
    assert row["said_at"] == row["effective_at"] < row["received_at"]
    assert (row["tenant"], row["service"], row["card"]) == ("north", SERVICE, CARD)
    (comment,) = rows(store, schema.comments)
    assert comment["text"] == "neurology says otherwise"
    assert "neurology" not in json.dumps(row)


@pytest.mark.fault("K06")
def test_the_same_again_changes_nothing(store):
    keep(store, overridden(), overridden())
    assert keep(store, overridden()).new == 0
    assert len(rows(store, schema.feedback)) == 1
    assert len(rows(store, schema.comments)) == 1


@pytest.mark.fault("K06")
def test_a_changed_outcome_is_kept_beside_the_first_and_the_latest_counts(store):
    from cds_service.feedback import current_outcomes
    from cds_service.store import Way

    keep(store, overridden())
    keep(store, accepted(outcomeTimestamp="2026-01-15T11:00:00Z"))
    keep(store, overridden(outcomeTimestamp="2026-01-15T09:00:00Z"))  # earlier, and late
    assert len(rows(store, schema.feedback)) == 3
    with store.transaction(Way.READ) as connection:
        assert current_outcomes(connection, "north", [CARD]) == {CARD: "accepted"}


def test_in_one_body_the_last_about_a_card_counts_where_the_times_are_the_same(store):
    from cds_service.feedback import current_outcomes
    from cds_service.store import Way

    keep(store, accepted(), overridden())
    with store.transaction(Way.READ) as connection:
        assert current_outcomes(connection, "north", [CARD]) == {CARD: "overridden"}


@pytest.mark.fault("K07")
def test_a_time_in_the_future_does_not_make_it_the_latest(store):
    keep(store, accepted(outcomeTimestamp="2999-01-01T00:00:00Z"))
    (row,) = rows(store, schema.feedback)
    assert row["effective_at"] == row["received_at"] < row["said_at"]
    assert flags(store) == [["time-in-future"]]


@pytest.mark.fault("K04", "K09")
def test_a_suggestion_or_a_service_that_is_not_the_cards_is_marked(store):
    (shown,) = recorded(store)
    mine = [{"id": shown.suggestions[0].uuid}]
    keep(store, accepted(card=shown.uuid, acceptedSuggestions=mine))
    keep(store, accepted(card=shown.uuid), service="b12-order-sign")
    marks = sorted(flags(store))
    assert marks == [[], ["other-service", "suggestion-not-of-card"]]


@pytest.mark.fault("K03")
def test_a_card_of_another_tenant_is_unknown(store):
    (theirs,) = recorded(store, card(), tenant="south", pseudonym="p")
    who = tenant("north", pseudonym_key=b"k", suppress_after_override_days=7)
    keep(store, overridden(card=theirs.uuid), who=who, service="b12-order-sign")
    assert flags(store) == [[]]  # nothing tells that there is such a card
    assert rows(store, schema.overrides) == []


def test_two_tenants_that_say_the_same_are_both_kept(store):
    keep(store, overridden(), who=tenant("north"))
    assert keep(store, overridden(), who=tenant("south")).new == 1
    assert len(rows(store, schema.comments)) == 2


@pytest.mark.fault("K01")
def test_ten_thousand_items_are_kept(store):
    (shown,) = recorded(store)
    items = [
        overridden(card=shown.uuid, overrideReason={"userComment": str(n)}) for n in range(10_000)
    ]
    assert keep(store, *items).new == 10_000
    assert len(rows(store, schema.comments)) == 10_000


def test_two_bodies_with_the_same_items_in_another_order_do_not_block_each_other(store):
    from concurrent.futures import ThreadPoolExecutor

    items = [overridden(overrideReason={"userComment": str(n)}) for n in range(200)]
    store.prepare()
    with ThreadPoolExecutor(4) as pool:
        results = pool.map(lambda order: keep(store, *order), [items, items[::-1]] * 2)
    assert sum(result.new for result in results) >= 200
    assert len(rows(store, schema.feedback)) == 200
