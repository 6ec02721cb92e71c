"""Has the whole of a request arrived, so that a thread may take it up?

Only the framing is looked at: where the head ends, and the length of the body or its chunks. The
server's parser alone decides what a request is, from the same bytes. What it will refuse by itself
is handed to it at once, to be refused; what never ends is refused here. A mistake made here makes a
client wait or be refused; it cannot make one request into two.
"""

from __future__ import annotations

import re
from collections import deque
from enum import Enum
from typing import Final

#: Longer than every head the parser accepts in practice: a token of 9 kB is real.
MAX_HEAD: Final = 64 * 1024
_MAX_CHUNK_LINE: Final = 4096
_MAX_TRAILERS: Final = 16 * 1024
#: What chunks may cost besides the data in them.
_MAX_CHUNK_LINES: Final = 4 * 1024 * 1024

_HEAD_END: Final = b"\r\n\r\n"
_FRAMING: Final = re.compile(
    rb"\r\n(content-length|transfer-encoding|expect)[ \t]*:[ \t]*([^\r\n]*)", re.IGNORECASE
)
_LENGTH: Final = re.compile(rb"[0-9]{1,18}")
_CHUNK_SIZE: Final = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;.*)?")


class State(Enum):
    """What is to be done with a connection now."""

    WAIT = "more is to come"
    COMPLETE = "all of one request is there"
    CUT = "the parser refuses this, or answers it without the rest"
    HEAD_TOO_LONG = "refuse with 431"
    BARE_LINE_FEED = "refuse with 400: this head would never end"


class Arrival:
    """One request as it comes in. `most`: bytes of a body that are waited for."""

    def __init__(self, most: int) -> None:
        self.state = State.WAIT
        self.expects_continue = False
        self._most = most
        self._head = bytearray()
        self._parts: deque[bytes] = deque()
        self._missing: int | None = None  # of a body of known length
        self._chunks: _Chunks | None = None

    @property
    def size(self) -> int:
        """Bytes that are kept."""
        return len(self._head) + sum(map(len, self._parts))

    @property
    def has_head(self) -> bool:
        return self._missing is not None or self._chunks is not None

    @property
    def wants(self) -> int:
        """How many bytes the rest has, as far as that is known."""
        return self._missing or 0

    def add(self, data: bytes) -> State:
        """Take what has come. After anything but WAIT the state stays."""
        if self._chunks is None and self._missing is None:
            self._add_to_head(data)
        else:
            self._add_to_body(data)
        return self.state

    def end(self) -> None:
        """Nothing more will come."""
        if self.state is State.WAIT:
            self.state = State.CUT

    def take(self) -> deque[bytes]:
        """All that came, in order; the head by itself where it is whole."""
        parts, self._parts = self._parts, deque()
        if self._head:
            parts.appendleft(bytes(self._head))
            self._head.clear()
        return parts

    def _add_to_head(self, data: bytes) -> None:
        searched = max(0, len(self._head) - len(_HEAD_END) + 1)
        self._head += data
        end = self._head.find(_HEAD_END, searched)
        if end < 0:
            if self._head.count(b"\n") != self._head.count(b"\r\n"):
                self.state = State.BARE_LINE_FEED
            elif len(self._head) > MAX_HEAD:
                self.state = State.HEAD_TOO_LONG
            return
        body = bytes(self._head[end + len(_HEAD_END) :])
        del self._head[end + len(_HEAD_END) :]
        self._read_framing()
        if self.state is State.WAIT:
            self._add_to_body(body)
        elif body:
            self._parts.append(body)

    def _read_framing(self) -> None:
        """Set what the head says about the body, or a state other than WAIT."""
        lengths, codings = [], []
        for name, value in _FRAMING.findall(self._head):
            match name.lower():
                case b"content-length":
                    lengths.append(value.rstrip(b" \t"))
                case b"transfer-encoding":
                    codings.append(value.rstrip(b" \t").lower())
                case _:
                    self.expects_continue = True
        if not codings and not lengths:
            self._missing = 0
        elif codings == [b"chunked"] and not lengths:
            self._chunks = _Chunks(self._most)
        elif not codings and len(lengths) == 1 and _LENGTH.fullmatch(lengths[0]):
            self._missing = int(lengths[0])
            if self._missing > self._most:
                self.state = State.CUT
        else:
            self.state = State.CUT

    def _add_to_body(self, data: bytes) -> None:
        if data:
            self._parts.append(data)
        if self._chunks is not None:
            self.state = self._chunks.add(data)
        elif self._missing is not None:
            self._missing = max(0, self._missing - len(data))
            self.state = State.WAIT if self._missing else State.COMPLETE


class _Chunks:
    """Where the chunks of a body end."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._data = 0  # bytes in the chunks so far
        self._around = 0  # and in the lines around them
        self._rest = b""  # of a line that has not ended
        self._skip = 0  # bytes of a chunk that are still to come
        self._in_chunk = False
        self._in_trailers = False

    def add(self, data: bytes) -> State:
        data, at = self._rest + data, 0
        while not self._in_trailers:
            at, self._skip = at + self._skip, max(0, at + self._skip - len(data))
            if self._data - self._skip > self._most:  # enough to see that it is too much
                return State.CUT
            if self._in_chunk and not b"\r\n".startswith(data[at : at + 2]):
                return State.CUT  # longer than it said
            end = data.find(b"\r\n", at)
            if end < 0:
                self._rest = data[at:]
                return State.CUT if len(self._rest) > _MAX_CHUNK_LINE else State.WAIT
            if self._in_chunk:
                self._in_chunk = False
            elif not self._is_size(data, at, end):
                return State.CUT
            at = end + 2
        self._rest = data[max(0, at - 2) :]  # the line's own end may begin the one of the trailers
        if _HEAD_END in self._rest:
            return State.COMPLETE
        return State.CUT if len(self._rest) > _MAX_TRAILERS else State.WAIT

    def _is_size(self, data: bytes, at: int, end: int) -> bool:
        """Take the line at the head of a chunk. False: it is none, or one too many."""
        size = _CHUNK_SIZE.fullmatch(data, at, end)
        if size is None:
            return False
        self._skip = int(size[1], 16)
        self._in_chunk = self._skip > 0
        self._in_trailers = not self._in_chunk
        self._data += self._skip
        self._around += end - at + 4
        return self._around <= _MAX_CHUNK_LINES
