"""Which CDS clients may call, how do they prove who they are, and what may each of them have?

`B12_CDS_TENANTS` names one TOML file: a `[[tenant]]` table for each client. It is read whole or
not at all. `KEYS` is the one list of what may stand in it; whatever else is there, or is not what
it must be, is refused with the tenant and the key. A message never repeats a value: it may be an
address with a password in it, or a key.

Without the file there is one tenant, open, for development.
"""

from __future__ import annotations

import re
import ssl
import tomllib
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from stat import S_IROTH, S_IWOTH
from typing import Any, Final, Literal, get_args
from urllib.parse import urlsplit

from cds_service import jwks
from cds_service.fhir_url import parse_base
from cds_service.settings import MissingData, Mode, Settings, SettingsError
from fhir_mappers.terminology import ValueSetError, ValueSets, with_extra_codes
from regimen.protocol import (
    PROFILES,
    Knowledge,
    ProfileName,
    Protocol,
    build_protocol,
    overlay,
    profile_data,
)
from regimen.protocol_check import ProtocolError
from regimen.recommendation import Topic

SETTING: Final = "B12_CDS_TENANTS"

ClientProfile = Literal["generic", "epic", "sandbox", "crd"]
TenantMode = Literal["live", "silent", "off"]
Auth = Literal["jwt", "open"]
Replay = Literal["reject", "allow"]

#: Its private key is in a public repository: anyone can sign as the reference sandbox.
SANDBOX_ISSUER: Final = "https://sandbox.cds-hooks.org"

_SETTINGS: Final = Settings()
DEFAULT_ALGORITHMS: Final = ("ES384", "RS384")


class TenantsError(SettingsError):
    """The tenants file cannot be used. One sentence: which tenant, which key, what is wrong."""

    def __init__(self, why: str, *, tenant: str | None = None, key: str | None = None) -> None:
        where = [SETTING, *([f"tenant {tenant}"] if tenant else []), *([key] if key else [])]
        super().__init__([": ".join([*where, why])])


@dataclass(frozen=True, slots=True)
class Tenant:
    """One CDS client. The fields are the keys of the file; `protocol`, `value_sets`, `keys` and
    `pseudonym_key` are what was read from the files that it names.
    """

    id: str
    mode: TenantMode = "live"
    auth: Auth = "jwt"
    # who may call
    issuer: str | None = None
    jwks_uri: str | None = None
    keys: tuple[jwks.Jwk, ...] = field(default=(), repr=False)  # of jwks_file
    jku: tuple[str, ...] = ()
    algorithms: tuple[str, ...] = DEFAULT_ALGORITHMS
    audience_aliases: tuple[str, ...] = ()
    tenant_claim: str | None = None
    subject: str | None = None
    max_token_lifetime_s: int = 3600
    clock_skew_s: int = 60
    replay: Replay = "reject"
    jwks_ttl_s: int = 3600
    jwks_refetch_s: int = 30
    # what it may do, and how it is answered
    services: tuple[str, ...] | None = None  # None: all that are offered
    profile: ProfileName = _SETTINGS.protocol
    protocol: Protocol | None = field(default=None, repr=False)  # the profile with `overrides`
    value_sets: ValueSets | None = field(default=None, repr=False)  # with `extra_codes`
    client_profile: ClientProfile = "generic"
    missing_data: MissingData = _SETTINGS.missing_data
    max_cards: int = 5
    topics_off: tuple[str, ...] = ()
    rollout_percent: int = 100
    suppress_after_override_days: int = 0
    pseudonym_key: bytes | None = field(default=None, repr=False)
    deadline_ms: int = _SETTINGS.deadline_ms
    rate_limit_per_s: int | None = 50  # None: the development tenant has no limit
    burst: int = 100
    cors_origins: tuple[str, ...] = ()
    # where it may be called back
    fhir_servers: tuple[str, ...] = ()
    fhir_authorities: str | None = field(default=None, repr=False)  # of fhir_ca_file, as PEM
    fhir_timeout_ms: int = 1500

    def may_use(self, service_id: str) -> bool:
        return self.mode != "off" and (self.services is None or service_id in self.services)


@dataclass(frozen=True, slots=True)
class Tenants:
    """All tenants. `from_file` False: there is no file, only the open development tenant."""

    all: tuple[Tenant, ...]
    from_file: bool = True

    @property
    def open(self) -> Tenant | None:
        """Who calls without a token."""
        return next((t for t in self.all if t.auth == "open"), None)

    def claimed_by(self, issuer: object, claim: object) -> Tenant | None:
        """The tenant of a token with this `iss` and this `tenant` claim, byte for byte."""
        for tenant in self.all:
            right_claim = tenant.tenant_claim is None or tenant.tenant_claim == claim
            if tenant.auth == "jwt" and tenant.issuer == issuer and right_claim:
                return tenant
        return None

    @property
    def cors_origins(self) -> frozenset[str]:
        """Origins of browser clients. A preflight says nothing of whom it is for."""
        return frozenset(origin for tenant in self.all for origin in tenant.cors_origins)


