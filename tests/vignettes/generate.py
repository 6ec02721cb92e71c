"""What do the request and the answer of every vignette look like?

`python -m tests.vignettes.generate` writes `request.json` and `response.json` beside each
`vignette.toml`. Both are the same on every run: ids are derived, and uuids of the answer are
numbered in the order in which they appear.
"""

from __future__ import annotations

import json
import re
import sys
from typing import Any

from fhir_mappers.queries import prefetch_templates
from tests.support.answers import Answer
from tests.support.client import app_on, ask_app
from tests.support.hook_request import order_select
from tests.support.vignette import Vignette, all_vignettes

_UUID = re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b")
_TIME = re.compile(r'("authoredOn": "\d{4}-\d{2}-\d{2})T[^"]*"')


def as_json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def request_of(vignette: Vignette) -> dict[str, Any]:
    return order_select(vignette, prefetch_templates())


def answer_of(vignette: Vignette) -> Answer:
    app = app_on(vignette.as_of, vignette.profile)
    return ask_app(app, request_of(vignette), vignette.profile)


def stable(text: str) -> str:
    """An answer's JSON without what differs from call to call."""
    numbers: dict[str, str] = {}

    def number(match: re.Match[str]) -> str:
        return numbers.setdefault(match[0], f"uuid-{len(numbers) + 1}")

    return _TIME.sub(r'\1"', _UUID.sub(number, text))


def files_of(vignette: Vignette) -> dict[str, str]:
    """File name → content, as it should be on disk."""
    return {
        "request.json": as_json(request_of(vignette)),
        "response.json": stable(as_json(answer_of(vignette).body)),
    }


def main() -> int:
    for vignette in all_vignettes():
        for name, content in files_of(vignette).items():
            path = vignette.path.with_name(name)
            if not path.exists() or path.read_text(encoding="utf-8") != content:
                path.write_text(content, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
