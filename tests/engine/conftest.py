"""A stack for the engine tests: one of its own (default), or the one that runs already (`--attach`)."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.engine.lifetime import own_stack
from tests.engine.stack import ROOT, Command, Stack

LOGS = ROOT / ".docker-data" / "smoke-logs"


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--attach` uses the running stack of the repository's `.env` and leaves it running."""
    parser.addoption("--attach", action="store_true", help="use the running stack instead of making one")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Remember on the session that something failed: the logs are kept then."""
    report = yield
    if report.failed:  # type: ignore[attr-defined]
        item.session.stash[FAILED] = True
    return report


FAILED = pytest.StashKey[bool]()


@pytest.fixture(scope="session")
def attached(request: pytest.FixtureRequest) -> bool:
    """True when the tests run against somebody's own stack, which they must not stop or empty."""
    return bool(request.config.getoption("--attach"))


@pytest.fixture(scope="session")
def stack(
    request: pytest.FixtureRequest, attached: bool, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    """A healthy stack with its own name, ports, volumes, `.env` and copy of the sample, torn down whatever happens."""
    if attached:
        yield Stack(Path(os.environ.get("WEPP_ENV_FILE") or ROOT / ".env"))
        return
    tree = tmp_path_factory.mktemp("tree") / "sample"
    shutil.copytree(ROOT / "docker" / "sample", tree)
    # Tests of faults start many runs from one browser.
    with own_stack(Stack, "smoke", WEPPPY_SRC=str(tree), RUN_LIMIT_PER_CLIENT="1000/minute") as made:
        try:
            started = made.invoke("compose-up", timeout=1500, check=False)
            if started.returncode:
                request.session.stash[FAILED] = True
                pytest.fail(f"compose-up ended with {started.returncode}\n{started.stdout}\n{started.stderr}")
            yield made
        finally:
            if request.session.stash.get(FAILED, False):
                keep_logs(made)


@pytest.fixture(scope="session")
def own(stack: Stack, attached: bool) -> Stack:
    """The stack, if it is the tests' own to stop and start."""
    if attached:
        pytest.skip("an attached stack is somebody's: it is not stopped here")
    return stack


@pytest.fixture(scope="session")
def clone(own: Stack, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Command]:
    """A second clone with the same project's name; called with a task, it runs it there."""
    folder = tmp_path_factory.mktemp("second") / "clone"
    ignored = shutil.ignore_patterns(".*-data", ".git", ".venv", ".env", ".*_cache", "__pycache__")
    shutil.copytree(ROOT, folder, symlinks=True, ignore=ignored)
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("COMPOSE_", "WEPP_"))}

    def run(*task: str) -> Command:
        return subprocess.run(
            ["invoke", *task], cwd=folder, env={**kept, "COMPOSE_PROJECT_NAME": own.name}, capture_output=True,
            text=True, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip

    return run


def keep_logs(stack: Stack) -> None:
    """What every container said and how it stands, under .docker-data/smoke-logs."""
    folder = LOGS / time.strftime("%Y%m%d-%H%M%S")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "ps.txt").write_text(stack.compose("ps", "--all", check=False).stdout)
    (folder / "logs.txt").write_text(stack.compose("logs", "--no-color", "--timestamps", check=False).stdout)
    print(f"the logs of the failed stack are in {folder}")
