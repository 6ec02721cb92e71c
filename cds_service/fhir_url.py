"""Is this the address of a FHIR server we may call, and does that link stay inside it?

One strict parser for everything that names a server: the operator's list, `fhirServer` of a
request, `next` links and references. What it does not understand is refused, so that no other
parser ever gets to read it in another way. Pure: no name is resolved here.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote, urljoin

_MAX_URL: Final = 8192
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}

# No user, no ";", no backslash, no white space: there is no place for them.
_PATH = r"(?P<path>(?:/(?:[A-Za-z0-9._~!$&'()*+,=:@-]|%[0-9A-Fa-f]{2})*)*)"
_ORIGIN = (
    r"(?P<scheme>[Hh][Tt][Tt][Pp][Ss]?)://"
    r"(?P<host>\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._-]{1,253})"
    r"(?::(?P<port>[1-9][0-9]{0,4}))?"
)
_BASE: Final = re.compile(_ORIGIN + _PATH, re.ASCII)
_LINK: Final = re.compile(_ORIGIN + _PATH + r"(?P<query>\?[!$-\[\]-~]*)?", re.ASCII)
_LABEL: Final = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?", re.ASCII)
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*", re.ASCII)
_PATTERN: Final = re.compile(r"http://(127\.0\.0\.1|localhost):\*/?")


@dataclass(frozen=True, slots=True)
class BaseUrl:
    """A FHIR base. Scheme and host in lower case; `path` without the slash at its end."""

    scheme: str
    host: str  # an IPv6 address without brackets
    port: int
    path: str

    @property
    def origin(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == _DEFAULT_PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{host}{port}"

    @property
    def literal(self) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
        """The address, where the host is one and not a name."""
        return _address(self.host)

    def __str__(self) -> str:
        return self.origin + self.path


def parse_base(text: str) -> BaseUrl | None:
    """The base a URL names, in its one spelling; None for everything that is not clean."""
    match = _BASE.fullmatch(text) if len(text) <= _MAX_URL else None
    return _base(match) if match else None


def _base(match: re.Match[str]) -> BaseUrl | None:
    scheme, host = match["scheme"].lower(), match["host"].lower()
    port = int(match["port"] or _DEFAULT_PORTS[scheme])
    path = match["path"].rstrip("/")
    if port > 65535 or not _is_host(host) or _climbs(path):
        return None
    return BaseUrl(scheme, host.strip("[]"), port, path)


def _is_host(host: str) -> bool:
    if host.startswith("["):
        found = _address(host[1:-1])
        # One spelling only. "::ffff:127.0.0.1" is an IPv4 address in disguise.
        return (
            isinstance(found, ipaddress.IPv6Address)
            and found.ipv4_mapped is None
            and str(found) == host[1:-1]
        )
    labels = host.split(".")
    if _NUMBER.fullmatch(labels[-1]):  # "2130706433", "127.1" and "0x7f.1" are addresses to some
        return isinstance(_address(host), ipaddress.IPv4Address)
    return all(_LABEL.fullmatch(label) for label in labels)


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _climbs(path: str) -> bool:
    """Has it a dot segment or a control character, however often they are encoded?"""
    for _ in range(4):
        if any(segment in (".", "..") for segment in re.split(r"[/\\]", path)):
            return True
        if not path.isprintable():
            return True
        plain = unquote(path)
        if plain == path:
            return False
        path = plain
    return True  # encoded deeper than any honest link


# --- what may be called -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Allowed:
    """The servers that may be called. `any_on`: hosts on which every port and path may, by http."""

    bases: frozenset[BaseUrl] = frozenset()
    any_on: frozenset[str] = frozenset()

    @classmethod
    def of(cls, urls: Iterable[str]) -> Allowed:
        """From a list as an operator writes it. Raises ValueError, which names no URL."""
        bases, any_on = set(), set()
        for url in urls:
            pattern = _PATTERN.fullmatch(url)
            base = parse_base(url)
            if pattern:
                any_on.add(pattern[1])
            elif base:
                bases.add(base)
            else:
                raise ValueError("must be plain http or https base URLs")
        return cls(frozenset(bases), frozenset(any_on))

    def find(self, url: str | None) -> BaseUrl | None:
        """The server a request names, if it is one of these."""
        base = parse_base(url) if url else None
        if base is None:
            return None
        everywhere = base.scheme == "http" and base.host in self.any_on
        return base if everywhere or base in self.bases else None


def below(base: BaseUrl, link: str) -> str | None:
    """The URL a link leads to, if it is the base or below it; None if it leads out, or nowhere.

    A relative link starts at the base. HAPI's "base?_getpages=…" is inside.
    """
    # Checked before joining: urljoin drops tabs and line ends, and resolves dot segments.
    if not link or not link.isascii() or not link.isprintable() or " " in link or "\\" in link:
        return None
    if _climbs(link.partition("?")[0].partition("#")[0]):
        return None
    try:
        url = urljoin(f"{base}/", link)
    except ValueError:
        return None
    match = _LINK.fullmatch(url) if len(url) <= _MAX_URL else None
    found = _base(match) if match else None
    if match is None or found is None or found.origin != base.origin:
        return None
    if found.path != base.path and not found.path.startswith(f"{base.path}/"):
        return None
    return base.origin + match["path"] + (match["query"] or "")


# --- what may be connected to -----------------------------------------------------------------

# Where clouds answer questions about the machine; not all of these are link-local.
_METADATA: Final = (
    *(ipaddress.ip_address(a) for a in ("168.63.129.16", "100.100.100.200", "fd00:ec2::254")),
)
_NOWHERE: Final = (ipaddress.ip_network("0.0.0.0/8"), ipaddress.ip_network("192.0.0.0/24"))
_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")


def may_connect(base: BaseUrl, address: str) -> bool:
    """May the address that the base's host was resolved to be connected to?

    The operator listed exactly this host, so a private address is fine: hospital servers have
    them. An address of this machine, of the link or of a cloud's metadata is not, unless the
    operator wrote that very address; "localhost" may only be this machine.
    """
    found = _address(address.partition("%")[0])
    if found is None:
        return False
    if base.literal is not None:
        return found == base.literal
    found = _embedded(found)
    if base.host == "localhost":
        return found.is_loopback
    if found.is_loopback or found.is_link_local or found.is_unspecified or found.is_multicast:
        return False
    if found.is_reserved or found in _METADATA:
        return False
    return not any(found.version == net.version and found in net for net in _NOWHERE)


def _embedded(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """The IPv4 address that an IPv6 address stands for, or the address itself."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address
