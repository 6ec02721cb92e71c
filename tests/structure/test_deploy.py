"""Can what `deploy/` describes start: is in the image what the manifest makes it use?"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import yaml

from cds_service.settings import SETTINGS

ROOT = Path(__file__).parents[2]
CONTAINERFILE = (ROOT / "deploy/Containerfile").read_text(encoding="utf-8")
MANIFEST = (ROOT / "deploy/kubernetes/service.yaml").read_text(encoding="utf-8")


def locked(file: str) -> dict[str, str]:
    """Package → version."""
    lines = re.findall(r"^([a-z0-9.-]+)==(\S+)", (ROOT / file).read_text(encoding="utf-8"), re.M)
    return dict(lines)


def in_the_image() -> dict[str, str]:
    (file,) = re.findall(r"pip install .*-r (\S+)", CONTAINERFILE)
    return locked(file)


def container() -> dict[str, object]:
    documents = {one["kind"]: one for one in yaml.safe_load_all(MANIFEST)}
    (found,) = documents["Deployment"]["spec"]["template"]["spec"]["containers"]
    return found


def test_the_image_has_the_driver_of_the_store_that_the_manifest_names():
    (store,) = [line for line in MANIFEST.splitlines() if "B12_CDS_STORE" in line]
    assert "postgresql://" in store
    # psycopg by itself needs a library of PostgreSQL, which the image has not.
    assert {"psycopg", "psycopg-binary"} <= in_the_image().keys()


def test_the_image_has_what_every_extra_needs():
    """Nothing can be installed into it later."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [one for extra in project["optional-dependencies"].values() for one in extra]
    names = {re.split(r"[\[<>=]", one)[0] for one in wanted}
    assert names
    assert names <= in_the_image().keys()


def test_the_image_has_the_versions_that_are_tested():
    image, tested = in_the_image(), locked("requirements-dev.lock")
    assert locked("requirements.lock").items() <= image.items()
    assert image.items() <= tested.items()


def test_every_variable_set_is_a_setting():
    given = [one["name"] for one in container()["env"]]  # type: ignore[attr-defined]
    given += re.findall(r"^(?:ENV |    )(\w+)=", CONTAINERFILE, re.M)
    ours = {name for name in given if name.startswith("B12_CDS_")}
    assert ours
    assert ours <= {setting.name for setting in SETTINGS}