def read_tenants(settings: Settings, offered: Collection[str]) -> Tenants:
    """The tenants in force. `offered`: the ids of the services. Raises TenantsError."""
    if settings.tenants is None:
        return Tenants((development_tenant(settings),), from_file=False)
    path = Path(settings.tenants)
    tables = _tables(path)
    seen: set[str] = set()
    tenants = []
    for number, table in enumerate(tables, start=1):
        tenant = _Reader(table, number, settings, path.parent, offered).tenant()
        if tenant.id in seen:
            raise TenantsError("used twice", tenant=tenant.id, key="id")
        seen.add(tenant.id)
        tenants.append(tenant)
    _check_together(tenants)
    return Tenants(tuple(tenants))


def development_tenant(settings: Settings) -> Tenant:
    """Who calls where there is no file: anyone, on this machine."""
    return Tenant(
        id="development",
        auth="open",
        profile=settings.protocol,
        missing_data=settings.missing_data,
        deadline_ms=settings.deadline_ms,
        rate_limit_per_s=None,
        fhir_servers=settings.fhir_servers,
    )


def _tables(path: Path) -> list[dict[str, Any]]:
    try:
        data = _toml(path.read_bytes())
    except OSError:
        raise TenantsError("the file cannot be read") from None
    except _Wrong as wrong:
        raise TenantsError(str(wrong)) from None
    for key in data:
        if key != "tenant":
            raise TenantsError("no such key", key=_printable(key))
    tables = data.get("tenant")
    if not isinstance(tables, list) or not tables or not all(isinstance(t, dict) for t in tables):
        raise TenantsError("the file has no [[tenant]] table")
    return tables


def _toml(content: bytes) -> dict[str, Any]:
    """A file's tables, numbers exact. Raises _Wrong."""
    try:
        return tomllib.loads(content.decode("utf-8"), parse_float=Decimal)
    except UnicodeDecodeError:
        raise _Wrong("the file is not UTF-8") from None
    except (
        ValueError,
        ArithmeticError,
        RecursionError,
    ):  # or a number, or a nesting, beyond reason
        raise _Wrong("the file is not TOML") from None


def _printable(name: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in name[:60])


def _check_together(tenants: list[Tenant]) -> None:
    """What no tenant can get wrong alone."""
    open_ones = [tenant for tenant in tenants if tenant.auth == "open"]
    if len(open_ones) > 1:
        raise TenantsError("only one tenant can be open", tenant=open_ones[1].id, key="auth")
    shared = Counter(tenant.issuer for tenant in tenants)
    claims: set[tuple[str | None, str]] = set()
    for tenant in tenants:
        if tenant.issuer is None or shared[tenant.issuer] < 2:
            continue
        pair = (tenant.issuer, tenant.tenant_claim or "")
        if not tenant.tenant_claim or pair in claims:
            why = "the same in two tenants, which tenant_claim does not tell apart"
            raise TenantsError(why, tenant=tenant.id, key="issuer")
        claims.add(pair)


# --- one tenant -------------------------------------------------------------------------------


class _Reader:
    """Reads one table. `Wrong` in a parse function becomes a TenantsError that says where."""

    def __init__(
        self,
        table: Mapping[str, Any],
        number: int,
        settings: Settings,
        folder: Path,
        offered: Collection[str],
    ) -> None:
        self.table = table
        self.name = f"number {number}"
        self.settings = settings
        self.place = _Place(settings.mode, folder, offered)

    def tenant(self) -> Tenant:
        self.name = self.value("id")
        for key in self.table:
            if key not in KEYS:
                raise self.error(_printable(key), "no such key")
        given: dict[str, Any] = {key: self.value(key) for key in KEYS if key in self.table}
        self._check_auth(given)
        for name in _FILES:
            self._from_file(name, given)
        if given.get("suppress_after_override_days") and "pseudonym_key" not in given:
            raise self.error("suppress_after_override_days", "needs pseudonym_key_file")
        return Tenant(**self._defaults() | given)

    def value(self, key: str) -> Any:
        if key not in self.table:
            raise self.error(key, "missing")
        try:
            return KEYS[key](self.table[key], self.place)
        except _Wrong as wrong:
            raise self.error(key, str(wrong)) from None

    def error(self, key: str, why: str) -> TenantsError:
        return TenantsError(why, tenant=self.name, key=key)

    def _defaults(self) -> dict[str, Any]:
        return {
            "profile": self.settings.protocol,
            "missing_data": self.settings.missing_data,
            "deadline_ms": self.settings.deadline_ms,
        }

    def _check_auth(self, given: Mapping[str, Any]) -> None:
        if given.get("auth", "jwt") == "open":
            return
        if "issuer" not in given:
            raise self.error("issuer", "missing")
        if ("jwks_uri" in given) == ("jwks_file" in given):
            raise self.error("jwks_uri", "exactly one of jwks_uri and jwks_file")

    def _from_file(self, name: str, given: dict[str, Any]) -> None:
        """Replace the path that was given by what is in the file."""
        path = given.pop(name, None)
        if path is None:
            return
        try:
            match name:
                case "jwks_file":
                    given["keys"] = _keys_of(path)
                case "overrides":
                    profile = given.get("profile", self.settings.protocol)
                    given["protocol"] = _overridden(path, profile)
                case "extra_codes":
                    given["value_sets"] = _extended(path)
                case "fhir_ca_file":
                    given["fhir_authorities"] = _authorities(path)
                case "pseudonym_key_file":
                    given["pseudonym_key"] = _secret(path)
        except _Wrong as wrong:
            raise self.error(name, str(wrong)) from None


