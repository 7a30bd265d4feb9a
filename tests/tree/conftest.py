"""Stacks of a real checkout, in development and production, with an image of the kit's and of the tree's own."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator

import pytest

from tests.engine.lifetime import own_stack
from tests.engine.stack import Stack
from tests.tree import git_server
from tests.tree.checkout import Checkout, copy_checkout, image_arguments
from tests.tree.journey import Journey, travel
from tests.tree.stack import TreeStack

# Mode of the stack, and where the Python services' image comes from: built by the kit, or given by the tree.
QUICK = ("dev-built", "prod-given")
FULL = (*QUICK, "dev-given", "prod-built")


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--full` runs all ways of a stack and what takes long."""
    parser.addoption("--full", action="store_true", help="all modes and images, and what takes long")


def pytest_configure(config: pytest.Config) -> None:
    """Name the mark of tests that take long."""
    config.addinivalue_line("markers", "full: takes long, runs with --full only")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip what takes long, unless all is asked for."""
    if not config.getoption("--full"):
        for item in items:
            if item.get_closest_marker("full"):
                item.add_marker(pytest.mark.skip(reason="takes long: nox -s tree -- full"))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run what needs a stack once for each way of it."""
    if "way" in metafunc.fixturenames:
        ways = FULL if metafunc.config.getoption("--full") else QUICK
        metafunc.parametrize("way", ways, scope="session")


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """The skeleton's copy that all stacks of a session run."""
    return copy_checkout(tmp_path_factory.mktemp("checkout"))


@pytest.fixture(scope="session")
def git_requirement(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The repository that the tree requires, where git looks for it in every build of this session."""
    folder = tmp_path_factory.mktemp("git")
    with git_server.serve(folder) as variables, pytest.MonkeyPatch.context() as environment:
        for name, value in variables.items():
            environment.setenv(name, value)
        yield


@pytest.fixture(scope="session")
def given_image(checkout: Checkout, git_requirement: None) -> Iterator[str]:
    """The image that the tree's own Dockerfile builds."""
    name = f"wepp-tree-given-{os.getpid()}:latest"
    with own_stack(Stack, "tree-given") as kit:
        # The two base images that the Dockerfile starts from, and how builds reach packages.
        bases = kit.invoke("images-base", "--names=python,node", PYTHON_VERSION="3.13", timeout=1500)
        python, node = (line for line in bases.stdout.splitlines() if re.match(r"wepp-base/\S+$", line))
        subprocess.run(
            ["docker", "build", "--quiet", "--tag", name, "--file", str(checkout.root / "docker" / "Dockerfile"),
             *image_arguments(kit.settings, python, node, checkout.siblings), str(checkout.root)],
            check=True,
        )  # fmt: skip
    yield name
    subprocess.run(["docker", "image", "rm", "--force", name], check=False, stdout=subprocess.DEVNULL)


@pytest.fixture(scope="session")
def tree_stack(
    way: str, checkout: Checkout, git_requirement: None, request: pytest.FixtureRequest
) -> Iterator[TreeStack]:
    """A stack of the checkout, with all that a user needs found to answer by compose-up."""
    mode, _, image = way.partition("-")
    init = [f"--tree={checkout.root}"]
    changes = {
        "WEPPPY_SIBLINGS_DIR": str(checkout.siblings),
        "WEPPPY_CONSTRAINTS": "constraints.txt",
        "WEPPPY_CONSTRAINTS_DIR": str(checkout.constraints),
        # The tree names the folders of its own hosts.
        "WC1_DIR": "",
        "GEODATA_DIR": "",
        "COMPOSE_FILE": f"docker/docker-compose.{mode}.yml",
        "COMPOSE_PROFILES": "geo,analysis,exchange" if way == "dev-built" else "",
    }
    if image == "given":
        init.append(f"--image={request.getfixturevalue('given_image')}")
    with own_stack(TreeStack, f"tree-{way}", init=init, **changes) as made:
        started = made.invoke("compose-up", timeout=1500, check=False)
        if started.returncode:
            logs = made.compose("logs", "--tail=40", "--no-color", check=False).stdout
            pytest.fail(
                f"compose-up ended with {started.returncode}\n{started.stdout}\n{started.stderr}\n{logs}"
            )
        yield made


@pytest.fixture(scope="session")
def journey(tree_stack: TreeStack) -> Journey:
    """A user's run in that stack."""
    return travel(tree_stack)
