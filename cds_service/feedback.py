"""What did the clinician do with a card, as far as the client tells us?

The standard's form and Epic's are read alike: `overrideReason` or `overrideReasons`, an object. The
body is `{"feedback": [...]}`. All or nothing: one item that is no feedback (not an object, no card,
an outcome that is neither "accepted" nor "overridden") refuses the whole body with 400 and names
the element, so that a client never has to guess which items were taken. Everything else is taken as
it comes and marked with a flag: no suggestions, an odd time, a card that is not ours.

The same item again changes nothing. A different one about the same card is kept beside the first,
and the latest counts: by the time the client gives, where that is a time and not in the future,
else by ours. A card is looked for among the tenant's own and nowhere else; feedback may come before
the card's record is written, so nothing is decided by it being unknown.

No text of the client is kept but the comment. Identifiers that are not UUIDs and reasons that we
did not offer become digests, which still can be counted and compared.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, Row, select

from cds_service import schema
from cds_service.errors import InvalidElement, MalformedBody, MissingElement, TooManyItems
from cds_service.store import (
    Store,
    Way,
    chunks,
    insert_new,
    now_ms,
    take_back,
    upsert,
)
from cds_service.tenants import Tenant

MAX_ITEMS: Final = 10_000
MAX_COMMENT: Final = 4000
_MAX_ID: Final = 1024
_CLOCKS_DIFFER_MS: Final = 300_000
_DAY_MS: Final = 86_400_000
_OUTCOMES: Final = ("accepted", "overridden")
#: An escaped sign in JSON: a pair of surrogates, one alone, or any other.
_ESCAPED: Final = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)",
    re.DOTALL,
)
_CONTROL: Final = re.compile("[\u0000-\u0008\u000b-\u001f\u007f-\u009f\ud800-\udfff]")

#: Where Epic puts the words of a reason that is not one of ours.
_EPIC: Final = "com.epic.cdshooks.feedback.overrideReason."
_EPIC_WORDS: Final = ("reasonCategory", "reasonDisplay", "reasonTitle")

#: HL7's starter set of reasons, which clients may offer whatever a card says.
STANDARD_REASONS: Final = frozenset(
    {
        "action-completed",
        "cds-not-applicable",
        "cds-suboptimal-context",
        "does-not-align-preferences",
        "not-convenient-feasible",
        "patient-contraindication",
        "patient-refuses",
        "recipient-concerns-outcomes",
        "recipient-disagrees-evidence",
        "recipient-does-not-understand",
        "service-not-available",
        "too-costly-uncovered",
    }
)


@dataclass(frozen=True, slots=True)
class Item:
    """One item, made fit to be kept. Times in ms since 1970."""

    card: str  # a UUID, or a digest of what was sent instead
    outcome: str
    suggestions: tuple[str, ...] = ()
    reason: str | None = None
    comment: str = ""
    said_at: int | None = None
    flags: tuple[str, ...] = ()

    def identity(self, tenant: str, service: str) -> str:
        """The same for the same item sent again."""
        said = (
            tenant,
            service,
            self.card,
            self.outcome,
            self.suggestions,
            self.reason,
            self.comment,
            self.said_at,
        )
        return hashlib.sha256(msgspec.json.encode(said)).hexdigest()


# --- reading ------------------------------------------------------------------------------------


def read_feedback(body: bytes, reasons: Collection[str]) -> list[Item]:
    """The items of a body. `reasons`: the codes our cards offer.

    Raises MalformedBody, MissingElement, InvalidElement (400) or TooManyItems (413).
    """
    items = _body(body).get("feedback")
    if items is None:
        raise MissingElement("feedback")
    if not isinstance(items, list):
        raise InvalidElement("feedback", "must be an array")
    if len(items) > MAX_ITEMS:
        raise TooManyItems(MAX_ITEMS)
    known = STANDARD_REASONS | set(reasons)
    return [_item(item, f"feedback[{number}]", known) for number, item in enumerate(items)]


def _body(body: bytes) -> dict[str, Any]:
    body = body.removeprefix(b"\xef\xbb\xbf")
    try:
        try:
            value = msgspec.json.decode(body)
        except msgspec.DecodeError:
            # Half a sign, as a comment that was cut in the middle of an emoji ends with.
            value = msgspec.json.decode(_ESCAPED.sub(_whole_sign, body))
    except (msgspec.DecodeError, UnicodeError):
        raise MalformedBody("body: not JSON") from None
    except RecursionError:
        raise MalformedBody("body: nested too deeply") from None
    if not isinstance(value, dict):
        raise MalformedBody("body: must be an object with feedback")
    return value


def _whole_sign(match: re.Match[bytes]) -> bytes:
    return rb"\ufffd" if match[1] else match[0]


def _item(item: object, where: str, known: Collection[str]) -> Item:
    if not isinstance(item, dict):
        raise InvalidElement(where, "must be an object")
    card = _required_text(item, "card", where)
    if not card.strip() or len(card) > _MAX_ID:
        raise InvalidElement(f"{where}.card", f"must be a text of 1 to {_MAX_ID} characters")
    outcome = _required_text(item, "outcome", where)
    if outcome not in _OUTCOMES:
        raise InvalidElement(f"{where}.outcome", "must be accepted or overridden")
    flags: list[str] = []
    override = _override(item, flags)
    reason, words = _reason(override, known, flags)
    return Item(
        card=_identifier(card),
        outcome=outcome,
        suggestions=_suggestions(item, outcome, flags),
        reason=reason,
        comment=_comment(override.get("userComment"), words, flags),
        said_at=_said_at(item.get("outcomeTimestamp"), flags),
        flags=tuple(flags),
    )


def _required_text(item: Mapping[str, Any], name: str, where: str) -> str:
    value = item.get(name)
    if value is None:
        raise MissingElement(f"{where}.{name}")
    if not isinstance(value, str):
        raise InvalidElement(f"{where}.{name}", "must be a text")
    return value


def _identifier(text: str) -> str:
    """A UUID in its one form. What is none cannot be ours, and may say anything: a digest."""
    try:
        return str(uuid.UUID(text))
    except ValueError:
        return f"other-{_digest(text, 32)}"


def _digest(text: str, length: int) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:length]


def _suggestions(item: Mapping[str, Any], outcome: str, flags: list[str]) -> tuple[str, ...]:
    given = item.get("acceptedSuggestions")
    entries = given if isinstance(given, list) else []
    ids = [e["id"] for e in entries if isinstance(e, dict) and isinstance(e.get("id"), str)]
    if len(ids) != len(entries) or (given is not None and not isinstance(given, list)):
        flags.append("suggestions-unreadable")
    elif outcome == "accepted" and not ids:
        flags.append("no-suggestion")
    return tuple(dict.fromkeys(_identifier(text) for text in ids[:20]))


def _override(item: Mapping[str, Any], flags: list[str]) -> Mapping[str, Any]:
    """The standard's object, or Epic's of nearly the same name."""
    for name in ("overrideReason", "overrideReasons"):
        value = item.get(name)
        if isinstance(value, list) and value:
            value = value[0]
        if isinstance(value, dict):
            return value
        if value not in (None, []):
            flags.append("reason-unreadable")
    return {}


def _reason(
    override: Mapping[str, Any], known: Collection[str], flags: list[str]
) -> tuple[str | None, str]:
    """The code, and the words of Epic's form, which belong with the comment."""
    coding = override.get("reason")
    code = coding.get("code") if isinstance(coding, dict) else None
    words = _epic_words(override.get("extension"))
    if isinstance(code, str) and code.strip():
        if code in known:
            return code, words
        flags.append("reason-not-ours")
        return f"other-{_digest(code, 8)}", words
    if coding is not None:
        flags.append("reason-unreadable")
    return (f"other-{_digest(words, 8)}" if words else None), words