class _Wrong(Exception):
    """What is wrong with a value, in words that do not repeat it."""


@dataclass(frozen=True, slots=True)
class _Place:
    """What a value is judged by: the mode, where relative paths start, the services there are."""

    mode: Mode
    folder: Path
    offered: Collection[str]


_Parse = Callable[[Any, _Place], Any]


def _text(value: Any, _: _Place) -> str:
    if not isinstance(value, str) or not value:
        raise _Wrong("must be a text")
    return value


def _id(value: Any, _: _Place) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[a-z0-9-]{1,40}", value):
        raise _Wrong("must be 1 to 40 of a-z, 0-9 and -")
    return value


def _one_of(*words: str) -> _Parse:
    def parse(value: Any, _: _Place) -> str:
        if not isinstance(value, str) or value not in words:
            raise _Wrong(f"must be one of {', '.join(words)}")
        return value

    return parse


def _auth(value: Any, place: _Place) -> str:
    word = str(_one_of(*get_args(Auth))(value, place))
    if word == "open" and place.mode == "production":
        raise _Wrong("must not be open in production")
    return word


def _issuer(value: Any, place: _Place) -> str:
    text = _text(value, place)
    if place.mode == "production" and text.rstrip("/").lower() == SANDBOX_ISSUER:
        raise _Wrong("the sandbox is not for production, its private key is public")
    return text


def _whole(low: int, high: int) -> _Parse:
    def parse(value: Any, _: _Place) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise _Wrong(f"must be a whole number from {low} to {high}")
        return value

    return parse


def _list_of(parse_item: _Parse, *, empty: bool = True) -> _Parse:
    def parse(value: Any, place: _Place) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise _Wrong("must be a list of texts")
        if not value and not empty:
            raise _Wrong("must not be empty")
        return tuple(parse_item(item, place) for item in value)

    return parse


def _algorithm(value: Any, _: _Place) -> str:
    if not isinstance(value, str) or value not in jwks.ALGORITHMS:
        raise _Wrong(f"must be of {', '.join(jwks.ALGORITHMS)}")
    return value


def _service(value: Any, place: _Place) -> str:
    if not isinstance(value, str) or value not in place.offered:
        raise _Wrong("names a service that is not offered")
    return value


def _url(value: Any, place: _Place) -> str:
    """An address we may call: https, or http to this machine in development."""
    wrong = _Wrong(
        "must be an absolute https URL without user, query or fragment"
        + (" (or http on 127.0.0.1 or localhost)" if place.mode == "development" else "")
    )
    # By the parser that judges what is called, so that nothing is accepted here and refused there.
    base = parse_base(value) if isinstance(value, str) else None
    if base is None:
        raise wrong
    local = place.mode == "development" and base.host in ("127.0.0.1", "localhost")
    if not (base.scheme == "https" or local):
        raise wrong
    return str(value)


def _origin(value: Any, _: _Place) -> str:
    wrong = _Wrong("must be scheme://host or scheme://host:port")
    if not isinstance(value, str) or not re.fullmatch(r"https?://[^\s/?#@\\*,]+", value):
        raise wrong
    try:
        parts = urlsplit(value)
        fine = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        raise wrong from None
    if not fine or not value.isascii():
        raise wrong
    return value


def _path(value: Any, place: _Place) -> Path:
    if not isinstance(value, str) or not value or "\0" in value:
        raise _Wrong("must be the path of a file")
    path = place.folder / value
    if not path.is_file():
        raise _Wrong("the file is missing")
    return path


