"""The tenants file: what is read from it, and what is refused by name."""

from __future__ import annotations

import copy
import json
from datetime import UTC, date, datetime, timedelta

import pytest
from click.testing import CliRunner
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from cds_service.cards import footer
from cds_service.cli import main
from cds_service.settings import Settings
from cds_service.tenants import KEYS, Tenant, TenantsError, read_tenants
from regimen.protocol import load_protocol, profile_data
from tests.support.tokens import es384, key_set, rs384, write_tenants

OFFERED = ("b12-order-select",)
HEAD = '[[tenant]]\nid = "one"\nissuer = "https://ehr.example"\n'
KEYED = HEAD + 'jwks_file = "keys.json"\n'


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "keys.json").write_bytes(key_set(es384()))
    return tmp_path


def read(folder, text: str | bytes, **settings):
    path = folder / "tenants.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_tenants(Settings(tenants=str(path), **settings), OFFERED)


def problem(folder, text: str | bytes, **settings) -> str:
    with pytest.raises(TenantsError) as caught:
        read(folder, text, **settings)
    (line,) = caught.value.problems
    assert line.startswith("B12_CDS_TENANTS: ")
    assert "\n" not in line
    assert "canary" not in line
    return line.removeprefix("B12_CDS_TENANTS: ")


def certificate() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "hospital")])
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )


EVERYTHING = """
[[tenant]]
id = "st-elsewhere"
mode = "silent"
auth = "jwt"
issuer = "https://ehr.example/api/FHIR/R4"
jwks_uri = "https://ehr.example/.well-known/jwks"
jku = ["https://ehr.example/other"]
algorithms = ["ES256", "PS512"]
audience_aliases = ["cds"]
tenant_claim = "prod"
subject = "client"
max_token_lifetime_s = 900
clock_skew_s = 0
replay = "allow"
jwks_ttl_s = 1
jwks_refetch_s = 1
services = ["b12-order-select"]
profile = "uk-nice"
overrides = "overlay.toml"
extra_codes = "codes.csv"
client_profile = "epic"
missing_data = "card"
max_cards = 2
topics_off = ["risk", "potassium"]
rollout_percent = 50
suppress_after_override_days = 30
pseudonym_key_file = "secret"
deadline_ms = 800
rate_limit_per_s = 5
burst = 10
cors_origins = ["https://ehr.example", "http://localhost:3000"]
fhir_servers = ["https://ehr.example/api/FHIR/R4"]
fhir_ca_file = "ca.pem"
fhir_timeout_ms = 700
"""


def test_every_key_is_read(folder):
    (folder / "overlay.toml").write_text(
        'approved_by = "Dr Approver"\napproved_on = 2026-01-02\n[thresholds]\nmin_age_years = 18\n'
    )
    (folder / "codes.csv").write_text(
        "valueset,system_uri,code,display\nlab-b12-total,urn:oid:1.2.3,L1,Local B12\n"
    )
    (folder / "secret").write_text("0123456789abcdef\n")
    (folder / "secret").chmod(0o600)
    (folder / "ca.pem").write_bytes(certificate())
    for key in KEYS:  # nothing may be added to the list without being read here
        assert key in EVERYTHING or key == "jwks_file"
    (tenant,) = read(folder, EVERYTHING).all
    assert (tenant.id, tenant.mode, tenant.auth) == ("st-elsewhere", "silent", "jwt")
    assert tenant.algorithms == ("ES256", "PS512")
    assert (tenant.max_token_lifetime_s, tenant.clock_skew_s, tenant.replay) == (900, 0, "allow")
    assert tenant.may_use("b12-order-select")
    assert not tenant.may_use("b12-order-sign")
    assert tenant.protocol.thresholds.min_age_years == 18
    assert tenant.protocol.profile == "uk-nice"
    shipped = load_protocol("uk-nice").knowledge.version
    assert tenant.protocol.knowledge.version == f"{shipped}+local"
    assert tenant.protocol.decisions[-1].decided_by == "Dr Approver"
    assert tenant.value_sets.matches("urn:oid:1.2.3", "L1")[0].value_set == "lab-b12-total"
    assert tenant.pseudonym_key == b"0123456789abcdef"
    assert tenant.fhir_authorities == (folder / "ca.pem").read_text()
    assert (tenant.deadline_ms, tenant.fhir_timeout_ms, tenant.max_cards) == (800, 700, 2)
    assert (tenant.rate_limit_per_s, tenant.burst, tenant.rollout_percent) == (5, 10, 50)
    assert "0123456789abcdef" not in repr(tenant)


