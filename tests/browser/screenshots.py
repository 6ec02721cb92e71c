"""How does the service look? `python -m tests.browser.screenshots` renews docs/images."""

from __future__ import annotations

import sys
from typing import Any

from tests.browser.chromium import NARROW, WIDE, answered, browser, watched_page
from tests.support.client import running_server
from tests.support.vignette import ROOT

FOLDER = ROOT / "docs" / "images"

# name → (path, width, colour scheme)
SHOTS: dict[str, tuple[str, dict[str, int], str]] = {
    "order-entry": ("/?patient=alder", WIDE, "light"),
    "order-entry-dark": ("/?patient=ash", WIDE, "dark"),
    "order-entry-critical": ("/?patient=rowan", WIDE, "light"),
    "order-entry-critical-dark": ("/?patient=spruce", WIDE, "dark"),
    "order-entry-silent": ("/?patient=birch", WIDE, "light"),
    "order-entry-no-answer": ("/?patient=walnut", WIDE, "light"),
    "order-entry-narrow": ("/?patient=rowan", NARROW, "light"),
    "order-entry-narrow-dark": ("/?patient=beech", NARROW, "dark"),
    "about": ("/about", WIDE, "light"),
    "about-narrow-dark": ("/about", NARROW, "dark"),
    "protocol": ("/about/protocol", WIDE, "light"),
    "protocol-narrow": ("/about/protocol", NARROW, "light"),
    "source-attributes-dark": ("/about/source-attributes", WIDE, "dark"),
}
#: The protocol is long: its beginning shows what it looks like.
_TALLEST = 2200


def shoot(chromium: Any, url: str, name: str) -> None:
    path, viewport, scheme = SHOTS[name]
    with watched_page(chromium, viewport=viewport, scheme=scheme) as watched:
        page = watched.page
        page.goto(url + path)
        if path.startswith("/?"):
            answered(page)
        height = min(page.evaluate("() => document.documentElement.scrollHeight"), _TALLEST)
        page.set_viewport_size({"width": viewport["width"], "height": height})
        page.screenshot(path=FOLDER / f"{name}.png")


def main(names: list[str]) -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    with running_server("default") as url, browser() as chromium:
        for name in names or SHOTS:
            shoot(chromium, url, name)


if __name__ == "__main__":
    main(sys.argv[1:])
