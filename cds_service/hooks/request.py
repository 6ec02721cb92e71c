"""What does a hook call say, before anything clinical is looked at?

Only the envelope is decoded: `context` and `prefetch` stay as they were sent until someone needs
them, so a bad entry in one place cannot make another unreadable. Strict where a mistake could
change whose record it is (duplicate keys, patientId), lenient everywhere else.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Final, NamedTuple, TypeVar

import msgspec

from cds_service.errors import InvalidElement, MalformedBody, MissingElement
from fhir_mappers import scan

#: Deepest nesting of `context`. FHIR rarely passes 40; beyond this, code that walks a draft order
#: would run out of stack.
MAX_DEPTH: Final = 100

_BOM: Final = b"\xef\xbb\xbf"


class FetchRun(NamedTuple):
    """One thing that was asked of a FHIR server: a prefetch key of ours, how it ended, how long."""

    key: str
    outcome: str
    ms: float


#: The members of a JSON object, each as it was sent.
Members = dict[str, msgspec.Raw]


@dataclass(frozen=True, slots=True)
class HookRequest:
    """The envelope. `prefetch` None: not sent, or not an object; so `fhir_authorization`."""

    hook: str
    hook_instance: str
    context: Members
    prefetch: Members | None = None
    fhir_server: str | None = None
    fhir_authorization: Members | None = field(default=None, repr=False)
    #: When the call began, by the monotonic clock: its deadline counts from here.
    received: float = field(default_factory=monotonic, compare=False)
    #: What was asked of the client's FHIR server for it, filled in as it happens; for the log.
    fetches: list[FetchRun] = field(default_factory=list, compare=False)


@dataclass(frozen=True, slots=True)
class OrderSelectContext:
    """The context of order-select. `draft_orders` None: none that can be read as a Bundle.

    Numbers in `draft_orders` are int or Decimal, exactly as they were written.
    """

    patient_id: str
    user_id: str | None = None
    encounter_id: str | None = None
    selections: tuple[str, ...] = ()
    draft_orders: dict[str, Any] | None = None


class _Key:
    """A key that is equal to no other, so that a dict keeps those an object has twice."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text


T = TypeVar("T")


def _key(_: type, text: object) -> _Key:
    return _Key(str(text))


_Object = dict[_Key, msgspec.Raw]
_OBJECT: Final = msgspec.json.Decoder(_Object, dec_hook=_key)
# A body may be megabytes, so it is gone over once: its members as they are, those of an object raw.
_BODY: Final = msgspec.json.Decoder(
    dict[_Key, _Object | list[msgspec.Raw] | str | int | float | bool | None], dec_hook=_key
)
_UNDECODABLE: Final = (msgspec.DecodeError, UnicodeError, RecursionError)


def decode_request(data: bytes, *, received: float | None = None) -> HookRequest:
    """Read the body of a hook call. `received`: when it began, by the monotonic clock; None: now.

    A UTF-8 byte order mark is accepted, unknown elements are ignored. Raises MalformedBody,
    MissingElement or InvalidElement.
    """
    received = monotonic() if received is None else received
    _check_utf8(data)
    fields = _body(data.removeprefix(_BOM))
    return HookRequest(
        hook=_required_text(fields, "hook"),
        hook_instance=_required_text(fields, "hookInstance"),
        context=_context(_required(fields, "context")),
        prefetch=_members(fields.get("prefetch")),
        fhir_server=_text(fields.get("fhirServer")),
        fhir_authorization=_members(fields.get("fhirAuthorization")),
        received=received,
    )


def _context(members: Any) -> Members:
    if not isinstance(members, dict):
        raise InvalidElement("context", "must be an object")
    return _each_once(members, "context")


def decode_order_select(context: Members) -> OrderSelectContext:
    """Read the context of an order-select call.

    Wrong types count as absent, but for `patientId`: without it there is nobody to advise on.
    Raises MalformedBody, MissingElement or InvalidElement.
    """
    for raw in context.values():
        _check_depth(bytes(raw), MAX_DEPTH - 1)
    fields = {name: value_of(context.get(name)) for name in _SMALL}
    patient_id = _required_text(fields, "patientId", "context.patientId")
    if not patient_id.strip():
        raise InvalidElement("context.patientId", "must not be empty")
    return OrderSelectContext(
        patient_id=patient_id,
        user_id=_text(fields.get("userId")) or None,
        encounter_id=_text(fields.get("encounterId")) or None,
        selections=_texts(fields.get("selections")),
        draft_orders=_draft_orders(context.get("draftOrders")),
    )


