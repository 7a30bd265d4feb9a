"""A stack for the engine tests: one of its own (default), or the one that runs already (`--attach`)."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engine.lifetime import own_stack
from tests.engine.stack import ROOT, Stack

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
def stack(request: pytest.FixtureRequest, attached: bool) -> Iterator[Stack]:
    """A healthy stack with its own name, ports, volumes and `.env`, torn down whatever happens."""
    if attached:
        yield Stack(Path(os.environ.get("WEPP_ENV_FILE") or ROOT / ".env"))
        return
    with own_stack(Stack, "smoke") as made:
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


def keep_logs(stack: Stack) -> None:
    """What every container said and how it stands, under .docker-data/smoke-logs."""
    folder = LOGS / time.strftime("%Y%m%d-%H%M%S")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "ps.txt").write_text(stack.compose("ps", "--all", check=False).stdout)
    (folder / "logs.txt").write_text(stack.compose("logs", "--no-color", "--timestamps", check=False).stdout)
    print(f"the logs of the failed stack are in {folder}")
