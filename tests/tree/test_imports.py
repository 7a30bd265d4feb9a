"""What the tree imports is in both images: its own Dockerfile's, as WEPPPY_IMAGE may name it, and the kit's."""

from __future__ import annotations

import json
import subprocess

import pytest

from tests.engine.lifetime import own_stack
from tests.engine.stack import Stack
from tests.tree.checkout import Checkout

# What the tree imports from outside itself: a wheel, a git requirement, siblings by their `.pth` files.
IMPORTS = (
    "fastapi, pfdf, wepppyo3, rosetta, whitebox_tools, weppcloud2.discord_bot.discord_client, wepp_runner"
)


def test_what_the_tree_imports_from_outside_itself_is_in_its_own_image(given_image: str) -> None:
    program = f"import {IMPORTS}, json; print(json.dumps([pfdf.likelihood(0.0), wepppyo3.__file__]))"
    done = subprocess.run(
        ["docker", "run", "--rm", "--network", "none", given_image, "python", "-c", program],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    likelihood, package = json.loads(done.stdout)
    assert likelihood == 0.5
    assert package.startswith("/workdir/wepppyo3/")


def test_gdals_bindings_are_built_against_the_systems_library(
    pytestconfig: pytest.Config, checkout: Checkout, git_requirement: None
) -> None:
    if not pytestconfig.getoption("--full"):
        pytest.skip("compiles for minutes: `nox -s tree -- full` runs it")
    required = (checkout.root / "docker" / "requirements-uv.txt").read_text()
    (checkout.root / "docker" / "requirements-full.txt").write_text(f"{required}gdal==3.10.2\n")
    (checkout.root / "docker" / "constraints.txt").write_text("fastapi<0.155\n")
    settings = {
        "WEPPPY_SRC": str(checkout.root),
        "WEPPPY_SIBLINGS_DIR": str(checkout.siblings),
        "WEPPPY_REQUIREMENTS": "docker/requirements-full.txt",
        "WEPPPY_CONSTRAINTS": "docker/constraints.txt",
        "WEPPPY_SYSTEM_PACKAGES": '"libgdal36"',
        "WEPPPY_BUILD_PACKAGES": '"git g++ libgdal-dev python3-dev"',
    }
    with own_stack(Stack, "tree-gdal", **settings) as kit:
        kit.invoke("compose-build", "--services=weppcloud", timeout=1800)
        program = "from osgeo import gdal, gdal_array; print(gdal.VersionInfo('RELEASE_NAME'))"
        image = f"{kit.name}-python:dev"
        done = subprocess.run(
            ["docker", "run", "--rm", "--network", "none", image, "python", "-c", program],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("3.10.")
