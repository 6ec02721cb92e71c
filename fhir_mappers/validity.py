"""Is the order we suggest valid FHIR R4, and if the draft it came from was not, what has to go?

A draft may hold anything a client thinks of: an object where an array belongs, elements of
another FHIR version. What we emit is valid R4. An element that cannot be is left out; what the
advice itself sets is built valid, so it is never what goes.

Orders are alike: the same product, schedule and categories, time and again. An element that was
found valid is remembered, as a digest under a secret of this process, and only what is new is given
to the models. That is sound because whether an element is valid depends on nothing beside it; which
elements there may be together does, and is remembered too.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final

import msgspec
from pydantic import ValidationError

from fhir_mappers.elements import Json, as_dict, dicts

if TYPE_CHECKING:
    from pydantic import BaseModel

_MOST_ROUNDS = 12
_MOST_DEEP = 40

Path = tuple[int | str, ...]


class CannotBeValid(ValueError):
    """The order could not be made valid R4. Says where, never what."""


def valid_r4(resource: Json, sound: Json | None = None) -> Json:
    """A copy that is a valid R4 MedicationRequest or ServiceRequest.

    `sound`: further elements, which are valid and are put in as they are, not as copies. The id
    stays as it is, even where it is longer than FHIR allows: it is how the client knows its draft.
    Raises CannotBeValid if what is wrong is not in an element of its own.
    """
    sound = sound or {}
    resource = copied(resource)
    identifier = resource.pop("id", None)
    _drop_unknown_contained(resource)
    for _ in range(_MOST_ROUNDS):
        errors = _errors(resource, sound)
        if not errors:
            return _with_id({**resource, **sound}, identifier)
        _mend(resource, errors)
        resource = copied(resource)
    raise CannotBeValid(f"{resource.get('resourceType')} has elements that are not valid R4")


def _with_id(resource: Json, identifier: object) -> Json:
    if not isinstance(identifier, str):
        return resource
    return {"resourceType": resource["resourceType"], "id": identifier, **resource}


_KINDS: Final = ("MedicationRequest", "ServiceRequest")


def _model(kind: str) -> type[BaseModel]:
    # Imported when first needed: the models take a fifth of a second to load.
    from fhir.resources.R4B.medicationrequest import MedicationRequest  # noqa: PLC0415
    from fhir.resources.R4B.servicerequest import ServiceRequest  # noqa: PLC0415

    return MedicationRequest if kind == "MedicationRequest" else ServiceRequest


def _errors(resource: Json, sound: Json) -> list[tuple[Path, str]]:
    """Where it is not valid, and how. Values are neither kept nor shown: they are the patient's."""
    kind = resource.get("resourceType")
    if kind not in _KINDS:
        raise CannotBeValid("only a MedicationRequest or a ServiceRequest is suggested")
    digests = _digests(resource, sound)
    new = [name for name, digest in digests.items() if digest not in _known_valid]
    if digests and not new:
        return []
    model, whole = _model(kind), {**resource, **sound}
    if digests and _ALL_NAMES not in new:
        needed = {name: whole[name] for name in whole if name in new or name in _NEEDED}
        if not _model_errors(model, needed):
            _remember(digests.values())
            return []
    errors = _model_errors(model, whole)
    if not errors:
        _remember(digests.values())
    return errors


def _model_errors(model: type[BaseModel], resource: Json) -> list[tuple[Path, str]]:
    try:
        model.model_validate(resource)
    except ValidationError as error:
        found = error.errors(include_input=False, include_url=False, include_context=False)
        return [(tuple(one["loc"]), one["type"]) for one in found]
    return []


# --- what was found valid before --------------------------------------------------------------

_SECRET: Final = os.urandom(32)
_MOST_KNOWN: Final = 20_000  # of 16 bytes; then they are gathered anew
_ALL_NAMES: Final = ""  # in place of a name: which elements there are

