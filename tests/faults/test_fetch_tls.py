"""Which servers are spoken to when the connection is encrypted? F15, and F11 during a handshake."""

from __future__ import annotations

import shutil
import ssl
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from cds_service.fhir_client import Allowance, FhirClient, Lifeline, Outcome, Reply, tls_context
from cds_service.fhir_url import parse_base
from tests.support.calling_back import GOLDEN, Caller, fetching_app, held
from tests.support.certificates import Authority, authority, needs_openssl, serving
from tests.support.fhir_stub import FhirStub, Line, always, bundle, record
from tests.support.fhir_stub import Reply as Said
from tests.support.tokens import es384, key_set, token, write_tenants

pytestmark = needs_openssl

GOOD = always(Said(200, bundle()))
TOKEN = "canary-token"


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return authority(tmp_path_factory.mktemp("hospital"))


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return authority(tmp_path_factory.mktemp("stranger"))


@contextmanager
def server(certificate: Path, **options: Any) -> Iterator[FhirStub]:
    with FhirStub(GOOD, tls=serving(certificate, **options)) as stub:
        yield stub


def ask(url: str, ca_file: Path | None, seconds: float = 5.0) -> Reply:
    import time

    base = parse_base(url)
    assert base is not None
    client = FhirClient(base, tls=partial(tls_context, ca_file.read_text() if ca_file else None))
    try:
        lifeline = Lifeline(time.monotonic() + seconds, patience=seconds)
        return client.get(f"{url}/Condition", TOKEN, lifeline, Allowance(1 << 20))
    finally:
        client.close()


@pytest.mark.fault("F15")
def test_f15_a_server_of_the_tenants_authority_is_asked(hospital: Authority) -> None:
    with server(hospital.server("good")) as stub:
        assert ask(stub.url, hospital.file).outcome is Outcome.OK
        assert stub.tokens() == {f"Bearer {TOKEN}"}


@pytest.mark.fault("F15")
def test_f15_a_name_is_checked_and_not_the_address_it_led_to(hospital: Authority) -> None:
    certificate = hospital.server("named", host="DNS:localhost")
    with server(certificate) as stub:
        named = stub.url.replace("127.0.0.1", "localhost")
        assert ask(named, hospital.file).outcome is Outcome.OK
        assert ask(stub.url, hospital.file).outcome is Outcome.UNREACHABLE
        assert len(stub.seen) == 1


@pytest.mark.fault("F15")
@pytest.mark.parametrize("which", ["expired", "another host", "another authority", "the system's"])
def test_f15_no_request_is_sent_to_a_server_that_cannot_prove_itself(
    hospital: Authority, stranger: Authority, which: str
) -> None:
    trusted: Path | None = hospital.file
    match which:
        case "expired":
            certificate = hospital.server("expired", expired=True)
        case "another host":
            certificate = hospital.server("elsewhere", host="DNS:ehr.example")
        case "another authority":
            certificate = stranger.server("good")
        case _:
            certificate, trusted = hospital.server("good"), None
    with server(certificate) as stub:
        reply = ask(stub.url, trusted)
        assert reply.outcome is Outcome.UNREACHABLE
        assert reply.server_is_well is False
        assert not stub.seen


@pytest.mark.fault("F15")
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
def test_f15_tls_below_1_2_is_refused(hospital: Authority, version: ssl.TLSVersion) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # that is what is tested
        old = server(hospital.server("old"), most=version)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        with old as stub:
            assert ask(stub.url, hospital.file).outcome is Outcome.UNREACHABLE
            assert not stub.seen


@pytest.mark.fault("F15")
def test_tls_1_2_is_enough(hospital: Authority) -> None:
    with server(hospital.server("enough"), most=ssl.TLSVersion.TLSv1_2) as stub:
        assert ask(stub.url, hospital.file).outcome is Outcome.OK


def silent(line: Line) -> bool:
    line.wait_for_end()
    return False


def dripping(line: Line) -> bool:
    line.drip(b"\x16\x03\x03\x40\x00" + bytes(2000), 0.02)
    return False


