"""How is Chromium started for these tests, and what is watched while it runs?

Debian's Chromium, driven by Playwright; nothing is downloaded by a test. Every page is watched:
errors, console messages, dialogs, requests that leave the loopback, and violations of the policy.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

CHROMIUM = Path("/usr/bin/chromium")
MISSING_CHROMIUM = "no Chromium: apt-get install chromium"
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
WIDE = {"width": 1280, "height": 900}
NARROW = {"width": 400, "height": 860}

_WATCH_POLICY = """
window.policyViolations = [];
document.addEventListener("securitypolicyviolation", (event) =>
  window.policyViolations.push(`${event.violatedDirective} ${event.blockedURI}`));
"""


@dataclass(slots=True)
class Watched:
    """A page and everything that should not have happened on it."""

    page: Any
    errors: list[str] = field(default_factory=list)
    dialogs: list[str] = field(default_factory=list)
    strangers: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    hooks: list[dict[str, Any]] = field(default_factory=list)

    def violations(self) -> list[str]:
        found: list[str] = self.page.evaluate("() => window.policyViolations")
        return found

    def assert_quiet(self, *, may_fail: tuple[str, ...] = ("/feedback",)) -> None:
        """Nothing went wrong, but for requests to paths that end in `may_fail`."""
        trouble = {
            "refused": [path for path in self.refused if not path.endswith(may_fail)],
            "errors": self.errors,
            "dialogs": self.dialogs,
            "left the loopback": self.strangers,
            "policy": self.violations(),
        }
        found = {name: what for name, what in trouble.items() if what}
        if found:
            raise AssertionError(f"the page was not quiet: {found}")


@contextmanager
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as home, sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=CHROMIUM, args=ARGUMENTS, env={"HOME": home, "PATH": "/usr/bin:/bin"}
        )
        try:
            yield chromium
        finally:
            chromium.close()


@contextmanager
def watched_page(
    chromium: Any, *, viewport: dict[str, int] = WIDE, scheme: str = "light"
) -> Iterator[Watched]:
    context = chromium.new_context(
        viewport=viewport, color_scheme=scheme, reduced_motion="reduce", locale="en-GB"
    )
    context.add_init_script(_WATCH_POLICY)
    page = context.new_page()
    watched = Watched(page)
    page.on("pageerror", lambda error: watched.errors.append(str(error)))
    page.on("console", lambda message: _console(watched, message))
    page.on("dialog", lambda dialog: (watched.dialogs.append(dialog.message), dialog.dismiss()))
    page.on("request", lambda request: _request(watched, request))
    try:
        yield watched
    finally:
        context.close()


def _console(watched: Watched, message: Any) -> None:
    if message.text.startswith("Failed to load resource"):
        watched.refused.append(urlsplit(message.location["url"]).path)
    elif message.type in ("error", "warning"):
        watched.errors.append(message.text)


def _request(watched: Watched, request: Any) -> None:
    parts = urlsplit(request.url)
    if parts.hostname != "127.0.0.1":
        watched.strangers.append(request.url)
    is_hook = parts.path.startswith("/cds-services/") and not parts.path.endswith("/feedback")
    if request.method == "POST" and is_hook:
        watched.hooks.append(request.post_data_json)


def answered(page: Any) -> None:
    """Wait until the service has answered for what the form says now."""
    page.wait_for_function(
        "() => document.getElementById('advice').getAttribute('aria-busy') === 'false'"
        " && document.getElementById('cards').children.length > 0"
    )
