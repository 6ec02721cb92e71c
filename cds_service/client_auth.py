"""Is this call from the CDS client it says it is from, and which tenant is that?

The checks are made in the order of `Authenticator.tenant_of`: form, issuer, algorithm and key,
signature, claims, and last whether the token was seen before. Whatever is wrong, the client is
told the same; the cause is in the log, with the tenant, its issuer and the token's id, and never
the token. A refused token costs about the time of a good one.

The URL of a token is compared with the URL of the end point as configured, never with what the
request says of itself.
"""

from __future__ import annotations

import base64
import binascii
import logging
import math
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NoReturn, Protocol

import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric import ec

from cds_service import logs, metrics
from cds_service.errors import NotYours, Unauthenticated
from cds_service.jwks import FetchedKeys, FixedKeys, Jwk, Keys
from cds_service.tenants import Tenant, Tenants

#: Longer ones exist only to be expensive. The server's own limit of a header is about the same.
MAX_TOKEN: Final = 16 * 1024

# RFC 9110 allows more than one space after the scheme; nothing else is allowed to be odd.
_BEARER: Final = re.compile(
    r"bearer +([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+) *", re.IGNORECASE
)
_UNDERSTOOD_NOWHERE: Final = ("crit", "b64", "zip")


class Memory(Protocol):
    """What remembers token ids, for all workers and beyond a restart."""

    def remember_jti(self, tenant: str, jti: str, expires: float) -> bool:
        """True: this id was not seen before, and is remembered until `expires` (Unix time).

        Raises StoreDown.
        """
        ...


class _Refused(Exception):
    """The token is not accepted. `cause`: a word for the log."""

    def __init__(self, cause: str) -> None:
        super().__init__(cause)
        self.cause = cause


@dataclass(frozen=True, slots=True)
class _Token:
    header: dict[str, Any]
    claims: dict[str, Any]
    signed: bytes
    signature: bytes


