"""Deaths in a live move: whatever is killed, no slot stays on the source, and whoever cannot remove it says so."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.database.migrate.bare import PASSWORD, BareServer, docker
from tests.database.migrate.target import Moving, Target, flags
from tests.database.programs import kill_programs

pytestmark = pytest.mark.timeout(300, func_only=True)
SEALED = "SELECT count(*) FROM pg_db_role_setting, unnest(setconfig) c WHERE c = 'default_transaction_read_only=on'"
# Any that changes the stack finishes what another has left.
NEXT = ("db-prune", "--keep-days=7", "--yes")


@pytest.fixture
def moving(localhost_only: BareServer) -> Iterator[str]:
    """A database to move, with everything that logical replication can carry."""
    localhost_only.create("moving", "holdings.sql")
    yield "moving"
    localhost_only.drop("moving")


def relay(target: Target) -> list[str]:
    """The one that leads to the source."""
    return docker("ps", "--filter", f"label=wepp.relay={target.name}", "--format", "{{.Names}}").split()


def moved(target: Target) -> bool:
    """True when the moved database is the live one."""
    return target.psql("SELECT count(*) FROM pg_tables WHERE tablename = 'run'") == "1\n"


def demand_nothing_left(target: Target, source: BareServer) -> None:
    """Neither side has anything of the move, and one of the two databases takes writes."""
    assert (source.leftovers(), target.leftovers(), target.scratch()) == ("", [], [])
    assert source.psql(SEALED) == ("1\n" if moved(target) else "0\n")
    if not moved(target):
        assert target.names() == (["wepppy"], ["wepppy"])


@pytest.mark.parametrize("moment", ["dumping", "loading", "comparing", "following", "swapping"])
def test_when_the_program_is_killed_its_task_has_taken_all_back_before_it_ends(
    target: Target, localhost_only: BareServer, moving: str, moment: str
) -> None:
    task = Moving(target, *flags(localhost_only, moving, "password"), "--yes", "--live")
    task.wait_for(moment)
    kill_programs(target.sidecar)
    assert task.wait() == 5, task.output
    assert "ended without an answer" in task.output or "is live now" in task.output
    demand_nothing_left(target, localhost_only)


def test_when_the_relay_is_killed_the_task_has_taken_all_back_over_another_one(
    target: Target, localhost_only: BareServer, moving: str
) -> None:
    task = Moving(target, *flags(localhost_only, moving, "password"), "--yes", "--live")
    task.wait_for("loading")
    docker("kill", *relay(target))
    assert task.wait() == 5, task.output
    assert "stays behind on the source" in task.output
    demand_nothing_left(target, localhost_only)


def kill_everything(target: Target, task: Moving) -> None:
    """Task, watcher, program and relay, none of which sees another one die."""
    os.kill(task.process.pid, signal.SIGSTOP)
    os.kill(watcher(task.process.pid), signal.SIGKILL)
    kill_programs(target.sidecar)
    docker("kill", *relay(target))
    task.process.kill()
    task.process.wait()


def watcher(task: int) -> int:
    """The process that outlives the task to finish what it leaves."""
    for number in Path(f"/proc/{task}/task/{task}/children").read_text().split():
        if b"scripts.guard" in Path(f"/proc/{number}/cmdline").read_bytes():
            return int(number)
    raise AssertionError(f"process {task} has no watcher")


def test_when_all_is_killed_the_next_task_takes_it_back_with_the_password_file_that_was_named(
    target: Target, localhost_only: BareServer, moving: str
) -> None:
    task = Moving(target, *flags(localhost_only, moving, "password"), "--yes", "--live")
    task.wait_for("following")
    kill_everything(target, task)
    assert "wepp_move_" in localhost_only.leftovers()
    journal = target.env_file.parent / f".{target.name}.journal"
    assert PASSWORD not in journal.read_text()
    assert "taking back what it left" in target.invoke(*NEXT).stderr
    demand_nothing_left(target, localhost_only)
    assert not journal.exists()


def test_without_the_password_the_next_task_says_what_is_left_and_what_removes_it(
    target: Target, localhost_only: BareServer, moving: str, tmp_path: Path
) -> None:
    file = tmp_path / "pw.txt"
    file.write_text(f"{PASSWORD}\n")
    file.chmod(0o600)
    named = [each for each in flags(localhost_only, moving, "password") if "password-file" not in each]
    task = Moving(target, *named, f"--password-file={file}", "--yes", "--live")
    task.wait_for("following")
    kill_everything(target, task)
    file.unlink()
    told = target.invoke(*NEXT).stderr
    # The folder of a dead relay goes with the next relay.
    left = [each for each in target.leftovers() if "wepp-relay-" not in each]
    assert (left, target.scratch(), target.names()[1]) == ([], [], ["wepppy"])
    assert f"moving at 127.0.0.1 port {localhost_only.port} may have a slot" in told
    (statement,) = (line for line in told.splitlines() if "SELECT pg_drop" in line)
    assert "wepp_move_" in localhost_only.psql("SELECT slot_name FROM pg_replication_slots", moving)
    localhost_only.psql("SELECT pg_drop" + statement.partition("SELECT pg_drop")[2], moving)
    assert localhost_only.psql("SELECT slot_name FROM pg_replication_slots", moving) == ""
    # What fills no disk goes with the next move.
    target.invoke("bare-metal-migrate", *flags(localhost_only, moving, "password"), "--yes", "--live")
    demand_nothing_left(target, localhost_only)
