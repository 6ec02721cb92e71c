"""The dashboard: who may see it, whether its numbers are right, and that nothing on it is code."""

from __future__ import annotations

import base64
import csv
import io
import re
import time
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from urllib.parse import quote
from xml.etree import ElementTree as ET

import pytest

from cds_service.application import create_app
from cds_service.dashboard.export import csv_text
from cds_service.dashboard.generate import generate
from cds_service.dashboard.numbers import Alarm, Count, Question, read_numbers
from cds_service.dashboard.plots import rows_plot, weeks_plot
from cds_service.feedback import Item, keep_feedback
from cds_service.records import write
from cds_service.settings import Settings, SettingsError
from cds_service.store import now_ms
from regimen.protocol import load_protocol
from tests.support.records import card, decision, recorded
from tests.support.stores import tenant

SERVICE = "b12-order-select"
DAY_MS = 86_400_000
TODAY = datetime.now(UTC).date()
TOKEN = "a-token-of-the-admin"
HOSTILE = '<script>alert(1)</script>=HYPERLINK("https://evil.example")'


def numbers(store, **question):
    return read_numbers(store, Question(today=TODAY, **question))


def say(store, shown, outcome, who="north", **parts):
    keep_feedback(store, [Item(shown.uuid, outcome, **parts)], tenant(who), SERVICE)


# --- the numbers ------------------------------------------------------------------------------


def test_cards_are_counted_by_what_became_of_them(store):
    a, b, c, d = (card() for _ in range(4))
    recorded(store, a, b, c, d, withheld={d.uuid: "silent"})
    say(store, a, "accepted")
    say(store, b, "overridden")
    total = numbers(store).total
    assert total == Count(fired=4, shown=3, accepted=1, overridden=1)
    assert total.ignored == 1


def test_they_are_told_apart_by_week_tenant_protocol_topic_and_rule(store):
    recorded(store, card("regimen"), at=now_ms() - 14 * DAY_MS)
    recorded(store, card("regimen"), tenant="south", protocol="us/2")
    recorded(store, card("route"), rules={"route": "route-nasal"})
    found = numbers(store)
    assert len(found.counts) == 3
    assert list(found.by("tenant")) == ["north", "south"]
    assert list(found.by("protocol")) == ["default/1", "us/2"]
    assert found.by("topic") == {"regimen": Count(2, 2), "route": Count(1, 1)}
    assert set(found.by("rule")) == {"regimen-standard", "route-nasal"}
    weeks = list(found.by("week"))
    assert weeks[1] - weeks[0] == timedelta(days=14)
    assert all(week.weekday() == 0 for week in weeks)


def test_a_question_is_answered_for_its_tenant_protocol_and_weeks(store):
    recorded(store, card(), at=now_ms() - 100 * DAY_MS)
    recorded(store, card(), tenant="south")
    recorded(store, card(), protocol="us/2")
    assert numbers(store).total.fired == 2
    assert numbers(store, weeks=20).total.fired == 3
    assert numbers(store, tenant="south").total.fired == 1
    assert numbers(store, protocol="us/2").total.fired == 1
    assert numbers(store).tenants == ("north", "south")


def test_of_several_items_about_a_card_the_latest_counts(store):
    (shown,) = recorded(store)
    say(store, shown, "overridden", said_at=now_ms() - 1000)
    say(store, shown, "accepted", said_at=now_ms() - 500)
    say(store, shown, "overridden", said_at=now_ms() - 900, reason="patient-refuses")
    assert numbers(store).total == Count(1, 1, accepted=1)
    assert numbers(store).reasons == {}


def test_feedback_of_another_tenant_counts_nowhere(store):
    (shown,) = recorded(store)
    say(store, shown, "accepted", who="south")
    assert numbers(store).total == Count(1, 1)
    assert numbers(store).unmatched == 1
    assert numbers(store, tenant="north").unmatched == 0


def test_feedback_that_came_before_the_record_finds_its_card(store):
    early = card()
    say(store, early, "accepted")
    assert numbers(store).unmatched == 1
    recorded(store, early)
    assert numbers(store).total.accepted == 1
    assert numbers(store).unmatched == 0