def test_what_is_not_said_has_its_default(folder):
    settings = {"protocol": "us", "deadline_ms": 700, "missing_data": "card"}
    (tenant,) = read(folder, KEYED, **settings).all
    assert (tenant.profile, tenant.deadline_ms, tenant.missing_data) == ("us", 700, "card")
    assert tenant.algorithms == ("ES384", "RS384")
    assert (tenant.mode, tenant.replay, tenant.client_profile) == ("live", "reject", "generic")
    assert (tenant.max_token_lifetime_s, tenant.clock_skew_s) == (3600, 60)
    assert (tenant.jwks_ttl_s, tenant.jwks_refetch_s) == (3600, 30)
    assert (tenant.rate_limit_per_s, tenant.burst, tenant.max_cards) == (50, 100, 5)
    assert (tenant.fhir_servers, tenant.cors_origins) == ((), ())
    assert tenant.may_use("whatever-is-offered")
    assert [key.kid for key in tenant.keys] == ["one"]


def test_without_a_file_there_is_one_open_tenant_without_a_limit():
    settings = Settings(fhir_servers=("http://127.0.0.1:*",), deadline_ms=900)
    tenants = read_tenants(settings, OFFERED)
    (tenant,) = tenants.all
    assert tenants.open is tenant
    assert not tenants.from_file
    assert (tenant.auth, tenant.rate_limit_per_s, tenant.deadline_ms) == ("open", None, 900)
    assert tenant.fhir_servers == ("http://127.0.0.1:*",)


def test_no_services_is_a_tenant_that_may_use_none(folder):
    (tenant,) = read(folder, KEYED + "services = []").all
    assert not tenant.may_use("b12-order-select")


# --- refused: the file ------------------------------------------------------------------------


@pytest.mark.fault("O07")
@pytest.mark.parametrize(
    "text",
    [
        b"\xff\xfe",
        "id = ",
        "",
        "[tenant]\nid = 'x'",
        "tenant = []",
        "tenant = [1]",
        "tenant = 'canary'",
        KEYED + "[other]\nx = 1",
        "a = " + "[" * 5000,
        "a = " + "9" * 5000,
        "[[tenants]]\nid = 'one'",
    ],
)
def test_a_file_that_is_none_is_refused(folder, text):
    assert problem(folder, text)


@pytest.mark.fault("O07")
@pytest.mark.parametrize("name", ["missing.toml", "."])
def test_a_file_that_cannot_be_read_is_refused(tmp_path, name):
    settings = Settings(tenants=f"{tmp_path}/{name}")
    with pytest.raises(TenantsError, match=r"^B12_CDS_TENANTS: "):
        read_tenants(settings, OFFERED)


# --- refused: a key ---------------------------------------------------------------------------

