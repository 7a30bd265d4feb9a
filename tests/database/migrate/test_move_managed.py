"""Moves out of a server that systemd looks after: its unit runs for the move and is afterwards as it was found."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.database.migrate.managed import HANDLE, SERVER, ManagedServer
from tests.database.migrate.target import Moving, Target
from tests.engine.stack import Command

pytestmark = pytest.mark.timeout(300, func_only=True)

TABLE = "CREATE TABLE run AS SELECT n AS id, md5(n::text) AS word FROM generate_series(1, 5000) n"
# Enough for a write to fall into the move.
LONG = "CREATE TABLE long AS SELECT n, repeat(md5(n::text), 20) AS word FROM generate_series(1, 400000) n"
UP, DOWN = ("active", "active"), ("inactive", "inactive")
STATES = [UP, ("active", "inactive"), DOWN]


@pytest.fixture(scope="module")
def managed() -> Iterator[ManagedServer]:
    """One server, with a database to move."""
    server = ManagedServer()
    try:
        server.set_state(*UP)
        server.psql("CREATE DATABASE moving TEMPLATE template0")
        server.psql(TABLE, "moving")
        yield server
    finally:
        server.stop()


def flags(server: ManagedServer, **changes: str) -> list[str]:
    """The source's flags, some of them changed."""
    named = {
        "host": "127.0.0.1", "port": str(server.port), "dbname": "moving", "user": "keyed", "service": HANDLE,
        "password-file": str(server.password_file), **changes,
    }  # fmt: skip
    return [f"--{flag}={value}" for flag, value in named.items()]


def move(target: Target, server: ManagedServer, *more: str, **changes: str) -> Command:
    """A move that needs no answer; how it ended."""
    arguments = [*flags(server, **changes), "--yes", *more]
    return target.invoke("bare-metal-migrate", *arguments, check=False, PATH=server.path)


def has_moved(target: Target) -> bool:
    """True when the moved database is the live one; else the one from before is, and nothing lies about."""
    if target.psql("SELECT count(*) FROM pg_tables WHERE tablename = 'run'") == "1\n":
        return target.psql("SELECT count(*) FROM run") == "5000\n"
    assert target.names() == (["wepppy"], ["wepppy"])
    assert target.leftovers() == []
    return False


@pytest.mark.parametrize("state", STATES)
def test_a_unit_is_after_the_move_what_it_was_before(
    target: Target, managed: ManagedServer, state: tuple[str, str]
) -> None:
    managed.set_state(*state)
    done = move(target, managed)
    assert done.returncode == 0, done.stderr
    assert has_moved(target)
    assert managed.state() == state
    assert ("starting it for the move" in done.stderr) == (state != UP)


def test_a_server_that_is_met_at_its_socket_may_be_down_before_the_move(
    target: Target, managed: ManagedServer
) -> None:
    managed.set_state(*UP)
    managed.psql("ALTER ROLE keyed PASSWORD NULL")
    hba = "echo 'local all keyed trust' >>/etc/postgresql/15/main/pg_hba.conf"
    managed.run("bash", "-c", hba)
    managed.set_state(*DOWN)
    try:
        done = move(target, managed, host="", **{"socket-dir": str(managed.sockets), "password-file": ""})
        assert done.returncode == 0, done.stderr
        assert has_moved(target)
        assert managed.state() == DOWN
    finally:
        managed.set_state(*UP)
        managed.give_password()


def test_a_single_servers_unit_can_be_named_instead_of_the_handle(
    target: Target, managed: ManagedServer
) -> None:
    managed.set_state("active", "inactive")
    done = move(target, managed, service=SERVER)
    assert done.returncode == 0, done.stderr
    assert has_moved(target)
    assert managed.state() == ("active", "inactive")