def test_reasons_are_counted_by_topic(store):
    for reason in ("patient-refuses", "patient-refuses", None):
        (shown,) = recorded(store, card("route"))
        say(store, shown, "overridden", reason=reason)
    assert numbers(store).reasons == {("route", "patient-refuses"): 2, ("route", "none given"): 1}


def test_latency_is_told_by_percentiles(store):
    write(store, [decision(ms=ms) for ms in range(1, 101)], {})
    (found,) = numbers(store).latencies
    assert (found.calls, found.p50, found.p95, found.p99, found.longest) == (100, 50, 95, 99, 100)


def test_gaps_are_counted_by_key_and_kind_in_calls(store):
    recorded(store, gaps=[("labs", "server_error", 3), ("allergies", "truncated", 1)])
    recorded(store, gaps=[("labs", "server_error", 1)])
    assert numbers(store).gaps == {("labs", "server_error"): 2, ("allergies", "truncated"): 1}


def test_calls_are_told_by_kind(store):
    minute = now_ms() // 60_000 * 60_000
    write(
        store,
        [decision(), decision(status=412), decision(mode="silent")],
        {(minute, "north", SERVICE, "not-ours"): 7, (minute, "north", SERVICE, "status-400"): 2},
    )
    assert numbers(store).calls == {
        "evaluated": 2,
        "record unread (412)": 1,
        "of these silent": 1,
        "not about our orders": 7,
        "status-400": 2,
    }


# --- alarms -----------------------------------------------------------------------------------


def calls(store, week_ago, number, *topics, **parts):
    at = now_ms() - (week_ago * 7 + 1) * DAY_MS
    write(store, [decision(*map(card, topics), at=at, **parts) for _ in range(number)], {})


def test_a_topic_that_stops_firing_is_an_alarm(store):
    for week in range(1, 5):
        calls(store, week, 20, "regimen", "route")
    calls(store, 0, 20, "regimen")
    assert numbers(store).alarms == (Alarm("north", "route", "has stopped", 0.0, 100.0),)


def test_a_topic_that_fires_three_times_as_often_is_an_alarm(store):
    for week in range(1, 5):
        calls(store, week, 6, "route")
        calls(store, week, 24)
    calls(store, 0, 30, "route")
    (alarm,) = numbers(store).alarms
    assert (alarm.topic, alarm.what, alarm.now, alarm.before) == (
        *("route", "fires far more"),
        *(100.0, 20.0),
    )


def test_more_calls_are_no_alarm_if_the_share_stays(store):
    for week in range(1, 5):
        calls(store, week, 10, "route")
    calls(store, 0, 90, "route")
    assert numbers(store).alarms == ()


def test_a_rare_topic_that_did_not_fire_is_no_alarm(store):
    for week in range(1, 5):
        calls(store, week, 1, "dose")
        calls(store, week, 19)
    calls(store, 0, 20)
    assert numbers(store).alarms == ()


def test_a_client_that_stops_calling_is_an_alarm(store):
    for week in range(1, 5):
        calls(store, week, 20, tenant="south")
    (alarm,) = numbers(store).alarms
    assert (alarm.tenant, alarm.topic, alarm.what, alarm.before) == ("south", "", "no calls", 20.0)


# --- who may see it ---------------------------------------------------------------------------


@pytest.fixture
def token_file(tmp_path):
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    file.chmod(0o600)
    return file


def client_of(store_url="sqlite://", **settings):
    return create_app(Settings(store=store_url, **settings)).test_client()


def basic(password):
    return {"Authorization": "Basic " + base64.b64encode(f"any:{password}".encode()).decode()}


def test_in_development_it_is_open():
    assert client_of().get("/dashboard").status_code == 200
    assert client_of().get("/dashboard/").status_code == 200


def test_in_production_there_is_none_without_a_token():
    client = client_of(mode="production", public_url="https://cds.example")
    assert client.get("/dashboard").status_code == 404
    assert client.get("/dashboard/counts.csv").status_code == 404


