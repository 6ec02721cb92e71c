"""Tokens: what is accepted, what is refused, and that nobody learns why."""

from __future__ import annotations

import base64
import json
import statistics
import time
from dataclasses import replace

import jwt
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from cds_service.client_auth import Authenticator
from cds_service.errors import NotYours, StoreDown, Unauthenticated
from cds_service.jwks import FetchFailed, parse_key_set
from cds_service.tenants import Tenant, Tenants
from tests.support.tokens import (
    CALL_URL,
    ISSUER,
    PUBLIC_URL,
    b64,
    claims,
    es256,
    es384,
    key_set,
    rs384,
    token,
)

SERVICE = "b12-order-select"
KEYS = parse_key_set(key_set(es384(), rs384(), es256()))
ONE = Tenant(id="one", issuer=ISSUER, keys=KEYS)


class Seen:
    """A memory of token ids."""

    def __init__(self) -> None:
        self.remembered: dict[tuple[str, str], float] = {}

    def remember_jti(self, tenant: str, jti: str, expires: float) -> bool:
        new = (tenant, jti) not in self.remembered
        self.remembered[tenant, jti] = expires
        return new


def auth(*tenants: Tenant, memory=None, fetch=None) -> Authenticator:
    return Authenticator(Tenants(tenants or (ONE,)), memory or Seen(), fetch=fetch)


def accepts(authorization: str | None, *tenants: Tenant, url: str = CALL_URL, **more) -> bool:
    try:
        auth(*tenants, **more).tenant_of(authorization, url, SERVICE)
    except Unauthenticated:
        return False
    return True


def bearer(key=None, header=None, **changes) -> str:
    return f"Bearer {token(key, header, **changes)}"


@pytest.mark.requirement("H2@176", "H2@199", "H2@205", "BP-05")
@pytest.mark.parametrize("key", [es384(), rs384()])
def test_a_good_token_names_its_tenant(key):
    assert auth().tenant_of(bearer(key), CALL_URL, SERVICE) is ONE


# --- form -------------------------------------------------------------------------------------


@pytest.mark.fault("A01")
@pytest.mark.parametrize("scheme", ["bearer ", "BEARER ", "BeArEr   "])
def test_the_scheme_is_read_in_any_case(scheme):
    assert accepts(scheme + token())


@pytest.mark.fault("A01", "A11", "A24")
@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Basic dXNlcjpwYXNz",
        "Bearer a.b",
        "Bearer a.b.c.d.e",
        "Bearer " + "." * 10_000,
        "Bearer " + "a" * 1_000_000,
        "Bearer e30.e30.",
        "Bearer .e30.e30",
        "Bearer W10.e30.e30",
        "Bearer bnVsbA.e30.e30",
        "Bearer e30.MQ.e30",
        "Bearer " + b64(b"[" * 9000) + ".e30.e30",
        "Bearer e30.\N{LATIN SMALL LETTER E WITH ACUTE}30.e30",
    ],
)
def test_what_is_no_token_is_refused(authorization):
    started = time.monotonic()
    assert not accepts(authorization)
    assert time.monotonic() - started < 0.5


@pytest.mark.fault("A01")
def test_two_tokens_are_refused_as_they_arrive_joined():
    assert not accepts(f"{bearer()},{bearer()}")
    assert not accepts(f"{bearer()}, {bearer()}")


@pytest.mark.fault("A24")
def test_a_long_token_is_accepted_up_to_what_the_server_takes():
    assert accepts(bearer(padding="x" * 6500))
    assert not accepts(bearer(padding="x" * 20_000))


# --- algorithm, key and header ------------------------------------------------------------------


@pytest.mark.fault("A02")
@pytest.mark.requirement("H2@201")
@pytest.mark.parametrize("alg", ["none", "None", "nOnE", "", None, 5, ["ES384"], {"a": "ES384"}])
def test_no_algorithm_is_refused(alg):
    head = b64({"alg": alg, "kid": "one", "typ": "JWT"})
    assert not accepts(f"Bearer {head}.{b64(claims())}.AA")
    assert not accepts(bearer(header={"alg": alg}))