def _epic_words(extension: object) -> str:
    if not isinstance(extension, dict):
        return ""
    given = (extension.get(_EPIC + name) for name in _EPIC_WORDS)
    return " / ".join(dict.fromkeys(text.strip() for text in given if isinstance(text, str)))


def _comment(comment: object, words: str, flags: list[str]) -> str:
    parts = [part for part in (words, comment) if isinstance(part, str) and part.strip()]
    text = _CONTROL.sub(" ", "\n".join(part[: MAX_COMMENT + 1] for part in parts)).strip()
    if len(text) > MAX_COMMENT:
        flags.append("comment-cut")
        text = f"{text[: MAX_COMMENT - 1]}…"
    return text


def _said_at(value: object, flags: list[str]) -> int | None:
    if value is None:
        flags.append("time-missing")
        return None
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
        if moment is not None and moment.tzinfo is None:
            flags.append("time-without-zone")
            moment = moment.replace(tzinfo=UTC)
        if moment is not None:
            return int(moment.timestamp() * 1000)
    except (ValueError, OverflowError):
        pass  # said below, as for a value that is no text
    flags.append("time-unreadable")
    return None


# --- keeping ------------------------------------------------------------------------------------


#: A card as it was found: uuid, topic, service, suggestions, pseudonym.
_Card = Row[*tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Kept:
    """`items` that were sent, of which `new` said something new."""

    items: int
    new: int


def keep_feedback(
    store: Store, items: Sequence[Item], tenant: Tenant, service: str, *, now: int | None = None
) -> Kept:
    """Write what is new. When this returns it is on the disk. Raises StoreDown: nothing is kept."""
    received = now_ms() if now is None else now
    rows = {
        item.identity(tenant.id, service): (position, item) for position, item in enumerate(items)
    }
    with store.transaction(Way.DURABLE) as connection:
        new = sorted(rows.keys() - _already(connection, list(rows)))
        found = _cards(connection, tenant.id, {rows[key][1].card for key in new})
        feedback = [_row(key, *rows[key], tenant.id, service, received, found) for key in new]
        for part in chunks(feedback):
            insert_new(connection, schema.feedback, part)
        comments = [
            {
                "feedback": k,
                "tenant": tenant.id,
                "received_at": received,
                "text": rows[k][1].comment,
            }
            for k in new
            if rows[k][1].comment
        ]
        for part in chunks(comments):
            insert_new(connection, schema.comments, part)
        _quieten(connection, tenant, found, received)
    return Kept(len(items), len(new))


def _already(connection: Connection, keys: Sequence[str]) -> set[str]:
    column = schema.feedback.c.id
    return {
        row.id
        for part in chunks(keys)
        for row in connection.execute(select(column).where(column.in_(part)))
    }


def _cards(connection: Connection, tenant: str, wanted: Iterable[str]) -> dict[str, _Card]:
    """The tenant's own cards among those wanted. Another tenant's card is not found, ever."""
    cards, decisions = schema.cards, schema.decisions
    query = (
        select(
            cards.c.uuid, cards.c.topic, cards.c.service, cards.c.suggestions, decisions.c.pseudonym
        )
        .join(decisions, decisions.c.id == cards.c.decision)
        .where(cards.c.tenant == tenant)
    )
    return {
        row.uuid: row
        for part in chunks(sorted(wanted))
        for row in connection.execute(query.where(cards.c.uuid.in_(part)))
    }


def _row(
    key: str,
    position: int,
    item: Item,
    tenant: str,
    service: str,
    received: int,
    found: Mapping[str, _Card],
) -> dict[str, Any]:
    flags = [*item.flags, *_flags_of_card(item, service, found.get(item.card))]
    effective = received
    if item.said_at is not None and item.said_at <= received + _CLOCKS_DIFFER_MS:
        effective = min(item.said_at, received)
    elif item.said_at is not None:
        flags.append("time-in-future")
    return {
        "id": key,
        "tenant": tenant,
        "service": service,
        "card": item.card,
        "outcome": item.outcome,
        "suggestions": _json(item.suggestions),
        "reason": item.reason,
        "flags": _json(flags),
        "said_at": item.said_at,
        "effective_at": effective,
        "received_at": received,
        "position": position,
    }


def _flags_of_card(item: Item, service: str, card: _Card | None) -> Iterable[str]:
    if card is None:
        return
    if card.service != service:
        yield "other-service"
    if not set(item.suggestions) <= set(msgspec.json.decode(card.suggestions, type=list[str])):
        yield "suggestion-not-of-card"


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _quieten(connection: Connection, tenant: Tenant, found: Mapping[str, _Card], now: int) -> None:
    """Where the tenant wants it: after an override the topic stays quiet for this pseudonym."""
    known = {uuid: row for uuid, row in found.items() if row.pseudonym is not None}
    if not known or tenant.suppress_after_override_days < 1:
        return
    until = now + tenant.suppress_after_override_days * _DAY_MS
    latest = current_outcomes(connection, tenant.id, sorted(known))
    keys = {(tenant.id, row.pseudonym, row.topic): latest.get(card) for card, row in known.items()}
    columns = ("tenant", "pseudonym", "topic")
    quiet = [
        dict(zip(columns, key, strict=True)) | {"until": until, "changed_at": now}
        for key in sorted(k for k, outcome in keys.items() if outcome == "overridden")
    ]
    if quiet:
        connection.execute(upsert(connection, schema.overrides, ("until", "changed_at")), quiet)
    take_back(connection, sorted(k for k, o in keys.items() if o == "accepted"), now)


def current_outcomes(connection: Connection, tenant: str, cards: Sequence[str]) -> dict[str, str]:
    """Card → its latest outcome."""
    table = schema.feedback
    order = (table.c.effective_at, table.c.received_at, table.c.position)
    query = select(table.c.card, table.c.outcome).where(table.c.tenant == tenant).order_by(*order)
    return {
        row.card: row.outcome
        for part in chunks(cards)
        for row in connection.execute(query.where(table.c.card.in_(part)))
    }
