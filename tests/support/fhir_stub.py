"""How does a FHIR server behave, well or badly? A server on the loopback for tests of fetching.

What a test writes is a behaviour: a function from the request to a Reply, or one that does what
no server should do with the connection itself. Connections are served by threads, bounded in
number; all of them end when the stub does.
"""

from __future__ import annotations

import json
import select
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from tests.support import ehr

Resource = dict[str, Any]

_MOST_THREADS = 400
_LONGEST_SECONDS = 30
_LONGEST_HEAD = 1024 * 1024
BASE_PATH = "/fhir"


@dataclass(frozen=True)
class Seen:
    """A request as it came. `connection`: which of the stub's connections it came on."""

    target: str
    headers: dict[str, str]
    connection: int

    @property
    def path(self) -> str:
        """Below the base, decoded."""
        return unquote(urlsplit(self.target).path).removeprefix(f"{BASE_PATH}/")

    @property
    def parameters(self) -> list[tuple[str, str]]:
        return parse_qsl(urlsplit(self.target).query, keep_blank_values=True)

    @property
    def kind(self) -> str:
        """The resource type that was asked for."""
        return self.path.partition("/")[0]


@dataclass(frozen=True)
class Reply:
    status: int = 200
    body: Any = None  # bytes, or JSON
    headers: Mapping[str, str] = field(default_factory=dict)
    close: bool = False

    def encoded(self) -> bytes:
        data = self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()
        headers = {"Content-Type": "application/fhir+json", "Content-Length": str(len(data))}
        headers |= self.headers
        if self.close:
            headers["Connection"] = "close"
        lines = [f"HTTP/1.1 {self.status} X", *(f"{k}: {v}" for k, v in headers.items())]
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + data