KEYS: Final[Mapping[str, _Parse]] = {
    "id": _id,
    "mode": _one_of(*get_args(TenantMode)),
    "auth": _auth,
    "issuer": _issuer,
    "jwks_uri": _url,
    "jwks_file": _path,
    "jku": _list_of(_text),
    "algorithms": _list_of(_algorithm, empty=False),
    "audience_aliases": _list_of(_text),
    "tenant_claim": _text,
    "subject": _text,
    "max_token_lifetime_s": _whole(60, 86_400),
    "clock_skew_s": _whole(0, 300),
    "replay": _one_of(*get_args(Replay)),
    "jwks_ttl_s": _whole(1, 86_400),
    "jwks_refetch_s": _whole(1, 86_400),
    "services": _list_of(_service),
    "profile": _one_of(*PROFILES),
    "overrides": _path,
    "extra_codes": _path,
    "client_profile": _one_of(*get_args(ClientProfile)),
    "missing_data": _one_of(*get_args(MissingData)),
    "max_cards": _whole(1, 100),
    "topics_off": _list_of(_one_of(*(topic.value for topic in Topic))),
    "rollout_percent": _whole(0, 100),
    "suppress_after_override_days": _whole(0, 3650),
    "pseudonym_key_file": _path,
    "deadline_ms": _whole(100, 10_000),
    "rate_limit_per_s": _whole(1, 100_000),
    "burst": _whole(1, 1_000_000),
    "cors_origins": _list_of(_origin),
    "fhir_servers": _list_of(_url),
    "fhir_ca_file": _path,
    "fhir_timeout_ms": _whole(1, 10_000),
}


_FILES: Final = ("jwks_file", "overrides", "extra_codes", "pseudonym_key_file", "fhir_ca_file")


# --- the files a tenant names -----------------------------------------------------------------


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        raise _Wrong("the file cannot be read") from None


def _authorities(path: Path) -> str:
    """The certificates in the file. Read once: nothing of a call depends on the file."""
    # What is not ASCII is a comment.
    text = _content(path).decode("ascii", errors="ignore")
    try:
        context = ssl.create_default_context(cadata=text)
    except (ssl.SSLError, ValueError):
        raise _Wrong("the file has no certificate") from None
    if not context.cert_store_stats()["x509"]:
        raise _Wrong("the file has no certificate")
    return text


def _keys_of(path: Path) -> tuple[jwks.Jwk, ...]:
    try:
        keys = jwks.parse_key_set(_content(path))
    except jwks.NotAKeySet:
        raise _Wrong("the file is not a key set (JWKS) with keys in it") from None
    if any(not key.is_public for key in keys):
        raise _Wrong("the file has a key that is not public")
    return keys


def _overridden(path: Path, profile: str) -> Protocol:
    """The profile with a site's own differences, which somebody has to answer for."""
    changes = _toml(_content(path))
    by, on = changes.pop("approved_by", None), changes.pop("approved_on", None)
    if not isinstance(by, str) or not by.strip():
        raise _Wrong("approved_by is missing")
    if type(on) is not date:
        raise _Wrong("approved_on is missing or not a date")
    try:
        data = overlay(profile_data(profile), changes, "overrides")
        decision = {
            "key": "overrides",
            "reason": "differences of this site",
            "source": "the overrides file of the tenant",
            "decided_by": by,
            "decided_on": on,
        }
        data["decisions"] = [*data.get("decisions", []), decision]
        protocol = build_protocol(profile, data)
        return replace(protocol, knowledge=_as_changed(protocol.knowledge, by))
    except ProtocolError as error:
        raise _Wrong(str(error)) from None
    except (TypeError, AttributeError, ValueError, ArithmeticError):
        # A table where a value belongs, or the reverse.
        raise _Wrong("the file does not have the shape of a profile") from None


def _as_changed(known: Knowledge, by: str) -> Knowledge:
    """Cards and records must not say that the profile answered, nor that its approver agreed."""
    approver = f"{known.clinical_approver}; local differences by {by.strip()}"
    return replace(
        known,
        version=f"{known.version}+local",
        clinical_approver=approver if known.clinical_approver else "",
    )


def _extended(path: Path) -> ValueSets:
    try:
        return with_extra_codes(_content(path))
    except ValueSetError as error:
        raise _Wrong(str(error)) from None


def _secret(path: Path) -> bytes:
    if path.stat().st_mode & (S_IROTH | S_IWOTH):
        raise _Wrong("the file must not be open to others")
    secret = _content(path).strip()
    if len(secret) < 16:
        raise _Wrong("the file must hold a secret of 16 bytes or more")
    return secret