@pytest.mark.parametrize("path", ["/dashboard", "/dashboard/counts.csv"])
@pytest.mark.parametrize("mode", ["development", "production"])
def test_with_a_token_it_is_asked_for(token_file, path, mode):
    client = client_of(admin_token_file=str(token_file), mode=mode, public_url="https://c.example")
    for headers in ({}, basic("wrong"), basic(TOKEN + "x"), {"Authorization": "Bearer é"}):
        refused = client.get(path, headers=headers)
        assert refused.status_code == 401
        assert refused.headers["WWW-Authenticate"].startswith("Basic")
        assert refused.json["resourceType"] == "OperationOutcome"
    assert client.get(path, headers=basic(TOKEN)).status_code == 200
    assert client.get(path, headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200


@pytest.mark.parametrize(
    ("text", "mode"), [("short", 0o600), (TOKEN, 0o604), (TOKEN, 0o602), ("é" * 20, 0o600), ("", 0)]
)
def test_a_token_file_that_cannot_be_trusted_stops_the_start(token_file, text, mode):
    token_file.write_text(text)
    token_file.chmod(mode)
    with pytest.raises(SettingsError) as caught:
        Settings.from_environment({"B12_CDS_ADMIN_TOKEN_FILE": str(token_file)})
    (problem,) = caught.value.problems
    assert problem.startswith("B12_CDS_ADMIN_TOKEN_FILE: ")
    assert TOKEN not in problem


def test_a_store_that_is_down_is_said_on_the_page(tmp_path):
    (tmp_path / "file").write_text("")
    page = client_of(f"sqlite:///{tmp_path}/file/x").get("/dashboard")
    assert page.status_code == 503
    assert "does not answer" in page.text


# --- nothing on it is code --------------------------------------------------------------------


def test_the_page_allows_no_script_and_nothing_from_elsewhere(tmp_path):
    client = client_of(f"sqlite:///{tmp_path}/b12.sqlite3")
    store = client.application.extensions["b12_cds"].store
    generate(store, load_protocol("default"), decisions=300, weeks=6)
    page = client.get("/dashboard")
    policy = dict(
        part.split(maxsplit=1) for part in page.headers["Content-Security-Policy"].split("; ")
    )
    assert policy == {
        "default-src": "'none'",
        "style-src": "'self'",
        "img-src": "'self'",
        "form-action": "'self'",
        "base-uri": "'none'",
        "frame-ancestors": "'none'",
    }
    assert page.headers["X-Frame-Options"] == "DENY"
    assert not re.search(r"<script|<style|\sstyle=|\son[a-z]+=|https?://|javascript:", page.text)
    sheet = re.search(r'<link rel="stylesheet" href="([^"]+)"', page.text)[1]
    assert client.get(sheet, buffered=True).mimetype == "text/css"


def test_what_people_typed_is_text(store, store_url):
    (shown,) = recorded(store, card())
    say(store, shown, "overridden", comment=HOSTILE)
    page = client_of(store_url).get("/dashboard").text
    assert "&lt;script&gt;alert(1)" in page
    assert "<script" not in page


def test_the_question_is_text_too():
    page = client_of().get("/dashboard", query_string={"tenant": HOSTILE, "protocol": HOSTILE})
    assert page.status_code == 200
    assert "<script" not in page.text


@pytest.mark.parametrize(
    "weeks", ["0", "-1", "999", "x", "", "²", "9" * 5000, "00129999", "0012", "105", " 3"]
)
def test_a_number_of_weeks_that_is_none_is_twelve(weeks):
    page = client_of().get("/dashboard", query_string={"weeks": weeks})
    assert 'value="12"' in page.text


@pytest.mark.parametrize("name", ["tenant", "protocol"])
@pytest.mark.parametrize("text", ["\0", "a\0b", "\ud800", "x" * 5000, "é", "%"])
def test_an_odd_question_is_answered(store_url, name, text):
    query = f"{name}={quote(text, errors='surrogatepass')}"
    assert client_of(store_url).get(f"/dashboard?{query}").status_code == 200


@pytest.mark.fault("K08")
@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t=", "\r=", " =", "＝", "\n+", "|"])
def test_no_cell_of_a_csv_is_a_formula(store, start):
    (shown,) = recorded(store)
    say(store, shown, "overridden", comment=f"{start}1+1")
    _, row = csv.reader(io.StringIO(csv_text(numbers(store), "comments"), newline=""))
    assert row[-1] == f"'{start}1+1"


def test_ordinary_cells_stay_as_they_are(store):
    recorded(store, card("regimen"))
    head, row = csv.reader(io.StringIO(csv_text(numbers(store), "counts")))
    found = dict(zip(head, row, strict=True))
    assert found["topic"] == "regimen"
    assert (found["fired"], found["ignored"]) == ("1", "1")


def test_a_csv_is_downloaded_and_an_unknown_one_is_not_there():
    client = client_of()
    answer = client.get("/dashboard/counts.csv")
    assert answer.mimetype == "text/csv"
    assert "attachment" in answer.headers["Content-Disposition"]
    assert client.get("/dashboard/nothing.csv").status_code == 404


# --- plots ------------------------------------------------------------------------------------


def texts(svg) -> list[str]:
    return [element.text for element in ET.fromstring(svg).iter("text")]  # noqa: S314  our own


def test_a_bar_is_as_long_as_its_number():
    svg = rows_plot("A title", {"a": {"accepted": 10, "ignored": 30}, "b": {"accepted": 20}})
    bars = {
        (bar.find("title").text): float(bar.get("width"))
        for bar in ET.fromstring(svg).iter("rect")  # noqa: S314  our own
    }
    assert bars["a: 30 ignored"] == pytest.approx(3 * bars["a: 10 accepted"], abs=0.2)
    assert bars["b: 20 accepted"] == pytest.approx(2 * bars["a: 10 accepted"], abs=0.2)
    assert {"a", "b", "40", "20"} <= set(texts(svg))


def test_the_number_over_a_week_is_its_sum():
    svg = weeks_plot("A title", ["1 Jan", "8 Jan"], {"accepted": [1, 2], "ignored": [3, 0]})
    assert Counter(texts(svg)) == Counter(["1 Jan", "8 Jan", "4", "2"])


def test_many_weeks_do_not_write_over_each_other():
    svg = weeks_plot("A title", [f"week {n}" for n in range(60)], {"accepted": [1] * 60})
    assert len(texts(svg)) <= 2 * 16
    assert svg.count("<rect") == 60


def test_a_plot_of_nothing_and_a_hostile_label_are_still_svg():
    ET.fromstring(rows_plot("A title", {}))  # noqa: S314
    ET.fromstring(weeks_plot("A title", ["1"], {"accepted": [0]}))  # noqa: S314
    svg = rows_plot('"><x', {"</text><script>": {"gap": 1}})
    assert "<script" not in svg
    assert "</text><script>" in texts(svg)


# --- with a year of use behind it -------------------------------------------------------------


def test_ten_thousand_decisions_are_shown_in_a_second(tmp_path):
    client = client_of(f"sqlite:///{tmp_path}/b12.sqlite3")
    store = client.application.extensions["b12_cds"].store
    generate(store, load_protocol("default"), decisions=10_000, weeks=26)
    client.get("/dashboard")
    began = time.process_time()  # of this process: others may be busy
    page = client.get("/dashboard?weeks=30")
    assert time.process_time() - began < 1
    assert page.status_code == 200
    assert "has stopped" in page.text
    assert numbers(store, weeks=30).total.fired > 9000


def test_made_up_records_are_the_same_every_time(tmp_path):
    from cds_service.store import Store

    found = []
    for name in ("a", "b"):
        store = Store(f"sqlite:///{tmp_path}/{name}.sqlite3")
        generate(store, load_protocol("default"), decisions=100, weeks=2)
        found.append(numbers(store).by("topic"))
        store.close()
    assert found[0] == found[1]


def test_the_weeks_asked_for_are_whole_ones():
    question = Question(today=date(2026, 1, 14), weeks=1)
    assert question.since == date(2026, 1, 12)
    assert Question(today=date(2026, 1, 14), weeks=3).since == date(2025, 12, 29)
