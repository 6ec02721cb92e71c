"""Which public keys does a CDS client sign with, now?

A key set (JWKS) is a file agreed out of band, or it is fetched from the one address configured
for the client; an address in a token is never called. What was fetched last is kept: a source that
fails does not shut the client out, for a day at most. One thread fetches, others wait for its
result if they have no key without it, and neither a failing source nor unknown key ids can cause
more than one call in the refetch time.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, Protocol

import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from cds_service import logs, metrics

#: What may be configured; each fits one kind of key only. `none` and shared secrets are not here.
ALGORITHMS: Final = (
    "ES256", "ES384", "ES512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512",
)  # fmt: skip

_CURVES: Final = {"ES256": "secp256r1", "ES384": "secp384r1", "ES512": "secp521r1"}
_PRIVATE: Final = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
_RSA_BITS: Final = 2048  # RFC 7518, 3.3

STALE_SECONDS: Final = 24 * 3600

PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey


class NotAKeySet(ValueError):
    """Not a JWKS, or one without a single key."""


class FetchFailed(Exception):
    """No key set could be had (`cds_service.key_source`). `why`: a word for the log."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


@dataclass(frozen=True)
class Jwk:
    """One key of a set, as it was published."""

    members: dict[str, Any]

    @property
    def kid(self) -> object:
        return self.members.get("kid")

    @property
    def signs(self) -> bool:
        return self.members.get("use") in (None, "sig")

    @property
    def is_public(self) -> bool:
        return self.members.get("kty") in ("EC", "RSA") and not _PRIVATE & self.members.keys()

    @cached_property
    def public_key(self) -> PublicKey | None:
        """None: not a key that can be used here. One with a private part is not a secret."""
        if not self.is_public:
            return None
        read = ECAlgorithm.from_jwk if self.members["kty"] == "EC" else RSAAlgorithm.from_jwk
        try:
            key = read(self.members)
        except (jwt.InvalidKeyError, ValueError, TypeError, KeyError, AttributeError):
            return None
        return key if isinstance(key, (rsa.RSAPublicKey, ec.EllipticCurvePublicKey)) else None

    def fits(self, algorithm: str) -> bool:
        """The key's type and curve are those of the algorithm, and nothing else is agreed."""
        key = self.public_key
        if self.members.get("alg") not in (None, algorithm):
            return False
        if isinstance(key, ec.EllipticCurvePublicKey):
            return _CURVES.get(algorithm) == key.curve.name
        return (
            isinstance(key, rsa.RSAPublicKey)
            and algorithm.startswith(("RS", "PS"))
            and key.key_size >= _RSA_BITS
        )


def parse_key_set(data: bytes) -> tuple[Jwk, ...]:
    """The keys of a JWKS, usable or not. Raises NotAKeySet."""
    try:
        document = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise NotAKeySet from None
    keys = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(keys, list) or not keys or not all(isinstance(k, dict) for k in keys):
        raise NotAKeySet
    return tuple(Jwk(members) for members in keys)


class Keys(Protocol):
    """Where the keys of one client come from."""

    def find(self, kid: str) -> Jwk | None:
        """The one signing key of this id; None: there is none, or more than one."""
        ...


def _the_one(kid: str, keys: tuple[Jwk, ...]) -> Jwk | None:
    found = [key for key in keys if key.kid == kid and key.signs]
    return found[0] if len(found) == 1 else None


@dataclass(frozen=True, slots=True)
class FixedKeys:
    """Keys agreed out of band."""

    keys: tuple[Jwk, ...]

    def find(self, kid: str) -> Jwk | None:
        return _the_one(kid, self.keys)


class FetchedKeys:
    """Keys from an address, cached in this process."""

    def __init__(
        self,
        tenant: str,
        uri: str,
        *,
        ttl_s: float,
        refetch_s: float,
        fetch: Callable[[str], bytes],
        clock: Callable[[], float] = time.monotonic,  # never jumps, unlike the time of day
    ) -> None:
        self._tenant, self._uri = tenant, uri
        self._ttl, self._refetch = ttl_s, refetch_s
        self._fetch, self._clock = fetch, clock
        self._lock = threading.Lock()
        self._keys: tuple[Jwk, ...] = ()
        self._good = self._tried = float("-inf")  # when a fetch last succeeded, was last made

    def find(self, kid: str) -> Jwk | None:
        # While one thread fetches, who has a key need not wait: a slow source must not hold up
        # every call of its client.
        if self._is_due(kid) and self._lock.acquire(blocking=self._known(kid) is None):
            try:
                # Whoever waited here finds that the fetch was made: nothing is due any more.
                if self._is_due(kid):
                    self._renew()
            finally:
                self._lock.release()
        return self._known(kid)

    def _known(self, kid: str) -> Jwk | None:
        if self._clock() - self._good > self._ttl + STALE_SECONDS:
            return None
        return _the_one(kid, self._keys)

    def _is_due(self, kid: str) -> bool:
        now = self._clock()
        cooling = now - self._tried < self._refetch
        if self._tried > self._good:  # the last try failed
            return not cooling
        expired = now - self._good >= self._ttl
        return expired or (not cooling and not any(key.kid == kid for key in self._keys))

    def _renew(self) -> None:
        """Fetch, and put the good time first: `_is_due` reads without the lock."""
        try:
            keys = _usable(self._fetch(self._uri))
        except FetchFailed as failure:
            logs.event(logging.WARNING, "jwks-failed", tenant=self._tenant, cause=failure.why)
            metrics.jwks_fetched(self._tenant, failure.why)
            self._tried = self._clock()
            return
        metrics.jwks_fetched(self._tenant, "ok")
        self._keys = keys
        self._good = self._tried = self._clock()


def _usable(data: bytes) -> tuple[Jwk, ...]:
    try:
        keys = parse_key_set(data)
    except NotAKeySet:
        raise FetchFailed("not-a-key-set") from None
    if not any(key.public_key is not None and key.signs for key in keys):
        raise FetchFailed("no-usable-key")
    return keys