_SMALL: Final = ("patientId", "userId", "encounterId", "selections")


def _check_utf8(data: bytes) -> None:
    # The decoder checks only the texts it decodes, and most of the body it skips.
    if data.isascii():
        return
    try:
        data.decode()
    except UnicodeDecodeError:
        raise MalformedBody("body: not UTF-8") from None


def _body(data: bytes) -> dict[str, object]:
    """The members of the body; of those that are objects, the members raw."""
    try:
        return _each_once(_BODY.decode(data), "body")
    except msgspec.ValidationError:
        raise MalformedBody("body: must be a JSON object") from None
    except _UNDECODABLE:
        return _body_with_a_broken_text(data)


def _body_with_a_broken_text(data: bytes) -> dict[str, object]:
    """The same, member by member: one that cannot be decoded does not spoil the others."""
    try:
        members = _each_once(_OBJECT.decode(data), "body")
    except RecursionError:
        raise MalformedBody("body: nested too deeply") from None
    except _UNDECODABLE:
        raise MalformedBody("body: not JSON") from None
    return {name: _object_of(raw) or value_of(raw) for name, raw in members.items()}


def _object_of(raw: msgspec.Raw) -> _Object | None:
    try:
        return _OBJECT.decode(raw)
    except _UNDECODABLE:
        return None


def _members(value: Any) -> Members | None:
    """Of a key given twice the last. None: not an object."""
    return {key.text: raw for key, raw in value.items()} if isinstance(value, dict) else None


def _each_once(members: Mapping[_Key, T], element: str) -> dict[str, T]:
    """A key given twice is refused: which one would be meant?"""
    fields = {key.text: value for key, value in members.items()}
    if len(fields) != len(members):
        raise MalformedBody(f"{element}: has a key twice")
    return fields


def _required(fields: dict[str, object], name: str, element: str | None = None) -> object:
    value = fields.get(name)
    if value is None:
        raise MissingElement(element or name)
    return value


def _required_text(fields: dict[str, object], name: str, element: str | None = None) -> str:
    value = _required(fields, name, element)
    if not isinstance(value, str):
        raise InvalidElement(element or name, "must be a text")
    return value


def value_of(raw: msgspec.Raw | None) -> object:
    """A small value in full; None for what is not there or cannot be decoded."""
    if raw is None:
        return None
    try:
        return msgspec.json.decode(raw)
    except _UNDECODABLE:
        return None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _texts(values: object) -> tuple[str, ...]:
    return tuple(v for v in values if isinstance(v, str)) if isinstance(values, list) else ()


def _draft_orders(raw: msgspec.Raw | None) -> dict[str, Any] | None:
    if raw is None or not bytes(raw).startswith(b"{"):
        return None
    try:
        return scan.decode(raw)
    except scan.Unreadable:
        raise InvalidElement("context.draftOrders", "cannot be read") from None


# --- depth ------------------------------------------------------------------------------------

_NOT_STRUCTURE: Final = bytes(set(range(256)) - set(b'[]{}"'))
_ONE_KIND: Final = bytes.maketrans(b"{}", b"[]")
_STRING: Final = re.compile(rb'"[^"]*"')


def _check_depth(data: bytes, most: int = MAX_DEPTH) -> None:
    """Refuse nesting beyond `most`, without building anything from `data` (valid JSON).

    What is left when strings and scalars are gone is brackets; each round takes the innermost
    pairs away. An ordinary context is gone after a dozen rounds over very little text; one that
    is nearly all brackets runs out of allowance instead of holding up the others.
    """
    if data.count(b"{") + data.count(b"[") <= most:
        return  # not even if each were in the one before it
    if b"\\" in data:
        data = data.replace(b"\\\\", b"").replace(b'\\"', b"")
    rest = _STRING.sub(b"", data.translate(_ONE_KIND, _NOT_STRUCTURE).replace(b'""', b""))
    allowance = 8 * len(data) + most * 1024
    for _ in range(most):
        if not rest:
            return
        allowance -= len(rest)
        if allowance < 0:
            break
        rest = rest.replace(b"[]", b"")
    if rest:
        raise MalformedBody("context: nested too deeply")
