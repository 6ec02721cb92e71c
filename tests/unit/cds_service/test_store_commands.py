"""The commands about what was recorded, and the settings they and the server share."""

from __future__ import annotations

from functools import partial

import pytest
from click.testing import CliRunner

from cds_service import schema
from cds_service.cli import main
from cds_service.feedback import Item, keep_feedback
from cds_service.settings import Settings, SettingsError
from cds_service.store import now_ms
from tests.support.records import card, recorded, rows
from tests.support.stores import tenant


@pytest.fixture
def run(store_url):
    def call(*arguments: str, **settings: str):
        env = {"B12_CDS_STORE": store_url} | settings
        return CliRunner().invoke(main, arguments, env=env)

    return call


# --- commands ---------------------------------------------------------------------------------


def test_a_card_is_explained(run, store):
    (shown,) = recorded(store)
    done = run("explain", shown.uuid)
    assert done.exit_code == 0
    assert "by rule regimen-standard" in done.output


def test_a_card_without_a_record_is_an_error(run):
    done = run("explain", "5c70adca-daa7-4f9a-ac04-53275901937f")
    assert done.exit_code == 1
    assert "no record" in done.output


@pytest.fixture
def north(tmp_path) -> dict[str, str]:
    """Settings with a tenant of that name."""
    path = tmp_path / "tenants.toml"
    path.write_text('[[tenant]]\nid = "north"\nauth = "open"\n')
    return {"B12_CDS_TENANTS": str(path)}


def test_a_topic_is_switched_off_and_on(run, store, north):
    run = partial(run, **north)
    assert "regimen is off for north" in run("topics", "off", "regimen", "--tenant", "north").output
    assert "regimen is off for all tenants" in run("topics", "off", "regimen").output
    assert store.switched_off() == {("north", "regimen"), ("*", "regimen")}
    done = run("topics", "on", "regimen", "--by", "a committee")
    assert "still off for north" in done.output
    assert run("topics", "list").output == "regimen is off for north\n"
    run("topics", "on", "regimen", "--tenant", "north")
    assert run("topics", "list").output == "Nothing is switched off.\n"
    assert {row["changed_by"] for row in rows(store, schema.switches)} == {
        "a committee",
        "command line",
    }


@pytest.mark.fault("O25")
@pytest.mark.parametrize("tenant", ["", "*", "nroth", "north "])
@pytest.mark.parametrize("way", ["off", "on"])
def test_a_switch_for_a_tenant_that_is_not_there_is_refused(run, store, north, tenant, way):
    store.set_switch(None, "regimen", off=True, by="x")
    done = run("topics", way, "regimen", "--tenant", tenant, **north)
    assert done.exit_code == 1
    assert "--tenant: no such tenant" in done.output
    assert store.switched_off() == {("*", "regimen")}


@pytest.mark.fault("O25")
def test_a_switch_for_a_tenant_that_has_gone_can_be_taken_back(run, store, north):
    store.set_switch("south", "regimen", off=True, by="x")
    assert run("topics", "on", "regimen", "--tenant", "south", **north).exit_code == 0
    assert store.switched_off() == frozenset()


@pytest.mark.fault("O25")
def test_the_tenant_of_a_server_without_a_file_has_its_name(run, store):
    assert run("topics", "off", "regimen", "--tenant", "development").exit_code == 0
    assert run("topics", "off", "regimen", "--tenant", "north").exit_code == 1
    assert store.switched_off() == {("development", "regimen")}


@pytest.mark.parametrize(
    "command", [("topics", "off", "risk"), ("topics", "list"), ("store", "purge")]
)
def test_a_store_in_memory_is_of_no_use_to_a_command(run, command):
    done = run(*command, B12_CDS_STORE="sqlite://")
    assert done.exit_code == 1
    assert "B12_CDS_STORE: in memory" in done.output


