"""What does a hook call say, before anything clinical is looked at?

Only the envelope is decoded: `context` and `prefetch` stay as they were sent until someone needs
them, so a bad entry in one place cannot make another unreadable. Strict where a mistake could
change whose record it is (duplicate keys, patientId), lenient everywhere else.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property
from time import monotonic
from typing import Any, Final, NamedTuple

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


@dataclass(frozen=True)
class HookRequest:
    """The envelope. Raw parts are JSON as sent; `all_prefetch` is read by `prefetch`."""

    hook: str
    hook_instance: str
    context: msgspec.Raw
    all_prefetch: msgspec.Raw | None = None
    fhir_server: str | None = None
    fhir_authorization: msgspec.Raw | None = field(default=None, repr=False)
    #: When the call began, by the monotonic clock: its deadline counts from here.
    received: float = field(default_factory=monotonic, compare=False)
    #: What was asked of the client's FHIR server for it, filled in as it happens; for the log.
    fetches: list[FetchRun] = field(default_factory=list, compare=False)

    @cached_property
    def prefetch(self) -> dict[str, msgspec.Raw] | None:
        """The values by their keys. None: not sent, or not an object.

        Megabytes are gone over for it, so not before it is clear that an order of ours was picked.
        """
        if self.all_prefetch is None:
            return None
        try:
            return _PREFETCH.decode(self.all_prefetch)
        except msgspec.ValidationError:
            return None


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


def _key(_: type, text: object) -> _Key:
    return _Key(str(text))


_OBJECT: Final = msgspec.json.Decoder(dict[_Key, msgspec.Raw], dec_hook=_key)
_PREFETCH: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_UNDECODABLE: Final = (msgspec.DecodeError, UnicodeError)


def decode_request(data: bytes, *, received: float | None = None) -> HookRequest:
    """Read the body of a hook call. `received`: when it began, by the monotonic clock; None: now.

    A UTF-8 byte order mark is accepted, unknown elements are ignored. Raises MalformedBody,
    MissingElement or InvalidElement.
    """
    received = monotonic() if received is None else received
    _check_utf8(data)
    fields = _object(data.removeprefix(_BOM), "body")
    return HookRequest(
        hook=_required_text(fields, "hook"),
        hook_instance=_required_text(fields, "hookInstance"),
        context=_required(fields, "context"),
        all_prefetch=fields.get("prefetch"),
        fhir_server=_text(fields.get("fhirServer")),
        fhir_authorization=fields.get("fhirAuthorization"),
        received=received,
    )


def decode_order_select(context: msgspec.Raw) -> OrderSelectContext:
    """Read the context of an order-select call.

    Wrong types count as absent, but for `patientId`: without it there is nobody to advise on.
    Raises MalformedBody, MissingElement or InvalidElement.
    """
    data = bytes(context)
    if not data.lstrip().startswith(b"{"):
        raise InvalidElement("context", "must be an object")
    _check_depth(data)
    fields = _object(data, "context")
    patient_id = _required_text(fields, "patientId", "context.patientId")
    if not patient_id.strip():
        raise InvalidElement("context.patientId", "must not be empty")
    return OrderSelectContext(
        patient_id=patient_id,
        user_id=_text(fields.get("userId")) or None,
        encounter_id=_text(fields.get("encounterId")) or None,
        selections=_texts(fields.get("selections")),
        draft_orders=_draft_orders(fields.get("draftOrders")),
    )


def _check_utf8(data: bytes) -> None:
    # The decoder checks only the texts it decodes, and most of the body it skips.
    if data.isascii():
        return
    try:
        data.decode()
    except UnicodeDecodeError:
        raise MalformedBody("body: not UTF-8") from None


def _object(data: bytes, element: str) -> dict[str, msgspec.Raw]:
    """The members of a JSON object. A key given twice is refused: which one would be meant?"""
    try:
        members = _OBJECT.decode(data)
    except msgspec.ValidationError:
        raise MalformedBody(f"{element}: must be a JSON object") from None
    except _UNDECODABLE:
        raise MalformedBody(f"{element}: not JSON") from None
    except RecursionError:
        raise MalformedBody(f"{element}: nested too deeply") from None
    fields = {key.text: raw for key, raw in members.items()}
    if len(fields) != len(members):
        raise MalformedBody(f"{element}: has a key twice")
    return fields


def _required(fields: dict[str, msgspec.Raw], name: str, element: str | None = None) -> msgspec.Raw:
    raw = fields.get(name)
    if raw is None or bytes(raw) == b"null":
        raise MissingElement(element or name)
    return raw


def _required_text(fields: dict[str, msgspec.Raw], name: str, element: str | None = None) -> str:
    text = _text(_required(fields, name, element))
    if text is None:
        raise InvalidElement(element or name, "must be a text")
    return text


def _value(raw: msgspec.Raw | None) -> object:
    """A small value in full; None for what cannot be decoded."""
    if raw is None:
        return None
    try:
        return msgspec.json.decode(raw)
    except (*_UNDECODABLE, RecursionError):
        return None


def _text(raw: msgspec.Raw | None) -> str | None:
    value = _value(raw)
    return value if isinstance(value, str) else None


def _texts(raw: msgspec.Raw | None) -> tuple[str, ...]:
    values = _value(raw)
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


def _check_depth(data: bytes) -> None:
    """Refuse nesting beyond MAX_DEPTH, without building anything from `data` (valid JSON).

    What is left when strings and scalars are gone is brackets; each round takes the innermost
    pairs away. An ordinary context is gone after a dozen rounds over very little text; one that
    is nearly all brackets runs out of allowance instead of holding up the others.
    """
    if data.count(b"{") + data.count(b"[") <= MAX_DEPTH:
        return  # not even if each were in the one before it
    if b"\\" in data:
        data = data.replace(b"\\\\", b"").replace(b'\\"', b"")
    rest = _STRING.sub(b"", data.translate(_ONE_KIND, _NOT_STRUCTURE).replace(b'""', b""))
    allowance = 8 * len(data) + MAX_DEPTH * 1024
    for _ in range(MAX_DEPTH):
        if not rest:
            return
        allowance -= len(rest)
        if allowance < 0:
            break
        rest = rest.replace(b"[]", b"")
    if rest:
        raise MalformedBody("context: nested too deeply")