@pytest.mark.fault("F11")
@pytest.mark.parametrize("greet", [silent, dripping])
def test_f11_a_handshake_that_hangs_can_be_cut_off(hospital: Authority, greet: Any) -> None:
    import threading
    import time

    certificate = hospital.server("slow")
    with FhirStub(GOOD, tls=serving(certificate), greet=greet) as stub:
        base = parse_base(stub.url)
        assert base is not None
        client = FhirClient(base, tls=partial(tls_context, hospital.file.read_text()))
        lifeline = Lifeline(time.monotonic() + 20)
        threading.Timer(0.3, lifeline.cut).start()
        started = time.monotonic()
        reply = client.get(f"{stub.url}/Condition", TOKEN, lifeline, Allowance(1 << 20))
        assert reply.outcome is Outcome.TIMEOUT
        assert time.monotonic() - started < 1.5
        client.close()


# --- the whole of a call ------------------------------------------------------------------------


@contextmanager
def calling_tenant(folder: Path, text: str) -> Iterator[Caller]:
    """A service whose tenant has these further lines in the tenants file."""
    path = write_tenants(folder, text=text)
    if "jwks_uri" in text:
        path.write_text(path.read_text().replace('jwks_file = "keys.json"\n', ""))
    with fetching_app(GOLDEN, tenants=str(path)) as app:
        yield Caller(app)


def bearer() -> dict[str, str]:
    return {"Authorization": f"Bearer {token()}"}


def trusting(hospital: Authority, folder: Path) -> Path:
    return Path(shutil.copy(hospital.file, folder / "ca.pem"))


@pytest.mark.fault("F15")
def test_f15_an_authority_file_that_is_gone_after_the_start_was_read_at_the_start(
    hospital: Authority, tmp_path: Path
) -> None:
    file = trusting(hospital, tmp_path)
    with FhirStub(record(held(GOLDEN)), tls=serving(hospital.server("kept"))) as stub:
        told = f'fhir_servers = ["{stub.url}"]\nfhir_ca_file = "ca.pem"'
        with calling_tenant(tmp_path, told) as caller:
            file.unlink()
            asked = caller.ask(stub.url, headers=bearer())
            delivered = caller.ask(None, bearer(), keep=lambda key: True, grant=None)
    assert asked.text == delivered.text
    assert stub.seen


@pytest.mark.fault("F15")
@pytest.mark.parametrize("error", [FileNotFoundError("canary"), ssl.SSLError("canary")])
def test_f15_authorities_that_cannot_be_had_are_a_gap(
    hospital: Authority, tmp_path: Path, error: OSError, log: Any
) -> None:
    trusting(hospital, tmp_path)
    with server(hospital.server("unknown")) as stub:
        told = f'fhir_servers = ["{stub.url}"]\nfhir_ca_file = "ca.pem"'
        unread = patch("cds_service.fhir_network.tls_context", side_effect=error)
        with calling_tenant(tmp_path, told) as caller, unread:
            asked = caller.ask(stub.url, headers=bearer())
        assert not stub.seen
    assert asked.is_unread
    assert "fetch-without-authorities" in log.getvalue()
    assert "canary" not in log.getvalue()


@pytest.mark.fault("A20", "F15")
@pytest.mark.parametrize("trusted", [True, False])
def test_a_key_set_may_be_behind_the_authority_of_the_hospital(
    hospital: Authority, tmp_path: Path, *, trusted: bool, log: Any
) -> None:
    trusting(hospital, tmp_path)
    published = always(Said(200, key_set(es384())))
    with FhirStub(published, tls=serving(hospital.server("keys"))) as keys:
        told = f'jwks_uri = "{keys.url}"\n' + ('fhir_ca_file = "ca.pem"' if trusted else "")
        with calling_tenant(tmp_path, told) as caller:
            asked = caller.ask(None, bearer(), keep=lambda key: True, grant=None)
    assert asked.status == (200 if trusted else 401)
    assert ("jwks-failed" in log.getvalue()) is not trusted
