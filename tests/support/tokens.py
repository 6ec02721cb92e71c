"""How does a CDS client prove who it is: keys, key sets and tokens, good ones and bad ones."""

from __future__ import annotations

import base64
import json
import time
import uuid
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

PUBLIC_URL = "http://127.0.0.1:8080"
CALL_URL = f"{PUBLIC_URL}/cds-services/b12-order-select"
ISSUER = "https://ehr.example/r4"


def b64(data: bytes | dict[str, Any]) -> str:
    raw = data if isinstance(data, bytes) else json.dumps(data).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


@dataclass(frozen=True)
class Key:
    """A private key with the public half as a client publishes it."""

    kid: str
    private: Any = field(repr=False)
    alg: str

    @property
    def jwk(self) -> dict[str, Any]:
        kind = ECAlgorithm if isinstance(self.private, ec.EllipticCurvePrivateKey) else RSAAlgorithm
        public = kind.to_jwk(self.private.public_key(), as_dict=True)
        return {**public, "kid": self.kid, "use": "sig"}

    def sign(self, claims: dict[str, Any], header: dict[str, Any] | None = None) -> str:
        """Signed with the key's algorithm, whatever the header says; None removes a member."""
        full = {"alg": self.alg, "typ": "JWT", "kid": self.kid} | (header or {})
        full = {name: value for name, value in full.items() if value is not None}
        signed = f"{b64(full)}.{b64(claims)}"
        signature = jwt.get_algorithm_by_name(self.alg).sign(signed.encode(), self.private)
        return f"{signed}.{b64(signature)}"


@cache
def es384(kid: str = "one") -> Key:
    return Key(kid, ec.generate_private_key(ec.SECP384R1()), "ES384")


@cache
def es256(kid: str = "p256") -> Key:
    return Key(kid, ec.generate_private_key(ec.SECP256R1()), "ES256")


@cache
def rs384(kid: str = "rsa") -> Key:
    return Key(kid, rsa.generate_private_key(65537, 2048), "RS384")


def key_set(*keys: Key) -> bytes:
    return json.dumps({"keys": [key.jwk for key in keys]}).encode()


def claims(**changes: Any) -> dict[str, Any]:
    """The claims of a good token; None removes one."""
    now = int(time.time())
    good = {
        "iss": ISSUER,
        "aud": CALL_URL,
        "exp": now + 300,
        "iat": now,
        "jti": str(uuid.uuid4()),
    }
    return {name: value for name, value in (good | changes).items() if value is not None}


def token(key: Key | None = None, header: dict[str, Any] | None = None, **changes: Any) -> str:
    return (key or es384()).sign(claims(**changes), header)


def write_tenants(folder: Path, *keys: Key, text: str = "", more: str = "") -> Path:
    """A tenants file with one tenant that signs with `keys`. `text`: further lines of it."""
    (folder / "keys.json").write_bytes(key_set(*(keys or (es384(),))))
    path = folder / "tenants.toml"
    path.write_text(
        f'[[tenant]]\nid = "one"\nissuer = "{ISSUER}"\njwks_file = "keys.json"\n{text}\n{more}\n'
    )
    return path
