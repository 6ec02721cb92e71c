"""Which servers are spoken to when the connection is encrypted? F15, and F11 during a handshake."""

from __future__ import annotations

import ssl
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from cds_service.fhir_client import Allowance, FhirClient, Lifeline, Outcome, Reply
from cds_service.fhir_url import parse_base
from tests.support.certificates import Authority, authority, needs_openssl, serving
from tests.support.fhir_stub import FhirStub, Line, always, bundle
from tests.support.fhir_stub import Reply as Said

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
    client = FhirClient(base, ca_file=str(ca_file) if ca_file else None)
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
        client = FhirClient(base, ca_file=str(hospital.file))
        lifeline = Lifeline(time.monotonic() + 20)
        threading.Timer(0.3, lifeline.cut).start()
        started = time.monotonic()
        reply = client.get(f"{stub.url}/Condition", TOKEN, lifeline, Allowance(1 << 20))
        assert reply.outcome is Outcome.TIMEOUT
        assert time.monotonic() - started < 1.5
        client.close()
