"""What do good, bad and hostile calls leave behind in a server?

A fixed mixture, the same in each run: calls with and without cards, of 5 KB to 3 MB, and every kind
of input that is refused or made to hurt. After each of the latter the next good call has to get the
answer that it got before, on the same connection and so from the same worker.
"""

from __future__ import annotations

import http.client
import json
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

from benchmarks.families import KB, MB, Family, body

Json = dict[str, Any]

PATH: Final = "/cds-services/b12-order-select"
_CALLERS: Final = 6
_CALLS_A_CONNECTION: Final = 100  # then another one, which any worker may take

_GOLDEN: Final = Family("golden", "v02-new-paraesthesia", 6 * KB, cards=True, goal=0)
_QUIET: Final = Family("quiet", "v154-an-unrelated-order", 5 * KB, cards=False, goal=0)
_SILENT: Final = Family(
    "silent", "v05-standard-loading-picked-conforms", 60 * KB, cards=False, goal=0
)
_LARGE: Final = Family("large", "v02-new-paraesthesia", 3 * MB, cards=True, goal=0)


@dataclass(frozen=True, slots=True)
class Kind:
    """A call and the statuses it may have. `good`: its answer is known to be an answer."""

    name: str
    content: bytes
    statuses: frozenset[int] = frozenset((200,))
    content_type: str = "application/json"
    good: bool = True


def kinds() -> list[Kind]:
    """One turn of the mixture: some seventy calls, every fifth of them bad."""
    golden, quiet = Kind("golden", body(_GOLDEN)), Kind("quiet", body(_QUIET))
    bad = list(_bad(golden.content))
    turn = [golden, quiet, quiet, quiet] * len(bad)
    for number, kind in enumerate(bad):
        turn.insert(5 * number + 4, kind)
    return [*turn, *[Kind("silent", body(_SILENT))] * 6, Kind("large", body(_LARGE))]


def _bad(golden: bytes) -> Iterator[Kind]:
    def refused(
        name: str, content: bytes, status: int = 400, kind: str = "application/json"
    ) -> Kind:
        return Kind(name, content, frozenset((status,)), kind, good=False)

    yield refused("empty", b"")
    yield refused("cut off", golden[:-100])
    yield refused("not UTF-8", golden.replace(b'"hook"', b'"\xff":1,"hook"', 1))
    yield refused("a key twice", golden.replace(b'"patientId"', b'"patientId":"x","patientId"', 1))
    yield refused("another hook", golden.replace(b'"order-select"', b'"order-sign"', 1))
    yield refused("no number", golden.replace(b'"hook"', b'"x":NaN,"hook"', 1))
    yield refused("bottomless", golden.replace(b'"hook"', b'"x":' + b"[" * 50_000 + b',"hook"', 1))
    yield refused("lone surrogate", golden.replace(b'"hookInstance":"', b'"hookInstance":"\\ud800'))
    yield refused("media type", golden, 415, "text/xml")
    yield refused("huge", b" " * (17 * MB), 413)
    for name, change in _CHANGES.items():
        request = json.loads(golden)
        change(request)
        content = json.dumps(request).encode()
        yield Kind(name, content, frozenset((200, 400, 412)), good=False)


def _failed(request: Json) -> None:
    failed = {"resourceType": "OperationOutcome"}
    request["prefetch"] = dict.fromkeys(request["prefetch"], failed)


def _stranger(request: Json) -> None:
    request["prefetch"]["patient"]["id"] = "somebody-else"


def _markup(request: Json) -> None:
    for entry in request["context"]["draftOrders"]["entry"]:
        entry["resource"]["note"] = [{"text": "<script>x</script>" * 5000}]
        entry["resource"]["medicationCodeableConcept"]["text"] = "\u202e<img src=x>" * 5000


def _many_keys(request: Json) -> None:
    request["context"]["x"] = {f"key-{number}": number for number in range(20_000)}


def _cycle(request: Json) -> None:
    resource = request["context"]["draftOrders"]["entry"][0]["resource"]
    del resource["medicationCodeableConcept"]
    resource["contained"] = [
        {
            "resourceType": "Medication",
            "id": f"m{number}",
            "ingredient": [{"itemReference": {"reference": f"#m{(number + 1) % 500}"}}],
        }
        for number in range(500)
    ]
    resource["medicationReference"] = {"reference": "#m0"}


_CHANGES: Final = {
    "failed queries": _failed,
    "another patient": _stranger,
    "markup": _markup,
    "many keys": _many_keys,
    "cycle": _cycle,
}


# --- asking -----------------------------------------------------------------------------------


def decision(answer: Json) -> Any:
    """An answer without what is new in each: uuids and group identifiers."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: plain(v) for k, v in value.items() if k not in ("uuid", "groupIdentifier")}
        return [plain(item) for item in value] if isinstance(value, list) else value

    return plain(answer["cards"])


class WrongAnswer(Exception):
    """A call of the mixture was not answered as it has to be. Says which."""


def ask_all(port: int, turn: list[Kind], calls: int) -> Counter[str]:
    """So many calls, a few callers at a time; how often each kind was asked. Raises WrongAnswer."""
    golden = next(kind for kind in turn if kind.name == "golden")
    line = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    expected = decision(_ask(line, golden)[1])
    line.close()

    def some(first: int) -> Counter[str]:
        asked: Counter[str] = Counter()
        after_bad = False
        line = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        for made, number in enumerate(range(first, calls, _CALLERS)):
            if made % _CALLS_A_CONNECTION == 0:
                line.close()
            kind = golden if after_bad else turn[number // _CALLERS % len(turn)]
            status, answer = _ask(line, kind)
            if status not in kind.statuses:
                raise WrongAnswer(f"{kind.name}: {status}")
            if kind is golden and decision(answer) != expected:
                raise WrongAnswer("golden: another answer than before")
            asked[kind.name] += 1
            after_bad = not kind.good
        line.close()
        return asked

    with ThreadPoolExecutor(_CALLERS) as pool:
        return sum(pool.map(some, range(_CALLERS)), Counter())


def _ask(line: http.client.HTTPConnection, kind: Kind) -> tuple[int, Any]:
    try:
        line.request("POST", PATH, kind.content, {"Content-Type": kind.content_type})
        response = line.getresponse()
        content = response.read()
    except (BrokenPipeError, ConnectionResetError):
        line.close()
        if 413 in kind.statuses:  # refused unread: the rest of it could not be sent
            return 413, None
        raise WrongAnswer(f"{kind.name}: the connection was closed") from None
    if response.will_close or response.status == 413:
        line.close()
    return response.status, json.loads(content) if kind.name == "golden" else None
