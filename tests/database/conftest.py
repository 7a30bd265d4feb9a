"""A light stack for the database tests, one for all of them, and how much of each sweep is run (`--sweep`)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.database.kills import kills
from tests.database.stack import SERVICES, LightStack
from tests.engine.lifetime import own_stack

# How many of each there are in a full sweep.
KILLS = {"restore": 34, "rollback": 16, "rotate": 14, "backup": 14, "migrate": 30, "migrate-live": 12}
DAMAGES = 500


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--sweep=full` runs every kill and every damage, `tenth` (default) a tenth, evenly chosen."""
    parser.addoption(
        "--sweep", choices=("full", "tenth"), default="tenth", help="how much of the sweeps to run"
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each kill is a test of its own: operation, victim and the part of the operation at which it comes."""
    if "kill" not in metafunc.fixturenames:
        return
    divisor = sweep_divisor(metafunc.config)
    counts = {operation: max(1, round(count / divisor)) for operation, count in KILLS.items()}
    metafunc.parametrize("kill", kills(counts), ids=str)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What is marked `full` is run with `--sweep=full` alone."""
    if sweep_divisor(config) > 1:
        config.hook.pytest_deselected(items=[each for each in items if each.get_closest_marker("full")])
        items[:] = [each for each in items if not each.get_closest_marker("full")]


def sweep_divisor(config: pytest.Config) -> int:
    """1 for a full sweep, 10 for a tenth."""
    return 1 if config.getoption("--sweep") == "full" else 10


@pytest.fixture(scope="session")
def damages(request: pytest.FixtureRequest) -> int:
    """How many damaged dumps are tried."""
    return DAMAGES // sweep_divisor(request.config)


@pytest.fixture(scope="session")
def light() -> Iterator[LightStack]:
    """Web application, stores and sidecar with a name, ports, volumes and `.env` of their own."""
    # Tests drop what they made, and mean it; a restore test of the sidecar's own would come between them.
    settings = {
        "COMPOSE_PROFILES": "",
        "BACKUP_COLLAPSE_PERCENT": "0",
        "BACKUP_DRILL_INTERVAL_SECONDS": "0",
    }
    with own_stack(LightStack, "database", ",".join(SERVICES), **settings) as made:
        yield made


@pytest.fixture
def stack(light: LightStack) -> Iterator[LightStack]:
    """The light stack, idle; what restores kept is dropped afterwards."""
    light.docker("start", *(light.container(name) for name in light.services))
    light.wait_until_idle()
    yield light
    light.drop_kept()


@pytest.fixture
def folder(stack: LightStack, tmp_path: Path) -> Path:
    """An empty folder for backups that the sidecar's user may write to."""
    made = tmp_path / "backups"
    made.mkdir(mode=0o700)
    if os.getuid() == 0:
        tmp_path.chmod(0o755)
        os.chown(made, int(stack.settings["UID"]), int(stack.settings["GID"]))
    return made