# Without these no MedicationRequest or ServiceRequest is valid.
_NEEDED: Final = frozenset(
    {
        *("resourceType", "status", "intent", "subject"),
        *("medicationCodeableConcept", "medicationReference"),
    }
)

_known_valid: set[bytes] = set()


def _digests(resource: Json, sound: Json) -> dict[str, bytes]:
    """Element → digest of its type and content. Empty: must be looked at as a whole.

    An extension of a primitive ("_status") can stand for the value that is missing beside it.
    """
    if any("_" in name for name in resource):
        return {}
    kind = str(resource["resourceType"])
    digests = {name: _digest((kind, name, value)) for name, value in resource.items()}
    digests[_ALL_NAMES] = _digest((kind, sorted([*resource, *sound])))
    return digests


def _digest(value: object) -> bytes:
    return blake2b(_ENCODER.encode(value), digest_size=16, key=_SECRET).digest()


_ENCODER: Final = msgspec.json.Encoder(decimal_format="number")


def _remember(digests: Iterable[bytes]) -> None:
    if len(_known_valid) > _MOST_KNOWN:
        _known_valid.clear()
    _known_valid.update(digests)


# --- mending ----------------------------------------------------------------------------------


def _mend(resource: Json, errors: list[tuple[Path, str]]) -> None:
    """Wraps what should be an array; removes what else is wrong, the last first."""
    ordered = sorted(set(errors), key=lambda error: [(str(type(k)), k) for k in error[0]])
    for path, kind in reversed(ordered):
        if not path:
            raise CannotBeValid(f"{resource.get('resourceType')} as a whole is not valid R4")
        holder, key = _place(resource, path)
        if holder is None:
            continue
        if kind == "list_type" and isinstance(holder[key], dict):
            holder[key] = [holder[key]]
        else:
            del holder[key]


def _place(resource: Json, path: Path) -> tuple[Any, int | str]:
    """(what holds it, its key) of the innermost element on the path that is there."""
    holder: Any = None
    key: int | str = ""
    node: Any = resource
    for step in path:
        inside = isinstance(node, dict) and step in node
        inside = inside or (isinstance(node, list) and isinstance(step, int) and step < len(node))
        if not inside:
            break  # a part that is missing: what lacks it has to go
        holder, key, node = node, step, node[step]
    return holder, key


def _drop_unknown_contained(resource: Json) -> None:
    """The models know no contained resource of a type that came or went with another version.

    And one contained resource cannot contain another (FHIR dom-2).
    """
    if "contained" not in resource:
        return
    kept = [one for one in dicts(resource["contained"]) if _is_resource(one.get("resourceType"))]
    for one in kept:
        one.pop("contained", None)
    resource["contained"] = kept
    if not kept:
        del resource["contained"]


def _is_resource(kind: object) -> bool:
    from fhir.resources.R4B import fhirtypes, get_fhir_model_class  # noqa: PLC0415
    from fhir.resources.R4B.resource import Resource  # noqa: PLC0415

    # Looked up before it is asked for: the models remember every name they were ever asked for.
    if not isinstance(kind, str) or not hasattr(fhirtypes, f"{kind}Type"):
        return False
    model = get_fhir_model_class(kind)
    return issubclass(model, Resource)


def copied(resource: Json) -> Json:
    """A deep copy without what FHIR JSON does not allow: nulls, empty elements, absurd nesting."""
    return as_dict(_copy(resource, 0))


def _copy(node: object, depth: int) -> object:
    if isinstance(node, dict):
        if depth > _MOST_DEEP:
            return None
        copy = {}
        for key, value in node.items():
            inner = _copy(value, depth + 1) if isinstance(value, dict | list) else value
            if inner not in (None, [], {}):
                copy[key] = inner
        return copy
    if isinstance(node, list):
        items = [_copy(item, depth + 1) for item in node]
        objects = any(isinstance(item, dict) for item in node)
        return [item for item in items if item not in (None, {})] if objects else items
    return node
