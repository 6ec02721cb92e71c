"""When is a request complete? Judged alike however its bytes are cut into pieces."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cds_service.arrival import MAX_HEAD, Arrival, State

MOST = 1000
POST = b"POST /x HTTP/1.1\r\nHost: h\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"


def announced(length: int) -> bytes:
    return POST + b"Content-Length: %d\r\n\r\n" % length


COMPLETE = {
    "no body": b"GET / HTTP/1.1\r\n\r\n",
    "a length": announced(5) + b"12345",
    "the longest": announced(MOST) + b"x" * MOST,
    "a length of nothing": announced(0),
    "a length in small letters": POST + b"content-length:  3  \r\n\r\nabc",
    "two requests": announced(2) + b"ab" + announced(2),
    "chunks": CHUNKED + b"3\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n",
    "an extension": CHUNKED + b'3 ;name="value"\r\nabc\r\n0;x\r\n\r\n',
    "trailers": CHUNKED + b"3\r\nabc\r\n0\r\nX: y\r\nZ: z\r\n\r\n",
    "chunks that hold line ends": CHUNKED + b"8\r\n\r\n0\r\n\r\n!\r\n0\r\n\r\n",
}
WAITING = {
    "no head": b"POST /x HTTP/1.1\r\nHost: h\r\n",
    "a head without its last byte": announced(0)[:-1],
    "a body without its last byte": announced(5) + b"1234",
    "a chunk": CHUNKED + b"5\r\n1234",
    "no last chunk": CHUNKED + b"5\r\n12345\r\n",
    "half a line": CHUNKED + b"5\r\n12345\r\n0",
    "no end of the trailers": CHUNKED + b"0\r\nX: y\r\n",
    "a chunk that is announced too long": CHUNKED + b"FFFFFF\r\n1234",
}
FOR_THE_PARSER = {
    "a length that is none": POST + b"Content-Length: -5\r\n\r\n",
    "two lengths": POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n",
    "a length and chunks": POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
    "another coding": POST + b"Transfer-Encoding: gzip\r\n\r\n",
    "too long": announced(MOST + 1),
    "a chunk without a size": CHUNKED + b"\r\nabc",
    "a size that is none": CHUNKED + b"5x\r\nabc",
    "a size that is signed": CHUNKED + b"-5\r\nabc",
    "a chunk that is longer than it says": CHUNKED + b"2\r\nabcdef\r\n",
    "a chunk without its end": CHUNKED + b"2\r\nabc",
    "an endless line": CHUNKED + b"1" * 5000,
    "endless trailers": CHUNKED + b"0\r\n" + b"X: y\r\n" * 5000,
    "too much in chunks": CHUNKED + b"600\r\n" + b"x" * (MOST + 1),
}
CASES = [
    *((name, data, State.COMPLETE) for name, data in COMPLETE.items()),
    *((name, data, State.WAIT) for name, data in WAITING.items()),
    *((name, data, State.CUT) for name, data in FOR_THE_PARSER.items()),
    ("a head without end", b"GET / HTTP/1.1\r\nX: " + b"y" * MAX_HEAD, State.HEAD_TOO_LONG),
    ("a bare line feed", b"GET / HTTP/1.1\nX: y\n\n", State.BARE_LINE_FEED),
]


@pytest.mark.fault("H16", "H18")
@pytest.mark.parametrize(("data", "state"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_a_request_is_known_to_be_complete_without_waiting_for_more(data, state):
    at_once = Arrival(MOST)
    assert at_once.add(data) is state
    assert b"".join(at_once.take()) == data
    piecemeal = Arrival(MOST)
    for at in range(len(data)):
        if piecemeal.add(data[at : at + 1]) is not State.WAIT:
            break
    assert piecemeal.state is state


@given(st.lists(st.integers(1, 30), max_size=8), st.lists(st.integers(1, 40), min_size=1))
def test_chunks_are_followed_however_they_are_cut(sizes, cuts):
    body = b"".join(b"%x\r\n%s\r\n" % (size, b"\r\n0\r"[: size % 6].ljust(size)) for size in sizes)
    data = CHUNKED + body + b"0\r\n\r\n"
    arrival, at = Arrival(MOST), 0
    for turn in range(len(data)):
        size = cuts[turn % len(cuts)]
        assert arrival.state is State.WAIT
        arrival.add(data[at : at + size])
        at += size
        if at >= len(data):
            break
    assert arrival.state is State.COMPLETE
    assert b"".join(arrival.take()) == data


def test_the_head_comes_by_itself():
    arrival = Arrival(MOST)
    arrival.add(announced(5) + b"123")
    assert (arrival.size, arrival.wants, arrival.has_head) == (len(announced(5)) + 3, 2, True)
    arrival.add(b"45")
    assert list(arrival.take()) == [announced(5), b"123", b"45"]


def test_nothing_more_is_known_to_come():
    arrival = Arrival(MOST)
    arrival.add(announced(5) + b"123")
    arrival.end()
    assert arrival.state is State.CUT
    whole = Arrival(MOST)
    whole.add(announced(0))
    whole.end()
    assert whole.state is State.COMPLETE


@pytest.mark.fault("H25")
def test_a_client_that_asks_whether_to_go_on_is_known():
    arrival = Arrival(MOST)
    arrival.add(POST + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\n")
    assert arrival.expects_continue
    assert arrival.state is State.WAIT


@pytest.mark.fault("H16")
def test_small_chunks_cost_no_more_than_they_hold():
    arrival = Arrival(1_000_000)
    arrival.add(CHUNKED)
    piece = b"1\r\nx\r\n" * 10_000
    for _ in range(100):
        if arrival.add(piece) is not State.WAIT:
            break
    assert arrival.state is State.CUT  # 1 MB of data in 6 MB of chunks
    assert arrival.size < 6_000_000
