"""How is a slow client kept from holding up the others?

gunicorn's threaded worker gives a thread to a connection, and the thread waits for its client. So
here waiting and working are two things: there are many threads, which may wait, and few places to
work, which a call takes only when all of its request has come and leaves before its answer is
sent. A client has so long for each request, and so long to read the answer. A proxy in front
(deploy/nginx.conf) can wait for far more of them.
"""

from __future__ import annotations

import errno
import io
import logging
import math
import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, Final

from gunicorn import util
from gunicorn.http.errors import (
    LimitRequestHeaders,
    LimitRequestLine,
    NoMoreData,
    ParseException,
)
from gunicorn.workers.gthread import TConn, ThreadWorker

from cds_service import errors, logs, metrics
from cds_service.limits import WAITING

#: From the first byte of a request: the head; all of it. Then for its answer to be taken.
HEAD_SECONDS: float = 10.0
REQUEST_SECONDS: float = 30.0
ANSWER_SECONDS: float = 30.0
#: After the last answer, for the client to read it and close.
END_SECONDS: float = 5.0

#: How many calls a worker works on at the same time: fewer than its threads.
PLACES: Final = 12
#: Of a body nobody wanted: clients read the refusal only when they have sent all of it.
_MOST_DISCARDED: Final = 128 * 1024 * 1024
#: The bodies of all calls of a worker together are no more than so many of the longest.
_KEPT_BODIES: Final = 8
_PIECE: Final = 1024 * 1024
_READ: Final = 64 * 1024

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


class TooSlow(ParseException):
    """The request did not come in the time a client has for it."""


class TooMuch(ParseException):
    """The bodies that are coming in are more than a worker keeps."""


class Broken(ParseException):
    """The body ended before it should."""


class ClientSocket(socket.socket):
    """Waits for its client until `deadline`, and no longer for it to read."""

    def __init__(self, accepted: socket.socket) -> None:
        kind = accepted.family, accepted.type, accepted.proto
        super().__init__(*kind, fileno=accepted.detach())
        self.deadline = math.inf

    def recv(self, size: int, flags: int = 0) -> bytes:
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TooSlow
        self.settimeout(None if left == math.inf else left)
        try:
            return super().recv(size, flags)
        except TimeoutError:
            raise TooSlow from None

    def sendall(self, data: Any, flags: int = 0) -> None:
        self.settimeout(ANSWER_SECONDS)
        try:
            super().sendall(data, flags)
        except TimeoutError:
            raise BrokenPipeError(errno.EPIPE, "the answer is not read") from None


class Connection(TConn):
    """A client's connection. It is closed gracefully in its thread, never in the worker's loop."""

    sock: ClientSocket
    queued_at = 0.0

    def close(self, graceful: bool = False) -> None:  # noqa: ARG002  gunicorn's
        util.close(self.sock)

    def end(self) -> None:
        """Let the client read the last answer: to close at once may take it away again."""
        discarded = 0
        self.sock.deadline = time.monotonic() + END_SECONDS
        with suppress(OSError, TooSlow):
            self.sock.shutdown(socket.SHUT_WR)
            while discarded < _MOST_DISCARDED and (data := self.sock.recv(_READ)):
                discarded += len(data)


