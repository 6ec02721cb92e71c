"""Does the request carry a token with which the client's FHIR server may be asked?

Whatever is odd about it means: no. What is null was not said: many clients write what they leave
out like that. The scopes are not looked at; real ones are in no standard
form, and the server knows what it grants.
"""

from __future__ import annotations

import re
from typing import Final

from cds_service.hooks.request import Members, value_of

_LONGEST: Final = 16 * 1024
_VISIBLE: Final = re.compile(r"[!-~]+")


_ELEMENTS: Final = ("access_token", "token_type", "expires_in", "patient")


def usable_token(authorization: Members | None, patient_id: str) -> str | None:
    """The access token of a `fhirAuthorization` about this patient, or None."""
    if authorization is None:
        return None
    given = {name: value_of(authorization.get(name)) for name in _ELEMENTS}
    if not _is_bearer(given.get("token_type")):
        return None
    if not _lasts(given.get("expires_in")) or given.get("patient") not in (None, patient_id):
        return None
    token = given.get("access_token")
    # Visible ASCII only: nothing in it can end a header line.
    if not isinstance(token, str) or len(token) > _LONGEST or not _VISIBLE.fullmatch(token):
        return None
    return token


def _is_bearer(kind: object) -> bool:
    return isinstance(kind, str) and kind.lower() == "bearer"


def _lasts(seconds: object) -> bool:
    if seconds is None:
        return True
    return isinstance(seconds, int | float) and not isinstance(seconds, bool) and seconds > 0