REFUSED = {
    "id": ["''", "'A'", "'a_b'", "'a b'", f"'{'x' * 41}'", "1", "['one']"],
    "mode": ["'on'", "''", "1", "true", "['live']"],
    "auth": ["'none'", "'JWT'", "0"],
    "issuer": ["''", "1", "[]"],
    "jwks_uri": [
        "'canary'",
        "'/jwks'",
        "'ftp://canary.example/'",
        "'http://canary.example/jwks'",
        "'https://user:canary@ehr.example/jwks'",
        "'https://ehr.example/jwks?canary=1'",
        "'https://ehr.example/jwks#canary'",
        "'https://'",
        "'https://ehr.example:0/'",
        "'https://ehr.example:x/'",
        "'https://ehr.example/a b'",
        "'https://ehr.example/../jwks'",
        "'https://ehr%2eexample/jwks'",
        "'https://2130706433/jwks'",
        "'https://ehr.example/%2e%2e/jwks'",
        "'https://ehr.example/a^b'",
        "'https://ehr..example/jwks'",
        "5",
    ],
    "jku": ["'x'", "[1]", "['']"],
    "algorithms": ["[]", "['none']", "['HS256']", "['ES384', 'HS384']", "['XX']", "'ES384'", "[1]"],
    "audience_aliases": ["'x'", "[1]"],
    "tenant_claim": ["''", "1"],
    "subject": ["''", "[]"],
    "max_token_lifetime_s": ["59", "86401", "60.5", "'3600'", "true"],
    "clock_skew_s": ["-1", "301", "1.5", "false"],
    "replay": ["'maybe'", "true"],
    "jwks_ttl_s": ["0", "86401", "'x'"],
    "jwks_refetch_s": ["0", "86401"],
    "services": ["['b12-patient-view']", "'b12-order-select'", "[1]"],
    "profile": ["'uk'", "''", "1"],
    "client_profile": ["'cerner'", "[]"],
    "deadline_ms": ["99", "10001", "'x'"],
    "cors_origins": [
        "['*']",
        "['null']",
        "['https://*.canary.example']",
        "['https://ehr.example/']",
        "['https://ehr.example/app']",
        "['https://user@ehr.example']",
        "['ehr.example']",
        "['ftp://ehr.example']",
        "['https://ehr.example:0']",
        "['https://ehr.example:99999']",
        "'https://ehr.example'",
        "[1]",
    ],
    "fhir_servers": [
        "['http://canary.example/r4']",
        "['https://u:canary@ehr.example/r4']",
        "['https://ehr.example/r4?canary']",
        "['https://ehr.example/r4;canary']",
        "['https://ehr.example\\\\r4']",
        "['http://127.0.0.1:*']",
        "['//ehr.example/r4']",
        # What the parser of the calls would not take.
        "['https://ehr.example/canary%zz']",
        "['https://[::ffff:10.0.0.1]/']",
        "['https://2130706433/']",
        "['https://-ehr.example/']",
        "['https://ehr.example./']",
        "['https://ehr.example:/']",
        "['https://ehr.example/%252e%252e/']",
        "['https://ehr.example/<canary>']",
        "['https://ehr.example/a^b']",
        "['https://ehr.example/%zz']",
        "['https://ehr.example./r4']",
        "['https://127.1/r4']",
        "'https://ehr.example'",
        "[1]",
    ],
    "fhir_ca_file": ["'missing.pem'", "'keys.json'", "'.'", "1", "''"],
    "jwks_file": ["'missing.json'", "'tenants.toml'", "'.'", "1"],
    "missing_data": ["'200'", "412"],
    "overrides": ["'missing.toml'", "'keys.json'", "1"],
    "fhir_timeout_ms": ["0", "'x'"],
    "rate_limit_per_s": ["0", "-5", "1.5"],
    "burst": ["0", "'x'"],
    "max_cards": ["0", "'x'", "true"],
    "topics_off": ["['dosage']", "'risk'", "[1]"],
    "rollout_percent": ["-1", "101", "50.5"],
    "suppress_after_override_days": ["-1", "'x'", "5"],
    "pseudonym_key_file": ["'missing'", "1"],
    "extra_codes": ["'missing.csv'", "'keys.json'", "1"],
}


def test_every_key_has_a_refused_value():
    assert REFUSED.keys() == KEYS.keys()


@pytest.mark.fault("O07", "A31")
@pytest.mark.parametrize(
    ("key", "value"), [(key, value) for key, values in REFUSED.items() for value in values]
)
@pytest.mark.parametrize("mode", ["development", "production"])
def test_a_wrong_value_is_refused_by_tenant_and_key(folder, key, value, mode):
    lines = {"id": '"one"', "issuer": '"https://ehr.example"', "jwks_file": '"keys.json"'}
    if key == "jwks_uri":
        del lines["jwks_file"]
    lines[key] = value
    text = "[[tenant]]\n" + "".join(f"{name} = {given}\n" for name, given in lines.items())
    tenant = "number 1" if key == "id" else "one"
    assert problem(folder, text, mode=mode).startswith(f"tenant {tenant}: {key}: ")


@pytest.mark.fault("O07")
@pytest.mark.parametrize(
    ("text", "where"),
    [
        ('[[tenant]]\nissuer = "x"\n', "tenant number 1: id"),
        (KEYED + '"odd\\u000akey" = 1', "tenant one: odd?key"),
        (KEYED + "isuer = 1", "tenant one: isuer"),
        (KEYED + KEYED, "tenant one: id"),
        ('[[tenant]]\nid = "one"\njwks_file = "keys.json"', "tenant one: issuer"),
        (HEAD, "tenant one: jwks_uri"),
        (KEYED + 'jwks_uri = "https://ehr.example/jwks"', "tenant one: jwks_uri"),
        (
            '[[tenant]]\nid = "a"\nauth = "open"\n[[tenant]]\nid = "b"\nauth = "open"\n',
            "tenant b: auth",
        ),
    ],
)
def test_what_is_missing_unknown_or_twice_is_refused(folder, text, where):
    assert problem(folder, text).startswith(f"{where}: ")


