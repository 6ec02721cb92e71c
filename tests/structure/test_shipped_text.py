"""Nothing that is shipped tells of the machine it was written on, or asks for one like it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HERE = Path(__file__)
GENERATED = {
    ".git", ".venv", "var", "build", "dist", ".pytest_cache", ".mypy_cache", ".ruff_cache",
    ".hypothesis", "__pycache__",
}  # fmt: skip

TELLTALES = {
    "a path of a machine": re.compile(r"(?<![\w.:/-])/(?:work|root|home|opt|Users)/\w"),
    "a package registry": re.compile(r"pythonhosted|pypi\.org|--(?:extra-)?index-url|find-links="),
    "an issue number": re.compile(r"\bissue\s*#?\d", re.IGNORECASE),
    "a working session": re.compile(r"\bsession\s*(?:#|id\b|[0-9a-f]{8}\b)", re.IGNORECASE),
    "a note to self": re.compile(r"(?:#|//)\s*(?:TODO|FIXME|XXX|HACK)\b"),
}


def shipped() -> list[Path]:
    found = []
    for file in ROOT.rglob("*"):
        parts = file.relative_to(ROOT).parts
        generated = any(part in GENERATED or part.endswith(".egg-info") for part in parts)
        if file.is_file() and not generated and file != HERE:
            found.append(file)
    return found


def found_in(text: str) -> set[str]:
    return {name for name, pattern in TELLTALES.items() if pattern.search(text)}


def test_no_file_tells_of_its_making():
    files = shipped()
    assert len(files) > 20
    telling = {
        str(file.relative_to(ROOT)): found
        for file in files
        if (found := found_in(file.read_text(encoding="utf-8", errors="replace")))
    }
    assert telling == {}


@pytest.mark.parametrize(
    "text",
    [
        "see /work/notes.md",
        "PYTHON=/opt/python/bin",
        "--index-url https://registry.example",
        "fixes issue #12",
        "from session 3f9a01bc",
        "# TODO: later",
    ],
)
def test_the_check_sees_what_it_looks_for(text):
    assert found_in(text)


@pytest.mark.parametrize("text", ["this session's drafts", "https://x.example/home/a", "issues"])
def test_the_check_lets_ordinary_text_pass(text):
    assert not found_in(text)


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-dev.lock"])
def test_every_dependency_is_locked_with_hashes(name):
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    starts = [n for n, line in enumerate(lines) if re.match(r"[a-z]", line)]
    assert len(starts) > 10
    for n in starts:
        assert re.match(r"[a-z0-9._-]+==\S+ (?:; .+ )?\\$", lines[n]), lines[n]
        assert lines[n + 1].startswith("    --hash=sha256:")


def test_the_runtime_lock_is_part_of_the_development_lock():
    def pins(name: str) -> set[str]:
        text = (ROOT / name).read_text(encoding="utf-8")
        return set(re.findall(r"^[a-z0-9._-]+==\S+", text, re.MULTILINE))

    runtime = pins("requirements.lock")
    assert runtime < pins("requirements-dev.lock")
    assert not {p for p in runtime if p.startswith(("pytest", "mypy", "ruff", "uv="))}
