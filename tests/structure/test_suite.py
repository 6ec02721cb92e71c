"""The suite itself: a skipped test is seen, and in CI it is a failure."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

SKIPPING = {
    "a test": 'import pytest\n@pytest.mark.skip("install node")\ndef test_x(): pass\n',
    "a module": 'import pytest\npytest.skip("install node", allow_module_level=True)\n',
}


@pytest.mark.parametrize("skipping", SKIPPING.values(), ids=SKIPPING)
@pytest.mark.parametrize("ci", ["true", ""])
def test_a_skip_gives_its_reason_and_fails_in_ci(tmp_path, skipping, ci):
    file = tmp_path / "test_skipping.py"
    file.write_text(skipping + "\ndef test_runs(): pass\n" * ("def test_x" in skipping))
    options = ["-c", str(ROOT / "pyproject.toml"), "-p", "tests.conftest", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, str(file)],
        cwd=ROOT,
        env=os.environ | {"CI": ci},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "install node" in done.stdout
    failed = " failed" in done.stdout or " error" in done.stdout
    assert failed == (ci == "true"), done.stdout
