"""How is a slow client kept from holding a thread?

gunicorn's threaded worker gives a connection to a thread as soon as it is there, and the thread
then waits for the head, for the body and for the client to read its answer. A few slow clients
hold all threads. Here a thread only ever takes up a connection on which there is something to do
now: it reads what has come, and if a request is complete, serves it; if not, the connection goes
back to the loop that watches them all. What the client does not read at once is sent by that loop
too, and it is the loop that waits for a client to close its side. The number of threads remains the
number of calls that are worked on at the same time.

    accepted ─► ARRIVING ─► thread ─► SENDING ─► kept alive ─► ARRIVING
                   │ too slow: 408       │ too slow      └─► ENDING ─► closed
"""

from __future__ import annotations

import errno
import logging
import selectors
import socket
import time
from collections import deque
from collections.abc import Callable
from enum import Enum
from functools import partial
from typing import Any, Final

from gunicorn import http
from gunicorn.http.errors import (
    LimitRequestHeaders,
    LimitRequestLine,
    NoMoreData,
    ParseException,
)
from gunicorn.http.unreader import Unreader
from gunicorn.workers.gthread import STOP_KEEPALIVE_LINGER, TConn, ThreadWorker

from cds_service import errors, logs
from cds_service.arrival import Arrival, State
from cds_service.limits import WAITING

#: From the first moment of a request: the head; all of it. And for its answer to be read.
HEAD_SECONDS: Final = 10.0
REQUEST_SECONDS: Final = 30.0
ANSWER_SECONDS: Final = 30.0
#: After the last answer, for the client to read it and close.
END_SECONDS: Final = 5.0
#: Of a body nobody wanted: clients read the refusal only when they have sent all of it.
_MOST_DISCARDED: Final = 128 * 1024 * 1024

_READ: Final = 64 * 1024
_READ_MOST: Final = 1024 * 1024
#: A body that comes fast is waited for in the thread, for so long at a time.
_FAST: Final = _READ
_FAST_SECONDS: Final = 0.02
_SWEEP_SECONDS: Final = 0.5
#: Bytes of unfinished requests that one worker keeps, in bodies of the longest.
_KEPT_BODIES: Final = 8

_EXHAUSTED: Final = (errno.EMFILE, errno.ENFILE)  # here or on the machine
_NOBODY_THERE: Final = (errno.EAGAIN, errno.EWOULDBLOCK, errno.ECONNABORTED)

_REASONS: Final = {
    400: "Bad Request",
    408: "Request Timeout",
    414: "URI Too Long",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    503: "Service Unavailable",
}
_CODES: Final = {408: "timeout", 500: "exception", 503: "transient"}
_REFUSED: Final = {State.HEAD_TOO_LONG: 431, State.BARE_LINE_FEED: 400}


class ClientSocket(socket.socket):
    """Keeps what it is to send, until it is told to send as much as the client takes."""

    def __init__(self, accepted: socket.socket) -> None:
        kind = accepted.family, accepted.type, accepted.proto
        super().__init__(*kind, fileno=accepted.detach())
        self.unsent: deque[memoryview] = deque()

    def sendall(self, data: Any, _flags: int = 0) -> None:
        if len(data):
            self.unsent.append(memoryview(data))

    def flush(self) -> bool:
        """Send without waiting. True: all is sent."""
        while self.unsent:
            try:
                sent = self.sendmsg(list(self.unsent)[:16], [], socket.MSG_DONTWAIT)
            except BlockingIOError:
                return False
            self._forget(sent)
        return True

    def _forget(self, sent: int) -> None:
        while sent:
            first = self.unsent.popleft()
            if len(first) > sent:
                self.unsent.appendleft(first[sent:])
            sent -= min(sent, len(first))