@pytest.mark.fault("A03")
@pytest.mark.requirement("H2@203")
@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
@pytest.mark.parametrize("form", ["pem", "der", "jwk"])
@pytest.mark.parametrize("key", [es384(), rs384()])
def test_a_public_key_is_no_shared_secret(algorithm, form, key):
    public = key.private.public_key()
    encodings = serialization.Encoding
    info = serialization.PublicFormat.SubjectPublicKeyInfo
    secret = {
        "pem": public.public_bytes(encodings.PEM, info),
        "der": public.public_bytes(encodings.DER, info),
        "jwk": json.dumps(key.jwk).encode(),
    }[form]
    signed = f"{b64({'alg': algorithm, 'kid': key.kid})}.{b64(claims())}"
    hmac = jwt.get_algorithm_by_name(algorithm).sign(signed.encode(), secret)
    assert not accepts(f"Bearer {signed}.{b64(hmac)}")


@pytest.mark.fault("A04")
def test_an_algorithm_that_was_not_agreed_is_refused():
    assert not accepts(bearer(es256()))
    assert accepts(bearer(es256()), replace(ONE, algorithms=("ES256",)))
    assert not accepts(bearer(rs384()), replace(ONE, algorithms=("ES384",)))


@pytest.mark.fault("A05")
@pytest.mark.parametrize(
    ("signer", "header"),
    [
        (rs384(), {"alg": "ES384"}),
        (es384(), {"alg": "RS384"}),
        (es256(), {"alg": "ES384"}),
        (es384(), {"kid": "p256"}),
        (es384(), {"kid": "rsa"}),
    ],
)
def test_algorithm_and_key_must_fit(signer, header):
    both = replace(ONE, algorithms=("ES256", "ES384", "RS384"))
    assert not accepts(bearer(signer, header), both)


@pytest.mark.fault("A07")
@pytest.mark.parametrize(
    "kid",
    ["../../etc/passwd", "' OR 1=1 --", "https://evil.example/k", "x" * 5000, "", None, 1, ["one"]],
)
def test_a_key_id_is_only_compared(kid):
    assert not accepts(bearer(header={"kid": kid}))


@pytest.mark.fault("A07")
def test_a_key_id_may_hold_anything():
    key = es384("ab+/cd==")
    tenant = replace(ONE, keys=parse_key_set(key_set(key)))
    assert accepts(bearer(key), tenant)


JWKS = "https://ehr.example/jwks"
REMOTE = replace(ONE, keys=(), jwks_uri=JWKS, jku=("https://ehr.example/other",))


def fetching(asked: list[str]):
    def fetch(uri: str) -> bytes:
        asked.append(uri)
        return key_set(es384())

    return fetch


@pytest.mark.fault("A08")
@pytest.mark.parametrize("jku", [JWKS, "https://ehr.example/other", None])
def test_the_agreed_addresses_of_keys_are_accepted(jku):
    asked: list[str] = []
    assert accepts(bearer(header={"jku": jku}), REMOTE, fetch=fetching(asked))
    assert asked == [JWKS]


@pytest.mark.fault("A08", "A09")
@pytest.mark.requirement("H2@195")
@pytest.mark.parametrize(
    "jku",
    [
        "https://ehr.example/jwks/",
        "http://ehr.example/jwks",
        "https://ehr.example:443/jwks",
        "https://EHR.example/jwks",
        "https://ehr.example./jwks",
        "https://ehr.example@evil.example/jwks",
        "https://ehr.example.evil.example/jwks",
        "https://ehr.example/%6awks",
        "https://ehr.example/jwks?x",
        "https://two.example/jwks",
        "file:///etc/passwd",
        "",
        1,
        [JWKS],
    ],
)
def test_any_other_address_is_refused_and_nothing_is_fetched(jku):
    asked: list[str] = []
    two = replace(
        REMOTE, id="two", issuer="https://two.example", jwks_uri="https://two.example/jwks"
    )
    assert not accepts(bearer(header={"jku": jku}), REMOTE, two, fetch=fetching(asked))
    assert asked == []


@pytest.mark.fault("A09")
def test_the_key_of_one_tenant_does_not_sign_for_another():
    other = es384("other")
    two = replace(ONE, id="two", issuer="https://two.example", keys=parse_key_set(key_set(other)))
    assert not accepts(bearer(other), ONE, two)
    assert accepts(bearer(other, iss="https://two.example"), ONE, two)


@pytest.mark.fault("A10")
@pytest.mark.parametrize(
    "header",
    [
        {"jwk": es384("evil").jwk},
        {"x5c": ["AAAA"]},
        {"x5u": "https://evil.example/cert"},
    ],
)
def test_keys_inside_the_token_are_ignored(header):
    assert accepts(bearer(header=header))
    assert not accepts(bearer(es384("evil"), {**header, "kid": "one"}))


