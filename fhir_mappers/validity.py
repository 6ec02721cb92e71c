"""Is the order we suggest valid FHIR R4, and if the draft it came from was not, what has to go?

A draft may hold anything a client thinks of: an object where an array belongs, elements of
another FHIR version. What we emit is valid R4. An element that cannot be is left out; what the
advice itself sets is built valid, so it is never what goes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from fhir_mappers.elements import Json, as_dict, dicts

if TYPE_CHECKING:
    from pydantic import BaseModel

_MOST_ROUNDS = 12
_MOST_DEEP = 40

Path = tuple[int | str, ...]


class CannotBeValid(ValueError):
    """The order could not be made valid R4. Says where, never what."""


def valid_r4(resource: Json) -> Json:
    """A copy that is a valid R4 MedicationRequest or ServiceRequest.

    The id stays as it is, even where it is longer than FHIR allows: it is how the client knows
    its draft. Raises CannotBeValid if what is wrong is not in an element of its own.
    """
    resource = copied(resource)
    identifier = resource.pop("id", None)
    _drop_unknown_contained(resource)
    for _ in range(_MOST_ROUNDS):
        errors = _errors(resource)
        if not errors:
            return _with_id(resource, identifier)
        _mend(resource, errors)
        resource = copied(resource)
    raise CannotBeValid(f"{resource.get('resourceType')} has elements that are not valid R4")


def _with_id(resource: Json, identifier: object) -> Json:
    if not isinstance(identifier, str):
        return resource
    return {"resourceType": resource["resourceType"], "id": identifier, **resource}


def _model(kind: object) -> type[BaseModel]:
    # Imported when first needed: the models take a fifth of a second to load.
    from fhir.resources.R4B.medicationrequest import MedicationRequest  # noqa: PLC0415
    from fhir.resources.R4B.servicerequest import ServiceRequest  # noqa: PLC0415

    models: dict[object, type[BaseModel]] = {
        "MedicationRequest": MedicationRequest,
        "ServiceRequest": ServiceRequest,
    }
    if kind not in models:
        raise CannotBeValid("only a MedicationRequest or a ServiceRequest is suggested")
    return models[kind]


def _errors(resource: Json) -> list[tuple[Path, str]]:
    """Where it is not valid, and how. Values are neither kept nor shown: they are the patient's."""
    try:
        _model(resource.get("resourceType")).model_validate(resource)
    except ValidationError as error:
        found = error.errors(include_input=False, include_url=False, include_context=False)
        return [(tuple(one["loc"]), one["type"]) for one in found]
    return []


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
        members = ((key, _copy(value, depth + 1)) for key, value in node.items())
        return {key: value for key, value in members if value not in (None, [], {})}
    if isinstance(node, list):
        items = [_copy(item, depth + 1) for item in node]
        objects = any(isinstance(item, dict) for item in node)
        return [item for item in items if item not in (None, {})] if objects else items
    return node