class Line:
    """The connection, for a behaviour that answers by itself."""

    def __init__(self, connected: socket.socket, stopped: threading.Event) -> None:
        self.socket = connected
        self._stopped = stopped

    def send(self, data: bytes) -> bool:
        """False: the other side is gone, or the stub ends."""
        try:
            self.socket.sendall(data)
        except OSError:
            return False
        return not self._stopped.is_set()

    def sleep(self, seconds: float) -> bool:
        """False: it was ended before its time."""
        return not self._stopped.wait(min(seconds, _LONGEST_SECONDS))

    def wait_for_end(self, seconds: float = _LONGEST_SECONDS) -> None:
        """Say nothing more, until the other side hangs up."""
        until = time.monotonic() + seconds
        while time.monotonic() < until and not self._stopped.is_set():
            readable, _, _ = select.select([self.socket], [], [], 0.02)
            if readable:
                with suppress(OSError):
                    if not self.socket.recv(4096):
                        return

    def drip(self, data: bytes, every: float) -> None:
        """One byte at a time, as often as `every`."""
        for byte in data:
            if not (self.send(bytes([byte])) and self.sleep(every)):
                return

    def reset(self) -> None:
        """End it the hard way: the other side sees a reset, not an end."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


#: None: the behaviour has said all it will; the connection is closed.
Behaviour = Callable[[Seen, Line], Reply | None]


class FhirStub:
    """`with FhirStub(behaviour) as stub:` serves at `stub.url` until the block ends."""

    def __init__(
        self,
        behaviour: Behaviour,
        *,
        tls: ssl.SSLContext | None = None,
        greet: Callable[[Line], bool] | None = None,
    ) -> None:
        """`greet`: what is done with a connection before anything else; False: close it."""
        self.behaviour = behaviour
        self.seen: list[Seen] = []
        self.connections = 0
        self.most_at_once = 0
        self._open = 0
        self._tls, self._greet = tls, greet
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self._listener.settimeout(0.05)
        self.port: int = self._listener.getsockname()[1]

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}{BASE_PATH}"

    def __enter__(self) -> FhirStub:
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        for thread in list(self._threads):
            thread.join(10)
            assert not thread.is_alive(), "a connection of the stub does not end"
        self._listener.close()

    def kinds(self) -> list[str]:
        return [seen.kind for seen in self.seen]

    def tokens(self) -> set[str | None]:
        return {seen.headers.get("authorization") for seen in self.seen}

    def _start(self, work: Callable[..., None], *args: Any) -> None:
        thread = threading.Thread(target=work, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._stopped.is_set():
            try:
                connected, _ = self._listener.accept()
            except TimeoutError:
                continue
            with self._lock:
                self.connections += 1
                self._open += 1
                self.most_at_once = max(self.most_at_once, self._open)
                number = self.connections
            if len(self._threads) > _MOST_THREADS:
                self._threads = [thread for thread in self._threads if thread.is_alive()]
            self._start(self._serve, connected, number)

    def _serve(self, connected: socket.socket, number: int) -> None:
        try:
            connected.settimeout(0.05)
            self._talk(connected, number)
        finally:
            connected.close()
            with self._lock:
                self._open -= 1

    def _talk(self, connected: socket.socket, number: int) -> None:
        if self._greet is not None and not self._greet(Line(connected, self._stopped)):
            return
        if self._tls is not None:
            connected.settimeout(_LONGEST_SECONDS)
            try:
                connected = self._tls.wrap_socket(connected, server_side=True)
            except OSError:  # the client did not like our certificate
                return
        with connected:
            line = Line(connected, self._stopped)
            while (seen := self._head(connected, number)) is not None:
                with self._lock:
                    self.seen.append(seen)
                connected.settimeout(_LONGEST_SECONDS)
                reply = self.behaviour(seen, line)
                if reply is None or not line.send(reply.encoded()) or reply.close:
                    return

    def _head(self, connected: socket.socket, number: int) -> Seen | None:
        data = b""
        connected.settimeout(0.05)
        while not data.endswith(b"\r\n\r\n"):
            try:
                more = connected.recv(65536)
            except TimeoutError:
                if self._stopped.is_set():
                    return None
                continue
            except OSError:
                return None
            data += more
            if not more or len(data) > _LONGEST_HEAD:
                return None
        first, *lines = data.decode("latin-1").split("\r\n")
        pairs = (line.partition(": ") for line in lines if line)
        headers = {name.lower(): value for name, _, value in pairs}
        return Seen(first.split(" ")[1], headers, number)


# --- behaviours -------------------------------------------------------------------------------


def bundle(*resources: Resource, following: str | None = None, **more: Any) -> Resource:
    """A searchset; `following`: the URL of its next page."""
    found: Resource = {"resourceType": "Bundle", "type": "searchset", **more}
    if resources:
        found["entry"] = [{"resource": r, "search": {"mode": "match"}} for r in resources]
    if following is not None:
        found["link"] = [{"relation": "next", "url": following}]
    return found


def outcome(severity: str = "error") -> Resource:
    issue = {"severity": severity, "code": "exception"}
    return {"resourceType": "OperationOutcome", "issue": [issue]}


def record(resources: Iterable[Resource], *, delay: float = 0.0) -> Behaviour:
    """A good server that holds these resources and answers after `delay` seconds."""
    held = list(resources)

    def answer(seen: Seen, line: Line) -> Reply:
        if delay:
            line.sleep(delay)
        _, _, query = seen.target.partition("?")
        found = ehr.answer(f"{seen.path}?{query}" if query else seen.path, held)
        return Reply(404, outcome()) if found is None else Reply(200, found)

    return answer


def but_for(kinds: Iterable[str], different: Behaviour, usual: Behaviour) -> Behaviour:
    """As usual, but for requests of some resource types."""
    of_these = frozenset(kinds)

    def answer(seen: Seen, line: Line) -> Reply | None:
        return (different if seen.kind in of_these else usual)(seen, line)

    return answer


def always(reply: Reply) -> Behaviour:
    return lambda _seen, _line: reply


def hang(_seen: Seen, line: Line) -> None:
    """Never a word."""
    line.wait_for_end()