@pytest.mark.fault("A11")
@pytest.mark.parametrize(
    "header", [{"crit": ["exp"]}, {"crit": []}, {"b64": False}, {"zip": "DEF"}]
)
def test_what_changes_the_meaning_of_a_token_is_refused(header):
    assert not accepts(bearer(header=header))


@pytest.mark.fault("A12")
@pytest.mark.parametrize(
    ("typ", "fine"),
    [("JWT", True), (None, True), ("at+jwt", False), ("jwt", False), ("", False), (1, False)],
)
def test_a_token_is_a_jwt_or_says_nothing(typ, fine):
    assert accepts(bearer(header={"typ": typ})) == fine


# --- signature --------------------------------------------------------------------------------


@pytest.mark.fault("A23")
def test_a_changed_token_is_refused():
    header, payload, signature = token().split(".")
    other = b64(claims(jti="changed"))
    raw = base64.urlsafe_b64decode(signature + "=" * (-len(signature) % 4))
    assert not accepts(f"Bearer {header}.{other}.{signature}")
    for wrong in (
        b"",
        b"\0" * 96,
        raw[:-1],
        raw + b"\0",
        raw[48:] + raw[:48],
        b"\0" * 48 + raw[48:],
    ):
        assert not accepts(f"Bearer {header}.{payload}.{b64(wrong)}")


@pytest.mark.fault("A23")
def test_a_signature_has_one_spelling_only():
    header, payload, signature = token().split(".")
    der = es384().private.sign(f"{header}.{payload}".encode(), ec.ECDSA(hashes.SHA384()))
    for other in (signature + "=", signature + "\n", " " + signature, b64(der), signature + "."):
        assert not accepts(f"Bearer {header}.{payload}.{other}")
    # Two spellings of the last byte decode to the same: only the canonical one is a token.
    short = b64(b"\1\2")
    assert not accepts(f"Bearer {header}.{payload}.{short[:-1]}{chr(ord(short[-1]) + 1)}")


# --- claims -----------------------------------------------------------------------------------

NOW = int(time.time())


def accepts_now(tenant: Tenant = ONE, **changes) -> bool:
    """With a clock that stands still at NOW."""
    authenticator = Authenticator(Tenants((tenant,)), Seen(), now=lambda: NOW)
    authorization = bearer(**{"iat": NOW, "exp": NOW + 300} | changes)
    try:
        return authenticator.tenant_of(authorization, CALL_URL, SERVICE) is tenant
    except Unauthenticated:
        return False


@pytest.mark.fault("A13")
@pytest.mark.requirement("BP-03")
@pytest.mark.parametrize(
    "changes",
    [
        {"exp": None},
        {"exp": NOW - 60},
        {"exp": str(NOW + 300)},
        {"exp": True},
        {"exp": [NOW + 300]},
        {"exp": NOW + 3601},
        {"exp": NOW + 10 * 365 * 86400},
        {"exp": 10**400},
        {"iat": None},
        {"iat": "now"},
        {"iat": NOW - 86_400},
    ],
)
def test_the_lifetime_of_a_token_is_known_and_short(changes):
    assert not accepts_now(**changes)


@pytest.mark.fault("A13")
@pytest.mark.parametrize("number", ["1e999", "-1e999", "NaN", "Infinity"])
def test_a_time_is_a_finite_number(number):
    text = json.dumps(claims()).replace(f'"exp": {claims()["exp"]}', f'"exp": {number}')
    assert number in text
    signed = f"{b64({'alg': 'ES384', 'kid': 'one'})}.{b64(text.encode())}"
    signature = jwt.get_algorithm_by_name("ES384").sign(signed.encode(), es384().private)
    assert not accepts(f"Bearer {signed}.{b64(signature)}")


@pytest.mark.fault("A13", "A14")
@pytest.mark.parametrize(
    "changes",
    [
        {"exp": NOW - 59, "iat": NOW - 300},
        {"exp": NOW + 900},
        {"exp": NOW + 300.5},
        {"iat": NOW + 60},
        {"nbf": NOW + 60},
        {"nbf": NOW - 300},
        {"exp": NOW + 3600},
    ],
)
def test_clocks_may_differ_a_little(changes):
    assert accepts_now(**changes)


@pytest.mark.fault("A14")
@pytest.mark.parametrize(
    "changes", [{"iat": NOW + 61}, {"nbf": NOW + 61}, {"nbf": "now"}, {"nbf": {}}]
)
def test_a_token_of_the_future_is_refused(changes):
    assert not accepts_now(**changes)


