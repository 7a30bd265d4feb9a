"""Kill -9 at every part of a task: the database is entirely the old or the new one, nothing is stopped, the next run
works, and nothing is left behind; a source that is moved from is as it was."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.database.kills import AIMS, Kill, run_and_kill
from tests.database.migrate.bare import BareServer, build_image
from tests.database.stack import LightStack
from tests.database.sweep import FIXED, MOVES, Sweep, complaint, shares

LOGIN = """
umask 077
IFS= read -r word
printf '*:*:*:*:%s\\n' "$word" >/tmp/tried
PGPASSFILE=/tmp/tried psql -XAtc "select 1"
"""


@pytest.fixture(scope="module")
def sweep(light: LightStack) -> Iterator[Sweep]:
    made = Sweep(light)
    made.prepare()
    yield made
    if weak := complaint(made.hits):
        pytest.fail(f"{weak}: {'; '.join(shares(made.hits))}")


@pytest.fixture(scope="module")
def source(sweep: Sweep) -> Iterator[BareServer]:
    build_image()
    server = BareServer(16, settings={"wal_level": "logical"}, lasting=True)
    try:
        sweep.prepare_source(server)
        yield server
    finally:
        server.stop()


def test_whatever_is_killed_the_database_is_whole_and_the_next_run_works(
    kill: Kill, sweep: Sweep, stack: LightStack, request: pytest.FixtureRequest
) -> None:
    hit = False
    for aim in range(AIMS):
        # A kill that missed shows nothing: what was to be killed had ended sooner than when it was measured.
        hit = killed_and_whole(replace(kill, aim=aim), sweep, stack, request)
        if hit:
            break
        sweep.measure_again(kill.operation)
    sweep.record(kill, hit)
    request.node.user_properties.append(("sweep of kills", "; ".join(shares(sweep.hits))))


def killed_and_whole(kill: Kill, sweep: Sweep, stack: LightStack, request: pytest.FixtureRequest) -> bool:
    """Kill, see that all is whole and that the next run works; return whether the kill hit something alive."""
    source = request.getfixturevalue("source") if kill.operation in MOVES else None
    sweep.begin()
    measured = sweep.measured(kill.operation)
    command, before = sweep.command(kill.operation), sweep.now
    there = sweep.source_holds() if source else {}
    started = stack.started()
    run, hit = run_and_kill(stack, source, command, kill, measured)
    ended_well = run.process.returncode == 0
    if ended_well and kill.victim == "container":
        # The task was through with looking after the services: what was killed then is killed by its user.
        stack.docker("start", stack.container("postgres"))
    if kill.operation == "rotate":
        # Whichever task is next completes a change that was begun, and starts what was killed.
        stack.must("db-prune", "--yes")
    if kill.victim == "sidecar":
        stack.docker("start", stack.container("postgres-backup"))
    stack.wait_until_idle()
    if kill.operation != "rotate":
        assert untouched(stack, started, kill) == []
    sweep.look()
    if source:
        require_source(sweep, kill, there, moved=sweep.now != before)
    assert "Traceback" not in run.output, run.output
    if kill.operation in FIXED:
        assert sweep.now == before
        require_one_password(stack)
        require_whole_backups(stack)
    elif kill.victim != "task":
        # A program that is killed in the switchover cannot tell of it: then its task asks the server, and says so.
        told = ended_well or "is live now" in run.output
        assert (sweep.now != before) == told, run.output
    # The next run.
    wanted = sweep.other(kill.operation)
    stack.must(*sweep.command(kill.operation))
    sweep.look()
    assert sweep.now == wanted
    assert stack.left_behind() == []
    assert set(stack.roles()) == sweep.expected_roles()
    require_one_password(stack)
    if source:
        require_source(sweep, kill, there, moved=True)
    return hit


def untouched(stack: LightStack, before: dict[str, str], kill: Kill) -> list[str]:
    """Containers that were started anew although nobody killed them."""
    of_victim = {"server": "postgres", "container": "postgres", "sidecar": "postgres-backup"}
    killed = {stack.container(of_victim[kill.victim])} if kill.victim in of_victim else set()
    now = stack.started()
    return [name for name in before if name not in killed and now.get(name) != before[name]]


def require_source(sweep: Sweep, kill: Kill, there: dict[str, str], *, moved: bool) -> None:
    """The source is as it was and has nothing left of the move; only a live one that is done leaves it closed."""
    sweep.wait_until_clean()
    assert sweep.sealed() == ([sweep.now] if moved and kill.operation == "migrate-live" else [])
    sweep.unseal()
    assert sweep.source_holds() == there


def require_whole_backups(stack: LightStack) -> None:
    """Every backup under its final name can be restored, whatever was killed while it was made."""
    for backup in stack.backups.glob("wepppy-*.dump"):
        stack.in_sidecar("wepp-backup", "verify", "--dump", backup.name)


def require_one_password(stack: LightStack) -> None:
    """The secret file and the role have the same password, and it is asked for; none is in `.env`."""
    password = stack.secret("postgres_password")
    assert password not in stack.env_file.read_text()
    assert stack.env_file.stat().st_mode & 0o777 == 0o600
    assert logs_in(stack, password)
    assert not logs_in(stack, password + "x")


def logs_in(stack: LightStack, password: str) -> bool:
    """True when the server takes the password over the network."""
    return stack.in_sidecar("bash", "-c", LOGIN, stdin=f"{password}\n", check=False) == "1\n"