@pytest.mark.parametrize("state", [UP, DOWN])
def test_on_request_the_source_is_stopped_for_good_once_its_database_has_moved(
    target: Target, managed: ManagedServer, state: tuple[str, str]
) -> None:
    managed.set_state(*state)
    moving = Moving(target, *flags(managed), "--yes", "--stop-source", PATH=managed.path)
    moving.wait_for("switching over")
    assert managed.state() == UP
    assert moving.wait() == 0, moving.output
    assert managed.state() == DOWN
    assert moving.output.index("switching over") < moving.output.index(f"{HANDLE} is stopped")
    assert f"sudo systemctl disable {HANDLE}" in moving.output
    assert has_moved(target)


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize(
    ("changes", "words"),
    [({"password-file": ""}, "--password-file"), ({"dbname": "nothing"}, '"nothing" does not exist')],
)
def test_when_the_move_is_refused_the_unit_is_as_it_was_also_with_the_wish_to_stop_it(
    target: Target, managed: ManagedServer, state: tuple[str, str], changes: dict[str, str], words: str
) -> None:
    managed.set_state(*state)
    done = move(target, managed, "--stop-source", **changes)
    assert done.returncode == 4, done.stderr
    assert words in done.stderr
    assert managed.state() == state
    assert not has_moved(target)


@pytest.mark.parametrize("handle", ["active", "inactive"])
def test_when_a_write_is_met_the_unit_is_as_it_was(
    target: Target, managed: ManagedServer, handle: str
) -> None:
    managed.set_state(*UP)
    managed.psql(LONG, "moving")
    managed.set_state(handle, "inactive")
    moving = Moving(target, *flags(managed), "--yes", "--stop-source", PATH=managed.path)
    try:
        moving.wait_for("loading")
        managed.psql("INSERT INTO run VALUES (0, 'late')", "moving")
        assert moving.wait() == 4, moving.output
        assert "the source was written during the move" in moving.output
        assert managed.state() == (handle, "inactive")
        assert not has_moved(target)
    finally:
        managed.set_state(*UP)
        managed.psql("DROP TABLE long; DELETE FROM run WHERE id = 0", "moving")


@pytest.mark.parametrize("state", STATES)
def test_a_dry_run_tells_the_plan_and_leaves_the_unit_as_it_was(
    target: Target, managed: ManagedServer, state: tuple[str, str]
) -> None:
    managed.set_state(*state)
    done = move(target, managed, "--dry-run", "--stop-source", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["plan"]["source"]["tables"] == 1
    assert managed.state() == state
    assert not has_moved(target)


@pytest.mark.parametrize("more", [(), ("--stop-source",)])
def test_a_unit_that_does_not_exist_is_refused(
    target: Target, managed: ManagedServer, more: tuple[str, ...]
) -> None:
    managed.set_state(*UP)
    done = move(target, managed, *more, service="no-such.service")
    assert done.returncode == 4, done.stderr
    assert "systemd has no unit no-such.service" in done.stderr
    assert managed.state() == UP
    assert not has_moved(target)


@pytest.mark.parametrize("handle", ["active", "inactive"])
def test_a_server_that_does_not_start_is_told_with_its_log_and_left_down(
    target: Target, managed: ManagedServer, handle: str
) -> None:
    managed.set_state(handle, "inactive")
    managed.set_broken(True)
    try:
        done = move(target, managed)
        assert done.returncode == 3, done.stderr
        assert f"{HANDLE} could not be started" in done.stderr
        assert SERVER in done.stderr
        state = managed.state()
        assert state[0] == handle
        assert state[1] in ("inactive", "failed")
        assert not has_moved(target)
    finally:
        managed.set_broken(False)


def test_a_server_that_is_down_while_the_stack_has_its_port_is_not_taken_for_the_stacks_own(
    target: Target, managed: ManagedServer, tmp_path: Path
) -> None:
    managed.set_state(*DOWN)
    secret = tmp_path / "password"
    secret.write_text((target.env_file.parent / "secrets" / "postgres_password").read_text())
    secret.chmod(0o600)
    login = {
        "port": target.port,
        "dbname": "wepppy",
        "user": "wepppy",
        "password-file": str(secret),
        "service": "",
    }
    done = move(target, managed, **login)
    assert done.returncode == 4, done.stderr
    assert "is the stack's own" in done.stderr
    assert not has_moved(target)
