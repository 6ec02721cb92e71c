"""What the environment can say, and what stops the start."""

from __future__ import annotations

import pytest

from cds_service.settings import SETTINGS, Settings, SettingsError


def problems(**env: str) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as caught:
        Settings.from_environment(env)
    return caught.value.problems


def test_an_empty_environment_gives_the_defaults():
    settings = Settings.from_environment({})
    assert (settings.host, settings.port) == ("127.0.0.1", 8080)
    assert settings.public_url == "http://127.0.0.1:8080"
    assert settings.protocol == "default"
    assert settings.mode == "development"
    assert settings.missing_data == "412"
    assert settings.max_body_bytes == 16 * 1024 * 1024
    assert settings.workers >= 2
    assert settings.unused == ()


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_the_default_a_person_reads_is_the_one_in_force(setting):
    default = getattr(Settings.from_environment({}), setting.name.removeprefix("B12_CDS_").lower())
    if setting.default == "none":
        assert default in (None, ())
    elif setting.name not in ("B12_CDS_PUBLIC_URL", "B12_CDS_WORKERS"):  # these follow others
        assert setting.parse(setting.default) == default


def test_the_public_url_follows_host_and_port():
    settings = Settings.from_environment({"HOST": "0.0.0.0", "PORT": "9000"})  # noqa: S104
    assert settings.public_url == "http://0.0.0.0:9000"


def test_an_ipv6_address_is_bracketed():
    assert Settings.from_environment({"HOST": "::1"}).public_url == "http://[::1]:8080"


def test_a_slash_at_the_end_of_the_public_url_is_dropped():
    given = {"B12_CDS_PUBLIC_URL": "https://cds.example/b12/"}
    assert Settings.from_environment(given).public_url == "https://cds.example/b12"


def test_every_known_setting_is_read():
    settings = Settings.from_environment(
        {
            "B12_CDS_PROTOCOL": "us",
            "B12_CDS_MISSING_DATA": "card",
            "B12_CDS_MAX_BODY_BYTES": "2048",
            "B12_CDS_WORKERS": "3",
        }
    )
    assert settings.protocol == "us"
    assert settings.missing_data == "card"
    assert settings.max_body_bytes == 2048
    assert settings.workers == 3


def test_an_unknown_setting_stops_the_start_and_is_named():
    assert problems(B12_CDS_PROTCOL="us") == ("B12_CDS_PROTCOL: no such setting",)


def test_other_variables_are_nobodys_business():
    assert Settings.from_environment({"B12_OTHER": "x", "PATH": "/bin"}) == (
        Settings.from_environment({})
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "0"),
        ("PORT", "65536"),
        ("PORT", "80a"),
        ("PORT", "8_0"),
        ("PORT", "٨٠"),
        ("HOST", " "),
        ("B12_CDS_PUBLIC_URL", "cds.example"),
        ("B12_CDS_PUBLIC_URL", "ftp://cds.example"),
        ("B12_CDS_PUBLIC_URL", "https://"),
        ("B12_CDS_PUBLIC_URL", "https://u:hunter2@cds.example"),
        ("B12_CDS_PUBLIC_URL", "https://cds.example?a=b"),
        ("B12_CDS_PUBLIC_URL", "https://cds.example#top"),
        ("B12_CDS_PUBLIC_URL", "https://cds.example:99999"),
        ("B12_CDS_PUBLIC_URL", "https://[cds"),
        ("B12_CDS_PUBLIC_URL", "https://cds example"),
        ("B12_CDS_PUBLIC_URL", 'https://cds.example/"<b>'),
        ("B12_CDS_PUBLIC_URL", "https://cds.example/%zz"),
        ("B12_CDS_TRACES", "https://2130706433/v1/traces"),
        ("B12_CDS_PROTOCOL", "fr"),
        ("B12_CDS_MODE", "live"),
        ("B12_CDS_MISSING_DATA", "200"),
        ("B12_CDS_MAX_BODY_BYTES", "-1"),
        ("B12_CDS_WORKERS", "0"),
        ("B12_CDS_DEADLINE_MS", "soon"),
        ("B12_CDS_DEADLINE_MS", "99"),
        ("B12_CDS_DEADLINE_MS", "10001"),
        ("B12_CDS_STORE", ""),
        ("B12_CDS_STORE", "mysql://db.example/b12"),
        ("B12_CDS_STORE", "sqlite://store.sqlite3"),
        ("B12_CDS_STORE", "sqlite:///file:b12?mode=memory&uri=true"),
        ("B12_CDS_STORE", "postgresql://user:hunter2@db.example:port/b12"),
        ("B12_CDS_FHIR_SERVERS", "https://ehr.example ehr2"),
        ("B12_CDS_METRICS_PORT", "x"),
    ],
)
@pytest.mark.fault("O07")
def test_a_bad_value_is_named_by_its_setting_and_not_quoted(name, value):
    (problem,) = problems(**{name: value})
    assert problem.startswith(f"{name}: must")
    assert not value.strip() or value not in problem.removeprefix(name)