@pytest.mark.fault("A13")
def test_skew_and_lifetime_are_the_tenants():
    strict = replace(ONE, clock_skew_s=0, max_token_lifetime_s=60)
    assert not accepts_now(strict)
    assert accepts_now(strict, exp=NOW + 60)
    assert not accepts_now(strict, exp=NOW + 61)
    assert not accepts_now(strict, exp=NOW, iat=NOW - 30)
    assert not accepts_now(strict, exp=NOW + 60, iat=NOW + 1)


@pytest.mark.fault("A15", "A16")
@pytest.mark.requirement("BP-02")
@pytest.mark.parametrize(
    "aud",
    [
        None,
        "",
        [],
        [[CALL_URL]],
        {"aud": CALL_URL},
        PUBLIC_URL,
        f"{PUBLIC_URL}/cds-services",
        f"{CALL_URL}/",
        f"{CALL_URL}/feedback",
        CALL_URL.upper(),
        CALL_URL.replace("http:", "https:"),
        f"{PUBLIC_URL}/cds-services/another",
        ["https://a.example"] * 200,
    ],
)
def test_a_token_for_another_end_point_is_refused(aud):
    assert not accepts(bearer(aud=aud))


@pytest.mark.fault("A15", "A16")
def test_the_end_point_called_or_an_alias_is_the_audience():
    assert accepts(bearer(aud=["https://a.example", CALL_URL, 5]))
    assert accepts(bearer(aud=f"{CALL_URL}/feedback"), url=f"{CALL_URL}/feedback")
    assert not accepts(bearer(), url=f"{CALL_URL}/feedback")
    named = replace(ONE, audience_aliases=("epic",))
    assert accepts(bearer(aud="epic"), named)
    assert accepts(bearer(), named)


@pytest.mark.fault("A17")
@pytest.mark.requirement("BP-01")
@pytest.mark.parametrize(
    "iss", [None, f"{ISSUER}/", ISSUER.upper(), "https://ehr.example", [ISSUER], 1]
)
def test_an_issuer_is_compared_byte_for_byte(iss):
    assert not accepts(bearer(iss=iss))


@pytest.mark.fault("A26")
@pytest.mark.requirement("BP-04")
def test_one_issuer_can_be_two_tenants_by_a_claim():
    a = replace(ONE, id="a", tenant_claim="a")
    b = replace(ONE, id="b", tenant_claim="b")
    both = auth(a, b)
    assert both.tenant_of(bearer(tenant="b"), CALL_URL, SERVICE) is b
    assert both.tenant_of(bearer(tenant="a"), CALL_URL, SERVICE) is a
    for tenant in (None, "c", ["a"], ""):
        assert not accepts(bearer(tenant=tenant), a, b)
    assert accepts(bearer(tenant="anything"), ONE)


def test_a_subject_is_compared_where_it_is_agreed():
    agreed = replace(ONE, subject="client-1")
    assert accepts(bearer(sub="client-1"), agreed)
    assert not accepts(bearer(sub="client-2"), agreed)
    assert not accepts(bearer(), agreed)
    assert accepts(bearer(sub="whoever"), ONE)


# --- replay -----------------------------------------------------------------------------------


@pytest.mark.fault("A18")
@pytest.mark.parametrize("jti", [None, "", 5, ["x"]])
def test_a_token_has_an_id(jti):
    assert not accepts(bearer(jti=jti))


@pytest.mark.fault("A18")
@pytest.mark.requirement("BP-06")
def test_a_token_is_good_once_for_each_tenant():
    memory = Seen()
    again = bearer(jti="same")
    assert accepts(again, memory=memory)
    assert not accepts(again, memory=memory)
    assert not accepts(bearer(jti="same"), memory=memory)
    two = replace(ONE, id="two", issuer="https://two.example")
    assert accepts(bearer(jti="same", iss="https://two.example"), ONE, two, memory=memory)


@pytest.mark.fault("A18")
def test_an_id_is_remembered_as_long_as_the_token_could_be_used():
    memory = Seen()
    expires = int(time.time()) + 300
    assert accepts(bearer(jti="x", exp=expires), memory=memory)
    assert memory.remembered == {("one", "x"): expires + ONE.clock_skew_s}


@pytest.mark.fault("A18")
def test_a_refused_token_does_not_use_up_its_id():
    memory = Seen()
    assert not accepts(bearer(jti="x", aud="elsewhere"), memory=memory)
    assert memory.remembered == {}


@pytest.mark.fault("A18")
def test_a_tenant_may_allow_replay():
    memory, lenient = Seen(), replace(ONE, replay="allow")
    again = bearer()
    assert accepts(again, lenient, memory=memory)
    assert accepts(again, lenient, memory=memory)