@pytest.mark.fault("O07", "A26")
def test_one_issuer_in_two_tenants_needs_claims_that_differ(folder):
    def two(first: str, second: str) -> str:
        return KEYED + first + KEYED.replace('"one"', '"two"') + second

    for first, second in (
        ("", ""),
        ('tenant_claim = "a"\n', ""),
        ('tenant_claim = "a"\n', 'tenant_claim = "a"\n'),
    ):
        assert ": issuer: " in problem(folder, two(first, second))
    both = read(folder, two('tenant_claim = "a"\n', 'tenant_claim = "b"\n'))
    assert both.claimed_by("https://ehr.example", "b").id == "two"


@pytest.mark.parametrize(
    "keys",
    [
        b"canary",
        b'{"keys": []}',
        json.dumps({"keys": [{"kty": "oct", "k": "canary", "kid": "s"}]}).encode(),
        json.dumps({"keys": [es384().jwk, {**rs384().jwk, "d": "canary"}]}).encode(),
    ],
)
@pytest.mark.fault("O07")
def test_a_key_file_holds_public_keys_only(folder, keys):
    (folder / "keys.json").write_bytes(keys)
    assert problem(folder, KEYED).startswith("tenant one: jwks_file: ")


@pytest.mark.parametrize(
    "overlay",
    [
        "canary",
        "[thresholds]\nmin_age_years = 18\n",
        'approved_by = ""\napproved_on = 2026-01-01\n',
        'approved_by = "Dr A"\n',
        'approved_by = "Dr A"\napproved_on = "2026-01-01"\n',
        'approved_by = "Dr A"\napproved_on = 2026-01-01\n[thresholds]\nunknown = 1\n',
        'approved_by = "Dr A"\napproved_on = 2026-01-01\n[thresholds]\nmin_age_years = "x"\n',
        'approved_by = "Dr A"\napproved_on = 2026-01-01\nthresholds = 1\n',
        'approved_by = "Dr A"\napproved_on = 2026-01-01\ndecisions = 1\n',
        'approved_by = "Dr A"\napproved_on = 2026-01-01\n[policy]\ntopics_off = ["allergy"]\n',
        'approved_by = "Dr A"\napproved_on = 2026-01-01\n[cards.allergy]\nindicator = "info"\n',
        'approved_by = "Dr A"\napproved_on = 2026-01-01\n[cards.allergy]\nproposal = "{x}"\n',
        'approved_by = "Dr A"\napproved_on = 2026-01-01\n[thresholds]\nmcv_high_fl = nan\n',
        "approved_by = 1e9999999999999999999999\n",
        f"approved_by = {'9' * 5000}\n",
        f"approved_by = {'[' * 5000}\n",
    ],
)
@pytest.mark.fault("O07")
def test_local_differences_are_approved_and_fit_the_profile(folder, overlay):
    (folder / "overlay.toml").write_text(overlay)
    text = KEYED + 'overrides = "overlay.toml"'
    assert problem(folder, text).startswith("tenant one: overrides: ")


#: Hydroxocobalamin 1 mg/mL.
SHIPPED = "http://www.nlm.nih.gov/research/umls/rxnorm,317106,x"


def test_a_shipped_code_can_have_a_further_meaning(folder):
    (folder / "codes.csv").write_text(
        f"valueset,system_uri,code,display\ncobalamin-allergy,{SHIPPED}\n"
    )
    (tenant,) = read(folder, KEYED + 'extra_codes = "codes.csv"').all
    system, code, _ = SHIPPED.split(",")
    found = {match.value_set for match in tenant.value_sets.matches(system, code)}
    assert found == {"cobalamin-allergy", "drug-hydroxocobalamin-injectable-1mg"}


def test_who_approved_the_profile_did_not_approve_what_a_site_changed(folder, monkeypatch):
    signed = profile_data("default")
    signed["knowledge"] |= {"review_status": "clinically-approved", "clinical_approver": "Dr A"}
    monkeypatch.setattr("cds_service.tenants.profile_data", lambda _: copy.deepcopy(signed))
    head = 'approved_by = "Dr B"\napproved_on = 2026-01-02\n'
    overlay = folder / "overlay.toml"
    overlay.write_text(head + "[thresholds]\nmin_age_years = 18\n")
    (tenant,) = read(folder, KEYED + 'overrides = "overlay.toml"').all
    assert tenant.protocol.knowledge.clinical_approver == "Dr A; local differences by Dr B"
    assert "approved by Dr A; local differences by Dr B" in footer(
        tenant.protocol, date(2026, 6, 1)
    )