def test_all_problems_are_reported_at_once():
    assert len(problems(PORT="x", B12_CDS_MODE="x", B12_CDS_X="x")) == 3


def test_values_are_read_as_what_they_are():
    settings = Settings.from_environment(
        {
            "B12_CDS_METRICS_PORT": "9100",
            "B12_CDS_FHIR_SERVERS": "http://127.0.0.1:* https://ehr.example/r4",
            "B12_CDS_DEADLINE_MS": "1500",
            "B12_CDS_TENANTS": "tenants.toml",
        }
    )
    assert (settings.metrics_port, settings.deadline_ms) == (9100, 1500)
    assert settings.fhir_servers == ("http://127.0.0.1:*", "https://ehr.example/r4")
    assert settings.tenants == "tenants.toml"


@pytest.mark.fault("A31")
@pytest.mark.requirement("H2@168")
def test_production_does_not_start_open_or_without_encryption():
    found = problems(B12_CDS_MODE="production")
    assert [p.partition(":")[0] for p in found] == ["B12_CDS_PUBLIC_URL", "B12_CDS_TENANTS"]


@pytest.mark.fault("A31")
@pytest.mark.parametrize(
    ("servers", "refused"),
    [
        ("http://127.0.0.1:*", True),
        ("http://localhost:*", True),
        ("http://127.0.0.1:8080/fhir", True),
        ("http://ehr.example/fhir", True),
        ("https://127.0.0.1/fhir", True),
        ("https://127.9.9.9/fhir", True),
        ("https://[::1]/fhir", True),
        ("https://localhost/fhir", True),
        ("https://0.0.0.0/fhir", True),
        ("https://169.254.169.254/fhir", True),
        ("https://ehr.example/fhir http://127.0.0.1:*", True),
        ("https://ehr.example/fhir", False),
        ("https://10.1.2.3/fhir https://ehr.example", False),
        ("", False),
    ],
)
def test_production_calls_no_server_of_this_machine_and_none_in_the_clear(servers, refused):
    found = problems(
        B12_CDS_MODE="production",
        B12_CDS_PUBLIC_URL="https://cds.example",
        B12_CDS_FHIR_SERVERS=servers,
    )
    names = [problem.partition(":")[0] for problem in found]
    assert names == ["B12_CDS_TENANTS"] + ["B12_CDS_FHIR_SERVERS"] * refused
    assert not any(server in problem for problem in found for server in servers.split())


@pytest.mark.fault("A31", "A18")
@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///", "sqlite:///:memory:"])
def test_production_keeps_what_it_keeps_where_all_workers_see_it(url):
    fine = {
        "B12_CDS_MODE": "production",
        "B12_CDS_PUBLIC_URL": "https://cds.example",
        "B12_CDS_TENANTS": "tenants.toml",
    }
    assert Settings.from_environment(fine).mode == "production"
    assert Settings.from_environment({"B12_CDS_STORE": url}).store == url
    found = problems(**fine, B12_CDS_STORE=url)
    assert found == ("B12_CDS_STORE: must not be in memory in production",)


@pytest.mark.fault("O07")
@pytest.mark.parametrize("mode", ["development", "production"])
def test_the_metrics_have_a_port_of_their_own(mode):
    fine = {
        "B12_CDS_MODE": mode,
        "B12_CDS_PUBLIC_URL": "https://cds.example",
        "B12_CDS_TENANTS": "tenants.toml",
    }
    named = ("B12_CDS_METRICS_PORT: must not be PORT",)
    assert problems(**fine, B12_CDS_METRICS_PORT="8080") == named
    assert problems(**fine, PORT="9000", B12_CDS_METRICS_PORT="9000") == named
    fine |= {"PORT": "9000", "B12_CDS_METRICS_PORT": "9001"}
    assert Settings.from_environment(fine).metrics_port == 9001


def test_production_with_https_still_needs_tenants():
    found = problems(B12_CDS_MODE="production", B12_CDS_PUBLIC_URL="https://cds.example")
    assert [p.partition(":")[0] for p in found] == ["B12_CDS_TENANTS"]