class PatientWorker(ThreadWorker):
    """gunicorn's threaded worker, patient with slow clients; silent about broken requests."""

    wsgi: Callable[..., Any]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._longest: int = self.app.settings.max_body_bytes
        self._places = threading.BoundedSemaphore(PLACES)
        self._kept = 0
        self._kept_lock = threading.Lock()

    def load_wsgi(self) -> None:
        super().load_wsgi()
        self.wsgi = partial(self._in_a_place, self.wsgi)

    def _in_a_place(
        self, application: Callable[..., Any], environ: dict[str, Any], start_response: object
    ) -> Any:
        began = time.monotonic()
        with self._places:
            WAITING.began(WAITING.seconds + time.monotonic() - began)
            return application(environ, start_response)

    # --- in the loop --------------------------------------------------------------------------

    def accept(self, listener: Any) -> None:
        """Take a connection, and wait in the loop until its client says something."""
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
        conn = Connection(self.cfg, ClientSocket(accepted), client, listener.getsockname())
        conn.timeout = time.monotonic() + HEAD_SECONDS
        self.pending_conns.append(conn)
        ready = partial(self.on_pending_socket_readable, conn)
        self.poller.register(conn.sock, selectors.EVENT_READ, ready)

    def enqueue_req(self, conn: Connection) -> None:
        conn.queued_at = time.monotonic()
        super().enqueue_req(conn)

    def _cap_keepalive(self, deadline: float) -> None:
        """When the worker stops: those who have said nothing are waited for no longer, too."""
        super()._cap_keepalive(deadline)
        for conn in self.pending_conns:
            conn.timeout = min(conn.timeout, deadline)

    # --- in a thread --------------------------------------------------------------------------

    def handle(self, conn: Connection) -> object:
        now = time.monotonic()
        conn.sock.deadline = now + HEAD_SECONDS
        WAITING.began(now - conn.queued_at)
        keep = super().handle(conn)
        if not keep:
            conn.end()
        return keep

    def handle_request(self, req: Any, conn: Connection) -> object:
        conn.sock.deadline += REQUEST_SECONDS - HEAD_SECONDS
        length = getattr(req.body.reader, "length", 0)  # none is known of one in chunks
        if length > self._longest:
            req.force_close()  # the application refuses it unread
            req._expected_100_continue = False  # noqa: SLF001  the client need not send it
            return super().handle_request(req, conn)
        with self._counted() as count:
            if req._expected_100_continue:  # noqa: SLF001
                self._check_room_for(length)
                req._expected_100_continue = False  # noqa: SLF001  or gunicorn says it, but later
                conn.sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            self._receive(req, length, count)
            try:
                return super().handle_request(req, conn)
            finally:
                req.body = io.BytesIO()  # a connection that is kept keeps no body

    def _receive(self, req: Any, length: int, count: Callable[[int], None]) -> None:
        """Read the body, so that nobody waits for it in a place."""
        pieces, missing = [], self._longest + 1
        try:
            while missing and (piece := req.body.read(min(_PIECE, missing))):
                count(len(piece))
                pieces.append(piece)
                missing -= len(piece)
        except NoMoreData:
            raise Broken from None
        data = b"".join(pieces)
        if len(data) < length:
            raise Broken
        if not missing:
            req.force_close()  # the application refuses it; where the next begins is not known
        req.body = io.BytesIO(data)

    @contextmanager
    def _counted(self) -> Iterator[Callable[[int], None]]:
        """Counts the bytes of a body that are kept, until its call is over."""
        counted = 0

        def count(size: int) -> None:
            nonlocal counted
            with self._kept_lock:
                self._check_room_for(size)
                self._kept += size
                counted += size

        try:
            yield count
        finally:
            with self._kept_lock:
                self._kept -= counted

    def _check_room_for(self, size: int) -> None:
        if self._kept + size > _KEPT_BODIES * self._longest:
            raise TooMuch

    def handle_error(
        self, _req: object, client: ClientSocket, _addr: object, exc: Exception
    ) -> None:
        """Answer what could not be read as HTTP. gunicorn's own page quotes the request."""
        status = _status_of(exc)
        if isinstance(exc, TooMuch):
            metrics.refused("overload")
        level = logging.WARNING if status < 500 else logging.ERROR
        logs.event(level, "refused", status=status, exception=exc)
        with suppress(OSError):  # the client is gone: nobody is left to answer
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
        case TooSlow():
            return 408
        case TooMuch():
            return 503
        case ParseException() | UnicodeError():
            return 400
        case _:
            return 500