class _Received(Unreader):
    """Gives the parser what has come, and then nothing: it never waits for a client."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: deque[bytes] = deque()

    def chunk(self, _size_hint: int | None = None) -> bytes:
        return self.parts.popleft() if self.parts else b""

    def leave(self) -> bytes:
        """What the request that was served did not use."""
        left = b"".join([self.take_buffered(), *self.parts])
        self.parts.clear()
        return left


class _Reader:
    """Reads a body. One that is broken, or ends too soon, is the client's fault."""

    def __init__(self, reader: Any) -> None:
        self._reader = reader

    def read(self, size: int) -> bytes:
        try:
            data: bytes = self._reader.read(size)
        except (ParseException, NoMoreData) as error:
            raise errors.MalformedBody(
                "body: not all of it came, or not in proper chunks"
            ) from error
        return data


class Phase(Enum):
    ARRIVING = "arriving"
    SENDING = "sending"
    ENDING = "ending"


class Connection(TConn):
    """A client's connection. Either one thread has it, or the loop."""

    sock: ClientSocket

    def __init__(self, cfg: Any, sock: socket.socket, *addresses: Any, most: int) -> None:
        super().__init__(cfg, ClientSocket(sock), *addresses)
        self._most = most
        self.received = _Received()
        self.parser = http.get_parser(cfg, self.sock, self.client)
        self.parser.unreader = self.received
        self.initialized = self.data_ready = True  # nothing for gunicorn to wait for
        self.phase = Phase.ARRIVING
        self.deadline = 0.0
        self.after: Callable[[], None] | None = None  # what follows when all is sent
        self.begin(b"")

    def begin(self, left: bytes) -> None:
        """Be ready for the next request, of which `left` is here already."""
        self.arrival = Arrival(self._most)
        self.began = self.queued_at = time.monotonic()
        self.waited = 0.0  # for a thread
        self.discarded = 0
        self._told_to_continue = False
        if left:
            self.arrival.add(left)

    @property
    def is_silent(self) -> bool:
        """Has nothing come of a request yet?"""
        return self.phase is Phase.ARRIVING and not self.arrival.size

    def read(self) -> State:
        """Take what has come. Waits for nothing, but a little for a body that comes fast."""
        pause = 0.0
        while self.arrival.state is State.WAIT:
            size = min(max(_READ, self.arrival.wants), _READ_MOST)
            data = self._recv(size, pause)
            if data is None:
                break
            if data:
                self.arrival.add(data)
            else:
                self.arrival.end()
            pause = _FAST_SECONDS if len(data) >= _FAST else 0.0
        self._tell_to_continue()
        return self.arrival.state

    def _recv(self, size: int, pause: float) -> bytes | None:
        """None: nothing is there. Empty: nothing will be."""
        try:
            return self.sock.recv(size, socket.MSG_DONTWAIT)
        except BlockingIOError:
            if not pause:
                return None
        self.sock.settimeout(pause)
        try:
            return self.sock.recv(size)
        except TimeoutError:
            return None
        finally:
            self.sock.settimeout(None)

    def _tell_to_continue(self) -> None:
        waits = self.arrival.expects_continue and self.arrival.state is State.WAIT
        if waits and not self._told_to_continue:
            self._told_to_continue = True
            self.sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")

    def give_to(self, request: Any) -> None:
        """Before `request` is served: what it must know of how it came."""
        if self.arrival.state is not State.COMPLETE:
            request.force_close()  # where the next one begins is not known
        if self._told_to_continue or self.arrival.state is State.CUT:
            request._expected_100_continue = False  # noqa: SLF001  gunicorn would say it again
        request.body.reader = _Reader(request.body.reader)

    def discard(self) -> bool:
        """Throw away what comes. False: it is over, or was enough."""
        data = self.sock.recv(_READ_MOST, socket.MSG_DONTWAIT)
        self.discarded += len(data)
        return bool(data) and self.discarded < _MOST_DISCARDED