def test_it_is_said_that_dangers_are_still_shown(run):
    assert "critical cards are still shown" in run("topics", "off", "dose").output


@pytest.mark.parametrize("topic", ["unavailable", "no-such-topic"])
def test_what_cannot_be_switched_off_is_refused(run, store, topic):
    assert run("topics", "off", topic).exit_code != 0
    assert store.switched_off() == frozenset()


def test_purging_keeps_to_the_settings(run, store):
    old = now_ms() - 20 * 86_400_000
    (shown,) = recorded(store, card(), at=old)
    keep_feedback(store, [Item(shown.uuid, "overridden", comment="c")], tenant(), "s", now=old)
    assert "decisions: 0 deleted" in run("store", "purge").output
    done = run("store", "purge", B12_CDS_KEEP_COMMENTS_DAYS="10")
    assert "comments: 1 deleted" in done.output
    assert "feedback: 0 deleted" in done.output
    done = run("store", "purge", B12_CDS_KEEP_DECISIONS_DAYS="10", B12_CDS_KEEP_FEEDBACK_DAYS="19")
    assert "decisions: 1 deleted" in done.output
    assert "feedback: 1 deleted" in done.output


def test_made_up_records_are_for_development(run, store, tmp_path):
    assert run("store", "generate", "--decisions", "20", "--weeks", "2").exit_code == 0
    assert len(rows(store, schema.decisions)) == 20
    (tmp_path / "t.toml").write_text(
        '[[tenant]]\nid = "a"\nissuer = "https://ehr.example"\njwks_uri = "https://ehr.example/k"\n'
    )
    done = run(
        *("store", "generate"),
        B12_CDS_MODE="production",
        B12_CDS_PUBLIC_URL="https://cds.example",
        B12_CDS_TENANTS=str(tmp_path / "t.toml"),
    )
    assert done.exit_code == 1
    assert "only in development" in done.output
    assert len(rows(store, schema.decisions)) == 20


def test_a_store_that_does_not_answer_is_said_without_its_address(tmp_path):
    url = f"postgresql://someone:a-password@/none?host={tmp_path}"
    done = CliRunner().invoke(main, ["topics", "list"], env={"B12_CDS_STORE": url})
    assert done.exit_code == 1
    assert "B12_CDS_STORE" in done.output
    assert "password" not in done.output


# --- settings ---------------------------------------------------------------------------------


def test_without_a_setting_the_store_is_a_file_and_things_are_kept_for_so_long():
    settings = Settings.from_environment({})
    assert settings.store == "sqlite:///var/b12-cds.sqlite3"
    kept = (
        settings.keep_decisions_days,
        settings.keep_feedback_days,
        settings.keep_comments_days,
    )
    assert kept == (730, 730, 90)
    assert settings.admin_token_file is None


@pytest.mark.parametrize(
    "url", ["", "b12.sqlite3", "mysql://u:a-password@h/d", "postgresql://", "sqlite"]
)
def test_a_store_of_another_kind_stops_the_start(url):
    with pytest.raises(SettingsError) as caught:
        Settings.from_environment({"B12_CDS_STORE": url})
    (problem,) = caught.value.problems
    assert problem.startswith("B12_CDS_STORE: ")
    assert "password" not in problem


def test_postgresql_without_its_driver_is_said(monkeypatch):
    monkeypatch.setattr("cds_service.settings.find_spec", lambda name: None)
    with pytest.raises(SettingsError, match="b12-cds\\[postgres\\]"):
        Settings.from_environment({"B12_CDS_STORE": "postgresql://h/d"})


@pytest.mark.parametrize("days", ["0", "-1", "1.5", "x"])
def test_a_number_of_days_is_whole_and_at_least_one(days):
    with pytest.raises(SettingsError, match="B12_CDS_KEEP_COMMENTS_DAYS"):
        Settings.from_environment({"B12_CDS_KEEP_COMMENTS_DAYS": days})