@pytest.mark.fault("A19")
def test_without_an_answer_of_the_store_nothing_passes():
    class Down:
        def remember_jti(self, tenant: str, jti: str, expires: float) -> bool:
            raise StoreDown

    with pytest.raises(StoreDown):
        auth(memory=Down()).tenant_of(bearer(), CALL_URL, SERVICE)


# --- who may do what --------------------------------------------------------------------------


@pytest.mark.fault("A25")
@pytest.mark.parametrize("changes", [{"services": ()}, {"services": ("another",)}, {"mode": "off"}])
def test_a_known_tenant_may_be_allowed_nothing(changes):
    with pytest.raises(NotYours):
        auth(replace(ONE, **changes)).tenant_of(bearer(), CALL_URL, SERVICE)


def test_without_a_token_it_is_the_open_tenant():
    open_one = Tenant(id="open", auth="open")
    both = auth(ONE, open_one)
    assert both.tenant_of(None, CALL_URL, SERVICE) is open_one
    assert both.tenant_of(bearer(), CALL_URL, SERVICE) is ONE
    assert not accepts("Bearer nonsense", ONE, open_one)
    assert not accepts("", ONE, open_one)


def test_without_a_file_everyone_is_the_development_tenant():
    development = Tenant(id="development", auth="open")
    authenticator = Authenticator(Tenants((development,), from_file=False))
    for authorization in (None, "Bearer x", bearer()):
        assert authenticator.tenant_of(authorization, CALL_URL, SERVICE) is development


# --- what is said -----------------------------------------------------------------------------


@pytest.mark.fault("A30")
@pytest.mark.requirement("BP-08", "BP-10")
def test_the_log_has_the_cause_the_tenant_and_the_id_and_not_the_token(log):
    refused = bearer(jti="id-1", aud="elsewhere", sub="canary", fhirUser="canary")
    assert not accepts(refused)
    assert not accepts(bearer(iss="https://canary.example", jti="canary"))
    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    assert (lines[0]["event"], lines[0]["cause"]) == ("unauthenticated", "aud")
    assert (lines[0]["tenant"], lines[0]["jti"]) == ("one", "id-1")
    assert lines[1]["cause"] == "issuer"
    assert "canary" not in log.getvalue()
    assert refused.split(".")[2] not in log.getvalue()


@pytest.mark.fault("A20")
def test_no_keys_at_all_is_a_refusal():
    def fails(uri: str) -> bytes:
        raise FetchFailed("status")

    assert not accepts(bearer(), REMOTE, fetch=fails)


@pytest.mark.fault("A30")
def test_refusals_take_about_as_long_as_each_other():
    authenticator = auth()

    def median(make) -> float:
        times = []
        for _ in range(60):
            authorization = make()
            started = time.perf_counter()
            with pytest.raises(Unauthenticated):
                authenticator.tenant_of(authorization, CALL_URL, SERVICE)
            times.append(time.perf_counter() - started)
        return statistics.median(times)

    def tampered() -> str:
        header, _, signature = token().split(".")
        return f"Bearer {header}.{b64(claims())}.{signature}"

    ways = [
        median(lambda: bearer(iss="https://unknown.example")),
        median(lambda: bearer(header={"kid": "unknown"})),
        median(tampered),
        median(lambda: bearer(aud="elsewhere")),
    ]
    assert max(ways) < 3 * min(ways)


# --- the clock --------------------------------------------------------------------------------


@pytest.mark.fault("A29")
@pytest.mark.parametrize(("jump", "cause"), [(3600, "exp"), (-3600, "iat")])
def test_while_the_clock_is_an_hour_off_tokens_are_refused_by_name_and_no_key_is_lost(
    log, jump, cause
):
    """The cause in the log is the alarm. Keys age by a clock that does not jump."""
    clock, asked = [float(NOW)], []
    authenticator = Authenticator(
        Tenants((REMOTE,)), Seen(), fetch=fetching(asked), now=lambda: clock[0]
    )

    def accepted() -> bool:
        fresh = bearer(iat=NOW, exp=NOW + 300)
        try:
            return authenticator.tenant_of(fresh, CALL_URL, SERVICE) is REMOTE
        except Unauthenticated:
            return False

    assert accepted()
    clock[0] += jump
    assert not accepted()
    assert [json.loads(line)["cause"] for line in log.getvalue().splitlines()] == [cause]
    clock[0] -= jump
    assert accepted()
    assert asked == [JWKS], "the keys were fetched once"
