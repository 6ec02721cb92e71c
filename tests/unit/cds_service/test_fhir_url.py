"""Which addresses are called, which links are followed, and what may be connected to?"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cds_service.fhir_url import Allowed, BaseUrl, below, may_connect, parse_base

BASE = parse_base("https://ehr.example/api/FHIR/R4")
assert BASE is not None
ALLOWED = Allowed.of(["https://ehr.example/api/FHIR/R4", "http://10.1.2.3:8080/fhir"])


@pytest.mark.fault("F06")
@pytest.mark.parametrize(
    ("url", "same"),
    [
        ("https://ehr.example/fhir", "https://ehr.example/fhir"),
        ("HTTPS://EHR.example/Fhir///", "https://ehr.example/Fhir"),
        ("https://ehr.example:443/fhir", "https://ehr.example/fhir"),
        ("http://ehr.example:80", "http://ehr.example"),
        ("http://ehr.example:8080/", "http://ehr.example:8080"),
        ("http://[::1]:8080/fhir", "http://[::1]:8080/fhir"),
        ("https://hapi_fhir/a%20b", "https://hapi_fhir/a%20b"),
    ],
)
def test_f06_a_base_has_one_spelling(url: str, same: str) -> None:
    assert str(parse_base(url)) == same


UNCLEAN = [
    # F02: other schemes, incomplete URLs
    *("file:///etc/passwd", "gopher://ehr.example", "ftp://ehr.example/fhir"),
    *("javascript:alert(1)", "ehr.example/fhir", "//ehr.example/fhir", "https:ehr.example"),
    *("https:///fhir", "https://", "https:/ehr.example", "", " "),
    # F05: what different parsers read differently
    *("https://user@ehr.example/fhir", "https://user:pass@ehr.example", "https://@ehr.example"),
    *("https://ehr.example#x", "https://ehr.example/fhir#", "https://ehr.example/fhir?a=b"),
    *("https://ehr.example\\@evil.example", "https://ehr.example/a\\b", "https://ehr.example/a;b"),
    *("https://ehr.example/fh\tir", "https://ehr.example/fhir\n", " https://ehr.example"),
    *("https://ehr.example/%00", "https://ehr.example/%0a", "https://ehr.example/%2500"),
    *("https://ehr.example/%zz", "https://ehr.example/%"),
    *("https://ehr.example./fhir", "https://ehr..example", "https://-ehr.example"),
    *("https://münchen.example", "https://ehr%2eexample/fhir", "https://ehr.example%00.evil"),
    *("https://ehr.example:0/fhir", "https://ehr.example:99999", "https://ehr.example:065"),
    *("https://ehr.example:/fhir", "https://ehr.example:443:443", "https://ehr.example:-1"),
    *("https://ehr.example/a/../b", "https://ehr.example/%2e%2e/b", "https://ehr.example/."),
    *("https://ehr.example/a%2f..%2fb", "https://ehr.example/%252e%252e/b"),
    # F03: other spellings of an address
    *("http://2130706433", "http://0x7f.1", "http://127.1", "http://0", "http://0177.0.0.1"),
    *("http://127.0.0.1.", "http://127.000.000.001", "http://[::ffff:127.0.0.1]"),
    *("http://[0:0:0:0:0:0:0:1]", "http://[::1%25eth0]", "http://[127.0.0.1]", "http://::1"),
    "https://" + "a" * 10_000,
]


@pytest.mark.fault("F02", "F03", "F05")
@pytest.mark.parametrize("url", UNCLEAN)
def test_f02_f03_f05_what_is_not_clean_is_no_base(url: str) -> None:
    assert parse_base(url) is None
    assert Allowed.of(["http://127.0.0.1:*", "http://localhost:*"]).find(url) is None


@pytest.mark.fault("F06")
@pytest.mark.parametrize(
    "url",
    ["https://ehr.example/api/FHIR/R4", "https://EHR.EXAMPLE:443/api/FHIR/R4/"],
)
def test_f06_a_listed_server_is_found(url: str) -> None:
    assert ALLOWED.find(url) == BASE


@pytest.mark.fault("F01", "F03", "F06")
@pytest.mark.parametrize(
    "url",
    [
        "https://ehr.example/api/fhir/R4",
        "https://ehr.example/api/FHIR/R4/x",
        "https://ehr.example/api/FHIR",
        "https://ehr.example/api//FHIR/R4",
        "http://ehr.example/api/FHIR/R4",
        "https://ehr.example:8443/api/FHIR/R4",
        "https://ehr.example.evil.example/api/FHIR/R4",
        "https://evil.example/api/FHIR/R4",
        "https://ehr.example/api/FHIR/R4?x=1",
        "https://ehr.example/api/%46HIR/R4",
        "http://127.0.0.1:8080/fhir",
        "http://169.254.169.254/latest",
        "http://metadata.google.internal",
    ],
)
def test_f01_f03_f06_any_other_is_not(url: str) -> None:
    assert ALLOWED.find(url) is None


def test_nothing_listed_nothing_named_nothing_found() -> None:
    assert Allowed().find("https://ehr.example") is None
    assert ALLOWED.find(None) is None


def test_the_pattern_covers_every_port_and_path_of_that_host_by_http() -> None:
    allowed = Allowed.of(["http://127.0.0.1:*"])
    assert allowed.find("http://127.0.0.1:8081/a/b") == BaseUrl("http", "127.0.0.1", 8081, "/a/b")
    assert allowed.find("http://127.0.0.1") is not None
    for other in ("https://127.0.0.1:8081", "http://localhost:8081", "http://127.0.0.2:8081"):
        assert allowed.find(other) is None


@pytest.mark.parametrize(
    "url", ["http://ehr.example:*", "https://127.0.0.1:*", "http://10.0.0.1:*", "*", "http://*"]
)
def test_no_other_pattern_can_be_listed(url: str) -> None:
    with pytest.raises(ValueError, match="base URL") as refused:
        Allowed.of([url])
    assert url not in str(refused.value)


# --- links ------------------------------------------------------------------------------------


@pytest.mark.fault("F08", "F09")
@pytest.mark.parametrize(
    ("link", "url"),
    [
        ("https://ehr.example/api/FHIR/R4/Condition?page=2", "/Condition?page=2"),
        (
            "https://EHR.example:443/api/FHIR/R4?_getpages=a-b&_bundletype=x",
            "?_getpages=a-b&_bundletype=x",
        ),
        ("https://ehr.example/api/FHIR/R4/", "/"),
        ("Condition?page=2", "/Condition?page=2"),
        ("?_getpages=7", "/?_getpages=7"),
        (
            "/api/FHIR/R4/Condition?code=http://loinc.org|1-2",
            "/Condition?code=http://loinc.org|1-2",
        ),
        ("Condition?a=../../b", "/Condition?a=../../b"),
    ],
)
def test_f08_f09_a_link_inside_is_followed(link: str, url: str) -> None:
    assert BASE is not None
    assert below(BASE, link) == f"https://ehr.example/api/FHIR/R4{url}"


@pytest.mark.fault("F07", "F08", "F10")
@pytest.mark.parametrize(
    "link",
    [
        "",
        "https://evil.example/api/FHIR/R4/Condition?page=2",
        "http://ehr.example/api/FHIR/R4/Condition?page=2",
        "https://ehr.example:8443/api/FHIR/R4/Condition",
        "https://ehr.example/api/FHIR/R4x/Condition",
        "https://ehr.example/other",
        "/other",
        "//evil.example/api/FHIR/R4",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "https://ehr.example@evil.example/api/FHIR/R4",
        "https://ehr.example\\@evil.example/api/FHIR/R4",
        "https://ehr.example/api/FHIR/R4/../admin",
        "../admin",
        "%2e%2e/admin",
        "https://ehr.example/api/FHIR/R4/%2e%2e/%2E%2e/admin",
        "https://ehr.example/api/FHIR/R4/%252e%252e/admin",
        "https://ehr.example/api/FHIR/R4/x%2f..%2f..%2fadmin",
        "https://ehr.example/api/FHIR/R4/..\\admin",
        "Condition?page=2#x",
        "Condition page",
        "Condi\ttion?page=2",
        "Condition?page=2\r\nHost: evil.example",
        "Condition;x=1",
        "Cöndition",
        "x" * 9000,
    ],
)
def test_f07_f08_f10_a_link_that_leads_out_is_not(link: str) -> None:
    assert BASE is not None
    assert below(BASE, link) is None


@given(st.text(max_size=60))
def test_whatever_is_followed_is_below_the_base(link: str) -> None:
    assert BASE is not None
    for written in (link, f"https://ehr.example/api/FHIR/R4/{link}", f"{link}/api/FHIR/R4"):
        url = below(BASE, written)
        assert url is None or url == str(BASE) or url.startswith((f"{BASE}/", f"{BASE}?"))


# --- addresses --------------------------------------------------------------------------------


@pytest.mark.fault("F03", "F04")
@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", "0.1.2.3", "::"),
        *("169.254.169.254", "169.254.0.1", "fe80::1", "fe80::1%eth0", "fd00:ec2::254"),
        *("100.100.100.200", "168.63.129.16", "192.0.0.192", "224.0.0.1", "ff02::1", "240.0.0.1"),
        *("255.255.255.255", "64:ff9b::7f00:1", "2002:7f00:1::", "not an address", ""),
    ],
)
def test_f03_f04_a_name_that_leads_here_or_nowhere_is_not_connected_to(address: str) -> None:
    assert BASE is not None
    assert not may_connect(BASE, address)


@pytest.mark.fault("F04")
@pytest.mark.parametrize("address", ["203.0.113.7", "2606:4700::1", "10.1.2.3", "fd12::1"])
def test_f04_a_listed_name_may_be_public_or_private(address: str) -> None:
    assert BASE is not None
    assert may_connect(BASE, address)


def test_an_address_that_the_operator_wrote_is_that_address_only() -> None:
    local, link = parse_base("http://127.0.0.1:1/fhir"), parse_base("http://169.254.1.1/fhir")
    assert local is not None
    assert link is not None
    assert may_connect(local, "127.0.0.1")
    assert may_connect(link, "169.254.1.1")
    assert not may_connect(local, "127.0.0.2")
    assert not may_connect(link, "169.254.169.254")


def test_localhost_is_this_machine_only() -> None:
    base = parse_base("http://localhost:1/fhir")
    assert base is not None
    assert may_connect(base, "127.0.0.1")
    assert may_connect(base, "::1")
    assert not may_connect(base, "203.0.113.7")
