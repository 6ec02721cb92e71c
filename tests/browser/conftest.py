"""One browser and one server for all tests of the pages."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from tests.browser.chromium import CHROMIUM, MISSING_CHROMIUM, browser, watched_page
from tests.support.client import running_server


@pytest.fixture(scope="session")
def chromium():
    if find_spec("playwright") is None:
        pytest.skip("no Playwright: pip install --require-hashes -r requirements-dev.lock")
    if not CHROMIUM.exists():
        pytest.skip(MISSING_CHROMIUM)
    with browser() as started:
        yield started


@pytest.fixture(scope="session")
def url(chromium):
    with running_server("default") as address:
        yield address


@pytest.fixture
def watched(chromium):
    with watched_page(chromium) as one:
        yield one


@pytest.fixture
def page(watched):
    return watched.page