class Authenticator:
    """Knows the tenants and their keys. One for each process and each reading of the file."""

    def __init__(
        self,
        tenants: Tenants,
        memory: Memory | None = None,
        *,
        fetch: Callable[[str], bytes] | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.tenants = tenants
        self._memory, self._now = memory, now
        self._keys = {t.id: _keys_of(t, fetch) for t in tenants.all if t.auth == "jwt"}

    def tenant_of(
        self,
        authorization: str | None,
        url: str,
        service_id: str,
        *,
        before_store: Callable[[Tenant], None] | None = None,
    ) -> Tenant:
        """The tenant that calls `url`, the end point of `service_id` or of its feedback.

        `before_store`: may refuse a tenant that has proved who it is, before its token is written
        to the store that all tenants wait for.
        Raises Unauthenticated (401), NotYours (403) and StoreDown (503).
        """
        tenant = self._authenticated(authorization, url, before_store)
        if not tenant.may_use(service_id):
            metrics.refused("forbidden")
            logs.event(logging.WARNING, "forbidden", tenant=tenant.id, service=service_id)
            raise NotYours
        return tenant

    def _authenticated(
        self, authorization: str | None, url: str, before_store: Callable[[Tenant], None] | None
    ) -> Tenant:
        if authorization is None and self.tenants.open is not None:
            return self.tenants.open
        if not self.tenants.from_file and self.tenants.open is not None:
            return self.tenants.open  # nothing is agreed with anyone: a token says nothing
        token: _Token | None = None
        tenant: Tenant | None = None
        try:
            token = _token(authorization)
            tenant = self._tenant(token)
            expires = self._verify(token, tenant, url)
            if before_store is not None:
                before_store(tenant)
            if tenant.replay == "reject":
                self._check_unseen(tenant, token.claims["jti"], expires)
        except _Refused as refused:
            _refuse(refused.cause, token, tenant)
        return tenant

    def _tenant(self, token: _Token) -> Tenant:
        tenant = self.tenants.claimed_by(token.claims.get("iss"), token.claims.get("tenant"))
        if tenant is None:
            _take_as_long()
            raise _Refused("issuer")
        return tenant

    def _verify(self, token: _Token, tenant: Tenant, url: str) -> float:
        """When the token expires."""
        key = _check_header(token.header, tenant, self._keys[tenant.id])
        _check_signature(token, key)
        return _check_claims(token.claims, tenant, url, self._now())

    def _check_unseen(self, tenant: Tenant, jti: str, expires: float) -> None:
        if self._memory is None:
            raise RuntimeError("tokens cannot be told apart without a store")
        if not self._memory.remember_jti(tenant.id, jti, expires):
            raise _Refused("replay")


def _keys_of(tenant: Tenant, fetch: Callable[[str], bytes] | None) -> Keys:
    if tenant.jwks_uri is None:
        return FixedKeys(tenant.keys)
    if fetch is None:
        # For a tenant that has an address: nothing that calls others is loaded where nobody is.
        from cds_service.key_source import KeySource  # noqa: PLC0415

        fetch = KeySource(tenant.fhir_authorities)
    return FetchedKeys(
        tenant.id,
        tenant.jwks_uri,
        ttl_s=tenant.jwks_ttl_s,
        refetch_s=tenant.jwks_refetch_s,
        fetch=fetch,
    )


def _refuse(cause: str, token: _Token | None, tenant: Tenant | None) -> NoReturn:
    jti = token.claims.get("jti") if token else None
    metrics.refused("auth")
    logs.event(
        logging.WARNING,
        "unauthenticated",
        cause=cause,
        tenant=tenant.id if tenant else None,
        jti=jti[:64] if isinstance(jti, str) and tenant else None,
    )
    raise Unauthenticated from None


# --- form -------------------------------------------------------------------------------------


def _token(authorization: str | None) -> _Token:
    """The parts of a compact JWS. Two Authorization headers arrive joined, and do not match."""
    if authorization is None:
        raise _Refused("no-token")
    if len(authorization) > MAX_TOKEN:
        raise _Refused("too-long")
    match = _BEARER.fullmatch(authorization)
    if match is None:
        raise _Refused("form")
    header, claims, signature = match.groups()
    return _Token(
        header=_object(header),
        claims=_object(claims),
        signed=f"{header}.{claims}".encode("ascii"),
        signature=_bytes(signature),
    )


def _object(part: str) -> dict[str, Any]:
    try:
        value = msgspec.json.decode(_bytes(part))
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise _Refused("form") from None
    if not isinstance(value, dict):
        raise _Refused("form")
    return value


def _bytes(part: str) -> bytes:
    """Base64url in its one canonical form: a second spelling would be a second token."""
    try:
        value = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except (binascii.Error, ValueError):
        raise _Refused("form") from None
    if base64.urlsafe_b64encode(value).rstrip(b"=").decode("ascii") != part:
        raise _Refused("form")
    return value


# --- header and signature ---------------------------------------------------------------------


def _check_header(header: Mapping[str, Any], tenant: Tenant, keys: Keys) -> Jwk:
    """The key that must have signed. Keys and addresses inside the token are not looked at."""
    try:
        return _key(header, tenant, keys)
    except _Refused:
        _take_as_long()
        raise


def _key(header: Mapping[str, Any], tenant: Tenant, keys: Keys) -> Jwk:
    algorithm, kid = header.get("alg"), header.get("kid")
    if algorithm not in tenant.algorithms:
        raise _Refused("algorithm")
    if any(name in header for name in _UNDERSTOOD_NOWHERE):
        raise _Refused("header")
    if header.get("typ", "JWT") != "JWT":
        raise _Refused("type")
    # Compared, never fetched: a token must not choose where its key comes from.
    if "jku" in header and header["jku"] not in (*tenant.jku, tenant.jwks_uri):
        raise _Refused("jku")
    if not isinstance(kid, str) or not kid:
        raise _Refused("key")
    key = keys.find(kid)
    if key is None:
        raise _Refused("key")
    if not key.fits(algorithm):
        raise _Refused("key-type")
    return key


def _check_signature(token: _Token, key: Jwk) -> None:
    algorithm = jwt.get_algorithm_by_name(token.header["alg"])
    if not algorithm.verify(token.signed, key.public_key, token.signature):
        raise _Refused("signature")


#: A key whose private half was never kept, to spend on a refused token what a good one costs.
_NOBODY: Final = ec.generate_private_key(ec.SECP384R1()).public_key()


def _take_as_long() -> None:
    jwt.get_algorithm_by_name("ES384").verify(b"", _NOBODY, b"\1" * 96)


# --- claims -----------------------------------------------------------------------------------


def _check_claims(claims: Mapping[str, Any], tenant: Tenant, url: str, now: float) -> float:
    """Until when the token's id must be remembered, as Unix time."""
    skew = tenant.clock_skew_s
    expires, issued = _time(claims, "exp"), _time(claims, "iat")
    if expires + skew <= now:
        raise _Refused("exp")
    if issued - skew > now:
        raise _Refused("iat")
    if "nbf" in claims and _time(claims, "nbf") - skew > now:
        raise _Refused("nbf")
    if expires - issued > tenant.max_token_lifetime_s:
        raise _Refused("lifetime")
    if not isinstance(claims.get("jti"), str) or not claims["jti"]:
        raise _Refused("jti")
    audience = claims.get("aud")
    named = audience if isinstance(audience, list) else [audience]
    if not any(one in (url, *tenant.audience_aliases) for one in named if isinstance(one, str)):
        raise _Refused("aud")
    if tenant.subject is not None and claims.get("sub") != tenant.subject:
        raise _Refused("sub")
    return expires + skew


def _time(claims: Mapping[str, Any], name: str) -> float:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise _Refused(name)
    try:
        seconds = float(value)
    except OverflowError:
        raise _Refused(name) from None
    if not math.isfinite(seconds):
        raise _Refused(name)
    return seconds
