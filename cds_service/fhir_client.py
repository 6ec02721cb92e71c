"""How is a server asked, so that neither it nor the network leads us astray or holds us up?

The only module that speaks HTTP to others: to FHIR servers, and to where clients publish their
keys. One GET at a time, to a URL that was checked, from
an address that was checked: the name is resolved once and that address is connected to. No
redirect, proxy, cookie or `.netrc` is followed; the answer has a size limit; whoever waits for it
can cut it off at any moment, also in the middle of a handshake or of a header. Nothing raises:
a failure is a Reply that says of what kind it was, and holds nothing of what was sent.
"""

from __future__ import annotations

import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from http.client import HTTPException
from http.cookiejar import DefaultCookiePolicy
from typing import Any, Final, cast

import requests
from requests.adapters import HTTPAdapter
from requests.utils import DEFAULT_CA_BUNDLE_PATH
from urllib3 import PoolManager
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import DecodeError, HTTPError, NewConnectionError

from cds_service.fhir_url import BaseUrl, below, may_connect

MAX_BYTES: Final = 16 * 1024 * 1024

_CHUNK: Final = 64 * 1024
_MOST_ADDRESSES: Final = 4

#: host and port → the addresses to try, as socket.getaddrinfo gives them.
Resolve = Callable[[str, int], Sequence[str]]


class Outcome(StrEnum):
    """How asking ended. All but OK: there is no answer to use."""

    OK = "ok"
    NOT_ASKED = "not_asked"  # shed, circuit open, or no time left: nothing was sent
    REFUSED = "refused"  # the URL or the address is one we do not call
    UNREACHABLE = "unreachable"  # no connection, no TLS, or one that broke
    TIMEOUT = "timeout"
    STATUS = "status"  # anything but 200
    TOO_LONG = "too_long"
    INVALID = "invalid"  # not the JSON that was asked for


@dataclass(frozen=True, slots=True)
class Reply:
    outcome: Outcome
    status: int | None = None
    body: bytes = field(default=b"", repr=False)

    @property
    def server_is_well(self) -> bool | None:
        """Does this speak for or against asking the server again? None: it says nothing."""
        if self.outcome in (Outcome.NOT_ASKED, Outcome.REFUSED):
            return None
        if self.outcome in (Outcome.UNREACHABLE, Outcome.TIMEOUT):
            return False
        return not (self.status is not None and (self.status >= 500 or self.status == 429))


class Allowance:
    """How many bytes the answers to one call may have together."""

    def __init__(self, size: int) -> None:
        self._left = size
        self._lock = threading.Lock()

    def take(self, size: int) -> bool:
        with self._lock:
            self._left -= size
            return self._left >= 0


# --- being cut off ----------------------------------------------------------------------------


class Lifeline:
    """The hold that whoever waits has on a fetch. `cut` ends it, whatever it is doing.

    A read timeout is for each read: a server that sends a byte now and then never exceeds it.
    Shutting the socket down from outside ends the read, the handshake or the header it is in.
    """

    def __init__(self, until: float, patience: float = float("inf")) -> None:
        """`patience`: the longest that one read of it may wait."""
        self.until = until
        self._patience = patience
        self._lock = threading.Lock()
        self._held: list[socket.socket] = []
        self._cut = False

    @property
    def remaining(self) -> float:
        return 0.0 if self._cut else self.until - time.monotonic()

    @property
    def timeout(self) -> float:
        return max(0.001, min(self.remaining, self._patience))

    def is_over(self) -> bool:
        return self.remaining <= 0

    def hold(self, connected: socket.socket) -> None:
        """Raises TimeoutError when it has been cut already."""
        # A handle of our own: TLS takes the socket over, and http.client closes its own early.
        line = socket.socket(fileno=os.dup(connected.fileno()))
        with self._lock:
            if not self._cut:
                self._held.append(line)
                return
        line.close()
        raise TimeoutError

    def let_go(self) -> None:
        """What was held may serve another fetch now."""
        with self._lock:
            self._drop()

    def cut(self) -> None:
        with self._lock:
            self._cut = True
            for line in self._held:
                with suppress(OSError):  # the other side has ended it already
                    line.shutdown(socket.SHUT_RDWR)
            self._drop()

    def _drop(self) -> None:
        for line in self._held:
            line.close()
        self._held.clear()