class PatientWorker(ThreadWorker):
    """gunicorn's threaded worker, patient with slow clients; silent about broken requests."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.max_body_bytes: int = self.app.settings.max_body_bytes
        self._watched: dict[Connection, None] = {}
        self._swept = 0.0

    # --- in the loop --------------------------------------------------------------------------

    def accept(self, listener: Any) -> None:
        try:
            accepted, client = listener.accept()
        except OSError as error:
            if error.errno in _EXHAUSTED:
                # gunicorn would end the worker, and with it its calls. They end by themselves.
                logs.event(logging.ERROR, "no-file-descriptors")
                time.sleep(0.1)
            elif error.errno not in _NOBODY_THERE:
                raise
            return
        self.nr_conns += 1
        server = listener.getsockname()
        conn = Connection(self.cfg, accepted, client, server, most=self.max_body_bytes)
        self._watch(conn, Phase.ARRIVING, HEAD_SECONDS)

    def _watch(self, conn: Connection, phase: Phase, seconds: float) -> None:
        conn.phase, conn.deadline = phase, time.monotonic() + seconds
        self._watched[conn] = None
        event = selectors.EVENT_WRITE if phase is Phase.SENDING else selectors.EVENT_READ
        self.poller.register(conn.sock, event, partial(self._ready, conn))

    def _forget(self, conn: Connection) -> None:
        del self._watched[conn]
        self.poller.unregister(conn.sock)

    def _ready(self, conn: Connection, _sock: object) -> None:
        """Something can be done with a connection that is watched."""
        match conn.phase:
            case Phase.ARRIVING:
                self._forget(conn)
                self.enqueue_req(conn)
            case Phase.SENDING:
                self._attempt(conn, self._send_more)
            case Phase.ENDING:
                self._attempt(conn, self._discard_more)

    def _attempt(self, conn: Connection, action: Callable[[Connection], None]) -> None:
        try:
            action(conn)
        except BlockingIOError:
            return
        except OSError:  # the client is gone
            self._drop(conn)

    def _send_more(self, conn: Connection) -> None:
        if conn.sock.flush():
            self._forget(conn)
            self._sent(conn)

    def _discard_more(self, conn: Connection) -> None:
        if not conn.discard():
            self._drop(conn)

    def on_client_socket_readable(self, conn: Connection, client: object) -> None:
        """A connection that was kept alive has its next request."""
        self.poller.unregister(client)
        self.keepalived_conns.remove(conn)
        conn.begin(b"")
        self.enqueue_req(conn)

    def enqueue_req(self, conn: Connection) -> None:
        conn.queued_at = time.monotonic()
        super().enqueue_req(conn)

    def finish_request(self, conn: Connection, future: Any) -> None:
        """A thread is done with a connection; it says what follows."""
        try:
            follows = future.result()
        except BaseException as error:  # noqa: BLE001  whatever it was: the connection ends here
            logs.event(logging.ERROR, "connection-failed", exception=error)
            follows = self._drop
        self._attempt(conn, follows)

    def _wait_for_more(self, conn: Connection) -> None:
        size = conn.arrival.size
        kept = sum(other.arrival.size for other in self._watched) if size > _READ else 0
        allowed = REQUEST_SECONDS if conn.arrival.has_head else HEAD_SECONDS
        seconds = conn.began + allowed - time.monotonic()
        if kept + size > _KEPT_BODIES * self.max_body_bytes:
            self._refuse(conn, 503)
        elif seconds < 0:  # one that drips is never still long enough to be found by the sweep
            self._refuse(conn, 408)
        else:
            self._watch(conn, Phase.ARRIVING, seconds)

    def _refuse(self, conn: Connection, status: int) -> None:
        logs.event(logging.WARNING, "refused", status=status)
        conn.sock.sendall(_refusal(status))
        self._answered(conn, keep=False)

    def _answered(self, conn: Connection, *, keep: bool) -> None:
        """See to it that the answer reaches the client."""
        conn.after = partial(self._keep if keep else self._end, conn)
        if conn.sock.flush():
            self._sent(conn)
        else:
            self._watch(conn, Phase.SENDING, ANSWER_SECONDS)

    def _sent(self, conn: Connection) -> None:
        if conn.after is not None:
            conn.after()

    def _keep(self, conn: Connection) -> None:
        left = conn.received.leave()
        if left:
            conn.begin(left)
            self.enqueue_req(conn)
            return
        conn.set_timeout()
        if not self.alive:
            conn.timeout = min(conn.timeout, time.monotonic() + STOP_KEEPALIVE_LINGER)
        self.keepalived_conns.append(conn)
        ready = partial(self.on_client_socket_readable, conn)
        self.poller.register(conn.sock, selectors.EVENT_READ, ready)

    def _end(self, conn: Connection) -> None:
        """Close, but not before the client has read the answer: closing may take it away."""
        conn.sock.shutdown(socket.SHUT_WR)
        self._watch(conn, Phase.ENDING, END_SECONDS if self.alive else STOP_KEEPALIVE_LINGER)
        self._attempt(conn, self._discard_more)

    def _drop(self, conn: Connection) -> None:
        if conn in self._watched:
            self._forget(conn)
        self.nr_conns -= 1
        conn.close()

    def murder_pending(self) -> None:
        """End what takes too long. Called by gunicorn after every turn of its loop."""
        now = time.monotonic()
        if now - self._swept < _SWEEP_SECONDS:
            return
        self._swept = now
        for conn in [conn for conn in self._watched if conn.deadline < now]:
            if conn.phase is Phase.ARRIVING and not conn.is_silent:
                self._forget(conn)
                self._attempt(conn, partial(self._refuse, status=408))
            else:
                self._drop(conn)

    def _cap_keepalive(self, deadline: float) -> None:
        super()._cap_keepalive(deadline)
        for conn in self._watched:
            if conn.is_silent or conn.phase is Phase.ENDING:
                conn.deadline = min(conn.deadline, deadline)

    # --- in a thread --------------------------------------------------------------------------

    def handle(self, conn: Connection) -> Callable[[Connection], None]:
        """Do what can be done now; what the loop is to do then."""
        conn.waited += time.monotonic() - conn.queued_at
        try:
            state = conn.read()
            if state is State.WAIT:
                conn.sock.flush()
                return self._wait_for_more
            if state in _REFUSED:
                return partial(self._refuse, status=_REFUSED[state])
            if state is State.CUT and not conn.arrival.size:
                return self._drop  # closed, as connections are
            WAITING.began(conn.waited)
            conn.received.parts = conn.arrival.take()
            keep = bool(super().handle(conn))
            conn.sock.flush()
        except OSError:
            return self._drop
        return partial(self._answered, keep=keep)

    def handle_request(self, req: Any, conn: Connection) -> object:
        conn.give_to(req)
        return super().handle_request(req, conn)

    def _keepalive_after(self, conn: Connection, keepalive: object) -> bool:
        if not keepalive or conn.arrival.state is not State.COMPLETE:
            return False
        return bool(conn.parser.finish_body())  # nothing waits here: all of it has come

    def handle_error(
        self, _req: object, client: ClientSocket, _addr: object, exc: Exception
    ) -> None:
        """Answer what could not be read as HTTP. gunicorn's own page quotes the request."""
        status = _status_of(exc)
        level = logging.WARNING if status < 500 else logging.ERROR
        logs.event(level, "refused", status=status, exception=exc)
        client.sendall(_refusal(status))


def _refusal(status: int) -> bytes:
    reason = _REASONS[status]
    body = errors.outcome(_CODES.get(status, "structure"), reason.lower())
    later = "Retry-After: 1\r\n" if status == 503 else ""
    head = (
        f"HTTP/1.1 {status} {reason}\r\nConnection: close\r\n{later}"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode("ascii") + body


def _status_of(error: Exception) -> int:
    match error:
        case LimitRequestLine():
            return 414
        case LimitRequestHeaders():
            return 431
        case ParseException() | UnicodeError():
            return 400
        case _:
            return 500
