"""Kills in a live move: whatever is killed, no row is lost, and the next move removes what stays at the source."""

from __future__ import annotations

import pytest

from tests.database.migrate.bare import BareServer, docker
from tests.database.migrate.target import MAY_BE_MOVED, READ_ONLY, Moving, Target, flags, open_again

pytestmark = pytest.mark.timeout(300, func_only=True)


def mover(target: Target) -> str:
    """The container that moves."""
    labels = (f"label=com.docker.compose.project={target.name}", "label=com.docker.compose.service=mover")
    filters = [part for label in labels for part in ("--filter", label)]
    return docker("ps", *filters, "--format", "{{.Names}}").strip()


def moved(target: Target) -> bool:
    """True when the moved database is the live one."""
    return target.psql("SELECT count(*) FROM pg_tables WHERE tablename = 'run'") == "1\n"


@pytest.mark.parametrize("moment", ["dumping", "loading", "comparing", "following", "switching over"])
def test_when_the_mover_is_killed_the_next_move_removes_what_it_left_and_succeeds(
    target: Target, localhost_only: BareServer, moving: str, moment: str
) -> None:
    task = Moving(target, *flags(localhost_only, moving, "password"), "--yes", "--live")
    task.wait_for(moment)
    docker("kill", mover(target), check=moment not in MAY_BE_MOVED)
    task.wait()
    if moved(target):
        assert moment in MAY_BE_MOVED
        assert localhost_only.psql(READ_ONLY) == "1\n"
        assert target.psql("SELECT count(*) FROM run") == "5000\n"
        open_again(localhost_only, moving)
    else:
        assert target.psql("SELECT id FROM before") == "1\n"
        if moment not in MAY_BE_MOVED:  # where it may have been closed already
            localhost_only.psql("INSERT INTO ddl_log (tag) VALUES ('not held up')", moving)
    target.invoke("bare-metal-migrate", *flags(localhost_only, moving, "password"), "--yes", "--live")
    assert moved(target)
    target.wait_until_clean(localhost_only)  # the backup service may be trying a restore meanwhile
    assert localhost_only.psql(READ_ONLY) == "1\n"