@dataclass(slots=True)
class _Call:
    """What the connection that serves this thread now must know."""

    base: BaseUrl
    resolve: Resolve
    lifeline: Lifeline
    fresh: bool = False  # do not use a kept connection


_thread = threading.local()


def _current() -> _Call:
    return cast(_Call, _thread.call)


@contextmanager
def _calling(call: _Call) -> Iterator[None]:
    _thread.call = call
    try:
        yield
    finally:
        call.lifeline.let_go()
        del _thread.call


# --- connections ------------------------------------------------------------------------------


class NotAllowed(OSError):
    """The name leads to no address that may be connected to."""


def resolve(host: str, port: int) -> Sequence[str]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def _connect(call: _Call, host: str, port: int) -> socket.socket:
    """A connection to an address that was checked. The name is not resolved again."""
    addresses = [a for a in call.resolve(host, port) if may_connect(call.base, a)]
    if not addresses:
        raise NotAllowed
    error: OSError = TimeoutError()
    for number, address in enumerate(addresses[:_MOST_ADDRESSES]):
        share = call.lifeline.timeout / (min(len(addresses), _MOST_ADDRESSES) - number)
        if call.lifeline.is_over():
            raise TimeoutError
        try:
            return socket.create_connection((address, port), timeout=share)
        except OSError as failed:
            error = failed
    raise error


class _Held(HTTPConnection):
    """A connection that is pinned to a checked address and can be cut off."""

    def _new_conn(self) -> socket.socket:
        call = _current()
        try:
            connected = _connect(call, self._dns_host, self.port or 0)
        except NotAllowed:
            raise
        except OSError as error:
            # Without its message, which names the host.
            raise NewConnectionError(self, "no connection") from error
        try:
            call.lifeline.hold(connected)
        except OSError:  # cut off already, or no file descriptor is left
            connected.close()
            raise
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connected.settimeout(call.lifeline.timeout)
        return connected

    def request(self, *args: Any, **kwargs: Any) -> None:
        if self.sock is not None:  # a kept connection serves another call now
            _current().lifeline.hold(self.sock)
        super().request(*args, **kwargs)


class _HeldSecure(_Held, HTTPSConnection):
    """The same with TLS: certificate and name are checked as ever."""


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Held

    def _get_conn(self, timeout: float | None = None) -> Any:
        connection = super()._get_conn(timeout)
        if _current().fresh:
            connection.close()  # it connects again by itself
        return connection


class _SecurePool(_Pool, HTTPSConnectionPool):
    ConnectionCls = _HeldSecure


class _Adapter(HTTPAdapter):
    """Makes connections of our kind, trusting the authorities of our context only."""

    def __init__(self, context: ssl.SSLContext | None, connections: int) -> None:
        self._context = context
        super().__init__(pool_connections=1, pool_maxsize=connections, max_retries=0)

    def init_poolmanager(
        self, connections: int, maxsize: int, block: bool = False, **kwargs: Any
    ) -> None:
        self.poolmanager = PoolManager(
            num_pools=connections, maxsize=maxsize, block=block, ssl_context=self._context, **kwargs
        )
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _SecurePool}

    def cert_verify(self, conn: Any, *_: Any) -> None:
        conn.cert_reqs = "CERT_REQUIRED"  # by the context; requests would add its own authorities