@pytest.mark.parametrize(
    ("csv", "line"),
    [
        ("", "line 1"),
        ("code,display\nx,y", "line 1"),
        ("valueset,system_uri,code,display\nlab-b12-total,urn:x\n", "line 2"),
        ("valueset,system_uri,code,display\nlab-b12-total,,x,\n", "line 2"),
        ("valueset,system_uri,code,display\nno-such-set,urn:x,x,\n", "no-such-set"),
        ("valueset,system_uri,code,display\nrecord,urn:x,x,\n", "record"),
        ('valueset,system_uri,code,display\n"open', "not CSV"),
        (
            # As if it were something else: no check would see the order.
            f"valueset,system_uri,code,display\ndrug-b12-diagnostic-exclude,{SHIPPED}\n",
            "drug-b12-diagnostic-exclude: excludes a code",
        ),
    ],
)
@pytest.mark.fault("O07")
def test_codes_of_a_site_name_a_value_set(folder, csv, line):
    (folder / "codes.csv").write_text(csv)
    text = KEYED + 'extra_codes = "codes.csv"'
    found = problem(folder, text)
    assert found.startswith("tenant one: extra_codes: ")
    assert line in found


@pytest.mark.fault("O07")
def test_a_secret_is_not_open_to_others(folder):
    secret = folder / "secret"
    secret.write_text("canary-canary-canary")
    secret.chmod(0o644)
    text = KEYED + 'pseudonym_key_file = "secret"'
    assert problem(folder, text).startswith("tenant one: pseudonym_key_file: ")
    secret.chmod(0o640)
    assert read(folder, text).all[0].pseudonym_key == b"canary-canary-canary"
    secret.write_text("short")
    assert problem(folder, text).startswith("tenant one: pseudonym_key_file: ")


# --- production -------------------------------------------------------------------------------


@pytest.mark.fault("A28", "A31")
@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('[[tenant]]\nid = "one"\nauth = "open"', "auth"),
        (KEYED.replace("https://ehr.example", "https://sandbox.cds-hooks.org"), "issuer"),
        (KEYED.replace("https://ehr.example", "https://Sandbox.cds-hooks.org/"), "issuer"),
        (HEAD + 'jwks_uri = "http://127.0.0.1:4567/jwks"', "jwks_uri"),
        (KEYED + 'fhir_servers = ["http://localhost:8080/fhir"]', "fhir_servers"),
    ],
)
def test_production_refuses_what_development_allows(folder, text, key):
    assert read(folder, text).all
    assert problem(folder, text, mode="production").startswith(f"tenant one: {key}: ")


@pytest.mark.parametrize("host", ["127.0.0.2", "[::1]", "localhost.evil.example", "10.0.0.1"])
def test_http_is_for_this_machine_only(folder, host):
    text = HEAD + f'jwks_uri = "http://{host}:4567/jwks"'
    assert problem(folder, text).startswith("tenant one: jwks_uri: ")


# --- the command ------------------------------------------------------------------------------


@pytest.mark.fault("O07")
def test_check_config_reads_the_file_as_the_server_does(tmp_path):
    path = write_tenants(tmp_path)
    run = CliRunner().invoke(main, ["check-config"], env={"B12_CDS_TENANTS": str(path)})
    assert run.exit_code == 0, run.output
    assert "one" in run.output
    path.write_text(path.read_text() + 'mode = "canary"\n')
    run = CliRunner().invoke(main, ["check-config"], env={"B12_CDS_TENANTS": str(path)})
    assert run.exit_code == 1
    assert "B12_CDS_TENANTS: tenant one: mode: " in run.output
    assert "canary" not in run.output


@pytest.mark.fault("O07")
def test_check_config_misses_what_the_server_would_miss(monkeypatch):
    monkeypatch.setattr("cds_service.telemetry.importlib.util.find_spec", lambda _: None)
    env = {"B12_CDS_TRACES": "https://traces.example/v1"}
    run = CliRunner().invoke(main, ["check-config"], env=env)
    assert run.exit_code == 1
    assert "B12_CDS_TRACES: needs" in run.output


def test_a_tenant_says_nothing_secret_of_itself():
    tenant = Tenant(id="one", pseudonym_key=b"canary")
    assert "canary" not in repr(tenant)
