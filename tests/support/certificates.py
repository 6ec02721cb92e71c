"""What does a TLS server show, rightly or wrongly? Made by openssl for one run of the tests."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

needs_openssl = pytest.mark.skipif(
    shutil.which("openssl") is None, reason="needs openssl: apt-get install openssl"
)


@dataclass(frozen=True)
class Authority:
    """A certificate authority of our own, in a folder."""

    folder: Path

    @property
    def file(self) -> Path:
        return self.folder / "authority.pem"

    def server(self, name: str, *, host: str = "IP:127.0.0.1", expired: bool = False) -> Path:
        """The file with key and certificate of a server for `host`."""
        key, request = self.folder / f"{name}.key", self.folder / f"{name}.csr"
        extensions = self.folder / f"{name}.ext"
        extensions.write_text(f"subjectAltName={host}\nextendedKeyUsage=serverAuth\n")
        _openssl("req", "-new", "-subj", "/CN=server", *_NEW_KEY, "-keyout", key, "-out", request)
        certificate = self.folder / f"{name}.crt"
        days = ("-days", "-1") if expired else ("-days", "2")
        signing = ("-CA", self.file, "-CAkey", self.folder / "authority.key", "-CAcreateserial")
        _openssl(
            "x509",
            "-req",
            "-in",
            request,
            *signing,
            *days,
            "-extfile",
            extensions,
            "-out",
            certificate,
        )
        both = self.folder / f"{name}.pem"
        both.write_bytes(key.read_bytes() + certificate.read_bytes())
        return both


_NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


def _openssl(*arguments: str | Path) -> None:
    command = ["openssl", *map(str, arguments)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)


def authority(folder: Path) -> Authority:
    key, certificate = folder / "authority.key", folder / "authority.pem"
    usage = (
        "-addext",
        "basicConstraints=critical,CA:TRUE",
        "-addext",
        "keyUsage=critical,keyCertSign,cRLSign",
    )
    _openssl(
        "req",
        "-x509",
        "-days",
        "2",
        "-subj",
        "/CN=authority",
        *usage,
        *_NEW_KEY,
        "-keyout",
        key,
        "-out",
        certificate,
    )
    return Authority(folder)


def serving(certificate: Path, *, most: ssl.TLSVersion | None = None) -> ssl.SSLContext:
    """What a server needs to speak TLS. `most`: the latest version it knows."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    if most is not None:
        context.set_ciphers("DEFAULT:@SECLEVEL=0")
        context.minimum_version = most
        context.maximum_version = most
    return context