@lru_cache(maxsize=128)
def tls_context(authorities: str | None = None, *, and_system: bool = False) -> ssl.SSLContext:
    """TLS 1.2 or later. `authorities` (PEM): trusted instead of the system's, or besides them.

    The system's: the machine's, and those that come with requests. Raises OSError where these
    cannot be read.
    """
    context = ssl.create_default_context(cadata=authorities)
    if authorities is not None and and_system:
        context.load_default_certs()
    if authorities is None or and_system:
        context.load_verify_locations(DEFAULT_CA_BUNDLE_PATH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


# --- asking -----------------------------------------------------------------------------------


class Client:
    """Asks one server. May be shared by threads; keeps nothing of one call for the next."""

    def __init__(
        self,
        base: BaseUrl,
        *,
        tls: Callable[[], ssl.SSLContext] = tls_context,
        connections: int = 16,
        resolve: Resolve = resolve,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        """`tls` is called for https only."""
        self.base = base
        self._resolve = resolve
        self._max_bytes = max_bytes
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        self._session.headers.clear()
        self._session.adapters.clear()
        context = tls() if base.scheme == "https" else None
        self._session.mount(f"{base.scheme}://", _Adapter(context, connections))

    def close(self) -> None:
        self._session.close()

    def fetch(
        self, url: str, headers: Mapping[str, str], lifeline: Lifeline, allowance: Allowance
    ) -> Reply:
        """The answer of the server at `url`, which must be below its base."""
        prepared = self._prepared(url, headers)
        if prepared is None:
            return Reply(Outcome.REFUSED)
        call = _Call(self.base, self._resolve, lifeline)
        reply = self._try(prepared, call, allowance)
        if reply is not None:
            return reply
        # A kept connection that the server had closed: once more, on a new one.
        call.fresh = True
        return self._try(prepared, call, allowance) or Reply(Outcome.UNREACHABLE)

    def _prepared(self, url: str, headers: Mapping[str, str]) -> requests.PreparedRequest | None:
        """The request as it will be sent. What becomes of a URL is checked, not what it was."""
        headers = {"Accept-Encoding": "gzip", "User-Agent": "b12-cds", **headers}
        try:
            prepared = self._session.prepare_request(requests.Request("GET", url, headers))
        except (requests.RequestException, ValueError):
            return None
        return prepared if below(self.base, str(prepared.url)) == prepared.url else None

    def _try(
        self, prepared: requests.PreparedRequest, call: _Call, allowance: Allowance
    ) -> Reply | None:
        """None: the connection was reset before the answer began."""
        lifeline = call.lifeline
        if lifeline.is_over():
            return Reply(Outcome.TIMEOUT)
        answered = False
        with _calling(call):
            try:
                response = self._session.send(
                    prepared,
                    stream=True,
                    allow_redirects=False,
                    timeout=lifeline.timeout,
                    verify=True,
                    proxies={},
                )
                answered = True
                return self._read(response, allowance)
            except _FAILURES as error:
                if lifeline.is_over() or _is(error, TimeoutError, requests.Timeout):
                    return Reply(Outcome.TIMEOUT)
                if not answered and _was_reset(error):
                    return None
                return Reply(_outcome_of(error))

    def _read(self, response: requests.Response, allowance: Allowance) -> Reply:
        with response:
            if response.status_code != 200:
                return Reply(Outcome.STATUS, response.status_code)
            body = bytearray()
            for chunk in response.raw.stream(_CHUNK, decode_content=True):
                body += chunk
                if len(body) > self._max_bytes or not allowance.take(len(chunk)):
                    return Reply(Outcome.TOO_LONG, 200)
            return Reply(Outcome.OK, 200, bytes(body))


class FhirClient(Client):
    """Asks one FHIR server, with the token that a call brought."""

    def get(self, url: str, token: str, lifeline: Lifeline, allowance: Allowance) -> Reply:
        headers = {"Accept": "application/fhir+json", "Authorization": f"Bearer {token}"}
        return self.fetch(url, headers, lifeline, allowance)


# ValueError: what urllib3 and http.client make of URLs and headers they cannot parse.
_FAILURES: Final = (requests.RequestException, HTTPError, HTTPException, OSError, ValueError)


def _outcome_of(error: BaseException) -> Outcome:
    if _is(error, NotAllowed):
        return Outcome.REFUSED
    return Outcome.INVALID if _is(error, DecodeError) else Outcome.UNREACHABLE


def _was_reset(error: BaseException) -> bool:
    """Did a connection that had been made end before the answer began?"""
    return _is(error, ConnectionError, ssl.SSLEOFError) and not _is(error, NewConnectionError)


def _is(error: BaseException | None, *kinds: type[BaseException]) -> bool:
    """Is it one of these, or was it caused by one? Libraries wrap one in the other."""
    for _ in range(10):
        if error is None:
            return False
        if isinstance(error, kinds):
            return True
        inner = [*error.args, getattr(error, "reason", None)]
        held = [one for one in inner if isinstance(one, BaseException)]
        error = held[-1] if held else error.__cause__ or error.__context__
    return False
