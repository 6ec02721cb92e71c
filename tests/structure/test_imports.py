"""Who may import whom: app → cds_service → fhir_mappers → regimen → the standard library."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("regimen", "fhir_mappers", "cds_service")

IMPORT_ALL = """
import importlib, json, pkgutil, sys
sys.path.insert(0, sys.argv[1])
package = importlib.import_module(sys.argv[2])
for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
    importlib.import_module(module.name)
print(json.dumps(sorted(sys.modules)))
"""


def loaded_by(package: str, *options: str) -> set[str]:
    """What a fresh interpreter has loaded after importing every module of `package`."""
    done = subprocess.run(
        [sys.executable, "-I", *options, "-c", IMPORT_ALL, str(ROOT), package],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(json.loads(done.stdout))


def tops(modules: set[str]) -> set[str]:
    return {name.partition(".")[0] for name in modules}


def test_the_clinical_core_needs_the_standard_library_only():
    # Without site-packages: anything else could not even be found.
    loaded = loaded_by("regimen", "-S")
    assert tops(loaded) - set(sys.stdlib_module_names) <= {"regimen", "__main__"}


def test_the_clinical_core_has_no_clock_and_no_network():
    loaded = loaded_by("regimen", "-S")
    assert loaded.isdisjoint({"socket", "ssl", "http.client", "urllib.request", "asyncio"})


def test_the_mappers_do_not_know_the_service():
    loaded = tops(loaded_by("fhir_mappers"))
    assert "regimen" in loaded
    assert loaded.isdisjoint({"cds_service", "flask", "werkzeug", "requests", "gunicorn"})


def test_nothing_loads_the_r5_models():
    loaded = loaded_by("cds_service")
    r5 = {"condition", "observation", "medicationrequest", "servicerequest", "patient", "bundle"}
    assert loaded.isdisjoint({f"fhir.resources.{name}" for name in r5})


# --- what each file names -----------------------------------------------------------------------


def files() -> dict[str, Path]:
    """Module name → file, for all that is shipped."""
    found = [ROOT / "app.py", *(f for p in PACKAGES for f in (ROOT / p).rglob("*.py"))]
    return {str(f.relative_to(ROOT).with_suffix("")).replace("/", "."): f for f in found}


def imports_of(file: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file.name}: relative import"
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def importers(library: str) -> set[str]:
    return {
        module
        for module, file in files().items()
        if any(name == library or name.startswith(f"{library}.") for name in imports_of(file))
    }


@pytest.mark.parametrize(
    ("library", "allowed"),
    [
        (
            "flask",
            {
                "cds_service.application",
                "cds_service.routes",
                "cds_service.web",
                "cds_service.errors",
                "cds_service.pages.routes",
                "cds_service.pages.order_entry",
                "cds_service.dashboard.routes",
            },
        ),
        (
            "sqlalchemy",
            {
                "cds_service.schema",
                "cds_service.store",
                "cds_service.feedback",
                "cds_service.recorded",
                "cds_service.dashboard.numbers",
                "cds_service.migrations.__init__",
                "cds_service.migrations.versions.v0001_first_tables",
            },
        ),
        (
            "alembic",
            {
                "cds_service.migrations.__init__",
                "cds_service.migrations.versions.v0001_first_tables",
                "cds_service.migrations.versions.v0002_purge_evaluations",
            },
        ),
        ("psycopg", set()),  # SQLAlchemy imports it, where PostgreSQL is used
        ("werkzeug", {"cds_service.errors"}),
        ("gunicorn", {"cds_service.server", "cds_service.connections"}),
        ("click", {"cds_service.cli"}),
        ("requests", {"cds_service.fhir_client"}),
        ("jwt", {"cds_service.client_auth", "cds_service.jwks"}),
        ("cryptography", {"cds_service.client_auth", "cds_service.jwks"}),
        ("prometheus_client", {"cds_service.metrics"}),
        ("urllib3", {"cds_service.fhir_client"}),
        ("urllib.request", set()),
        ("http.client", {"cds_service.fhir_client"}),  # its errors
        ("pydantic", {"fhir_mappers.validity"}),  # the errors of fhir.resources
        ("hypothesis", set()),
        ("pytest", set()),
    ],
)
def test_a_library_is_imported_where_it_belongs(library, allowed):
    assert importers(library) <= allowed


def test_fhir_models_are_r4b_and_stay_in_the_mappers():
    for module in importers("fhir"):
        assert module.startswith("fhir_mappers.")
        for name in imports_of(files()[module]):
            if name.startswith("fhir."):
                assert name.startswith(("fhir.resources.R4B", "fhir.resources.core"))


def test_the_check_would_see_a_forbidden_import(tmp_path):
    file = tmp_path / "x.py"
    file.write_text(
        "def f():\n    from fhir.resources import condition\n    import requests.auth\n"
    )
    assert imports_of(file) == {"fhir.resources", "fhir.resources.condition", "requests.auth"}
